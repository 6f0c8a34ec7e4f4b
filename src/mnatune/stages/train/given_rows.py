"""What rows hold besides a dialogue, as people give them to the methods: pairs, thumbs, evidence and passages, checked."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from ...model.dialogue_rows import says, turns_of
from ...model.prompt import Message
from ...runs.errors import DataError

PASSAGE = ("name", "in_force", "text")


def is_pair(row: Mapping[str, Any]) -> bool:
    """A better and a worse answer."""
    return "chosen" in row and "rejected" in row


def is_thumb(row: Mapping[str, Any]) -> bool:
    """An answer with a thumb."""
    return "completion" in row and "label" in row


def preference_of(row: dict[str, Any], where: str) -> dict[str, Any]:
    """A pair or an answer with a thumb, checked; what is neither, as it is.

    An answer that is not wanted may be empty: a model may have said nothing.

    Raises:
        DataError: its dialogue, its label or its margin is none.
    """
    if is_pair(row):
        prompt = _prompt(row, where)
        margin = row.get("margin", 1)
        if isinstance(margin, bool) or not isinstance(margin, int | float):
            raise DataError(
                "margin must be a number", where=where, next_step="write the difference in rank, or leave it out"
            )
        answers = {"chosen": _answer(row, "chosen", where, wanted=True), "rejected": _answer(row, "rejected", where)}
        return {**row, "prompt": prompt, **answers, "margin": margin}
    if is_thumb(row):
        label = row["label"]
        if not isinstance(label, bool):
            raise DataError(
                "label must be true or false", where=where,
                next_step="write true for an answer that is wanted, false for one that is not, without quotes",
            )  # fmt: skip
        return {**row, "prompt": _prompt(row, where), "completion": _answer(row, "completion", where, wanted=label)}
    return row


def evidence_of(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The evidence that a question is asked with; empty without any.

    Raises:
        DataError: its passages are no list of names, its day is none, or it has a question without an answer.
    """
    given = row.get("evidence")
    if given is None or given == {}:
        return {}
    if not isinstance(given, dict):
        raise _no_evidence("it is no object", where)
    known = {name: value for name, value in given.items() if value is not None}
    names = known.get("passages")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _no_evidence("its passages are no list of names", where)
    if known.get("day", "") != "" and not _is_day(known["day"]):
        raise _no_evidence("its day is no date", where)
    own = [known[name] for name in ("question", "answer") if name in known]
    if len(own) == 1 or not all(isinstance(text, str) for text in own):
        raise _no_evidence("its question and answer are not both there as text", where)
    return known


def passage_of(row: Mapping[str, Any], where: str) -> dict[str, str]:
    """The passage that a teacher reads; empty without any.

    Raises:
        DataError: it lacks a part.
    """
    given = row.get("passage")
    if given is None or given == {}:
        return {}
    parts = given if isinstance(given, dict) else {}
    lacking = [name for name in PASSAGE if not isinstance(parts.get(name), str)]
    span = parts.get("span")
    if lacking or not (span is None or isinstance(span, str)):
        raise DataError(
            f"the passage has no text as {', '.join(lacking or ['span'])}", where=where,
            next_step='write passage as {"name": "상법 제522조", "in_force": "2024-01-01 시행 법령", "text": "…"}',
        )  # fmt: skip
    return {**{name: parts[name] for name in PASSAGE}, "span": span or ""}


def _prompt(row: Mapping[str, Any], where: str) -> list[Message]:
    turns = turns_of(row, "prompt", where)
    if turns[-1]["role"] not in ("user", "tool"):
        raise DataError("prompt must end with the question", where=where, next_step="end it with a turn of user")
    return turns


def _answer(row: Mapping[str, Any], name: str, where: str, *, wanted: bool = False) -> list[Message]:
    turns = turns_of(row, name, where)
    if [turn["role"] for turn in turns] != ["assistant"]:
        raise DataError(
            f"{name} must be one answer", where=where,
            next_step="write a single turn of assistant; the turns before it belong into prompt",
        )  # fmt: skip
    if wanted and not says(turns[0]):
        raise DataError(
            f"{name} is empty", where=where, next_step="write the answer that is wanted, or take the row out"
        )
    return turns


def _is_day(given: Any) -> bool:
    """A date as "2024-01-31": days are compared as text."""
    try:
        return bool(date.fromisoformat(given).isoformat() == given)
    except (TypeError, ValueError):
        return False


def _no_evidence(fault: str, where: str) -> DataError:
    return DataError(
        f"not evidence: {fault}", where=where,
        next_step='write evidence as {"passages": ["상법 522의3"], "day": "2024-01-31"}, with question and answer where they differ',
    )  # fmt: skip
