"""Does the judge agree with people? Rank correlation, weighted kappa and the confusion at the threshold."""

from pathlib import Path
from typing import Any

import numpy as np

from ...model.endpoint import Endpoint, Ledger, Outcome
from ...model.endpoint.rubric import Rubric
from ...pack import Pack
from ...runs.errors import DataError, needs
from ...runs.human_labels import LEAST_ROWS, cohen_kappa, label_rows, with_interval
from ...runs.recipe import Recipe
from ...runs.records import content_id
from ...runs.workspace import file_hash
from ...text.lexicon import Lexicon
from .judge_rows import Row

COLUMNS = ("question", "answer", "score")
BANDS = 6  # 0–5, as people and judges score


def calibrate(recipe: Recipe, labels: Path) -> dict[str, Any]:
    """Agreement of the recipe's judge with human labels.

    Args:
        recipe: `judge.scorer: lexicon` calibrates the lexicon, the others the endpoint's model.
        labels: CSV (UTF-8 or cp949) or JSON Lines with question, answer and score (0–100).

    Returns:
        rows, failed, spearman and quadratic_kappa (on six bands; each value, low, high by a bootstrap of 2,000),
        confusion at the threshold (both, judge_only, human_only, neither), precision, recall, agreement.

    Raises:
        DataError: a column or a score is missing or wrong; the line is named.
    """
    rows, human = read_labels(labels)
    judged: list[int | None]
    failed: dict[str, int] = {}
    if recipe.judge.scorer == "lexicon":
        lexicon = Lexicon(Pack.load(recipe.pack).yaml("lexicon.yaml"))
        judged = [lexicon.score(row["question"], row["answer"])[0] for row in rows]
    else:
        judged, failed = _model_scores(recipe, rows, labels)
    pairs = [(score, people) for score, people in zip(judged, human, strict=True) if score is not None]
    if len(pairs) < LEAST_ROWS:
        raise DataError(f"only {len(pairs)} rows have both labels; {LEAST_ROWS} are the least", where=str(labels))
    ours, theirs = np.array(pairs, dtype=float).T
    facts = {"judge": recipe.judge.scorer, "rows": len(pairs), "failed": failed, "keep_above": recipe.judge.keep_above}
    return facts | _agreement(ours, theirs, recipe.seed) | _confusion(ours, theirs, recipe.judge.keep_above)


def read_labels(path: Path) -> tuple[list[Row], list[float]]:
    """Rows and human scores of a CSV or JSON Lines file."""
    rows, scores = [], []
    for number, line in label_rows(path):
        if missing := [name for name in COLUMNS if name not in line]:
            raise DataError(
                f"the labels lack the column(s) {', '.join(missing)}",
                where=f"{path}:{number}",
                next_step="give a CSV with the header question,answer,score (score 0-100)",
            )
        try:
            score = float(line["score"])
        except (TypeError, ValueError):
            score = -1.0
        if not 0 <= score <= 100:
            raise DataError(f"the score {line['score']!r} is not between 0 and 100", where=f"{path}:{number}")
        question, answer = line["question"] or "", line["answer"] or ""
        rows.append({"id": content_id(question, answer), "question": question, "answer": answer})
        scores.append(score)
    return rows, scores


def _model_scores(recipe: Recipe, rows: list[Row], labels: Path) -> tuple[list[int | None], dict[str, int]]:
    rubric = Rubric(Pack.load(recipe.pack))
    spending = f"calibrate:{file_hash(labels)[:16]}:{recipe.endpoint.model}"  # each label file has its own spend cap
    endpoint = Endpoint(recipe.endpoint, spending, Ledger(Path(recipe.endpoint.ledger)))
    asks = [rubric.ask(row, endpoint.model) for row in rows]
    found: dict[str, Outcome] = {}
    tally = endpoint.ask(asks, lambda outcome: found.__setitem__(outcome.key, outcome))
    outcomes = [found[ask.key] for ask in asks]
    return [rubric.score(o.value) if o.state == "ok" else None for o in outcomes], dict(tally.failed)


def _agreement(ours: np.ndarray, theirs: np.ndarray, seed: int) -> dict[str, Any]:
    with needs("scikit-learn", "judge"):
        from scipy.stats import spearmanr  # type: ignore[import-untyped]
    return {
        "spearman": with_interval(lambda a, b: float(spearmanr(a, b).statistic), ours, theirs, seed),
        "quadratic_kappa": with_interval(quadratic_kappa, ours, theirs, seed),
    }


def quadratic_kappa(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Cohen's kappa with quadratic weights on six bands of 0–100."""
    one, other = (np.rint(scores / 100 * (BANDS - 1)).astype(int) for scores in (ours, theirs))
    return cohen_kappa(one, other, BANDS, quadratic=True)


def _confusion(ours: np.ndarray, theirs: np.ndarray, keep_above: int) -> dict[str, Any]:
    judge, people = ours > keep_above, theirs > keep_above
    both, only, missed = int((judge & people).sum()), int((judge & ~people).sum()), int((~judge & people).sum())
    neither = len(ours) - both - only - missed
    return {
        "confusion": {"both": both, "judge_only": only, "human_only": missed, "neither": neither},
        "precision": round(both / (both + only), 4) if both + only else None,
        "recall": round(both / (both + missed), 4) if both + missed else None,
        "agreement": round((both + neither) / len(ours), 4),
    }
