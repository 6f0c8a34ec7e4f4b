"""Counts of asked, answered, paid and failed calls."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class CallUsage:
    """Tokens of calls and what they cost, in the currency of the recipe's prices."""

    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0

    def __add__(self, other: "CallUsage") -> "CallUsage":
        calls, tokens_in = self.calls + other.calls, self.tokens_in + other.tokens_in
        return CallUsage(calls, tokens_in, self.tokens_out + other.tokens_out, self.cost + other.cost)

    @property
    def tokens(self) -> int:
        """Prompt and answer tokens together."""
        return self.tokens_in + self.tokens_out


@dataclass
class Tally:
    """The state of a round of asking.

    Attributes:
        done: rows that have an outcome, `cached` of them from the ledger.
        how: rows by how their reply came: clean, tolerated (words around the JSON), repaired (a second call).
        failed: rows without a usable reply, by code.
        faults: what went wrong on the way and was tried again, by name ("429", "reset", "timeout" …).
        refusal: what the server said when it last refused a request that no wording of the API would mend.
        paid: answered calls of this process, repairs and unusable replies included.
        busy: mean share of the concurrency limit that was in flight.
    """

    done: int = 0
    cached: int = 0
    how: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    refusal: str = ""
    paid: CallUsage = CallUsage()
    seconds: float = 0.0
    busy: float = 0.0

    @property
    def rate(self) -> float:
        """Rows per second, without those from the ledger."""
        return (self.done - self.cached) / self.seconds if self.seconds > 0 else 0.0

    def facts(self) -> dict[str, Any]:
        """As JSON-able values for a manifest."""
        return {
            "rows": self.done,
            "from_ledger": self.cached,
            "replies": dict(sorted(self.how.items())),
            "failed": dict(sorted(self.failed.items())),
            "faults": dict(sorted(self.faults.items())),
            "calls": self.paid.calls,
            "tokens_in": self.paid.tokens_in,
            "tokens_out": self.paid.tokens_out,
            "cost": round(self.paid.cost, 6),
            "rows_per_second": round(self.rate, 2),
            "busy": round(self.busy, 4),
        }

    def __add__(self, other: "Tally") -> "Tally":
        seconds = self.seconds + other.seconds
        busy = (self.busy * self.seconds + other.busy * other.seconds) / seconds if seconds else 0.0
        return Tally(
            self.done + other.done,
            self.cached + other.cached,
            self.how + other.how,
            self.failed + other.failed,
            self.faults + other.faults,
            other.refusal or self.refusal,
            self.paid + other.paid,
            seconds,
            busy,
        )
