"""What is measured while training: metrics.jsonl always, and an experiment tracker if the recipe names one.

A tracker is never a reason to stop: without a login or a network W&B runs offline, and a tracker that is not installed
gives one clear error before training starts.
"""

import importlib.util
import json
import logging
import math
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from transformers import TrainerCallback

from ...runs.errors import missing_extra
from ...runs.recipe import TrainSection
from ...runs.workspace import atomic_text, in_charge, read_jsonl

logger = logging.getLogger("mnatune.train")

KEPT = ("loss", "grad_norm", "learning_rate", "mean_token_accuracy", "eval_loss", "eval_mean_token_accuracy")


class MetricsFile(TrainerCallback):  # type: ignore[misc]
    """One JSON line per log step: the training's own figures and the machine's.

    Args:
        path: metrics.jsonl; on resume, lines after the checkpoint's step are removed so that the curve stays single.
        epochs: passes over the data that the step sequence makes (the Trainer sees them as one).
        tokens_by_step: real tokens seen after each step (token_rows.tokens_by_step).
        kept: figures of the method's own that go into a line besides those that every method has.

    Attributes:
        seconds: spent in training so far, earlier parts of an interrupted one included.
    """

    def __init__(self, path: Path, epochs: float, tokens_by_step: Sequence[int], kept: Sequence[str] = ()) -> None:
        self.path = path
        self._kept = (*KEPT, *kept)
        self.epochs = epochs
        self.tokens_by_step = tokens_by_step
        self.seconds = 0.0
        self.peak_rss_mb = 0.0
        self._process = psutil.Process()

    def tokens(self, step: int) -> int:
        """Real tokens, padding not counted, of the steps up to this one."""
        return self.tokens_by_step[min(step, len(self.tokens_by_step) - 1)]

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Keep the lines up to where training continues."""
        self._began, self._before = time.monotonic(), 0.0
        self._last: tuple[float, int] = (self._began, state.global_step)
        if not state.is_world_process_zero:
            return
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() and state.global_step else []
        kept = [line for line in lines if _step(line) <= state.global_step]
        with atomic_text(self.path) as handle:
            handle.write("".join(line + "\n" for line in kept))
        self._before = self.seconds = float(json.loads(kept[-1])["seconds"]) if kept else 0.0
        self._process.cpu_percent()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Append a line for training or evaluation; the Trainer's summary at the end is left out."""
        if not state.is_world_process_zero or not logs or not ("loss" in logs or "eval_loss" in logs):
            return
        now, step = time.monotonic(), state.global_step
        line: dict[str, Any] = {"step": step}
        line["epoch"] = round(self.epochs * step / max(1, state.max_steps), 4)
        line |= {name: _finite(logs[name]) for name in self._kept if logs.get(name) is not None}
        line["num_tokens"] = self.tokens(step)
        then, step_then = self._last
        if "loss" in logs:
            if step > step_then and now > then:
                line["tokens_per_second"] = round((self.tokens(step) - self.tokens(step_then)) / (now - then), 1)
            self._last = (now, step)
        self.seconds = round(self._before + now - self._began, 2)
        line["seconds"] = self.seconds
        line |= self._machine()
        with self.path.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")

    def _machine(self) -> dict[str, float]:
        import torch

        rss = self._process.memory_info().rss / 2**20
        self.peak_rss_mb = max(self.peak_rss_mb, rss)
        facts = {"cpu_percent": self._process.cpu_percent(), "rss_mb": round(rss)}
        if torch.cuda.is_available():
            facts["gpu_memory_mb"] = round(torch.cuda.max_memory_allocated() / 2**20)
            with suppress(ModuleNotFoundError, RuntimeError):  # needs pynvml, which not every installation has
                facts["gpu_percent"] = torch.cuda.utilization()
        return facts


