"""The pack's exam: four-choice items by likelihood and by generation, and questions whose premise is false.

By likelihood, twice: the letter that the model would write after the question with its choices (`exam_letter`), and the
choice whose own text is likeliest as the answer to the bare question, per character (`exam_text`), which a small model
that has never seen letters can take too. By generation: a letter is read from the answer by a strict pattern, and what
cannot be read is counted apart.
"""

import re
from collections.abc import Sequence
from typing import Any, Literal, get_args

from ...job import Job
from ...models.hf import ChatModel
from ...models.prompt import dialogue, prompt_ids
from ...text.untrusted import fill
from .answers import BATCH_TOKENS, Ask, answer_all
from .decoding import choice_costs
from .metrics import Sample

LETTERS = "ABCD"
LETTER_TOKENS = 8
STATED = re.compile(r"(?:정답|답)\s*(?:은|는|:|：)?\s*[(\[]?\s*([A-D])(?![A-Za-z사])")
LEADING = re.compile(r"^\s*[(\[]?([A-D])(?![A-Za-z사])")  # "A사" is a company
Premise = Literal["correct", "wrong", "refused"]


def choice_prompt(template: str, row: dict[str, Any]) -> str:
    """The pack's `choice_user` prompt filled with an item."""
    choices = {letter.lower(): str(choice) for letter, choice in zip(LETTERS, row["choices"], strict=True)}
    return fill(template, {"question": str(row["question"]), **choices}).rstrip()


def letters(job: Job, chat: ChatModel, rows: Sequence[dict[str, Any]], *, tuned: bool) -> dict[str, list[str]]:
    """For `exam_letter` the likeliest letter of each item, for `exam_generated` the one read from the greedy answer.

    Both come from one pass over the prompts; what cannot be read is empty.
    """
    template, system = str(job.pack.prompts["choice_user"]), job.pack.system_prompt
    tokens = [chat.tokenizer(letter, add_special_tokens=False)["input_ids"][0] for letter in LETTERS]
    asks = [Ask(str(row["id"]), dialogue(choice_prompt(template, row), system)) for row in rows]
    given = answer_all(job, chat, asks, "exam", tuned=tuned, limit=LETTER_TOKENS, watched=tokens)
    found = [given[ask.id] for ask in asks]
    return {
        "exam_letter": [LETTERS[one.first.index(max(one.first))] for one in found],
        "exam_generated": [read_letter(one.answer.text) for one in found],
    }


