"""Checkpoints that are whole or absent, and a resume that never trusts a damaged one.

Transformers' Trainer writes a checkpoint file by file under its final name, without a hash: a crash leaves a folder
that looks complete, a missing optimizer.pt resumes silently on another trajectory, and a flipped bit goes unseen.
Here the Trainer writes into `checkpoints/.writing`; then every file is hashed into MANIFEST.json, all is flushed to
disk, and the folder is renamed. Resume takes the newest checkpoint that verifies; damaged ones are set aside, older ones
too, since the best of all becomes the adapter.
"""

import errno
import json
import logging
import math
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from transformers import TrainerCallback

from ...runs.errors import EnvironmentFault, UsageError
from ...runs.recipe import TrainSection
from ...runs.workspace import file_hash, sync_folder, value_hash, write_json

MANIFEST = "MANIFEST.json"
WRITING = ".writing"
REMOVING = ".removing"
DAMAGED = "damaged"
FINISHED = "finished.json"
START = "start-0"
TALLY = "tally.json"
KEPT_CHECKPOINTS = 2  # newest, besides the one with the lowest validation loss
SHARE_OF_TIME = 0.02  # that saving may take where the recipe does not say how often
# each with the names it may have: one process, several
REQUIRED = (
    ("adapter_model.safetensors",),
    ("optimizer.pt",),
    ("scheduler.pt",),
    ("trainer_state.json",),
    ("rng_state.pth", "rng_state_0.pth"),
)
logger = logging.getLogger("mnatune.train")


