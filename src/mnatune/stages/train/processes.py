"""Training by several processes (torchrun): their number, their order, and their share of a step."""

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
    """The process in charge runs the block first; the others follow when it is done."""
    if process_count() == 1:
        yield
        return
    with _state().main_process_first():
        yield


def wait_for_all() -> None:
    """Wait until every process has come here."""
    if process_count() > 1:
        _state().wait_for_everyone()


def share_of_step(rows: int) -> int:
    """Rows of an optimizer step that fall to one process.

    Raises:
        UsageError: they cannot be shared out evenly.
    """
    processes = process_count()
    if rows % processes:
        raise UsageError(
            f"a step of {rows} rows (train.rows_per_step) cannot be shared by {processes} processes",
            next_step=f"make train.rows_per_step a multiple of {processes}",
        )
    return rows // processes


def refuse_sharding() -> None:
    """Raise `UsageError` where Accelerate is told to shard the weights, which mnatune does not do."""
    for name in ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"):
        if os.environ.get(name, "").lower() in ("1", "true"):
            raise UsageError(
                "every process of mnatune train holds the whole model: FSDP and DeepSpeed are not supported",
                where=name,
                next_step="launch with torchrun --nproc_per_node N; for a larger model set train.quantize: nf4",
            )


def _state() -> Any:
    import torch
    from accelerate import PartialState  # type: ignore[import-untyped]

    return PartialState(cpu=not torch.cuda.is_available())
