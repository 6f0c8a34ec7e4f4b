"""Estimates recall from an audit of unjudged rows, with an exact interval."""

from dataclasses import dataclass
from typing import Any

import numpy as np

CONFIDENCE = 0.95
NEAR_SHARE = 0.1  # of the dropped, those predicted highest, form a stratum of their own …
NEAR_AUDIT = 0.3  # … that gets this share of the audit


@dataclass(frozen=True)
class Stratum:
    """Unjudged rows of one kind: all of them, those drawn for the audit, and whether they are kept or dropped."""

    members: int
    drawn: np.ndarray
    kept: bool


def audit_strata(
    judged: np.ndarray, predicted: np.ndarray, high: float, size: int, random: np.random.Generator
) -> list[Stratum]:
    """Draw the audit: from the kept, from the dropped that came closest, and from the other dropped."""
    kept = np.flatnonzero(~judged & (predicted >= high))
    dropped = np.flatnonzero(~judged & (predicted < high))
    dropped = dropped[np.argsort(-predicted[dropped], kind="stable")]
    near = max(1, round(NEAR_SHARE * len(dropped))) if len(dropped) else 0
    kept_quota = min(len(kept), size // 5)
    left = size - kept_quota
    parts = [
        (kept, kept_quota, True),
        (dropped[:near], round(NEAR_AUDIT * left), False),
        (dropped[near:], left - round(NEAR_AUDIT * left), False),
    ]
    return [
        Stratum(len(members), random.choice(members, min(quota, len(members)), replace=False), is_kept)
        for members, quota, is_kept in parts
        if len(members)
    ]


def interval_of_recall(strata: list[Stratum], good: dict[int, bool], found: int) -> dict[str, Any]:
    """Recall of the judge's "relevant", with a 95 % interval.

    Per stratum the share of relevant rows has a Clopper–Pearson interval (Clopper and Pearson, Biometrika 1934) at
    1 - 0.05 / strata, so that all hold at once with 95 %. Audited rows have been judged: only the others can be missed.

    Args:
        good: audited row → whether the judge found it relevant; rows without a verdict are absent.
        found: relevant rows among all that were judged, the audit included.
    """
    kept, missed = np.full(3, float(found)), np.zeros(3)  # at the lower end, as estimated, and at the upper end
    for stratum in strata:
        verdicts = [good[n] for n in stratum.drawn.tolist() if n in good]
        unseen = stratum.members - len(stratum.drawn)
        low, high = clopper_pearson(sum(verdicts), len(verdicts), (1 - CONFIDENCE) / len(strata))
        mid = sum(verdicts) / len(verdicts) if verdicts else 0.0
        side = kept if stratum.kept else missed
        side += np.array([low, mid, high]) * unseen
    low, mid, high = (_share(found, lost) for found, lost in zip(kept.tolist(), missed[::-1].tolist(), strict=True))
    return {
        "value": round(mid, 4),
        "low": round(low, 4),
        "high": round(high, 4),
        "audited": len(good),
        "missed_in_audit": sum(good[n] for s in strata if not s.kept for n in s.drawn.tolist() if n in good),
    }


def clopper_pearson(hits: int, trials: int, alpha: float) -> tuple[float, float]:
    """Exact interval of a share at confidence 1 - alpha; (0, 1) without trials."""
    from scipy.stats import beta  # type: ignore[import-untyped]

    if not trials:
        return 0.0, 1.0
    low = float(beta.ppf(alpha / 2, hits, trials - hits + 1)) if hits else 0.0
    high = float(beta.ppf(1 - alpha / 2, hits + 1, trials - hits)) if hits < trials else 1.0
    return low, high


def _share(found: float, missed: float) -> float:
    return found / (found + missed) if found + missed else 1.0
