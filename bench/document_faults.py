"""Does one bad file among many ever cost more than itself? Files of every format, broken in every way, read in one go.

    python bench/document_faults.py [--quick] [--files 1000] [--seed 7]

Each file is cut, has bits flipped, bytes zeroed or a stretch doubled, bears another format's name, or is a trap: an
archive of zeros, XML whose entities explode, tables in tables a thousand deep, a PDF of 100,000 pages. It must end in
exactly one state (read, or skipped for one reason), and the run must neither stop nor hang.
"""

import argparse
import json
import random
import shutil
import subprocess
import tempfile
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from io import BytesIO
from pathlib import Path

from office_files import WRITERS, docx, paper, pdf
from ooxml_files import zipped
from papers import Paper

from mnatune.documents import Lost, attempt, read_file
from mnatune.runs.workers import cores


def mutated(data: bytes, draw: random.Random) -> tuple[str, bytes]:
    """The file broken in one way."""
    size = len(data)
    match draw.choice(("cut", "bits", "zeros", "doubled", "noise", "inner")):
        case "cut":
            return "cut", data[: draw.randrange(size)]
        case "bits":
            body = bytearray(data)
            for _ in range(draw.choice((1, 3, 30, 300))):
                body[draw.randrange(size)] ^= 1 << draw.randrange(8)
            return "bits", bytes(body)
        case "zeros":
            start = draw.randrange(size)
            length = min(draw.randrange(1, 2000), size - start)
            return "zeros", data[:start] + bytes(length) + data[start + length :]
        case "doubled":
            start = draw.randrange(size)
            return "doubled", data[:start] + data[start : start + draw.randrange(1, 4000)] * 2 + data[start:]
        case "noise":
            return "noise", data[: draw.randrange(64, 600)] + draw.randbytes(5000)
    return "inner", _inner(data, draw)


