"""Office files of every format, written from one description, so that the words and cells of each are known.

Nothing but the standard library: the files hold what a reader needs, in the form in which the programs write it.
"""

from collections.abc import Callable
from email.message import EmailMessage
from html import escape

from hwp_files import compound, hwp, hwpx
from ooxml_files import docx, pptx, workbook, xlsx
from papers import Grid, Paper, Part, paper, words_of
from pdf_files import pdf

__all__ = ["WRITERS", "Grid", "Paper", "Part", "compound", "docx", "paper", "pdf", "words_of", "workbook"]


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
