"""The public `legalize-kr` and `precedent-kr` layouts: Markdown with a YAML head, one file per law or decision."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

FRONT = re.compile(r"\A\ufeff?---\n(.*?)\n---\n", re.DOTALL)
ESCAPED = re.compile(r"\\([\\`*_{}\[\]()#+\-.!<>~|])")
BOLD = re.compile(r"\*\*(.+?)\*\*")


@dataclass(frozen=True, slots=True)
class Page:
    """A Markdown file: its head as a mapping, and its body."""

    name: str
    facts: dict[str, Any]
    body: str


def pages(root: Path) -> Iterator[tuple[str, Page | None]]:
    """Name and page of every Markdown file of a folder in name order; None for a file without a head."""
    files = sorted(root.rglob("*.md")) if root.is_dir() else [root]
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    for file in files:
        name = unicodedata.normalize("NFC", file.relative_to(root).as_posix() if root.is_dir() else file.name)
        text = file.read_text(encoding="utf-8-sig", errors="replace").replace("\r\n", "\n")
        head = FRONT.match(text)
        try:
            facts = yaml.load(head[1], loader) if head else None
        except yaml.YAMLError:
            facts = None
        yield name, Page(name, facts, text[head.end() :]) if head and isinstance(facts, dict) else None


def plain(text: str) -> str:
    """Markdown without its marks: bold, escapes, indentation."""
    text = ESCAPED.sub(r"\1", BOLD.sub(r"\1", text))
    return "\n".join(line.strip() for line in text.split("\n")).strip()


def fact(page: Page, name: str) -> str:
    """A value of the head as text; empty if it is not there."""
    value = page.facts.get(name)
    return "" if value is None else str(value)
