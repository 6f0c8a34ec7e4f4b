"""Word, Excel and PowerPoint files, and the ZIP container that they share with HWPX; by the standard library alone."""

import re
import zipfile
from html import escape
from io import BytesIO

from papers import Grid, Paper

XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
TYPES = "http://schemas.openxmlformats.org/package/2006/content-types"
RELS = "http://schemas.openxmlformats.org/package/2006/relationships"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
S = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
A = "http://schemas.openxmlformats.org/drawingml/2006/main"
P = "http://schemas.openxmlformats.org/presentationml/2006/main"


def zipped(members: dict[str, str | bytes], stored: tuple[str, ...] = ()) -> bytes:
    """A ZIP of these members, those in `stored` uncompressed; the same bytes each time."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in members.items():
            kind = zipfile.ZIP_STORED if name in stored else zipfile.ZIP_DEFLATED
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), body, kind)
    return buffer.getvalue()


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


def _word_paragraph(text: str, style: str = "", tail: str = "") -> str:
    styled = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f'<w:p>{styled}<w:r><w:t xml:space="preserve">{escape(text)}</w:t></w:r>{tail}</w:p>'


def _word_table(grid: Grid) -> str:
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
            cells += f'<w:tc><w:tcPr><w:gridSpan w:val="{width}"/>{merge}</w:tcPr>{_word_paragraph(text)}</w:tc>'
            c += width
        rows += f"<w:tr>{cells}</w:tr>"
    return f"<w:tbl><w:tblPr/><w:tblGrid>{'<w:gridCol/>' * len(grid.rows[0])}</w:tblGrid>{rows}</w:tbl>"


def docx(paper: Paper, extra: str = "", comments: int = 0, numbering: str = "") -> bytes:
    """A Word file; `extra` is XML for the end of the body, `numbering` the inside of numbering.xml."""

    body, notes = _word_paragraph(paper.title, "Title"), []
    for part in paper.parts:
        tail = ""
        for note in part.notes:
            notes.append(note)
            tail += f'<w:r><w:footnoteReference w:id="{len(notes)}"/></w:r>'
        body += _word_paragraph(part.heading, "Heading1")
        body += "".join(_word_paragraph(text, tail=tail if n == 0 else "") for n, text in enumerate(part.paragraphs))
        body += "".join(_word_table(grid) for grid in part.grids)
    marked = "".join(
        f'<w:comment w:id="{n}" w:author="검토자">{_word_paragraph(f"비밀 의견 {n}")}</w:comment>'
        for n in range(comments)
    )
    foot = "".join(f'<w:footnote w:id="{n}">{_word_paragraph(text)}</w:footnote>' for n, text in enumerate(notes, 1))
    names = {"Title": "Title", "Heading1": "heading 1"}
    styles = "".join(
        f'<w:style w:type="paragraph" w:styleId="{key}"><w:name w:val="{name}"/>'
        + ('<w:pPr><w:outlineLvl w:val="0"/></w:pPr>' if key == "Heading1" else "")
        + "</w:style>"
        for key, name in names.items()
    )
    header = f'{XML}<w:hdr xmlns:w="{W}">{_word_paragraph("대외비 머리글")}</w:hdr>'
    section = f'<w:sectPr><w:headerReference xmlns:r="{OFFICE}" w:type="default" r:id="rId4"/></w:sectPr>'
    kind = "application/vnd.openxmlformats-officedocument.wordprocessingml."
    return zipped(
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
    return zipped(
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
    return zipped(
        {
            "[Content_Types].xml": _types(**parts),
            "_rels/.rels": _rels(("officeDocument", "ppt/presentation.xml")),
            "ppt/presentation.xml": f'{XML}<p:presentation xmlns:p="{P}" xmlns:r="{OFFICE}"><p:sldIdLst>{ids}</p:sldIdLst></p:presentation>',
            "ppt/_rels/presentation.xml.rels": _rels(*links),
            **members,
        }
    )
