"""GRPO on a few questions: what is drawn, what is paid, resume by the same checkpoints, and the guard that stops it."""

import json
import os
import shutil
import signal
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_run import adapter_bytes, compose, make_recipe, train_job
from transformers import TrainerCallback

from mnatune.model.load import load_tokenizer
from mnatune.pack import Pack
from mnatune.reports.training import GUARDS as LABELS
from mnatune.runs.errors import DataError, Interrupted, UsageError
from mnatune.runs.workspace import Run
from mnatune.stages.train import grpo_loop, loop, reward_trainer, train
from mnatune.stages.train.asked_rows import AskedQuestion
from mnatune.stages.train.checkpoints import FINISHED
from mnatune.stages.train.rewards import Rewarder

OPTIONS = {"generations": 4, "answer_tokens": 12, "rewards": {"korean": 1.0, "ends": 1.0, "length": 0.5}}
FIGURES = ("step", "loss", "grad_norm", "reward", "reward_std", "kl", "eval_loss", "eval_reward", "num_tokens")


@pytest.fixture(scope="module")
def bare(pack, tmp_path_factory) -> Pack:
    """The pack without its law memory, which takes longer to open than all the steps."""
    folder = tmp_path_factory.mktemp("pack") / "bare"
    folder.mkdir()
    for name in ("pack.yaml", "prompts.yaml", "evaluate.yaml"):
        shutil.copy(pack.root / name, folder)
    return Pack.load(str(folder))


@pytest.fixture(scope="module")
def job_of(bare):
    """job_of(recipe, run): a work order with that pack."""
    return lambda recipe, run: replace(train_job(recipe, run), pack=bare)


def grpo_recipe(model, start, **train):
    values = {"from_adapter": start, "rows_per_step": 8, "log_every": 1, "checkpoint_every": 1, "learning_rate": 1e-3}
    return make_recipe(model, method="grpo", options=OPTIONS, **{**values, **train})


