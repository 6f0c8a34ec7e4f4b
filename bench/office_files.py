"""Office files of every format, written from one description, so that the words and cells of each are known.

Nothing but the standard library: the files hold what a reader needs, in the form in which the programs write it.
"""

import random
import re
import struct
import unicodedata
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import EmailMessage
from html import escape
from io import BytesIO

WORD = re.compile(r"[0-9A-Za-z가-힣]+")


@dataclass
class Grid:
    """A table; `merged` are (row, column, rows, columns), the text standing in their first cell."""

    rows: list[list[str]]
    merged: list[tuple[int, int, int, int]] = field(default_factory=list)

    def filled(self) -> list[list[str]]:
        """The rows with the text of merged cells repeated."""
        rows = [list(row) for row in self.rows]
        for row, column, height, width in self.merged:
            for r in range(row, row + height):
                for c in range(column, column + width):
                    rows[r][c] = self.rows[row][column]
        return rows

    def span(self, row: int, column: int) -> tuple[int, int] | None:
        """Rows and columns of the cell; None for one that another covers."""
        for r, c, height, width in self.merged:
            if (r, c) == (row, column):
                return height, width
            if r <= row < r + height and c <= column < c + width:
                return None
        return 1, 1


@dataclass
class Part:
    """A heading with its paragraphs, tables and footnotes."""

    heading: str
    paragraphs: list[str] = field(default_factory=list)
    grids: list[Grid] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass
class Paper:
    """A document."""

    title: str
    parts: list[Part]

    def words(self, notes: bool = True) -> Counter[str]:
        """All its words; text of merged cells counts once."""
        texts = [self.title]
        for part in self.parts:
            texts += [part.heading, *part.paragraphs, *(part.notes if notes else [])]
            texts += [cell for grid in part.grids for row in grid.rows for cell in row]
        return words_of("\n".join(texts))

    def cells(self) -> Counter[str]:
        """All cells that are not empty, merged ones repeated."""
        return Counter(c for part in self.parts for grid in part.grids for row in grid.filled() for c in row if c)


def words_of(text: str) -> Counter[str]:
    return Counter(WORD.findall(unicodedata.normalize("NFC", text)))


def _zip(members: dict[str, str | bytes], stored: tuple[str, ...] = ()) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in members.items():
            kind = zipfile.ZIP_STORED if name in stored else zipfile.ZIP_DEFLATED
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), body, kind)
    return buffer.getvalue()


XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
TYPES = "http://schemas.openxmlformats.org/package/2006/content-types"
RELS = "http://schemas.openxmlformats.org/package/2006/relationships"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
S = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
A = "http://schemas.openxmlformats.org/drawingml/2006/main"
P = "http://schemas.openxmlformats.org/presentationml/2006/main"


def _types(**parts: str) -> str:
    inner = "".join(f'<Override PartName="/{name}" ContentType="{kind}"/>' for name, kind in parts.items())
    base = '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    return f'{XML}<Types xmlns="{TYPES}">{base}<Default Extension="xml" ContentType="application/xml"/>{inner}</Types>'


def _rels(*links: tuple[str, str]) -> str:
    inner = "".join(
        f'<Relationship Id="rId{n}" Type="{OFFICE}/{kind}" Target="{target}"/>'
        for n, (kind, target) in enumerate(links, 1)
    )
    return f'{XML}<Relationships xmlns="{RELS}">{inner}</Relationships>'


