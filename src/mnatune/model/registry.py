"""Registered models, which one is in production, and their history.

    models/
      production.json        the pointer: which model serves, and what served before it (written atomically)
      served.json            name → further model that a server has loaded beside it, to be served again after a restart
      history.jsonl          every registration, promotion, rollback, hold, loading and unloading, appended and flushed
      3f2a9c01b7de/          one registered model, named by the hash of its weights and their configuration
        adapter/             the adapter, copied: the run folder may be moved or deleted
        model.json           the hash of every other file here; base, parent, run, feedback export, verdict
        recipe.yaml          the recipe it was trained by
        feedback.jsonl       feedback id → training row, where the model learned from feedback

A server reads `Registry.pointer` now and then: it is one small file that is always whole. Nothing here loads a model.
"""

import fcntl
import json
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from ..runs.errors import DataError, UsageError
from ..runs.workspace import Run, atomic_path, file_hash, read_jsonl, value_hash, write_json
from .load import adapter_facts, refuse_unsafe

POINTER = "production.json"
SERVED = "served.json"
HISTORY = "history.jsonl"
MODEL = "model.json"
CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
FEEDBACK = "feedback.jsonl"
RECIPE = "recipe.yaml"
ADAPTER_FILES = (CONFIG, WEIGHTS, "mnatune.json", "README.md")
NAME_LENGTH = 12  # hex digits of the adapter's hash
PLAIN_NAME = re.compile(r"[A-Za-z0-9_.-]{1,200}")
PROMOTE = "promote"  # the verdict that lets a model into production


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where a model came from.

    Attributes:
        base: base model id, and `base_sha256` its fingerprint (`model.load.base_fingerprint`).
        parent: the model in production when this one was trained; empty for a first model.
        run: the run folder, absolute, as text; it may be gone.
        data: name → hash of the training files.
        feedback: hash of the feedback export; empty where none was used.
        verdict: verdict.json of the evaluation; empty if it was never evaluated.
    """

    base: str = ""
    base_sha256: str = ""
    parent: str = ""
    run: str = ""
    data: dict[str, str] = field(default_factory=dict)
    feedback: str = ""
    verdict: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of_run(cls, run: Run, *, parent: str = "", feedback: str = "") -> Self:
        """The lineage in a run's own files; without an evaluation the verdict is empty."""
        told = adapter_facts(run.require("train", "adapter"))
        verdict = run.folder("evaluate") / "verdict.json"
        return cls(
            base=str(told.get("base", "")),
            base_sha256=str(told.get("base_sha256", "")),
            parent=parent,
            run=str(run.root.resolve()),
            data=run.output_hashes("compose"),
            feedback=feedback,
            verdict=json.loads(verdict.read_text(encoding="utf-8")) if verdict.is_file() else {},
        )


@dataclass(frozen=True, slots=True)
class Model:
    """A registered model.

    Attributes:
        name: beginning of the hash of weights and configuration.
        adapter_sha256: hash of the weights, as training and served answers state it.
        files: path in the model's folder → hash, for the adapter's files, the recipe and the feedback.
    """

    name: str
    adapter: Path
    adapter_sha256: str
    created: str
    files: dict[str, str]
    lineage: Lineage

    @property
    def decision(self) -> str:
        """The verdict: promote, hold or reject; empty if the model was never evaluated."""
        return str(self.lineage.verdict.get("verdict", ""))


@dataclass(frozen=True, slots=True)
class Pointer:
    """What serves now; an empty `model` is the base alone. `previous` are the models before it, oldest first."""

    model: str = ""
    adapter_sha256: str = ""
    since: str = ""
    previous: tuple[str, ...] = ()

    @classmethod
    def load(cls, path: Path) -> Self:
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            return cls(values["model"], values["adapter_sha256"], values["since"], tuple(values["previous"]))
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            step = f"remove it and promote again; {HISTORY} beside it says what served"
            raise DataError("the production pointer is damaged", where=str(path), next_step=step) from error


