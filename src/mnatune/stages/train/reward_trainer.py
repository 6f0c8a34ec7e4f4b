"""GRPO through TRL's GRPOTrainer: answers drawn by the house's engine, marked by the rewards, watched on held-out questions.

Only TRL's public parts are used: `reward_funcs`, `rollout_func`, and a subclass whose `evaluate` asks the held-out questions.
The engine computes with the model that is being trained, adapter included; nothing is loaded twice. Each answer is drawn
with a generator of its own, seeded by recipe, step and place, so a resumed training draws what the uninterrupted one drew.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from transformers import TrainerCallback
from trl import GRPOTrainer

from ...model.engine.protocol import Answer, Sampling, Task
from ...runs.train_options import REWARD_NAMES, GrpoOptions
from .asked_rows import AskedQuestion
from .policy_engine import POLICY, engine_over
from .rewards import TRICKS, DrawnAnswer, Marks, Rewarder

TRICK_SHARE = "tricks/share"
# parts that must not fall on held-out questions
GUARDS = (
    "citation_exists", "citation_supported", "citation_shown", "abstention", "values_grounded", "ends", "korean", "honest",
)  # fmt: skip
GUARD_FIGURES = tuple(f"eval_guards/{name}" for name in GUARDS)
LEAST_FALL = 0.02  # of a guard's mean; less is not worth stopping for, however sure


@dataclass(frozen=True)
class HeldOutMarks:
    """What the model earned on the held-out questions, one value per question in order.

    Attributes:
        totals: weighted mean of the rewards.
        guards: guard → values; a question that has nothing to verify is left out of that guard at every time alike.
    """

    totals: list[float]
    guards: dict[str, list[float]]
    parts: dict[str, float]

    def fallen(self, before: "HeldOutMarks") -> list[str]:
        """Guards whose mean fell: by `LEAST_FALL` at least, and with 95 % of the paired difference below 0."""
        return [name for name in GUARDS if _falls(before.guards[name], self.guards[name])]

    @property
    def loss(self) -> float:
        """1 − mean reward, from 0 to 1."""
        return 1 - _mean(self.totals)

    def facts(self) -> dict[str, Any]:
        """Means, for the manifest."""
        return {
            "reward": _mean(self.totals),
            "guards": {name: _mean(marks) for name, marks in self.guards.items()},
            "parts": self.parts,
        }


class RewardTrainer(GRPOTrainer):  # type: ignore[misc]
    """GRPOTrainer that draws with the house's engine and whose evaluation is greedy answers to held-out questions.

    Args:
        questions: those of the training set; the data set's column `at` says which.
        held_out: those that the training is watched on.
        seed: of every draw.
        penalty: repetition penalty of the answers to held-out questions, as in evaluation; a draw has none.
    """

    def __init__(
        self,
        questions: Sequence[AskedQuestion],
        held_out: Sequence[AskedQuestion],
        rewarder: Rewarder,
        options: GrpoOptions,
        seed: int,
        penalty: float,
        **kwargs: Any,
    ) -> None:
        self._questions, self.held_out = questions, held_out
        self._rewarder, self._options, self._seed = rewarder, options, seed
        self._penalty = penalty
        self._marks: list[Marks] = []
        self.before: HeldOutMarks | None = None
        self.latest: HeldOutMarks | None = None
        super().__init__(reward_funcs=self._reward_functions(), rollout_func=self._draw, **kwargs)

    def watched(self) -> HeldOutMarks:
        """The held-out questions answered greedily, and marked."""
        answers = self._answers(watched_tasks(self.held_out, self._options.answer_tokens, self._penalty))
        marks = self._rewarder.mark_all(self.held_out, [DrawnAnswer(a.text, a.stopped) for a in answers])
        guards = {name: [m.parts[name] for m in marks] for name in GUARDS if name != "honest"}
        known = {name: [v for v in found if v is not None] for name, found in guards.items()}
        return HeldOutMarks(
            [m.total(self._options.rewards) for m in marks],
            {**known, "honest": [float(not m.trick) for m in marks]},
            {
                name: _mean(v)
                for name in REWARD_NAMES
                if (v := [m.parts[name] for m in marks if m.parts.get(name) is not None])
            },
        )

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Held-out questions: `eval_loss` is 1 − mean reward, and 1 more where a guard fell, so that it is never the best."""
        assert self.before is not None
        self.latest = self.watched()
        fallen = self.latest.fallen(self.before)
        metrics = {
            "eval_loss": self.latest.loss + bool(fallen),
            "eval_reward": _mean(self.latest.totals),
            **{f"eval_guards/{name}": _mean(marks) for name, marks in self.latest.guards.items()},
        }
        self.log(dict(metrics))
        self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _draw(self, prompts: list[str], trainer: Any) -> dict[str, Any]:
        """TRL's `rollout_func`: the answers to a step's prompts, each as often as it stands there.

        Args:
            prompts: places in `questions`, as text: TRL hands on the column `prompt`.
        """
        wanted, step, options = [self._questions[int(p)] for p in prompts], self.state.global_step, self._options
        tasks = [
            Task(
                POLICY,
                Sampling(options.answer_tokens, options.temperature, seed=hash_seed(self._seed, step, place)),
                prompt=one.prompt,
            )
            for place, one in enumerate(wanted)
        ]
        answers = self._answers(tasks)
        self._marks = self._rewarder.mark_all(wanted, [DrawnAnswer(a.text, a.stopped) for a in answers])
        return {
            "prompt_ids": [one.prompt for one in wanted],
            "completion_ids": [a.ids for a in answers],
            "logprobs": None,
        }

    def _answers(self, tasks: Sequence[Task]) -> list[Answer]:
        found: dict[int, Answer] = {}
        for batch in like_lengths([len(task.prompt or ()) for task in tasks]):
            chosen, model = [tasks[at] for at in batch], self.accelerator.unwrap_model(self.model)
            with engine_over(model, self.processing_class, chosen) as engine:
                answers = engine.answers(chosen)
            for at, answer in zip(batch, answers, strict=True):
                if not isinstance(answer, Answer):
                    raise answer
                found[at] = answer
        return [found[at] for at in range(len(tasks))]

    def _reward_functions(self) -> list[Any]:
        """One function a reward with a weight, by its name; the marks were made when the answers were drawn."""

        def function(name: str, *, first: bool) -> Any:
            def reward(prompts: list[Any], log_metric: Any, **columns: Any) -> list[float | None]:
                if first:
                    log_metric(TRICK_SHARE, _mean([float(bool(m.trick)) for m in self._marks]))
                    for trick in TRICKS:
                        log_metric(f"tricks/{trick}", _mean([float(m.trick == trick) for m in self._marks]))
                return [marks.parts[name] for marks in self._marks]

            reward.__name__ = name
            return reward

        names = weighted(self._options)
        return [function(name, first=at == 0) for at, name in enumerate(names)]


