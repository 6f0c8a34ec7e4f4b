"""`sft`: learn to write the answers of the data."""

from collections.abc import Sequence

from ....model.load import load_tokenizer
from ....runs.job import Job
from ....runs.recipe import Recipe
from ....runs.workspace import Run
from ..method import Method
from ..plan import Needs
from ..token_rows import load_rows

ROWS = "train.jsonl"


def _lengths(recipe: Recipe, run: Run) -> list[int]:
    tokenizer = load_tokenizer(recipe.model.id, recipe.model.revision)
    return load_rows(run.require("compose", ROWS), tokenizer, recipe.model.max_length).lengths


def _needs(recipe: Recipe, lengths: Sequence[int]) -> Needs:
    return Needs(learning_rate=1e-4)


def _work(job: Job) -> None:
    from ..loop import train_on_answers

    train_on_answers(job)


SFT = Method("sft", "자료의 답변을 배움", ROWS, True, _lengths, _needs, _work)
