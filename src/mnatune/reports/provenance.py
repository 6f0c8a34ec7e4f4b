"""Where the result comes from: the chain of stages by hashes, one row's way through it, versions, seed and time."""

import json
from dataclasses import dataclass
from typing import Any

from ..runs.workspace import STAGES, Manifest, Run
from . import korean

ADAPTER = "adapter/adapter_model.safetensors"


@dataclass(frozen=True, slots=True)
class Link:
    """A stage that was done.

    Attributes:
        stale: earlier stages that were re-run since this stage read their outputs.
        outputs: (name, bytes, SHA-256).
    """

    stage: str
    started: str
    seconds: float
    seed: int
    key: str
    stale: list[str]
    outputs: list[tuple[str, int, str]]
    sources: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Provenance:
    """The chain, one row's way along it, and the versions."""

    links: list[Link]
    trail: list[tuple[str, str]]
    versions: dict[str, str]
    differing: dict[str, str]
    lock: str
    seconds: float

    @property
    def sound(self) -> bool:
        """True if every stage read the current outputs of earlier stages."""
        return not any(link.stale for link in self.links)


def provenance(run: Run) -> Provenance:
    """The provenance of a run, from its manifests."""
    manifests = {stage: found for stage in STAGES if (found := run.manifest(stage)) is not None}
    links = [_link(stage, manifest, manifests) for stage, manifest in manifests.items()]
    versions: dict[str, str] = {}
    differing: dict[str, set[str]] = {}
    for manifest in manifests.values():
        for library, version in manifest.versions.items():
            if versions.setdefault(library, version) != version:
                differing.setdefault(library, {versions[library]}).add(version)
    lock = run.root / "recipe.lock.yaml"
    return Provenance(
        links=links,
        trail=_trail(run, manifests),
        versions=versions,
        differing={library: ", ".join(sorted(found)) for library, found in differing.items()},
        lock=lock.read_text(encoding="utf-8") if lock.is_file() else "",
        seconds=sum(link.seconds for link in links),
    )


def _link(stage: str, manifest: Manifest, manifests: dict[str, Manifest]) -> Link:
    outputs = [(name, int(facts["bytes"]), str(facts["sha256"])) for name, facts in manifest.outputs.items()]
    sources = [
        (name.removeprefix("source/"), value) for name, value in manifest.inputs.items() if name.startswith("source/")
    ]
    return Link(
        stage, manifest.started, manifest.seconds, manifest.seed, manifest.key,
        _stale(manifest, manifests), outputs, sources,
    )  # fmt: skip


def _stale(manifest: Manifest, manifests: dict[str, Manifest]) -> list[str]:
    """Earlier stages re-run since this one read them."""
    found = []
    for earlier, other in manifests.items():
        read = {k.removeprefix(f"{earlier}/"): v for k, v in manifest.inputs.items() if k.startswith(f"{earlier}/")}
        if any(str(other.outputs.get(name, {}).get("sha256")) != value for name, value in read.items()):
            found.append(earlier)
    return found


def _trail(run: Run, manifests: dict[str, Manifest]) -> list[tuple[str, str]]:
    """One training row's way from the archive to the evaluation, as (what, where)."""
    row = _first_row(run) if "compose" in manifests else None
    if row is None:
        return []
    source = row.get("source") or {}
    place = " › ".join(str(source[k]) for k in ("archive", "member", "place") if source.get(k))
    trail = [
        ("출처", " · ".join(str(source[k]) for k in ("name", "licence") if source.get(k)) or korean.NONE),
        ("원본", f"{place} #{source.get('index', 0)}"),
        ("행", str(row["id"])),
        ("분할", f"{korean.name('splits', 'train')} (5-compose/train.jsonl)"),
    ]
    if "train" in manifests and ADAPTER in manifests["train"].outputs:
        trail.append(("어댑터", f"sha256 {manifests['train'].outputs[ADAPTER]['sha256'][:16]}…"))
    if "evaluate" in manifests:
        trail.append(("평가", f"{korean.date(manifests['evaluate'].started)} · {manifests['evaluate'].key[:16]}…"))
    return trail


def _first_row(run: Run) -> dict[str, Any] | None:
    path = run.folder("compose") / "train.jsonl"
    if not path.is_file():
        return None
    with path.open(encoding="utf-8") as lines:
        return next((json.loads(line) for line in lines if line.strip()), None)
