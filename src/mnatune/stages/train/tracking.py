"""What is measured while training: metrics.jsonl always, and an experiment tracker if the recipe names one.

A tracker is never a reason to stop: without a login or a network W&B runs offline, and a tracker that is not installed
gives one clear error before training starts.
"""

import importlib.util
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import psutil
from transformers import TrainerCallback

from ...errors import missing_extra
from ...recipe import TrainSection

KEPT = ("loss", "grad_norm", "learning_rate", "mean_token_accuracy", "num_tokens", "eval_loss", "eval_mean_token_accuracy",
        "train_loss", "rewards/accuracies", "rewards/margins")  # fmt: skip


class MetricsFile(TrainerCallback):  # type: ignore[misc]
    """One JSON line per log step: the training's own figures and the machine's.

    Args:
        path: metrics.jsonl; on resume, lines after the checkpoint's step are removed so that the curve stays single.
        epochs: passes over the data that the step sequence makes (the Trainer sees them as one).
    """

    def __init__(self, path: Path, epochs: float) -> None:
        self.path = path
        self.epochs = epochs
        self.before = 0.0
        self.peak_rss_mb = 0.0
        self._process = psutil.Process()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Keep the lines up to where training continues."""
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() and state.global_step else []
        kept = [line for line in lines if _step(line) <= state.global_step]
        self.path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
        self.before = json.loads(kept[-1])["seconds"] if kept else 0.0
        self.started, self.last = time.monotonic(), (time.monotonic(), None)
        self._process.cpu_percent()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Append a line."""
        if not state.is_world_process_zero or not logs:
            return
        now, tokens = time.monotonic(), logs.get("num_tokens")
        line: dict[str, Any] = {"step": state.global_step}
        line["epoch"] = round(self.epochs * state.global_step / max(1, state.max_steps), 4)
        line |= {name: logs[name] for name in KEPT if name in logs}
        then, tokens_then = self.last
        if "loss" in logs and tokens is not None:
            if tokens_then is not None and now > then:
                line["tokens_per_second"] = round((tokens - tokens_then) / (now - then), 1)
            self.last = (now, tokens)
        line["seconds"] = round(self.before + now - self.started, 2)
        line |= self._machine()
        with self.path.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(line, ensure_ascii=False) + "\n")

    def _machine(self) -> dict[str, float]:
        import torch

        rss = self._process.memory_info().rss / 2**20
        self.peak_rss_mb = max(self.peak_rss_mb, rss)
        facts = {"cpu_percent": self._process.cpu_percent(), "rss_mb": round(rss)}
        if torch.cuda.is_available():
            facts["gpu_memory_mb"] = round(torch.cuda.max_memory_allocated() / 2**20)
            try:
                facts["gpu_percent"] = torch.cuda.utilization()
            except (ModuleNotFoundError, RuntimeError):  # needs pynvml, which not every installation has
                pass
        return facts


class ProgressLine(TrainerCallback):  # type: ignore[misc]
    """A progress bar with loss and speed, on a terminal only."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Show the bar."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("  training"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
        self.bar = Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
        self.task = self.bar.add_task("", total=state.max_steps, completed=state.global_step)
        self.bar.start()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Advance."""
        self.bar.update(self.task, completed=state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Show the loss."""
        if logs and "loss" in logs:
            self.bar.update(self.task, description=f"loss {logs['loss']:.3f}")

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take the bar away."""
        self.bar.stop()


def prepare_tracker(train: TrainSection, state_folder: Path) -> list[str]:
    """Set up the recipe's tracker; returns the value of TRL's `report_to`.

    The W&B run id is kept in `state_folder`, so that a resumed training continues the same run.
    """
    if train.tracking == "none":
        return []
    if importlib.util.find_spec(train.tracking if train.tracking != "tensorboard" else "tensorboard") is None:
        raise missing_extra(train.tracking, "tracking")
    if train.tracking == "wandb":
        os.environ["WANDB_PROJECT"] = train.project
        os.environ["WANDB_RUN_ID"] = _lasting_run_id(state_folder / "wandb_run_id")
        os.environ["WANDB_RESUME"] = "allow"
        os.environ.setdefault("WANDB_DIR", str(state_folder))
        if not wandb_ready():
            os.environ["WANDB_MODE"] = "offline"
    if train.tracking == "trackio":
        os.environ.setdefault("TRACKIO_PROJECT", train.project)
    if train.tracking == "tensorboard":
        os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(state_folder / "tensorboard"))
    return [train.tracking]


def _lasting_run_id(path: Path) -> str:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(os.urandom(4).hex(), encoding="utf-8")
    return path.read_text(encoding="utf-8")


def wandb_ready() -> bool:
    """A key in the environment or in ~/.netrc, and a server that answers within two seconds."""
    import netrc
    import socket

    try:
        known = os.environ.get("WANDB_API_KEY") or netrc.netrc().authenticators("api.wandb.ai")
    except (OSError, netrc.NetrcParseError):
        known = None
    if not known:
        return False
    try:
        socket.create_connection(("api.wandb.ai", 443), timeout=2).close()
    except OSError:
        return False
    return True


def _step(line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError):  # a line cut off by a crash
        return 1 << 62
