"""The pack's exam: four-choice items by likelihood and by generation, and questions whose premise is false.

By likelihood, twice: the letter that the model would write after the question with its choices (`exam_letter`), and the
choice whose own text is likeliest as the answer to the bare question, per character (`exam_text`), which a small model
that has never seen letters can take too. By generation: a letter is read from the answer by a strict pattern, and what
cannot be read is counted apart.
"""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from ...model.prompt import dialogue
from ...runs.job import Job
from ...text.letters import LETTERS, read_letter
from ...text.untrusted import fill
from .answers import BATCH_TOKENS, Question
from .backends import AskedSide, LocalSide, Sides, in_process
from .metrics import Sample
from .reading_answers import Premise, judge_premise

LETTER_TOKENS = 8


def choice_prompt(template: str, row: dict[str, Any]) -> str:
    """The pack's `choice_user` prompt filled with an item."""
    choices = {letter.lower(): str(choice) for letter, choice in zip(LETTERS, row["choices"], strict=True)}
    return fill(template, {"question": str(row["question"]), **choices}).rstrip()


def letters(job: Job, side: AskedSide, rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, str]]:
    """For `exam_letter` the likeliest letter of each item, for `exam_generated` the one read from the greedy answer.

    Both come from one pass over the prompts; what cannot be read is empty. A served model has the second alone, and
    none where it did not answer.
    """
    template, system = str(job.pack.prompts["choice_user"]), job.pack.system_prompt
    asks = [Question(str(row["id"]), dialogue(choice_prompt(template, row), system)) for row in rows]
    if not isinstance(side, LocalSide):
        answers = side.answers(job, asks, "exam", limit=LETTER_TOKENS)
        return {"exam_generated": {name: read_letter(answer.text) for name, answer in answers.items()}}
    given = side.watched(job, asks, "exam", letter_tokens(side), limit=LETTER_TOKENS)
    return {
        "exam_letter": {name: LETTERS[one.first.index(max(one.first))] for name, one in given.items()},
        "exam_generated": {name: read_letter(one.text) for name, one in given.items()},
    }


def letter_tokens(side: LocalSide) -> list[int]:
    """First token of each letter."""
    return [side.encoded(letter)[0] for letter in LETTERS]


def text_choices(job: Job, side: LocalSide, rows: Sequence[dict[str, Any]]) -> dict[str, str]:
    """The letter of the choice whose text is likeliest per character as an answer to the bare question."""
    prompts = [side.prompt(dialogue(str(row["question"]), job.pack.system_prompt)) for row in rows]
    choices = [[side.encoded(str(choice)) for choice in row["choices"]] for row in rows]
    order = sorted(range(len(rows)), key=lambda at: -len(prompts[at]))
    size = max(1, BATCH_TOKENS // 4 // max(map(len, prompts)))
    picked: dict[str, str] = {}
    for start in range(0, len(order), size):
        batch = order[start : start + size]
        costs = side.engine.choice_costs(side.model, [prompts[at] for at in batch], [choices[at] for at in batch])
        for at, row in zip(batch, costs, strict=True):
            each = [cost / len(str(choice)) for cost, choice in zip(row, rows[at]["choices"], strict=True)]
            picked[str(rows[at]["id"])] = LETTERS[each.index(min(each))]
    return picked


def take_choices(job: Job, sides: Sides, rows: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Four-choice items in up to three ways: rows of exam.jsonl, and how many answers could not be read."""
    if not rows:
        return [], {}
    chosen = {model: letters(job, side, rows) for model, side in sides.items()}
    for model, side in in_process(sides).items():
        chosen[model]["exam_text"] = text_choices(job, side, rows)
    answered = set.intersection(*(set(chosen[model]["exam_generated"]) for model in sides))
    written = []
    for row in (row for row in rows if str(row["id"]) in answered):
        given = {m: {metric: by_id[str(row["id"])] for metric, by_id in chosen[m].items()} for m in sides}
        more = {"choices": row["choices"], "article": row.get("article", "")}
        written.append(_exam_row(row, "choice", row["answer"]) | more | given)
    unparsed = {model: sum(not row[model]["exam_generated"] for row in written) for model in sides}
    return written, {"exam_unparsed": unparsed}


def take_premises(
    job: Job, sides: Sides, rows: Sequence[dict[str, Any]], words: dict[str, Any]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Questions with a false premise: rows of exam.jsonl, and how many were answered rightly, wrongly or not at all.

    None without the pack's patterns of denials (`words`), by which they are judged.
    """
    if not rows or "denials" not in words:
        return [], {}
    texts = _texts(job, sides, rows, "premises")
    written = []
    for row, by_model in _answered(rows, texts):
        given = {m: {"text": text, "verdict": judge_premise(text, row, words)} for m, text in by_model.items()}
        found = _exam_row(row, "false_premise", row["answer"])
        written.append(found | {"premise": row.get("premise", "")} | given)
    counts = {
        model: {verdict: sum(row[model]["verdict"] == verdict for row in written) for verdict in get_args(Premise)}
        for model in sides
    }
    return written, {"false_premise": counts}


def write_essays(job: Job, sides: Sides, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Greedy answers to essay questions as rows of exam.jsonl, those that every side has answered."""
    texts = _texts(job, sides, rows, "essays")
    return [
        _exam_row(row, "essay", row.get("reference", "")) | {model: {"text": text} for model, text in by_model.items()}
        for row, by_model in _answered(rows, texts)
    ]


def exam_samples(row: Mapping[str, Any], base: Mapping[str, Any], tuned: Mapping[str, Any]) -> list[Sample]:
    """A row of exam.jsonl under two models, which gave `base` and `tuned`: right or wrong by metric; none for essays."""
    if row["kind"] == "choice":
        found = [(name, base[name] == row["key"], tuned[name] == row["key"]) for name in base if name in tuned]
    elif row["kind"] == "false_premise":
        wanted = {"false_premise": "correct", "false_premise_wrong": "wrong"}
        found = [(name, base["verdict"] == word, tuned["verdict"] == word) for name, word in wanted.items()]
    else:
        return []
    place = (str(row["id"]), str(row["id"]), str(row.get("topic", "")))
    return [Sample(name, *place, (float(one), 1.0), (float(other), 1.0)) for name, one, other in found]


def _exam_row(row: Mapping[str, Any], kind: str, key: str) -> dict[str, Any]:
    """What every row of exam.jsonl begins with."""
    return {"id": row["id"], "kind": kind, "topic": row.get("topic", ""), "question": row["question"], "key": key}


def _answered(
    rows: Sequence[dict[str, Any]], texts: Mapping[str, Mapping[str, str]]
) -> list[tuple[dict[str, Any], dict[str, str]]]:
    """The items that every model has answered, with the answers by model."""
    found = [(row, {m: by_id[str(row["id"])] for m, by_id in texts.items() if str(row["id"]) in by_id}) for row in rows]
    return [(row, by_model) for row, by_model in found if len(by_model) == len(texts)]


def _texts(job: Job, sides: Sides, rows: Sequence[dict[str, Any]], kind: str) -> dict[str, dict[str, str]]:
    """Greedy answers to bare questions: model → item id → text."""
    asks = [Question(str(row["id"]), dialogue(str(row["question"]), job.pack.system_prompt)) for row in rows]
    given = {model: side.answers(job, asks, kind) for model, side in sides.items()}
    return {model: {name: answer.text for name, answer in by_id.items()} for model, by_id in given.items()}
