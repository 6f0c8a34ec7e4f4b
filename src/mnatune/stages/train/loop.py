"""Supervised training: model, adapter, TRL configuration, trainer, result."""

import logging
import os
import shutil
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model, prepare_model_for_kbit_training
from transformers import PrinterCallback, set_seed
from transformers.utils import is_flash_attn_2_available
from trl import SFTConfig

from ...errors import EnvironmentFault, Interrupted, UsageError
from ...job import Job
from ...models.hf import base_fingerprint, load_base, load_tokenizer, refuse_unsafe
from ...recipe import Recipe, TrainSection
from ...workspace import value_hash
from .adapter import save_adapter
from .checkpoints import WRITING, CheckpointKeeper, newest_verified
from .data import Rows, as_dataset, load_rows, step_order
from .plan import Plan, fit, make_plan
from .tracking import MetricsFile, ProgressLine, prepare_tracker
from .trainer import AnswerTrainer

MIN_SHARED_SHARE = 0.08  # below this share of the tokens the second forward costs more than it saves
logger = logging.getLogger("mnatune.train")


@dataclass(frozen=True)
class Setting:
    """What was decided for this machine: how rows become batches, and the plan that says so."""

    train: TrainSection
    prefix: int
    padding_free: bool
    plan: Plan


def train_adapter(job: Job) -> None:
    """Do the train stage."""
    recipe = job.recipe
    if recipe.train.method != "sft":
        from .preference import train_on_preferences

        return train_on_preferences(job)
    tokenizer = load_tokenizer(recipe.model.id, recipe.model.revision)
    folder = job.run.require("compose", "train.jsonl").parent
    rows = load_rows(folder / "train.jsonl", tokenizer, recipe.model.max_length)
    valid = load_rows(folder / "valid.jsonl", tokenizer, recipe.model.max_length)
    setting = decide(recipe, rows)
    job.manifest.rows_in = job.manifest.rows_out = len(rows.examples)
    job.manifest.facts["plan"] = setting.plan.facts()
    identity = identity_of(recipe, rows)

    metrics = MetricsFile(job.path("metrics.jsonl"), setting.train.epochs)
    keeper = CheckpointKeeper(job.path("checkpoints"), identity, setting.train.keep_checkpoints)
    keeper.folder.mkdir(parents=True, exist_ok=True)
    resume = newest_verified(keeper.folder, identity)
    report_to = prepare_tracker(setting.train, job.path("state"))

    set_seed(recipe.seed)  # before the adapter: its matrices are drawn at random
    model = adapted(recipe, setting.train, setting.plan)
    order = step_order(rows.lengths, setting.plan.rows_per_step, setting.train.epochs, recipe.seed)
    trainer = AnswerTrainer(
        model=model,
        args=trl_config(recipe, setting, keeper.folder / WRITING, report_to),
        train_dataset=as_dataset(rows, order),
        eval_dataset=as_dataset(valid if valid.examples else rows),
        processing_class=tokenizer,
        data_collator=collator(tokenizer, setting),
        callbacks=[keeper, metrics, ProgressLine()],
        prefix=setting.prefix,
        own_loss=int(os.environ.get("WORLD_SIZE", "1")) == 1,
    )
    run_trainer(job, trainer, keeper, metrics, resume)
    if trainer.is_world_process_zero():
        save_adapter(job, trainer.model, tokenizer, identity)


def run_trainer(job: Job, trainer: Any, keeper: CheckpointKeeper, metrics: MetricsFile, resume: Path | None) -> None:
    """Train to the end, from `resume` if there is a checkpoint; records what was measured.

    Raises:
        Interrupted: a signal came and a checkpoint was saved.
    """
    trainer.remove_callback(PrinterCallback)
    with handled_signals(keeper), memory_faults():
        result = trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    if keeper.stopped_by is not None:
        raise stopped(keeper.stopped_by, job)
    job.manifest.facts["measured"] = measured(trainer, metrics, result)
    shutil.rmtree(keeper.folder / WRITING, ignore_errors=True)


def decide(recipe: Recipe, rows: Rows) -> Setting:
    """Fit the recipe to the machine: batch shape for `memory_gb`, and how rows become batches."""
    train = fit(recipe, rows.lengths) if recipe.train.memory_gb else recipe.train
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    cuda = torch.cuda.is_available()
    shared = rows.shared_prefix()
    mode = train.throughput
    if mode == "auto":
        share = shared * len(rows.examples) / max(1, sum(rows.lengths))
        if several:
            mode = "plain"
        elif cuda and is_flash_attn_2_available():
            mode = "packing"
        else:
            mode = "shared-prefix" if train.batch > 1 and share >= MIN_SHARED_SHARE else "plain"
    if mode == "shared-prefix" and (several or train.extra.get("gradient_checkpointing")):
        raise UsageError(
            "train.throughput: shared-prefix needs one process and no gradient checkpointing",
            next_step="set train.throughput: auto",
        )
    plan = make_plan(recipe.model_copy(update={"train": train}), rows.lengths)
    return Setting(train, shared if mode == "shared-prefix" else 0, mode == "packing", plan)


def identity_of(recipe: Recipe, rows: Rows) -> dict[str, str]:
    """What a checkpoint belongs to: recipe, data and base model, each as a hash."""
    text = value_hash([[e.prompt, e.completion] for e in rows.examples])
    return {
        "recipe": value_hash(recipe.section("train", "model", "seed")),
        "data": text,
        "base model": base_fingerprint(recipe.model.id),
    }


