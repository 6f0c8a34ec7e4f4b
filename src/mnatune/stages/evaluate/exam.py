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
from ...models.prompt import Example, dialogue, prompt_ids
from .answers import Ask, answer_all, greedy
from .likelihood import next_token_scores, score_completions
from .metrics import Sample

LETTERS = "ABCD"
LETTER_TOKENS = 12
STATED = re.compile(r"(?:정답|답)\s*(?:은|는|:|：)?\s*[(\[]?\s*([A-D])(?![A-Za-z])")
LEADING = re.compile(r"^\s*[(\[]?([A-D])(?![A-Za-z])")
Premise = Literal["correct", "wrong", "refused"]


def choice_prompt(template: str, row: dict[str, Any]) -> str:
    """The pack's `choice_user` prompt filled with an item."""
    text = template.replace("{question}", str(row["question"]))
    for letter, choice in zip(LETTERS, row["choices"], strict=True):
        text = text.replace("{" + letter.lower() + "}", str(choice))
    return text.rstrip()


def letter_choices(job: Job, chat: ChatModel, rows: Sequence[dict[str, Any]], *, tuned: bool) -> list[str]:
    """The likeliest letter of each item."""
    template = str(job.pack.prompts["choice_user"])
    prompts = [
        prompt_ids(chat.tokenizer, dialogue(choice_prompt(template, row), job.pack.system_prompt)) for row in rows
    ]
    tokens = [chat.tokenizer(letter, add_special_tokens=False)["input_ids"][0] for letter in LETTERS]
    scores = next_token_scores(chat, prompts, tokens, tuned=tuned)
    return [LETTERS[row.index(max(row))] for row in scores]


def text_choices(job: Job, chat: ChatModel, rows: Sequence[dict[str, Any]], *, tuned: bool) -> list[str]:
    """The letter of the choice whose text is likeliest per character as an answer to the bare question."""
    examples = []
    for row in rows:
        prompt = prompt_ids(chat.tokenizer, dialogue(str(row["question"]), job.pack.system_prompt))
        for choice in row["choices"]:
            examples.append(Example(prompt, chat.tokenizer(str(choice), add_special_tokens=False)["input_ids"]))
    scored = score_completions(chat, examples, tuned=tuned)
    picked = []
    for at, row in enumerate(rows):
        costs = [s.nll / len(str(c)) for s, c in zip(scored[4 * at : 4 * at + 4], row["choices"], strict=True)]
        picked.append(LETTERS[costs.index(min(costs))])
    return picked


def read_letter(text: str) -> str:
    """The letter that an answer states or begins with; empty if it gives none, or more than one."""
    stated = set(STATED.findall(text))
    if len(stated) == 1:
        return str(stated.pop())
    match = LEADING.search(text)
    return match[1] if match and not stated else ""


def generated_choices(job: Job, chat: ChatModel, rows: Sequence[dict[str, Any]], *, tuned: bool) -> list[str]:
    """The letter read from each item's greedy answer; empty where none can be read."""
    template, system = str(job.pack.prompts["choice_user"]), job.pack.system_prompt
    asks = [Ask(str(row["id"]), dialogue(choice_prompt(template, row), system)) for row in rows]
    given = answer_all(job, chat, asks, "exam", tuned=tuned, generation=greedy(LETTER_TOKENS))
    return [read_letter(given[ask.id].text) for ask in asks]


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
    ways = {"exam_letter": letter_choices, "exam_text": text_choices, "exam_generated": generated_choices}
    chosen = {
        metric: {model: way(job, chat, rows, tuned=model == "tuned") for model in ("base", "tuned")}
        for metric, way in ways.items()
    }
    samples = []
    for metric, by_model in chosen.items():
        for row, base, tuned in zip(rows, by_model["base"], by_model["tuned"], strict=True):
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
            **{model: {metric: chosen[metric][model][at] for metric in ways} for model in ("base", "tuned")},
        }
        for at, row in enumerate(rows)
    ]
    unparsed = {model: chosen["exam_generated"][model].count("") for model in ("base", "tuned")}
    return written, samples, {"exam_unparsed": unparsed}


def take_premises(
    job: Job, chat: ChatModel, rows: Sequence[dict[str, Any]], words: dict[str, Any]
) -> tuple[list[dict[str, Any]], list[Sample], dict[str, Any]]:
    """Questions with a false premise: rows of exam.jsonl, samples for right and wrong, and the counts."""
    if not rows:
        return [], [], {}
    asks = [Ask(str(row["id"]), dialogue(str(row["question"]), job.pack.system_prompt)) for row in rows]
    limit = greedy(job.recipe.generation.max_new_tokens)
    given = {
        model: answer_all(job, chat, asks, "premises", tuned=model == "tuned", generation=limit)
        for model in ("base", "tuned")
    }
    written, samples = [], []
    for row in rows:
        text = {model: given[model][str(row["id"])].text for model in given}
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
