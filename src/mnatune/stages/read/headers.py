"""Finds the header of tables as people keep them: below title lines, and maybe with a name twice."""

import re
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any

from ...runs.errors import DataError
from ...text.normalize import folded

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
    "passage": ("input", "context", "passage", "지문", "본문", "입력", "맥락"),
    "history": ("history", "earlier", "이력", "이전대화"),
}  # fmt: skip
TITLE_LINES = 30  # rows searched for a header


def columns_of(names: Iterable[Any]) -> dict[str, str]:
    """Field → the row's own name for it, by the order of the aliases; a passage alone is the question."""
    plain = {plain_name(name): name for name in reversed(list(names))}
    found = {}
    for field, aliases in ALIASES.items():
        name = next((alias for alias in aliases if alias in plain), None)
        if name is not None:
            found[field] = plain[name]
    if "question" not in found and "passage" in found:
        found["question"] = found.pop("passage")
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
    return re.sub(r"\([^()]*\)|[\s*:]", "", folded(str(name)))


def is_header(row: Iterable[Any]) -> bool:
    """True if the row names a question and an answer."""
    names = [name for name in row if str(name or "").strip()]
    found = columns_of(names)
    return "question" in found and ("answer" in found or bool(more_answers(names, "")))


def records(rows: Iterable[tuple[str, list[str]]], where: str) -> Iterator[tuple[str, Any, str]]:
    """(place, values by column, reason) of every row below the header, or below the first row if none looks like one.

    A row longer than the header comes as its cells, with the reason. A second answer column of the same name is numbered:
    답변2. A column without a name is named by its number where it is filled.

    Args:
        rows: each row with its place in the file.

    Raises:
        DataError: a column other than the answer stands twice.
    """
    rest = iter(rows)
    first = list(islice(rest, TITLE_LINES))
    at = next((n for n, (_, row) in enumerate(first) if is_header(row)), None)
    if at is None:
        at = next((n for n, (_, row) in enumerate(first) if any(row)), 0)
    if at >= len(first):
        return
    place, header = first[at]
    names = _unique(header, f"{where}:{place}")
    for place, row in chain(first[at + 1 :], rest):
        if not any(row):
            continue
        if any(row[len(names) :]):
            yield place, row, "too-many-columns"
            continue
        cells = [*row, *[None] * (len(names) - len(row))]
        columns = enumerate(zip(names, cells, strict=False), 1)
        yield place, {name or f"column {n}": cell for n, (name, cell) in columns if name or cell}, ""


def _unique(header: list[str], where: str) -> list[str]:
    counts: dict[str, int] = {}
    found = []
    header = [name.strip() for name in header]
    for name in header:
        counts[name] = counts.get(name, 0) + 1
        again = bool(name) and counts[name] > 1
        if again and plain_name(name) not in ALIASES["answer"]:
            told = f"the column {name!r} stands {header.count(name)} times: one would hide the other"
            raise DataError(told, where=where, next_step="give each column a name of its own")
        found.append(f"{name}{counts[name]}" if again else name)
    return found
