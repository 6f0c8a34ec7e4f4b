"""Adapters that are served, of which only so many are loaded at once: the one that was used longest ago makes room.

An adapter beyond the limit costs its loading at the next request, never an error. One that is at work stays.
"""

from collections.abc import Collection
from pathlib import Path

from ..load import LoadedModel, check_adapter
from ..mixed_adapters import mixes


class AdapterShelf:
    """What a loaded model's slots stand for; only the thread that computes calls what loads or unloads.

    Args:
        limit: adapters loaded at once.
    """

    def __init__(self, loaded: LoadedModel, limit: int) -> None:
        self._model = loaded
        self._limit = limit
        self._folders: dict[str, Path] = {}
        self._plain: dict[str, bool] = {}  # slot → can share a batch
        self._loaded: dict[str, None] = {}  # slots, the one used longest ago first

    @property
    def slots(self) -> set[str]:
        """All slots, loaded or not."""
        return set(self._folders)

    @property
    def loaded(self) -> list[str]:
        """Slots that are loaded, the one used longest ago first."""
        return list(self._loaded)

    def add(self, folder: Path, busy: Collection[str] = ()) -> str:
        """Take up an adapter, loading it if there is room; returns its slot.

        Args:
            busy: slots at work, which cannot make room.

        Raises:
            DataError: it is unsafe, broken or made for another base; nothing has changed then.
        """
        from peft import PeftConfig

        check_adapter(folder, self._model.model_id, self._model.revision)
        slot = self._model.new_slot()
        self._folders[slot], self._plain[slot] = folder, mixes(PeftConfig.from_pretrained(folder))
        try:
            self.ready(slot, busy)
        except BaseException:
            del self._folders[slot], self._plain[slot]
            raise
        return slot

    def ready(self, slot: str | None, busy: Collection[str] = ()) -> bool:
        """Have an adapter loaded; False if all that are loaded are at work."""
        if slot is None:
            return True
        if slot not in self._loaded:
            while len(self._loaded) >= self._limit:
                idle = next((other for other in self._loaded if other not in busy), None)
                if idle is None:
                    return False
                self._unload(idle)
            self._model.attach(self._folders[slot], slot)
            self._plain[slot] = self._model.mixes(slot)
        else:
            del self._loaded[slot]
        self._loaded[slot] = None
        return True

    def mixes(self, slot: str | None) -> bool:
        """Whether rows of this adapter can share a batch with others."""
        return slot is None or self._plain[slot]

    def drop(self, slot: str) -> None:
        """Forget an adapter that is not at work."""
        del self._folders[slot], self._plain[slot]
        if slot in self._loaded:
            self._unload(slot)

    def _unload(self, slot: str) -> None:
        del self._loaded[slot]
        self._model.detach(slot)
