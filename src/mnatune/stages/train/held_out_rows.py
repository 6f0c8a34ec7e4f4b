"""Keeps the questions that a run is tested on out of the rows that a method is given to learn from.

compose keeps its own splits apart; a file that `train.options.rows` names comes from elsewhere. Questions are compared by
their letters, with the turns before them.

Does not: find a question in other words.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...model.dialogue_rows import given_rows
from ...runs.errors import DataError
from ...runs.recipe import Recipe
from ...runs.records import questions_in
from ...runs.workspace import Run, read_jsonl
from ...text.normalize import sameness

TEST_ROWS = "test.jsonl"


def refuse_test_questions(recipe: Recipe, run: Run, name: str) -> None:
    """Refuse the rows that `train.options.rows` names if they ask a question of the run's test split.

    Args:
        name: of the method's rows in a folder.

    Raises:
        DataError: they do, or a line is no JSON object.
    """
    named, test = recipe.train.options.get("rows"), run.folder("compose") / TEST_ROWS
    if not named or not test.is_file():
        return
    path = Path(named) / name if Path(named).is_dir() else Path(named)
    if not path.is_file():  # the method says so
        return
    tested = {sameness(question) for row in read_jsonl(test) for question in _asked(row)[-1:]}
    rows = given_rows(path, empty_ok=True)
    found = [where for where, row in rows if not tested.isdisjoint(map(sameness, _learnt(row)))]
    if found:
        raise DataError(
            f"{len(found)} rows to learn from ask a question of the run's own {TEST_ROWS}, which it is measured by",
            where=found[0],
            next_step=f"take the rows that ask a question of {test} out of the file, or leave out train.options.rows",
        )


def _learnt(row: Mapping[str, Any]) -> list[str]:
    """The questions whose answers are learnt: all of a dialogue, the last one where the turns before it are only shown."""
    return _asked(row)[-1:] if "prompt" in row or row.get("loss") == "last" else _asked(row)


def _asked(row: Mapping[str, Any]) -> list[str]:
    """The questions of a row of any method, as they were before passages were put to them.

    What is no list of turns or no evidence gives none: the method's own reader refuses it, and says where.
    """
    given, evidence = row.get("messages") or row.get("prompt"), row.get("evidence")
    turns = [turn for turn in given if isinstance(turn, Mapping)] if isinstance(given, list) else []
    plain = evidence.get("question") if isinstance(evidence, Mapping) else None
    last = max((at for at, turn in enumerate(turns) if turn.get("role") == "user"), default=-1)
    if plain and last >= 0:
        turns[last] = {**turns[last], "content": plain}
    return questions_in(turns)
