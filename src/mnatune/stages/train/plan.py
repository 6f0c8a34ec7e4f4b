"""What a training will take, by arithmetic alone, before anything is downloaded: memory, steps, tokens, disk, hours.

Memory is counted part by part:

* weights: `model.memory.weight_bytes`;
* adapter, gradient and AdamW state: 16 bytes per trainable parameter (fp32 weight, gradient, two moments);
* activations: what the backward pass keeps per token and layer, counted tensor by tensor in `activation_bytes`;
* head: the logits of the answer tokens held at once (trainer.HEAD_CHUNK_ELEMENTS), 12 bytes each: at its widest the
  backward pass holds log-probabilities, their gradient and that of the logits, all fp32;
* overhead: CUDA context and allocator slack, 0.7 GiB + 4 %.

bench/memory.py compares the sum with what a training step takes.

FLOP per token: (6 · matmul parameters + causal attention) · (2 + trainable/frozen) / 3, since a frozen weight needs no
weight gradient; the formula of NVIDIA NeMo Automodel's benchmark recipe. Hours assume 35 % of a card's dense bf16 peak.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ...model.memory import CONTEXT_GIB, GIB, Shape, shape_of, weight_bytes
from ...runs.errors import EnvironmentFault
from ...runs.recipe import Recipe, TrainSection

HEAD_CHUNK_ELEMENTS = 1 << 26
ASSUMED_MFU = 0.35
SLACK = 0.04  # of an allocator, as a share of what it holds
# Dense bf16 tensor peak in TFLOP/s, from the vendor's data sheets.
PEAK_TFLOPS = {
    "H200": 989,
    "H100": 989,
    "A100": 312,
    "4090": 165,
    "5090": 210,
    "3090": 71,
    "A6000": 155,
    "L40S": 362,
    "L4": 121,
}


@dataclass(frozen=True)
class TrainPlan:
    """The estimate. Bytes by part in `memory`; `hours` is None on a device whose peak is not known."""

    parameters: int
    trainable: int
    memory: dict[str, int]
    rows_per_step: int
    steps_per_epoch: int
    steps: int
    warmup_steps: int
    tokens: int
    checkpoint_bytes: int
    gradient_checkpointing: bool
    flop: float
    hours: float | None

    @property
    def total_gb(self) -> float:
        """Peak memory in GiB."""
        return sum(self.memory.values()) / GIB

    def facts(self) -> dict[str, Any]:
        """The plan as plain values, for the manifest."""
        return {**asdict(self), "total_gb": round(self.total_gb, 3)}


def activation_bytes(shape: Shape, train: TrainSection) -> int:
    """Bytes kept for the backward pass per token and layer, without gradient checkpointing.

    Counted from what autograd saves in Transformers' Qwen3 with PEFT's LoRA under bf16 autocast with
    memory-efficient attention; a test compares. A frozen matrix keeps nothing by itself, its adapter keeps the input:
    the one tensor that all adapters of that input share, or, with dropout, a copy of its own and a mask of a byte
    each (on a CPU the mask takes two).
    """
    h, f, adapted = shape.hidden, shape.intermediate, set(train.targets) & shape.linear.keys()
    q, k = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    norms = 4 * (2 * h + q + k)  # the fp32 input of each RMSNorm
    attention = 2 * (2 * q + 2 * k) + 4 * shape.heads  # query, key, value, output, and the softmax's normaliser
    gated = 2 * 3 * f  # gate, its SiLU, up
    ranks = 2 * 2 * train.r * len(adapted)
    if train.dropout:
        inputs = 3 * sum(shape.linear[name][0] for name in adapted)
    else:
        inputs = 2 * h * bool(adapted & {"q_proj", "k_proj", "v_proj"}) + 2 * h * bool(
            adapted & {"gate_proj", "up_proj"}
        )
        inputs += 2 * f * ("down_proj" in adapted)  # o_proj's input is the attention's output
    return norms + attention + gated + ranks + inputs


def make_plan(recipe: Recipe, lengths: Sequence[int]) -> TrainPlan:
    """The plan of a recipe on rows of these token lengths.

    Args:
        lengths: tokens of each training row, prompt and answer.
    """
    train, shape = recipe.train, shape_of(recipe.model.id)
    rows_per_step = min(train.batch * train.accumulate, max(1, len(lengths)))
    steps_per_epoch = len(lengths) // rows_per_step
    steps = max(1, int(steps_per_epoch * train.epochs))
    mean = sum(lengths) / max(1, len(lengths))
    tokens = round(mean * rows_per_step * steps)
    trainable = shape.layers * sum(train.r * (i + o) for name, (i, o) in shape.linear.items() if name in train.targets)
    checkpointing = bool(train.extra.get("gradient_checkpointing", False))
    widest = max(lengths, default=recipe.model.max_length)
    memory = memory_parts(shape, train, trainable, train.batch * widest, checkpointing)
    matmul = shape.linear_parameters + shape.vocabulary * shape.hidden
    attention = 6 * shape.layers * shape.heads * shape.head_dim * mean  # 12 · L · d · T / 2, causal
    flop = tokens * (6 * matmul + attention) * (2 + trainable / shape.parameters) / 3
    return TrainPlan(
        parameters=shape.parameters,
        trainable=trainable,
        memory=memory,
        rows_per_step=rows_per_step,
        steps_per_epoch=steps_per_epoch,
        steps=steps,
        warmup_steps=math.ceil(steps * train.warmup),
        tokens=tokens,
        checkpoint_bytes=12 * trainable * (train.keep_checkpoints + 1),
        gradient_checkpointing=checkpointing,
        flop=flop,
        hours=_hours(flop),
    )


def memory_parts(shape: Shape, train: TrainSection, trainable: int, tokens: int, checkpointing: bool) -> dict[str, int]:
    """Peak bytes by part for a micro-batch of `tokens` tokens, padding included."""
    weights = weight_bytes(shape, train.quantize)
    layer = activation_bytes(shape, train) * tokens
    activations = layer + shape.layers * 2 * shape.hidden * tokens if checkpointing else layer * shape.layers
    head = min(tokens * shape.vocabulary, HEAD_CHUNK_ELEMENTS) * 3 * 4
    subtotal = weights + 16 * trainable + activations + head
    return {
        "weights": weights,
        "adapter": 8 * trainable,
        "optimizer": 8 * trainable,
        "activations": round(activations),
        "head": round(head),
        "overhead": round(CONTEXT_GIB * GIB + SLACK * subtotal),
    }


def fit(recipe: Recipe, lengths: Sequence[int]) -> TrainSection:
    """The train section made to fit `train.memory_gb` and the card, keeping rows per step, rank and what changes results.

    Tried in order of speed: no gradient checkpointing before checkpointing, the recipe's quantisation before nf4, and
    within each the largest micro-batch that divides the rows of a step.

    Raises:
        EnvironmentFault: nothing fits; says by how much, and which keys would.
    """
    train = recipe.train
    assert train.memory_gb is not None
    card = card_gb()
    budget = train.memory_gb if card is None else min(train.memory_gb, card)
    product = train.batch * train.accumulate
    kinds = [train.quantize] if train.quantize != "none" else ["none", "nf4"]
    smallest: TrainPlan | None = None
    for quantize in kinds:
        for checkpointing in (False, True):
            for batch in (b for b in range(product, 0, -1) if product % b == 0):
                trial = train.model_copy(
                    update={
                        "quantize": quantize,
                        "batch": batch,
                        "accumulate": product // batch,
                        "extra": {**train.extra, "gradient_checkpointing": checkpointing},
                    }
                )
                smallest = make_plan(recipe.model_copy(update={"train": trial}), lengths)
                if smallest.total_gb <= budget:
                    return trial
    assert smallest is not None
    limit = f"train.memory_gb is {train.memory_gb:g}" if budget == train.memory_gb else f"the card has {budget:.1f}"
    raise EnvironmentFault(
        f"{recipe.model.id} needs {smallest.total_gb:.1f} GiB at least, and {limit}",
        next_step="lower model.max_length or train.r, or choose a smaller model.id",
    )


def refuse_unfitting(plan: TrainPlan) -> None:
    """Raise `EnvironmentFault` if the plan needs more than this machine's card has."""
    have = card_gb()
    if have is not None and plan.total_gb > have:
        raise EnvironmentFault(
            f"the training needs {plan.total_gb:.1f} GiB and the card has {have:.1f}",
            next_step=f"set train.memory_gb: {int(have)}; it derives train.batch, train.quantize and checkpointing",
        )


def card_gb() -> float | None:
    """Memory of this machine's first card in GiB; None without a card."""
    import torch

    return torch.cuda.get_device_properties(0).total_memory / GIB if torch.cuda.is_available() else None


def _hours(flop: float) -> float | None:
    import torch

    if not torch.cuda.is_available():
        return None
    name = torch.cuda.get_device_name()
    peak = next((t for key, t in PEAK_TFLOPS.items() if key in name), None)
    return None if peak is None else flop / (peak * 1e12 * ASSUMED_MFU) / 3600
