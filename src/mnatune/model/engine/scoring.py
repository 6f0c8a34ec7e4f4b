"""Likelihood of given continuations, in batched forward passes.

Logits are taken only where a token of a continuation is predicted, so that a vocabulary of 150,000 costs little memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..load import LoadedModel, cache_argument
from ..prompt import Example
from .prefill import common_opening, prefill

if TYPE_CHECKING:
    import torch

LOGIT_ROWS = 1024  # rows of logits held at once


@dataclass(frozen=True, slots=True)
class Scored:
    """A continuation under a model: `nll` in nats over its tokens, and how many of them were the model's first choice."""

    nll: float
    tokens: int
    hits: int


def score_completions(model: LoadedModel, examples: Sequence[Example], batch_tokens: int) -> list[Scored]:
    """Negative log-likelihood and first-choice hits of each completion after its prompt, in the given order.

    Args:
        batch_tokens: tokens of a batch at most, padding included.
    """
    order = sorted(range(len(examples)), key=lambda i: len(examples[i]), reverse=True)
    scored: dict[int, Scored] = {}
    while order:
        size = max(1, batch_tokens // len(examples[order[0]]))
        batch, order = order[:size], order[size:]
        scored |= zip(batch, _score_batch(model, [examples[i] for i in batch]), strict=True)
    return [scored[i] for i in range(len(examples))]


def _score_batch(model: LoadedModel, batch: Sequence[Example]) -> list[Scored]:
    import torch

    with torch.inference_mode():
        hidden = _hidden(model, [[*e.prompt, *e.completion] for e in batch])
        rows: list[int] = []
        columns: list[int] = []
        targets: list[int] = []
        for row, example in enumerate(batch):
            start = len(example.prompt) - 1
            rows += [row] * len(example.completion)
            columns += range(start, start + len(example.completion))
            targets += example.completion
        wanted = hidden[torch.tensor(rows, device=hidden.device), torch.tensor(columns, device=hidden.device)]
        losses, hits = _losses(model, wanted, torch.tensor(targets, device=hidden.device))
    found, at = [], 0
    for example in batch:
        end = at + len(example.completion)
        found.append(Scored(sum(losses[at:end]), len(example.completion), sum(hits[at:end])))
        at = end
    return found


def _hidden(model: LoadedModel, rows: Sequence[list[int]]) -> "torch.Tensor":
    """Last hidden states (rows, width, size) of right-padded token rows."""
    import torch

    width = max(map(len, rows))
    ids = torch.tensor([row + [model.pad] * (width - len(row)) for row in rows], device=model.device)
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=model.device)
    states: torch.Tensor = model.backbone(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    return states


def _losses(model: LoadedModel, hidden: "torch.Tensor", targets: "torch.Tensor") -> tuple[list[float], list[int]]:
    """Cross-entropy of each target after its hidden state, and whether it was the first choice."""
    import torch

    losses: list[float] = []
    hits: list[int] = []
    for start in range(0, len(targets), LOGIT_ROWS):
        logits = model.head(hidden[start : start + LOGIT_ROWS]).float()
        aim = targets[start : start + LOGIT_ROWS]
        losses += torch.nn.functional.cross_entropy(logits, aim, reduction="none").double().tolist()
        hits += (logits.argmax(-1) == aim).long().tolist()
    return losses, hits


def choice_costs(
    model: LoadedModel, prompts: Sequence[list[int]], choices: Sequence[Sequence[list[int]]]
) -> list[list[float]]:
    """Negative log-likelihood of every choice after its prompt, each prompt read once; one batch.

    Args:
        choices: equally many choices for every prompt, as token ids.
    """
    import torch

    each = len(choices[0])
    flat = [choice for row in choices for choice in row]
    width = max(map(len, flat))
    with torch.inference_mode():
        state = prefill(model, prompts, [common_opening(model, prompts)] * len(prompts))
        state.cache.batch_repeat_interleave(each)
        target = torch.tensor([row + [model.pad] * (width - len(row)) for row in flat], device=model.device)
        real = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in flat], device=model.device)
        start = state.mask.sum(-1).repeat_interleave(each)
        hidden = state.hidden[:, None].repeat_interleave(each, 0)
        if width > 1:
            out = model.backbone(
                input_ids=target[:, :-1],
                attention_mask=torch.cat([state.mask.repeat_interleave(each, 0), real[:, :-1]], -1),
                position_ids=start[:, None] + torch.arange(width - 1, device=model.device),
                **{cache_argument(): state.cache},
            )
            hidden = torch.cat([hidden, out.last_hidden_state], 1)
        losses = torch.zeros(real.shape, dtype=torch.float64)
        wanted = real.bool()
        losses[wanted.cpu()] = torch.tensor(_losses(model, hidden[wanted], target[wanted])[0], dtype=torch.float64)
        costs = losses.sum(-1).tolist()
    return [costs[at : at + each] for at in range(0, len(costs), each)]
