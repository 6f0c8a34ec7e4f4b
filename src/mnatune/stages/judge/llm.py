"""The LLM judge: asks about each row once and reads verdicts back from the ledger."""

import sys
from collections import Counter
from collections.abc import Iterable
from typing import Any

from ...model.endpoint import Ask, Clock, Endpoint, Outcome, Tally, meter
from ...model.endpoint.rubric import Rubric
from ...runs.errors import EnvironmentFault
from ...runs.job import Job
from .judge_rows import Row, Verdict
from .sameness import Sameness

NOT_ASKED = "not-asked"
UNUSABLE_AT_FIRST = 100  # unusable replies and no usable one: stop


class LlmJudge:
    """The endpoint with the pack's rubric.

    Attributes:
        tally: what all rounds took together.
    """

    def __init__(self, job: Job, clock: Clock | None = None) -> None:
        self.rubric = Rubric(job.pack)
        self.endpoint = Endpoint(job.recipe.endpoint, str(job.run.root.resolve()), clock=clock)
        self.tally = Tally()
        self._failed: dict[str, str] = {}
        self._sameness = Sameness()
        self._usable = False

    @property
    def name(self) -> str:
        """The judge's name in records."""
        return f"llm:{self.endpoint.model}"

    def judge(self, rows: Iterable[Row], total: int, label: str) -> None:
        """Ask about every row that the ledger does not know yet.

        Raises:
            EnvironmentFault: no row got a usable reply, or every row got the same one. Raised early, before all rows
                are paid for.
        """
        with meter(total, label) as tell:
            tally = self.endpoint.ask((self.ask(row) for row in rows), self._note, tell)
        self.tally += tally
        if tally.failed and not tally.how:
            raise self._no_judge(tally.done, f"{dict(tally.failed)} {tally.refusal}".rstrip())
        for code in self._sameness.facts()["warnings"]:
            print(f"  warning: {self._constant(code)}", file=sys.stderr, flush=True)

    def ask(self, row: Row) -> Ask:
        """The question about one row."""
        return self.rubric.ask(row, self.endpoint.model)

    def verdict(self, row: Row) -> Verdict | None:
        """What the ledger says of a row; None if the row was never given to `judge`."""
        key = self.rubric.key(row, self.endpoint.model)
        entry = self.endpoint.ledger.find(key)
        if entry and entry.state == "ok":
            return Verdict(self.rubric.score(entry.value), self.rubric.reason(entry.value), self.name)
        code = entry.code if entry else self._failed.get(key)
        return Verdict(-1, "", self.name, code) if code else None

    def score_again(self, rows: Iterable[Row]) -> dict[str, int]:
        """Scores of rows asked afresh, past the ledger: row id → score; rows without a usable reply are left out."""
        asked = [(self.ask(row), row["id"]) for row in rows]
        ids = {ask.key: row_id for ask, row_id in asked}
        scores: dict[str, int] = {}

        def note(outcome: Outcome) -> None:
            if outcome.state == "ok":
                scores[ids[outcome.key]] = self.rubric.score(outcome.value)

        self.tally += self.endpoint.ask([ask for ask, _ in asked], note, afresh=True)
        return scores

    def facts(self) -> dict[str, Any]:
        """Calls, tokens, cost, faults and how many replies needed repair."""
        facts = self.tally.facts()
        answered = sum(facts["replies"].values()) + sum(facts["failed"].values())
        repaired = facts["replies"].get("repaired", 0) + sum(facts["failed"].values())
        repair_share = round(repaired / max(1, answered), 4)
        return facts | {"model": self.endpoint.model, "repair_share": repair_share} | self._sameness.facts()

    def _note(self, outcome: Outcome) -> None:
        if outcome.state == "failed":
            self._failed[outcome.key] = outcome.code
            if not self._usable:
                codes = Counter(code for code in self._failed.values() if not code.startswith("http-"))
                if codes.total() >= UNUSABLE_AT_FIRST:
                    raise self._no_judge(codes.total(), str(dict(codes)))
            return
        self._usable = True
        self._sameness.add(self.rubric.points(outcome.value), outcome.value["reason"])
        if self._sameness.hopeless:
            raise EnvironmentFault(
                f"{self._constant('constant-points')} and with the same reason: {outcome.value['reason'][:100]}",
                where=self._where,
                next_step="take a larger model as endpoint.model, or judge.scorer: lexicon",
            )

    @property
    def _where(self) -> str:
        return f"{self.endpoint.section.base_url}, model {self.endpoint.model}"

    def _no_judge(self, rows: int, why: str) -> EnvironmentFault:
        return EnvironmentFault(
            f"not one of {rows:,} rows got a usable reply: {why}",
            where=self._where,
            next_step="check endpoint.model; a prompt of the rubric needs a context of about 3,000 tokens",
        )

    def _constant(self, code: str) -> str:
        facts = self._sameness.facts()
        share, points = facts[f"same_{code.removeprefix('constant-')}"], facts["commonest_points"]
        what = f"the points {points}" if code == "constant-points" else "the same reason"
        return f"the judge {self.endpoint.model} gave {share:.0%} of the rows {what}"