def _inner(data: bytes, draw: random.Random) -> bytes:
    """A package whose parts are broken but whose archive is whole; other files with letters exchanged."""
    if data[:2] != b"PK":
        return data.replace(bytes([draw.randrange(32, 127)]), bytes([draw.randrange(32, 127)]))
    with zipfile.ZipFile(BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = draw.choice(list(members))
    body = bytearray(members[name])
    for _ in range(draw.choice((1, 5, 50))):
        if body:
            body[draw.randrange(len(body))] = draw.randrange(256)
    return zipped({**members, name: bytes(body)}, stored=("mimetype",))


def _repacked(data: bytes, part: str, body: bytes) -> bytes:
    with zipfile.ZipFile(BytesIO(data)) as archive:
        members: dict[str, str | bytes] = {name: archive.read(name) for name in archive.namelist()}
    return zipped({**members, part: body}, stored=("mimetype",))


def _laughs() -> bytes:
    """XML whose entities grow to 10^12 letters."""
    laughs = b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "lollollollol">'
    for n in range(12):
        laughs += f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">'.encode()
    return (
        laughs
        + b"]>"
        + f"<w:document {WORD}><w:body><w:p><w:r><w:t>&m;</w:t></w:r></w:p></w:body></w:document>".encode()
    )


def _deep() -> bytes:
    inside = "<w:tbl><w:tr><w:tc>" * 3000 + "<w:p/>" + "</w:tc></w:tr></w:tbl>" * 3000
    return f"<w:document {WORD}><w:body>{inside}</w:body></w:document>".encode()


def _inflating_pdf() -> bytes:
    zeros = zlib.compress(bytes(300_000_000), 9)
    page = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Contents 4 0 R>>"
    stream = b"<</Length %d/Filter/FlateDecode>>stream\n%s\nendstream" % (len(zeros), zeros)
    objects = [b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Count 1/Kids[3 0 R]>>", page, stream]
    body = b"".join(b"%d 0 obj\n%s\nendobj\n" % (n, text) for n, text in enumerate(objects, 1))
    return b"%PDF-1.4\n" + body + b"trailer<</Root 1 0 R>>"


def _word(part: bytes) -> bytes:
    return _repacked(docx(paper(1, 2)), "word/document.xml", part)


def _sheet(part: bytes) -> bytes:
    return _repacked(WRITERS["xlsx"](paper(1, 2)), "xl/worksheets/sheet1.xml", part)


WORD = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
OUTSIDE = b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY x SYSTEM "http://127.0.0.1:9/x">]><x>&x;</x>'
FAR_CELLS = (
    b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData><row r="1"><c r="A1"><v>1</v></c>'
    b'</row><row r="1048576"><c r="XFD1048576"><v>1</v></c></row></sheetData></worksheet>'
)
TRAPS: dict[str, Callable[[], bytes]] = {
    "zeros.docx": lambda: _word(b" " * 400_000_000),
    "laughs.docx": lambda: _word(_laughs()),
    "laughs.hwpx": lambda: _repacked(WRITERS["hwpx"](paper(1, 2)), "Contents/section0.xml", _laughs()),
    "laughs.xlsx": lambda: _sheet(_laughs()),
    "outside.docx": lambda: _word(OUTSIDE),
    "deep.docx": lambda: _word(_deep()),
    "deep.html": lambda: b"<div>" * 200_000 + b"<table><tr><td>" * 2000 + "가".encode(),
    "wide.html": lambda: b"<table><tr><td rowspan=1000 colspan=1000>x</td></tr>" + b"<tr><td colspan=1000>y</td></tr>" * 5000,
    "pages.pdf": lambda: _many_pages(100_000),
    "inflating.pdf": _inflating_pdf,
    "long.txt": lambda: "제1조 (목적) 가나다\n".encode() * 4_000_000,
    "far.xlsx": lambda: _sheet(FAR_CELLS),
}  # fmt: skip


def _many_pages(count: int) -> bytes:
    """A PDF that holds one page so many times."""
    data = pdf(Paper("쪽", paper(1, 2).parts[:1]))
    start = data.index(b"<</Type/Pages")
    end = data.index(b"endobj", start)
    kid = data[start:end].split(b"Kids[")[1].split(b"]")[0].split(b" R")[0] + b" R "
    return (
        data[:start]
        + b"<</Type/Pages/Count %d/Kids[%s]>>\n" % (count, kid * count)
        + data[end:].split(b"xref")[0]
        + b"trailer<</Root 1 0 R>>"
    )


def build(folder: Path, count: int, seed: int, traps: Iterable[str] = TRAPS) -> list[tuple[str, Path]]:
    """Write the files; returns (kind of fault, path)."""
    draw = random.Random(seed)
    made = []
    for name in traps:
        made.append(("trap", folder / name))
        made[-1][1].write_bytes(TRAPS[name]())
    sound = {kind: [write(paper(n, 2)) for n in range(4)] for kind, write in WRITERS.items()}
    while len(made) < count:
        kind = draw.choice(list(sound))
        data = draw.choice(sound[kind])
        if draw.random() < 0.1:
            fault, suffix = "renamed", draw.choice([k for k in sound if k != kind])
        else:
            (fault, data), suffix = mutated(data, draw), kind
        made.append((fault, folder / f"{len(made):05d}.{suffix}"))
        made[-1][1].write_bytes(data)
    return made


def main() -> None:
    """Build, read, and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="120 files")
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    try:
        made = build(folder, 120 if options.quick else options.files, options.seed)
        start = time.perf_counter()
        found = list(attempt(read_file, [(path, path.name) for _, path in made], cores()))
        seconds = time.perf_counter() - start
        states = Counter(result.reason if isinstance(result, Lost) else "read" for result in found)
        by_fault: dict[str, Counter[str]] = {}
        for (fault, path), result in zip(made, found, strict=True):
            state = result.reason if isinstance(result, Lost) else "read"
            by_fault.setdefault(fault, Counter())[state] += 1
            if fault == "trap":
                print(f"  {path.name:<14} {state}")
        for fault, counts in sorted(by_fault.items()):
            print(f"  {fault:<8} {dict(counts.most_common())}")
    finally:
        shutil.rmtree(folder)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    ours = {"files": len(found), "states": dict(states.most_common()), "seconds": round(seconds, 1), "run_ended": True}
    line = {
        "bench": "document-faults",
        "commit": commit,
        "device": f"{cores()} cores",
        "ours": ours,
    }
    print(json.dumps(line | {"ratio": {}}, ensure_ascii=False))


if __name__ == "__main__":
    main()
