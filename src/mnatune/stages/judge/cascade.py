"""The cascade: judge a sample, learn from it, judge only what is uncertain, and measure what was missed.

1. The lexicon scores all rows; a sample is drawn in strata of that score, 5 % of it where the lexicon found nothing.
2. The LLM judges the sample; a character n-gram model learns its score (out-of-fold predictions tell how well).
3. Rows predicted below `low` are dropped, the others judged. `low` is the threshold at which out-of-fold recall,
   weighted by the sampling, reaches the recipe's `judge.recall`, and a margin below it. If that is too much for the cap
   on calls, rows above `high`, where out-of-fold precision is sure, are kept unjudged.
4. A random audit of what nobody judged measures recall with an interval (Clopper–Pearson per stratum, Bonferroni).

The calls never exceed `MOST_CALLS` of the rows; if the band had to be cut for that, the facts say so.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...runs.job import Job
from ...runs.records import question_of
from ...text.lexicon import Lexicon
from . import canaries
from .classifier import ScoreModel, read_text
from .judge_rows import JudgeRows, Row, Verdict
from .llm import NOT_ASKED, LlmJudge
from .recall import audit_strata, interval_of_recall

MOST_CALLS = 0.15  # of all rows
LARGEST_SAMPLE = 20_000  # rows that the LLM labels for the classifier
SAMPLE_SHARE = 0.06  # … and of all rows at most
REJECTED_SHARE = 0.05  # of the sample, from rows without any term of the lexicon
AUDIT_SHARE = 0.25  # of the sample, and in small runs
GOOD_AUDIT = 1000  # … at least this many rows, if the cap on calls allows
LEAST_SAMPLE = 200  # with fewer labels the classifier learns nothing, so every row is judged
MARGIN = 8.0  # points below the threshold that out-of-fold recall asks for
SURE_ROWS, SURE_PRECISION = 200, 0.99  # out-of-fold evidence needed before rows are kept unjudged
STRATA = (0, 10, 20, 30, 50, 100)  # upper edges of lexicon score


@dataclass
class CascadePlan:
    """The cascade's decision: which rows the LLM judges, and every row's predicted score."""

    everything: bool = False
    judged: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=bool))
    predicted: np.ndarray = field(default_factory=lambda: np.zeros(0))
    low: float = 0.0
    high: float = math.inf
    facts: dict[str, Any] = field(default_factory=dict)


class Cascade:
    """Scores rows with as few calls as recall allows."""

    def __init__(self, job: Job, judge: LlmJudge) -> None:
        self._job, self._judge = job, judge
        self._lexicon = Lexicon(job.pack.yaml("lexicon.yaml"))
        self._keep = job.recipe.judge.keep_above
        self._random = np.random.default_rng(job.recipe.seed)
        self.plan = CascadePlan()

    def prepare(self, rows: JudgeRows) -> None:
        """Make all LLM calls; `verdict` then works for every row."""
        size = sample_size(rows.count)
        if not size:
            self.plan = CascadePlan(everything=True, facts={"mode": "everything-judged", "rows": rows.count})
            self._judge.judge(rows, rows.count, "judging every row")
            return
        lexical = np.fromiter(
            (self._lexicon.score(question_of(r), r["answer"])[0] for r in self._job.track(rows, "lexicon", rows.count)),
            dtype=np.int16,
            count=rows.count,
        )
        sample, weights = self._draw(lexical, size)
        labelled, scores, texts = self._label(rows, sample, "judging the sample")
        weights = weights[np.isin(sample, labelled)]
        order = self._random.permutation(len(labelled))
        model = ScoreModel()
        held_out = model.fit([texts[i] for i in order], scores[order])
        predicted = model.predict(read_text(row) for row in self._job.track(rows, "classifier", rows.count))
        audit = int(AUDIT_SHARE * size)
        budget = int(MOST_CALLS * rows.count) - len(sample) - audit - canaries.CALLS
        plan = self._band(predicted, held_out, scores[order] > self._keep, weights[order], sample, budget)
        band = np.flatnonzero(plan.judged & ~_mask(rows.count, sample))
        self._label(rows, band, "judging the uncertain band")
        plan.facts |= {"rows": rows.count, "sample": len(sample), "band": len(band)}
        self.plan = plan
        self._audit(rows, max(audit, min(GOOD_AUDIT, audit + budget - len(band))))

    def verdict(self, number: int, row: Row) -> Verdict:
        """The LLM's verdict if it judged the row, else the classifier's."""
        plan = self.plan
        if plan.everything or plan.judged[number]:
            return self._judge.verdict(row) or Verdict(-1, "", self._judge.name, NOT_ASKED)
        raw = round(float(np.clip(plan.predicted[number], 0, 100)))
        kept = plan.predicted[number] >= plan.high
        score = max(raw, self._keep + 1) if kept else min(raw, self._keep)
        return Verdict(score, f"분류기 예측 {raw}점 (심사 모델에 묻지 않음)", "classifier")

    def _draw(self, lexical: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the sampled rows, sorted, and how many rows each stands for."""
        strata = np.searchsorted(np.array(STRATA), lexical)
        quota = {0: round(REJECTED_SHARE * size)}
        others = [s for s in range(1, len(STRATA)) if (strata == s).any()]
        left, open_strata = size - quota[0], sorted(others, key=lambda s: int((strata == s).sum()))
        for at, stratum in enumerate(open_strata):  # smallest first: what a stratum cannot fill goes to the larger
            quota[stratum] = min(int((strata == stratum).sum()), left // (len(open_strata) - at))
            left -= quota[stratum]
        quota[0] += left
        chosen, weights = [], []
        for stratum, count in quota.items():
            members = np.flatnonzero(strata == stratum)
            count = min(count, len(members))
            if count:
                chosen.append(self._random.choice(members, count, replace=False))
                weights.append(np.full(count, len(members) / count))
        numbers, weight = np.concatenate(chosen), np.concatenate(weights)
        order = np.argsort(numbers)
        return numbers[order], weight[order]

    def _label(self, rows: JudgeRows, numbers: np.ndarray, label: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """Have the LLM score these rows; returns the numbers, scores and texts of those it could score."""
        found, scores, texts = [], [], []
        self._judge.judge((row for _, row in rows.chosen(numbers.tolist())), len(numbers), label)
        for number, row in rows.chosen(numbers.tolist()):
            verdict = self._judge.verdict(row)
            if verdict and not verdict.failed:
                found.append(number)
                scores.append(verdict.score)
                texts.append(read_text(row))
        return np.array(found, dtype=np.int64), np.array(scores, dtype=float), texts

    def _band(
        self,
        predicted: np.ndarray,
        held_out: np.ndarray,
        good: np.ndarray,
        weights: np.ndarray,
        sample: np.ndarray,
        budget: int,
    ) -> CascadePlan:
        """Choose the band of predicted scores that the judge reads."""
        from scipy.stats import spearmanr  # type: ignore[import-untyped]

        taken = _mask(len(predicted), sample)
        low = _recalling(held_out, good, weights, self._job.recipe.judge.recall) - MARGIN
        inside, high = (predicted >= low) & ~taken, math.inf
        if inside.sum() > budget:
            high = max(low, _sure_above(held_out, good, weights) + MARGIN)
            inside &= predicted < high
        facts: dict[str, Any] = {"mode": "cascade", "band_cut": bool(inside.sum() > budget)}
        if inside.sum() > budget:
            low = float(np.sort(predicted[inside])[::-1][max(0, budget - 1)])
            inside &= predicted >= low
        facts |= {"low": round(low, 2), "high": None if math.isinf(high) else round(high, 2)}
        correlation = float(spearmanr(held_out, good).statistic) if 0 < good.sum() < len(good) else 0.0
        recall = _recall_at(held_out, good, weights, low)
        facts["held_out"] = {"spearman": round(correlation, 4), "recall": round(recall, 4)}
        facts["curve"] = _curve(predicted, taken, held_out, good, weights, high)
        return CascadePlan(False, taken | inside, predicted, low, high, facts)

    def _audit(self, rows: JudgeRows, size: int) -> None:
        """Judge a random sample of the unjudged rows and estimate recall from it."""
        plan = self.plan
        strata = audit_strata(plan.judged, plan.predicted, plan.high, size, self._random)
        numbers = np.sort(np.concatenate([s.drawn for s in strata])) if strata else np.zeros(0, dtype=np.int64)
        labelled, scores, _ = self._label(rows, numbers, "auditing what was not judged")
        good = dict(zip(labelled.tolist(), (scores > self._keep).tolist(), strict=True))
        plan.judged = plan.judged | _mask(rows.count, numbers)
        found = 0
        for number, row in rows.chosen(np.flatnonzero(plan.judged).tolist()):
            verdict = self._judge.verdict(row) if number not in good else None
            found += verdict.score > self._keep if verdict else good.get(number, False)
        plan.facts["audit"] = len(numbers)
        plan.facts["recall"] = interval_of_recall(strata, good, found)
        plan.facts["calls_share"] = round(float(plan.judged.sum()) / rows.count, 4)


def sample_size(rows: int) -> int:
    """Rows that the LLM labels first; 0 if there are too few rows to learn from, and all are judged."""
    size = min(LARGEST_SAMPLE, math.ceil(SAMPLE_SHARE * rows))
    return size if size >= LEAST_SAMPLE else 0


def _mask(count: int, numbers: np.ndarray) -> np.ndarray:
    mask = np.zeros(count, dtype=bool)
    mask[numbers] = True
    return mask


def _recall_at(held_out: np.ndarray, good: np.ndarray, weights: np.ndarray, low: float) -> float:
    total = float(weights[good].sum())
    return float(weights[good & (held_out >= low)].sum()) / total if total else 1.0


def _recalling(held_out: np.ndarray, good: np.ndarray, weights: np.ndarray, target: float) -> float:
    """Highest threshold at which weighted out-of-fold recall reaches the target; 0 without any good row."""
    if not good.any():
        return 0.0
    order = np.argsort(-held_out[good])
    share = np.cumsum(weights[good][order]) / weights[good].sum()
    return float(held_out[good][order][min(int(np.searchsorted(share, target)), len(share) - 1)])


def _sure_above(held_out: np.ndarray, good: np.ndarray, weights: np.ndarray) -> float:
    """Lowest threshold above which weighted out-of-fold precision is `SURE_PRECISION` on enough rows, or infinity."""
    order = np.argsort(-held_out)
    precision = np.cumsum((weights * good)[order]) / np.cumsum(weights[order])
    sure = np.flatnonzero(precision >= SURE_PRECISION)
    return float(held_out[order][sure[-1]]) if len(sure) and sure[-1] + 1 >= SURE_ROWS else math.inf


def _curve(
    predicted: np.ndarray, taken: np.ndarray, held_out: np.ndarray, good: np.ndarray, weights: np.ndarray, high: float
) -> list[dict[str, float]]:
    """What a lower or higher `low` would cost and find, by out-of-fold estimate: for choosing judge.recall."""
    free = predicted[~taken]
    return [
        {
            "low": float(low),
            "calls": int(taken.sum() + ((free >= low) & (free < high)).sum()),
            "recall": round(_recall_at(held_out, good, weights, low), 4),
        }
        for low in range(-10, 61, 5)
    ]