def lines(run) -> list[dict]:
    text = (run.folder("train") / "metrics.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def curve(run) -> list[dict]:
    return [{name: line[name] for name in FIGURES if name in line} for line in lines(run)]


@pytest.fixture(scope="module")
def trained(whole, tiny_model, tmp_path_factory, job_of):
    """(run, job, recipe) of four steps that nothing interrupted."""
    run = compose(tmp_path_factory.mktemp("grpo") / "run", rows=8, valid=6)
    recipe = grpo_recipe(tiny_model, str(whole[0].folder("train") / "adapter"))
    job = job_of(recipe, run)
    train(job)
    return run, job, recipe


def test_a_step_draws_marks_and_learns(trained, whole) -> None:
    run, job, _ = trained
    steps = [line for line in lines(run) if "loss" in line]
    assert [line["step"] for line in steps] == [1, 2, 3, 4]
    for line in steps:
        assert 0 <= line["reward"] <= 2.5
        assert line["completions/mean_length"] <= 12
        assert {"rewards/korean/mean", "rewards/ends/std", "tricks/share", "kl", "num_tokens"} <= line.keys()
    assert steps[0]["kl"] == pytest.approx(0, abs=1e-6), "the reference is the adapter at the start"
    assert steps[-1]["num_tokens"] > steps[0]["num_tokens"] > 0
    last = run.folder("train") / "checkpoints" / "checkpoint-4" / "adapter_model.safetensors"
    assert last.read_bytes() != whole[1], "it has learnt, whether or not the start is kept in the end"
    facts = job.manifest.facts
    assert facts["rewards"] == {"ends": 1.0, "korean": 1.0, "length": 0.5}
    assert facts["held_out"]["questions"] == 6
    assert facts["plan"]["generated"] == 4 * 8 * 12
    assert facts["plan"]["steps"] == facts["measured"]["steps"] == 4
    assert facts["setting"]["learning_rate"] == 1e-3


class Kill(TrainerCallback):
    def on_step_begin(self, args, state, control, **kwargs) -> None:
        if state.global_step == 2:
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_resumed_training_draws_and_learns_what_the_whole_one_did(trained, job_of, tmp_path, monkeypatch) -> None:
    run, former = compose(tmp_path / "run", rows=8, valid=6), loop.run_trainer

    def killed(job, trainer, *args) -> None:
        trainer.add_callback(Kill())
        former(job, trainer, *args)

    monkeypatch.setattr(loop, "run_trainer", killed)
    with pytest.raises(Interrupted):
        train(job_of(trained[2], run))
    monkeypatch.undo()
    train(job_of(trained[2], run))
    assert adapter_bytes(run) == adapter_bytes(trained[0])
    assert curve(run) == curve(trained[0])


def test_a_training_begun_under_other_guards_is_not_gone_on_with(trained, job_of, tmp_path, monkeypatch) -> None:
    run = Run(shutil.copytree(trained[0].root, tmp_path / "run"))
    (run.folder("train") / "checkpoints" / FINISHED).unlink()
    monkeypatch.setattr(grpo_loop, "GUARDS", reward_trainer.GUARDS[1:])
    with pytest.raises(UsageError, match="made with another rewards"):
        train(job_of(trained[2], run))


def test_a_fallen_guard_stops_the_training_and_its_checkpoint_is_not_taken(
    trained, job_of, tiny_model, tmp_path, monkeypatch
) -> None:
    run = compose(tmp_path / "run", rows=8, valid=6)
    honest, asked = Rewarder.mark, []
    monkeypatch.setattr(grpo_loop, "LEAST_BETWEEN", 1)

    def worse(self, question, answer):
        marks = honest(self, question, answer)
        asked.append(question.id)
        late = asked.count("900") > 2 and int(question.id) >= 900  # from the second look on
        return type(marks)({**marks.parts, "korean": 0.0 if late else 1.0}, marks.trick)

    monkeypatch.setattr(Rewarder, "mark", worse)
    job = job_of(trained[2], run)
    train(job)
    assert job.manifest.facts["held_out"]["fallen"] == ["korean"]
    assert job.manifest.facts["measured"]["steps"] == 2
    assert job.manifest.facts["saved"]["step"] in (0, 1)


def test_where_every_checkpoint_is_worse_the_start_is_kept(trained, job_of, whole, tmp_path, monkeypatch) -> None:
    run, honest, looks = compose(tmp_path / "run", rows=8, valid=6), Rewarder.mark, []

    def worse(self, question, answer):
        marks = honest(self, question, answer)
        looks.append(question.id == "900")
        return type(marks)({**marks.parts, "korean": 1.0 if sum(looks) == 1 else 0.0}, marks.trick)

    monkeypatch.setattr(Rewarder, "mark", worse)
    job = job_of(trained[2], run)
    train(job)
    assert job.manifest.facts["held_out"]["fallen"] == ["korean"]
    assert (job.manifest.facts["saved"]["step"], job.manifest.facts["saved"]["of"]) == (0, 4)
    assert adapter_bytes(run) == whole[1]


def test_what_grpo_refuses(trained, job_of, whole, tiny_model, tmp_path) -> None:
    run, start = compose(tmp_path / "run", rows=8), str(whole[0].folder("train") / "adapter")
    with pytest.raises(UsageError, match="6 rows of a step cannot hold 4 answers"):
        train(job_of(grpo_recipe(tiny_model, start, rows_per_step=6), run))
    long = grpo_recipe(tiny_model, start)
    long = long.model_copy(
        update={"train": long.train.model_copy(update={"options": {**OPTIONS, "answer_tokens": 150}})}
    )
    with pytest.raises(DataError, match="no question leaves room"):
        train(job_of(long, run))
    (run.folder("compose") / "train.jsonl").write_text(
        '{"messages": [{"role": "user", "content": "?"}]}\n', encoding="utf-8"
    )
    with pytest.raises(DataError, match=r"train\.jsonl:1") as wrong:
        train(job_of(grpo_recipe(tiny_model, start), run))
    assert "question and its answer" in str(wrong.value)


@pytest.mark.parametrize(("before", "after", "fell"), [
    ([1.0] * 20, [0.0] * 20, True),
    ([1.0] * 20, [1.0] * 18 + [0.0] * 2, False),
    ([1.0, 0.0] * 10, [1.0, 0.0] * 10, False),
    ([1.0], [0.0], False),
])  # fmt: skip
def test_a_guard_falls_when_the_paired_difference_is_sure(before, after, fell) -> None:
    assert reward_trainer._falls(before, after) is fell


@given(st.lists(st.integers(1, 2000), max_size=60))
def test_batches_hold_every_place_once_and_lengths_that_are_alike(lengths) -> None:
    batches = reward_trainer.like_lengths(lengths)
    assert sorted(at for batch in batches for at in batch) == list(range(len(lengths)))
    assert all(max(lengths[at] for at in batch) <= 2 * min(lengths[at] for at in batch) for batch in batches)
    firsts = [min(lengths[at] for at in batch) for batch in batches]
    assert all(after > 2 * before for before, after in pairwise(firsts)), "no more batches than needed"


def test_the_watched_questions_are_drawn_from_all_of_the_split(whole, tiny_model, tmp_path, job_of) -> None:
    run = compose(tmp_path / "run", rows=8, valid=90)
    job = job_of(grpo_recipe(tiny_model, str(whole[0].folder("train") / "adapter")), run)
    drawn = [int(one.id) for one in grpo_loop.watched_questions(job, load_tokenizer(str(tiny_model)))]
    assert len(drawn) == grpo_loop.HELD_OUT
    assert drawn == sorted(drawn)
    assert sum(number >= 945 for number in drawn) > 12, "not the first ones alone"


def test_a_watched_answer_may_repeat_its_passages_but_not_its_question() -> None:
    plain = AskedQuestion(id="a", prompt=[1], asked="", plain="", reference="")
    tasks = reward_trainer.watched_tasks([plain, replace(plain, evidence=frozenset({"상법 522"}))], 8, 1.3)
    assert [(one.sampling.quoting, one.sampling.repetition_penalty) for one in tasks] == [(False, 1.3), (True, 1.3)]


def test_the_report_has_a_name_for_every_guard() -> None:
    assert list(LABELS) == list(reward_trainer.GUARDS)
