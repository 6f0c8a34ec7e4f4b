"""Counts per source: rows read and dropped, members read and skipped, each by reason."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

MOST_WARNINGS = 50


@dataclass
class ReadTally:
    """Counts of one source; tallies of parallel readers add up."""

    rows: int = 0
    splits: Counter[str] = field(default_factory=Counter)
    layouts: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    members: int = 0
    members_skipped: Counter[str] = field(default_factory=Counter)
    archives_skipped: Counter[str] = field(default_factory=Counter)
    archives_damaged: Counter[str] = field(default_factory=Counter)
    laws: Counter[str] = field(default_factory=Counter)
    contents: Counter[str] = field(default_factory=Counter)
    documents: int = 0
    warnings: list[str] = field(default_factory=list)
    unknown: tuple[str, bytes] | None = None

    def warn(self, text: str) -> None:
        """Record a warning, up to `MOST_WARNINGS`."""
        if len(self.warnings) < MOST_WARNINGS:
            self.warnings.append(text)

    def skip(self, member: str, reason: str, detail: str = "") -> None:
        """Count a member that is not read, with a warning."""
        self.members_skipped[reason] += 1
        self.warn(f"{member}: {reason}" + (f" ({detail})" if detail else ""))

    def fail(self, archive: str, fault: str, *, whole: bool = False) -> None:
        """Count an archive that is damaged, or of which nothing can be read (`whole`), with a warning."""
        (self.archives_skipped if whole else self.archives_damaged)[fault] += 1
        self.warn(f"{archive}: {fault}")

    def see(self, member: str, data: bytes) -> None:
        """Remember the first member that no layout describes, to show its shape."""
        self.unknown = self.unknown or (member, data[: 1 << 20])

    def leave_out(self, files: Iterable[tuple[str, str]], kind: Literal["members", "archives"] = "archives") -> None:
        """Count skipped files by reason, with one warning per reason."""
        skipped = self.members_skipped if kind == "members" else self.archives_skipped
        by_reason: dict[str, list[str]] = {}
        for name, reason in files:
            by_reason.setdefault(reason, []).append(name)
        for reason, names in by_reason.items():
            skipped[reason] += len(names)
            self.warn(f"{names[0]}{f' and {len(names) - 1:,} more' if names[1:] else ''}: {reason}")

    def add(self, other: "ReadTally") -> None:
        """Add another tally's counts."""
        self.rows += other.rows
        self.members += other.members
        for name in ("splits", "layouts", "dropped", "members_skipped", "archives_skipped", "archives_damaged"):
            getattr(self, name).update(getattr(other, name))
        self.warnings += other.warnings[: max(0, MOST_WARNINGS - len(self.warnings))]
        self.unknown = self.unknown or other.unknown

    def facts(self) -> dict[str, Any]:
        """For the manifest: rows, rows per split and layout, and what was left out and why."""
        extra = {"documents": self.documents} if self.documents else {}
        return {
            "rows": self.rows,
            **extra,
            **({"articles": dict(self.laws)} if self.laws else {}),
            **({"contents": dict(sorted(self.contents.items()))} if self.contents else {}),
            **{f"split/{name}": n for name, n in sorted(self.splits.items())},
            **{f"layout/{name}": n for name, n in sorted(self.layouts.items())},
            "dropped": dict(sorted(self.dropped.items())),
            "members": self.members,
            "members_skipped": dict(sorted(self.members_skipped.items())),
            "archives_skipped": dict(sorted(self.archives_skipped.items())),
            "archives_damaged": dict(sorted(self.archives_damaged.items())),
            "warnings": self.warnings,
        }