def docx(paper: Paper, extra: str = "", comments: int = 0, numbering: str = "") -> bytes:
    """A Word file; `extra` is XML for the end of the body, `numbering` the inside of numbering.xml."""

    def para(text: str, style: str = "", tail: str = "") -> str:
        styled = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
        return f'<w:p>{styled}<w:r><w:t xml:space="preserve">{escape(text)}</w:t></w:r>{tail}</w:p>'

    def table(grid: Grid) -> str:
        rows = ""
        for r, row in enumerate(grid.rows):
            cells, c = "", 0
            while c < len(row):
                span, width, merge, text = grid.span(r, c), 1, "", row[c]
                if span:
                    width = span[1]
                    merge = '<w:vMerge w:val="restart"/>' if span[0] > 1 else ""
                else:
                    width = next(w for a, b, h, w in grid.merged if a < r < a + h and b == c)
                    merge, text = "<w:vMerge/>", ""
                cells += f'<w:tc><w:tcPr><w:gridSpan w:val="{width}"/>{merge}</w:tcPr>{para(text)}</w:tc>'
                c += width
            rows += f"<w:tr>{cells}</w:tr>"
        return f"<w:tbl><w:tblPr/><w:tblGrid>{'<w:gridCol/>' * len(grid.rows[0])}</w:tblGrid>{rows}</w:tbl>"

    body, notes = para(paper.title, "Title"), []
    for part in paper.parts:
        tail = ""
        for note in part.notes:
            notes.append(note)
            tail += f'<w:r><w:footnoteReference w:id="{len(notes)}"/></w:r>'
        body += para(part.heading, "Heading1")
        body += "".join(para(text, tail=tail if n == 0 else "") for n, text in enumerate(part.paragraphs))
        body += "".join(table(grid) for grid in part.grids)
    marked = "".join(
        f'<w:comment w:id="{n}" w:author="검토자">{para(f"비밀 의견 {n}")}</w:comment>' for n in range(comments)
    )
    foot = "".join(f'<w:footnote w:id="{n}">{para(text)}</w:footnote>' for n, text in enumerate(notes, 1))
    names = {"Title": "Title", "Heading1": "heading 1"}
    styles = "".join(
        f'<w:style w:type="paragraph" w:styleId="{key}"><w:name w:val="{name}"/>'
        + ('<w:pPr><w:outlineLvl w:val="0"/></w:pPr>' if key == "Heading1" else "")
        + "</w:style>"
        for key, name in names.items()
    )
    header = f'{XML}<w:hdr xmlns:w="{W}">{para("대외비 머리글")}</w:hdr>'
    section = f'<w:sectPr><w:headerReference xmlns:r="{OFFICE}" w:type="default" r:id="rId4"/></w:sectPr>'
    kind = "application/vnd.openxmlformats-officedocument.wordprocessingml."
    return _zip(
        {
            "[Content_Types].xml": _types(
                **{
                    "word/document.xml": f"{kind}document.main+xml",
                    "word/styles.xml": f"{kind}styles+xml",
                    "word/footnotes.xml": f"{kind}footnotes+xml",
                    "word/comments.xml": f"{kind}comments+xml",
                    "word/header1.xml": f"{kind}header+xml",
                }
            ),
            "_rels/.rels": _rels(("officeDocument", "word/document.xml")),
            "word/_rels/document.xml.rels": _rels(
                ("styles", "styles.xml"),
                ("footnotes", "footnotes.xml"),
                ("comments", "comments.xml"),
                ("header", "header1.xml"),
            ),
            "word/document.xml": f'{XML}<w:document xmlns:w="{W}"><w:body>{body}{extra}{section}</w:body></w:document>',
            "word/styles.xml": f'{XML}<w:styles xmlns:w="{W}">{styles}</w:styles>',
            "word/footnotes.xml": f'{XML}<w:footnotes xmlns:w="{W}">{foot}</w:footnotes>',
            "word/comments.xml": f'{XML}<w:comments xmlns:w="{W}">{marked}</w:comments>',
            "word/header1.xml": header,
            **(
                {"word/numbering.xml": f'{XML}<w:numbering xmlns:w="{W}">{numbering}</w:numbering>'}
                if numbering
                else {}
            ),
        }
    )


def column(number: int) -> str:
    """A, B, … Z, AA of a column from 0."""
    name, number = "", number + 1
    while number:
        number, rest = divmod(number - 1, 26)
        name = chr(65 + rest) + name
    return name


