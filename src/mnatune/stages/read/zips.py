"""Reading zips that may be broken or hostile: own checks, byte counters, nothing extracted to disk.

The directory is read by `zipfile`, the members by this module, because Python before 3.11.8 accepts overlapping entries
(CVE-2024-0450) and because a cut archive, whose directory is lost, still holds whole members before the cut.

Does not: decrypt; read nested archives; inflate methods other than deflate and stored.
"""

import io
import stat
import struct
import unicodedata
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import IO

import numpy as np
from isal.igzip_lib import DECOMP_DEFLATE, IgzipDecompressor
from isal.isal_zlib import crc32, error

from ...text.normalize import decoded
from .archive import Archive

LOCAL = struct.Struct("<4s5H3I2H")
STORED, DEFLATED = 0, 8
ENCRYPTED, DESCRIPTOR, UTF8 = 0x1, 0x8, 0x800
CHUNK = 1 << 20
END_RECORD = 66_000  # bytes at the end within which a zip's end record begins
PIECE = 4 << 20
AT_ONCE = 24 << 20  # bytes of a member that are inflated in one piece
NESTED = (".zip", ".tar", ".gz", ".7z", ".rar", ".egg", ".alz")
TRUNCATED = "truncated"
UNKNOWN = -1  # size of a member whose directory entry is lost


@dataclass(frozen=True, slots=True)
class Limits:
    """What a member or an archive may be at most. Genuine JSON compresses about 10:1."""

    member_bytes: int = 16 << 30
    ratio: int = 200
    ratio_from: int = 1 << 20
    members: int = 2_000_000
    directory_bytes: int = 28 << 20  # of a zip; each of its entries takes at least 46, and some 700 in memory


LIMITS = Limits()


class MemberFault(Exception):
    """Why a member cannot be read; its text is the reason that is counted."""


@dataclass(frozen=True, slots=True)
class ZipEntry:
    """A member: where it lies, its sizes in bytes, and why it is not to be read (empty if it is)."""

    name: str
    offset: int
    packed: int
    size: int
    method: int
    crc: int
    end: int
    fault: str = ""
    raw: bool = False


def entries_of(archive: Archive, limits: Limits = LIMITS) -> tuple[list[ZipEntry], str]:
    """The members of an archive, and what is wrong with the archive as a whole (empty if nothing is)."""
    if archive.members:
        starts = accumulate((size for _, size in archive.members), initial=0)
        files = zip(archive.members, starts, strict=False)
        return [ZipEntry(name, at, size, size, STORED, 0, at + size, raw=True) for (name, size), at in files], ""
    with archive.open() as stream:
        if _directory_bytes(stream) > limits.directory_bytes:
            return [], f"a directory larger than {limits.directory_bytes >> 20} MiB: unpack it, loose files are read"
        try:
            with zipfile.ZipFile(stream) as file:
                infos, start = file.infolist(), file.start_dir
            del file  # which holds every entry too
            if any(not 0 <= info.header_offset < start for info in infos):
                raise zipfile.BadZipFile("the directory points beyond the members")
        except (zipfile.BadZipFile, NotImplementedError, struct.error, ValueError, OSError, EOFError):
            stream.seek(0)
            found = _salvage(stream)
            fault = archive.fault or ("cut or damaged: its directory is lost" if found else "not a zip")
            return found, fault
    if len(infos) > limits.members:
        return [], f"more than {limits.members:,} members"
    fault = archive.fault or ("" if infos else "empty archive")
    return _check(infos, start, limits), fault


