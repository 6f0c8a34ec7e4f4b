"""Reading the prompts of a batch: left-padded to one width, what some of them begin with alike read once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..load import LoadedModel, cache_argument
from ..prompt import common_prefix
from .opening import Layers, read_opening, side_by_side

if TYPE_CHECKING:
    import torch

NOTHING: Layers = []


@dataclass(frozen=True)
class Opening:
    """Token ids that prompts begin with, and their keys and values by layer."""

    ids: list[int]
    layers: Layers

    def begins(self, prompts: Sequence[list[int]]) -> bool:
        """True if every prompt begins so and goes on."""
        size = len(self.ids)
        return all(len(prompt) > size and prompt[:size] == self.ids for prompt in prompts)


@dataclass
class Prefilled:
    """Prompts that were read.

    Attributes:
        hidden: last hidden state of each prompt, (rows, size).
        cache: keys and values, the rows left-padded to one width.
        mask: (rows, width) of 0 and 1.
    """

    hidden: "torch.Tensor"
    cache: Any
    mask: "torch.Tensor"

    def of_rows(self, rows: "torch.Tensor") -> "Prefilled":
        """Rows by their numbers; a number may stand more than once."""
        from transformers import DynamicCache

        cache = DynamicCache([(layer.keys[rows], layer.values[rows]) for layer in self.cache.layers])
        return Prefilled(self.hidden[rows], cache, self.mask[rows])


def common_opening(model: LoadedModel, prompts: Sequence[list[int]], least: int = 1) -> Opening | None:
    """What the prompts begin with alike, read; None for one prompt, or if it has fewer than `least` tokens.

    Every prompt keeps at least one token of its own, whose hidden state predicts the answer. A model with layers that
    look at a window has none: the padding behind an opening would count as part of the window.
    """
    import torch

    if len(prompts) < 2 or any(kind != "full_attention" for kind in getattr(model.config, "layer_types", None) or ()):
        return None
    size = min(common_prefix(prompts), min(map(len, prompts)) - 1)
    if size < least:
        return None
    ids = prompts[0][:size]
    return Opening(ids, read_opening(model.backbone, torch.tensor([ids], device=model.device)))


def prefill(model: LoadedModel, prompts: Sequence[list[int]], openings: Sequence[Opening | None]) -> Prefilled:
    """Read prompts, each after its opening if it has one."""
    import torch

    starts = [len(opening.ids) if opening else 0 for opening in openings]
    own = [prompt[start:] for prompt, start in zip(prompts, starts, strict=True)]
    start, width = max(starts), max(map(len, own))
    gaps = [width - len(ids) for ids in own]
    rows = [[0] * (start - s) + [1] * s + [0] * gap + [1] * (width - gap) for s, gap in zip(starts, gaps, strict=True)]
    mask = torch.tensor(rows, device=model.device)
    cache = side_by_side([opening.layers if opening else NOTHING for opening in openings])
    hidden = model.backbone(
        input_ids=torch.tensor(
            [[model.pad] * gap + ids for gap, ids in zip(gaps, own, strict=True)], device=model.device
        ),
        attention_mask=mask,
        position_ids=(mask.cumsum(-1) - 1).clamp(min=0)[:, start:],
        **{cache_argument(): cache},
        use_cache=True,
    ).last_hidden_state[:, -1]
    if start and any(gaps):
        mask = _gaps_first(cache, mask, gaps, starts)
    return Prefilled(hidden, cache, mask)


def _gaps_first(cache: Any, mask: "torch.Tensor", gaps: Sequence[int], starts: Sequence[int]) -> "torch.Tensor":
    """Move each row's padding from behind its opening to before it, in the cache and in the mask."""
    import torch

    width, longest = mask.shape[1], max(starts)
    places = [
        [*range(longest - start), *range(longest, longest + gap), *range(longest - start, longest),
         *range(longest + gap, width)]
        for start, gap in zip(starts, gaps, strict=True)
    ]  # fmt: skip
    order = torch.tensor(places, device=mask.device)
    rows = torch.arange(len(gaps), device=mask.device).unsqueeze(1)
    for layer in cache.layers:
        layer.keys = layer.keys.transpose(1, 2)[rows, order].transpose(1, 2)
        layer.values = layer.values.transpose(1, 2)[rows, order].transpose(1, 2)
    return mask.gather(1, order)
