"""Finds the header of tables as people keep them: below title lines, and maybe with a name twice."""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any

ALIASES = {
    "question": (
        "question", "questions", "q", "query", "instruction", "prompt", "질문", "문의", "질의", "문제", "질문내용", "질의내용",
        "질의사항", "문의내용", "문의사항",
    ),
    "answer": (
        "answer", "answers", "a", "response", "output", "completion", "답변", "회신", "응답", "대답", "답", "정답", "해설", "답변내용",
        "회신내용", "답변사항",
    ),
    "reference": ("source", "reference", "references", "citation", "출처", "근거", "참고", "참조"),
    "category": ("topic", "category", "subject", "분야", "주제", "분류", "카테고리"),
    "group": ("group", "document", "doc_id", "문서", "그룹"),
}  # fmt: skip
TITLE_LINES = 30  # rows searched for a header


def columns_of(names: Iterable[Any]) -> dict[str, str]:
    """Field → the row's own name for it, by the order of the aliases."""
    plain = {plain_name(name): name for name in reversed(list(names))}
    found = {}
    for field, aliases in ALIASES.items():
        name = next((alias for alias in aliases if alias in plain), None)
        if name is not None:
            found[field] = plain[name]
    return found


def more_answers(names: Iterable[Any], answer: str) -> list[str]:
    """The columns of further answers: 답변2, answer_3 …, in order; also 답변1 where it is not `answer` itself."""
    numbered = []
    for name in names:
        match = re.fullmatch(r"(.+?)[ _-]?(\d+)", plain_name(name))
        if match and match[1] in ALIASES["answer"] and name != answer:
            numbered.append((int(match[2]), name))
    return [name for _, name in sorted(numbered)]


def plain_name(name: Any) -> str:
    """A column's name in lower case, without spaces, marks and text in parentheses."""
    text = unicodedata.normalize("NFC", str(name)).lstrip("\ufeff")
    return re.sub(r"\([^)]*\)|[\s*:]", "", text).lower()


def is_header(row: Iterable[Any]) -> bool:
    """True if the row names a question and an answer."""
    names = [name for name in row if str(name or "").strip()]
    found = columns_of(names)
    return "question" in found and ("answer" in found or bool(more_answers(names, "")))


def records(rows: Iterable[list[str]]) -> Iterator[tuple[int, dict[str, Any], str]]:
    """(row, values by column, reason) of every row below the header, or below the first row if none looks like a header.

    `reason` is "too-many-columns" for a row longer than the header. A repeated name is numbered: the second 답변 is 답변2.
    """
    rest = iter(rows)
    first = list(islice(rest, TITLE_LINES))
    at = next((n for n, row in enumerate(first) if is_header(row)), None)
    if at is None:
        at = next((n for n, row in enumerate(first) if any(row)), 0)
    if at >= len(first):
        return
    names = _unique(first[at])
    for number, row in enumerate(chain(first[at + 1 :], rest), at + 1):
        if not any(row):
            continue
        extra = any(row[len(names) :]) if len(row) > len(names) else False
        cells = [*row, *[None] * (len(names) - len(row))]
        values = {name: cell for name, cell in zip(names, cells, strict=False) if name}
        yield number, values, "too-many-columns" if extra else ""


def _unique(names: list[str]) -> list[str]:
    counts: dict[str, int] = {}
    found = []
    for name in names:
        name = name.strip()
        counts[name] = counts.get(name, 0) + 1
        found.append(name if not name or counts[name] == 1 else f"{name}{counts[name]}")
    return found