def text_choices(job: Job, chat: ChatModel, rows: Sequence[dict[str, Any]], *, tuned: bool) -> list[str]:
    """The letter of the choice whose text is likeliest per character as an answer to the bare question."""
    prompts = [prompt_ids(chat.tokenizer, dialogue(str(row["question"]), job.pack.system_prompt)) for row in rows]
    choices = [[chat.tokenizer(str(c), add_special_tokens=False)["input_ids"] for c in row["choices"]] for row in rows]
    order = sorted(range(len(rows)), key=lambda at: -len(prompts[at]))
    size = max(1, BATCH_TOKENS // 4 // max(map(len, prompts)))
    picked: dict[int, str] = {}
    for start in range(0, len(order), size):
        batch = order[start : start + size]
        costs = choice_costs(chat, [prompts[at] for at in batch], [choices[at] for at in batch], tuned=tuned)
        for at, row in zip(batch, costs, strict=True):
            each = [cost / len(str(choice)) for cost, choice in zip(row, rows[at]["choices"], strict=True)]
            picked[at] = LETTERS[each.index(min(each))]
    return [picked[at] for at in range(len(rows))]


def read_letter(text: str) -> str:
    """The letter that an answer states or begins with; empty if it gives none, or more than one."""
    stated = set(STATED.findall(text))
    if len(stated) == 1:
        return str(stated.pop())
    match = LEADING.search(text)
    return match[1] if match and not stated else ""


def judge_premise(text: str, row: dict[str, Any], words: dict[str, Any]) -> Premise:
    """Correct: the premise is denied and every required point made; refused: no answer; wrong: anything else.

    A phrase that accepts the premise makes the answer wrong, whatever else it says.

    Args:
        words: `denials` and `refusals` of the pack's evaluate.yaml.
    """
    bare = "".join(text.split())

    def has(phrase: str) -> bool:
        return "".join(phrase.split()) in bare

    if any(has(phrase) for phrase in row.get("accepting", [])):
        return "wrong"
    denied = any(has(phrase) for phrase in words.get("denials", []))
    if denied and all(has(phrase) for phrase in row["must_mention"]):
        return "correct"
    return "refused" if any(has(phrase) for phrase in words.get("refusals", [])) else "wrong"


def take_choices(
    job: Job, chat: ChatModel, rows: Sequence[dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[Sample], dict[str, Any]]:
    """Four-choice items in three ways: rows of exam.jsonl, samples, and how many answers could not be read."""
    if not rows:
        return [], [], {}
    chosen = {
        model: {
            **letters(job, chat, rows, tuned=model == "tuned"),
            "exam_text": text_choices(job, chat, rows, tuned=model == "tuned"),
        }
        for model in ("base", "tuned")
    }
    samples = []
    for metric in chosen["base"]:
        for row, base, tuned in zip(rows, chosen["base"][metric], chosen["tuned"][metric], strict=True):
            right = (float(base == row["answer"]), 1.0), (float(tuned == row["answer"]), 1.0)
            samples.append(Sample(metric, str(row["id"]), str(row["id"]), str(row.get("topic", "")), *right))
    written = [
        {
            "id": row["id"],
            "kind": "choice",
            "topic": row.get("topic", ""),
            "question": row["question"],
            "choices": row["choices"],
            "key": row["answer"],
            "article": row.get("article", ""),
            **{model: {metric: by_item[at] for metric, by_item in chosen[model].items()} for model in chosen},
        }
        for at, row in enumerate(rows)
    ]
    unparsed = {model: chosen[model]["exam_generated"].count("") for model in chosen}
    return written, samples, {"exam_unparsed": unparsed}


def take_premises(
    job: Job, chat: ChatModel, rows: Sequence[dict[str, Any]], words: dict[str, Any]
) -> tuple[list[dict[str, Any]], list[Sample], dict[str, Any]]:
    """Questions with a false premise: rows of exam.jsonl, samples for right and wrong, and the counts."""
    if not rows:
        return [], [], {}
    asks = [Ask(str(row["id"]), dialogue(str(row["question"]), job.pack.system_prompt)) for row in rows]
    given = {model: answer_all(job, chat, asks, "premises", tuned=model == "tuned") for model in ("base", "tuned")}
    written, samples = [], []
    for row in rows:
        text = {model: given[model][str(row["id"])].answer.text for model in given}
        found = {model: judge_premise(text[model], row, words) for model in given}
        place = (str(row["id"]), str(row["id"]), str(row.get("topic", "")))
        for metric, wanted in (("false_premise", "correct"), ("false_premise_wrong", "wrong")):
            pairs = (float(found["base"] == wanted), 1.0), (float(found["tuned"] == wanted), 1.0)
            samples.append(Sample(metric, *place, *pairs))
        written.append(
            {
                "id": row["id"],
                "kind": "false_premise",
                "topic": row.get("topic", ""),
                "question": row["question"],
                "key": row["answer"],
                "premise": row.get("premise", ""),
                **{model: {"text": text[model], "verdict": found[model]} for model in given},
            }
        )
    counts = {
        model: {verdict: sum(row[model]["verdict"] == verdict for row in written) for verdict in get_args(Premise)}
        for model in given
    }
    return written, samples, {"false_premise": counts}


def write_essays(job: Job, chat: ChatModel, rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, str]]:
    """Greedy answers to essay questions: model → item id → text."""
    asks = [Ask(str(row["id"]), dialogue(str(row["question"]), job.pack.system_prompt)) for row in rows]
    return {
        model: {
            name: found.answer.text
            for name, found in answer_all(job, chat, asks, "essays", tuned=model == "tuned").items()
        }
        for model in ("base", "tuned")
    }
