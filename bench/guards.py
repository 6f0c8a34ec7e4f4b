"""Do the guards hold good models, and do they let harm pass? Experiments of known truth through the verdict's own rule.

    python bench/guards.py [--quick]

Every experiment draws answers of a base and a tuned model, whose true change is known, and asks `guard_state` for the
guard's state with a margin of 2 points. A model that did not change and is held anyway is a false hold; one that is
worse by 10 points and promoted anyway is missed harm. The baseline is the rule that this one replaced: a guard trips
when its point estimate is worse by more than the margin.

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
from mnatune.stages.evaluate.verdict import guard_state

Array = NDArray[np.float64]

MARGIN = 2.0
HARMS = (0.0, 1.0, 3.0, 10.0)
SIZES = (40, 200, 1000)
CHURNS = (1.0, 2.5, 5.0, 10.0)
KINDS = (*(f"rate, churn {churn:g}" for churn in CHURNS), "citations")
FAMILY = 5  # guards of which any one holds a model
RESAMPLES = 400  # of the bootstrap in the experiments on citations


@cache
def rate_state(items: int, appears: int, goes: int) -> tuple[str, bool]:
    """State of a yes/no guard, and whether its point estimate is beyond the margin; it depends on these counts alone."""
    base, tuned = np.zeros((items, 2)), np.zeros((items, 2))
    base[:, 1] = tuned[:, 1] = 1
    tuned[:appears, 0] = base[appears : appears + goes, 0] = 1
    return state_of(base, tuned, binary=True)


def state_of(base: Array, tuned: Array, *, binary: bool) -> tuple[str, bool]:
    """The guard's state by the verdict's own code, and whether the point estimate is beyond the margin."""
    groups = [f"{at:05d}" for at in range(len(base))]
    compared = compare_paired(base, tuned, groups, binary=binary, resamples=RESAMPLES).as_dict(100.0)
    row = {"name": "g", "label": "g", "kind": "lower", "unit": "percent", "guard": True, **compared}
    return guard_state(row, MARGIN).state, (compared["difference"]["value"] or 0.0) > MARGIN


def citations(random: np.random.Generator, items: int, harm: float) -> tuple[str, bool]:
    """Invented citations among those of an answer; the rate of an answer is drawn from a beta distribution."""
    sides = []
    for share in (0.05, 0.05 + harm / 100):
        number = random.integers(0, 7, items).astype(float)
        chance = random.beta(2 * share, 2 * (1 - share), items)
        sides.append(np.column_stack([random.binomial(number.astype(int), chance).astype(float), number]))
    return state_of(sides[0], sides[1], binary=False)


def experiment(kind: str, random: np.random.Generator, items: int, harm: float) -> tuple[str, bool]:
    """One experiment; `churn` per cent of the answers gain a fault and as many lose it, and `harm` per cent more gain one."""
    if kind == "citations":
        return citations(random, items, harm)
    churn = float(kind.rpartition(" ")[2])
    shares = [(churn + harm) / 100, churn / 100, 1 - (2 * churn + harm) / 100]
    appears, goes, _ = random.multinomial(items, shares)
    return rate_state(items, int(appears), int(goes))


def cell(case: tuple[str, int, float, int]) -> dict[str, float]:
    """Shares of the states over the experiments of one case, in per cent."""
    kind, items, harm, count = case
    count = count // 4 if kind == "citations" else count  # a bootstrap each
    random = np.random.default_rng([items, int(harm), KINDS.index(kind)])
    found: Counter[str] = Counter()
    for _ in range(count):
        state, tripped = experiment(kind, random, items, harm)
        found[state] += 1
        found["tripped"] += tripped
    shown = {
        "stopped": found["failed"] + found["worse"],
        **{name: found[name] for name in ("passed", "open", "tripped")},
    }
    return {name: round(100 * number / count, 2) for name, number in shown.items()}


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


def family(per_guard: float) -> float:
    """Share of runs in which at least one of five independent guards stops a model that did not change, in per cent."""
    return round(100 * (1 - (1 - per_guard / 100) ** FAMILY), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="100 experiments a case instead of 2,000 (of citations a quarter)"
    )
    args = parser.parse_args()
    count = 100 if args.quick else 2000
    rows = table(count)
    print(
        f"{'guard':<18} {'items':>6} | stopped at harm "
        + " ".join(f"{h:>6g}" for h in HARMS)
        + " | five  | by estimate, five"
    )
    for row in rows:
        stopped = " ".join(f"{row[f'{h:g}']['stopped']:>6.1f}" for h in HARMS)
        both = [family(row["0"][key]) for key in ("stopped", "tripped")]
        print(f"{row['guard']:<18} {row['items']:>6} |                 {stopped} | {both[0]:>5} | {both[1]:>5}")
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    at_200 = [row for row in rows if row["items"] == 200]
    ours, theirs = (np.mean([family(row["0"][key]) for row in at_200]) for key in ("stopped", "tripped"))
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
