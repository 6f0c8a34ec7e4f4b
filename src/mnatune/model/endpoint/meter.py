"""Progress: rows, rows per second, cost so far, time left. A bar on a terminal; elsewhere a line a minute."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .tally import Tally

LINE_SECONDS = 60.0  # between two lines of a log

Tell = Callable[[Tally], None]


@contextmanager
def meter(total: int | None, label: str) -> Iterator[Tell]:
    """A function that shows progress, to be called with each new tally.

    Without a terminal the first line is written at once, before any reply.
    """
    if not sys.stderr.isatty():
        yield _lines(total, label)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("  {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.1f} rows/s · cost {task.fields[cost]:.2f} · failed {task.fields[failed]}"),
        TextColumn("{task.fields[faults]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(label, total=total, rate=0.0, cost=0.0, failed=0, faults="")

        def tell(tally: Tally) -> None:
            facts: dict[str, Any] = {"rate": tally.rate, "cost": tally.paid.cost, "failed": tally.failed.total()}
            progress.update(task, completed=tally.done, faults=_faults(tally), **facts)

        yield tell


def described(tally: Tally, total: int | None, label: str) -> str:
    """One line of progress; the time left is that of the rows that are not in the ledger yet."""
    rows = f"{tally.done:,}" if total is None else f"{tally.done:,} of {total:,}"
    line = f"  {label}: {rows} rows, {tally.rate:.1f} rows/s, {tally.paid.tokens:,} tokens, cost {tally.paid.cost:.2f}"
    line += f", failed {sum(tally.failed.values()):,}"
    line += f", faults: {_faults(tally)}" if tally.faults else ""
    if total is None or not tally.rate:
        return line
    minutes, seconds = divmod(round(max(0, total - tally.done) / tally.rate), 60)
    return f"{line}, {minutes // 60}:{minutes % 60:02}:{seconds:02} left"


def _faults(tally: Tally) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in tally.faults.most_common(3))


def _lines(total: int | None, label: str) -> Tell:
    rows = "" if total is None else f" {total:,} rows"
    print(f"  {label}:{rows}, waiting for the first reply", file=sys.stderr, flush=True)
    told = time.monotonic()

    def tell(tally: Tally) -> None:
        nonlocal told
        if time.monotonic() - told >= LINE_SECONDS:
            told = time.monotonic()
            print(described(tally, total, label), file=sys.stderr, flush=True)

    return tell