class Registry:
    """The folder of registered models."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    @property
    def pointer_path(self) -> Path:
        """The pointer file; a change of its content is a promotion or a rollback."""
        return self.root / POINTER

    @property
    def pointer(self) -> Pointer:
        """What serves now; the empty pointer before the first promotion."""
        return Pointer.load(self.pointer_path) if self.pointer_path.is_file() else Pointer()

    def production(self) -> Model | None:
        """The model in production with its files verified, or None if the base serves alone."""
        name = self.pointer.model
        return self.get(name, verify=True) if name else None

    def models(self) -> list[Model]:
        """All registered models, oldest first."""
        names = [p.parent.name for p in self.root.glob(f"*/{MODEL}")]
        return sorted((self.get(name) for name in names), key=lambda m: (m.created, m.name))

    def get(self, name: str, *, verify: bool = False) -> Model:
        """A model by its name or an unambiguous prefix.

        Args:
            verify: hash every file and compare.

        Raises:
            UsageError: no model, or several, match.
            DataError: model.json is damaged, or the files are not those that were registered.
        """
        known = sorted(p.parent.name for p in self.root.glob(f"*/{MODEL}"))
        found = [n for n in known if n == name] or [n for n in known if name and n.startswith(name)]
        if len(found) != 1:
            told = f"several models begin with {name!r}" if found else f"there is no model {name!r}"
            raise UsageError(told, where=str(self.root), next_step=f"registered: {', '.join(known) or 'none'}")
        folder = self.root / found[0]
        try:
            values = json.loads((folder / MODEL).read_text(encoding="utf-8"))
            model = Model(adapter=folder / "adapter", lineage=Lineage(**values.pop("lineage")), **values)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            step = "register its adapter again"
            raise DataError("not a model.json of this version", where=str(folder / MODEL), next_step=step) from error
        if verify:
            self._verify(model)
        return model

    def _verify(self, model: Model) -> None:
        found = _hashes(self.root / model.name)
        changed = sorted(name for name in found | model.files if found.get(name) != model.files.get(name))
        if changed:
            raise DataError(
                f"the files of model {model.name} are not those that were registered: {', '.join(changed)}",
                where=str(self.root / model.name),
                next_step="mnatune models rollback",
            )

    def register(
        self, adapter: Path, lineage: Lineage, *, recipe: Path | None = None, feedback_items: Path | None = None
    ) -> Model:
        """Copy an adapter into the registry; the same one again gives the same model, with the newer lineage.

        Args:
            adapter: a folder with adapter_config.json and adapter_model.safetensors.
            recipe: recipe.lock.yaml of the run, kept for exports.
            feedback_items: items.jsonl of the feedback export that it learned from.
        """
        refuse_unsafe(adapter)
        name = _name_of(adapter)
        _refuse_patterns(adapter / CONFIG)
        with self._locked():
            folder = self.root / name
            if (folder / MODEL).is_file():  # it may be serving: verify its files, do not touch them
                self.get(name, verify=True)
            else:
                with atomic_path(folder / "adapter") as partial:
                    copy_files(adapter, partial, ADAPTER_FILES)
            for source, target in ((recipe, RECIPE), (feedback_items, FEEDBACK)):
                if source is not None:
                    with atomic_path(folder / target) as copy:
                        shutil.copyfile(source, copy)
            files = _hashes(folder)
            weights = files[f"adapter/{WEIGHTS}"]
            facts = {"name": name, "adapter_sha256": weights, "created": _now(), "files": files}
            write_json(folder / MODEL, facts | {"lineage": asdict(lineage)})
            self._log("register", name, "")
        return self.get(name)

    def promote(self, name: str, *, override: str = "") -> Model:
        """Put a model into production.

        Args:
            override: why a model may serve although its verdict is not "promote"; it goes into the history.

        Raises:
            UsageError: the verdict is not "promote" and no reason was given.
        """
        model = self.get(name, verify=True)
        if model.decision != PROMOTE and not override.strip():
            raise UsageError(
                f"model {model.name} has the verdict {model.decision or 'not evaluated'!r}, not {PROMOTE!r}",
                next_step=f"mnatune models promote {model.name} --override 'why it may serve all the same'",
            )
        with self._locked():
            now = self.pointer
            if now.model != model.name:
                self._point(model.name, model.adapter_sha256, (*now.previous, now.model))
                self._log("promote", model.name, override.strip())
        return model

    def rollback(self) -> Model | None:
        """Put back what served before the last promotion; returns it, or None if that was the base alone."""
        nothing = UsageError("there is nothing to roll back to", where=str(self.pointer_path))
        if not self.pointer.previous:  # asked before the folder and its lock are made
            raise nothing
        with self._locked():
            now = self.pointer
            if not now.previous:
                raise nothing
            name = now.previous[-1]
            before = self.get(name, verify=True) if name else None
            self._point(name, before.adapter_sha256 if before else "", now.previous[:-1])
            self._log("rollback", name, f"from {now.model or 'base'}")
        return before

    def hold(self, name: str, why: str) -> None:
        """Note in the history that a model was not promoted."""
        with self._locked():
            self._log("hold", name, why)

    @property
    def served(self) -> dict[str, str]:
        """Served name → model, of those loaded beside the one in production."""
        path = self.root / SERVED
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            return {str(served): str(name) for served, name in found.items()}
        except FileNotFoundError:
            return {}
        except (ValueError, AttributeError) as error:
            raise DataError(f"{SERVED} is damaged", where=str(path), next_step="remove it and load again") from error

    def note_served(self, served: str, name: str) -> None:
        """Remember that a model is served under a name; an empty model, that it is no more."""
        with self._locked():
            now = self.served
            before = now.pop(served, "")
            write_json(self.root / SERVED, now | ({served: name} if name else {}))
            self._log("load" if name else "unload", name or before, f"as {served}")

    def history(self) -> list[dict[str, Any]]:
        """Every event: at, action, model (empty: the base), reason; oldest first."""
        return read_jsonl(self.root / HISTORY, missing_ok=True)

    def _point(self, name: str, digest: str, previous: tuple[str, ...]) -> None:
        write_json(self.pointer_path, asdict(Pointer(name, digest, _now(), previous)))

    def _log(self, action: str, name: str, reason: str) -> None:
        event = {"at": _now(), "action": action, "model": name, "reason": reason}
        with (self.root / HISTORY).open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(event, ensure_ascii=False) + "\n")
            handle.flush()
            os.fsync(handle.fileno())

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer at a time, across processes; the lock is released when its process ends."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / ".lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


def copy_files(source: Path, target: Path, names: Iterable[str]) -> None:
    """Make a folder of those of the named files that the source has."""
    target.mkdir(parents=True)
    for name in names:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)


def _name_of(adapter: Path) -> str:
    """An adapter's name: from the hash of its weights and configuration, which decide its answers.

    Raises:
        DataError: not an adapter folder, or one of its files is a link, which could bring in any file of this machine.
    """
    if not all((adapter / name).is_file() for name in (CONFIG, WEIGHTS)):
        raise DataError(f"not an adapter folder ({CONFIG} and {WEIGHTS})", where=str(adapter))
    for name in ADAPTER_FILES:
        if (adapter / name).is_symlink():
            raise DataError("a link in an adapter folder is refused", where=str(adapter / name))
    return value_hash({name: file_hash(adapter / name) for name in (CONFIG, WEIGHTS)})[:NAME_LENGTH]


def _refuse_patterns(config: Path) -> None:
    """Refuse regular expressions for modules' names: PEFT matches them as they are, and some never finish."""
    values = json.loads(config.read_text(encoding="utf-8"))
    if not isinstance(values, dict):
        raise DataError("not an adapter's configuration", where=str(config))
    chosen = [values.get("target_modules") or [], values.get("exclude_modules") or []]
    names = [name for part in chosen for name in ([part] if isinstance(part, str) else part)]
    names += [*(values.get("rank_pattern") or {}), *(values.get("alpha_pattern") or {})]
    for name in names:
        if not PLAIN_NAME.fullmatch(str(name)):
            step = "name the modules one by one"
            raise DataError(f"a pattern of modules is refused: {str(name)[:80]!r}", where=str(config), next_step=step)


def _hashes(folder: Path) -> dict[str, str]:
    """Path → hash of everything in a model's folder but model.json; a link counts as changed."""
    files = sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    names = {path.relative_to(folder).as_posix(): path for path in files}
    return {name: "link" if path.is_symlink() else file_hash(path) for name, path in names.items() if name != MODEL}


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
