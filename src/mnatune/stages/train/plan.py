"""What a training will take, by arithmetic alone, before anything is downloaded: memory, steps, tokens, disk, hours.

Memory is counted part by part:

* weights: `model.memory.weight_bytes`;
* adapter, gradient and AdamW state: 16 bytes per trainable parameter (fp32 weight, gradient, two moments);
* activations: what the backward pass keeps per token and layer, counted tensor by tensor in `activation_bytes`;
* working: the wider of two moments. The head holds the logits of the answer tokens (at most HEAD_CHUNK_ELEMENTS at
  once), 12 bytes each: log-probabilities, their gradient and that of the logits, all fp32; where TRL computes the loss on a
  CPU, 30 bytes for each logit of a tile. A layer's backward pass holds gradients as wide as its MLP;
* rollout, for a method that answers while it trains: what drawing the answers of a step takes (their keys and values, a
  layer's widest point while the prompts are read, the logits of one step with the sampler's copies) beyond what a
  training step takes in the same memory;
* reading, for a method whose teacher is the bare model with a passage in its prompt, which reads before the first step: a
  layer's widest point meanwhile, or the drawing of the answers that say what is known, beyond what a training step takes;
* overhead: CUDA context and allocator slack, 0.7 GiB + 4 %.

`bench/memory.py` compares the sum with what a step takes, `--simulate` at full size without a GPU.

FLOP per token: (6 · matmul parameters + causal attention) · (2 + trainable/frozen) / 3, since a frozen weight needs no
weight gradient; the formula of NVIDIA NeMo Automodel's benchmark recipe. Hours assume 35 % of a card's dense bf16 peak.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ...model.device import Device, find_device, measured_tflops
from ...model.memory import (
    CONTEXT_GIB,
    GIB,
    Shape,
    cache_bytes_per_token,
    prefill_bytes_per_token,
    shape_of,
    weight_bytes,
)
from ...runs.errors import EnvironmentFault, UsageError
from ...runs.recipe import Recipe, TrainSection
from .checkpoints import KEPT_CHECKPOINTS
from .processes import share_of_step

HEAD_CHUNK_ELEMENTS = 1 << 26
# TRL's own head on a CPU: tokens and vocabulary of a tile, and bf16 with seven fp32 copies of each of its logits, measured by
# bench/memory.py. Its kernel on CUDA works in place in 2 bytes, less than what is planned there.
TRL_TILE, TRL_LOGIT_BYTES = (4096, 32_768), 30
ASSUMED_MFU = 0.35
CARD_SHARE = 0.92  # of a card's memory that is planned with; the rest is for fragmentation
RAM_SHARE = 0.5  # of the machine's memory, where the CPU trains and other programs live too
SAMPLER_BYTES = (
    48  # per logit of a drawn row: bf16, fp32, sorted with their ids, and the sampler's double precision copies
)
WARMUP = 0.03  # share of the steps in which the learning rate rises; afterwards it falls linearly
SLACK = 0.04  # of an allocator, as a share of what it holds


@dataclass(frozen=True, slots=True)
class Rollout:
    """Answers that are drawn for each optimizer step: so many, of so many tokens at most, after prompts no longer than this."""

    rows: int
    answer_tokens: int
    prompt_tokens: int

    def peak_bytes(self, shape: Shape) -> int:
        """Bytes that the drawing holds at most, weights and adapter excepted."""
        width = self.prompt_tokens + self.answer_tokens
        cache = width * cache_bytes_per_token(shape)
        reading = self.prompt_tokens * prefill_bytes_per_token(shape)
        return self.rows * (cache + reading + SAMPLER_BYTES * shape.vocabulary)


@dataclass(frozen=True, slots=True)
class TeacherReading:
    """What the bare model reads as a teacher before the first step: so many tokens a row in the mean, and at most.

    Attributes:
        before: the answers that are drawn first, to ask what is known already.
        answers: tokens a row in the mean whose states are kept on the disk.
    """

    mean: float
    widest: int
    before: Rollout
    answers: float

    def peak_bytes(self, shape: Shape, batch: int) -> int:
        """Bytes that reading, or asking, holds at most, weights and adapter excepted."""
        return max(batch * self.widest * prefill_bytes_per_token(shape), self.before.peak_bytes(shape))


@dataclass(frozen=True, slots=True)
class Needs:
    """What a method asks of a training on this machine.

    Attributes:
        learning_rate: peak rate where the recipe names none.
        least: fewest rows that must be computed at once.
        reference: a frozen copy of the adapter stands beside the trained one.
        rollout: answers drawn while training.
        reading: what a teacher reads.
        logit_bytes: held for each logit while the head's loss is computed.
        trl_loss: TRL computes the loss.
    """

    learning_rate: float = 1e-4
    least: int = 1
    reference: bool = False
    rollout: Rollout | None = None
    reading: TeacherReading | None = None
    logit_bytes: int = 3 * 4
    trl_loss: bool = False

    def head_bytes(self, shape: Shape, tokens: int) -> int:
        """Bytes held while the loss of so many tokens is computed from their logits."""
        if self.trl_loss and not find_device().cuda:
            return min(tokens, TRL_TILE[0]) * min(shape.vocabulary, TRL_TILE[1]) * TRL_LOGIT_BYTES
        return min(tokens * shape.vocabulary, HEAD_CHUNK_ELEMENTS) * self.logit_bytes


@dataclass(frozen=True)
class TrainPlan:
    """The estimate, for `batch` rows computed at once. Bytes by part in `memory`; `hours` is None on a device whose peak is not known."""

    parameters: int
    trainable: int
    batch: int
    quantize: str
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
    generated: int = 0  # tokens drawn at most, where the method answers while it trains
    read: int = 0  # tokens that a teacher reads
    state_bytes: int = 0  # its states on the disk while the training runs

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
    # query, output, key and value, these repeated for every head where a mask is given, and the softmax's normaliser
    attention = 2 * (2 * q + 2 * q) + 4 * shape.heads
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


def make_plan(
    recipe: Recipe,
    lengths: Sequence[int],
    batch: int = 1,
    quantize: str | None = None,
    *,
    checkpointing: bool = False,
    needs: Needs | None = None,
) -> TrainPlan:
    """The plan of a recipe on rows of these token lengths.

    Args:
        lengths: tokens of each training row, prompt and answer.
        batch: rows computed at once.
        quantize: by default the recipe's.
        needs: the method's; by default those of supervised training.
    """
    train, shape, needs = recipe.train, shape_of(recipe.model.id), needs or Needs()
    quantize = quantize or train.quantize
    rows_per_step = min(train.rows_per_step, max(1, len(lengths)))
    steps_per_epoch = len(lengths) // rows_per_step
    steps = max(1, int(steps_per_epoch * train.epochs + 1e-9))
    mean = sum(lengths) / max(1, len(lengths))
    tokens = round(mean * rows_per_step * steps)
    trainable = trainable_parameters(shape, train)
    widest = max(lengths, default=recipe.model.max_length)
    matmul = shape.linear_parameters + shape.vocabulary * shape.hidden
    attention = 6 * shape.layers * shape.heads * shape.head_dim * mean  # 12 · L · d · T / 2, causal
    flop = tokens * (6 * matmul + attention) * (2 + trainable / shape.parameters) / 3
    read = round(needs.reading.mean * len(lengths)) if needs.reading else 0
    states = round(needs.reading.answers * len(lengths)) * 2 * shape.hidden if needs.reading else 0
    generated = needs.rollout.answer_tokens * rows_per_step * steps if needs.rollout else 0
    # a forward pass is a third of 6 · parameters: over each drawn token, each row for the reference, what a teacher reads
    flop += (generated + read + tokens * needs.reference) * (6 * matmul + attention) / 3
    memory = memory_parts(shape, train, trainable, batch * widest, quantize, needs, checkpointing=checkpointing)
    step = memory["activations"] + memory["working"]
    if needs.reference:
        memory["adapter"] += 4 * trainable
    if needs.rollout:
        memory["rollout"] = max(0, needs.rollout.peak_bytes(shape) - step)
    if needs.reading:
        memory["reading"] = max(0, needs.reading.peak_bytes(shape, batch) - step)
    return TrainPlan(
        parameters=shape.parameters,
        trainable=trainable,
        batch=batch,
        quantize=quantize,
        memory=memory,
        rows_per_step=rows_per_step,
        steps_per_epoch=steps_per_epoch,
        steps=steps,
        warmup_steps=min(math.ceil(steps * WARMUP), steps - 1),  # its first step has a rate of 0
        tokens=tokens,
        checkpoint_bytes=12 * trainable * (KEPT_CHECKPOINTS + 2),
        gradient_checkpointing=checkpointing,
        flop=flop,
        hours=_hours(flop),
        generated=generated,
        read=read,
        state_bytes=states,
    )


def trainable_parameters(shape: Shape, train: TrainSection) -> int:
    """Parameters of the adapter: both matrices of each target, with DoRA a magnitude for each of its outputs too."""
    dora = int(train.lora.use_dora)
    sizes = (train.r * (i + o) + dora * o for name, (i, o) in shape.linear.items() if name in train.targets)
    return shape.layers * sum(sizes)


def memory_parts(
    shape: Shape,
    train: TrainSection,
    trainable: int,
    tokens: int,
    quantize: str,
    needs: Needs,
    *,
    checkpointing: bool,
) -> dict[str, int]:
    """Peak bytes by part for a micro-batch of `tokens` tokens, padding included."""
    weights = weight_bytes(shape, quantize)
    layer = activation_bytes(shape, train) * tokens
    gradients = 13 * shape.intermediate * tokens  # of one layer's MLP, in the backward pass; bench/memory.py --simulate
    head = needs.head_bytes(shape, tokens)
    if checkpointing:  # the head is done before a layer is recomputed
        activations = layer + shape.layers * 2 * shape.hidden * tokens
        working = max(gradients, head - layer)
    else:
        activations = layer * shape.layers
        working = max(gradients, head)
    subtotal = weights + 16 * trainable + activations + working
    return {
        "weights": weights,
        "adapter": 8 * trainable,
        "optimizer": 8 * trainable,
        "activations": round(activations),
        "working": round(working),
        "overhead": round(CONTEXT_GIB * GIB + SLACK * subtotal),
    }


def fit(recipe: Recipe, lengths: Sequence[int], needs: Needs | None = None) -> TrainPlan:
    """The fastest plan that fits the memory, with the rows per step, the rank and all that changes results kept.

    Tried in order of speed: no gradient checkpointing before checkpointing, the recipe's quantisation before nf4 (with
    `train.memory_gb` alone), and within each the most rows at once that share out a step evenly. A CPU without
    `train.memory_gb` is never refused.

    Args:
        needs: the method's; by default those of supervised training.

    Raises:
        EnvironmentFault: nothing fits; says by how much, and which keys would help.
        UsageError: the rows of a step cannot be shared out.
    """
    train, device, needs = recipe.train, find_device(), needs or Needs()
    budget = memory_budget(train.memory_gb, device)
    kinds = [train.quantize, *(["nf4"] if train.memory_gb and train.quantize == "none" else [])]
    ways = [True] if train.extra.get("gradient_checkpointing") else [False, True]
    sizes = batch_sizes(train, min(train.rows_per_step, max(1, len(lengths))), needs.least)
    tried = [
        make_plan(recipe, lengths, size, kind, checkpointing=way, needs=needs)
        for kind in kinds
        for way in ways
        for size in sizes
    ]
    for plan in tried:
        if plan.total_gb <= budget:
            return plan
    stated = train.memory_gb or math.inf
    if not device.cuda and not train.memory_gb:
        return make_plan(recipe, lengths, sizes[-1], checkpointing=ways[0], needs=needs)
    card = device.memory_gb if device.cuda else math.inf
    limit = "of the card" if card <= stated else "of train.memory_gb"
    cure = (
        "" if train.memory_gb or train.quantize == "nf4" else f"set train.memory_gb: {card:.0f}, which may take nf4; "
    )
    raise EnvironmentFault(
        f"{recipe.model.id} needs {min(plan.total_gb for plan in tried):.1f} GiB at least; {budget:.1f} of the "
        f"{min(card, stated):.1f} GiB {limit} can be planned with",
        next_step=f"{cure}lower model.max_length or train.r, or choose a smaller model.id",
    )


def memory_budget(memory_gb: float | None, device: Device) -> float:
    """GiB that a plan may have: the stated size, never above the card's, less what fragmentation takes.

    It goes by the machine's size, not by what is free: the same machine decides the same twice.
    """
    if device.cuda:
        return CARD_SHARE * min(memory_gb or device.memory_gb, device.memory_gb)
    return CARD_SHARE * memory_gb if memory_gb else RAM_SHARE * device.memory_gb


def batch_sizes(train: TrainSection, rows: int, least: int = 1) -> list[int]:
    """Rows that may be computed at once, most first: what shares out a process's rows of a step evenly.

    `train.extra: {per_device_train_batch_size: N}` states the one size.
    """
    own = share_of_step(rows)
    stated = train.extra.get("per_device_train_batch_size")
    if stated is not None and (not isinstance(stated, int) or stated < 1):
        raise UsageError(f"{stated!r} is no number of rows", where="train.extra.per_device_train_batch_size")
    sizes = [stated] if stated else [size for size in range(own, 0, -1) if own % size == 0 and size >= least]
    if not sizes or own % sizes[0] or sizes[0] < least:
        raise UsageError(
            f"the {own} rows of a step cannot be computed {sizes[0] if sizes else least} at a time",
            where="train.extra.per_device_train_batch_size" if stated else "train.rows_per_step",
            next_step=f"take a divisor of {own}, at least {least}" if own >= least else f"take at least {least}",
        )
    return sizes


def _hours(flop: float) -> float | None:
    """Hours at an assumed share of the card's peak; for a card that is not listed its peak is measured."""
    device = find_device()
    if not device.cuda:
        return None
    peak = device.peak_tflops or measured_tflops()
    return flop / (peak * 1e12 * ASSUMED_MFU) / 3600
