"""judge.json: what the report shows of the judging.

scorer, keep_above, rows, kept, dropped, failed       failed: {code: rows}
histogram         101 counts, rows by score 0–100 (failed rows are not in it)
topics            {topic of the lexicon: 101 counts}; "기타" are rows without a term
thresholds        [{"above", "rows", "topics"}]: what other thresholds would keep
examples          [{"kind", "question", "answer", "category", "source", "score", "reason", "judge"}],
                  kind: kept-best, kept-just, dropped-just, dropped-worst, failed
endpoint          calls, tokens, cost, faults, repair_share, commonest_points, same_points, same_reason (not for the lexicon)
warnings          constant-points, constant-reason (see `sameness`), drift, injection_shift (absent for the lexicon)
canaries          repeat agreement, drift, injection shift, warnings (absent for the lexicon)
cascade           sample, band, audit, low, high, calls_share, recall {value, low, high}, curve (cascade only)
"""

import heapq
from collections import Counter
from typing import Any

from ...runs.records import question_of
from ...text.lexicon import Lexicon
from .judge_rows import Row, Verdict

OTHER = "기타"
EXAMPLES = 4  # of each kind
SHOWN_CHARS = 300
STEP = 5


class Summary:
    """Aggregates rows one by one in constant memory."""

    def __init__(self, scorer: str, keep_above: int, lexicon: Lexicon) -> None:
        self._scorer, self._keep, self._lexicon = scorer, keep_above, lexicon
        self._histogram = [0] * 101
        self._topics: dict[str, list[int]] = {}
        self._failed: Counter[str] = Counter()
        self._kept = self._dropped = 0
        self._examples: dict[str, list[tuple[int, str, Row]]] = {}

    def add(self, row: Row, verdict: Verdict, kept: bool) -> None:
        """Count one judged row."""
        self._kept += kept
        self._dropped += not kept
        if verdict.failed:
            self._failed[verdict.failed] += 1
            self._offer("failed", 0, row)
            return
        score = verdict.score
        self._histogram[score] += 1
        topic = self._lexicon.topic(question_of(row), row["answer"]) or OTHER
        self._topics.setdefault(topic, [0] * 101)[score] += 1
        if kept:  # not the score: `always_keep` keeps rows below the threshold too
            self._offer("kept-best", score, row)
            self._offer("kept-just", -score, row)
        else:
            self._offer("dropped-just", score, row)
            self._offer("dropped-worst", -score, row)

    def facts(self) -> dict[str, Any]:
        """The content of judge.json, without what the scorer adds."""
        return {
            "scorer": self._scorer,
            "keep_above": self._keep,
            "rows": self._kept + self._dropped,
            "kept": self._kept,
            "dropped": self._dropped,
            "failed": dict(sorted(self._failed.items())),
            "histogram": self._histogram,
            "topics": dict(sorted(self._topics.items(), key=lambda item: (-sum(item[1]), item[0]))),
            "thresholds": [self._at(above) for above in range(0, 100, STEP)],
            "examples": [
                _shown(kind, row) for kind, found in self._examples.items() for _, _, row in sorted(found, reverse=True)
            ],
        }

    def _at(self, above: int) -> dict[str, int]:
        topics = sum(any(counts[above + 1 :]) for name, counts in self._topics.items() if name != OTHER)
        return {"above": above, "rows": sum(self._histogram[above + 1 :]), "topics": topics}

    def _offer(self, kind: str, rank: int, row: Row) -> None:
        """Keep the rows of highest rank; ties go by id, so that the choice does not depend on the order."""
        found = self._examples.setdefault(kind, [])
        item = (rank, row["id"], row)
        if len(found) < EXAMPLES:
            heapq.heappush(found, item)
        elif item[:2] > found[0][:2]:
            heapq.heapreplace(found, item)


def _shown(kind: str, row: Row) -> dict[str, Any]:
    return {
        "kind": kind,
        "question": row["question"][:SHOWN_CHARS],
        "answer": row["answer"][:SHOWN_CHARS],
        "category": row["category"],
        "source": row["source"]["name"],
        "score": row["score"],
        "reason": row["reason"],
        "judge": row["judge"],
    }
