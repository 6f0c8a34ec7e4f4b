"""Preference training (DPO, KTO) through TRL, starting from a supervised adapter.

Prompts are rendered by the one rendering function, so the reward is given to exactly the tokens that are generated.
The reference model is the adapter as it was at the start, kept by TRL beside the trained one.

DPO reads pairs. KTO reads answers with thumbs; it splits pairs into a wanted and an unwanted answer.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformers import set_seed
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer

from ...model.chat_format import think_policy
from ...model.load import base_fingerprint, load_tokenizer
from ...model.prompt import completion_text, prompt_text
from ...runs.errors import DataError, UsageError
from ...runs.job import Job
from ...runs.recipe import Recipe
from ...runs.workspace import file_hash, in_charge, read_jsonl
from .adapter import save_adapter
from .checkpoints import WRITING, CheckpointKeeper
from .loop import adapted, adapter_hash, build_config, dismissed, find_resume, recipe_hash, run_trainer
from .setting import Setting, fitted
from .token_rows import step_order, tokens_by_step
from .tracking import MetricsFile, prepare_tracker
from .trainer import precise_adapter

PAIRS = "preferences.jsonl"
KINDS = {"dpo": (DPOConfig, DPOTrainer), "kto": (KTOConfig, KTOTrainer)}
TEXTS = {"dpo": ("chosen", "rejected"), "kto": ("completion",)}


def train_on_preferences(job: Job) -> None:
    """Do the train stage with `train.method: dpo` (pairs) or `kto` (answers with thumbs)."""
    recipe, train = job.recipe, job.recipe.train
    if train.from_adapter is None:
        raise UsageError(
            f"train.method: {train.method} starts from a supervised adapter", next_step="set train.from_adapter"
        )
    path = find_preferences(job)
    tokenizer = load_tokenizer(recipe.model.id, recipe.model.revision)
    wanted = list(preferences(path, train.method, train.margin))
    rows, lengths = fitting_rows(wanted, train.method, tokenizer, recipe.model.max_length)
    if not rows:
        raise DataError(
            "there is no preference to train on", where=str(path), next_step="lower train.margin, or collect feedback"
        )
    job.manifest.rows_in, job.manifest.rows_out = len(wanted), len(rows)
    job.manifest.drop(f"longer-than-{recipe.model.max_length}-tokens", len(wanted) - len(rows))
    setting = decide_preferences(recipe, lengths)
    job.manifest.facts |= {"plan": setting.plan.facts(), "setting": setting.facts()}
    job.manifest.facts["thinking"] = think_policy(tokenizer, recipe.model.thinking)
    identity = {
        "recipe": recipe_hash(recipe),
        "data": file_hash(path),
        "base model": base_fingerprint(recipe.model.id, recipe.model.revision),
        "starting adapter": adapter_hash(train),
    }
    keeper = CheckpointKeeper(job.path("checkpoints"), identity, train)
    resume = find_resume(keeper)
    order = step_order(lengths, setting.plan.rows_per_step, train.epochs, recipe.seed)
    marks = tokens_by_step(lengths, order, setting.plan.rows_per_step)
    metrics = MetricsFile(job.path("metrics.jsonl"), train.epochs, marks)
    own = {
        "output_dir": str(keeper.folder / WRITING),
        "report_to": prepare_tracker(train, job.path("state")),
        "max_length": recipe.model.max_length,
        "eval_strategy": "no",
    }
    if train.method == "kto":
        own |= (weights := balance([row["label"] for row in rows]))
        job.manifest.facts |= weights
    config, trainer_kind = KINDS[train.method]
    set_seed(recipe.seed)
    arguments = build_config(config, recipe, setting, own)
    with precise_adapter(adapted(recipe, setting)) as model:
        trainer = trainer_kind(
            model=model,
            args=arguments,
            train_dataset=_dataset(rows, order),
            processing_class=tokenizer,
            callbacks=[keeper, metrics],
        )
    del model  # the trainer's, which is dismissed below
    trainer.processing_class = None  # as in AnswerTrainer
    with dismissed(trainer):
        run_trainer(job, trainer, keeper, metrics, resume)
        save_adapter(job, trainer, tokenizer, identity, keeper)
    if in_charge():
        keeper.finish()


def balance(labels: list[bool]) -> dict[str, float]:
    """Weights by which wanted and unwanted answers count alike in KTO's loss; the rarer kind is weighted up.

    TRL's guide to KTO (Ethayarajh et al., 2024) advises w_d · n_d : w_u · n_u between 1:1 and 4:3, and people rate what
    is wrong more often than what is right, or the other way round. `train.extra` goes before. Answers of one kind alone
    are left as they are: there is nothing to balance.
    """
    wanted = sum(labels)
    unwanted = len(labels) - wanted
    if not wanted or not unwanted:
        return {"desirable_weight": 1.0, "undesirable_weight": 1.0}
    return {
        "desirable_weight": round(max(1.0, unwanted / wanted), 4),
        "undesirable_weight": round(max(1.0, wanted / unwanted), 4),
    }


def find_preferences(job: Job) -> Path:
    """The file of preferences: what the recipe names, or the run's own."""
    named = job.recipe.train.preferences
    path = Path(named) if named else job.run.require("compose", "train.jsonl").parent / PAIRS
    if path.is_dir():
        path = path / ("unpaired.jsonl" if job.recipe.train.method == "kto" else PAIRS)
    if not path.is_file():
        raise DataError(
            "there is nothing to prefer: no such file", where=str(path),
            next_step="set train.preferences to a feedback export, or read sources with ranked answers",
        )  # fmt: skip
    return path


