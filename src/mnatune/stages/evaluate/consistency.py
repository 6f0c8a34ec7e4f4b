"""Does the model say the same thing twice: sampled again, asked in other words, in another batch.

agreement      mean chrF++ between k answers sampled at temperature 0.7, per question
flip_rate      share of paraphrases (particles, register, spacing) under which the chosen letter of an exam item changes
batch_change   greedy answers that differ when the question is alone in its batch
"""

import re
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from ...model.engine.protocol import Answer, Sampling, Task
from ...model.engine.refusals import Refusal
from ...model.prompt import dialogue
from ...runs.job import Job
from ...runs.recipe import GenerationSection
from ...text.letters import LETTERS, read_letter
from .answers import Question
from .backends import AskedSide, LocalSide, Sides, in_process
from .exam import LETTER_TOKENS, choice_prompt, letter_tokens
from .items import HeldOut, stratified
from .measures import chrf
from .metrics import Sample

ASKED = 40  # questions sampled again, and exam items paraphrased, at most
ALONE = 8  # questions asked alone
SAMPLING = GenerationSection(temperature=0.7, top_k=0, top_p=0.95, repetition_penalty=1.0)
MODELS = ("base", "tuned")


def consistency(
    job: Job, sides: Sides, items: Sequence[HeldOut], rows: Sequence[Mapping[str, Any]], words: Mapping[str, Any]
) -> list[Sample]:
    """Samples of the three metrics; the last one for models in this process alone.

    Args:
        rows: four-choice exam items.
        words: the pack's evaluate.yaml, for its `paraphrases`.
    """
    chosen = stratified(items, ASKED, job.recipe.seed, lambda item: item.category, lambda item: item.id)
    asked = stratified(rows, ASKED, job.recipe.seed, lambda row: str(row.get("topic", "")), lambda row: str(row["id"]))
    found = [*_agreement(job, sides, chosen), *_flips(job, sides, asked, words.get("paraphrases", {}))]
    return [*found, *_batch_changes(job, in_process(sides), chosen[:ALONE])]


def paraphrase(question: str, rules: Sequence[Sequence[str]]) -> str:
    """The question with every rule (pattern, replacement) applied once over; equal to it if none fits."""
    for pattern, replacement in rules:
        question = re.sub(pattern, replacement, question)
    return question


def _agreement(job: Job, sides: Sides, items: Sequence[HeldOut]) -> list[Sample]:
    asks = [Question(item.id, item.messages) for item in items]
    sampling = SAMPLING.model_copy(update={"max_new_tokens": job.recipe.generation.max_new_tokens})
    texts: dict[str, dict[str, list[str]]] = {model: {item.id: [] for item in items} for model in sides}
    for model, side in sides.items():
        for k in range(job.recipe.evaluate.samples):
            for name, answer in side.sampled(job, asks, sampling, job.recipe.seed + k).items():
                texts[model][name].append(answer.text)
    return [
        Sample("agreement", item.id, item.group, item.category, *(_mean_likeness(texts[m][item.id]) for m in MODELS))
        for item in items
    ]


def _mean_likeness(texts: Sequence[str]) -> tuple[float, float]:
    pairs = list(combinations(texts, 2))
    return sum(chrf(a, b) if a != b else 1.0 for a, b in pairs), float(len(pairs))


def _batch_changes(job: Job, sides: Mapping[str, LocalSide], items: Sequence[HeldOut]) -> list[Sample]:
    changed = {}
    for model, side in sides.items():
        sampling = Sampling.of(job.recipe.generation, greedy=True)
        tasks = [Task(side.model, sampling, item.messages) for item in items]
        together = side.engine.answers(tasks)
        alone = [side.engine.answers([task])[0] for task in tasks]
        changed[model] = [float(_ids(one) != _ids(other)) for one, other in zip(together, alone, strict=True)]
    return [
        Sample("batch_change", item.id, item.group, item.category, *((changed[model][at], 1.0) for model in MODELS))
        for at, item in enumerate(items if changed else ())
    ]


def _ids(answer: Answer | Refusal) -> list[int]:
    return answer.ids if isinstance(answer, Answer) else []


def _flips(
    job: Job, sides: Sides, rows: Sequence[Mapping[str, Any]], kinds: Mapping[str, Sequence[Sequence[str]]]
) -> list[Sample]:
    template, system = str(job.pack.prompts["choice_user"]), job.pack.system_prompt
    asks = []
    for row in rows:
        wordings = {"": str(row["question"])}
        wordings |= {kind: paraphrase(str(row["question"]), rules) for kind, rules in kinds.items()}
        for kind, question in wordings.items():
            if not kind or question != row["question"]:
                text = choice_prompt(template, {**row, "question": question})
                asks.append(Question(f"{row['id']}/{kind}", dialogue(text, system)))
    picked = {model: _picked(job, side, asks) for model, side in sides.items()}
    asked = [ask.id for ask in asks if all(ask.id in by_id for by_id in picked.values())]
    samples = []
    for row in rows:
        first = f"{row['id']}/"
        others = [name for name in asked if name.startswith(first) and name != first] if first in asked else []
        flips = [float(sum(picked[model][name] != picked[model][first] for name in others)) for model in MODELS]
        pairs = ((changed, float(len(others))) for changed in flips)
        samples.append(Sample("flip_rate", str(row["id"]), str(row["id"]), str(row.get("topic", "")), *pairs))
    return samples


def _picked(job: Job, side: AskedSide, asks: Sequence[Question]) -> dict[str, str]:
    """The letter by id: the likeliest, or for a served model the one that its answer names."""
    if not isinstance(side, LocalSide):
        answers = side.answers(job, asks, "paraphrases", limit=LETTER_TOKENS)
        return {name: read_letter(answer.text) for name, answer in answers.items()}
    given = side.watched(job, asks, "paraphrases", letter_tokens(side), limit=1)
    return {name: LETTERS[found.first.index(max(found.first))] for name, found in given.items()}
