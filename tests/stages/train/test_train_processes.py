"""Two processes on a CPU train what one does, a killed training is proved to resume, and signals end a process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_run import adapter_bytes, compose, copy_run, curve, make_recipe

from mnatune.runs import journey
from mnatune.runs.errors import UsageError
from mnatune.runs.recipe import save_lock
from mnatune.runs.workspace import Run
from mnatune.stages.train.proof import prove

SOURCE = str(Path(__file__).parents[3] / "src")
ENVIRONMENT = {**os.environ, "PYTHONPATH": SOURCE, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def command(*before: str, recipe: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", *before, "mnatune", "train", str(recipe), "--out", str(out)]


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one(tiny_model, tmp_path) -> None:
    recipe = make_recipe(tiny_model, rows_per_step=8, dropout=0.0, log_every=1, checkpoint_every=1, throughput="plain")
    save_lock(recipe, tmp_path / "recipe.yaml")
    one = compose(tmp_path / "one", rows=32)
    two = copy_run(one, tmp_path / "two")
    journey.train(recipe, one)
    launcher = ("torch.distributed.run", "--nproc_per_node", "2", "-m")
    told = subprocess.run(
        command(*launcher, recipe=tmp_path / "recipe.yaml", out=two.root),
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stderr[-3000:]
    assert told.stdout.count("32 ->") == 1, "one process tells"
    single, shared = ([line for line in curve(run) if "loss" in line] for run in (one, two))
    assert [line["step"] for line in shared] == [1, 2, 3, 4]
    for a, b in zip(single, shared, strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=2e-3)
        assert b["grad_norm"] == pytest.approx(a["grad_norm"], rel=5e-2)
        assert b["num_tokens"] == a["num_tokens"]
    manifest = two.manifest("train")
    assert manifest is not None
    assert manifest.facts["setting"]["processes"] == 2
    assert (manifest.facts["setting"]["batch"], manifest.facts["setting"]["accumulate"]) == (4, 1)
    assert len(adapter_bytes(two)) == len(adapter_bytes(one))
    assert journey.perform("train", recipe, two)[1], "the two processes' manifest verifies"


@pytest.mark.slow
def test_a_killed_training_is_proved_to_resume(tiny_model, tmp_path) -> None:
    run = compose(tmp_path, rows=40)
    told = prove(make_recipe(tiny_model, rows_per_step=2), run.root, 2)
    assert told.startswith("2 of 2 resumed trainings equal the uninterrupted one")


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_program_with_its_code(tiny_model, tmp_path, number, code) -> None:
    run = compose(tmp_path / "run", rows=48)
    save_lock(make_recipe(tiny_model, epochs=50), tmp_path / "recipe.yaml")
    process = subprocess.Popen(
        command(recipe=tmp_path / "recipe.yaml", out=run.root), env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
    )
    metrics = run.folder("train") / "metrics.jsonl"
    while process.poll() is None and not (metrics.exists() and metrics.read_text()):
        time.sleep(0.02)
    process.send_signal(number)
    _, told = process.communicate(timeout=300)
    assert process.returncode == code, told
    assert "error: training stopped; a checkpoint was saved" in told
    saved = [p for p in (run.folder("train") / "checkpoints").glob("checkpoint-*") if (p / "MANIFEST.json").is_file()]
    assert saved


def test_only_train_runs_in_several_processes(tiny_model, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="runs in one process"):
        journey.compose(make_recipe(tiny_model), Run(tmp_path))
