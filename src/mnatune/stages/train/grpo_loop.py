"""GRPO (Shao et al. 2024): the model answers questions several times, and what rewards can verify decides which it learns from.

The starting policy is the adapter of `train.from_adapter`, or a new one; a frozen copy is the reference that `kl` is measured
against. The validation rows are answered before the training, after every tenth of it, and at the end: where
a guard has fallen the training stops, and the adapter saved is the checkpoint with the most held-out reward: the start
itself, where none has more.
"""

import json
import random
import warnings
from pathlib import Path
from typing import Any

from transformers import set_seed
from trl import GRPOConfig

from ...model.chat_format import chat_format
from ...model.load import base_fingerprint, load_tokenizer
from ...runs.errors import DataError, UsageError
from ...runs.job import Job
from ...runs.recipe import Recipe
from ...runs.train_options import GrpoOptions
from ...runs.workspace import file_hash, value_hash, write_json
from .asked_rows import AskedQuestion, answered_lengths, asked_questions, fitting_questions, grpo_options
from .checkpoints import WRITING, CheckpointKeeper
from .judged_reward import REWARD, RubricJudge
from .loop import adapted, adapter_hash, build_config, find_resume, recipe_hash, to_the_end
from .method import Method, rows_file
from .processes import process_count
from .reward_trainer import GUARD_FIGURES, GUARDS, GuardStop, HeldOutMarks, RewardTrainer, weighted
from .rewards import Rewarder
from .setting import Setting, fitted
from .token_rows import step_order
from .tracking import MetricsFile, prepare_tracker
from .trainer import precise_adapter

HELD_OUT = 48  # validation questions watched, at most
LOOKS = 10  # times that they are answered in a training, at most, besides its end
LEAST_BETWEEN = 5  # steps between two looks: one takes about as long as a step
BEFORE = "held_out_before.json"  # in the stage's state folder


def train_on_rewards(job: Job, method: Method) -> None:
    """Do the train stage with `train.method: grpo`.

    Raises:
        UsageError: several processes, or rows of a step that are no multiple of the generations.
        DataError: there is no question that leaves room for an answer.
    """
    recipe, train, options = job.recipe, job.recipe.train, grpo_options(job.recipe)
    if process_count() > 1:
        raise UsageError("train.method: grpo trains in one process", next_step="start it without torchrun")
    tokenizer = load_tokenizer(recipe.model.id, recipe.model.revision)
    path = rows_file(job.run, options.rows)
    questions = answerable(job, path, tokenizer)
    lengths = answered_lengths(questions, options)
    setting = Setting(*fitted(recipe, lengths, method.needs(recipe, lengths)))
    job.manifest.facts |= {"plan": setting.plan.facts(), "setting": setting.facts()}
    job.manifest.facts["thinking"] = chat_format(tokenizer).policy
    job.manifest.facts["rewards"] = {name: options.rewards[name] for name in weighted(options)}
    judge = RubricJudge(job) if options.rewards.get(REWARD) else None
    pack_files = [name for name in method.pack_files if (job.pack.root / name).exists()]
    held_out = watched_questions(job, tokenizer)
    identity = {
        "recipe": recipe_hash(recipe),
        "data": file_hash(path),
        "base model": base_fingerprint(recipe.model.id, recipe.model.revision),
        "starting adapter": adapter_hash(train),
        "rewards": value_hash([job.pack.hashes(*pack_files), judge.identity if judge else "", GUARDS]),
        "held-out questions": value_hash([[one.id for one in held_out], recipe.generation.repetition_penalty]),
    }
    keeper = CheckpointKeeper(job.path("checkpoints"), identity, train)
    resume = find_resume(keeper)
    metrics = DrawnMetrics(job.path("metrics.jsonl"), train.epochs, (0,), kept=(*method.figures, *GUARD_FIGURES))
    trainer, guard = made_trainer(job, setting, (questions, held_out), Rewarder(job.pack, judge), [keeper, metrics])
    if trainer.held_out:
        trainer.before = marks_before(trainer, keeper, job.path("state") / BEFORE, fresh=resume is None)
    to_the_end(job, trainer, tokenizer, (keeper, metrics, resume))
    job.manifest.facts |= guard.facts()


def answerable(job: Job, path: Path, tokenizer: Any) -> list[AskedQuestion]:
    """The questions to train on; those that leave no room for an answer are counted and left out."""
    options, limit = grpo_options(job.recipe), job.recipe.model.max_length
    read = asked_questions(path, tokenizer)
    found = fitting_questions(read, options.answer_tokens, limit)
    if not found:
        raise DataError(
            f"no question leaves room for an answer of {options.answer_tokens} tokens in model.max_length {limit}",
            where=str(path),
            next_step="lower answer_tokens in train.options, or raise model.max_length",
        )
    job.manifest.rows_in, job.manifest.rows_out = len(read), len(found)
    job.manifest.drop(f"longer-than-{limit}-tokens", len(read) - len(found))
    return found