def adapted(recipe: Recipe, train: TrainSection, plan: Plan) -> Any:
    """The frozen base, in bf16 or quantised, with a LoRA adapter in fp32: new, or continued from `from_adapter`."""
    model = load_base(recipe.model.id, recipe.model.revision, quantize=train.quantize, dtype="bf16")
    model.config.use_cache = False
    if train.quantize == "nf4":
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=plan.gradient_checkpointing)
    if train.from_adapter:
        refuse_unsafe(Path(train.from_adapter))
        return PeftModel.from_pretrained(model, train.from_adapter, is_trainable=True)
    lora = LoraConfig(
        r=train.r,
        lora_alpha=train.alpha,
        lora_dropout=train.dropout,
        target_modules=train.targets,
        bias="none",
        task_type=TaskType.CAUSAL_LM,
    )
    try:
        return get_peft_model(model, lora)
    except ValueError as error:
        raise UsageError(f"train.targets do not fit the model: {error}", next_step="correct train.targets") from error


def trl_config(recipe: Recipe, setting: Setting, writing: Path, report_to: list[str]) -> SFTConfig:
    """The recipe as TRL's configuration for supervised training; the data comes prepared."""
    own = {"dataset_kwargs": {"skip_prepare_dataset": True}, "max_length": None, "remove_unused_columns": False}
    return build_config(SFTConfig, recipe, setting.train, setting.plan, {"output_dir": str(writing), "report_to": report_to, **own})


def build_config(kind: type, recipe: Recipe, train: TrainSection, plan: Plan, own: dict[str, Any]) -> Any:
    """A TRL configuration of `kind` from the recipe; `train.extra` goes in last and may override anything."""
    cuda = torch.cuda.is_available()
    values: dict[str, Any] = {
        "num_train_epochs": 1,  # the dataset is already all epochs, laid end to end
        "train_sampling_strategy": "sequential",
        "per_device_train_batch_size": train.batch,
        "gradient_accumulation_steps": train.accumulate,
        "per_device_eval_batch_size": max(8, train.batch),
        "learning_rate": train.learning_rate,
        "lr_scheduler_type": train.scheduler,
        "warmup_steps": plan.warmup_steps,
        "max_grad_norm": train.max_grad_norm,
        "weight_decay": 0.0,
        "optim": "adamw_torch_fused" if cuda else "adamw_torch",
        "bf16": True,
        "gradient_checkpointing": plan.gradient_checkpointing,
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
        "logging_steps": train.save_every,
        "logging_first_step": True,
        "save_steps": train.save_every,
        "save_total_limit": None,  # the keeper rotates
        "eval_strategy": "steps",
        "eval_steps": max(1, min(plan.steps, plan.steps_per_epoch)),
        "run_name": train.run_name,
        "project": train.project,
        "seed": recipe.seed,
        "data_seed": recipe.seed,
        "dataloader_pin_memory": cuda,
        "disable_tqdm": True,
        "log_level": "error",
        "use_cpu": not cuda,
    }
    try:
        with warnings.catch_warnings():  # newer Transformers rename gradient_checkpointing; the old name works in all
            warnings.simplefilter("ignore", FutureWarning)
            return kind(**{**values, **own, **train.extra})
    except (TypeError, ValueError) as error:
        raise UsageError(f"train.extra does not fit TRL's {kind.__name__}: {error}", next_step="correct train.extra") from error


def collator(tokenizer: Any, setting: Setting) -> Any:
    """TRL's collator: padded to the longest row of the micro-batch, or laid end to end without padding."""
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    return DataCollatorForLanguageModeling(tokenizer.pad_token_id, padding_free=setting.padding_free)


@contextmanager
def handled_signals(keeper: CheckpointKeeper) -> Iterator[None]:
    """SIGTERM and Ctrl-C ask for a checkpoint while training runs; afterwards the former handlers are back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        keeper.listen()
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def memory_faults() -> Iterator[None]:
    """Turn CUDA's out-of-memory into a message that says which keys help."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise EnvironmentFault(
            "the GPU's memory is full",
            where=str(error).split("\n", 1)[0][:200],
            next_step="set train.memory_gb to the card's size, or train.quantize: nf4, or a smaller train.batch",
        ) from error


def stopped(number: int, job: Job) -> Interrupted:
    """The error for a training that a signal ended, with the exit code of that signal."""
    error = Interrupted(
        "training stopped; a checkpoint was saved",
        where=str(job.path("checkpoints")),
        next_step="run the same command again: it continues",
    )
    error.exit_code = 128 + number
    return error


def measured(trainer: Any, metrics: MetricsFile, result: Any) -> dict[str, Any]:
    """What the run really took, to stand beside the plan."""
    facts = {
        "seconds": round(result.metrics["train_runtime"], 1),
        "steps": trainer.state.global_step,
        "tokens": int(trainer.state.log_history[-1].get("num_tokens", 0)),
        "mean_loss": round(result.training_loss, 4),
        "peak_rss_mb": round(metrics.peak_rss_mb),
    }
    if torch.cuda.is_available():
        facts["peak_gpu_mb"] = round(torch.cuda.max_memory_allocated() / 2**20)
    return facts
