"""What a stage is given to work with: the recipe, the pack, the run, its own folder and manifest, and progress."""

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from ..pack import Pack
from .output_language import say, work_name
from .recipe import Recipe
from .workspace import Manifest, Run, Stage

LINE_SECONDS = 60.0  # between two lines of progress where there is no terminal

T = TypeVar("T")


@dataclass(frozen=True)
class Job:
    """One stage's work order."""

    recipe: Recipe
    pack: Pack
    run: Run
    stage: Stage

    @property
    def manifest(self) -> Manifest:
        """The manifest being filled; it is written when the stage returns."""
        return self.stage.manifest

    def path(self, name: str) -> Path:
        """A file of this stage's folder."""
        return self.stage.path(name)

    def track(self, items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
        """The items, with a progress bar on a terminal and a line a minute elsewhere (nohup, Slurm)."""
        if total is None and isinstance(items, Sized):
            total = len(items)
        if not sys.stderr.isatty():
            pace = Pace(work_name(label), total)
            for done, item in enumerate(items, 1):
                yield item
                pace.tell(done)
            return
        from rich.console import Console
        from rich.progress import track

        console = Console(stderr=True)
        yield from track(items, f"  {work_name(label)}", total=total, transient=True, console=console)


@dataclass
class Pace:
    """Lines of progress for a log: how far, how long, how much longer; at most one a minute."""

    label: str
    total: int | None = None
    started: float = field(default_factory=lambda: time.monotonic())
    told: float = 0.0

    def tell(self, done: int, note: str = "") -> None:
        """Print a line if the last one is a minute old."""
        now = time.monotonic()
        if now - max(self.told, self.started) < LINE_SECONDS:
            return
        self.told = now
        spent = now - self.started
        parts = [f"{done:,}" if self.total is None else f"{done:,}/{self.total:,}", _clock(spent)]
        if self.total and done:
            left = _clock(spent / done * max(0, self.total - done))
            parts.append(say(f"{left} left", f"{left} 남음"))
        print(f"  {self.label}: {', '.join([*parts, note] if note else parts)}", file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
