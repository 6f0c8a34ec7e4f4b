"""The app under test, and servers on real sockets."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn
from fastapi import FastAPI

from mnatune.model.engine.echo import EchoEngine
from mnatune.model.engine.protocol import Engine
from mnatune.service.app import create_app
from mnatune.service.evidence import LawEvidence
from mnatune.service.feedback.store import FeedbackStore
from mnatune.service.keys import KeyStore
from mnatune.service.marking import Checker
from mnatune.service.service import Service, Settings


@dataclass(frozen=True)
class Live:
    """A server that answers on a real socket."""

    url: str
    service: Service
    store: FeedbackStore

    def gauge(self, name: str) -> float:
        """A metric's value now, read the way Prometheus reads it."""
        lines = self.service.metrics.render().decode().splitlines()
        return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} "))


def make_app(
    engine: Engine | None = None,
    keys: KeyStore | None = None,
    settings: Settings | None = None,
    checker: Checker | None = None,
    law: LawEvidence | None = None,
) -> FastAPI:
    """The app over an echo engine, unless told otherwise, and an empty store."""
    store = FeedbackStore("sqlite://", lambda text: text)
    return create_app(engine or EchoEngine(), store, keys, settings or Settings(system="체계"), checker, law)


@contextmanager
def live(app: FastAPI, **options: Any) -> Iterator[Live]:
    """The app on a free port of this machine, in a thread of its own."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", timeout_graceful_shutdown=5, **options))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_for(lambda: server.started or not thread.is_alive(), 60)
    assert server.started
    port = server.servers[0].sockets[0].getsockname()[1]
    service: Service = app.state.service
    try:
        yield Live(f"http://127.0.0.1:{port}", service, service.feedback)  # type: ignore[arg-type]
    finally:
        server.should_exit = True
        thread.join(20)


def wait_for(true: Callable[[], bool], seconds: float) -> bool:
    """Whether something came true in time."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True
