"""Checkpoints that are whole or absent, and a resume that never trusts a damaged one.

Transformers' Trainer writes a checkpoint file by file under its final name, without a hash: a crash leaves a folder
that looks complete, a missing optimizer.pt resumes silently on another trajectory, and a flipped bit goes unseen.
Here the Trainer writes into `checkpoints/.writing`; then every file is hashed into MANIFEST.json, all is flushed to
disk, and the folder is renamed. Resume takes the newest checkpoint that verifies and sets damaged ones aside.
"""

import errno
import json
import logging
import os
import shutil
import signal
from pathlib import Path
from types import FrameType
from typing import Any

from transformers import TrainerCallback

from ...errors import EnvironmentFault, UsageError
from ...workspace import file_hash, sync_folder, write_json

MANIFEST = "MANIFEST.json"
WRITING = ".writing"
DAMAGED = "damaged"
REQUIRED = ("adapter_model.safetensors", "optimizer.pt", "scheduler.pt", "trainer_state.json", "rng_state.pth")
logger = logging.getLogger("mnatune.train")


class CheckpointKeeper(TrainerCallback):  # type: ignore[misc]
    """Seals what the Trainer saves, rotates, and stops cleanly on SIGTERM and Ctrl-C.

    Args:
        folder: the `checkpoints` folder; the Trainer's output_dir must be its `.writing`.
        identity: what the training depends on (recipe, data, base model); written into each manifest.
        keep: newest checkpoints kept, besides the one with the lowest validation loss.
    """

    def __init__(self, folder: Path, identity: dict[str, str], keep: int) -> None:
        self.folder = folder
        self.identity = identity
        self.keep = keep
        self.stopped_by: int | None = None

    def listen(self) -> None:
        """From now on SIGTERM and SIGINT ask for a checkpoint and an orderly end; a second one kills."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopped_by = number
        signal.signal(number, signal.SIG_DFL)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Save and stop after this step if a signal came."""
        if self.stopped_by is not None:
            control.should_save = True
            control.should_training_stop = True
        return control

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Seal the checkpoint that the Trainer has just written, and rotate."""
        if not state.is_world_process_zero:
            return control
        written = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        losses = [e["eval_loss"] for e in state.log_history if "eval_loss" in e and e["step"] == state.global_step]
        try:
            seal(written, self.folder / written.name, self.identity, losses[0] if losses else None)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise EnvironmentFault(
                    f"no room for the checkpoint of step {state.global_step}; the previous one is intact",
                    where=str(self.folder),
                    next_step="free some disk and run the same command again: it continues",
                ) from error
            raise
        self._rotate()
        return control

    def _rotate(self) -> None:
        kept = sorted(_sealed(self.folder), key=_step)
        losses = {path: _manifest(path).get("eval_loss") for path in kept}
        judged = {path: loss for path, loss in losses.items() if loss is not None}
        best = min(judged, key=lambda path: judged[path]) if judged else None
        for path in kept[: -self.keep]:
            if path != best:
                shutil.rmtree(path)


def seal(written: Path, final: Path, identity: dict[str, str], eval_loss: float | None) -> None:
    """Hash every file into MANIFEST.json, flush all to disk, rename into place."""
    files = sorted(p for p in written.rglob("*") if p.is_file() and p.name != MANIFEST)
    facts = {p.relative_to(written).as_posix(): {"bytes": p.stat().st_size, "sha256": file_hash(p)} for p in files}
    write_json(written / MANIFEST, {"identity": identity, "eval_loss": eval_loss, "files": facts})
    for file in files:
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
    sync_folder(written)
    if final.exists():
        shutil.rmtree(final)
    written.replace(final)
    sync_folder(final.parent)


def newest_verified(folder: Path, identity: dict[str, str], *, force: bool = False) -> Path | None:
    """The newest checkpoint whose every file has the hash of its manifest, or None.

    Damaged ones are moved to `damaged/` with a warning.

    Raises:
        UsageError: the checkpoint belongs to another recipe, data set or base model, and `force` is not set.
    """
    shutil.rmtree(folder / WRITING, ignore_errors=True)
    for path in sorted(_all(folder), key=_step, reverse=True):
        fault = find_fault(path)
        if fault:
            aside = folder / DAMAGED / path.name
            aside.parent.mkdir(exist_ok=True)
            shutil.rmtree(aside, ignore_errors=True)
            path.replace(aside)
            logger.warning("checkpoint %s is damaged (%s); set aside, using the one before", path.name, fault)
            continue
        differing = sorted(k for k, v in identity.items() if _manifest(path)["identity"].get(k) != v)
        if differing and not force:
            raise UsageError(
                f"the checkpoint was made with another {', '.join(differing)}",
                where=str(path),
                next_step="use --force to start over, or another --out",
            )
        return None if differing else path
    return None


def find_fault(path: Path) -> str:
    """What is wrong with a checkpoint; empty if every file is there and has its recorded hash."""
    try:
        files = _manifest(path)["files"]
    except (OSError, ValueError, KeyError):
        return f"no readable {MANIFEST}"
    for name in REQUIRED:
        if name not in files and not (name == "rng_state.pth" and "rng_state_0.pth" in files):
            return f"{name} is not in the manifest"
    for name, facts in files.items():
        file = path / name
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != facts["bytes"] or file_hash(file) != facts["sha256"]:
            return f"{name} has changed"
    return ""


def _all(folder: Path) -> list[Path]:
    return [p for p in folder.glob("checkpoint-*") if p.is_dir()]


def _sealed(folder: Path) -> list[Path]:
    return [p for p in _all(folder) if (p / MANIFEST).is_file()]


def _step(path: Path) -> int:
    return int(path.name.rpartition("-")[2])


def _manifest(path: Path) -> dict[str, Any]:
    return dict(json.loads((path / MANIFEST).read_text(encoding="utf-8")))
