"""A running batch of answers over one cache: rows join and leave between steps.

Rows are left-padded to a common width. A joining row is prefilled on its own (with those that join with it) and its
cache is set beside the running one; a leaving row is cut out, and padding that no row needs any more goes with it.
What prompts begin with alike, mostly the system prompt, is computed once and kept.
"""

import asyncio
import hashlib
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..load import cache_argument
from ..prompt import common_prefix
from .emitter import Emitter
from .protocol import Piece
from .refusals import Refusal
from .sampler import Draw, next_tokens

if TYPE_CHECKING:
    import torch

SHARED = 32  # tokens that prompts must begin with alike before keeping them pays


@dataclass(eq=False, slots=True)
class LaneRow:
    """One answer in the making. The engine's thread writes to it; `cancelled` alone is set from outside.

    Attributes:
        prompt: token ids.
        limit: new tokens at most.
        outbox: what the waiting request reads, on `loop`.
        length: tokens in the cache, prompt and answer.
        last: the newest token, not yet in the cache.
    """

    prompt: list[int]
    limit: int
    draw: Draw
    emitter: Emitter
    loop: asyncio.AbstractEventLoop
    deadline: float = float("inf")
    outbox: "asyncio.Queue[Piece | Refusal]" = field(default_factory=asyncio.Queue)
    cancelled: bool = False
    length: int = 0
    made: int = 0
    last: int = -1

    @property
    def room(self) -> int:
        """Tokens that the row may come to hold."""
        return len(self.prompt) + self.limit

    def overdue(self) -> bool:
        """True once the deadline has passed."""
        return time.monotonic() > self.deadline

    @property
    def prompt_hash(self) -> str:
        """Hash of the prompt's token ids."""
        return hashlib.sha256(array("q", self.prompt).tobytes()).hexdigest()


class Outgoing:
    """Pieces collected during a step and handed to each event loop in one call."""

    def __init__(self) -> None:
        self._mail: dict[asyncio.AbstractEventLoop, list[tuple[LaneRow, Piece | Refusal]]] = {}

    def put(self, row: LaneRow, item: Piece | Refusal) -> None:
        """Add an item for a row's reader."""
        if not row.cancelled:
            self._mail.setdefault(row.loop, []).append((row, item))

    def flush(self) -> None:
        """Deliver; a loop that is closed has no readers any more."""
        for loop, mail in self._mail.items():
            try:
                loop.call_soon_threadsafe(_deliver, mail)
            except RuntimeError:
                continue
        self._mail = {}


def _gaps_first(cache: Any, mask: "torch.Tensor", gaps: Sequence[int], start: int) -> "torch.Tensor":
    """Move each row's padding from behind its `start` first tokens to before them, in the cache and in the mask."""
    import torch

    width = mask.shape[1]
    places = [[*range(start, start + gap), *range(start), *range(start + gap, width)] for gap in gaps]
    order = torch.tensor(places, device=mask.device)
    rows = torch.arange(len(gaps), device=mask.device).unsqueeze(1)
    for layer in cache.layers:
        layer.keys = layer.keys.transpose(1, 2)[rows, order].transpose(1, 2)
        layer.values = layer.values.transpose(1, 2)[rows, order].transpose(1, 2)
    return mask.gather(1, order)


def _deliver(mail: list[tuple[LaneRow, Piece | Refusal]]) -> None:
    for row, item in mail:
        row.outbox.put_nowait(item)