def workbook(sheets: dict[str, Grid]) -> bytes:
    """An Excel file; a cell that reads as a whole number becomes a number."""

    def cell(at: str, text: str) -> str:
        if re.fullmatch(r"[1-9]\d{0,14}", text):
            return f'<c r="{at}"><v>{text}</v></c>'
        return f'<c r="{at}" t="inlineStr"><is><t xml:space="preserve">{escape(text)}</t></is></c>'

    members: dict[str, str | bytes] = {}
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml."
    parts = {"xl/workbook.xml": f"{kind}sheet.main+xml"}
    for number, grid in enumerate(sheets.values(), 1):
        rows = ""
        for r, row in enumerate(grid.rows, 1):
            shown = [(c, text) for c, text in enumerate(row) if text and grid.span(r - 1, c)]
            rows += f'<row r="{r}">{"".join(cell(f"{column(c)}{r}", text) for c, text in shown)}</row>'
        merged = "".join(
            f'<mergeCell ref="{column(c)}{r + 1}:{column(c + w - 1)}{r + h}"/>' for r, c, h, w in grid.merged
        )
        merged = f"<mergeCells>{merged}</mergeCells>" if merged else ""
        name = f"xl/worksheets/sheet{number}.xml"
        members[name] = f'{XML}<worksheet xmlns="{S}"><sheetData>{rows}</sheetData>{merged}</worksheet>'
        parts[name] = f"{kind}worksheet+xml"
    listed = "".join(
        f'<sheet name="{escape(name)}" sheetId="{n}" xmlns:r="{OFFICE}" r:id="rId{n}"/>'
        for n, name in enumerate(sheets, 1)
    )
    links = [("worksheet", f"worksheets/sheet{n}.xml") for n in range(1, len(sheets) + 1)]
    return _zip(
        {
            "[Content_Types].xml": _types(**parts),
            "_rels/.rels": _rels(("officeDocument", "xl/workbook.xml")),
            "xl/workbook.xml": f'{XML}<workbook xmlns="{S}"><sheets>{listed}</sheets></workbook>',
            "xl/_rels/workbook.xml.rels": _rels(*links),
            **members,
        }
    )


def xlsx(paper: Paper) -> bytes:
    """A workbook with a sheet for each part: heading, paragraphs, then the tables."""
    sheets: dict[str, Grid] = {}
    for number, part in enumerate(paper.parts):
        rows = [[text] for text in ([paper.title] if number == 0 else []) + [part.heading, *part.paragraphs]]
        merged = []
        for grid in part.grids:
            rows.append([])
            merged += [(r + len(rows), c, h, w) for r, c, h, w in grid.merged]
            rows += grid.rows
        rows += [[note] for note in part.notes]
        sheets[f"시트{number + 1}"] = Grid(rows, merged)
    return workbook(sheets)


def pptx(paper: Paper) -> bytes:
    """A slide for each part; footnotes become speaker text on the slide."""

    def shape(number: int, text: str, title: bool = False) -> str:
        kind = '<p:nvPr><p:ph type="title"/></p:nvPr>' if title else "<p:nvPr/>"
        lines = "".join(f"<a:p><a:r><a:t>{escape(line)}</a:t></a:r></a:p>" for line in text.split("\n"))
        return (
            f'<p:sp><p:nvSpPr><p:cNvPr id="{number}" name="s{number}"/><p:cNvSpPr/>{kind}</p:nvSpPr><p:spPr/>'
            f"<p:txBody><a:bodyPr/>{lines}</p:txBody></p:sp>"
        )

    def table(number: int, grid: Grid) -> str:
        rows = ""
        for r, row in enumerate(grid.rows):
            cells = ""
            for c, text in enumerate(row):
                span = grid.span(r, c)
                mark = f' rowSpan="{span[0]}" gridSpan="{span[1]}"' if span and span != (1, 1) else ""
                if span is None:
                    a, b = next((a, b) for a, b, h, w in grid.merged if a <= r < a + h and b <= c < b + w)
                    mark, text = (' vMerge="1"' if r > a else "") + (' hMerge="1"' if c > b else ""), ""
                cells += f"<a:tc{mark}><a:txBody><a:bodyPr/><a:p><a:r><a:t>{escape(text)}</a:t></a:r></a:p></a:txBody><a:tcPr/></a:tc>"
            rows += f'<a:tr h="1">{cells}</a:tr>'
        grid_columns = '<a:gridCol w="1"/>' * len(grid.rows[0])
        return (
            f'<p:graphicFrame><p:nvGraphicFramePr><p:cNvPr id="{number}" name="t{number}"/><p:cNvGraphicFramePr/><p:nvPr/>'
            f"</p:nvGraphicFramePr><p:xfrm/><a:graphic><a:graphicData "
            f'uri="http://schemas.openxmlformats.org/drawingml/2006/table"><a:tbl><a:tblGrid>{grid_columns}</a:tblGrid>{rows}'
            f"</a:tbl></a:graphicData></a:graphic></p:graphicFrame>"
        )

    kind = "application/vnd.openxmlformats-officedocument.presentationml."
    parts, members = {"ppt/presentation.xml": f"{kind}presentation.main+xml"}, {}
    for number, part in enumerate(paper.parts, 1):
        texts = ([paper.title] if number == 1 else []) + part.paragraphs + part.notes
        shapes = shape(2, part.heading, title=True)
        shapes += "".join(shape(3 + n, text) for n, text in enumerate(texts))
        shapes += "".join(table(100 + n, grid) for n, grid in enumerate(part.grids))
        name = f"ppt/slides/slide{number}.xml"
        tree = f"<p:spTree><p:nvGrpSpPr/><p:grpSpPr/>{shapes}</p:spTree>"
        members[name] = f'{XML}<p:sld xmlns:p="{P}" xmlns:a="{A}"><p:cSld>{tree}</p:cSld></p:sld>'
        parts[name] = f"{kind}slide+xml"
    ids = "".join(f'<p:sldId id="{255 + n}" r:id="rId{n}"/>' for n in range(1, len(paper.parts) + 1))
    links = [("slide", f"slides/slide{n}.xml") for n in range(1, len(paper.parts) + 1)]
    return _zip(
        {
            "[Content_Types].xml": _types(**parts),
            "_rels/.rels": _rels(("officeDocument", "ppt/presentation.xml")),
            "ppt/presentation.xml": f'{XML}<p:presentation xmlns:p="{P}" xmlns:r="{OFFICE}"><p:sldIdLst>{ids}</p:sldIdLst></p:presentation>',
            "ppt/_rels/presentation.xml.rels": _rels(*links),
            **members,
        }
    )


