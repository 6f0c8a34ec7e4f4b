"""The options that name a law memory, and how it is opened."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..law.law_memory import LawIndex

Index = Annotated[Path | None, typer.Option("--index", help="A law memory; without it, that of the pack.")]
PackName = Annotated[str, typer.Option("--pack", help="The pack whose memory, names and glossary are used.")]


def open_memory(index: Path | None, pack: str) -> "LawIndex":
    """The law memory in a folder; without one, the pack's."""
    from ..law.law_memory import LawIndex
    from ..pack import Pack

    return LawIndex.open(index or Pack.load(pack).path("law"))
