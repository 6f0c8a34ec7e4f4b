"""Human labels: reading a label file, and measuring agreement with it.

A file is CSV with a header (UTF-8 or cp949, as Excel writes it) or JSON Lines, by its suffix.
"""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import DataError

RESAMPLES = 2000
LEAST_ROWS = 10

Levels = NDArray[np.int64]


def label_rows(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """Rows of a label file, each with the number of its (last) line.

    Raises:
        DataError: the file cannot be read, or a line is not a JSON object.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"the labels cannot be read: {error.strerror}", where=str(path)) from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("cp949", "replace")
    if path.suffix == ".jsonl":
        return [(n, _object(line, f"{path}:{n}")) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
    reader = csv.DictReader(io.StringIO(text, newline=""))
    return [(reader.line_num, dict(row)) for row in reader] or [(1, dict.fromkeys(reader.fieldnames or []))]


def cohen_kappa(ours: Levels, theirs: Levels, levels: int, *, quadratic: bool = False) -> float:
    """Cohen's kappa of two raters (Cohen 1960), or with quadratic weights (Cohen 1968) for ordered levels.

    Args:
        ours, theirs: (n,) levels from 0 to `levels` - 1.

    Returns:
        1 for full agreement, 0 for as much as chance gives; 1 if both always give the same single level.
    """
    seen = np.zeros((levels, levels))
    np.add.at(seen, (ours, theirs), 1)
    steps = np.arange(levels)
    apart = steps[:, None] - steps[None, :]
    weights = apart**2 if quadratic else (apart != 0).astype(float)
    expected = np.outer(seen.sum(1), seen.sum(0)) / len(ours)
    chance = float((weights * expected).sum())
    return 1 - float((weights * seen).sum()) / chance if chance else 1.0


def with_interval(measure: Callable[[Any, Any], float], ours: Any, theirs: Any, seed: int) -> dict[str, float | None]:
    """A measure of agreement with its 95 % percentile interval over 2,000 resamples of the rows.

    All three are None if one side gives every row the same label: chance agreement is undefined then.
    """
    random = np.random.default_rng(seed)
    picks = [random.integers(0, len(ours), len(ours)) for _ in range(RESAMPLES)]
    draws = np.array([measure(ours[p], theirs[p]) for p in picks if ours[p].std() and theirs[p].std()])
    value = measure(ours, theirs) if ours.std() and theirs.std() else float("nan")
    if not len(draws) or np.isnan(value):
        return {"value": None, "low": None, "high": None}
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return {"value": round(float(value), 4), "low": round(float(low), 4), "high": round(float(high), 4)}


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError as error:
        raise DataError("not a JSON line", where=where) from error
    if not isinstance(found, dict):
        raise DataError("not a JSON object", where=where)
    return found
