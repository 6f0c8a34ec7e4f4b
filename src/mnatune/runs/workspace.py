"""A run on disk: stage folders, atomic writes, and `manifest.json`, whose presence means "done".

A stage writes its files atomically into its own folder and its manifest last. On the next `mnatune run` a stage is
skipped if its manifest still matches: same recipe section, same inputs, same code, and every output file unchanged.
A crash at any point leaves files that are whole or absent, and no manifest, so the stage runs again (or, where it
keeps resumable state such as checkpoints or a ledger, continues).
"""

import fcntl
import hashlib
import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import IO, Any, Self

from .errors import DataError, UsageError
from .stage_folder import MANIFEST, PARTIAL, clear, forget, put_back, results_in

STAGES = ("collect", "read", "curate", "synthesize", "judge", "compose", "train", "evaluate")
VERSIONS_OF = ("mnatune", "torch", "transformers", "trl", "peft", "datasets", "daft", "pyarrow")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success flush it to disk and rename it, else remove it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")
    try:
        yield partial
        if partial.is_file():
            with partial.open("rb") as handle:
                os.fsync(handle.fileno())
        if path.is_dir() and partial.is_dir():
            shutil.rmtree(path)
        partial.replace(path)
        sync_folder(path.parent)
    finally:
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        else:
            partial.unlink(missing_ok=True)


@contextmanager
def atomic_text(path: Path) -> Iterator[IO[str]]:
    """Open a UTF-8 text file that appears under its name only when the block ends without an error."""
    with atomic_path(path) as partial, partial.open("w", encoding="utf-8", newline="\n") as handle:
        yield handle


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, keys in the given order, Korean unescaped."""
    with atomic_text(path) as handle:
        json.dump(value, handle, ensure_ascii=False, indent=1, allow_nan=False)
        handle.write("\n")


def write_jsonl(path: Path, rows: Any) -> int:
    """Write rows as JSON Lines atomically; returns their number."""
    count = 0
    with atomic_text(path) as handle:
        for row in rows:
            handle.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
            count += 1
    return count


def read_json(path: Path, next_step: str) -> dict[str, Any]:
    """The JSON object of a stage's result file; `next_step` makes the file anew.

    Raises:
        DataError: the file is missing, or holds something else.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"the stage lacks {path.name}", where=str(path), next_step=next_step) from error
    except json.JSONDecodeError as error:
        raise DataError(f"not JSON: {error.msg}", where=f"{path}:{error.lineno}", next_step=next_step) from error
    if not isinstance(found, dict):
        raise DataError("not a JSON object", where=str(path), next_step=next_step)
    return found


def read_jsonl(path: Path, *, missing_ok: bool = False, growing: bool = False) -> list[Any]:
    """All rows of a JSON Lines file; a broken line raises `DataError` with its number.

    Of a `growing` file the last line is skipped while it is being written.
    """
    rows: list[Any] = []
    if missing_ok and not path.is_file():
        return rows
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip() and (line.endswith("\n") or not growing):
                try:
                    rows.append(json.loads(line))
                except json.JSONDecodeError as error:
                    raise DataError(f"not a JSON line: {error.msg}", where=f"{path}:{number}") from error
    return rows


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk, so that a rename survives a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def file_hash(path: Path) -> str:
    """SHA-256 of a file, streamed."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def fingerprint(path: Path, whole: int = 64 << 20, sample: int = 1 << 20) -> str:
    """Identity of an input file: its hash up to 64 MiB; of a larger one, its size, last MiB and a MiB in every 64.

    The end of a zip is its directory with every member's CRC-32, so a changed member of a 10 GB archive shows.
    """
    size = path.stat().st_size
    if size <= whole:
        return file_hash(path)
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as handle:
        for at in [*range(0, size, whole), size - sample]:
            handle.seek(at)
            digest.update(handle.read(sample))
    return digest.hexdigest()


def value_hash(value: Any) -> str:
    """Hash of a JSON-able value, independent of key order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def code_hash(*packages: str) -> str:
    """Hash of the sources of mnatune's named sub-packages: a stage runs again when its code has changed."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for package in packages:
        place = root / package
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]:
            digest.update(file.relative_to(root).as_posix().encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()


def library_versions() -> dict[str, str]:
    """Installed versions of the libraries that decide results, and of Python."""
    versions = {"python": platform.python_version()}
    for name in VERSIONS_OF:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


@dataclass
class Manifest:
    """What a stage did. `dropped` counts rows by reason, `per_source` by source and fate."""

    stage: str
    key: str
    section: dict[str, Any]
    inputs: dict[str, str]
    seed: int
    rows_in: int = 0
    rows_out: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    per_source: dict[str, dict[str, Any]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    started: str = ""
    seconds: float = 0.0

    def drop(self, reason: str, count: int = 1) -> None:
        """Count dropped rows under a reason."""
        if count:
            self.dropped[reason] = self.dropped.get(reason, 0) + count

    @classmethod
    def load(cls, path: Path) -> Self:
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (json.JSONDecodeError, TypeError) as error:
            raise DataError(f"not a manifest of this version: {error}", where=str(path)) from error


class Stage:
    """A stage's folder and the manifest that will be written into it."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest

    def path(self, name: str) -> Path:
        """A file of this stage."""
        return self.folder / name

    def finish(self, seconds: float) -> None:
        """Record every output with size and hash, then write the manifest: from here on the stage is done."""
        files = [self.folder / name for name in sorted(results_in(self.folder))]
        with ThreadPoolExecutor() as pool:
            hashes = list(pool.map(file_hash, files))
        self.manifest.outputs = {
            file.relative_to(self.folder).as_posix(): {"bytes": file.stat().st_size, "sha256": digest}
            for file, digest in zip(files, hashes, strict=True)
        }
        self.manifest.versions = library_versions()
        self.manifest.seconds = round(seconds, 2)
        write_json(self.folder / MANIFEST, asdict(self.manifest))
        forget(self.folder)


