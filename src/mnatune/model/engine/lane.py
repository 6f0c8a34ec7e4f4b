"""A running batch of answers over one cache: rows join and leave between steps.

Rows are left-padded to a common width. Joining rows are prefilled together and their cache is set beside the running
one; a leaving row is cut out, and padding that no row needs any more goes with it. What prompts of one adapter and one wall
begin with alike, mostly the system prompt, is read once and kept. Rows behind different walls share nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..load import LoadedModel, cache_argument
from .lane_rows import LaneRow, Outgoing
from .prefill import Opening, Prefilled, common_opening, prefill
from .protocol import Piece
from .refusals import Refusal
from .sampler import Draws

if TYPE_CHECKING:
    import torch

SHARED = 32  # tokens that prompts must begin with alike before keeping them pays
KEPT = 16  # openings kept, the oldest going first

Group = tuple[str | None, str]  # adapter and wall


@dataclass
class _Begun:
    """What the rows of one adapter and one wall have begun with: a prompt, and what is kept of its beginning."""

    before: list[int]
    opening: Opening | None = None


class Lane:
    """The rows that are being answered together, each with the base or an adapter of its own."""

    def __init__(self, model: LoadedModel) -> None:
        self._model = model
        self.rows: list[LaneRow] = []
        self._cache: Any = None
        self._mask: torch.Tensor | None = None  # (rows, width) of 0 and 1
        self._draws: Draws | None = None
        self._begun: dict[Group, _Begun] = {}
        self._mixed = False  # rows of several adapters

    def join(self, rows: Sequence[LaneRow], outgoing: Outgoing) -> None:
        """Prefill new rows, make their first token, and set them beside the running ones."""
        import torch

        prompts = [row.prompt for row in rows]
        with torch.inference_mode():
            self._mixed = len({row.slot for row in [*self.rows, *rows]}) > 1
            state = self._read(rows)
            logits = self._model.head(state.hidden)
            draws = Draws([row.sampling for row in rows], prompts, logits.shape[-1], logits.device)
            for at, row in enumerate(rows):
                row.length = len(row.prompt)
                row.first = logits[at, list(row.watched)].float().tolist() if row.watched else []
            tokens = draws.next_tokens(logits)
            self._merge(state.cache, state.mask, draws)
        self.rows.extend(rows)
        self._accept(rows, tokens, outgoing)

    def step(self, outgoing: Outgoing) -> None:
        """One more token for every row."""
        import torch

        assert self._mask is not None
        assert self._draws is not None
        device = self._mask.device
        with torch.inference_mode():
            self._mixed = len({row.slot for row in self.rows}) > 1
            self._put_on([row.slot for row in self.rows])
            self._mask = torch.cat([self._mask, self._mask.new_ones(len(self.rows), 1)], dim=1)
            hidden = self._model.backbone(
                input_ids=torch.tensor([[row.ids[-1]] for row in self.rows], device=device),
                attention_mask=self._mask,
                position_ids=torch.tensor([[row.length] for row in self.rows], device=device),
                **{cache_argument(): self._cache},
                use_cache=True,
            ).last_hidden_state
            for row in self.rows:
                row.length += 1
            tokens = self._draws.next_tokens(self._model.head(hidden[:, -1]))
        self._accept(list(self.rows), tokens, outgoing)

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
        self.rows, self._cache, self._mask, self._draws = [], None, None, None

    def _read(self, rows: Sequence[LaneRow]) -> Prefilled:
        """The rows' prompts; several answers to one question, of one adapter and one wall, read it once."""
        import torch

        asked = [(row.slot, row.wall, tuple(row.prompt)) for row in rows]
        place = {key: at for at, key in enumerate(dict.fromkeys(asked))}
        distinct = [rows[asked.index(key)] for key in place]
        openings = self._openings(distinct)
        self._put_on([row.slot for row in distinct])
        state = prefill(self._model, [row.prompt for row in distinct], openings)
        if len(distinct) == len(rows):
            return state
        return state.of_rows(torch.tensor([place[key] for key in asked], device=self._model.device))

    def _put_on(self, slots: Sequence[str | None]) -> None:
        """Give the rows of the next pass their adapters. PEFT switches slowly: in a mixed lane it is left alone."""
        if self._mixed:
            self._model.activate_rows(slots)
        else:
            self._model.activate(slots[0])

    def _openings(self, rows: Sequence[LaneRow]) -> list[Opening | None]:
        """What each row begins with alike with others of its adapter and its wall."""
        groups: dict[Group, list[list[int]]] = {}
        for row in rows:
            groups.setdefault((row.slot, row.wall), []).append(row.prompt)
        found = {group: self._shared_opening(group, prompts) for group, prompts in groups.items()}
        return [found[row.slot, row.wall] for row in rows]

    def _shared_opening(self, group: Group, prompts: list[list[int]]) -> Opening | None:
        """What the prompts begin with alike: kept from before, or read now if that pays."""
        begun = self._begun.pop(group, None)
        if begun is None:
            known, begun = prompts, _Begun(prompts[0])
        else:
            known = [*prompts, begun.before]
        self._begun[group] = begun
        while len(self._begun) > KEPT:
            del self._begun[next(iter(self._begun))]
        if begun.opening and begun.opening.begins(prompts):
            return begun.opening
        self._put_on([group[0]])
        found = common_opening(self._model, known, SHARED)
        begun.before = prompts[0]
        if found is None or not found.begins(prompts):
            return None
        begun.opening = found
        return found

    def _accept(self, rows: Sequence[LaneRow], tokens: Sequence[int], outgoing: Outgoing) -> None:
        """Book one new token per row; send what is certain, let go of what is finished."""
        done = set()
        for row, token in zip(rows, tokens, strict=True):
            row.ids.append(token)
            ended = token in self._model.ends
            emitter = row.emitter
            text = emitter.add(token) if emitter and not ended else ""
            stopped = bool(emitter and emitter.stopped)
            if ended or stopped or len(row.ids) >= row.limit:
                text += emitter.finish() if emitter else ""
                natural = ended or stopped or bool(emitter and emitter.stopped)
                outgoing.put(row, Piece(text, 1, "stop" if natural else "length"))
                done.add(row)
            elif emitter:
                outgoing.put(row, Piece(text, 1))
        self._leave(done)

    def _merge(self, cache: Any, mask: "torch.Tensor", draws: Draws) -> None:
        """Set a new batch beside the running one, both padded on the left to the wider of the two."""
        import torch
        from torch.nn.functional import pad

        if self._mask is None or self._draws is None:
            self._cache, self._mask, self._draws = cache, mask, draws
            return
        self._draws.join(draws)
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
        """Cut rows out of the batch, and the padding that no remaining row needs."""
        import torch

        if not gone:
            return
        stay = [at for at, row in enumerate(self.rows) if row not in gone]
        self.rows = [self.rows[at] for at in stay]
        if not stay or self._mask is None or self._draws is None:
            self._cache, self._mask, self._draws = None, None, None
            return
        with torch.inference_mode():
            self._draws.keep(stay)
            places = torch.tensor(stay, device=self._mask.device)
            mask = self._mask[places]
            slack = int(mask.shape[1] - max(row.length for row in self.rows))
            self._mask = mask[:, slack:]
            for layer in self._cache.layers:
                layer.keys = layer.keys[places, :, slack:]
                layer.values = layer.values[places, :, slack:]
