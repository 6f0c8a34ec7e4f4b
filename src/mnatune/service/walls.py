"""Walls between matters: which models a caller may use, and behind which wall what is asked and answered stays.

What a wall names is for its keys alone; what no wall names is everybody's. A key without a wall is behind none: it has the
common models, and of what is stored only what came from other keys without a wall. An administrator's key without a wall
sees over all of them.
"""

from collections.abc import Sequence

from ..model.engine.protocol import ServedModel, find_model
from ..model.engine.refusals import Refusal
from .caller import Caller
from .keys import KeyStore, Wall

WALLED = "(walled)"  # in the place of a walled model's name where anybody may read


class Walls:
    """The walls of one server, as its file of keys has them now.

    Args:
        keys: None for a server without keys, which has no walls.
    """

    def __init__(self, keys: KeyStore | None) -> None:
        self.keys = keys

    @property
    def all(self) -> dict[str, Wall]:
        """Name → wall."""
        return self.keys.walls if self.keys else {}

    def of(self, caller: Caller) -> Wall | None:
        """The wall that the caller is behind."""
        return self.all.get(caller.wall) if caller.wall else None

    def models(self, caller: Caller, served: Sequence[ServedModel]) -> list[ServedModel]:
        """What the caller may use: the wall's own models in its order, then the common ones."""
        if caller.scope is None:
            return list(served)
        own = self.of(caller)
        mine = {model.id: model for model in served if own and model.id in own.models}
        taken = self._taken()
        return [
            *(mine[name] for name in dict.fromkeys(own.models if own else ()) if name in mine),
            *(model for model in served if model.id not in taken),
        ]

    def find(self, caller: Caller, served: Sequence[ServedModel], name: str) -> ServedModel:
        """A model that the caller may use; another wall's is refused as one that does not exist."""
        return find_model(self.models(caller, served), name)

    def home(self, caller: Caller, model: str) -> str:
        """Behind which wall an answer stays: the caller's, or, for who sees over all, the model's."""
        if caller.scope is not None:
            return caller.wall
        return next((wall.name for wall in self.all.values() if model in wall.models), "")

    def label(self, model: str) -> str:
        """How a model is called where anybody may read."""
        return WALLED if model in self._taken() else model

    def narrowed(self, caller: Caller, wall: str | None) -> str | None:
        """What an administrator is to see: all that the caller may, or one wall of it ("" is what is behind none).

        Raises:
            Refusal: 404 for a wall that is not there or that the caller is not behind.
        """
        if wall is None or wall == caller.scope:
            return caller.scope
        if caller.scope is None and wall in ("", *self.all):
            return wall
        raise Refusal(404, "there is no such wall", code="unknown_wall", param="wall")

    def now(self) -> float:
        """The time by which keys expire."""
        return self.keys.now() if self.keys else 0.0

    def may_erase(self, caller: Caller, rater: str) -> bool:
        """Whether an administrator may erase a rater: a key stays behind its wall for good, and so does all it said."""
        if caller.scope is None or self.keys is None:
            return caller.scope is None
        return any(f"key:{key.id}" == rater and key.wall == caller.scope for key in self.keys.all())

    def _taken(self) -> set[str]:
        return {name for wall in self.all.values() for name in wall.models}