HP = "http://www.hancom.co.kr/hwpml/2011/paragraph"
HS = "http://www.hancom.co.kr/hwpml/2011/section"
HH = "http://www.hancom.co.kr/hwpml/2011/head"


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
    return _zip(
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


def compound(streams: dict[str, bytes]) -> bytes:
    """An OLE compound file of these streams; one level of storages."""
    free, end, table = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD
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

    def entry(name: str, kind: int, right: int = free, child: int = free, start: int = 0, size: int = 0) -> bytes:
        text = (name.split("/")[-1] if name else "Root Entry").encode("utf-16-le") + b"\0\0"
        return (
            text.ljust(64, b"\0") + struct.pack("<HBBIII", len(text), kind, 1, free, right, child) + bytes(36)
            + struct.pack("<IQ", start, size)
        )  # fmt: skip

    def chain(names: list[str]) -> dict[str, int]:
        names = sorted(names, key=lambda n: (len(n.split("/")[-1]), n.split("/")[-1].upper()))
        return {name: number[after] if after else free for name, after in zip(names, [*names[1:], ""], strict=True)}

    right = chain(top)
    for storage in storages:
        right |= chain([n for n in streams if n.startswith(f"{storage}/")])
    directory = entry("", 5, child=number[next(iter(chain(top)))], start=mini_start, size=len(mini))
    for name in order[1:]:
        if name in storages:
            child = number[next(iter(chain([n for n in streams if n.startswith(f"{name}/")])))]
            directory += entry(name, 1, right[name], child)
        else:
            directory += entry(name, 2, right[name], start=places[name], size=len(streams[name]))
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
    header += struct.pack("<109I", *fat_places, *[free] * (109 - fat_count))
    return header + b"".join(sectors) + packed


def _wrapped(line: str, width: float, wrap: str) -> list[str]:
    """The line in pieces of a width in em.

    Args:
        wrap: `spaced` cuts between any two letters and leaves a space with what is before it, as 한글 and Word do;
            `letters` cuts so too but drops the space, `words` cuts at spaces and drops them, as browsers do.
    """
    pieces, room = [""], width
    for unit in re.findall(r"\S+ *|^ +" if wrap == "words" else r".", line):
        wide = sum(1.0 if letter >= "\u2e80" or "\u2460" <= letter <= "\u24ff" else 0.5 for letter in unit.rstrip())
        if room < wide:
            pieces.append("")
            room = width
        pieces[-1] += unit
        room -= wide + 0.5 * (len(unit) - len(unit.rstrip()))
    return pieces if wrap == "spaced" else [piece.rstrip() for piece in pieces]


def pdf(paper: Paper, lines: int = 40, *, text: bool = True, wrap: str = "spaced", head: str = "") -> bytes:
    """A PDF with a Korean font by name; tables have ruling lines. Without text the pages hold a rectangle only.

    Args:
        head: stands on top of every page, with its number.
    """
    pages: list[bytes] = [b""]
    at = [800.0]

    def shown(x: float, line: str) -> None:
        if text:
            pages[-1] += b"BT /F1 9 Tf %.1f %.1f Td <%s> Tj ET\n" % (x, at[0], line.encode("utf-16-be").hex().encode())

    def step(height: float = 18.0) -> None:
        at[0] -= height
        if at[0] < 800 - lines * 18:
            pages.append(b"")
            at[0] = 800.0

    def write(line: str) -> None:
        for piece in _wrapped(line, 54.0, wrap):
            shown(50, piece)
            step()

    def grid(table: Grid) -> None:
        if at[0] - len(table.rows) * 18 < 800 - lines * 18:
            pages.append(b"")
            at[0] = 800.0
        width, top = 480 / len(table.rows[0]), at[0] + 12
        for r, row in enumerate(table.rows):
            for c, cell in enumerate(row):
                span = table.span(r, c)
                if span:
                    box = (50 + c * width, top - (r + span[0]) * 18, span[1] * width, span[0] * 18)
                    pages[-1] += b"%.1f %.1f %.1f %.1f re S\n" % box
                    shown(54 + c * width, cell)
            step()
        step()

    write(paper.title)
    for part in paper.parts:
        for line in [part.heading, *part.paragraphs]:
            write(line)
        for table in part.grids:
            grid(table)
        for line in part.notes:
            write(line)
    objects = [b"<</Type/Catalog/Pages 2 0 R>>", b""]
    objects.append(
        b"<</Type/Font/Subtype/Type0/BaseFont/HYSMyeongJo-Medium/Encoding/UniKS-UTF16-H/DescendantFonts[4 0 R]>>"
    )
    objects.append(
        b"<</Type/Font/Subtype/CIDFontType0/BaseFont/HYSMyeongJo-Medium/CIDSystemInfo<</Registry(Adobe)/Ordering(Korea1)"
        b"/Supplement 1>>/DW 1000/W[1[333] 2 94 500]/FontDescriptor 5 0 R>>"
    )
    objects.append(
        b"<</Type/FontDescriptor/FontName/HYSMyeongJo-Medium/Flags 6/FontBBox[0 -148 1001 880]/ItalicAngle 0/Ascent 880"
        b"/Descent -148/CapHeight 720/StemV 58>>"
    )
    kids = []
    for number, body in enumerate(pages, 1):
        if head:
            body += b"BT /F1 9 Tf 50 825 Td <%s> Tj ET\n" % f"{head} {number}".encode("utf-16-be").hex().encode()
        squeezed = zlib.compress(body if text else b"50 50 200 200 re f")
        objects.append(b"<</Length %d/Filter/FlateDecode>>stream\n%s\nendstream" % (len(squeezed), squeezed))
        objects.append(
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents %d 0 R/Resources<</Font<</F1 3 0 R>>>>>>"
            % len(objects)
        )
        kids.append(b"%d 0 R" % len(objects))
    objects[1] = b"<</Type/Pages/Count %d/Kids[%s]>>" % (len(kids), b" ".join(kids))
    data, offsets = b"%PDF-1.7\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table_at = len(data)
    data += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1) + b"".join(
        b"%010d 00000 n \n" % n for n in offsets
    )
    return data + b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, table_at)


