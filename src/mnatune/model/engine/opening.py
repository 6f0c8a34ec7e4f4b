"""The common beginning of prompts, mostly the system prompt, read once: for answering, scoring and training alike."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..load import cache_argument

if TYPE_CHECKING:
    import torch

Layers = list[tuple["torch.Tensor", "torch.Tensor"]]  # keys and values, each (1, heads, tokens, size)


def read_opening(backbone: Any, ids: "torch.Tensor") -> Layers:
    """Keys and values of `ids` in every layer; gradients flow through them where they are on.

    Args:
        backbone: the decoder without its LM head.
        ids: token ids, shape (1, tokens).
    """
    from transformers import DynamicCache

    cache = DynamicCache()  # whole, also in layers that look at a window: rows are cut and joined by place
    backbone(input_ids=ids, **{cache_argument(): cache}, use_cache=True)
    return [(layer.keys, layer.values) for layer in cache.layers]


def expanded(layers: Layers, rows: int) -> Any:
    """A `DynamicCache` in which each of `rows` rows begins with the opening; nothing is copied until a row goes on."""
    from transformers import DynamicCache

    shared = [(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1)) for keys, values in layers]
    return DynamicCache(shared) if shared else DynamicCache()


def side_by_side(openings: Sequence[Layers]) -> Any:
    """A `DynamicCache` whose rows begin with these openings, shorter ones padded on the left; some may be empty."""
    from torch import cat
    from torch.nn.functional import pad
    from transformers import DynamicCache

    if all(one is openings[0] for one in openings):
        return expanded(openings[0], len(openings))
    longest = max(filter(None, openings), key=lambda one: one[0][0].shape[2])
    width = longest[0][0].shape[2]

    def padded(layer: int, part: int) -> "torch.Tensor":
        own = [one[layer][part] if one else longest[layer][part][:, :, :0] for one in openings]
        return cat([pad(tensor, (0, 0, width - tensor.shape[2], 0)) for tensor in own])

    return DynamicCache([(padded(layer, 0), padded(layer, 1)) for layer in range(len(longest))])
