"""Preference training (DPO, KTO) through TRL, starting from a supervised adapter.

Prompts are rendered by the one rendering function, so the reward is given to exactly the tokens that are generated.
The reference model is the adapter as it was at the start, kept by TRL beside the trained one.

DPO reads pairs. KTO reads answers with thumbs; it splits pairs into a wanted and an unwanted answer.
"""

from typing import Any

from transformers import set_seed

from ...model.chat_format import chat_format
from ...model.load import base_fingerprint, load_tokenizer
from ...runs.errors import UsageError
from ...runs.job import Job
from ...runs.workspace import file_hash
from .checkpoints import WRITING, CheckpointKeeper
from .loop import adapted, adapter_hash, build_config, find_resume, recipe_hash, to_the_end
from .preference_rows import PreferenceForm, find_preferences, preference_needs, trainable_rows
from .setting import Setting, fitted
from .token_rows import step_order, tokens_by_step
from .tracking import MetricsFile, prepare_tracker
from .trainer import precise_adapter


def train_on_preferences(job: Job, form: PreferenceForm) -> None:
    """Do the train stage on preferences of one form."""
    recipe, train = job.recipe, job.recipe.train
    if train.from_adapter is None:
        raise UsageError(
            f"train.method: {train.method} starts from a supervised adapter", next_step="set train.from_adapter"
        )
    path = find_preferences(recipe, job.run, form)
    tokenizer = load_tokenizer(recipe.model.id, recipe.model.revision)
    rows, lengths, longer = trainable_rows(recipe, path, form, tokenizer)
    job.manifest.rows_in, job.manifest.rows_out = len(rows) + longer, len(rows)
    job.manifest.drop(f"longer-than-{recipe.model.max_length}-tokens", longer)
    setting = Setting(*fitted(recipe, lengths, preference_needs(form)))
    job.manifest.facts |= {"plan": setting.plan.facts(), "setting": setting.facts()}
    job.manifest.facts["thinking"] = chat_format(tokenizer).policy
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
    metrics = MetricsFile(job.path("metrics.jsonl"), train.epochs, marks, kept=tuple(form.figures))
    weights = form.own(rows)
    job.manifest.facts |= weights
    own = {
        "output_dir": str(keeper.folder / WRITING),
        "report_to": prepare_tracker(train, job.path("state")),
        "max_length": recipe.model.max_length,
        "eval_strategy": "no",
        **weights,
    }
    config, trainer_kind = form.trainer()
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
    del model  # the trainer's, which is dismissed at the end
    trainer.processing_class = None  # as in AnswerTrainer
    to_the_end(job, trainer, tokenizer, (keeper, metrics, resume))


def _dataset(rows: list[dict[str, Any]], order: list[int]) -> Any:
    from datasets import Dataset

    return Dataset.from_list(rows).select(order)