class CheckpointKeeper(TrainerCallback):  # type: ignore[misc]
    """Seals what the Trainer saves, rotates, and stops cleanly on SIGTERM and Ctrl-C.

    Args:
        folder: the `checkpoints` folder; the Trainer's output_dir must be its `.writing`.
        identity: what the training depends on (recipe, data, base model); written into each manifest.
        train: says how often to save.
    """

    def __init__(self, folder: Path, identity: dict[str, str], train: TrainSection) -> None:
        self.folder = folder
        self.identity = identity
        self._every = train.checkpoint_every or train.log_every
        self._sparing = train.checkpoint_every is None
        self._saved_at, self._save_seconds = time.monotonic(), 0.0
        self.stopped_by: int | None = None
        self.tally: Callable[[], dict[str, float]] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def listen(self) -> None:
        """From now on SIGTERM and SIGINT ask for a checkpoint and an orderly end; a second one kills."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopped_by = number
        signal.signal(number, signal.SIG_DFL)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Save when it is time, at the end, and what is evaluated; after a signal to any process save and stop."""
        last = state.global_step >= state.max_steps
        due = state.global_step % self._every == 0 and not (self._sparing and self._too_soon())
        if args.world_size > 1:
            self.stopped_by, due = _agreed(self.stopped_by, due, args.device)
        if last and str(getattr(args.eval_strategy, "value", args.eval_strategy)) != "no":
            control.should_evaluate = True
        if self.stopped_by is not None:
            control.should_training_stop = True
        # what is evaluated is saved, else the best model would be measured and not kept
        control.should_save = due or last or control.should_evaluate or self.stopped_by is not None
        if control.should_save:
            self._began = time.monotonic()
        return control

    def _too_soon(self) -> bool:
        """True while saving again would take more than its share of the time."""
        return self._save_seconds > SHARE_OF_TIME * (time.monotonic() - self._saved_at)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Seal the checkpoint that the Trainer has just written, and rotate."""
        if args.world_size > 1:
            _wait_for_all()  # every process writes its random state into the folder
        if not state.is_world_process_zero:
            return control
        written = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        losses = [e["eval_loss"] for e in state.log_history if "eval_loss" in e and e["step"] == state.global_step]
        if self.tally is not None:
            write_json(written / TALLY, self.tally())
        seal(written, self.folder / written.name, self.identity, losses[0] if losses else None)
        self._rotate()
        self._saved_at = time.monotonic()
        self._save_seconds = self._saved_at - self._began
        return control

    def keep_start(self, written: Path, loss: float) -> None:
        """Seal the adapter that training starts from: it competes with the checkpoints, which may all be worse."""
        shutil.rmtree(self.folder / START, ignore_errors=True)
        seal(written, self.folder / START, self.identity, loss)

    def best(self) -> Path | None:
        """The sealed checkpoint, or start, with the lowest validation loss; None if none was evaluated."""
        start = self.folder / START
        known = [*_sealed(self.folder), *([start] if (start / MANIFEST).is_file() else [])]
        losses = {path: loss for path in known if (loss := eval_loss(path)) is not None}
        return min(losses, key=lambda path: losses[path], default=None)

    def best_verified(self) -> Path | None:
        """The best one whose every file has the hash of its manifest."""
        while (best := self.best()) is not None and _set_aside(best):
            pass
        return best

    def finish(self) -> None:
        """Note that the training reached its end: another recipe may now start over without being asked."""
        write_json(self.folder / FINISHED, self.identity)

    def _rotate(self) -> None:
        best = self.best()
        for path in sorted(_sealed(self.folder), key=step_of)[:-KEPT_CHECKPOINTS]:
            if path != best:
                _remove(path)


def eval_loss(path: Path) -> float | None:
    """Validation loss of a sealed checkpoint; None if it was not evaluated, or diverged."""
    loss = _manifest(path).get("eval_loss")
    return loss if loss is not None and math.isfinite(loss) else None


def seal(written: Path, final: Path, identity: dict[str, str], eval_loss: float | None) -> None:
    """Hash every file into MANIFEST.json, flush all to disk, rename into place."""
    files = sorted(p for p in written.rglob("*") if p.is_file() and p.name != MANIFEST)
    facts = {p.relative_to(written).as_posix(): {"bytes": p.stat().st_size, "sha256": file_hash(p)} for p in files}
    for file in files:
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
    manifest = {"identity": identity, "eval_loss": eval_loss, "files": facts}
    write_json(written / MANIFEST, {**manifest, "self": value_hash(manifest)})
    if final.exists():
        _remove(final)
    written.replace(final)
    sync_folder(final.parent)


def newest_verified(folder: Path, identity: dict[str, str]) -> Path | None:
    """The newest checkpoint whose every file has the hash of its manifest, or None.

    Damaged ones are moved to `damaged/` with a warning. The checkpoints of a training that reached its end and was
    another one (other recipe, data or base) are removed.

    Raises:
        UsageError: the checkpoint belongs to an unfinished training of another recipe, data set or base model.
    """
    clean(folder)
    if _differing(_read(folder / FINISHED) or identity, identity):
        logger.warning("recipe, data or base model have changed since the finished training: starting over")
        for path in _all(folder):
            _remove(path)
    (folder / FINISHED).unlink(missing_ok=True)
    if (folder / START).is_dir():
        _set_aside(folder / START)
    intact = [path for path in sorted(_all(folder), key=step_of, reverse=True) if not _set_aside(path)]
    if not intact:
        return None
    differing = _differing(_manifest(intact[0])["identity"], identity)
    if differing:
        raise UsageError(
            f"the checkpoint was made with another {', '.join(differing)}",
            where=str(intact[0]),
            next_step="use --force to start over, or another --out",
        )
    return intact[0]


def newest(folder: Path) -> Path | None:
    """The newest sealed checkpoint, not verified: for processes beside the one that has just verified it."""
    return max(_sealed(folder), key=step_of, default=None)


def clean(folder: Path) -> None:
    """Remove what an interrupted save or rotation left."""
    for name in (WRITING, REMOVING):
        shutil.rmtree(folder / name, ignore_errors=True)


def find_fault(path: Path) -> str:
    """What is wrong with a checkpoint; empty if every file is there and has its recorded hash."""
    try:
        manifest = _manifest(path)
        if manifest.pop("self") != value_hash(manifest):
            return f"{MANIFEST} has changed"
        files = manifest["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return f"no readable {MANIFEST}"
    required = REQUIRED[:1] if path.name == START else REQUIRED  # no training goes on from the start
    for names in required:
        if not any(name in files for name in names):
            return f"{names[0]} is not in the manifest"
    for name, facts in files.items():
        file = path / name
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != facts["bytes"] or file_hash(file) != facts["sha256"]:
            return f"{name} has changed"
    return ""


def _set_aside(path: Path) -> bool:
    """Move a checkpoint to `damaged/` with a warning if something is wrong with it; tells if it was."""
    fault = find_fault(path)
    if fault:
        aside = path.parent / DAMAGED / path.name
        aside.parent.mkdir(exist_ok=True)
        shutil.rmtree(aside, ignore_errors=True)
        path.replace(aside)
        logger.warning("checkpoint %s is damaged (%s); set aside", path.name, fault)
    return bool(fault)


def save_fault(error: Exception, folder: Path) -> EnvironmentFault | None:
    """The clear error for an exception that left a checkpoint half written, which is removed; None for any other.

    torch and safetensors report a full disk as errors of their own kinds, so the half-written folder is the sign.
    """
    if not any((folder / WRITING).glob("checkpoint-*")):
        return None
    clean(folder)
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    why = "there is no room for it" if full else str(error).strip().split("\n", 1)[0][:200]
    return EnvironmentFault(
        f"a checkpoint could not be written ({why}); the previous one is intact",
        where=str(folder),
        next_step="free some disk and run the same command again: it continues",
    )


def _agreed(number: int | None, due: bool, device: Any) -> tuple[int | None, bool]:
    """The signal that reached any process, and whether any wants to save: all must do the same after the same step."""
    import torch
    from torch import distributed

    flags = torch.tensor([number or 0, due], device=device)
    distributed.all_reduce(flags, op=distributed.ReduceOp.MAX)
    return int(flags[0]) or None, bool(flags[1])


def _wait_for_all() -> None:
    from torch import distributed

    distributed.barrier()


def _differing(found: dict[str, str], wanted: dict[str, str]) -> list[str]:
    return sorted(k for k, v in wanted.items() if found.get(k) != v)


def _remove(path: Path) -> None:
    """Remove a checkpoint so that a crash in between leaves no half of it under its name."""
    doomed = path.with_name(REMOVING)
    shutil.rmtree(doomed, ignore_errors=True)
    path.replace(doomed)
    shutil.rmtree(doomed)


def _all(folder: Path) -> list[Path]:
    return [p for p in folder.glob("checkpoint-*") if p.is_dir() and p.name.rpartition("-")[2].isdigit()]


def _sealed(folder: Path) -> list[Path]:
    return [p for p in _all(folder) if (p / MANIFEST).is_file()]


def step_of(path: Path) -> int:
    return int(path.name.rpartition("-")[2])


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _manifest(path: Path) -> dict[str, Any]:
    return dict(json.loads((path / MANIFEST).read_text(encoding="utf-8")))
