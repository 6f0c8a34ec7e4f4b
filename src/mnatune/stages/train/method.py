"""What a training method is: the rows it learns from, what it asks of the machine, how it trains, and what is shown of it.

The methods themselves are one module each in `methods/`; nothing else asks which method a recipe names.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...runs.errors import DataError
from ...runs.job import Job
from ...runs.recipe import Recipe
from ...runs.workspace import Run
from .plan import Needs, TeacherReading

TRAIN_ROWS = "train.jsonl"


def rows_file(run: Run, named: str | None) -> Path:
    """The file of rows that a method learns from: what its option `rows` names, or the run's own training rows.

    Raises:
        DataError: there is none.
    """
    if not named:
        return run.require("compose", TRAIN_ROWS)
    path = Path(named) / TRAIN_ROWS if Path(named).is_dir() else Path(named)
    if not path.is_file():
        raise DataError(
            "there are no rows to learn from: no such file", where=str(path), next_step="set train.options.rows"
        )
    return path


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of metrics.jsonl in the report: its Korean title, and the d3 format of the axis."""

    title: str
    tick: str


@dataclass(frozen=True, slots=True)
class Method:
    """A training method.

    Attributes:
        name: as in `train.method`.
        label: what it does, in Korean.
        rows: file of the compose stage, and of a feedback export, that it learns from.
        from_feedback: a round of `improve` may train by it.
        lengths: tokens that each training row is run on; raises `DataError` where the rows are missing.
        needs: what it asks of the machine for rows of these lengths.
        work: does the train stage.
        figures: its own keys of metrics.jsonl, in the order in which the report shows them.
        reading: what its teacher reads of the rows, if it has one.
        answers: it has the model answer, by the recipe's repetition penalty.
        pack_files, code: what of the pack, and which rooms besides `stages/train` and `model`, its result depends on.
    """

    name: str
    label: str
    rows: str
    from_feedback: bool
    lengths: Callable[[Recipe, Run], list[int]]
    needs: Callable[[Recipe, Sequence[int]], Needs]
    work: Callable[[Job], None]
    figures: Mapping[str, Figure] = field(default_factory=dict)
    reading: Callable[[Recipe, Run], TeacherReading] | None = None
    answers: bool = False
    pack_files: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
