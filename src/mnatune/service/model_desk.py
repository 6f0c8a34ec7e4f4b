"""Models of the registry that a running server loads, unloads and promotes; what is loaded is served again after a restart."""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..model.registry import PLAIN_NAME, Model, Pointer, Registry
from ..runs.errors import MnatuneError, UsageError

if TYPE_CHECKING:
    from ..model.engine.local import LocalEngine

log = logging.getLogger(__name__)

POINTER_SECONDS = 2.0  # between two looks at the production pointer


@dataclass(frozen=True, slots=True)
class ModelDesk:
    """Changes what an engine serves.

    Attributes:
        fixed: names that the server gives itself: the base's and that of the model in production.
    """

    registry: Registry
    engine: "LocalEngine"
    fixed: frozenset[str]

    def take_up(self) -> None:
        """Serve again what was loaded before a restart; what cannot be is logged and left out."""
        for served, name in self.registry.served.items():
            try:
                self._check(served)
                self.engine.attach(served, self.registry.get(name, verify=True).adapter)
            except MnatuneError as error:
                log.error("%s is not served: %s", served, error)

    async def load(self, name: str, served: str) -> Model:
        """Serve a registered model under a name of its own, from now on and after a restart.

        Raises:
            UsageError: there is no such model, or the name cannot be taken.
            DataError: its files are not those that were registered, or it was made for another base.
        """
        self._check(served)
        model = await asyncio.to_thread(self.registry.get, name, verify=True)
        await self.engine.serve_adapter(served, model.adapter)
        await asyncio.to_thread(self.registry.note_served, served, model.name)
        return model

    async def unload(self, served: str) -> None:
        """Serve a model no more; answers that it is making are finished.

        Raises:
            UsageError: no loaded model has that name.
        """
        if served not in await asyncio.to_thread(lambda: self.registry.served):
            raise UsageError(f"no loaded model is called {served!r}")
        await self.engine.serve_adapter(served, None)
        await asyncio.to_thread(self.registry.note_served, served, "")

    def facts(self) -> dict[str, Any]:
        """What is registered, and what is served beside production."""
        production = self.registry.pointer.model
        return {
            "registered": [
                {
                    "name": model.name,
                    "created": model.created,
                    "verdict": model.decision,
                    "production": model.name == production,
                }
                for model in self.registry.models()
            ],
            "loaded": self.registry.served,
        }

    def _check(self, served: str) -> None:
        if not PLAIN_NAME.fullmatch(served) or served in self.fixed:
            raise UsageError(f"a loaded model cannot be called {served!r}", next_step=_others(self.fixed))


def _others(fixed: Iterable[str]) -> str:
    return f"letters, digits, _, . and -, and none of {', '.join(sorted(fixed))}"


class PointerFollower:
    """Watches the registry's production pointer and has the engine follow it.

    Args:
        name: under which the promoted model is served.
        seen: the pointer that the engine's model was loaded by; it may have changed while that was being loaded.
    """

    def __init__(self, registry: Registry, engine: "LocalEngine", name: str, seen: Pointer) -> None:
        self._registry = registry
        self._engine = engine
        self._name = name
        self._seen = seen

    async def run(self) -> None:
        """Look every `POINTER_SECONDS` until cancelled; a pointer that cannot be followed leaves the old model on."""
        while True:
            await asyncio.sleep(POINTER_SECONDS)
            try:
                await self.look()
            except MnatuneError as error:
                log.error("the production pointer cannot be followed: %s", error)
            except Exception:  # whatever it is, the next promotion is to be followed all the same
                log.exception("the production pointer cannot be followed")

    async def look(self) -> None:
        """Promote or roll back if the pointer has changed."""
        pointer = await asyncio.to_thread(lambda: self._registry.pointer)
        if pointer == self._seen:
            return
        self._seen = pointer
        model = await asyncio.to_thread(self._registry.production)
        await self._engine.serve_adapter(self._name, model.adapter if model else None, first=True)
