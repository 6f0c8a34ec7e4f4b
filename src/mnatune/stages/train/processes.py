"""Training by several processes (torchrun, accelerate launch): which one this is, and who goes first."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ...runs.errors import UsageError


def process_count() -> int:
    """Processes of this training, by the launcher's own variable."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def main_first() -> Iterator[None]:
    """The process in charge goes through the block first; the others follow when it is done."""
    if process_count() == 1:
        yield
        return
    with _state().main_process_first():
        yield


def wait_for_all() -> None:
    """Wait until every process has come here."""
    if process_count() > 1:
        _state().wait_for_everyone()


def micro_batches(rows: int, batch: int) -> tuple[int, int]:
    """How the rows of a step are cut: (rows in a micro-batch, micro-batches per process).

    Args:
        rows: rows in an optimizer step, over all processes.
        batch: the most rows that a micro-batch may have.

    Raises:
        UsageError: the rows of a step cannot be shared out evenly.
    """
    processes = process_count()
    if rows % processes:
        raise UsageError(
            f"a step of {rows} rows (train.batch x train.accumulate) cannot be shared by {processes} processes",
            next_step=f"make train.batch x train.accumulate a multiple of {processes}",
        )
    own = rows // processes
    size = max(b for b in range(1, min(batch, own) + 1) if own % b == 0)
    return size, own // size


def _state() -> Any:
    import torch
    from accelerate import PartialState  # type: ignore[import-untyped]

    return PartialState(cpu=not torch.cuda.is_available())
