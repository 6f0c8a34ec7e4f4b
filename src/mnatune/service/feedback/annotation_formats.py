"""Answers and their grades for Label Studio and Argilla, and what was graded there back into the store.

    label-studio   tasks in Label Studio's JSON: data {id, question, dialogue, answer, model}, one annotation per grade, with a
                   rating "grade" of four and a text "comment"; `LABEL_CONFIG` is the labelling interface that fits
    argilla        records in the JSON of Argilla 2 (`Dataset.records.to_json` and `from_json`): fields question, dialogue,
                   answer; a rating question "grade" and a text question "comment"

A file read back gives each grade to the rater who gave it here. A grade from an account there that this store does not know
goes to a rater named after the tool and the account. Grades of answers that the store no longer has are counted and told.

Does not: talk to either tool, or take anything from them but grades and comments.
"""

import json
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ...runs.errors import DataError
from ...runs.workspace import write_json
from .sink import Answered, FeedbackSink, Grade, GradeFact, UnknownItem

Format = Literal["label-studio", "argilla"]
FORMATS: tuple[Format, ...] = ("label-studio", "argilla")
ALL = 1_000_000  # answers of a store, at most
LABEL_CONFIG = """<View>
  <Header value="질문"/><Text name="question" value="$question"/>
  <Header value="앞선 대화"/><Text name="dialogue" value="$dialogue"/>
  <Header value="답변"/><Text name="answer" value="$answer"/>
  <Rating name="grade" toName="answer" maxRating="4" required="true"/>
  <TextArea name="comment" toName="answer" placeholder="의견"/>
</View>
"""
RATERS = uuid.UUID("5d0c7a6e-6f0e-4c55-9d3b-0b7c6a1f6e2a")  # namespace of the accounts that stand for raters in Argilla


@dataclass(frozen=True, slots=True)
class Taken:
    """What an import did: grades stored, those that were there already, and those whose answer is not in the store."""

    stored: int
    same: int
    unknown: int


def write_tasks(store: FeedbackSink, out: Path, kind: Format) -> tuple[int, int]:
    """Write every answer that may be used, with its grades; returns (answers, grades). Label Studio's interface stands beside."""
    given: dict[str, list[GradeFact]] = defaultdict(list)
    for grade in store.grades():
        given[grade.generation].append(grade)
    answers = sorted(store.answers("", ALL), key=lambda one: (one.created, one.id))
    write = _label_studio_task if kind == "label-studio" else _argilla_record
    write_json(out, [write(one, given[one.id]) for one in answers])
    if kind == "label-studio":
        out.with_suffix(".xml").write_text(LABEL_CONFIG, encoding="utf-8")
    return len(answers), sum(len(given[one.id]) for one in answers)


def read_grades(file: Path) -> Iterator[Grade]:
    """The grades of a file of either format.

    Raises:
        DataError: it is no such file, or one of its items has another form; the place is named.
    """
    try:
        items = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot be read as JSON: {error}", where=str(file)) from error
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise DataError("not a list of tasks or records", where=str(file), next_step="export JSON, not JSON-MIN or CSV")
    for at, item in enumerate(items):
        read = _of_label_studio if "data" in item else _of_argilla
        try:
            yield from read(item)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"item {at + 1} has another form: {error!r}", where=str(file)) from error


def take_grades(store: FeedbackSink, grades: Iterable[Grade]) -> Taken:
    """Store grades; the same grade again changes nothing."""
    known = {(one.generation, one.rater): (one.grade, one.comment) for one in store.grades()}
    stored = same = unknown = 0
    for grade in grades:
        if known.get((grade.generation, grade.rater)) == (grade.grade, grade.comment):
            same += 1
            continue
        try:
            store.grade(grade)
            stored += 1
        except UnknownItem:
            unknown += 1
    return Taken(stored, same, unknown)


def _label_studio_task(one: Answered, given: Sequence[GradeFact]) -> dict[str, Any]:
    data = {"id": one.id, "question": one.question, "dialogue": _told(one), "answer": one.answer, "model": one.model}
    return {"data": data, "annotations": [{"result": _result(grade), "ground_truth": False} for grade in given]}


def _result(grade: GradeFact) -> list[dict[str, Any]]:
    place = {"to_name": "answer", "meta": {"text": [grade.rater]}}
    found: list[dict[str, Any]] = [{**place, "from_name": "grade", "type": "rating", "value": {"rating": grade.grade}}]
    if grade.comment:
        found.append({**place, "from_name": "comment", "type": "textarea", "value": {"text": [grade.comment]}})
    return found


def _of_label_studio(task: dict[str, Any]) -> Iterator[Grade]:
    for annotation in task.get("annotations") or ():
        if annotation.get("was_cancelled"):
            continue
        by_name = {part["from_name"]: part for part in annotation["result"]}
        if "grade" not in by_name:
            continue
        told = (by_name["grade"].get("meta") or {}).get("text") or [_account(annotation.get("completed_by"))]
        comment = "\n".join(by_name["comment"]["value"]["text"]) if "comment" in by_name else ""
        yield _grade(task["data"]["id"], str(told[0]), by_name["grade"]["value"]["rating"], comment)


def _account(completed_by: Any) -> str:
    """A rater for an account of Label Studio: its e-mail address if it is told, else its number."""
    told = completed_by.get("email") or completed_by.get("id") if isinstance(completed_by, dict) else completed_by
    return f"label-studio:{told if told is not None else 'unknown'}"


def _argilla_record(one: Answered, given: Sequence[GradeFact]) -> dict[str, Any]:
    accounts = {_argilla_id(grade.rater): grade.rater for grade in given}
    responses: dict[str, list[dict[str, Any]]] = {}
    for grade in given:
        user = {"user_id": _argilla_id(grade.rater)}
        responses.setdefault("grade", []).append({"value": grade.grade, **user})
        if grade.comment:
            responses.setdefault("comment", []).append({"value": grade.comment, **user})
    return {
        "id": one.id,
        "fields": {"question": one.question, "dialogue": _told(one), "answer": one.answer},
        "metadata": {"model": one.model, "raters": json.dumps(accounts)},
        "suggestions": {},
        "responses": responses,
        "vectors": {},
    }


def _of_argilla(record: dict[str, Any]) -> Iterator[Grade]:
    responses = record["responses"]
    accounts = json.loads((record.get("metadata") or {}).get("raters") or "{}")
    comments = {one["user_id"]: one["value"] for one in responses.get("comment") or ()}
    for one in responses.get("grade") or ():
        user = str(one["user_id"])
        rater = accounts.get(user) or f"argilla:{user}"
        yield _grade(record["id"], str(rater), one["value"], comments.get(one["user_id"]) or "")


def _argilla_id(rater: str) -> str:
    return str(uuid.uuid5(RATERS, rater))


def _grade(generation: str, rater: str, value: Any, comment: str) -> Grade:
    if value not in (1, 2, 3, 4):
        raise ValueError(f"a grade is 1 to 4, not {value!r}")
    return Grade(str(generation), rater, value, str(comment))


def _told(one: Answered) -> str:
    """The turns before the question as a text; both tools show it beside the answer."""
    return "\n\n".join(f"[{turn['role']}] {turn['content']}" for turn in one.dialogue[:-1])
