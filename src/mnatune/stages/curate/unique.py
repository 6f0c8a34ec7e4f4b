"""Which rows are the same, exactly or nearly. The longest answer stays, then the best licensed, then the first.

The score is not known yet at this stage, so it cannot decide; `compose` respects the clusters that are found here.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from ...runs.recipe import CurateSection
from ...runs.records import asked
from .clean import Cleaned
from .near import Components, Signatures, candidates, connect, sign
from .result import DUPLICATE, NEAR_DUPLICATE, Fate


def exact(cleaned: Sequence[Cleaned], licences: Sequence[str], fate: Fate) -> None:
    """Mark every row but one of those with the same question and answer."""
    ids = np.concatenate([np.zeros(0, "S20"), *(c.ids for c in cleaned)])
    ranks = _ranks(cleaned, licences)
    order = np.lexsort((np.arange(len(ids)), ranks, ids))
    again = np.zeros(len(ids), bool)
    again[order[1:]] = ids[order[1:]] == ids[order[:-1]]
    fate.status[again] = DUPLICATE


def near(
    section: CurateSection, files: Sequence[Path], cleaned: Sequence[Cleaned], licences: Sequence[str], fate: Fate
) -> None:
    """Find clusters and merges, mark the rows that are merged away, and name the clusters."""
    full = [file for file, c in zip(files, cleaned, strict=True) if len(c.ids)]
    if not full:
        return
    if section.ray:
        from .cluster import connect_on_ray

        gone = fate.rows(fate.status == DUPLICATE)
        clusters, merges = connect_on_ray(full, section.near_duplicates, gone, section.ray)
    else:
        clusters, merges = _connect_here(full, section.near_duplicates, fate)
    ids = np.concatenate([c.ids for c in cleaned])
    lengths = np.concatenate([c.lengths for c in cleaned])
    ranks = _ranks(cleaned, licences)

    def alive(rows: list[int]) -> list[int]:
        places = fate.places(np.array(rows))
        return places[fate.status[places] != DUPLICATE].tolist()  # type: ignore[no-any-return]

    for rows in merges.groups().values():
        _, *others = sorted(alive(rows), key=lambda p: (-lengths[p], ranks[p], p))
        fate.status[others] = NEAR_DUPLICATE
    for rows in clusters.groups().values():
        places = alive(rows)
        if len(places) > 1:
            name = min(ids[place] for place in places).decode()
            fate.clusters |= dict.fromkeys(places, name)


def _connect_here(files: Sequence[Path], limit: float, fate: Fate) -> tuple[Components, Components]:
    pairs = []
    facts: dict[int, int] = {}
    for signed in sign(files):
        unique = fate.status[fate.places(signed.rows)] != DUPLICATE
        signed = Signatures(signed.rows[unique], signed.values[unique], signed.facts[unique])
        found = candidates(signed, limit)
        pairs.append(found)
        wanted = np.unique(found)
        at = np.searchsorted(signed.rows, wanted)
        facts |= dict(zip(wanted.tolist(), signed.facts[at].tolist(), strict=True))
    every = np.unique(np.concatenate(pairs), axis=0)
    return connect(every, _texts(files, np.unique(every)), facts, limit)


def _texts(files: Sequence[Path], wanted: npt.NDArray[np.int64]) -> dict[int, str]:
    """The texts of the wanted rows."""
    texts: dict[int, str] = {}
    for file in files:
        with pq.ParquetFile(file) as shard:
            for batch in shard.iter_batches(columns=["row", "history", "question", "answer"]):
                rows = batch.column("row").to_numpy()
                at = np.searchsorted(wanted, rows[0]), np.searchsorted(wanted, rows[-1], side="right")
                if at[0] < at[1]:
                    chosen = batch.take(np.searchsorted(rows, wanted[at[0] : at[1]]))
                    for row, history, question, answer in zip(*(c.to_pylist() for c in chosen.columns), strict=True):
                        texts[row] = f"{asked(history, question)}\n{answer}"
    return texts


def _ranks(cleaned: Sequence[Cleaned], order: Sequence[str]) -> npt.NDArray[np.int64]:
    """How far down the list of licences each row's licence stands; licences that are not listed come last."""

    def rank(licence: str) -> int:
        return next((n for n, part in enumerate(order) if part.casefold() in licence.casefold()), len(order))

    parts: list[Any] = [np.zeros(0, np.int64)]
    for c in cleaned:
        table = np.array([rank(name) for name in c.licence_names] or [0], np.int64)
        parts.append(table[c.licences])
    return np.concatenate(parts)
