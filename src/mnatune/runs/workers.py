"""Worker processes for CPU-bound work.

Unlike `multiprocessing`'s pools a worker never imports the caller's main module, so a notebook or a script without the
`if __name__ == "__main__"` guard works unchanged.
"""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.abc import MetaPathFinder
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any, TypeVar

from .errors import EnvironmentFault, MnatuneError

T = TypeVar("T")

GIB = 1 << 30
# A worker keeps freed memory for its next task: returning it to the kernel, which zeroes it again, took a twelfth of the
# time of reading. Only glibc reads this variable.
KEEP_MEMORY = ":".join(f"glibc.malloc.{it}" for it in ("hugetlb=1", f"mmap_threshold={GIB}", f"trim_threshold={GIB}"))


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def spread(work: Callable[..., T], tasks: Sequence[tuple[Any, ...]], processes: int) -> Iterator[T]:
    """Call `work(*task)` for each task and yield the results in the order of the tasks.

    Args:
        work: a function at the top level of a module.
        processes: with 1, or a single task, no process is started.

    Raises:
        EnvironmentFault: a process died.
        MnatuneError: what `work` raised.
    """
    if processes <= 1 or len(tasks) <= 1:
        for task in tasks:
            yield work(*task)
        return
    yield from _parallel(work, tasks, min(processes, len(tasks)))


def start_child(
    serve: Callable[..., None], *arguments: Any, quiet: bool = True, **environment: str
) -> "tuple[Connection, subprocess.Popen[bytes]]":  # type: ignore[type-arg]
    """Start a process that calls `serve(handle, *arguments)`; returns this end of the pipe, and the process.

    Args:
        serve: a function at the top level of a module.
        quiet: drop what it prints.
    """
    ours, theirs = Pipe()
    name, handle, output = serve.__name__, theirs.fileno(), subprocess.DEVNULL if quiet else None
    code = f"from {serve.__module__} import {name}; {name}({handle}, *{arguments!r})"
    paths = os.pathsep.join(path for path in sys.path if path)
    process = subprocess.Popen(
        [sys.executable, "-c", code], pass_fds=[handle], env={**environment, **os.environ, "PYTHONPATH": paths},
        stdin=subprocess.DEVNULL, stdout=output, stderr=output,
    )  # fmt: skip
    theirs.close()
    return ours, process


def _parallel(work: Callable[..., T], tasks: Sequence[tuple[Any, ...]], processes: int) -> Iterator[T]:
    helpers: list[subprocess.Popen[bytes]] = []
    pipes: dict[Connection, int] = {}  # type: ignore[type-arg]
    waiting = list(range(len(tasks)))[::-1]
    done: dict[int, T] = {}
    try:
        for _ in range(processes):
            ours, helper = start_child(_serve, quiet=False, GLIBC_TUNABLES=KEEP_MEMORY)
            helpers.append(helper)
            pipes[ours] = waiting.pop()
            _send(ours, work, tasks[pipes[ours]])
        for number in range(len(tasks)):
            while number not in done:
                for pipe in wait(list(pipes)):
                    assert isinstance(pipe, Connection)
                    done[pipes.pop(pipe)] = _receive(pipe)
                    if waiting:
                        pipes[pipe] = waiting.pop()
                        _send(pipe, work, tasks[pipes[pipe]])
            yield done.pop(number)
    finally:
        for helper in helpers:
            helper.terminate()
        for helper in helpers:
            helper.wait()


def _send(pipe: Any, work: Callable[..., Any], task: tuple[Any, ...]) -> None:
    try:
        pipe.send((work, task))
    except OSError as error:
        raise EnvironmentFault("a worker process died", next_step="check the memory of the machine") from error


def _receive(pipe: Any) -> Any:
    try:
        good, value = pipe.recv()
    except (EOFError, OSError) as error:
        step = "check the memory of the machine, then run the same command again"
        raise EnvironmentFault("a worker process died", next_step=step) from error
    if good:
        return value
    raise value


class _WithoutPandas(MetaPathFinder):
    """Keeps pyarrow from loading pandas, which takes each worker 0.7 s and which no worker needs."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError("workers do without pandas", name="pandas")


def _serve(handle: int) -> None:
    """Worker loop: take a task, send its result, until the pipe closes."""
    sys.meta_path.insert(0, _WithoutPandas())
    pipe = Connection(handle)
    while True:
        try:
            work, task = pipe.recv()
        except EOFError:
            return
        try:
            answer = (True, work(*task))
        except MnatuneError as error:
            answer = (False, error)
        except Exception as error:
            answer = (False, RuntimeError(f"{type(error).__name__} in a worker: {error}"))
        try:
            pipe.send(answer)
        except (pickle.PicklingError, TypeError) as error:
            pipe.send((False, RuntimeError(str(error))))
