"""`mnatune train --prove-resume N`: kill a training at random moments, resume it, and compare with one left alone.

The proof is made with processes killed by SIGKILL, so that nothing can be tidied up on the way out; the moments fall
anywhere, saving included. Equal means: the same adapter file, byte for byte, and the same losses and gradient norms
at every logged step.

On a CPU the trainings are forked from one process that has loaded the libraries already, with one thread each.
"""

import json
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from ...runs.errors import EnvironmentFault
from ...runs.recipe import Recipe, load_recipe, save_lock
from ...runs.workspace import Run, file_hash, read_jsonl, write_jsonl
from .methods import METHODS

STEPS = 20
SAVE_EVERY = 2  # so that a random moment falls into saving often
VALID_ROWS = 8
COMPARED = (
    "step",
    "loss",
    "grad_norm",
    "mean_token_accuracy",
    "num_tokens",
    "eval_loss",
    "reward",
    "kl",
    "rewards/margins",
)
Result = tuple[str, list[dict[str, float]]]


def prove(recipe: Recipe, folder: Path, times: int, seed: int = 0) -> str:
    """Kill and resume a 20-step training `times` times; returns a summary.

    Args:
        folder: a run whose `compose` is done.

    Raises:
        EnvironmentFault: a resumed training did not equal the uninterrupted one, or a training failed.
    """
    with tempfile.TemporaryDirectory(prefix="prove-resume-") as name:
        place = Path(name)
        lock = _short_recipe(recipe, folder, place)
        _finish(_training(lock, place / "reference"), place / "reference")
        wanted = _result(place / "reference")
        interval = _lines(place / "reference")[-1]["seconds"] * SAVE_EVERY / STEPS
        draw = random.Random(seed)
        resumed: list[int] = []
        for number in range(1, times + 1):
            out = place / f"trial-{number}"
            resumed += _killed_once(lock, out, draw.randrange(0, STEPS, SAVE_EVERY), draw.uniform(0, interval))
            if _result(out) != wanted:
                raise EnvironmentFault(f"trial {number}: the resumed training differs from the uninterrupted one")
            shutil.rmtree(out)
    steps = f"from steps {', '.join(map(str, sorted(resumed)))}" if resumed else "none killed in time"
    return (
        f"{times} of {times} resumed trainings equal the uninterrupted one "
        f"({len(resumed)} killed alive; resumed {steps}; adapter {wanted[0][:12]})"
    )


def _short_recipe(recipe: Recipe, folder: Path, place: Path) -> Path:
    """A recipe of 20 steps, and beside it the rows that they need; returns the recipe's path."""
    method, per_step = METHODS[recipe.train.method], recipe.train.rows_per_step
    composed = Run(folder).require("compose", "train.jsonl").parent
    short_run = Run(place / "short")
    short = short_run.folder("compose")
    shutil.copytree(composed, short)
    for name, most in {
        "train.jsonl": STEPS * per_step,
        method.rows: STEPS * per_step,
        "valid.jsonl": VALID_ROWS,
    }.items():
        if (composed / name).is_file():
            write_jsonl(short / name, read_jsonl(composed / name)[:most])
    shutil.copytree(short, place / "compose")
    count = len(method.lengths(recipe, short_run))
    epochs = (STEPS + 0.5) / (count // min(count, per_step))
    train = recipe.train.model_copy(
        update={"epochs": epochs, "log_every": SAVE_EVERY, "checkpoint_every": SAVE_EVERY, "tracking": "none"}
    )
    lock = place / "recipe.yaml"
    save_lock(recipe.model_copy(update={"train": train}), lock)
    return lock


def _killed_once(lock: Path, out: Path, step: int, delay: float) -> list[int]:
    """Start, kill `delay` seconds after `step` was logged, and run to the end.

    The delay is counted from a step, so that a busy machine is not killed before training begins.

    Returns:
        The step resumed from, if there was a kill.
    """
    process = _training(lock, out)
    while process.is_alive() and max((line["step"] for line in _lines(out)), default=0) < step:
        time.sleep(0.005)
    process.join(timeout=delay)
    if not process.is_alive():
        _finish(process, out)
        return []
    process.kill()
    process.join()
    steps = [int(p.parent.name.rpartition("-")[2]) for p in out.glob("*-train/checkpoints/checkpoint-*/MANIFEST.json")]
    _finish(_training(lock, out), out)
    return [max(steps, default=0)]


def _training(lock: Path, out: Path) -> BaseProcess:
    target = Run(out).folder("compose")
    if not target.exists():
        shutil.copytree(lock.parent / "compose", target)
    process = _context().Process(target=_train_here, args=(str(lock), str(out)))
    process.start()
    return process


def _context() -> ForkServerContext | SpawnContext:
    """Fork from a process that has the libraries loaded; with CUDA, which cannot be forked, start afresh."""
    if torch.cuda.is_available():
        return multiprocessing.get_context("spawn")
    os.environ["OMP_NUM_THREADS"] = "1"  # read by the process that the trainings are forked from
    os.environ["PYTHONWARNINGS"] = "ignore:resource_tracker:UserWarning"  # a killed process leaves its resources behind
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mnatune.stages.train.loop", "mnatune.runs.journey"])
    return context


def _train_here(lock: str, out: str) -> None:
    """Run the train stage in a process of its own; its output goes into a log beside the run."""
    from ...pack import Pack
    from ...runs.errors import MnatuneError
    from ...runs.job import Job
    from . import train

    told = os.open(f"{out}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(told, 1)
    os.dup2(told, 2)
    recipe, run = load_recipe(lock), Run(Path(out))

    try:
        run.perform(
            "train", recipe.section("train", "model"), {}, recipe.seed, "proof",
            lambda stage: train(Job(recipe, Pack.load(recipe.pack), run, stage)),
        )  # fmt: skip
    except MnatuneError as error:
        print(error, file=sys.stderr, flush=True)
        sys.exit(error.exit_code)


def _finish(process: BaseProcess, out: Path) -> None:
    process.join()
    if process.exitcode != 0:
        told = Path(f"{out}.log").read_text(encoding="utf-8", errors="replace")
        raise EnvironmentFault(f"a training of the proof failed: {told[-500:]}")


def _result(out: Path) -> Result:
    curve = [{name: line[name] for name in COMPARED if name in line} for line in _lines(out)]
    return file_hash(Run(out).folder("train") / "adapter" / "adapter_model.safetensors"), curve


def _lines(out: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl that are whole."""
    path = Run(out).folder("train") / "metrics.jsonl"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return [json.loads(line) for line in text.split("\n")[:-1]]
