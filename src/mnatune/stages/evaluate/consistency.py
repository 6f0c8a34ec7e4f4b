"""Does the model say the same thing twice: sampled again, asked in other words, in another batch.

agreement      mean chrF++ between k answers sampled at temperature 0.7, per question
flip_rate      share of paraphrases (particles, register, spacing) under which the chosen letter of an exam item changes
batch_change   greedy answers that differ when the question is alone in its batch
"""

import re
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from ...job import Job
from ...models.hf import ChatModel
from ...models.prompt import dialogue, prompt_ids
from ...recipe import GenerationSection
from .answers import Ask, answer_all, keep, plan
from .decoding import Decoded, decode
from .exam import LETTERS, choice_prompt
from .items import Item, stratified
from .measures import chrf
from .metrics import Sample

ASKED = 40  # questions sampled again, and exam items paraphrased, at most
ALONE = 8  # questions asked alone
SAMPLING = GenerationSection(temperature=0.7, top_k=0, top_p=0.95, repetition_penalty=1.0)
MODELS = ("base", "tuned")


def consistency(
    job: Job, chat: ChatModel, items: Sequence[Item], rows: Sequence[Mapping[str, Any]], words: Mapping[str, Any]
) -> list[Sample]:
    """Samples of the three metrics.

    Args:
        rows: four-choice exam items.
        words: the pack's evaluate.yaml, for its `paraphrases`.
    """
    chosen = stratified(items, ASKED, job.recipe.seed, lambda item: item.category, lambda item: item.id)
    asked = stratified(rows, ASKED, job.recipe.seed, lambda row: str(row.get("topic", "")), lambda row: str(row["id"]))
    found = [*_agreement(job, chat, chosen), *_batch_changes(job, chat, chosen[:ALONE])]
    return [*found, *_flips(job, chat, asked, words.get("paraphrases", {}))]


def paraphrase(question: str, rules: Sequence[Sequence[str]]) -> str:
    """The question with every rule (pattern, replacement) applied once over; equal to it if none fits."""
    for pattern, replacement in rules:
        question = re.sub(pattern, replacement, question)
    return question


def _agreement(job: Job, chat: ChatModel, items: Sequence[Item]) -> list[Sample]:
    count = job.recipe.evaluate.samples
    scores = {model: _sampled(job, chat, items, count, tuned=model == "tuned") for model in MODELS}
    samples = []
    for item in items:
        base, tuned = (_mean_likeness(scores[model][item.id]) for model in MODELS)
        samples.append(Sample("agreement", item.id, item.group, item.category, base, tuned))
    return samples


def _sampled(job: Job, chat: ChatModel, items: Sequence[Item], count: int, *, tuned: bool) -> dict[str, list[str]]:
    generation = SAMPLING.model_copy(update={"max_new_tokens": job.recipe.generation.max_new_tokens})
    asks = [Ask(item.id, item.messages) for item in items]
    lengths = {ask.id: len(prompt_ids(chat.tokenizer, ask.messages)) for ask in asks}
    batches = plan(lengths, asks, generation.max_new_tokens)
    texts: dict[str, list[str]] = {item.id: [] for item in items}
    for k in range(count):
        seed = job.recipe.seed + k

        def work(batch: list[Ask], seed: int = seed) -> list[Decoded]:
            messages = [ask.messages for ask in batch]
            tokens = sum(lengths[ask.id] + generation.max_new_tokens for ask in batch) * 2
            given = chat.answer(messages, tuned=tuned, generation=generation, batch_tokens=tokens, seed=seed)
            return [Decoded(answer, []) for answer in given]

        for name, found in keep(job, f"sample-{k}-{'tuned' if tuned else 'base'}", batches, work).items():
            texts[name].append(found.answer.text)
    return texts


def _mean_likeness(texts: Sequence[str]) -> tuple[float, float]:
    pairs = list(combinations(texts, 2))
    return sum(chrf(a, b) if a != b else 1.0 for a, b in pairs), float(len(pairs))


def _batch_changes(job: Job, chat: ChatModel, items: Sequence[Item]) -> list[Sample]:
    served = job.recipe.generation
    prompts = [prompt_ids(chat.tokenizer, item.messages) for item in items]
    changed = {}
    for model in MODELS:
        together = decode(chat, prompts, served, tuned=model == "tuned")
        alone = [decode(chat, [prompt], served, tuned=model == "tuned")[0] for prompt in prompts]
        changed[model] = [float(a.answer.ids != b.answer.ids) for a, b in zip(together, alone, strict=True)]
    return [
        Sample("batch_change", item.id, item.group, item.category, (base, 1.0), (tuned, 1.0))
        for item, base, tuned in zip(items, changed["base"], changed["tuned"], strict=True)
    ]


def _flips(
    job: Job, chat: ChatModel, rows: Sequence[Mapping[str, Any]], kinds: Mapping[str, Sequence[Sequence[str]]]
) -> list[Sample]:
    template, system = str(job.pack.prompts["choice_user"]), job.pack.system_prompt
    tokens = [chat.tokenizer(letter, add_special_tokens=False)["input_ids"][0] for letter in LETTERS]
    asks = []
    for row in rows:
        wordings = {"": str(row["question"])}
        wordings |= {kind: paraphrase(str(row["question"]), rules) for kind, rules in kinds.items()}
        for kind, question in wordings.items():
            if not kind or question != row["question"]:
                text = choice_prompt(template, {**row, "question": question})
                asks.append(Ask(f"{row['id']}/{kind}", dialogue(text, system)))
    picked = {}
    for model in MODELS:
        given = answer_all(job, chat, asks, "paraphrases", tuned=model == "tuned", limit=1, watched=tokens)
        picked[model] = {name: found.first.index(max(found.first)) for name, found in given.items()}
    samples = []
    for row in rows:
        others = [ask.id for ask in asks if ask.id.startswith(f"{row['id']}/") and not ask.id.endswith("/")]
        flips = {m: float(sum(picked[m][name] != picked[m][f"{row['id']}/"] for name in others)) for m in MODELS}
        pairs = (flips["base"], float(len(others))), (flips["tuned"], float(len(others)))
        samples.append(Sample("flip_rate", str(row["id"]), str(row["id"]), str(row.get("topic", "")), *pairs))
    return samples
