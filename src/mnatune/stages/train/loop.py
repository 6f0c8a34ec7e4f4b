"""Supervised training: model, adapter, TRL configuration, trainer, result."""

import json
import logging
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, TaskType, get_peft_model
from peft.helpers import disable_input_dtype_casting
from transformers import PrinterCallback, set_seed
from trl import SFTConfig

from ...model.chat_format import chat_format
from ...model.load import attach_adapter, base_fingerprint, load_base, load_tokenizer
from ...runs.errors import Interrupted, UsageError
from ...runs.job import Job
from ...runs.recipe import FREE_TRAIN_KEYS, Recipe, TrainSection
from ...runs.workspace import file_hash, in_charge, value_hash
from .adapter import save_adapter
from .checkpoints import TALLY, WRITING, CheckpointKeeper, clean, newest, newest_verified, save_fault
from .cpu import cheapen_dropout
from .processes import main_first
from .setting import Setting, decide
from .token_rows import TokenRows, as_dataset, load_rows, step_order, tokens_by_step
from .tracking import MetricsFile, ProgressLine, mean_loss, prepare_tracker
from .trainer import AnswerTrainer

# keys of train.extra that would break the step order, the sealing of checkpoints or the loss; the recipe has its own
RESERVED = {
    "output_dir": "--out",
    "num_train_epochs": "train.epochs",
    "max_steps": "train.epochs",
    "gradient_accumulation_steps": "train.rows_per_step",
    "train_sampling_strategy": "the fixed step order",
    "logging_steps": "train.log_every",
    "save_steps": "train.checkpoint_every",
    "save_strategy": "train.checkpoint_every",
    "save_total_limit": "checkpoints/, which keeps the two newest and the best",
    "load_best_model_at_end": "the adapter saved, which is the best one",
    "resume_from_checkpoint": "the same command, run again",
    "ignore_data_skip": "the fixed step order",
    "remove_unused_columns": "prepared rows",
    "dataset_kwargs": "prepared rows",
    "max_length": "model.max_length",
    "learning_rate": "train.learning_rate",
    "max_grad_norm": "train.max_grad_norm",
    "seed": "the recipe's seed",
    "data_seed": "the recipe's seed",
    "packing": "train.throughput",
    "padding_free": "train.throughput",
    "report_to": "train.tracking",
}
logger = logging.getLogger("mnatune.train")


def train_on_answers(job: Job) -> None:
    """Do the train stage with `train.method: sft`."""
    recipe = job.recipe
    tokenizer = load_tokenizer(recipe.model.id, recipe.model.revision)
    folder = job.run.require("compose", "train.jsonl").parent
    rows = load_rows(folder / "train.jsonl", tokenizer, recipe.model.max_length)
    valid = load_rows(folder / "valid.jsonl", tokenizer, recipe.model.max_length)
    setting = decide(recipe, rows, valid)
    job.manifest.rows_in = job.manifest.rows_out = len(rows.examples)
    job.manifest.facts |= {"plan": setting.plan.facts(), "setting": setting.facts()}
    job.manifest.facts["thinking"] = chat_format(tokenizer).policy
    identity = identity_of(recipe, rows)
    keeper = CheckpointKeeper(job.path("checkpoints"), identity, setting.train)
    resume = find_resume(keeper)
    order = step_order(rows.lengths, setting.plan.rows_per_step, setting.train.epochs, recipe.seed)
    marks = tokens_by_step(rows.lengths, order, setting.plan.rows_per_step)
    metrics = MetricsFile(job.path("metrics.jsonl"), setting.train.epochs, marks)
    report_to = prepare_tracker(setting.train, job.path("state"))

    set_seed(recipe.seed)  # before the adapter: its matrices are drawn at random
    trainer = AnswerTrainer(
        model=adapted(recipe, setting),
        args=trl_config(recipe, setting, keeper.folder / WRITING, report_to, evaluate=bool(valid.examples)),
        train_dataset=as_dataset(rows, order),
        eval_dataset=as_dataset(valid) if valid.examples else None,
        processing_class=tokenizer,
        data_collator=collator(tokenizer, setting),
        callbacks=[keeper, metrics],
        prefix=setting.prefix,
        own_loss=setting.own_loss,
        tokens_by_step=marks,
    )
    if trainer.own_loss:
        keep_tally(trainer, keeper, resume)
    to_the_end(job, trainer, tokenizer, (keeper, metrics, resume))


def keep_tally(trainer: AnswerTrainer, keeper: CheckpointKeeper, resume: Path | None) -> None:
    """Have the sums of the log line put into each checkpoint, and take up those of the one to continue from."""
    tally = trainer.tally["train"]
    keeper.tally = tally.state
    if resume is not None and (resume / TALLY).is_file():
        tally.restore(json.loads((resume / TALLY).read_text(encoding="utf-8")))


