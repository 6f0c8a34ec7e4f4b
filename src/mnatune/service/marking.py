"""What the server needs of a checker of citations."""

from collections.abc import Sequence
from typing import Protocol


class CitationMark(Protocol):
    """A statute citation found in a text."""

    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def law(self) -> str: ...
    @property
    def article(self) -> str: ...
    @property
    def verdict(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def note(self) -> str: ...


class Checker(Protocol):
    """Finds and judges the statute citations of a text; `law.citations.CitationChecker` is one."""

    def find(self, text: str) -> Sequence[CitationMark]:
        """The citations in their order."""
