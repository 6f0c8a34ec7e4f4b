"""An OpenAI-compatible endpoint, asked as often as it allows and paid once: for judging, synthesis and essay marking.

    replies   JSON out of a model's text, checked against a flat schema
    limits    requests and tokens per minute, adaptive concurrency, breaker, refusals, spend cap
    ledger    SQLite (WAL) of every paid reply, shared by all runs that name it
    dialects  what is asked, and how servers want it worded
    wire      one HTTP call and what its outcome means
    client    `Endpoint`: asks, repairs, retries, records
    rubric    the pack's rubric: what a judge is asked about a row, and the score of its reply
    meter     progress with rows per second, cost so far and time left

The key comes from MNATUNE_API_KEY in the environment alone and is never written anywhere.
"""

from .client import Endpoint
from .dialects import Ask, Outcome
from .ledger import Ledger, ledger_key
from .limits import Clock
from .meter import meter
from .replies import BadReply, check_flat, json_in
from .tally import Tally

__all__ = [
    "Ask",
    "BadReply",
    "Clock",
    "Endpoint",
    "Ledger",
    "Outcome",
    "Tally",
    "check_flat",
    "json_in",
    "ledger_key",
    "meter",
]
