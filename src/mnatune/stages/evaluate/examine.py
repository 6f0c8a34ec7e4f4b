"""What one model gives on the held-out questions: its answers, and every metric of every item as a pair."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...model.engine.protocol import Answer
from ...runs.job import Job
from .answers import Question
from .backends import AskedSide, LocalSide
from .items import HeldOut
from .measures import Measured, Pair, Yardstick
from .metrics import Sample


@dataclass(frozen=True)
class Examined:
    """By item id: the answer, what it measures, and all its metrics. What was not answered is missing."""

    answers: dict[str, Answer]
    measured: dict[str, Measured]
    pairs: dict[str, dict[str, Pair]]


def examine(job: Job, side: AskedSide, items: Sequence[HeldOut], yardstick: Yardstick) -> Examined:
    """Let one model answer the items greedily, and measure; loss and token accuracy for a model in this process."""
    answers = side.answers(job, [Question(item.id, item.messages) for item in items], "answers")
    items = [item for item in items if item.id in answers]
    measured = {item.id: yardstick.measure(answers[item.id], item.question, item.reference) for item in items}
    pairs = {name: dict(found.pairs) for name, found in measured.items()}
    if isinstance(side, LocalSide):
        examples = [item.example(side.engine.loaded.tokenizer) for item in items]
        for item, scored in zip(items, side.engine.likelihoods(side.model, examples), strict=True):
            pairs[item.id] |= {"loss": (scored.nll, scored.tokens), "token_accuracy": (scored.hits, scored.tokens)}
    return Examined(answers, measured, pairs)


def paired(items: Sequence[HeldOut], examined: Mapping[str, Examined]) -> list[Sample]:
    """Base and tuned item by item, under every metric that both have."""
    base, tuned = examined["base"].pairs, examined["tuned"].pairs
    return [
        Sample(name, item.id, item.group, item.category, base[item.id][name], tuned[item.id][name])
        for item in items
        for name in base[item.id]
        if name in tuned[item.id]
    ]
