"""The search for near-duplicates on a Ray cluster: the signatures, pairs and checks of `near` as Daft expressions.

Nothing but the checked pairs comes back to this process. The folder of the run must lie where every node of the cluster
can read it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ...runs.errors import EnvironmentFault, needs
from ...text.shingles import resemblance
from ...text.wording import same_statement
from .near import BANDS, HASHES, SLACK, Components, band_keys, frame, neighbours, next_of


def connect_on_ray(
    files: Sequence[Path], limit: float, left_out: Sequence[int], address: str
) -> tuple[Components, Components]:
    """The components of similar rows, and of those that also say the same.

    Args:
        left_out: numbers of rows that take no part: exact duplicates.
        address: of a running cluster; `auto` starts one on this machine.

    Raises:
        EnvironmentFault: Ray is not installed, or the cluster does not answer.
    """
    import daft

    with needs("ray", "ray"):
        import ray  # noqa: F401
    try:
        daft.set_runner_ray(address=None if address == "auto" else address, noop_if_initialized=True)
    except ConnectionError as error:
        raise EnvironmentFault(
            f"the Ray cluster does not answer: {error}", where=f"curate.ray: {address}", next_step="ray status"
        ) from error
    return connect_in_daft([file.resolve() for file in files], limit, left_out)


def connect_in_daft(files: Sequence[Path], limit: float, left_out: Sequence[int] = ()) -> tuple[Components, Components]:
    """The same on whatever runner Daft has."""
    clusters, merges = Components(), Components()
    for name in ("long", "short"):
        for one, other, same in _edges(files, limit, left_out, name):
            clusters.join(one, other)
            if same:
                merges.join(one, other)
    return clusters, merges


def _edges(files: Sequence[Path], limit: float, left_out: Sequence[int], name: str) -> list[tuple[int, int, bool]]:
    """Checked pairs of rows among the long or the short texts, and whether they say the same."""
    import daft
    from daft import DataType, col

    pair = DataType.struct({"one": DataType.int64(), "other": DataType.int64()})
    entry = DataType.struct({"band": DataType.int64(), "key": DataType.uint64(), "next": DataType.int64()})

    @daft.func.batch(return_dtype=DataType.list(entry))  # type: ignore[untyped-decorator]
    def bands(values: daft.Series) -> Any:
        hashes = _hashes(values)
        keys = np.stack([band_keys(hashes, band) for band in range(BANDS)], axis=1)
        nexts = np.stack([next_of(hashes, band) for band in range(BANDS)], axis=1).astype(np.int64)
        numbers = np.tile(np.arange(BANDS), len(hashes))
        fields = [pa.array(numbers), pa.array(keys.ravel()), pa.array(nexts.ravel())]
        entries = pa.StructArray.from_arrays(fields, names=["band", "key", "next"])
        offsets = pa.array(np.arange(0, len(numbers) + 1, BANDS), pa.int64())
        return daft.Series.from_arrow(pa.LargeListArray.from_arrays(offsets, entries))

    @daft.func.batch(return_dtype=DataType.list(pair))  # type: ignore[untyped-decorator]
    def close(rows: daft.Series, facts: daft.Series, nexts: daft.Series) -> Any:
        found = []
        for bucket in zip(rows.to_pylist(), facts.to_pylist(), nexts.to_pylist(), strict=True):
            row, fact, order = (np.array(column) for column in bucket)
            same = np.zeros(len(row), np.int64)
            places = zip(*neighbours(same, fact, order, row), strict=True)  # of several passes
            ends = [row[np.concatenate(at)] for at in places]
            pairs = np.unique(np.sort(np.stack(ends, axis=1), axis=1), axis=0)
            found.append([{"one": int(one), "other": int(other)} for one, other in pairs])
        return daft.Series.from_pylist(found, dtype=DataType.list(pair))

    @daft.func.batch(return_dtype=DataType.bool())  # type: ignore[untyped-decorator]
    def alike(one: daft.Series, other: daft.Series, here: daft.Series, there: daft.Series) -> Any:
        first, second = (_hashes(series) for series in (one, other))
        near = (first == second).mean(axis=1) >= limit - SLACK
        texts = zip(near.tolist(), here.to_pylist(), there.to_pylist(), strict=True)
        return daft.Series.from_pylist([close and resemblance(a, b) >= limit for close, a, b in texts])

    @daft.func.batch(return_dtype=DataType.bool())  # type: ignore[untyped-decorator]
    def equal(one: daft.Series, other: daft.Series, here: daft.Series, there: daft.Series) -> Any:
        rows = zip(*(series.to_pylist() for series in (one, other, here, there)), strict=True)
        return daft.Series.from_pylist([first == second and same_statement(a, b) for first, second, a, b in rows])

    signed = _signed(files, left_out, name)
    pairs = _pairs(signed, bands, close)
    sides = [
        signed.select(col("row").alias(side), *(col(n).alias(f"{n}_{side}") for n in ("text", "values", "facts")))
        for side in ("one", "other")
    ]
    joined = pairs.join(sides[0], on="one").join(sides[1], on="other")
    checked = joined.where(alike(col("values_one"), col("values_other"), col("text_one"), col("text_other")))
    same = equal(col("facts_one"), col("facts_other"), col("text_one"), col("text_other")).alias("same")
    result = checked.select(col("one"), col("other"), same).sort(["one", "other"]).to_pydict()
    return list(zip(result["one"], result["other"], result["same"], strict=True))


def _signed(files: Sequence[Path], left_out: Sequence[int], name: str) -> Any:
    """(row, facts, text, values) of the long or the short texts."""
    import daft
    from daft import col

    gone = daft.from_arrow(pa.table({"row": pa.array(left_out, pa.int64())}))
    rows = frame(files, text=True).where(col(f"is_{name}")).join(gone, on="row", how="anti")
    return rows.select(col("row"), col("facts"), col("text"), col(name).alias("values")).collect()


def _pairs(signed: Any, bands: Any, close: Any) -> Any:
    """(one, other): pairs of rows that stand close in a bucket of some band."""
    from daft import col

    listed = signed.select(col("row"), col("facts"), bands(col("values")).alias("entry")).explode("entry")
    entry = [col("entry")[name].alias(name) for name in ("band", "key", "next")]
    buckets = listed.select(col("row"), col("facts"), *entry).groupby("band", "key")
    lists = [col(name).list_agg().alias(f"{name}s") for name in ("row", "facts", "next")]
    shared = buckets.agg(*lists, col("row").count().alias("size")).where(col("size") > 1)
    pairs = shared.select(close(col("rows"), col("factss"), col("nexts")).alias("pair")).explode("pair")
    return pairs.select(col("pair")["one"].alias("one"), col("pair")["other"].alias("other")).distinct()


def _hashes(values: Any) -> Any:
    return values.to_arrow().flatten().to_numpy(zero_copy_only=False).reshape(-1, HASHES).astype(np.uint16)