def _check(infos: list[zipfile.ZipInfo], start: int, limits: Limits) -> list[ZipEntry]:
    """Directory entries in their order, each with its fault; empties the list on the way, which may be long."""
    offsets = np.unique(np.fromiter((info.header_offset for info in infos), np.int64, len(infos)))
    taken = np.zeros(len(offsets), bool)
    entries: list[ZipEntry] = []
    names: set[str] = set()
    infos.reverse()
    while infos:
        info = infos.pop()
        if info.is_dir():
            continue
        name = member_name(info.filename, bool(info.flag_bits & UTF8))
        place = int(np.searchsorted(offsets, info.header_offset))
        end = int(offsets[place + 1]) if place + 1 < len(offsets) else start
        fault = _fault(info, name, limits)
        if not fault and name in names:
            fault = "duplicate name"
        if not fault and (taken[place] or info.header_offset + LOCAL.size + info.compress_size > end):
            fault = "overlapping entries"
        names.add(name)
        taken[place] = True
        packed, size = info.compress_size, info.file_size
        entries.append(ZipEntry(name, info.header_offset, packed, size, info.compress_type, info.CRC, end, fault))
    return entries


def _directory_bytes(stream: IO[bytes]) -> int:
    """Size of a zip's directory as its end record gives it; 0 if there is none."""
    stream.seek(0, io.SEEK_END)
    stream.seek(max(0, stream.tell() - END_RECORD))
    tail = stream.read(END_RECORD)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + 16:
        return 0
    size = int(struct.unpack_from("<I", tail, at + 12)[0])
    wide = tail.rfind(b"PK\x06\x06", 0, at)
    if size == 0xFFFFFFFF and wide >= 0 and len(tail) >= wide + 48:
        size = int(struct.unpack_from("<Q", tail, wide + 40)[0])
    return size


def _fault(info: zipfile.ZipInfo, name: str, limits: Limits) -> str:
    if "\x00" in name or ".." in name.split("/") or name[1:2] == ":":
        return "unsafe name"
    if stat.S_ISLNK(info.external_attr >> 16):
        return "symbolic link"
    if info.flag_bits & ENCRYPTED:
        return "encrypted"
    if name.lower().endswith(NESTED):
        return "nested archive"
    if info.compress_type not in (STORED, DEFLATED):
        return "unsupported compression"
    if info.file_size > limits.member_bytes:
        return f"larger than {limits.member_bytes:,} bytes"
    if info.file_size > limits.ratio_from and info.file_size > limits.ratio * max(1, info.compress_size):
        return f"compressed more than {limits.ratio}:1"
    return ""


def member_name(name: str, utf8: bool) -> str:
    """A member's name in NFC, without AI Hub's leading "/"; without the UTF-8 mark it is tried as UTF-8, then cp949."""
    if not utf8:
        found = decoded(name.encode("cp437", "replace"))
        name = name if found is None else found
    return unicodedata.normalize("NFC", name.replace("\\", "/")).lstrip("/")


def chunks_of(stream: IO[bytes], entry: ZipEntry, limits: Limits = LIMITS) -> Iterator[bytes]:
    """The member's bytes, inflated piece by piece.

    Raises:
        MemberFault: at the first thing that is wrong, at the latest at the end, where size and CRC-32 are compared.
    """
    if entry.fault:
        raise MemberFault(entry.fault)
    data = entry.offset if entry.raw else _data_offset(stream, entry)
    stream.seek(data)
    size, crc = 0, 0
    try:
        for piece in _inflated(stream, entry):
            size += len(piece)
            crc = crc32(piece, crc)
            packed = entry.packed if entry.packed != UNKNOWN else max(1, stream.tell() - data)
            if size > limits.member_bytes:
                raise MemberFault(f"larger than {limits.member_bytes:,} bytes")
            if not entry.raw and size > limits.ratio_from and size > limits.ratio * max(1, packed):
                raise MemberFault(f"compressed more than {limits.ratio}:1")
            yield piece
    except error as fault:  # type: ignore[misc]  # isal's stub calls the class a value
        raise MemberFault("damaged data") from fault
    if entry.size != UNKNOWN and size != entry.size:
        raise MemberFault(TRUNCATED if size < entry.size else "larger than declared")
    if not entry.raw and entry.packed != UNKNOWN and crc != entry.crc:
        raise MemberFault("bad CRC")


