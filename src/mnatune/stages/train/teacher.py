"""What the teacher says to each answer, kept as its last hidden states: it reads every passage once, whatever the epochs.

A state is what the head is given; the head is frozen, so the teacher's distribution over the whole vocabulary comes back from
it exactly, in a few kB a token (2 bytes for each of the model's width) where the logits would take hundreds.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...runs.job import Job
from ...runs.workspace import value_hash, write_json
from .distill_rows import DistillRow
from .token_rows import IGNORED
from .trainer import answer_states

STATES, READ = "teacher_states.bf16", "teacher_states.json"  # in the stage's state folder


class TeacherStates:
    """The states at the answer tokens of the rows, in a file that is mapped, not loaded.

    Args:
        path: the file, bf16, row after row; made if there is none.
        width: of a state.
        rows: those without a passage have none.
    """

    def __init__(self, path: Path, width: int, rows: Sequence[DistillRow]) -> None:
        self._path = path
        self._starts = np.cumsum([0, *(len(row.example.completion) if row.teacher else 0 for row in rows)])
        shape = (max(1, int(self._starts[-1])), width)
        if not path.is_file():
            # reserved at once: without room this is an error, while writing to a mapped page would end the process
            with path.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, 2 * shape[0] * width)
        self._kept = np.memmap(path, np.int16, "r+", shape=shape)

    def of(self, row: int) -> torch.Tensor:
        """The states of a row, shape (answer tokens, width)."""
        kept = np.array(self._kept[self._starts[row] : self._starts[row + 1]])
        return torch.from_numpy(kept).view(torch.bfloat16)

    def keep(self, row: int, states: torch.Tensor) -> None:
        """Write the states of a row."""
        kept = states.to(torch.bfloat16).cpu().view(torch.int16).numpy()
        self._kept[self._starts[row] : self._starts[row + 1]] = kept

    def flush(self) -> None:
        """Have all of it on the disk."""
        self._kept.flush()

    def remove(self) -> None:
        """Delete the file, which a finished training needs no more."""
        self._path.unlink()


def taught_states(
    job: Job, model: Any, collate: Any, rows: Sequence[DistillRow], batch: int, identity: str
) -> TeacherStates:
    """The teacher's states at all rows, read unless this training has read them before it was interrupted.

    Args:
        model: with the adapter, which is off while the teacher reads.
        collate: makes a padded batch of rows with `input_ids` and `labels`.
        batch: rows read at once.
        identity: of the training; states of another, or of other rows, are read anew.
    """
    path, note = job.path("state") / STATES, job.path("state") / READ
    path.parent.mkdir(parents=True, exist_ok=True)
    told = {"of": identity, "rows": value_hash([[row.teacher, row.example.completion] for row in rows])}
    whole = note.is_file() and path.is_file() and json.loads(note.read_text(encoding="utf-8")) == told
    if not whole:
        note.unlink(missing_ok=True)  # first: a file that is begun must not look whole
        path.unlink(missing_ok=True)
    states = TeacherStates(path, model.config.get_text_config().hidden_size, rows)
    if whole:
        return states
    model.eval()
    taught = sorted((at for at, row in enumerate(rows) if row.teacher), key=lambda at: rows[at].teacher_tokens)
    parts = [taught[at : at + batch] for at in range(0, len(taught), batch)]
    for part in job.track(parts, "reading as the teacher"):
        inputs = {name: value.to(model.device) for name, value in collate([_read(rows[at]) for at in part]).items()}
        with torch.no_grad(), model.disable_adapter(), torch.autocast(model.device.type, torch.bfloat16):
            hidden, _ = answer_states(model, inputs, 0)
        sizes = [len(rows[at].example.completion) for at in part]
        for at, own in zip(part, torch.split(hidden, sizes), strict=True):
            states.keep(at, own)
    states.flush()
    write_json(note, told)
    return states


def _read(row: DistillRow) -> dict[str, list[int]]:
    """What the teacher reads: the prompt with the passage, then the answer."""
    answer = row.example.completion
    return {"input_ids": row.teacher + answer, "labels": [IGNORED] * len(row.teacher) + answer}