def html(paper: Paper) -> bytes:
    """A page in UTF-8."""

    def table(grid: Grid) -> str:
        rows = ""
        for r, row in enumerate(grid.rows):
            cells = [(grid.span(r, c), text) for c, text in enumerate(row)]
            rows += (
                "<tr>" + "".join(f"<td rowspan={s[0]} colspan={s[1]}>{escape(t)}</td>" for s, t in cells if s) + "</tr>"
            )
        return f"<table>{rows}</table>"

    body = f"<h1>{escape(paper.title)}</h1>"
    for part in paper.parts:
        body += f"<h2>{escape(part.heading)}</h2>" + "".join(f"<p>{escape(text)}</p>" for text in part.paragraphs)
        body += "".join(map(table, part.grids)) + "".join(f"<p>{escape(note)}</p>" for note in part.notes)
    script = "<script>var secret = '스크립트';</script><style>p {color: red}</style>"
    return f"<!doctype html><html><head><meta charset=utf-8>{script}</head><body>{body}</body></html>".encode()


def markdown(paper: Paper) -> bytes:
    """Markdown in UTF-8; merged cells are written out."""
    text = f"# {paper.title}\n"
    for part in paper.parts:
        text += f"\n## {part.heading}\n\n" + "\n\n".join(part.paragraphs) + "\n"
        for grid in part.grids:
            head, *rows = grid.filled()
            text += f"\n| {' | '.join(head)} |\n|{'---|' * len(head)}\n"
            text += "".join(f"| {' | '.join(row)} |\n" for row in rows)
        text += "".join(f"\n{note}\n" for note in part.notes)
    return text.encode()


