"""Drawing the next token of every row of a batch, each row under its own temperature, top-k, top-p, penalty and seed.

The order of the filters is that of Transformers' `generate`: repetition penalty, temperature, top-k, top-p. Logits are
compared in fp32. A row's draw is the inverse of the cumulative distribution at a number from the row's own generator,
so it depends on the row's seed and logits alone, not on who else is in the batch.
"""

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .protocol import Sampling

if TYPE_CHECKING:
    import torch


class Draws:
    """The sampling state of a batch, row by row.

    Args:
        prompts: token ids of each row's prompt; with a repetition penalty they count as seen unless the row quotes.
        vocabulary: width of the logits.
    """

    def __init__(
        self, sampling: Sequence[Sampling], prompts: Sequence[Sequence[int]], vocabulary: int, device: "torch.device"
    ) -> None:
        import torch

        self._sampling = list(sampling)
        self._dice = [random.Random(one.seed) for one in sampling]
        self._penalties = torch.tensor([[one.repetition_penalty] for one in sampling], device=device)
        self._seen = torch.zeros(len(sampling), vocabulary, dtype=torch.bool, device=device)
        for row, prompt in enumerate(prompts):
            if not sampling[row].quoting:
                self._seen[row, torch.tensor(prompt, dtype=torch.long, device=device)] = True

    def join(self, other: "Draws") -> None:
        """Add another batch's rows behind these."""
        import torch

        self._sampling += other._sampling
        self._dice += other._dice
        self._penalties = torch.cat([self._penalties, other._penalties])
        self._seen = torch.cat([self._seen, other._seen])

    def keep(self, rows: Sequence[int]) -> None:
        """Let go of all rows but these."""
        import torch

        places = torch.tensor(rows, device=self._seen.device)
        self._sampling = [self._sampling[row] for row in rows]
        self._dice = [self._dice[row] for row in rows]
        self._penalties, self._seen = self._penalties[places], self._seen[places]

    def next_tokens(self, logits: "torch.Tensor") -> list[int]:
        """The next token of each row, which counts as seen from now on.

        Args:
            logits: (rows, vocabulary), any float type.
        """
        import torch

        logits = self._penalised(logits.float())
        chosen: list[int] = logits.argmax(-1).tolist()
        drawn = [row for row, one in enumerate(self._sampling) if one.temperature > 0]
        limited = [row for row in drawn if self._sampling[row].top_k > 0]
        nucleus = [row for row in drawn if self._sampling[row].top_k == 0 and self._sampling[row].top_p < 1]
        free = [row for row in drawn if self._sampling[row].top_k == 0 and self._sampling[row].top_p >= 1]
        for rows in (limited, nucleus, free):
            if rows:
                places = self._sample(logits[rows], rows) if rows is free else self._sample_sorted(logits[rows], rows)
                for row, token in zip(rows, places, strict=True):
                    chosen[row] = token
        self._seen.scatter_(1, torch.tensor(chosen, device=self._seen.device)[:, None], True)
        return chosen

    def _penalised(self, logits: "torch.Tensor") -> "torch.Tensor":
        """Scores of seen tokens divided by the penalty where positive, multiplied where negative.

        Source: Keskar et al., CTRL, 2019, arXiv 1909.05858, §4.1; with `generate`'s treatment of negative scores.
        """
        if all(one.repetition_penalty == 1 for one in self._sampling):
            return logits
        punished = (logits / self._penalties).where(logits > 0, logits * self._penalties)
        return logits.where(~self._seen, punished)

    def _sample(self, logits: "torch.Tensor", rows: Sequence[int]) -> list[int]:
        """Sampled tokens of rows that may draw any: in the vocabulary's order, without sorting it."""
        best = logits.amax(-1, keepdim=True)  # taken off first: a temperature of 1e-39 must not overflow
        scores = (logits - best).double() / self._column("temperature", rows, logits.device)
        return [int(token) for token in self._places(scores.softmax(-1), rows).squeeze(1).tolist()]

    def _sample_sorted(self, logits: "torch.Tensor", rows: Sequence[int]) -> list[int]:
        """Sampled tokens of rows that all have a top-k, or all a top-p alone."""
        import torch

        limits = [self._sampling[row].top_k for row in rows]
        scores, ids = logits.topk(min(logits.shape[-1], max(limits) or logits.shape[-1]), dim=-1)  # descending
        scores = scores.double()
        scores = (scores - scores[:, :1]) / self._column("temperature", rows, logits.device)
        if all(limits):
            rank = torch.arange(scores.shape[-1], device=logits.device).unsqueeze(0)
            scores = scores.masked_fill(rank >= self._column("top_k", rows, logits.device), float("-inf"))
        shares = scores.softmax(-1)
        before = shares.cumsum(-1) - shares  # the mass ahead of each token; the first always stays
        outside = before >= self._column("top_p", rows, logits.device)
        outside[:, 0] = False
        places = self._places(shares.masked_fill(outside, 0.0), rows)
        return [int(token) for token in ids.gather(1, places).squeeze(1).tolist()]

    def _places(self, shares: "torch.Tensor", rows: Sequence[int]) -> "torch.Tensor":
        """Where each row's next random number falls among its shares, (rows, 1)."""
        import torch

        mass = shares.cumsum(-1)
        total = mass[:, -1:].contiguous()
        dice = [[self._dice[row].random()] for row in rows]
        point = torch.tensor(dice, device=shares.device, dtype=torch.float64) * total
        last = torch.searchsorted(mass, total)  # rounding must not carry the point past the last candidate
        return torch.searchsorted(mass, point, right=True).minimum(last)

    def _column(self, name: str, rows: Sequence[int], device: "torch.device") -> "torch.Tensor":
        """A setting of these rows, (rows, 1)."""
        import torch

        values = [[float(getattr(self._sampling[row], name))] for row in rows]
        return torch.tensor(values, device=device, dtype=torch.float64)
