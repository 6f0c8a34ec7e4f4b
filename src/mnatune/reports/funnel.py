"""The funnel: rows in, rows out and drop reasons of every stage, in total and per source.

Stages describe their sources in slightly different words (`rows`, `rows_in`, `dropped: {…}`, `dropped/reason`);
here they become one shape.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..runs.workspace import Manifest, Run

DATA_STAGES = ("collect", "read", "curate", "synthesize", "judge", "compose")
SIDE_FACTS = ("members_skipped", "archives_skipped")


@dataclass(frozen=True, slots=True)
class Loss:
    """Rows left out for one reason (a key; `korean.reason` names it)."""

    reason: str
    rows: int


@dataclass(frozen=True, slots=True)
class FunnelStep:
    """One stage of the funnel.

    Attributes:
        manifest: None if the stage has not been done.
        unexplained: rows lost without a reason; the report raises an alarm unless it is 0.
    """

    stage: str
    manifest: Manifest | None
    rows_in: int = 0
    rows_out: int = 0
    losses: list[Loss] = field(default_factory=list)
    unexplained: int = 0

    @property
    def dropped(self) -> int:
        """Rows left out for a reason."""
        return sum(loss.rows for loss in self.losses)


@dataclass(frozen=True, slots=True)
class SourceRow:
    """One source: rows after each stage, and why rows and files of it were left out."""

    source: str
    rows: dict[str, int]
    losses: list[tuple[str, Loss]]
    skipped: list[Loss]
    warnings: list[str]


@dataclass(frozen=True, slots=True)
class Funnel:
    """All data stages in order, and all sources."""

    steps: list[FunnelStep]
    sources: list[SourceRow]

    @property
    def done(self) -> list[FunnelStep]:
        """The stages that have been done."""
        return [step for step in self.steps if step.manifest is not None]

    @property
    def widest(self) -> int:
        """Rows of the widest place, for the scale of the bars."""
        return max((max(step.rows_in, step.rows_out) for step in self.steps), default=0)


def funnel(run: Run) -> Funnel:
    """The funnel of a run, from its manifests alone."""
    manifests = {stage: run.manifest(stage) for stage in DATA_STAGES}
    # stages that a recipe may do without are shown only if they were done
    shown = [s for s in DATA_STAGES if manifests[s] is not None or s not in ("collect", "synthesize")]
    return Funnel([_step(stage, manifests[stage]) for stage in shown], _sources(manifests))


def _step(stage: str, manifest: Manifest | None) -> FunnelStep:
    if manifest is None:
        return FunnelStep(stage, None)
    losses = _losses(manifest.dropped)
    # synthesis makes rows from passages: what goes in is not what comes out
    missing = 0 if stage in ("collect", "synthesize") else manifest.rows_in - manifest.rows_out
    unexplained = max(0, missing - sum(loss.rows for loss in losses))
    return FunnelStep(stage, manifest, manifest.rows_in, manifest.rows_out, losses, unexplained)


def _sources(manifests: Mapping[str, Manifest | None]) -> list[SourceRow]:
    found: dict[str, SourceRow] = {}
    for stage, manifest in manifests.items():
        for source, facts in (manifest.per_source if manifest else {}).items():
            row = found.setdefault(source, SourceRow(source, {}, [], [], []))
            row.rows[stage] = int(next((facts[key] for key in ("rows_out", "kept", "rows") if key in facts), 0))
            row.losses.extend((stage, loss) for loss in _losses(_dropped_of(facts)))
            for name in SIDE_FACTS:
                row.skipped.extend(_losses(facts.get(name) or {}))
            row.warnings.extend(str(w) for w in facts.get("warnings") or [])
    return list(found.values())


def _dropped_of(facts: Mapping[str, Any]) -> dict[str, int]:
    nested = facts.get("dropped")
    flat = {key.removeprefix("dropped/"): rows for key, rows in facts.items() if key.startswith("dropped/")}
    return (dict(nested) if isinstance(nested, Mapping) else {}) | flat


def _losses(dropped: Mapping[str, Any]) -> list[Loss]:
    """Most frequent first."""
    ranked = sorted(dropped.items(), key=lambda item: (-int(item[1]), item[0]))
    return [Loss(reason, int(rows)) for reason, rows in ranked if rows]
