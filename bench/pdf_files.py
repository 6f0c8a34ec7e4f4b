"""PDF files with Korean text and ruled tables; by the standard library alone."""

import re
import zlib

from papers import Grid, Paper


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
    if not text:
        return _document([b"50 50 200 200 re f"] * len(pages))
    for number in range(1, len(pages) + 1) if head else ():
        told = f"{head} {number}".encode("utf-16-be").hex().encode()
        pages[number - 1] += b"BT /F1 9 Tf 50 825 Td <%s> Tj ET\n" % told
    return _document(pages)


def _document(pages: list[bytes]) -> bytes:
    """The file of pages with these contents."""
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
    for body in pages:
        squeezed = zlib.compress(body)
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
