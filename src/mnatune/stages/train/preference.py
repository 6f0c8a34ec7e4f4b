"""Preference training (DPO, KTO) through TRL, starting from a supervised adapter.

Prompts are rendered by the one rendering function, so the reward is given to exactly the tokens that are generated.
The reference model is the adapter as it was at the start, kept by TRL beside the trained one.
"""

from pathlib import Path
from typing import Any

from transformers import set_seed
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer

from ...errors import DataError, UsageError
from ...job import Job
from ...models.hf import base_fingerprint, load_tokenizer
from ...models.prompt import TURN_END, prompt_text
from ...workspace import file_hash, read_jsonl
from .adapter import save_adapter
from .checkpoints import WRITING, CheckpointKeeper, newest_verified
from .data import step_order
from .loop import adapted, build_config, run_trainer
from .plan import make_plan
from .tracking import MetricsFile, ProgressLine, prepare_tracker

FILES = {"dpo": "preferences.jsonl", "kto": "unpaired.jsonl"}
KINDS = {"dpo": (DPOConfig, DPOTrainer), "kto": (KTOConfig, KTOTrainer)}


def train_on_preferences(job: Job) -> None:
    """Do the train stage with `train.method: dpo` (pairs) or `kto` (answers with thumbs)."""
    recipe, train = job.recipe, job.recipe.train
    if train.from_adapter is None:
        raise UsageError(f"train.method: {train.method} starts from a supervised adapter", next_step="set train.from_adapter")
    path = job.run.require("compose", "train.jsonl").parent / FILES[train.method]
    if not path.exists():
        raise DataError(f"there is nothing to prefer: no {path.name}", where=str(path), next_step="mnatune feedback export")
    tokenizer = load_tokenizer(recipe.model.id, recipe.model.revision)
    rows, lengths = preference_rows(path, train.method, tokenizer, recipe.model.max_length)
    job.manifest.rows_in, job.manifest.rows_out = len(read_jsonl(path)), len(rows)
    job.manifest.drop(f"longer-than-{recipe.model.max_length}-tokens", job.manifest.rows_in - len(rows))
    plan = make_plan(recipe, lengths)
    identity = {
        "recipe": str(job.manifest.key),
        "data": file_hash(path),
        "base model": base_fingerprint(recipe.model.id),
        "adapter": file_hash(Path(train.from_adapter) / "adapter_model.safetensors"),
    }
    keeper = CheckpointKeeper(job.path("checkpoints"), identity, train.keep_checkpoints)
    keeper.folder.mkdir(parents=True, exist_ok=True)
    resume = newest_verified(keeper.folder, identity)
    metrics = MetricsFile(job.path("metrics.jsonl"), train.epochs)
    set_seed(recipe.seed)
    config, trainer_kind = KINDS[train.method]
    own = {
        "output_dir": str(keeper.folder / WRITING),
        "report_to": prepare_tracker(train, job.path("state")),
        "max_length": recipe.model.max_length,
        "eval_strategy": "no",
    }
    order = step_order(lengths, plan.rows_per_step, train.epochs, recipe.seed)
    trainer = trainer_kind(
        model=adapted(recipe, train, plan),
        args=build_config(config, recipe, train, plan, own),
        train_dataset=_dataset(rows, order),
        processing_class=tokenizer,
        callbacks=[keeper, metrics, ProgressLine()],
    )
    run_trainer(job, trainer, keeper, metrics, resume)
    if trainer.is_world_process_zero():
        save_adapter(job, trainer.model, tokenizer, identity)


def preference_rows(path: Path, method: str, tokenizer: Any, max_length: int) -> tuple[list[dict[str, Any]], list[int]]:
    """Rows as prompt and completion texts that TRL tokenises to the trained ids, and their lengths in tokens.

    Rows of which a completion does not fit `max_length` are left out, never cut.
    """
    names = ("chosen", "rejected") if method == "dpo" else ("completion",)
    rows, lengths = [], []
    for row in read_jsonl(path):
        texts = {"prompt": prompt_text(tokenizer, row["prompt"])}
        texts |= {name: row[name][-1]["content"].strip() + TURN_END for name in names}
        length = max(len(tokenizer(texts["prompt"] + texts[name])["input_ids"]) for name in names)
        if length <= max_length:
            rows.append({**texts, **({"label": row["label"]} if method == "kto" else {})})
            lengths.append(length)
    return rows, lengths


def _dataset(rows: list[dict[str, Any]], order: list[int]) -> Any:
    from datasets import Dataset

    return Dataset.from_list(rows).select(order)
