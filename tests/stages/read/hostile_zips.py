"""Zips that are broken or hostile; each holds two good rows in good.json unless it says otherwise."""

import io
import stat
import struct
import zipfile

import pytest
from hub import good

GOOD = {"good.json": good(1)}


def plain(members, **more):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data, **more)
    return buffer.getvalue()


def patched(data: bytes, name: str, central: dict[int, bytes]) -> bytes:
    """The zip with bytes of a member's directory entry overwritten."""
    at = data.rindex(b"PK\x01\x02", 0, data.rindex(name.encode()))
    for offset, value in central.items():
        data = data[: at + offset] + value + data[at + offset + len(value) :]
    return data


def overlapping():
    """Two directory entries that share one member's bytes (CVE-2024-0450)."""
    data = plain({**GOOD, "evil.json": good(2)})
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        offset = archive.getinfo("good.json").header_offset
    return patched(data, "evil.json", {42: struct.pack("<I", offset)})


def quoted_overlap():
    """An entry whose packed size reaches over the next member."""
    data = plain({"evil.json": good(2), **GOOD})
    return patched(data, "evil.json", {20: struct.pack("<I", 10_000)})


def long_header():
    """A member whose own header reaches into the next member, though the directory looks right."""
    data = bytearray(plain({"evil.json": good(2), **GOOD}))
    data[28:30] = struct.pack("<H", 200)
    return bytes(data)


def bomb(size=24 << 20):
    return plain({**GOOD, "bomb.json": b"\0" * size})


def lying_bomb():
    """A bomb that declares to be small."""
    return patched(bomb(), "bomb.json", {24: struct.pack("<I", 1000)})


def nested():
    return plain({**GOOD, "inner.zip": plain(GOOD)})


def symlink():
    buffer = io.BytesIO(plain(GOOD))
    with zipfile.ZipFile(buffer, "a") as archive:
        info = zipfile.ZipInfo("link.json")
        info.create_system = 3
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    return buffer.getvalue()


def duplicate():
    buffer = io.BytesIO(plain(GOOD))
    with zipfile.ZipFile(buffer, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("good.json", good(5))
    return buffer.getvalue()


def encrypted():
    data = plain({**GOOD, "secret.json": good(2)})
    return patched(data, "secret.json", {8: struct.pack("<H", 1)})


def bad_crc():
    return patched(plain({**GOOD, "bad.json": good(2)}), "bad.json", {16: b"\1\2\3\4"})


def damaged_data():
    data = bytearray(plain({**GOOD, "bad.json": good(2, 40)}))
    at = data.index(b"bad.json") + 8
    data[at + 20 : at + 60] = b"\xff" * 40
    return bytes(data)


def damaged_header():
    data = bytearray(plain({**GOOD, "bad.json": good(2)}))
    at = data.index(b"bad.json") - 30
    data[at : at + 4] = b"XXXX"
    return bytes(data)


def other_method():
    return patched(plain({**GOOD, "odd.json": good(2)}), "odd.json", {10: struct.pack("<H", 9)})


def cut(share):
    members = {f"m{n:02d}.json": good(n, 8) for n in range(40)}
    data = plain(members)
    return data[: int(len(data) * share)]


def garbage_before():
    return b"#!/bin/sh\nexit 0\n" * 20 + plain(GOOD)


def overflowing_zip64():
    """A directory end that points beyond the file."""
    data = plain(GOOD)
    at = data.rindex(b"PK\x05\x06")
    return data[: at + 16] + struct.pack("<I", 0xFFFFFFF0) + data[at + 20 :]


def streamed():
    """A zip written to a pipe: sizes follow the data, and the directory is cut off."""

    class Pipe(io.RawIOBase):
        def __init__(self):
            self.data = bytearray()

        def writable(self):
            return True

        def write(self, data):
            self.data += data
            return len(data)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("good.json", good(1))
        archive.writestr("more.json", good(2))
    data = bytes(pipe.data)
    return data[: data.index(b"PK\x01\x02")]