def in_charge() -> bool:
    """True in the process that writes a run's files: the only one, or the first that torchrun or accelerate started."""
    return int(os.environ.get("RANK", "0")) == 0


class Run:
    """A run folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._held = False

    def folder(self, stage: str) -> Path:
        """The stage's folder, `N-name`."""
        return self.root / f"{STAGES.index(stage)}-{stage}"

    def manifest(self, stage: str) -> Manifest | None:
        """The stage's manifest, or None if the stage has not been done."""
        path = self.folder(stage) / MANIFEST
        return Manifest.load(path) if path.is_file() else None

    def require(self, stage: str, name: str) -> Path:
        """A result file of an earlier stage; says which command makes it if it is missing."""
        path = self.folder(stage) / name
        if not path.exists() or self.manifest(stage) is None:
            raise UsageError(
                f"stage {stage!r} has not been done in this run",
                where=str(self.folder(stage)),
                next_step=f"mnatune {stage} RECIPE --out {self.root}",
            )
        return path

    def is_done(self, stage: str, key: str) -> bool:
        """True if the manifest carries this key and every output is still there, byte for byte."""
        manifest = self.manifest(stage)
        if manifest is None or manifest.key != key:
            return False
        for name, facts in manifest.outputs.items():
            file = self.folder(stage) / name
            if not file.is_file() or file.stat().st_size != facts["bytes"] or file_hash(file) != facts["sha256"]:
                return False
        return True

    def perform(
        self,
        stage: str,
        section: dict[str, Any],
        inputs: dict[str, str],
        seed: int,
        code: str,
        work: Callable[[Stage], None],
        *,
        force: bool = False,
    ) -> tuple[Manifest, bool]:
        """Do a stage unless it is done; returns its manifest and whether it was skipped.

        Results from before are kept aside until the new ones are whole, and come back if the work is refused.

        Args:
            section: everything of the recipe that the stage's result depends on.
            inputs: name → hash of every input.
            code: `code_hash` of the stage.
            work: does the stage's work in the given folder. All processes of a training call it; the one in charge
                writes.
            force: do it again from the start, even if it is done; state kept for resuming is removed.
        """
        key = value_hash({"section": section, "inputs": inputs, "seed": seed, "code": code})
        if not force and self.is_done(stage, key):
            manifest = self.manifest(stage)
            assert manifest is not None
            return manifest, True
        folder = self.folder(stage)
        manifest = Manifest(stage, key, section, inputs, seed, started=time.strftime("%Y-%m-%dT%H:%M:%S%z"))
        started = time.monotonic()
        place = Stage(folder, manifest)
        with self.alone():
            kept = in_charge() and self._clear(stage, force)
            try:
                work(place)
            except (UsageError, DataError):
                if kept:
                    put_back(folder)
                raise
            if in_charge():
                place.finish(time.monotonic() - started)
        return manifest, False

    def _clear(self, stage: str, force: bool) -> bool:
        before = self.manifest(stage)
        return clear(self.folder(stage), before.outputs if before else None, force)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the run folder: two processes that write the same run would mix their files.

        In a training of several processes only the one in charge holds it.
        """
        if self._held or not in_charge():
            yield
            return
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / ".lock").open("a") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UsageError(
                    "another process is working in this run folder",
                    where=str(self.root),
                    next_step="wait for it, stop it, or use another --out",
                ) from error
            self._held = True
            try:
                yield
            finally:
                self._held = False

    def output_hashes(self, stage: str) -> dict[str, str]:
        """name → hash of a done stage's outputs: the inputs of the stages that read it."""
        manifest = self.manifest(stage)
        if manifest is None:
            return {}
        return {f"{stage}/{name}": str(facts["sha256"]) for name, facts in manifest.outputs.items()}
