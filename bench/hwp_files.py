"""한글 files, HWPX and HWP 5 with its OLE compound container; by the standard library alone."""

import struct
import zlib
from html import escape

from ooxml_files import XML, zipped
from papers import Grid, Paper

HP = "http://www.hancom.co.kr/hwpml/2011/paragraph"
HS = "http://www.hancom.co.kr/hwpml/2011/section"
HH = "http://www.hancom.co.kr/hwpml/2011/head"
FREE = 0xFFFFFFFF  # no sector, no entry of a compound file


def hwpx(paper: Paper) -> bytes:
    """A HWPX file of one section."""

    def para(text: str, style: int = 0, tail: str = "") -> str:
        return f'<hp:p id="0" paraPrIDRef="0" styleIDRef="{style}"><hp:run charPrIDRef="0"><hp:t>{escape(text)}</hp:t>{tail}</hp:run></hp:p>'

    def listed(inner: str) -> str:
        return f'<hp:subList id="" textDirection="HORIZONTAL">{inner}</hp:subList>'

    def table(grid: Grid) -> str:
        rows = ""
        for r, row in enumerate(grid.rows):
            cells = ""
            for c, text in enumerate(row):
                span = grid.span(r, c)
                if span:
                    cells += (
                        f'<hp:tc name="">{listed(para(text))}<hp:cellAddr colAddr="{c}" rowAddr="{r}"/>'
                        f'<hp:cellSpan colSpan="{span[1]}" rowSpan="{span[0]}"/></hp:tc>'
                    )
            rows += f"<hp:tr>{cells}</hp:tr>"
        return f'<hp:tbl rowCnt="{len(grid.rows)}" colCnt="{len(grid.rows[0])}">{rows}</hp:tbl>'

    body = para(paper.title)
    for part in paper.parts:
        notes = "".join(f"<hp:ctrl><hp:footNote>{listed(para(note))}</hp:footNote></hp:ctrl>" for note in part.notes)
        body += para(part.heading, 1)
        body += "".join(para(text, tail=notes if n == 0 else "") for n, text in enumerate(part.paragraphs))
        body += "".join(para("", tail=table(grid)) for grid in part.grids)
    styles = (
        '<hh:style id="0" type="PARA" name="바탕글"/><hh:style id="1" type="PARA" name="개요 1" engName="Outline 1"/>'
    )
    return zipped(
        {
            "mimetype": "application/hwp+zip",
            "version.xml": f'{XML}<hv:HCFVersion xmlns:hv="http://www.hancom.co.kr/hwpml/2011/version" major="5" minor="1"/>',
            "META-INF/container.xml": f'{XML}<ocf:container xmlns:ocf="urn:oasis:names:tc:opendocument:xmlns:container"><ocf:rootfiles><ocf:rootfile full-path="Contents/content.hpf" media-type="application/hwpml-package+xml"/></ocf:rootfiles></ocf:container>',
            "Contents/content.hpf": f'{XML}<opf:package xmlns:opf="http://www.idpf.org/2007/opf/"><opf:manifest><opf:item id="header" href="Contents/header.xml" media-type="application/xml"/><opf:item id="section0" href="Contents/section0.xml" media-type="application/xml"/></opf:manifest><opf:spine><opf:itemref idref="header"/><opf:itemref idref="section0"/></opf:spine></opf:package>',
            "Contents/header.xml": f'{XML}<hh:head xmlns:hh="{HH}" secCnt="1"><hh:refList><hh:styles itemCnt="2">{styles}</hh:styles></hh:refList></hh:head>',
            "Contents/section0.xml": f'{XML}<hs:sec xmlns:hs="{HS}" xmlns:hp="{HP}">{body}</hs:sec>',
        },
        stored=("mimetype",),
    )


def _record(tag: int, level: int, body: bytes) -> bytes:
    size = len(body)
    if size < 0xFFF:
        return struct.pack("<I", tag | level << 10 | size << 20) + body
    return struct.pack("<II", tag | level << 10 | 0xFFF << 20, size) + body


