"""Interrupted trainings end as if nothing had happened, and damaged checkpoints are never trusted."""

import json
import logging
import os
import resource
import shutil
import signal
from pathlib import Path

import pytest
from pydantic import create_model
from tiny_run import adapter_bytes, compose, copy_run, curve, make_recipe, train_job
from transformers import TrainerCallback

from mnatune.runs import journey
from mnatune.runs.errors import EnvironmentFault, Interrupted, UsageError
from mnatune.runs.recipe import TrainSection
from mnatune.runs.train_options import OPTIONS
from mnatune.runs.workspace import write_json
from mnatune.stages.train import loop, train
from mnatune.stages.train.checkpoints import DAMAGED, MANIFEST, CheckpointKeeper, find_fault, newest_verified


class At(TrainerCallback):
    """Does something when a step begins."""

    def __init__(self, step: int, action) -> None:
        self.step, self.action = step, action

    def on_step_begin(self, args, state, control, **kwargs) -> None:
        if state.global_step == self.step:
            self.action()


@pytest.fixture
def at_step(monkeypatch):
    """at_step(n, action): the next trainings do `action` in step n + 1."""
    former = loop.run_trainer

    def arrange(step: int, action) -> None:
        def run(job, trainer, *args) -> None:
            trainer.add_callback(At(step, action))
            former(job, trainer, *args)

        monkeypatch.setattr(loop, "run_trainer", run)

    return arrange


def checkpoints(run) -> list[str]:
    return sorted(p.name for p in (run.folder("train") / "checkpoints").iterdir())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_the_resumed_training_equals_the_whole(
    whole, recipe, tmp_path, at_step, monkeypatch, number, code
) -> None:
    run, handlers = copy_run(whole[0], tmp_path), [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
    at_step(2, lambda: os.kill(os.getpid(), number))  # between two log lines
    with pytest.raises(Interrupted) as stopped:
        train(train_job(recipe, run))
    assert stopped.value.exit_code == code
    assert checkpoints(run) == ["checkpoint-2", "checkpoint-3"]
    assert not (run.folder("train") / "adapter").exists()
    monkeypatch.undo()
    job = train_job(recipe, run)
    train(job)
    assert adapter_bytes(run) == whole[1]
    assert curve(run) == whole[2]
    assert job.manifest.facts["measured"]["tokens"] == whole[2][-1]["num_tokens"]
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == handlers


def test_a_full_disk_leaves_the_checkpoint_before_usable(whole, recipe, tmp_path, at_step, monkeypatch) -> None:
    run = copy_run(whole[0], tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    at_step(3, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard)))  # the adapter alone is larger
    try:
        with pytest.raises(EnvironmentFault, match=r"could not be written.*the previous one is intact"):
            train(train_job(recipe, run))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    folder = run.folder("train") / "checkpoints"
    assert checkpoints(run) == ["checkpoint-2"]
    assert find_fault(folder / "checkpoint-2") == ""
    monkeypatch.undo()
    train(train_job(recipe, run))
    assert adapter_bytes(run) == whole[1]
    assert curve(run) == whole[2]


def files_of(checkpoint: Path) -> list[str]:
    return sorted(p.relative_to(checkpoint).as_posix() for p in checkpoint.rglob("*") if p.is_file())


def truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def flip_one_bit(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(bytes(data))


@pytest.mark.parametrize("harm", [truncate, Path.unlink, flip_one_bit])
def test_each_harmed_file_makes_the_checkpoint_before_be_used(whole, tmp_path, caplog, harm) -> None:
    source = whole[0].folder("train") / "checkpoints"
    identity = json.loads((source / "checkpoint-6" / MANIFEST).read_text())["identity"]
    names = files_of(source / "checkpoint-6")
    assert {
        MANIFEST,
        "adapter_model.safetensors",
        "optimizer.pt",
        "scheduler.pt",
        "rng_state.pth",
        "tally.json",
    } <= set(names)
    for number, name in enumerate(names):
        folder = tmp_path / str(number)
        shutil.copytree(source, folder)
        harm(folder / "checkpoint-6" / name)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            found = newest_verified(folder, identity)
        assert found == folder / "checkpoint-4", name
        assert "checkpoint-6 is damaged" in caplog.text
        assert (folder / DAMAGED / "checkpoint-6").is_dir()
        assert not (folder / "checkpoint-6").exists()


def test_the_best_checkpoint_and_the_start_are_verified_too(whole, tmp_path, caplog) -> None:
    folder = Path(shutil.copytree(whole[0].folder("train") / "checkpoints", tmp_path / "checkpoints"))
    identity = json.loads((folder / "checkpoint-6" / MANIFEST).read_text())["identity"]
    keeper = CheckpointKeeper(folder, identity, TrainSection())
    start = tmp_path / "start"
    start.mkdir()
    shutil.copy(folder / "checkpoint-4" / "adapter_model.safetensors", start)
    keeper.keep_start(start, -1.0)
    assert keeper.best_verified() == folder / "start-0"
    flip_one_bit(folder / "start-0" / "adapter_model.safetensors")
    flip_one_bit(folder / "checkpoint-4" / "adapter_model.safetensors")
    with caplog.at_level(logging.WARNING):
        assert newest_verified(folder, identity) == folder / "checkpoint-6"
    assert {path.name for path in (folder / DAMAGED).iterdir()} == {"start-0", "checkpoint-4"}
    assert keeper.best_verified() == folder / "checkpoint-6"
    flip_one_bit(folder / "checkpoint-6" / "adapter_model.safetensors")
    assert keeper.best_verified() is None, "harmed while it was trained on"


def test_a_flipped_bit_anywhere_in_the_manifest_is_seen(whole, tmp_path) -> None:
    folder = tmp_path / "checkpoint-6"
    shutil.copytree(whole[0].folder("train") / "checkpoints" / "checkpoint-6", folder)
    good = (folder / MANIFEST).read_bytes()
    for at in range(0, len(good), 37):
        bad = bytearray(good)
        bad[at] ^= 1 << at % 7
        (folder / MANIFEST).write_bytes(bytes(bad))
        assert find_fault(folder), bytes(bad[at - 10 : at + 10])
    (folder / MANIFEST).write_bytes(good)
    assert find_fault(folder) == ""


def test_a_checkpoint_of_something_else_is_refused_until_forced(tiny_model, tmp_path, at_step, monkeypatch) -> None:
    run, short = compose(tmp_path, rows=16), make_recipe(tiny_model, log_every=1, checkpoint_every=1)
    at_step(0, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Interrupted):
        journey.train(short, run)
    monkeypatch.undo()
    other = make_recipe(tiny_model, log_every=1, checkpoint_every=1, learning_rate=5e-3)
    with pytest.raises(UsageError, match="made with another recipe") as refused:
        journey.train(other, run)
    assert "--force" in str(refused.value)
    manifest = journey.train(other, run, force=True)
    assert [line["step"] for line in curve(run) if "loss" in line] == [1, 2]
    assert manifest.facts["measured"]["steps"] == 2
    assert journey.perform("train", other, run)[1], "done: skipped"
    before = adapter_bytes(run)
    third = make_recipe(tiny_model, log_every=1, checkpoint_every=1, learning_rate=1e-3)
    with pytest.raises(UsageError, match=r"learning_rate is 0\.005 there"):  # finished: kept, not trained over
        journey.train(third, run)
    assert adapter_bytes(run) == before
    journey.train(third, run, force=True)
    assert adapter_bytes(run) != before


def test_identity_leaves_out_what_may_change_on_the_way(tiny_model) -> None:
    one = make_recipe(tiny_model)
    assert loop.recipe_hash(one) == loop.recipe_hash(make_recipe(tiny_model, checkpoint_every=5, tracking="wandb"))
    assert loop.recipe_hash(one) != loop.recipe_hash(make_recipe(tiny_model, r=8))


@pytest.mark.parametrize(
    ("method", "option"), [("dpo", {"margin": 2}), ("grpo", {"kl": 0.5}), ("distill", {"unknown": 0.9})]
)
def test_an_option_that_the_recipe_leaves_to_the_method_is_part_of_the_identity(
    tiny_model, monkeypatch, method, option
) -> None:
    silent, former = make_recipe(tiny_model, method=method), OPTIONS[method]
    named = make_recipe(tiny_model, method=method, options=former().model_dump(mode="json"))
    before = loop.recipe_hash(silent)
    assert loop.recipe_hash(named) == before
    key, value = next(iter(option.items()))
    monkeypatch.setitem(OPTIONS, method, create_model("Later", __base__=former, **{key: (float, value)}))
    assert loop.recipe_hash(silent) != before


def test_rotation_keeps_the_newest_and_the_best(tmp_path) -> None:
    keeper = CheckpointKeeper(tmp_path, {"recipe": "x"}, TrainSection())
    for step, loss in ((2, 3.0), (4, 1.0), (6, None), (8, 2.0), (10, 2.5)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        write_json(folder / MANIFEST, {"identity": {}, "eval_loss": loss, "files": {}})
        keeper._rotate()
    assert checkpoints_in(tmp_path) == ["checkpoint-10", "checkpoint-4", "checkpoint-8"]


def checkpoints_in(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_what_is_evaluated_is_saved(whole) -> None:
    folder = whole[0].folder("train") / "checkpoints"
    evaluated = {line["step"]: line["eval_loss"] for line in whole[2] if "eval_loss" in line}
    assert evaluated.keys() == {6}
    assert json.loads((folder / "checkpoint-6" / MANIFEST).read_text())["eval_loss"] == evaluated[6]


def test_keys_that_would_break_the_order_are_refused(tiny_model, tmp_path) -> None:
    run = compose(tmp_path, rows=16)
    with pytest.raises(UsageError, match=r"train\.extra\.max_steps cannot be set: it is decided by train\.epochs"):
        train(train_job(make_recipe(tiny_model, extra={"max_steps": 5}), run))
    with pytest.raises(UsageError, match=r"decided by train\.learning_rate"):
        train(train_job(make_recipe(tiny_model, extra={"learning_rate": 0.5}), run))
    with pytest.raises(UsageError, match="'4' is no number of rows"):
        train(train_job(make_recipe(tiny_model, extra={"per_device_train_batch_size": "4"}), run))
    with pytest.raises(UsageError, match="TRL's SFTConfig refuses"):
        train(train_job(make_recipe(tiny_model, extra={"learning_rat": 5}), run))
    with pytest.raises(UsageError, match="do not fit the model"):
        train(train_job(make_recipe(tiny_model, targets=["nothing"]), run))


def test_the_committed_losses(whole) -> None:
    wanted = json.loads((Path(__file__).parents[2] / "data" / "train_losses.json").read_text(encoding="utf-8"))
    found = [line for line in whole[2] if "loss" in line]
    assert [line["step"] for line in found] == [line["step"] for line in wanted]
    for line, reference in zip(found, wanted, strict=True):
        assert line["loss"] == pytest.approx(reference["loss"], rel=5e-3)
        assert line["grad_norm"] == pytest.approx(reference["grad_norm"], rel=0.1)
        assert line["num_tokens"] == reference["num_tokens"]
