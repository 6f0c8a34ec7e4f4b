"""Connections that cost something and bring nothing end: never a request, a request that trickles in, one too many."""

import asyncio
import resource
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 15.0  # from a connection's first byte, or its opening, to the end of a request's headers
KEEP_SECONDS = 75  # a connection without a request stays open; nginx keeps its upstream connections for 60 s
FILES = 8_192  # open files to ask the system for, since each connection is one
SHARE = 2  # one file in so many may be a connection; the others are for the model, the store and what answers open


class PatientProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 with a deadline for headers and a limit of connections, the oldest idle one going first."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection if there is room."""
        super().connection_made(transport)
        self._due: asyncio.TimerHandle | None = None
        self._opened = self.loop.time()
        self._expect_headers()
        if len(self.connections) > most_connections():
            idle: list[PatientProtocol] = [one for one in self.connections if one.is_idle()]  # type: ignore[union-attr,misc]
            min(idle, key=lambda one: one._opened, default=self).transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline."""
        self._forget()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Pass bytes on; while they complete no request, the deadline runs."""
        if self.is_idle() and self._due is None:
            self._expect_headers()
        super().data_received(data)
        if not self.is_idle():
            self._forget()

    def is_idle(self) -> bool:
        """True while no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _expect_headers(self) -> None:
        self._due = self.loop.call_later(HEAD_SECONDS, self._too_late)

    def _too_late(self) -> None:
        self._due = None
        if self.is_idle():
            self.transport.close()

    def _forget(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None


def most_connections() -> int:
    """Connections at once, by the files that the process may open."""
    return max(64, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // SHARE)


def raise_file_limit() -> None:
    """Ask for as many open files as the system grants, up to `FILES`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def settings() -> dict[str, Any]:
    """How uvicorn is to treat connections."""
    raise_file_limit()
    return {"http": PatientProtocol, "timeout_keep_alive": KEEP_SECONDS}
