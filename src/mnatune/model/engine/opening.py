"""The opening that all prompts of a batch share, read once: for answering, and with gradients for training."""

from typing import Any

from ..load import cache_argument


def read_opening(backbone: Any, ids: Any, rows: int) -> Any:
    """Keys and values of `ids`, computed with a batch of one and expanded over `rows` without a copy.

    Gradients flow through it, summed over the rows. Layers append to the cache by concatenation, so that the expanded
    rows part where their own tokens begin.

    Args:
        backbone: the decoder without its LM head.
        ids: token ids that every row begins with, shape (1, tokens).

    Returns:
        A `DynamicCache` to hand to the backbone together with what differs from row to row.
    """
    from transformers import DynamicCache

    once = DynamicCache(config=backbone.config)
    backbone(input_ids=ids, **{cache_argument(): once}, use_cache=True)
    expanded = [(layer.keys.expand(rows, -1, -1, -1), layer.values.expand(rows, -1, -1, -1)) for layer in once.layers]
    return DynamicCache(expanded, config=backbone.config)
