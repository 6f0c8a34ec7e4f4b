"""The public `legalize-kr` and `precedent-kr` layouts: Markdown with a YAML head, one file per law or decision."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from ...law.layouts import head_and_body, unescaped
from .paths import files_below, name_of

# A sentence, a remark such as (적극), a heading in brackets; a bracket that closes a citation goes on.
ENDED = re.compile(r"(?:[.?!:;。…]|(?:적극|소극|여부|사례)[)）]|[\]」』”】])[\"'”’]*$|사례$|여부$|의미$|기준$|방법$")
MARKED = re.compile(
    r"[\[［【<〈(（]?\s*(?:\d{1,3}|[가-하]|[ⅰ-ⅹⅠ-Ⅹ]|다수의견|반대의견|별개의견|보충의견)\s*[\]］】>〉)）.]|[①-⑳㉠-㉾⑴-⒇■□○●◎◇◆※*·-]"
)
BOLD = re.compile(r"\*\*(.+?)\*\*")


@dataclass(frozen=True, slots=True)
class Page:
    """A Markdown file: its head as a mapping, and its body."""

    name: str
    facts: dict[str, Any]
    body: str


def pages(root: Path) -> Iterator[tuple[str, Page | None]]:
    """Name and page of every Markdown file of a folder in name order; None for a file without a head."""
    for file in files_below(root):
        if file.suffix.lower() != ".md" and root.is_dir():
            continue
        text = file.read_text(encoding="utf-8-sig", errors="replace").replace("\r\n", "\n")
        try:
            facts, body = head_and_body(text)
        except (yaml.YAMLError, RecursionError):
            facts = {}
        yield name_of(file, root), Page(name_of(file, root), facts, body) if facts else None


def plain(text: str) -> str:
    """Markdown without its marks: bold, escapes, indentation."""
    text = unescaped(BOLD.sub(r"\1", text))
    return "\n".join(line.strip() for line in text.split("\n")).strip()


def joined(text: str) -> str:
    """The text with the line breaks taken out that fall within a sentence ("제530조의2 제1항,⏎제2항").

    A line goes on in the next unless it ends as a sentence or heading does, or the next begins with a number or mark.
    """
    lines: list[str] = []
    for line in text.split("\n"):
        if lines and line and lines[-1] and not ENDED.search(lines[-1]) and not MARKED.match(line):
            lines[-1] += f" {line}"
        else:
            lines.append(line)
    return "\n".join(lines)


def parts(mark: re.Pattern[str], text: str) -> Iterator[tuple[re.Match[str], str]]:
    """Each match of a mark with the text up to the next one."""
    for here, after in pairwise([*mark.finditer(text), None]):
        if here:
            yield here, text[here.end() : after.start() if after else len(text)]


def fact(page: Page, name: str) -> str:
    """A scalar of the front matter, or ""."""
    value = page.facts.get(name)
    return value if isinstance(value, str) else ""


def iso_date(text: str) -> str:
    """The date, or "" if it is not a valid ISO 8601 date."""
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        return ""
