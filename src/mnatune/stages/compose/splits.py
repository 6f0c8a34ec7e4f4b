"""Splits that cannot leak: whole groups and near-duplicate clusters, spread evenly over sources and categories."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from operator import itemgetter
from typing import Any

from ...runs.errors import DataError
from ...runs.records import QA, asked
from ...text.normalize import sameness

SPLITS = ("train", "valid", "test")
TRIAL = 50  # rows below which near-duplicates that leave a side empty are only a warning


def assign_splits(rows: Sequence[QA], shares: Sequence[float], seed: int) -> list[str]:
    """The split of each row.

    Rows that share a group or a near-duplicate cluster, directly or through others, form one unit and stay together.
    Units are put in order by source and category, then by a seeded hash, and dealt out so that the running counts stay
    closest to the shares: systematic sampling, which spreads every source and category over all splits without
    treating small ones apart. A unit with a row of the publisher's own validation side never goes to train.
    """
    units = _units(rows)
    members: dict[int, list[int]] = defaultdict(list)
    for index, unit in enumerate(units):
        members[unit].append(index)

    def place(indices: list[int]) -> tuple[str, str, str]:
        first = min(indices, key=lambda i: rows[i].id)
        key = hashlib.sha256(f"{seed}/{rows[first].id}".encode()).hexdigest()
        return rows[first].source.name, rows[first].category, key

    sides = [""] * len(rows)
    counts = dict.fromkeys(SPLITS, 0)
    dealt = 0
    for indices in sorted(members.values(), key=place):
        held_out = any(rows[i].source.split == "valid" for i in indices)
        allowed = [s for s, share in zip(SPLITS, shares, strict=True) if share > 0 and not (held_out and s == "train")]
        if not allowed:
            raise DataError(
                "rows of a publisher's validation side need a valid or test split", next_step="compose.splits"
            )
        dealt += len(indices)
        wanted = dict(zip(SPLITS, shares, strict=True))
        side = max(allowed, key=lambda s: (wanted[s] * dealt - counts[s], wanted[s]))
        counts[side] += len(indices)
        for i in indices:
            sides[i] = side
    return sides


def empty_sides(rows: Sequence[QA], sides: Sequence[str], shares: Sequence[float]) -> str:
    """Why splits with a share hold no row, in words; empty if none is empty.

    Raises:
        DataError: rows that may not be divided leave a side empty: training would go through, and evaluation fail.
    """
    empty = [name for name, share in zip(SPLITS, shares, strict=True) if share > 0 and name not in sides]
    if not empty:
        return ""
    told = f"the {' and '.join(empty)} split would be empty: "
    kind, value, held = "", "", 1
    for name in ("group", "cluster"):
        found, count = max(Counter(getattr(row, name) for row in rows).items(), key=itemgetter(1), default=("", 0))
        if count > held and found:
            kind, value, held = name, found, count
    if not kind or (kind == "cluster" and len(rows) < TRIAL):
        return f"{told}{len(rows)} rows are too few" + (f", and {held} are near-duplicates" if kind else "")
    label = next(row.reference or value for row in rows if getattr(row, kind) == value) if kind == "group" else value
    raise DataError(
        f"{told}the {kind} {label!r} holds {held} of {len(rows)} rows, which stay on one side",
        where="5-compose",
        next_step="name each row's own document in its source (출처) or group (문서) column, or leave the column empty; "
        "or set the share to 0 in compose.splits",
    )


def leakage(rows: Sequence[QA], sides: Sequence[str]) -> dict[str, Any]:
    """Proof that nothing spans two splits; raises `DataError` if something does.

    Checked: group, near-duplicate cluster, and the question, whatever its punctuation, width, case and spacing.
    """
    seen: dict[str, dict[str, set[str]]] = {"group": {}, "cluster": {}, "question": {}}
    for row, side in zip(rows, sides, strict=True):
        for kind, value in (
            ("group", row.group),
            ("cluster", row.cluster),
            ("question", sameness(asked(row.history, row.question))),
        ):
            if value:
                seen[kind].setdefault(value, set()).add(side)
    spanning = {kind: sorted(v for v, where in values.items() if len(where) > 1) for kind, values in seen.items()}
    for kind, values in spanning.items():
        if values:
            raise DataError(f"{len(values)} {kind}s stand in two splits, such as {values[0]!r}", where="5-compose")
    return {
        "splits": {name: sum(1 for s in sides if s == name) for name in SPLITS},
        "checked": {kind: len(values) for kind, values in seen.items()},
        "spanning": {kind: len(values) for kind, values in spanning.items()},
    }


def _units(rows: Sequence[QA]) -> list[int]:
    """A unit number for each row: connected components over group, cluster and the question's letters."""
    parent = list(range(len(rows)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[tuple[str, str], int] = {}
    for i, row in enumerate(rows):
        for key in (("g", row.group), ("c", row.cluster), ("q", sameness(asked(row.history, row.question)))):
            if key[1]:
                parent[root(i)] = root(first.setdefault(key, i))
    return [root(i) for i in range(len(rows))]