class ProgressLine(TrainerCallback):  # type: ignore[misc]
    """A progress bar with loss and speed, on a terminal only."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("  training"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
        )
        shown = sys.stderr.isatty()
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True, disable=not shown)
        self._task = self._bar.add_task("", total=None)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Show the bar."""
        if state.is_world_process_zero:
            self._bar.update(self._task, total=state.max_steps, completed=state.global_step)
            self._bar.start()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Advance."""
        self._bar.update(self._task, completed=state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Show the loss."""
        if logs and "loss" in logs:
            self._bar.update(self._task, description=f"loss {logs['loss']:.3f}")

    def stop(self) -> None:
        """Take the bar away, however training ended."""
        self._bar.stop()


def mean_loss(path: Path) -> float | None:
    """Mean training loss over all steps, from the lines of metrics.jsonl (each holds the mean since the one before)."""
    total, last = 0.0, 0
    for row in read_jsonl(path):
        if row.get("loss") is not None:
            total, last = total + row["loss"] * (row["step"] - last), row["step"]
    return round(total / last, 4) if last else None


def prepare_tracker(train: TrainSection, state_folder: Path) -> list[str]:
    """Set up the recipe's tracker; returns the value of TRL's `report_to`.

    The W&B run id is kept in `state_folder`, so that a resumed training continues the same run.

    Raises:
        EnvironmentFault: the tracker is not installed.
    """
    if train.tracking == "none":
        return []
    if importlib.util.find_spec(train.tracking) is None:
        raise missing_extra(train.tracking, "tracking")
    if not in_charge():
        return []
    state_folder.mkdir(parents=True, exist_ok=True)
    if train.tracking == "wandb" and not _begin_wandb(train, state_folder):
        return []
    if train.tracking == "trackio":
        os.environ |= {"TRACKIO_PROJECT": _project(train), "TRACKIO_DIR": str(state_folder / "trackio")}
    if train.tracking == "tensorboard":
        os.environ["TENSORBOARD_LOGGING_DIR"] = str(state_folder / "tensorboard")
    return [train.tracking]


def _project(train: TrainSection) -> str:
    return train.track_as.partition("/")[0]


def _begin_wandb(train: TrainSection, state_folder: Path) -> bool:
    """Open the run here, not in the Trainer: whatever the server says, training goes on, offline if need be."""
    import wandb

    os.environ["WANDB_PROJECT"] = _project(train)
    os.environ.setdefault("WANDB_LOG_MODEL", "false")
    run_id = _lasting_run_id(state_folder / "wandb_run_id")
    wanted = os.environ.get("WANDB_MODE") or ("online" if wandb_ready() else "offline")
    modes: list[Any] = [wanted, "offline", "disabled"]
    for mode in modes:
        try:
            wandb.init(
                project=_project(train), name=train.track_as.partition("/")[2] or None, id=run_id, resume="allow", mode=mode, reinit=True,
                dir=str(state_folder), settings=wandb.Settings(silent=True, init_timeout=30),
            )  # fmt: skip
            return True
        except Exception as error:  # a tracker's failure never stops a training
            logger.warning("W&B cannot run in mode %s: %s", mode, str(error).split("\n", 1)[0][:200])
    return False


def _lasting_run_id(path: Path) -> str:
    if not path.exists():
        path.write_text(os.urandom(4).hex(), encoding="utf-8")
    return path.read_text(encoding="utf-8")


def wandb_ready() -> bool:
    """A key in the environment or in ~/.netrc, and a server (W&B's, or WANDB_BASE_URL) that answers in two seconds."""
    import netrc
    import socket
    from urllib.parse import urlsplit

    server = urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai")
    host = server.hostname or "api.wandb.ai"
    try:
        known = os.environ.get("WANDB_API_KEY") or netrc.netrc().authenticators(host)
    except (OSError, netrc.NetrcParseError):
        known = None
    if not known:
        return False
    try:
        socket.create_connection((host, server.port or (80 if server.scheme == "http" else 443)), timeout=2).close()
    except OSError:
        return False
    return True


def _finite(value: float) -> float | None:
    """A non-finite value is written as null, since JSON has no NaN, and logged."""
    if math.isfinite(value):
        return value
    logger.warning("a logged value is not finite: the training diverges; lower train.learning_rate")
    return None


def _step(line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError):  # a line cut off by a crash
        return 1 << 62
