"""Drawing the next token of every row of a batch, each row under its own temperature, top-k, top-p, penalty and seed.

The order of the filters is that of Transformers' `generate`: repetition penalty, temperature, top-k, top-p. A row's
draw is the inverse of the cumulative distribution at a number from the row's own generator, so it depends on the
row's seed and logits alone, not on who else is in the batch.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .protocol import Sampling

if TYPE_CHECKING:
    import torch


@dataclass(slots=True)
class Draw:
    """One row's sampling state; `seen` marks the vocabulary's tokens of prompt and answer, if there is a penalty."""

    sampling: Sampling
    seen: "torch.Tensor | None" = None
    dice: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.dice = random.Random(self.sampling.seed)


def next_tokens(logits: "torch.Tensor", draws: Sequence[Draw]) -> list[int]:
    """The next token of each row, which is marked as seen; call it in the inference mode that made the marks.

    Args:
        logits: (rows, vocabulary), any float type.
        draws: one per row.
    """
    logits = _punished(logits.float(), draws)
    chosen: list[int] = logits.argmax(-1).tolist()
    limited = [i for i, d in enumerate(draws) if d.sampling.temperature > 0 and d.sampling.top_k > 0]
    free = [i for i, d in enumerate(draws) if d.sampling.temperature > 0 and d.sampling.top_k == 0]
    for rows in (limited, free):
        if rows:
            picked = _sample(logits[rows], [draws[i] for i in rows], bounded=rows is limited)
            for row, token in zip(rows, picked, strict=True):
                chosen[row] = token
    for draw, token in zip(draws, chosen, strict=True):
        if draw.seen is not None:
            draw.seen[token] = True
    return chosen


def _punished(logits: "torch.Tensor", draws: Sequence[Draw]) -> "torch.Tensor":
    """The logits with every row's repetition penalty on the tokens that it has seen (Keskar et al., CTRL, 2019)."""
    import torch

    rows = [at for at, draw in enumerate(draws) if draw.seen is not None]
    if not rows:
        return logits
    penalty = torch.tensor([[draws[at].sampling.repetition_penalty] for at in rows], device=logits.device)
    seen = torch.stack([draw.seen for draw in draws if draw.seen is not None])
    scores = logits[rows]
    punished = torch.where(scores < 0, scores * penalty, scores / penalty)
    return logits.index_copy(0, torch.tensor(rows, device=logits.device), torch.where(seen, punished, scores))


def _sample(logits: "torch.Tensor", draws: Sequence[Draw], *, bounded: bool) -> list[int]:
    """Sampled tokens of rows that all have a top-k (`bounded`), or all have none."""
    import torch

    def column(values: Sequence[float]) -> "torch.Tensor":
        return torch.tensor(values, device=logits.device, dtype=torch.float32).unsqueeze(1)

    width = logits.shape[-1]
    if bounded:
        width = min(width, max(d.sampling.top_k for d in draws))
    scores, ids = logits.topk(width, dim=-1)  # descending; width is the vocabulary where there is no top-k
    scores = scores / column([d.sampling.temperature for d in draws])
    if bounded:
        rank = torch.arange(width, device=logits.device).unsqueeze(0)
        scores = scores.masked_fill(rank >= column([d.sampling.top_k for d in draws]), float("-inf"))
    shares = scores.softmax(-1)
    before = shares.cumsum(-1) - shares  # what stands ahead of each token; the first always stays
    shares = shares.masked_fill(before >= column([d.sampling.top_p for d in draws]), 0.0)
    mass = shares.cumsum(-1)
    point = column([d.dice.random() for d in draws]) * mass[:, -1:]
    last = (shares > 0).sum(-1, keepdim=True) - 1  # rounding must not carry the point past the last candidate
    places = torch.searchsorted(mass, point, right=True).minimum(last)
    return [int(token) for token in ids.gather(1, places).squeeze(1).tolist()]
