"""What is decided for the machine at hand before training: batch shape, how rows become batches, what is shared."""

from dataclasses import dataclass
from typing import Any

import psutil
import torch
from transformers.utils import is_flash_attn_2_available

from ...model.memory import GIB
from ...runs.errors import EnvironmentFault, UsageError
from ...runs.recipe import Recipe, TrainSection
from .cpu import EAGER_BELOW
from .plan import TrainPlan, fit, make_plan, refuse_unfitting
from .processes import micro_batches, process_count
from .token_rows import TokenRows, shared_prefix

MIN_SHARED_SHARE = 0.08  # below this share of the tokens the second forward costs more than it saves
CARD_SHARE = 0.9  # of a GPU's memory that `auto` plans with; the rest is for fragmentation
RAM_SHARE = 0.5  # of the machine's memory, where the CPU trains and other programs live too


@dataclass(frozen=True)
class Setting:
    """How this training is done here.

    Attributes:
        train: the recipe's section with what was derived for the machine put in.
        batch, accumulate: rows of a micro-batch, and micro-batches per process and step.
        prefix: tokens computed once per micro-batch; 0 shares nothing.
        padding_free: rows are laid end to end instead of padded.
        eager_attention: Transformers' plain attention, where rows are too short for a fused one to pay.
    """

    train: TrainSection
    batch: int
    accumulate: int
    prefix: int
    padding_free: bool
    plan: TrainPlan
    eager_attention: bool = False

    def facts(self) -> dict[str, Any]:
        """For the manifest."""
        return {
            "batch": self.batch,
            "accumulate": self.accumulate,
            "processes": process_count(),
            "quantize": self.train.quantize,
            "gradient_checkpointing": self.plan.gradient_checkpointing,
            "shared_prefix": self.prefix,
            "padding_free": self.padding_free,
            "eager_attention": self.eager_attention,
        }


def decide(recipe: Recipe, rows: TokenRows, valid: TokenRows) -> Setting:
    """How supervised training is done on this machine.

    Raises:
        EnvironmentFault: it cannot fit, or the card has no bf16.
        UsageError: `throughput` asks for what cannot be done here.
    """
    train, plan = fitted(recipe, rows.lengths)
    batch, accumulate = micro_batches(plan.rows_per_step, train.batch)
    shared = shared_prefix(rows.examples + valid.examples)
    mode, cuda = train.throughput, torch.cuda.is_available()
    alone = process_count() == 1
    if mode == "auto":
        share = shared * len(rows.examples) / max(1, sum(rows.lengths))
        if cuda and is_flash_attn_2_available():
            mode = "packing"
        elif alone and batch > 1 and share >= MIN_SHARED_SHARE and not plan.gradient_checkpointing:
            mode = "shared-prefix"
        else:
            mode = "plain"
    if mode == "shared-prefix" and not (alone and not plan.gradient_checkpointing):
        raise UsageError(
            "train.throughput: shared-prefix needs one process and no gradient checkpointing",
            next_step="set train.throughput: auto",
        )
    prefix = shared if mode == "shared-prefix" else 0
    short = sum(rows.lengths) < EAGER_BELOW * len(rows.examples)
    eager = short and not cuda and mode != "packing"
    return Setting(train, batch, accumulate, prefix, mode == "packing", plan, eager)


def fitted(recipe: Recipe, lengths: list[int]) -> tuple[TrainSection, TrainPlan]:
    """The train section fitted to the machine, and its plan.

    `memory_gb` may change all that does not change the training's result on paper; without it, `throughput: auto`
    regroups the rows of a step into micro-batches as large as memory allows.

    Raises:
        EnvironmentFault: it cannot fit, or the card has no bf16.
    """
    cuda = torch.cuda.is_available()
    if cuda and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise EnvironmentFault(
            "this GPU has no bf16, in which mnatune trains", next_step="use a card of Ampere or later"
        )
    train = recipe.train
    if train.memory_gb:
        train = fit(recipe, lengths)
    elif train.throughput == "auto":
        train = regrouped(recipe, lengths, memory_budget(cuda))
    plan = make_plan(recipe.model_copy(update={"train": train}), lengths)
    refuse_unfitting(plan)
    return train, plan


def memory_budget(cuda: bool) -> float:
    """GiB that `auto` may plan with. The machine's size, not what is free: the same machine decides the same twice."""
    if cuda:
        return CARD_SHARE * float(torch.cuda.get_device_properties(0).total_memory) / GIB
    return RAM_SHARE * float(psutil.virtual_memory().total) / GIB


def regrouped(recipe: Recipe, lengths: list[int], budget: float) -> TrainSection:
    """The section with the largest micro-batch that fits `budget` GiB, and never less than the recipe's own."""
    train = recipe.train
    product = train.batch * train.accumulate
    for batch in (b for b in range(product, train.batch, -1) if product % b == 0):
        trial = train.model_copy(update={"batch": batch, "accumulate": product // batch})
        if make_plan(recipe.model_copy(update={"train": trial}), lengths).total_gb <= budget:
            return trial
    return train
