"""Progress on a terminal: rows, rows per second, cost so far, time left."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .tally import Tally


@contextmanager
def meter(total: int | None, label: str) -> Iterator[Callable[[Tally], None]]:
    """A function to be called with each new tally; it draws on a terminal and does nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda tally: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("  {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.1f} rows/s · cost {task.fields[cost]:.2f} · failed {task.fields[failed]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(label, total=total, rate=0.0, cost=0.0, failed=0)

        def tell(tally: Tally) -> None:
            progress.update(
                task, completed=tally.done, rate=tally.rate, cost=tally.paid.cost, failed=sum(tally.failed.values())
            )

        yield tell
