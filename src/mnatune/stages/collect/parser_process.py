"""Parses pages and PDFs in a separate process: a file from the web can take any amount of memory and time.

The process is reused, and restarted after a file that killed it. It never imports the caller's main module.
"""

import resource
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self

from ...runs.errors import MnatuneError
from ...runs.workers import start_child
from .page_text import Extracted, from_html, from_pdf

MOST_MEMORY = 512 << 20
CPU_SECONDS = 30
WALL_SECONDS = 300  # backstop for a process that hangs without using CPU
TOO_COSTLY = "too-costly"


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """A body with what is known of it; `kind` is "html" or "pdf"."""

    kind: str
    body: bytes
    content_type: str
    url: str

    def extracted(self) -> Extracted:
        """Title and text, in this process."""
        return from_pdf(self.body) if self.kind == "pdf" else from_html(self.body, self.content_type, self.url)


class ParserProcess:
    """Parses files within limits; use it as a context manager.

    Args:
        memory: bytes per file, on top of what the loaded parsers use.
        cpu_seconds: CPU time per file.
    """

    def __init__(self, memory: int = MOST_MEMORY, cpu_seconds: int = CPU_SECONDS) -> None:
        self._limits = (memory, cpu_seconds)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def extract(self, file: FetchedFile) -> Extracted:
        """Title and text of a file; empty, with `fault` set, if the file exceeds the limits.

        Raises:
            MnatuneError: a parser is not installed.
        """
        if self._process is None:
            self._pipe, self._process = start_child(_serve, *self._limits)
        try:
            self._pipe.send(file)
            if self._pipe.poll(WALL_SECONDS):
                answer = self._pipe.recv()
                if isinstance(answer, MnatuneError):
                    raise answer
                assert isinstance(answer, Extracted)
                return answer
        except (EOFError, OSError):
            pass  # the file killed the process
        self._end()
        return Extracted("", "", fault=TOO_COSTLY)

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._pipe.close()
            self._process = None


def _serve(handle: int, memory: int, cpu_seconds: int) -> None:
    """The child's loop: receive a file, send its text, until the pipe closes."""
    with suppress(ImportError):  # loaded before the limits are set; a missing one is reported with the first file
        import pypdf  # noqa: F401
        import trafilatura  # noqa: F401
    pipe = Connection(handle)
    _limit_memory(memory)
    while True:
        try:
            file = pipe.recv()
        except EOFError:
            return
        _limit_cpu(cpu_seconds)
        pipe.send(_answer(file))


def _answer(file: Any) -> Extracted | MnatuneError:
    try:
        return file.extracted()  # type: ignore[no-any-return]
    except MnatuneError as error:
        return error
    except (MemoryError, RecursionError):
        return Extracted("", "", fault=TOO_COSTLY)
    except Exception:  # parsers raise many kinds of error on broken files
        return Extracted("", "", fault="broken-file")


def _limit_memory(more: int) -> None:
    sizes = Path("/proc/self/statm")
    if sizes.exists():  # other systems do not enforce the limit
        most = int(sizes.read_text().split()[0]) * resource.getpagesize() + more
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))


def _limit_cpu(more: int) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = int(used.ru_utime + used.ru_stime) + more
    resource.setrlimit(resource.RLIMIT_CPU, (most, resource.getrlimit(resource.RLIMIT_CPU)[1]))
