"""Preference rows: pairs of a better and a worse answer, and answers with thumbs, as each method needs them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...model.dialogue_rows import given_rows
from ...model.load import load_tokenizer
from ...model.prompt import completion_text, prompt_text
from ...runs.errors import DataError
from ...runs.recipe import Recipe
from ...runs.train_options import PreferenceOptions
from ...runs.workspace import Run
from .given_rows import is_pair, preference_of
from .method import Figure
from .plan import Needs

PAIRS = "preferences.jsonl"
ROW = "write prompt, chosen and rejected; for kto also prompt, completion and label"
LEARNING_RATE = 1e-6  # a hundredth of supervised training's, as TRL's default


@dataclass(frozen=True, slots=True)
class PreferenceForm:
    """In what rows a method learns preferences, and through which of TRL's trainers.

    Attributes:
        name: the method's.
        file: of its rows in a folder of exports.
        texts: names of a row's completions.
        rows: a row of a file as rows of this form; None if it is not one.
        trainer: TRL's classes of configuration and trainer, loaded when called.
        figures: of TRL's log that are kept and shown.
        own: further values of the configuration for these rows; they go into the manifest.
        least: fewest rows that must be computed at once.
    """

    name: str
    file: str
    texts: tuple[str, ...]
    rows: Callable[[dict[str, Any]], list[dict[str, Any]] | None]
    trainer: Callable[[], tuple[type, type]]
    figures: Mapping[str, Figure]
    own: Callable[[Sequence[dict[str, Any]]], dict[str, float]] = lambda rows: {}
    least: int = 1


def options_of(recipe: Recipe) -> PreferenceOptions:
    """The recipe's `train.options` for preferences."""
    options = recipe.train.own
    assert isinstance(options, PreferenceOptions)
    return options


def find_preferences(recipe: Recipe, run: Run, form: PreferenceForm) -> Path:
    """The file of preferences: what the recipe names, or the run's own."""
    named = options_of(recipe).rows
    path = Path(named) if named else run.require("compose", "train.jsonl").parent / PAIRS
    if path.is_dir():
        path = path / form.file
    if not path.is_file():
        raise DataError(
            "there is nothing to prefer: no such file", where=str(path),
            next_step="set train.options: {rows: PATH} to a feedback export, or read sources with ranked answers",
        )  # fmt: skip
    return path


def preferences(path: Path, form: PreferenceForm, margin: int = 1) -> Iterator[dict[str, Any]]:
    """Rows of the form; an answer that won or lost several pairs and stands alone counts once.

    Args:
        margin: pairs of a smaller difference in rank are left out.

    Raises:
        DataError: a row has another shape.
    """
    told: set[tuple[str, str]] = set()
    for where, given in given_rows(path, empty_ok=True):
        row = preference_of(given, where)
        made = form.rows(row)
        if made is None:
            raise DataError(f"not a row for train.method: {form.name}", where=where, next_step=ROW)
        if is_pair(row) and row["margin"] < margin:
            continue
        for one in made:
            if one is row:
                yield row
            elif (key := (str(one["prompt"]), one["completion"][-1]["content"])) not in told:
                told.add(key)
                yield one


def fitting_rows(
    wanted: Sequence[dict[str, Any]], form: PreferenceForm, tokenizer: Any, max_length: int
) -> tuple[list[dict[str, Any]], list[int]]:
    """Rows as prompt and completion texts that TRL tokenises to the trained ids, and the tokens that each is run on.

    Rows of which a completion does not fit `max_length` are left out, never cut.
    """
    rows, lengths = [], []
    for row in wanted:
        texts = {"prompt": prompt_text(tokenizer, row["prompt"])}
        texts |= {name: completion_text(tokenizer, row[name][-1]["content"]) for name in form.texts}
        tokens = [len(tokenizer(texts["prompt"] + texts[name])["input_ids"]) for name in form.texts]
        if max(tokens) <= max_length:
            rows.append({**texts, **({"label": row["label"]} if "completion" in form.texts else {})})
            lengths.append(sum(tokens))
    return rows, lengths


def trainable_rows(
    recipe: Recipe, path: Path, form: PreferenceForm, tokenizer: Any
) -> tuple[list[dict[str, Any]], list[int], int]:
    """The rows of a file as `fitting_rows` gives them, and how many did not fit.

    Raises:
        DataError: they are fewer than must be computed at once.
    """
    wanted = list(preferences(path, form, options_of(recipe).margin))
    rows, lengths = fitting_rows(wanted, form, tokenizer, recipe.model.max_length)
    if not rows:
        raise DataError(
            "there is no preference to train on", where=str(path),
            next_step="raise model.max_length" if wanted else "lower the margin in train.options, or collect feedback",
        )  # fmt: skip
    if len(rows) < form.least:
        raise DataError(
            f"train.method: {form.name} compares at least {form.least} rows with each other, and there is {len(rows)}",
            where=str(path), next_step="add rows, or collect feedback",
        )  # fmt: skip
    return rows, lengths, len(wanted) - len(rows)


def preference_lengths(recipe: Recipe, run: Run, form: PreferenceForm) -> list[int]:
    """Tokens that each row is run on."""
    tokenizer = load_tokenizer(recipe.model.id, recipe.model.revision)
    return trainable_rows(recipe, find_preferences(recipe, run, form), form, tokenizer)[1]


def preference_needs(form: PreferenceForm) -> Needs:
    """A reference beside the trained adapter, and as many rows at once as the loss is estimated from."""
    return Needs(learning_rate=LEARNING_RATE, least=form.least, reference=True, trl_loss=True)
