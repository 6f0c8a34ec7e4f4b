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
        limited = [i for i, s in enumerate(self._sampling) if s.temperature > 0 and s.top_k > 0]
        free = [i for i, s in enumerate(self._sampling) if s.temperature > 0 and s.top_k == 0]
        for rows in (limited, free):
            if rows:
                for row, token in zip(rows, self._sample(logits[rows], rows, bounded=rows is limited), strict=True):
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

    def _sample(self, logits: "torch.Tensor", rows: Sequence[int], *, bounded: bool) -> list[int]:
        """Sampled tokens of rows that all have a top-k (`bounded`), or all have none."""
        import torch

        wanted = [self._sampling[row] for row in rows]

        def column(values: Sequence[float]) -> "torch.Tensor":
            return torch.tensor(values, device=logits.device, dtype=torch.float64).unsqueeze(1)

        width = logits.shape[-1]
        if bounded:
            width = min(width, max(one.top_k for one in wanted))
        scores, ids = logits.topk(width, dim=-1)  # descending; width is the vocabulary where there is no top-k
        scores = scores.double()  # a temperature of 1e-39 must not overflow: the best score is taken off first
        scores = (scores - scores[:, :1]) / column([one.temperature for one in wanted])
        if bounded:
            rank = torch.arange(width, device=logits.device).unsqueeze(0)
            scores = scores.masked_fill(rank >= column([one.top_k for one in wanted]), float("-inf"))
        shares = scores.softmax(-1)
        before = shares.cumsum(-1) - shares  # the mass ahead of each token; the first always stays
        outside = before >= column([one.top_p for one in wanted])
        outside[:, 0] = False
        shares = shares.masked_fill(outside, 0.0)
        mass = shares.cumsum(-1)
        point = column([self._dice[row].random() for row in rows]) * mass[:, -1:]
        last = (shares > 0).sum(-1, keepdim=True) - 1  # rounding must not carry the point past the last candidate
        places = torch.searchsorted(mass, point, right=True).minimum(last)
        return [int(token) for token in ids.gather(1, places).squeeze(1).tolist()]
