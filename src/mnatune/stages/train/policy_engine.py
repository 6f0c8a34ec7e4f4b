"""The engine over a model that is being trained: it answers as the model stands."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from ...model.engine.local import LocalEngine
from ...model.engine.protocol import Task
from ...model.engine.scheduler import BatchLimits
from ...model.load import LoadedModel

POLICY = "policy"


@contextmanager
def engine_over(model: Any, tokenizer: Any, tasks: Sequence[Task]) -> Iterator[LocalEngine]:
    """An engine over a model that is being trained, in evaluation mode for the while, computing as training does.

    The size of its batches follows from the tasks alone, never from free memory: the same rows meet in a resumed training.
    """
    was_training, causal = model.training, model.get_base_model()
    model.eval()
    attention = causal.config._attn_implementation
    if causal.device.type == "cpu":  # one query a row: faster by a third than the fused kernel
        causal.set_attn_implementation("eager")
    widest = max((len(t.prompt or ()) + (t.sampling.max_tokens or 0) for t in tasks), default=1)
    limits = BatchLimits(rows=len(tasks), cache_tokens=max(1, widest * len(tasks)))
    loaded = LoadedModel.over(causal, tokenizer)
    try:
        with torch.autocast(loaded.device.type, torch.bfloat16):
            yield LocalEngine(loaded, POLICY, 1, limits)  # not closed: the model is the trainer's
    finally:
        causal.set_attn_implementation(attention)
        model.train(was_training)
