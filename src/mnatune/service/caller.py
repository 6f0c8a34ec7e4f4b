"""Who asks."""

from dataclasses import dataclass

from .keys import Key


@dataclass(frozen=True, slots=True)
class Caller:
    """The holder of a key, or whoever sits at this machine."""

    rater: str = "local"
    admin: bool = True
    key: Key | None = None

    @property
    def reviewer(self) -> bool:
        """Whether the caller may read and grade the answers that others were given."""
        return self.admin or bool(self.key and self.key.reviewer)

    @property
    def wall(self) -> str:
        """The wall that the caller is behind; empty for none."""
        return self.key.wall if self.key else ""

    @property
    def scope(self) -> str | None:
        """The wall behind which the caller may see what is stored; None sees over all walls."""
        return None if self.admin and not self.wall else self.wall