def watched_questions(job: Job, tokenizer: Any) -> list[AskedQuestion]:
    """Questions of the validation split that the training is watched on: drawn at random, since the rows stand source by source."""
    valid = asked_questions(job.run.require("compose", "valid.jsonl"), tokenizer, empty_ok=True)
    found = fitting_questions(valid, grpo_options(job.recipe).answer_tokens, job.recipe.model.max_length)
    drawn = random.Random(f"{job.recipe.seed}/held-out").sample(range(len(found)), min(HELD_OUT, len(found)))
    return [found[at] for at in sorted(drawn)]


def made_trainer(
    job: Job,
    setting: Setting,
    asked: tuple[list[AskedQuestion], list[AskedQuestion]],
    rewarder: Rewarder,
    callbacks: list[Any],
) -> tuple[RewardTrainer, GuardStop]:
    """The trainer, with the model loaded, and what stops it when a guard falls.

    Args:
        asked: the questions to train on, and those to watch.
        callbacks: the keeper of the checkpoints first.
    """
    recipe, options, keeper, (questions, held_out) = job.recipe, grpo_options(job.recipe), callbacks[0], asked
    tokenizer = load_tokenizer(recipe.model.id, recipe.model.revision)
    own = grpo_values(recipe, setting, keeper.folder / WRITING, prepare_tracker(recipe.train, job.path("state")))
    own["eval_strategy"] = "steps" if held_out else "no"
    prompts = [len(one.prompt) for one in questions]
    order = step_order(prompts, prompts_per_step(setting, options), recipe.train.epochs, recipe.seed)
    set_seed(recipe.seed)
    arguments = build_config(GRPOConfig, recipe, setting, own)
    guard = GuardStop()
    with precise_adapter(adapted(recipe, setting)) as model, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*rollout_func.*")  # TRL calls it experimental
        guard.trainer = RewardTrainer(
            questions=questions,
            held_out=held_out,
            rewarder=rewarder,
            options=options,
            seed=recipe.seed,
            penalty=recipe.generation.repetition_penalty,
            model=model,
            args=arguments,
            train_dataset=places(order),
            eval_dataset=places(range(len(held_out))) if held_out else None,
            processing_class=tokenizer,
            callbacks=[guard, *callbacks],
        )
    return guard.trainer, guard


class DrawnMetrics(MetricsFile):
    """Metrics whose tokens are counted as they are drawn: nobody knows before how long the answers will be."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._counted: dict[int, int] = {}

    def tokens(self, step: int) -> int:
        """Tokens of prompts and answers up to a step, as far as lines were written."""
        return max((count for at, count in self._counted.items() if at <= step), default=0)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Count, then write the line."""
        self._counted[state.global_step] = int(state.num_input_tokens_seen)
        super().on_log(args, state, control, logs, **kwargs)


def prompts_per_step(setting: Setting, options: GrpoOptions) -> int:
    """Questions of an optimizer step.

    Raises:
        UsageError: its rows are no multiple of the answers to a question.
    """
    rows = setting.plan.rows_per_step
    if rows % options.generations:
        raise UsageError(
            f"the {rows} rows of a step cannot hold {options.generations} answers to each question",
            where="train.rows_per_step",
            next_step=f"take a multiple of {options.generations}, or set train.options: {{generations: N}}",
        )
    return rows // options.generations


def grpo_values(recipe: Recipe, setting: Setting, writing: Path, report_to: list[str]) -> dict[str, Any]:
    """The recipe as TRL's configuration for GRPO; answers are drawn once for each optimizer step."""
    options = grpo_options(recipe)
    return {
        "output_dir": str(writing),
        "report_to": report_to,
        "remove_unused_columns": False,
        "num_generations": options.generations,
        "num_generations_eval": 1,
        "max_completion_length": options.answer_tokens,
        "temperature": options.temperature,
        "beta": options.kl,
        "reward_weights": [options.rewards[name] for name in weighted(options)],
        "shuffle_dataset": False,  # the step order is fixed before
        "disable_dropout": True,  # else the policy that is trained is not the one that drew
        "steps_per_generation": setting.accumulate,
        "eval_steps": max(LEAST_BETWEEN, -(-setting.plan.steps // LOOKS)),
        "mask_truncated_completions": False,  # an answer without an end is to earn less, not to be passed over
    }


def places(order: Any) -> Any:
    """Places of questions as a data set: TRL hands the column `prompt` on to where the answers are drawn."""
    from datasets import Dataset

    return Dataset.from_dict({"prompt": [str(at) for at in order]})


def marks_before(trainer: RewardTrainer, keeper: CheckpointKeeper, path: Path, *, fresh: bool) -> HeldOutMarks:
    """What the held-out questions earned before the first step, and the start kept; a resumed training reads it."""
    if not fresh and path.is_file():
        return HeldOutMarks(**json.loads(path.read_text(encoding="utf-8")))
    found = trainer.watched()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"totals": found.totals, "guards": found.guards, "parts": found.parts})
    gathered = keeper.folder / ".start"
    trainer.save_model(str(gathered))
    keeper.keep_start(gathered, found.loss)
    return found