def to_the_end(
    job: Job, trainer: Any, tokenizer: Any, course: tuple[CheckpointKeeper, MetricsFile, Path | None]
) -> None:
    """Train, save the adapter, and let go of the trainer, whatever the method.

    Args:
        course: who keeps the checkpoints, who writes the metrics, and the checkpoint to continue from.
    """
    keeper, metrics, resume = course
    with dismissed(trainer):
        run_trainer(job, trainer, keeper, metrics, resume)
        save_adapter(job, trainer, tokenizer, keeper)
    if in_charge():
        keeper.finish()


@contextmanager
def dismissed(trainer: Any) -> Iterator[None]:
    """Afterwards the trainer holds nothing: its model, optimizer and the libraries' references to both are gone."""
    try:
        yield
    finally:
        for module in trainer.model.modules():  # Accelerate wraps `forward` in a method that refers to its own module
            for name in ("forward", "_original_forward"):
                vars(module).pop(name, None)
        trainer.accelerator.free_memory()
        vars(trainer.callback_handler).clear()
        vars(trainer).clear()


def find_resume(keeper: CheckpointKeeper) -> Path | None:
    """The checkpoint to continue from; one process looks, verifies and clears up, the others take what it found."""
    with main_first():
        return newest_verified(keeper.folder, keeper.identity) if in_charge() else newest(keeper.folder)


def run_trainer(job: Job, trainer: Any, keeper: CheckpointKeeper, metrics: MetricsFile, resume: Path | None) -> None:
    """Train to the end, from `resume` if there is a checkpoint; records what was measured.

    Raises:
        Interrupted: a signal came and a checkpoint was saved.
        EnvironmentFault: a checkpoint could not be written, or the GPU's memory is full.
    """
    trainer.remove_callback(PrinterCallback)
    progress = ProgressLine()
    trainer.add_callback(progress)
    # autocast casts to bf16 by itself; PEFT's own cast to fp32 before it would only cost time and memory
    casting = disable_input_dtype_casting(trainer.model, active=trainer.args.bf16)
    try:
        with handled_signals(keeper), casting:
            trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    except Exception as error:
        fault = save_fault(error, keeper.folder) if in_charge() else None
        if fault is not None:
            raise fault from error
        raise
    finally:
        progress.stop()
    if in_charge():
        clean(keeper.folder)
    if keeper.stopped_by is not None:
        raise stopped(keeper.stopped_by, job)
    job.manifest.facts["measured"] = measured(trainer, metrics)


def identity_of(recipe: Recipe, rows: TokenRows) -> dict[str, str]:
    """What a checkpoint belongs to: recipe, data and base model, each as a hash."""
    return {
        "recipe": recipe_hash(recipe),
        "data": value_hash([[e.prompt, e.completion] for e in rows.examples]),
        "base model": base_fingerprint(recipe.model.id, recipe.model.revision),
        "starting adapter": adapter_hash(recipe.train),
    }


def recipe_hash(recipe: Recipe) -> str:
    """Hash of what the result depends on, options that the recipe leaves to the method included.

    The tracker and when checkpoints are made may change on the way.
    """
    section, train = recipe.section("train", "model", "seed"), recipe.train
    section["train"] = {key: value for key, value in section["train"].items() if key not in FREE_TRAIN_KEYS}
    section["train"]["options"] = train.own.model_dump(mode="json")
    return value_hash(section)


def adapter_hash(train: TrainSection) -> str:
    """Hash of the adapter that training starts from; empty if it starts from a new one."""
    if not train.from_adapter:
        return ""
    weights = Path(train.from_adapter) / "adapter_model.safetensors"
    if not weights.is_file():
        raise UsageError(f"train.from_adapter {train.from_adapter!r} holds no adapter_model.safetensors")
    return file_hash(weights)


def adapted(recipe: Recipe, setting: Setting) -> Any:
    """The frozen base, in bf16 or quantised, with a LoRA adapter in fp32: new, or continued from `from_adapter`.

    PEFT's prepare_model_for_kbit_training is not used: it makes embedding and head fp32, 2.5 GB on Qwen3-8B.
    """
    train = setting.train
    model = load_base(recipe.model.id, recipe.model.revision, quantize=train.quantize, dtype="bf16")
    model.config.use_cache = False
    if train.from_adapter:
        model = attach_adapter(
            model, Path(train.from_adapter), recipe.model.id, revision=recipe.model.revision, trainable=True
        )
    else:
        model = new_adapter(model, train)
    if not torch.cuda.is_available():
        cheapen_dropout(model)
    if setting.attention:
        model.get_base_model().set_attn_implementation(setting.attention)
    return model