def plain(paper: Paper, encoding: str = "cp949") -> bytes:
    """Lines, cells between tabs."""
    lines = [paper.title]
    for part in paper.parts:
        lines += [part.heading, *part.paragraphs]
        lines += ["\t".join(row) for grid in part.grids for row in grid.filled()] + part.notes
    return "\r\n".join(lines).encode(encoding)


def eml(paper: Paper) -> bytes:
    """A message with a Korean subject and the text as an HTML part; an attachment that is not read."""
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = paper.title, "보낸이 <a@example.com>", "b@example.com"
    message["Date"] = "Mon, 02 Mar 2026 09:00:00 +0900"
    message.set_content(plain(paper, "utf-8").decode().replace("\r\n", "\n"))
    message.add_alternative(html(paper).decode(), subtype="html")
    message.add_attachment(b"PK", maintype="application", subtype="zip", filename="첨부.zip")
    return bytes(message)


WRITERS: dict[str, Callable[[Paper], bytes]] = {
    "hwpx": hwpx, "hwp": hwp, "docx": docx, "xlsx": xlsx, "pptx": pptx, "pdf": pdf, "html": html, "md": markdown,
    "txt": plain, "eml": eml,
}  # fmt: skip

TERMS = ["매수인", "매도인", "대상회사", "거래종결", "진술 및 보장", "손해배상", "선행조건", "에스크로", "주식매매대금", "경업금지",
    "기업결합신고", "영업양도", "우선협상대상자", "실사", "인허가", "근로관계", "지식재산권", "소송", "조세", "중대한 부정적 영향"]  # fmt: skip
VERBS = [
    "통지하여야 한다.",
    "이행하여야 한다.",
    "승계한다.",
    "면책된다.",
    "동의하여야 한다.",
    "해제할 수 있다.",
    "보전한다.",
]
KINDS = ("주식매매계약서", "텀시트", "실사 요청 목록", "이사회 의사록")


def sentence(draw: random.Random) -> str:
    """A sentence in the manner of a contract."""
    a, b, c = draw.sample(TERMS, 3)
    return f"{a}은 {b}에 관하여 {draw.randint(3, 90)}일 이내에 {c} {draw.randint(1, 999)}호에 따라 {draw.choice(VERBS)}"


def table_of(draw: random.Random, rows: int) -> Grid:
    """A table with a heading row and a merged first column."""
    body = [
        [f"{draw.choice(TERMS)} {n}", f"{draw.randint(1, 9999):,}백만원", f"{draw.choice(TERMS)} 자료 {n}"]
        for n in range(rows)
    ]
    grid = Grid([["구분", "금액", "비고"], *body])
    if rows >= 3:
        grid.merged.append((1, 0, 2, 1))
        grid.rows[2][0] = ""
    return grid


def paper(seed: int, pages: int = 3) -> Paper:
    """A deal document of about so many pages of 1,800 characters: articles, schedules, tables, footnotes."""
    draw = random.Random(seed)
    parts = []
    for number in range(1, max(2, pages) + 1):
        grids = [table_of(draw, draw.randint(3, 8))] if number % 2 == 0 else []
        lines = [f"{mark} {sentence(draw)} {sentence(draw)}" for mark in "①②③④⑤⑥⑦⑧⑨⑩⑪⑫⑬"]
        notes = [f"각주로서 {sentence(draw)}"] if number % 3 == 0 else []
        parts.append(Part(f"제{number}조 ({draw.choice(TERMS)})", lines, grids, notes))
    return Paper(f"{draw.choice(KINDS)} {seed}", parts)
