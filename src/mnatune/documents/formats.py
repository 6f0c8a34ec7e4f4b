"""Detects the format of a file, by its bytes before its name, and reads it."""

import zipfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from .blocks import Reading, Unreadable
from .cutting import ARTICLE, DocumentSection, sections
from .hwp_guard import compare, refuse_closed_hwp, refuse_closed_hwpx
from .marked_text import read_html, read_mail, read_text
from .office_model import read_office, with_numbers
from .pdf_pages import read_pdf
from .word_numbers import word_numbers
from .workbook import read_workbook

SUFFIXES = (".hwpx", ".hwp", ".docx", ".xlsx", ".pptx", ".pdf", ".html", ".htm", ".md", ".txt", ".eml")
BY_NAME = {".html": "html", ".htm": "html", ".md": "md", ".txt": "txt", ".eml": "eml"}
OLD_OFFICE = {".doc": ".docx", ".xls": ".xlsx", ".ppt": ".pptx"}
IMAGES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp")
PARTS = {"word/document.xml": "docx", "xl/workbook.xml": "xlsx", "ppt/presentation.xml": "pptx"}

MOST_BYTES = 200 << 20
MOST_UNPACKED = 512 << 20
RATIO, RATIO_FROM = 200, 16 << 20
MOST_MEMBERS = 20_000
MOST_PAGES = 10_000
MOST_CHARS = 20_000_000
SHORT_TITLE = 60


@dataclass(frozen=True)
class ReadFile:
    """A file that was read.

    Attributes:
        kind: hwpx, hwp, docx, xlsx, pptx, pdf, html, md, txt or eml.
        left_out: comments, images, hidden sheets, restored numbers …, and how often.
        running: headers and footers.
    """

    kind: str
    title: str
    pages: int
    sections: list[DocumentSection]
    left_out: Counter[str] = field(default_factory=Counter)
    flags: list[str] = field(default_factory=list)
    running: list[str] = field(default_factory=list)


def read_file(path: Path, name: str) -> ReadFile:
    """Read a file; `name`, which may differ from the path's, is the title if the text has none.

    Raises:
        Unreadable: with the reason why the file is skipped.
    """
    kind = kind_of(path, name)
    reading = _read(path, kind)
    if sum(len(block.text) for block in reading.blocks) > MOST_CHARS:
        raise Unreadable(f"more than {MOST_CHARS:,} characters")
    if reading.pages > MOST_PAGES:
        raise Unreadable(f"more than {MOST_PAGES:,} pages")
    reading.title = reading.title or _title(reading, name)
    left_out = Counter({what: count for what, count in reading.left_out.items() if count})
    if _holds_macros(path):
        left_out["macros"] = 1
    cut = sections(reading)
    return ReadFile(kind, reading.title, reading.pages, cut, left_out, reading.flags, reading.running)


def kind_of(path: Path, name: str) -> str:
    """The kind of a file.

    Raises:
        Unreadable: no reader takes it.
    """
    suffix = PurePosixPath(name).suffix.lower()
    size = path.stat().st_size
    if not size:
        raise Unreadable("empty file")
    if size > MOST_BYTES:
        raise Unreadable(f"larger than {MOST_BYTES >> 20} MB")
    with path.open("rb") as file:
        head = file.read(1024)
    if b"%PDF-" in head:
        return "pdf"
    if head.startswith(b"HWP Document File V"):
        raise Unreadable(f"HWP version {head[19:20].decode('ascii', 'replace')}.x")
    if head.startswith(b"\xd0\xcf\x11\xe0"):
        return _kind_of_compound(path, suffix)
    if head.startswith(b"PK\x03\x04"):
        return _kind_of_package(path)
    if suffix in BY_NAME:
        return BY_NAME[suffix]
    if suffix in IMAGES:
        raise Unreadable("image")
    raise Unreadable("damaged file" if suffix in SUFFIXES else "not a document")


def _kind_of_compound(path: Path, suffix: str) -> str:
    data = path.read_bytes()
    if "EncryptedPackage".encode("utf-16-le") in data:
        raise Unreadable("encrypted")
    if b"HWP Document File" in data:
        refuse_closed_hwp(data)
        return "hwp"
    if suffix in OLD_OFFICE:
        raise Unreadable(f"old Office format ({suffix}): save it as {OLD_OFFICE[suffix]}")
    raise Unreadable("damaged file" if suffix == ".hwp" else "not a document")


def _kind_of_package(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            names = {info.filename for info in infos}
            _refuse_bombs(infos, path.stat().st_size)
            if "mimetype" in names and archive.read("mimetype").strip() == b"application/hwp+zip":
                refuse_closed_hwpx(path)
                return "hwpx"
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, OSError, EOFError, ValueError) as error:
        raise Unreadable("damaged file") from error
    found = [kind for part, kind in PARTS.items() if part in names]
    if len(found) != 1:
        raise Unreadable("not a document")
    return found[0]


def _refuse_bombs(infos: list[zipfile.ZipInfo], size: int) -> None:
    packed = sum(info.compress_size for info in infos)
    unpacked = sum(info.file_size for info in infos)
    if any(info.flag_bits & 1 for info in infos):
        raise Unreadable("encrypted")
    if len(infos) > MOST_MEMBERS:
        raise Unreadable(f"more than {MOST_MEMBERS:,} members")
    if packed > size:
        raise Unreadable("overlapping entries")
    if unpacked > MOST_UNPACKED or any(i.file_size > max(RATIO_FROM, RATIO * i.compress_size) for i in infos):
        raise Unreadable("decompression bomb")


def _read(path: Path, kind: str) -> Reading:
    match kind:
        case "hwp" | "hwpx":
            reading = read_office(path, kind)
            compare(reading, path)
            return reading
        case "docx":
            reading = read_office(path, kind)
            reading.left_out["numbers restored"] += with_numbers(reading, word_numbers(path), replace=True)
            return reading
        case "pptx":
            return read_office(path, kind)
        case "xlsx":
            return read_workbook(path)
        case "pdf":
            return read_pdf(path, MOST_PAGES)
        case "html":
            return read_html(path.read_bytes())
        case "eml":
            return read_mail(path.read_bytes())
    return read_text(path.read_bytes(), marked=kind == "md")


def _title(reading: Reading, name: str) -> str:
    """The first line if it looks like a title, else the file's name."""
    first = reading.blocks[0]
    text = " ".join(first.text.split())
    titled = first.kind == "heading" or (first.kind == "paragraph" and not text.endswith((".", ":", ",", ";")))
    if titled and len(text) <= SHORT_TITLE and not first.spot.cells and not ARTICLE.match(text):
        return first.text
    return PurePosixPath(name).stem


def _holds_macros(path: Path) -> bool:
    with path.open("rb") as file:
        if file.read(2) != b"PK":
            return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("vbaProject.bin") for name in archive.namelist())