class Lane:
    """The rows that one variant of the model (the base, or one adapter) is answering.

    Args:
        model: a causal language model; the caller has put the right adapter on before `join` and `step`.
        pad: padding token id. end: id that ends an answer.
    """

    def __init__(self, model: Any, pad: int, end: int) -> None:
        self._model = model
        self._pad = pad
        self._end = end
        self.rows: list[LaneRow] = []
        self._cache: Any = None
        self._mask: torch.Tensor | None = None  # (rows, width) of 0 and 1
        self._beginning: list[int] = []  # token ids that `_kept` is the cache of, one row
        self._kept: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._before: list[list[int]] = []  # a prompt that joined before

    def join(self, rows: Sequence[LaneRow], outgoing: Outgoing) -> None:
        """Prefill new rows, make their first token, and set them beside the running ones."""
        import torch
        from transformers import DynamicCache

        device = self._model.device
        width = max(len(row.prompt) for row in rows)
        gaps = [width - len(row.prompt) for row in rows]
        with torch.inference_mode():
            start = self._share([row.prompt for row in rows])
            ids = [[self._pad] * g + r.prompt[start:] for g, r in zip(gaps, rows, strict=True)]
            mask = torch.tensor([[1] * start + [0] * g + [1] * (width - start - g) for g in gaps], device=device)
            cache = DynamicCache(config=self._model.config)
            for at, kept in enumerate(self._kept if start else []):
                cache.update(*(part.expand(len(rows), -1, -1, -1) for part in kept), at)
            logits = self._model(
                input_ids=torch.tensor(ids, device=device),
                attention_mask=mask,
                position_ids=(mask.cumsum(-1) - 1).clamp(min=0)[:, start:],
                **{cache_argument(): cache},
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]
            if start:
                mask = _gaps_first(cache, mask, gaps, start)
            for row in rows:
                row.length = len(row.prompt)
                if row.draw.sampling.repetition_penalty != 1:
                    row.draw.seen = torch.zeros(logits.shape[-1], dtype=torch.bool, device=device)
                    row.draw.seen[torch.tensor(row.prompt, device=device)] = True
            tokens = next_tokens(logits, [row.draw for row in rows])
            self._merge(cache, mask)
        self.rows.extend(rows)
        self._accept(dict(zip(rows, tokens, strict=True)), outgoing)

    def _share(self, prompts: list[list[int]]) -> int:
        """How many tokens at the beginning of all the prompts are kept; computes and keeps them if that pays."""
        import torch
        from transformers import DynamicCache

        shortest = min(map(len, prompts)) - 1  # at least one token must be run to be continued
        kept = len(self._beginning)
        if 0 < kept <= shortest and all(prompt[:kept] == self._beginning for prompt in prompts):
            return kept
        known = [*prompts, *self._before]
        self._before = prompts[:1]
        common = known[0][: min(common_prefix(known), shortest)] if len(known) > 1 else []
        if len(common) < SHARED:
            return 0
        cache = DynamicCache(config=self._model.config)
        ids = torch.tensor([common], device=self._model.device)
        self._model(input_ids=ids, **{cache_argument(): cache}, use_cache=True, logits_to_keep=1)
        self._beginning, self._kept = common, [(layer.keys, layer.values) for layer in cache.layers]
        return len(common)

    def step(self, outgoing: Outgoing) -> None:
        """One more token for every row."""
        import torch

        assert self._mask is not None
        device = self._mask.device
        with torch.inference_mode():
            self._mask = torch.cat([self._mask, self._mask.new_ones(len(self.rows), 1)], dim=1)
            logits = self._model(
                input_ids=torch.tensor([[row.last] for row in self.rows], device=device),
                attention_mask=self._mask,
                position_ids=torch.tensor([[row.length] for row in self.rows], device=device),
                **{cache_argument(): self._cache},
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]
            for row in self.rows:
                row.length += 1
            tokens = next_tokens(logits, [row.draw for row in self.rows])
        self._accept(dict(zip(self.rows, tokens, strict=True)), outgoing)

    def sweep(self, outgoing: Outgoing, late: Refusal) -> None:
        """Take out rows that were cancelled or are past their deadline."""
        gone = {row for row in self.rows if row.cancelled or row.overdue()}
        for row in gone:
            outgoing.put(row, late)
        self._leave(gone)

    def abort(self, error: Refusal, outgoing: Outgoing) -> None:
        """Fail every row and forget the cache."""
        for row in self.rows:
            outgoing.put(row, error)
        self.rows, self._cache, self._mask = [], None, None

    def _accept(self, tokens: dict[LaneRow, int], outgoing: Outgoing) -> None:
        """Book one new token per row; send what is certain, let go of what is finished."""
        done = set()
        for row, token in tokens.items():
            row.made += 1
            row.last = token
            ended = token == self._end
            text = "" if ended else row.emitter.add(token)
            if ended or row.emitter.stopped or row.made >= row.limit:
                natural = ended or row.emitter.stopped
                text += row.emitter.finish()
                outgoing.put(row, Piece(text, 1, "stop" if natural or row.emitter.stopped else "length"))
                done.add(row)
            else:
                outgoing.put(row, Piece(text, 1))
        self._leave(done)

    def _merge(self, cache: Any, mask: "torch.Tensor") -> None:
        """Set a new cache and mask beside the running ones, both padded on the left to the wider of the two."""
        import torch
        from torch.nn.functional import pad

        if self._mask is None:
            self._cache, self._mask = cache, mask
            return
        width = max(self._mask.shape[1], mask.shape[1])
        self._mask, old_gap = pad(self._mask, (width - self._mask.shape[1], 0)), width - self._mask.shape[1]
        mask, new_gap = pad(mask, (width - mask.shape[1], 0)), width - mask.shape[1]
        self._mask = torch.cat([self._mask, mask])
        for ours, theirs in zip(self._cache.layers, cache.layers, strict=True):
            for name in ("keys", "values"):
                old = pad(getattr(ours, name), (0, 0, old_gap, 0))
                new = pad(getattr(theirs, name), (0, 0, new_gap, 0))
                setattr(ours, name, torch.cat([old, new]))

    def _leave(self, gone: set[LaneRow]) -> None:
        """Cut rows out of cache and mask, and the padding that no remaining row needs."""
        import torch

        if not gone:
            return
        stay = [at for at, row in enumerate(self.rows) if row not in gone]
        self.rows = [self.rows[at] for at in stay]
        if not stay:
            self._cache, self._mask = None, None
            return
        assert self._mask is not None
        with torch.inference_mode():
            keep = torch.tensor(stay, device=self._mask.device)
            mask = self._mask[keep]
            slack = int(mask.shape[1] - max(row.length for row in self.rows))
            self._mask = mask[:, slack:]
            for layer in self._cache.layers:
                layer.keys = layer.keys[keep, :, slack:]
                layer.values = layer.values[keep, :, slack:]
