"""What a stage is given to work with: the recipe, the pack, the run, its own folder and manifest, and progress."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ..pack import Pack
from .recipe import Recipe
from .workspace import Manifest, Run, Stage

if TYPE_CHECKING:
    from rich.console import Console

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
        """The items, with a progress bar on a terminal."""
        from rich.progress import track

        shown = sys.stderr.isatty()
        yield from track(items, f"  {label}", total=total, transient=True, disable=not shown, console=_console())


def _console() -> "Console":
    from rich.console import Console

    return Console(stderr=True)