def new_adapter(model: Any, train: TrainSection) -> Any:
    """The model with a fresh LoRA adapter.

    Raises:
        UsageError: the model has no such modules.
    """
    lora = LoraConfig(
        r=train.r,
        lora_alpha=train.alpha,
        lora_dropout=train.dropout,
        target_modules=train.targets,
        use_rslora=train.lora.use_rslora,
        use_dora=train.lora.use_dora,
        bias="none",
        task_type=TaskType.CAUSAL_LM,
    )
    try:
        return get_peft_model(model, lora)
    except ValueError as error:
        raise UsageError(f"train.targets do not fit the model: {error}", next_step="correct train.targets") from error


def trl_config(recipe: Recipe, setting: Setting, writing: Path, report_to: list[str], *, evaluate: bool) -> SFTConfig:
    """The recipe as TRL's configuration for supervised training; the data comes prepared."""
    own = {
        "output_dir": str(writing),
        "report_to": report_to,
        "dataset_kwargs": {"skip_prepare_dataset": True},
        "max_length": None,
        "remove_unused_columns": False,
        "eval_strategy": "steps" if evaluate else "no",
    }
    return build_config(SFTConfig, recipe, setting, own)


def build_config(kind: type, recipe: Recipe, setting: Setting, own: dict[str, Any]) -> Any:
    """A TRL configuration of `kind` from the recipe; `train.extra` goes in last.

    Raises:
        UsageError: `train.extra` holds a key that TRL does not know, or that the recipe or the step order decides.
    """
    cuda, train, plan = torch.cuda.is_available(), setting.train, setting.plan
    for key in train.extra.keys() & RESERVED.keys():
        raise UsageError(f"train.extra.{key} cannot be set: it is decided by {RESERVED[key]}", where="train.extra")
    values: dict[str, Any] = {
        "num_train_epochs": 1,  # the dataset is already all epochs, laid end to end
        "train_sampling_strategy": "sequential",
        "per_device_train_batch_size": setting.batch,
        "gradient_accumulation_steps": setting.accumulate,
        "per_device_eval_batch_size": setting.batch,
        "learning_rate": setting.learning_rate,
        "lr_scheduler_type": "linear",
        "warmup_steps": plan.warmup_steps,
        "max_grad_norm": train.max_grad_norm,
        "weight_decay": 0.0,
        "optim": "adamw_torch_fused" if cuda else "adamw_torch",
        "bf16": True,
        "gradient_checkpointing": plan.gradient_checkpointing,
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
        "logging_steps": train.log_every,
        "logging_first_step": True,
        "save_strategy": "no",  # the keeper asks for checkpoints and rotates them
        "eval_steps": max(1, min(plan.steps, plan.steps_per_epoch)),
        "project": train.track_as.partition("/")[0],
        "run_name": train.track_as.partition("/")[2] or None,
        "seed": recipe.seed,
        "data_seed": recipe.seed,
        "dataloader_pin_memory": cuda,
        "ddp_find_unused_parameters": False,
        "disable_tqdm": True,
        "log_level": "error",
        "use_cpu": not cuda,
    }
    try:
        with warnings.catch_warnings():  # newer Transformers rename gradient_checkpointing; the old name works in all
            warnings.simplefilter("ignore", FutureWarning)
            config = kind(**{**values, **own, **train.extra})
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"TRL's {kind.__name__} refuses the recipe: {error}", next_step="correct train.extra"
        ) from error
    config._n_gpu = min(1, config.n_gpu)  # else one process wraps the model for all visible cards
    return config


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


def stopped(number: int, job: Job) -> Interrupted:
    """The error for a training that a signal ended, with the exit code of that signal."""
    error = Interrupted(
        "training stopped; a checkpoint was saved",
        where=str(job.path("checkpoints")),
        next_step="run the same command again: it continues",
    )
    error.exit_code = 128 + number
    return error


def measured(trainer: Any, metrics: MetricsFile) -> dict[str, Any]:
    """What the whole training took, interruptions included, to stand beside the plan."""
    steps = trainer.state.global_step
    facts = {
        "seconds": metrics.seconds,
        "steps": steps,
        "tokens": metrics.tokens(steps),
        "mean_loss": mean_loss(metrics.path),
        "peak_rss_mb": round(metrics.peak_rss_mb),
    }
    if torch.cuda.is_available():
        facts["peak_gpu_mb"] = round(torch.cuda.max_memory_allocated() / 2**20)
    return facts