def hwp(paper: Paper, flags: int = 1) -> bytes:
    """A HWP 5 file of one section, compressed as 한글 writes it; `flags` are those of its header."""

    def control(code: int, kind: bytes) -> bytes:
        return struct.pack("<H", code) + kind[::-1] + bytes(8) + struct.pack("<H", code)

    def para(text: str, level: int = 0, controls: bytes = b"") -> bytes:
        body = text.encode("utf-16-le") + controls + b"\r\0"
        head = struct.pack("<IIHBBHHHI", len(body) // 2, 0, 0, 0, 0, 1, 0, 0, 0)
        return (
            _record(66, level, head) + _record(67, level + 1, body) + _record(68, level + 1, struct.pack("<II", 0, 0))
        )

    def table(grid: Grid) -> bytes:
        height, width = len(grid.rows), len(grid.rows[0])
        owned = [sum(grid.span(r, c) is not None for c in range(width)) for r in range(height)]
        shape = (
            struct.pack("<IHHH8x", 0, height, width, 0) + struct.pack(f"<{height}H", *owned) + struct.pack("<HH", 1, 0)
        )
        data = para("", 0, control(11, b"tbl "))
        data += _record(71, 1, b"tbl "[::-1] + bytes(40)) + _record(77, 2, shape)
        for r, row in enumerate(grid.rows):
            for c, text in enumerate(row):
                span = grid.span(r, c)
                if span:
                    place = struct.pack("<HIHHHHHII8xH", 1, 0, 0, c, r, span[1], span[0], 1, 1, 1)
                    data += _record(72, 2, place) + para(text, 2)
        return data

    def note(text: str) -> bytes:
        return _record(71, 1, b"fn  "[::-1] + bytes(12)) + _record(72, 2, struct.pack("<HIH", 1, 0, 0)) + para(text, 2)

    body = para(paper.title)
    for part in paper.parts:
        body += para(part.heading)
        for number, text in enumerate(part.paragraphs):
            notes = part.notes if number == 0 else []
            body += para(text, 0, control(17, b"fn  ") * len(notes)) + b"".join(map(note, notes))
        body += b"".join(map(table, part.grids))
    info = _record(16, 0, struct.pack("<HHHHHHHIII", 1, 1, 1, 1, 1, 1, 1, 0, 0, 0)) + _record(17, 0, bytes(72))
    header = b"HWP Document File".ljust(32, b"\0") + struct.pack("<II", 0x05000300, flags)
    return compound({
        "FileHeader": header.ljust(256, b"\0"),
        "DocInfo": _deflated(info),
        "BodyText/Section0": _deflated(body),
    })  # fmt: skip


def _deflated(data: bytes) -> bytes:
    squeeze = zlib.compressobj(6, zlib.DEFLATED, -15)
    return squeeze.compress(data) + squeeze.flush()


def _entry(name: str, kind: int, right: int = FREE, child: int = FREE, start: int = 0, size: int = 0) -> bytes:
    text = (name.split("/")[-1] if name else "Root Entry").encode("utf-16-le") + b"\0\0"
    return (
        text.ljust(64, b"\0") + struct.pack("<HBBIII", len(text), kind, 1, FREE, right, child) + bytes(36)
        + struct.pack("<IQ", start, size)
    )  # fmt: skip


def compound(streams: dict[str, bytes]) -> bytes:
    """An OLE compound file of these streams; one level of storages."""
    end, table = 0xFFFFFFFE, 0xFFFFFFFD
    sectors: list[bytes] = []
    fat: list[int] = []

    def put(data: bytes) -> int:
        if not data:
            return end
        first, count = len(sectors), -(-len(data) // 512)
        sectors.extend(data[n * 512 : n * 512 + 512].ljust(512, b"\0") for n in range(count))
        fat.extend([*range(first + 1, first + count), end])
        return first

    mini, minifat, places = b"", [], {}
    for name, data in streams.items():
        if len(data) >= 4096:
            places[name] = put(data)
        else:
            count = -(-len(data) // 64)
            places[name] = len(minifat) if count else end
            minifat += [*range(len(minifat) + 1, len(minifat) + count), end] if count else []
            mini += data.ljust(count * 64, b"\0")
    mini_start = put(mini)
    minifat_start = put(struct.pack(f"<{len(minifat)}I", *minifat).ljust(-(-len(minifat) * 4 // 512) * 512, b"\xff"))
    storages = sorted({name.split("/")[0] for name in streams if "/" in name})
    top = [*(n for n in streams if "/" not in n), *storages]
    order = ["", *top, *(n for n in streams if "/" in n)]
    number = {name: n for n, name in enumerate(order)}

    def chain(names: list[str]) -> dict[str, int]:
        names = sorted(names, key=lambda n: (len(n.split("/")[-1]), n.split("/")[-1].upper()))
        return {name: number[after] if after else FREE for name, after in zip(names, [*names[1:], ""], strict=True)}

    right = chain(top)
    for storage in storages:
        right |= chain([n for n in streams if n.startswith(f"{storage}/")])
    directory = _entry("", 5, child=number[next(iter(chain(top)))], start=mini_start, size=len(mini))
    for name in order[1:]:
        if name in storages:
            child = number[next(iter(chain([n for n in streams if n.startswith(f"{name}/")])))]
            directory += _entry(name, 1, right[name], child)
        else:
            directory += _entry(name, 2, right[name], start=places[name], size=len(streams[name]))
    directory_start = put(directory)
    fat_count = 1
    while fat_count * 128 < len(fat) + fat_count:
        fat_count += 1
    fat_places = [len(fat) + n for n in range(fat_count)]
    fat += [table] * fat_count
    packed = struct.pack(f"<{len(fat)}I", *fat).ljust(fat_count * 512, b"\xff")
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16) + struct.pack("<HHHHH6x", 0x3E, 3, 0xFFFE, 9, 6)
    header += struct.pack("<IIIII", 0, fat_count, directory_start, 0, 4096)
    header += struct.pack("<IIII", minifat_start, 1 if minifat else 0, end, 0)
    header += struct.pack("<109I", *fat_places, *[FREE] * (109 - fat_count))
    return header + b"".join(sectors) + packed