def preferences(path: Path, method: str, margin: int = 1) -> Iterator[dict[str, Any]]:
    """Rows of the shape that the method trains on.

    Args:
        margin: pairs of a smaller difference in rank are left out.

    Raises:
        DataError: a row has another shape.
    """
    told: set[tuple[str, str]] = set()
    for number, row in enumerate(read_jsonl(path), 1):
        pair = "chosen" in row and "rejected" in row
        if (method == "dpo" and not pair) or (
            method == "kto" and not pair and not ("completion" in row and "label" in row)
        ):
            raise DataError(f"not a row for train.method: {method}", where=f"{path}:{number}")
        if pair and int(row.get("margin", 1)) < margin:
            continue
        if method == "dpo" or not pair:
            yield row
            continue
        for name, label in (("chosen", True), ("rejected", False)):
            key = (str(row["prompt"]), row[name][-1]["content"])
            if key not in told:  # an answer that won several pairs counts once
                told.add(key)
                yield {"prompt": row["prompt"], "completion": row[name], "label": label}


def fitting_rows(
    wanted: list[dict[str, Any]], method: str, tokenizer: Any, max_length: int
) -> tuple[list[dict[str, Any]], list[int]]:
    """Rows as prompt and completion texts that TRL tokenises to the trained ids, and the tokens that each is run on.

    Rows of which a completion does not fit `max_length` are left out, never cut.
    """
    rows, lengths = [], []
    for row in wanted:
        texts = {"prompt": prompt_text(tokenizer, row["prompt"])}
        texts |= {name: completion_text(tokenizer, row[name][-1]["content"]) for name in TEXTS[method]}
        tokens = [len(tokenizer(texts["prompt"] + texts[name])["input_ids"]) for name in TEXTS[method]]
        if max(tokens) <= max_length:
            rows.append({**texts, **({"label": bool(row["label"])} if method == "kto" else {})})
            lengths.append(sum(tokens))
    return rows, lengths


def decide_preferences(recipe: Recipe, lengths: list[int]) -> Setting:
    """Fit to the machine.

    Raises:
        UsageError: a step of KTO has one row: its KL term, estimated within a micro-batch, would vanish.
    """
    return Setting(*fitted(recipe, lengths, least=2 if recipe.train.method == "kto" else 1))


def _dataset(rows: list[dict[str, Any]], order: list[int]) -> Any:
    from datasets import Dataset

    return Dataset.from_list(rows).select(order)
