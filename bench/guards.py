"""Do the guards hold good models, and do they let harm pass? Experiments of known truth through the verdict's own rule.

    python bench/guards.py [--quick]

Every experiment draws the answers of a base and a tuned model for five guards, of which the first has a known true
change, and asks `guard_states` for their states with a margin of 2 points. A model that did not change and is held
anyway is a false hold; one whose first guard is worse by 10 points and not stopped by it is missed harm. The baseline is
the rule that this one replaced: a guard trips when its point estimate is worse by more than the margin.

Kinds of guard: "rate" is a yes/no fault per answer (leak, cut off, false premise accepted) of which `churn` per cent of
the answers gain and as many lose it without any true change; "citations" is a share among the 0 to 6 citations of an
answer, of which 5 per cent are invented, with faults that cluster in answers.
"""

import argparse
import json
import subprocess
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnatune.stages.evaluate.statistics import compare_paired
from mnatune.stages.evaluate.verdict import guard_states

Array = NDArray[np.float64]

MARGIN = 2.0
HARMS = (0.0, 1.0, 3.0, 10.0)
SIZES = (40, 200, 1000)
CHURNS = (1.0, 2.5, 5.0, 10.0)
KINDS = (*(f"rate, churn {churn:g}" for churn in CHURNS), "citations")
FAMILY = 5  # guards of one run, of which any one holds a model
STOPS = ("failed", "worse")
COUNTED = ("alone", "five", "missed", "estimate", "estimate five")
RESAMPLES = 400  # of the bootstrap in the experiments on citations


@cache
def rate_row(items: int, appears: int, goes: int) -> dict[str, Any]:
    """A yes/no guard's row of the table; it depends on these counts alone."""
    base, tuned = np.zeros((items, 2)), np.zeros((items, 2))
    base[:, 1] = tuned[:, 1] = 1
    tuned[:appears, 0] = base[appears : appears + goes, 0] = 1
    return row_of(base, tuned, binary=True)


def row_of(base: Array, tuned: Array, *, binary: bool) -> dict[str, Any]:
    """A guard's row as `evaluate` writes it."""
    groups = [f"{at:05d}" for at in range(len(base))]
    compared = compare_paired(base, tuned, groups, binary=binary, resamples=RESAMPLES).as_dict(100.0)
    return {"name": "g", "label": "g", "kind": "lower", "unit": "percent", "guard": True, **compared}


def citations(random: np.random.Generator, items: int, harm: float) -> dict[str, Any]:
    """Invented citations among those of an answer; the rate of an answer is drawn from a beta distribution."""
    sides = []
    for share in (0.05, 0.05 + harm / 100):
        number = random.integers(0, 7, items).astype(float)
        chance = random.beta(2 * share, 2 * (1 - share), items)
        sides.append(np.column_stack([random.binomial(number.astype(int), chance).astype(float), number]))
    return row_of(sides[0], sides[1], binary=False)


def guard(kind: str, random: np.random.Generator, items: int, harm: float) -> dict[str, Any]:
    """One guard's row; `churn` per cent of the answers gain a fault and as many lose it, and `harm` per cent more gain one."""
    if kind == "citations":
        return citations(random, items, harm)
    churn = float(kind.rpartition(" ")[2])
    shares = [(churn + harm) / 100, churn / 100, 1 - (2 * churn + harm) / 100]
    appears, goes, _ = random.multinomial(items, shares)
    return rate_row(items, int(appears), int(goes))


def cell(case: tuple[str, int, float, int]) -> dict[str, float]:
    """Shares of runs that are stopped, in per cent: by a guard alone, by five of which the first is harmed, by the former rule."""
    kind, items, harm, count = case
    count = count // 8 if kind == "citations" else count  # five bootstraps each
    random = np.random.default_rng([items, int(harm), KINDS.index(kind)])
    found: Counter[str] = Counter()
    for _ in range(count):
        rows = [guard(kind, random, items, harm if first else 0.0) for first in (True, *[False] * (FAMILY - 1))]
        states = [one.state for one in guard_states(rows, MARGIN)]
        beyond = [(row["difference"]["value"] or 0.0) > MARGIN for row in rows]
        found["alone"] += guard_states(rows[:1], MARGIN)[0].state in STOPS
        found["five"] += any(state in STOPS for state in states)
        found["missed"] += states[0] not in STOPS
        found["estimate"] += beyond[0]
        found["estimate five"] += any(beyond)
    return {name: round(100 * found[name] / count, 2) for name in COUNTED}


def table(count: int) -> list[dict[str, Any]]:
    """One row per kind of guard and number of items."""
    cases = [
        (name, items, harm, count)
        for name in KINDS
        for items in SIZES[: 2 if name == "citations" else 3]  # a bootstrap over 1,000 groups each takes long
        for harm in HARMS
    ]
    with ProcessPoolExecutor() as pool:
        cells = dict(zip(cases, pool.map(cell, cases), strict=True))
    return [
        {"guard": name, "items": items} | {f"{harm:g}": cells[name, items, harm, count] for harm in HARMS}
        for name, items in dict.fromkeys((name, items) for name, items, _, _ in cases)
    ]


def as_markdown(rows: list[dict[str, Any]]) -> str:
    """The table of docs/evaluation.md."""
    lines = [
        "| 안전 지표 | 문항 | 변화 없음: 하나 | 변화 없음: 다섯 | 앞의 규칙, 다섯 | 1점 | 3점 | 10점 | 10점을 놓침 |"
    ]
    lines.append("|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        none = row["0"]
        stopped = " | ".join(f"{row[harm]['alone']:.1f}" for harm in ("1", "3", "10"))
        numbers = f"{none['alone']:.1f} | {none['five']:.1f} | {none['estimate five']:.1f} | {stopped}"
        lines.append(f"| {row['guard']} | {row['items']:,} | {numbers} | {row['10']['missed']:.1f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="100 experiments a case instead of 2,000 (of citations an eighth)"
    )
    args = parser.parse_args()
    count = 100 if args.quick else 2000
    rows = table(count)
    print(as_markdown(rows))
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    at_200 = [row for row in rows if row["items"] == 200]
    ours, theirs = (np.mean([row["0"][key] for row in at_200]) for key in ("five", "estimate five"))
    result = {
        "bench": "guards",
        "commit": commit.stdout.strip(),
        "device": "CPU",
        "experiments": count,
        "ratio": {"point-estimate": round(float(theirs / max(ours, 0.01)), 2)},
        "ours": {"rows": rows, "false_holds_of_five_at_200": round(float(ours), 2)},
        "baseline": {"false_holds_of_five_at_200": round(float(theirs), 2)},
    }
    print(json.dumps(result, ensure_ascii=False))


if __name__ == "__main__":
    main()