def _data_offset(stream: IO[bytes], entry: ZipEntry) -> int:
    """Where the member's bytes begin, after its own header has been compared with the directory."""
    stream.seek(entry.offset)
    header = stream.read(LOCAL.size)
    if len(header) < LOCAL.size or header[:4] != b"PK\x03\x04":
        raise MemberFault("damaged header")
    fields = LOCAL.unpack(header)
    start = entry.offset + LOCAL.size + int(fields[9]) + int(fields[10])
    if entry.packed != UNKNOWN and start + entry.packed > entry.end:
        raise MemberFault("overlapping entries")
    return start


def _inflated(stream: IO[bytes], entry: ZipEntry) -> Iterator[bytes]:
    left = entry.packed if entry.packed != UNKNOWN else 1 << 62
    if entry.method == STORED:
        while left and (block := stream.read(min(CHUNK, left))):
            left -= len(block)
            yield block
        return
    inflate = IgzipDecompressor(flag=DECOMP_DEFLATE)
    # A member of moderate size comes in one piece: its declared size bounds what it may become.
    at_once = entry.size + 1 if 0 <= entry.size <= AT_ONCE else PIECE
    while not inflate.eof:
        block = b""
        if inflate.needs_input:
            block = stream.read(min(max(CHUNK, at_once // 2), left))
            left -= len(block)
            if not block:
                raise MemberFault(TRUNCATED)
        piece = inflate.decompress(block, at_once)
        if piece:
            yield piece


def _salvage(stream: IO[bytes]) -> list[ZipEntry]:
    """The members of an archive whose directory is lost, by their own headers, up to the first that is not whole."""
    entries: list[ZipEntry] = []
    at = 0
    while True:
        stream.seek(at)
        header = stream.read(LOCAL.size)
        if len(header) < LOCAL.size or header[:4] != b"PK\x03\x04":
            return entries
        _, _, flags, method, _, _, crc, packed, size, name_size, extra_size = LOCAL.unpack(header)
        name = stream.read(name_size)
        extra = stream.read(extra_size)
        if packed == 0xFFFFFFFF:
            size, packed = _zip64_sizes(extra) or (UNKNOWN, UNKNOWN)
        start = at + LOCAL.size + name_size + extra_size
        known = not flags & DESCRIPTOR and packed != UNKNOWN
        if not known:
            packed = size = UNKNOWN
        text = member_name(name.decode("utf-8" if flags & UTF8 else "cp437", "replace"), bool(flags & UTF8))
        fault = "" if method in (STORED, DEFLATED) else "unsupported compression"
        fault = "encrypted" if flags & ENCRYPTED else fault
        entries.append(ZipEntry(text, at, packed, size, method, crc, start + packed if known else 1 << 62, fault))
        end = start + packed if known else _end_of_deflated(stream, start, method)
        if end is None:
            return entries
        at = end


def _zip64_sizes(extra: bytes) -> tuple[int, int] | None:
    at = 0
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<HH", extra, at)
        if kind == 1 and size >= 16 and at + 20 <= len(extra):
            whole, packed = struct.unpack_from("<QQ", extra, at + 4)
            return int(whole), int(packed)
        at += 4 + size
    return None


def _end_of_deflated(stream: IO[bytes], start: int, method: int) -> int | None:
    """Where a deflated member of unknown size and its data descriptor end; None if it is cut."""
    if method != DEFLATED:
        return None
    stream.seek(start)
    inflate = IgzipDecompressor(flag=DECOMP_DEFLATE)
    read = size = 0
    try:
        while not inflate.eof:
            block = b""
            if inflate.needs_input:
                block = stream.read(CHUNK)
                read += len(block)
                if not block:
                    return None
            size += len(inflate.decompress(block, PIECE))
            if size > LIMITS.ratio_from and size > LIMITS.ratio * read:
                return None
    except error:  # type: ignore[misc]
        return None
    end = start + read - len(inflate.unused_data)
    stream.seek(end)
    tail = stream.read(24)
    end += 4 if tail[:4] == b"PK\x07\x08" else 0
    tail = tail[4:] if tail[:4] == b"PK\x07\x08" else tail
    return end + (12 if tail[12:14] == b"PK" or len(tail) < 14 else 20)
