"""`mnatune train --prove-resume N`: kill a training at random moments, resume it, and compare with one left alone.

The proof is made with processes killed by SIGKILL, so that nothing can be tidied up on the way out; the moments fall
anywhere, saving included. Equal means: the same adapter file, byte for byte, and the same losses and gradient norms
at every logged step.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ...errors import EnvironmentFault
from ...models.hf import load_tokenizer
from ...recipe import Recipe, save_lock
from ...workspace import Run, file_hash
from .data import load_rows

STEPS = 20
SAVE_EVERY = 2  # so that a random moment falls into saving often
COMPARED = ("step", "loss", "grad_norm", "mean_token_accuracy", "num_tokens")


def prove(recipe: Recipe, folder: Path, times: int, seed: int = 0) -> str:
    """Kill and resume a 20-step training `times` times; returns a summary.

    Args:
        folder: a run whose `compose` is done.

    Raises:
        EnvironmentFault: a resumed training did not equal the uninterrupted one.
    """
    composed = Run(folder).require("compose", "train.jsonl").parent
    tokenizer = load_tokenizer(recipe.model.id, recipe.model.revision)
    rows = len(load_rows(composed / "train.jsonl", tokenizer, recipe.model.max_length).examples)
    per_epoch = max(1, rows // min(rows, recipe.train.batch * recipe.train.accumulate))
    epochs = (STEPS + 0.5) / per_epoch
    short = recipe.train.model_copy(update={"epochs": epochs, "save_every": SAVE_EVERY, "tracking": "none"})
    with tempfile.TemporaryDirectory(prefix="prove-resume-") as place:
        lock = Path(place) / "recipe.yaml"
        save_lock(recipe.model_copy(update={"train": short}), lock)
        began = time.monotonic()
        reference = _training(lock, composed, Path(place) / "reference")
        _finish(reference)
        duration = time.monotonic() - began
        wanted = _result(Path(place) / "reference")
        draw = random.Random(seed)
        kills = 0
        for number in range(times):
            out = Path(place) / f"trial-{number}"
            kills += _killed_once(lock, composed, out, duration, draw)
            if _result(out) != wanted:
                raise EnvironmentFault(f"trial {number + 1}: the resumed training differs from the uninterrupted one")
            shutil.rmtree(out)
    return f"{times} of {times} resumed trainings equal the uninterrupted one ({kills} kills, adapter {wanted[0][:12]})"


def _killed_once(lock: Path, composed: Path, out: Path, duration: float, draw: random.Random) -> int:
    """Start, kill at a random moment, and run to the end; returns the number of kills that hit a living process."""
    process = _training(lock, composed, out)
    try:
        process.wait(timeout=draw.uniform(0.15, 1.0) * duration)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        _finish(_training(lock, composed, out))
        return 1
    return 0


def _training(lock: Path, composed: Path, out: Path) -> subprocess.Popen[bytes]:
    target = Run(out).folder("compose")
    if not target.exists():
        shutil.copytree(composed, target)
    command = [sys.executable, "-m", "mnatune", "train", str(lock), "--out", str(out)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", "")])}
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)


def _finish(process: subprocess.Popen[bytes]) -> None:
    _, complaint = process.communicate()
    if process.returncode != 0:
        raise EnvironmentFault(f"a training of the proof failed: {complaint.decode(errors='replace')[-500:]}")


def _result(out: Path) -> tuple[str, list[dict[str, float]]]:
    folder = Run(out).folder("train")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    curve = [{name: line[name] for name in COMPARED if name in line} for line in lines if "loss" in line]
    return file_hash(folder / "adapter" / "adapter_model.safetensors"), curve
