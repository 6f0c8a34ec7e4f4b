"""The LLM judge: every row that it is given is asked once, and its verdict read back from the ledger."""

from collections.abc import Iterable
from typing import Any

from ...model.endpoint import Ask, Clock, Endpoint, Outcome, Tally, meter
from ...runs.errors import EnvironmentFault
from ...runs.job import Job
from .judge_rows import Row, Verdict
from .rubric import Rubric

NOT_ASKED = "not-asked"


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

    @property
    def name(self) -> str:
        """The judge's name in records."""
        return f"llm:{self.endpoint.model}"

    def judge(self, rows: Iterable[Row], total: int, label: str) -> None:
        """Ask about every row that the ledger does not know yet.

        Raises:
            EnvironmentFault: no row at all got a usable reply; then the judge is no judge.
        """
        with meter(total, label) as tell:
            tally = self.endpoint.ask((self.ask(row) for row in rows), self._note, tell)
        self.tally += tally
        if tally.failed and not tally.how:
            raise EnvironmentFault(
                f"not one of {tally.done:,} rows got a usable reply: {dict(tally.failed)} {tally.refusal}".rstrip(),
                where=f"{self.endpoint.section.base_url}, model {self.endpoint.model}",
                next_step="check endpoint.model; a prompt of the rubric needs a context of about 3,000 tokens",
            )

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
        asks, ids = [], {}
        for row in rows:
            asks.append(self.ask(row))
            ids[asks[-1].key] = row["id"]
        scores: dict[str, int] = {}

        def note(outcome: Outcome) -> None:
            if outcome.state == "ok":
                scores[ids[outcome.key]] = self.rubric.score(outcome.value)

        self.tally += self.endpoint.ask(asks, note, afresh=True)
        return scores

    def facts(self) -> dict[str, Any]:
        """Calls, tokens, cost, faults and how many replies needed repair."""
        facts = self.tally.facts()
        answered = sum(facts["replies"].values()) + sum(facts["failed"].values())
        repaired = facts["replies"].get("repaired", 0) + sum(facts["failed"].values())
        return facts | {"model": self.endpoint.model, "repair_share": round(repaired / max(1, answered), 4)}

    def _note(self, outcome: Outcome) -> None:
        if outcome.state == "failed":
            self._failed[outcome.key] = outcome.code
