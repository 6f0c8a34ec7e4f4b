"""Runs parsers of untrusted files in limited processes: one that crashes or hangs costs one task.

A worker has limits on memory and time, and may not write files, open connections or start programs. This stops parsers
that misbehave; it does not contain an exploit that executes its own code.

Does not: limit memory where `RLIMIT_AS` has no effect (Windows, macOS).
"""

import pickle
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from ..runs.errors import MnatuneError
from ..runs.workers import start_child
from .blocks import Unreadable

T = TypeVar("T")

FORBIDDEN = ("socket.", "subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.remove", "os.rename")


@dataclass(frozen=True, slots=True)
class TaskLimits:
    """What one task may use."""

    seconds: float = 60.0
    memory: int = 1 << 30
    output: int = 64 << 20


@dataclass(frozen=True, slots=True)
class Lost:
    """The reason why a task has no result.

    Attributes:
        detail: the exception or exit status behind it.
    """

    reason: str
    detail: str = ""


@dataclass
class _Helper:
    process: "subprocess.Popen[bytes]"
    pipe: Any
    task: int = -1
    deadline: float = 0.0

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self.pipe.close()


def attempt(
    work: Callable[..., T], tasks: Sequence[tuple[Any, ...]], processes: int, limits: TaskLimits | None = None
) -> Iterator[T | Lost]:
    """Call `work(*task)` for each task in limited processes and yield results or `Lost`, in order.

    Args:
        work: a function at the top level of a module; it may raise `Unreadable` with a reason.

    Raises:
        MnatuneError: raised by `work`; it concerns every task, such as a missing package.
    """
    limits = limits or TaskLimits()
    waiting = deque(range(len(tasks)))
    helpers: list[_Helper] = []
    done: dict[int, T | Lost] = {}
    try:
        for number in range(len(tasks)):
            while number not in done:
                while waiting and len(helpers) < min(processes, len(tasks)):
                    pipe, process = start_child(serve)
                    pipe.send(limits)
                    helpers.append(_Helper(process, pipe))
                for helper in [h for h in helpers if h.task < 0][: len(waiting)]:
                    _give(helper, work, waiting.popleft(), tasks, limits, helpers, done)
                _collect(helpers, done)
            yield done.pop(number)
    finally:
        for helper in helpers:
            helper.stop()


def _give(
    helper: _Helper,
    work: Callable[..., T],
    number: int,
    tasks: Sequence[tuple[Any, ...]],
    limits: TaskLimits,
    helpers: list[_Helper],
    done: dict[int, T | Lost],
) -> None:
    helper.task, helper.deadline = number, time.monotonic() + limits.seconds
    try:
        helper.pipe.send((work, tasks[number]))
    except OSError:  # it died before the task arrived
        _bury(helper, Lost("the reader crashed"), helpers, done)


def _collect(helpers: list[_Helper], done: dict[int, T | Lost]) -> None:
    """Take the results that have arrived, and end tasks past their deadline."""
    busy = {helper.pipe: helper for helper in helpers if helper.task >= 0}
    if not busy:
        return
    soonest = min(helper.deadline for helper in busy.values())
    for pipe in wait(list(busy), timeout=max(0.0, soonest - time.monotonic())):
        helper = busy[pipe]  # type: ignore[index]
        try:
            found = pickle.loads(helper.pipe.recv_bytes())
            if isinstance(found, MnatuneError):
                raise found
            done[helper.task], helper.task = found, -1
        except (EOFError, OSError):
            _bury(helper, Lost("the reader crashed", f"exit status {helper.process.wait()}"), helpers, done)
    now = time.monotonic()
    for helper in [h for h in helpers if h.task >= 0 and h.deadline <= now]:
        _bury(helper, Lost("took too long"), helpers, done)


def _bury(helper: _Helper, why: Lost, helpers: list[_Helper], done: dict[int, T | Lost]) -> None:
    done[helper.task] = why
    helper.stop()
    helpers.remove(helper)


def serve(handle: int) -> None:
    """A worker's main loop: set the limits, then take tasks until the pipe closes."""
    pipe: Any = Connection(handle)
    limits: TaskLimits = pipe.recv()
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (limits.memory, limits.memory))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, ValueError, OSError):
        pass
    sys.addaudithook(_refuse)
    while True:
        try:
            work, task = pipe.recv()
        except EOFError:
            return
        answer = pickle.dumps(_done(work, task))
        if len(answer) > limits.output:
            answer = pickle.dumps(Lost("too much output", f"{len(answer):,} bytes"))
        pipe.send_bytes(answer)


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event.startswith(FORBIDDEN):
        raise PermissionError(f"{event} is refused while files are read")


def _done(work: Callable[..., T], task: tuple[Any, ...]) -> T | Lost | Exception:
    try:
        return work(*task)
    except Unreadable as error:
        return Lost(str(error), str(error.__cause__ or ""))
    except MemoryError:
        return Lost("needs too much memory")
    except RecursionError:
        return Lost("nested too deeply")
    except MnatuneError as error:  # for the caller to raise
        return error
    except Exception as error:  # parsers raise any type on damaged files
        return Lost("damaged file", f"{type(error).__name__}: {error}"[:300])