class GuardStop(TrainerCallback):  # type: ignore[misc]
    """Stops the training when a guard has fallen on the held-out questions.

    Attributes:
        trainer: whose marks are looked at; it lets go of the model at the end, this does not hold it.
    """

    def __init__(self) -> None:
        self.trainer: RewardTrainer | None = None
        self._seen: tuple[HeldOutMarks, HeldOutMarks] | None = None

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Compare with the marks from before the training."""
        if self.trainer is None or self.trainer.latest is None or self.trainer.before is None:
            return control
        self._seen = self.trainer.before, self.trainer.latest
        control.should_training_stop = control.should_training_stop or bool(
            self.trainer.latest.fallen(self.trainer.before)
        )
        return control

    def facts(self) -> dict[str, Any]:
        """For the manifest: held-out marks before and at the last look, and the guards that have fallen."""
        if self._seen is None:
            return {}
        before, after = self._seen
        facts = {"questions": len(before.totals), "before": before.facts(), "after": after.facts()}
        return {"held_out": {**facts, "fallen": after.fallen(before)}}


def watched_tasks(questions: Sequence[AskedQuestion], answer_tokens: int, penalty: float) -> list[Task]:
    """The questions asked greedily, as evaluation asks them: where passages are shown, repeating their words costs nothing."""
    plain = Sampling(answer_tokens, repetition_penalty=penalty)
    return [Task(POLICY, replace(plain, quoting=one.evidence is not None), prompt=one.prompt) for one in questions]


def weighted(options: GrpoOptions) -> list[str]:
    """The rewards that count, in the order of the table."""
    return [name for name in REWARD_NAMES if options.rewards.get(name)]


def hash_seed(*parts: int) -> int:
    """A seed that belongs to these numbers, the same in every process."""
    found = 0
    for part in parts:
        found = (found * 1_000_003 + part + 1) % (1 << 61)
    return found


def like_lengths(lengths: Sequence[int]) -> list[list[int]]:
    """Places in batches, none more than twice as long as the shortest of its batch: rows are padded to the longest."""
    batches: list[list[int]] = []
    for at in sorted(range(len(lengths)), key=lambda place: lengths[place]):
        if batches and lengths[at] <= 2 * lengths[batches[-1][0]]:
            batches[-1].append(at)
        else:
            batches.append([at])
    return batches


def _falls(before: Sequence[float], after: Sequence[float]) -> bool:
    """Whether the mean of paired values fell; half-width of the interval is 1.96 standard errors of the difference."""
    differences = [b - a for a, b in zip(before, after, strict=True)]
    if len(differences) < 2:
        return False
    mean = _mean(differences)
    variance = sum((d - mean) ** 2 for d in differences) / (len(differences) - 1)
    return mean < -LEAST_FALL and mean + 1.96 * math.sqrt(variance / len(differences)) < 0


def _mean(values: Sequence[float | None] | Mapping[Any, float]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else 0.0
