"""Splits that cannot leak: whole groups and near-duplicate clusters, spread evenly over sources and categories.

Training learns every answer of a dialogue, so each of its questions counts, with the turns before it: a dialogue that
opens with another row's question stands on that row's side.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any

from ...model.evidence_prompt import without_passages
from ...runs.errors import DataError
from ...runs.records import QA, asked, questions_in
from ...text.normalize import sameness

SPLITS = ("train", "valid", "test")
TRIAL = 50  # rows below which near-duplicates that leave a side empty are only a warning
SHOWN = 60  # characters of a question that a message quotes
REMEDIES = {
    "group": "name each row's own document in its source (출처) or group (문서) column, or leave the column empty",
    "question": "take the turn that they share off the dialogues, or keep one of those that ask the same",
}


def assign_splits(
    rows: Sequence[QA], shares: Sequence[float], seed: int, units: Sequence[Sequence[int]] | None = None
) -> list[str]:
    """The split of each row.

    Rows that share a group, a near-duplicate cluster or a question that is learnt, directly or through others, form one
    unit and stay together. Units are put in order by source and category, then by a seeded hash, and dealt out so that
    the running counts stay closest to the shares: systematic sampling, which spreads every source and category over all
    splits without treating small ones apart. A unit with a row of the publisher's own validation side never goes to train.

    Args:
        units: `unit_members` of the rows, where they are known already.
    """
    units = unit_members(rows) if units is None else units

    def place(indices: Sequence[int]) -> tuple[str, str, str]:
        first = min(indices, key=lambda i: rows[i].id)
        key = hashlib.sha256(f"{seed}/{rows[first].id}".encode()).hexdigest()
        return rows[first].source.name, rows[first].category, key

    sides = [""] * len(rows)
    counts = dict.fromkeys(SPLITS, 0)
    dealt = 0
    for indices in sorted(units, key=place):
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
    questions = Counter(key for row in rows for key in dict.fromkeys(_asked_in(row)))
    found, count = max(questions.items(), key=itemgetter(1), default=("", 0))
    if count > max(held, len(rows) / 2):
        kind, value, held = "question", found[:SHOWN], count
    if not kind or (kind != "group" and len(rows) < TRIAL):
        what = "ask the same" if kind == "question" else "are near-duplicates"
        return f"{told}{len(rows)} rows are too few" + (f", and {held} {what}" if kind else "")
    label = next(row.reference or value for row in rows if getattr(row, kind) == value) if kind == "group" else value
    raise DataError(
        f"{told}the {kind} {label!r} holds {held} of {len(rows)} rows, which stay on one side",
        where="5-compose",
        next_step=f"{REMEDIES.get(kind, REMEDIES['group'])}; or set the share to 0 in compose.splits",
    )


def largest_unit(rows: Sequence[QA], units: Sequence[Sequence[int]]) -> dict[str, Any]:
    """How many rows the largest unit holds, and what most of them have in common."""
    largest: Sequence[int] = max(units, key=len, default=())
    told: dict[str, Any] = {"rows": len(largest)}
    if len(largest) > 1:
        counts = Counter(key for at in largest for key in dict.fromkeys(_keys(rows[at])))
        (kind, value), shared = max(counts.items(), key=itemgetter(1))
        told |= {"most_share": kind, "value": value[:SHOWN], "shared_by": shared}
    return told


def unit_warning(largest: Mapping[str, Any], count: int) -> list[str]:
    """A warning where one unit holds most of the rows of a data set: the shares of the splits cannot be kept."""
    if count < TRIAL or largest["rows"] <= count / 2:
        return []
    common = f"{largest['shared_by']} share the {largest['most_share']} {largest['value']!r}"
    return [f"compose.splits: {largest['rows']} of {count} rows hang together and stay on one side ({common})"]


def leakage(written: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Proof that nothing spans two splits; raises `DataError` if something does.

    Checked: group, near-duplicate cluster, and every question that is learnt or asked, with the turns before it, whatever
    its punctuation, width, case and spacing.

    Args:
        written: split → its lines as they were written, whatever they were made of.
    """
    seen: dict[str, dict[str, set[str]]] = {"group": {}, "cluster": {}, "question": {}}
    for side, lines in written.items():
        for line in lines:
            questions = (("question", sameness(one)) for one in questions_in(without_passages(line)))
            for kind, value in (("group", line["group"]), ("cluster", line["cluster"]), *questions):
                if value:
                    seen[kind].setdefault(value, set()).add(side)
    spanning = {kind: sorted(v for v, where in values.items() if len(where) > 1) for kind, values in seen.items()}
    for kind, values in spanning.items():
        if values:
            raise DataError(f"{len(values)} {kind}s stand in two splits, such as {values[0]!r}", where="5-compose")
    return {
        "splits": {name: len(lines) for name, lines in written.items()},
        "checked": {kind: len(values) for kind, values in seen.items()},
        "spanning": {kind: len(values) for kind, values in spanning.items()},
    }


def unit_members(rows: Sequence[QA]) -> list[list[int]]:
    """The units as row numbers: connected components over group, cluster and the letters of the questions."""
    parent = list(range(len(rows)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[tuple[str, str], int] = {}
    for i, row in enumerate(rows):
        for key in _keys(row):
            parent[root(i)] = root(first.setdefault(key, i))
    members: dict[int, list[int]] = defaultdict(list)
    for i in range(len(rows)):
        members[root(i)].append(i)
    return list(members.values())


def _keys(row: QA) -> Iterator[tuple[str, str]]:
    """What a row shares with the others of its unit: (kind, value)."""
    yield from ((kind, value) for kind in ("group", "cluster") if (value := getattr(row, kind)))
    yield from (("question", key) for key in _asked_in(row) if key)


def _asked_in(row: QA) -> list[str]:
    """The letters of every question of a row, with the turns before it."""
    turns = [*row.history, row.question]
    return [sameness(asked(turns[:at], turns[at])) for at in range(0, len(turns), 2)]
