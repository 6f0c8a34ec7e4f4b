"""What is decided for the machine at hand before training: batch shape, how rows become batches, what is shared."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...model.device import find_device
from ...runs.errors import EnvironmentFault, UsageError
from ...runs.recipe import Recipe, TrainSection
from ...runs.train_options import LoraOptions
from .cpu import EAGER_BELOW
from .plan import Needs, TrainPlan, fit
from .processes import process_count, refuse_sharding, share_of_step
from .token_rows import TokenRows, shared_prefix

MIN_SHARED_SHARE = 0.08  # below this share of the tokens the second forward costs more than it saves
FLASH = "flash_attention_2"
# values of train.extra under which TRL computes the loss
TRLS_LOSS = {"label_smoothing_factor", "loss_type", "torch_compile", "use_liger_kernel"}
logger = logging.getLogger("mnatune.train")


@dataclass(frozen=True)
class Setting:
    """How this training is done here.

    Attributes:
        train: the recipe's section, with the shape of the adapter that is continued and the quantisation that fits.
        prefix: tokens computed once per micro-batch; 0 shares nothing.
        padding_free: rows are laid end to end instead of padded.
        attention: Transformers' name of the attention to use; empty for its default.
    """

    train: TrainSection
    plan: TrainPlan
    prefix: int = 0
    padding_free: bool = False
    attention: str = ""

    @property
    def learning_rate(self) -> float:
        """The peak rate; `fitted` has put in the method's own where the recipe names none."""
        assert self.train.learning_rate is not None
        return self.train.learning_rate

    @property
    def batch(self) -> int:
        """Rows computed at once by each process."""
        return self.plan.batch

    @property
    def accumulate(self) -> int:
        """Micro-batches of a step, per process."""
        return share_of_step(self.plan.rows_per_step) // self.batch

    @property
    def own_loss(self) -> bool:
        """False if TRL computes the loss: through the wrapper of several processes, or with a loss of its own."""
        return process_count() == 1 and not TRLS_LOSS & self.train.extra.keys()

    def facts(self) -> dict[str, Any]:
        """For the manifest."""
        train = self.train
        return {
            "batch": self.batch,
            "accumulate": self.accumulate,
            "processes": process_count(),
            "quantize": train.quantize,
            "learning_rate": self.learning_rate,
            "gradient_checkpointing": self.plan.gradient_checkpointing,
            "shared_prefix": self.prefix,
            "padding_free": self.padding_free,
            "attention": self.attention,
            "adapter": {
                "r": train.r,
                "alpha": train.alpha,
                "dropout": train.dropout,
                "targets": sorted(train.targets),
                **{name: True for name, used in train.lora.model_dump().items() if used},
            },
        }


def decide(recipe: Recipe, rows: TokenRows, valid: TokenRows) -> Setting:
    """How supervised training is done on this machine.

    Raises:
        EnvironmentFault: it cannot fit, or the card has no bf16.
        UsageError: `throughput` asks for what cannot be done here.
    """
    train, plan = fitted(recipe, rows.lengths)
    device, mode = find_device(), train.throughput
    shared = shared_prefix(rows.examples + valid.examples)
    can_share = process_count() == 1 and not plan.gradient_checkpointing and not TRLS_LOSS & train.extra.keys()
    if mode == "auto":
        share = shared * len(rows.examples) / max(1, sum(rows.lengths))
        if device.cuda:  # where sharing the prefix has not been measured
            mode = "packing" if device.flash_attention else "plain"
        else:
            mode = "shared-prefix" if can_share and plan.batch > 1 and share >= MIN_SHARED_SHARE else "plain"
    if mode == "shared-prefix" and not can_share:
        raise UsageError(
            "train.throughput: shared-prefix needs one process, no gradient checkpointing and mnatune's own loss",
            next_step="set train.throughput: auto",
        )
    if mode == "packing" and device.cuda and not device.flash_attention:
        raise EnvironmentFault(
            "train.throughput: packing needs FlashAttention: any other attention computes a mask of the whole pack",
            next_step="pip install flash-attn, or set train.throughput: auto",
        )
    short = sum(rows.lengths) < EAGER_BELOW * len(rows.examples)
    attention = FLASH if mode == "packing" and device.cuda else ""
    if short and not device.cuda and mode != "packing":
        attention = "eager"
    return Setting(train, plan, shared if mode == "shared-prefix" else 0, mode == "packing", attention)


def fitted(recipe: Recipe, lengths: list[int], needs: Needs | None = None) -> tuple[TrainSection, TrainPlan]:
    """The train section fitted to the machine, its learning rate set, and its plan.

    Raises:
        EnvironmentFault: it cannot fit, or the card has no bf16.
        UsageError: Accelerate is told to shard the weights, or the rows of a step cannot be shared out.
    """
    refuse_sharding()
    device = find_device()
    if not device.bf16:
        raise EnvironmentFault(
            f"{device.name} has no bf16, in which mnatune trains", next_step="use a card of Ampere or later"
        )
    if device.count > 1 and process_count() == 1:
        logger.warning(
            "one of %d visible GPUs is used; torchrun --nproc_per_node %d -m mnatune train … uses all",
            device.count, device.count,
        )  # fmt: skip
    recipe = recipe.model_copy(update={"train": continued(recipe.train)})
    needs = needs or Needs()
    plan = fit(recipe, lengths, needs)
    rate = recipe.train.learning_rate or needs.learning_rate
    return recipe.train.model_copy(update={"quantize": plan.quantize, "learning_rate": rate}), plan


def continued(train: TrainSection) -> TrainSection:
    """The section with rank, alpha, dropout and targets of the adapter that `from_adapter` continues: it keeps its own.

    Raises:
        UsageError: the folder holds no adapter configuration.
    """
    if not train.from_adapter:
        return train
    path = Path(train.from_adapter) / "adapter_config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        names = {"r": "r", "alpha": "lora_alpha", "dropout": "lora_dropout", "targets": "target_modules"}
        own = {key: config[name] for key, name in names.items()}
        own["targets"] = sorted(own["targets"])
        own["lora"] = LoraOptions(use_rslora=config.get("use_rslora", False), use_dora=config.get("use_dora", False))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"train.from_adapter {train.from_adapter!r} is no LoRA adapter folder", where=str(path)
        ) from error
    for key in sorted(train.model_fields_set & own.keys()):
        value = getattr(train, key)
        if (sorted(value) if key == "targets" else value) != own[key]:
            logger.warning("train.%s: %s of the adapter to continue is used, not %s", key, own[key], value)
    return train.model_copy(update=own)
