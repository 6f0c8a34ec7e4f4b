"""Prometheus metrics of one server. Labels are model names and outcomes only: never keys, never text."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from ..model.engine.protocol import Load

FAST = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
PER_TOKEN = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """All metrics, in a registry of their own, so that two servers in one process do not collide.

    Args:
        load: the engine's load, asked when the metrics are read.
    """

    def __init__(self, load: Callable[[], Load]) -> None:
        self._registry = CollectorRegistry()
        self._load = load
        own = self._registry
        self.requests = Counter("mnatune_http_requests", "Requests", ["route", "status"], registry=own)
        self.in_flight = Gauge("mnatune_answers_in_flight", "Answers being made or sent", registry=own)
        self.first_token = Histogram(
            "mnatune_time_to_first_token_seconds", "From request to first text", ["model"], buckets=FAST, registry=own
        )
        self.per_token = Histogram(
            "mnatune_time_per_token_seconds", "Mean after the first", ["model"], buckets=PER_TOKEN, registry=own
        )
        self.tokens = Counter("mnatune_tokens", "Tokens read and made", ["model", "kind"], registry=own)
        self.answers = Counter("mnatune_answers", "Answers by how they ended", ["model", "outcome"], registry=own)
        self.feedback = Counter("mnatune_feedback", "Ratings, edits and choices", ["kind"], registry=own)
        self.lost_feedback = Counter("mnatune_feedback_store_errors", "Writes that failed", registry=own)
        self._waiting = Gauge("mnatune_engine_waiting", "Requests in the engine's queue", registry=own)
        self._running = Gauge("mnatune_engine_running", "Rows in the engine's batches", registry=own)
        self._faults = Gauge("mnatune_engine_faults", "Batches lost and restarts since the start", registry=own)

    def render(self) -> bytes:
        """The text format of Prometheus."""
        load = self._load()
        self._waiting.set(load.waiting)
        self._running.set(load.running)
        self._faults.set(load.faults)
        return bytes(generate_latest(self._registry))
