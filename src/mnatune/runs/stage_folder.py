"""The folder of a stage: what in it are results, what is kept for resuming, and what it held before it was done again.

Results are what the manifest lists. `STATE` are folders from which an interrupted stage goes on. Before a stage is done
again, what it had made is moved to `.before`, from where it comes back if the new work is refused, such as for a faulty
setting; when the new manifest is written, it is removed.
"""

import os
import shutil
from collections.abc import Collection
from pathlib import Path

from .errors import UsageError

MANIFEST = "manifest.json"
CONTINUED = "metrics.jsonl"  # a result that a resumed stage appends to
BEGUN = ".begun"  # marks a stage's folder from its start until its manifest is written
BEFORE = ".before"
PARTIAL = ".partial"
STATE = ("checkpoints", "state", "tracking")  # folders kept for resuming; not results


def results_in(folder: Path) -> list[str]:
    """The results below a folder, by relative path."""
    return [name for name in _walk(folder)[0] if not _is_state(Path(name))]


def clear(folder: Path, made: Collection[str] | None, force: bool) -> bool:
    """Prepare a stage's folder: no manifest, partial files or results, and no state if forced. Tells if results are kept aside.

    metrics.jsonl stays: a training that continues cuts it to its checkpoint's step. `BEGUN` says that what lies here
    without a manifest was left by an interrupted stage.

    Args:
        made: what its manifest lists; None without a manifest.

    Raises:
        UsageError: the folder holds files that no stage wrote, or links; nothing is removed then.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files, links = _walk(folder)
    own = made if made is not None else files if (folder / BEGUN).is_file() else ()
    results = [file for file in files if not _is_state(Path(file))]
    foreign = sorted({*links, *(file for file in results if file not in own and not file.endswith(PARTIAL))})
    if foreign:
        raise UsageError(
            f"the folder holds {len(foreign)} files or links that mnatune did not make: {', '.join(foreign[:5])}",
            where=str(folder),
            next_step="move them elsewhere, or use another --out; nothing was removed",
        )
    (folder / BEGUN).touch()
    if made is not None:
        _set_aside(folder, results, force)
    for name in STATE if force else ():
        shutil.rmtree(folder / name, ignore_errors=True)
    for file in results:
        if Path(file).name != CONTINUED:
            (folder / file).unlink(missing_ok=True)
    for partial in folder.glob(f".*{PARTIAL}"):
        shutil.rmtree(partial) if partial.is_dir() else partial.unlink()
    return made is not None


def put_back(folder: Path) -> None:
    """Take back what `clear` kept aside, unless a forced stage has begun to keep state of its own, which is not thrown away."""
    before = folder / BEFORE
    begun_anew = [name for name in STATE if any(path.is_file() for path in (folder / name).rglob("*"))]
    if any((before / name).exists() for name in begun_anew):
        return
    for name in results_in(folder):
        (folder / name).unlink()
    for path in before.iterdir():
        there = folder / path.name
        if there.is_dir():
            shutil.rmtree(there)
        path.replace(there)
    forget(folder)


def forget(folder: Path) -> None:
    """The stage is done: nothing from before is needed."""
    shutil.rmtree(folder / BEFORE, ignore_errors=True)
    (folder / BEGUN).unlink(missing_ok=True)


def _set_aside(folder: Path, results: Collection[str], force: bool) -> None:
    before = folder / BEFORE
    shutil.rmtree(before, ignore_errors=True)
    for name in (MANIFEST, *results):
        (before / name).parent.mkdir(parents=True, exist_ok=True)
        if Path(name).name == CONTINUED:
            shutil.copy2(folder / name, before / name)
        else:
            (folder / name).replace(before / name)
    for name in STATE if force else ():
        if (folder / name).is_dir() and not (folder / name).is_symlink():  # what is behind a link stays there
            (folder / name).replace(before / name)


def _is_state(relative: Path) -> bool:
    """True for files that are kept for resuming but are not results: manifests, partial files, checkpoints, ledgers."""
    top = relative.parts[0]
    return relative.name in (MANIFEST, "exit.json") or top.startswith(".") or top in STATE


def _walk(folder: Path) -> tuple[list[str], list[str]]:
    """Files and links below a folder, by relative path; links are not followed, state is not entered."""
    files: list[str] = []
    links: list[str] = []
    for root, folders, names in os.walk(folder):
        place = Path(root)
        here = [(place / name, name in folders) for name in (*folders, *names)]
        for path, is_folder in here:
            name = path.relative_to(folder).as_posix()
            if path.is_symlink() and not _is_state(Path(name)):
                links.append(name)
            elif not is_folder:
                files.append(name)
        folders[:] = [f for f in folders if not _is_state((place / f).relative_to(folder))]
    return files, links
