"""`distill`: learn without the passage what the same model answers with it (prompt distillation, Kujanpää et al. 2024)."""

from collections.abc import Sequence

from ....model.evidence_prompt import EvidenceWords
from ....model.load import load_tokenizer
from ....pack import Pack
from ....runs.job import Job
from ....runs.recipe import Recipe
from ....runs.workspace import Run
from ..distill_rows import (
    AT_ONCE,
    SPARE,
    DistillRow,
    distill_needs,
    distill_options,
    distill_rows,
    fitting_rows,
    mixed,
    reading_of,
)
from ..method import TRAIN_ROWS, Method, rows_file
from ..plan import Needs, Rollout, TeacherReading

LONGEST_READ = 750  # tokens that a passage and the words around it take at most


def _rows(recipe: Recipe, run: Run) -> list[DistillRow]:
    """The rows of a training whose model knows no fact yet: nobody has asked it."""
    tokenizer = load_tokenizer(recipe.model.id, recipe.model.revision)
    words = EvidenceWords.of(Pack.load(recipe.pack).prompts)
    rows = distill_rows(rows_file(run, distill_options(recipe).rows), tokenizer, words)
    return mixed(fitting_rows(rows, recipe.model.max_length), frozenset(), distill_options(recipe).unknown, recipe.seed)


def _needs(recipe: Recipe, lengths: Sequence[int]) -> Needs:
    """Before there are rows: every passage as long as it may be."""
    longest = max(lengths, default=recipe.model.max_length)
    mean = sum(lengths) / max(1, len(lengths)) + LONGEST_READ
    before = Rollout(AT_ONCE, SPARE, longest)
    share = distill_options(recipe).unknown
    return distill_needs(TeacherReading(share * mean, longest + LONGEST_READ, before, share * (mean - LONGEST_READ)))


def _work(job: Job) -> None:
    from ..distill_loop import train_on_passages

    train_on_passages(job)


DISTILL = Method(
    "distill",
    "글을 보고 한 답을 글 없이 배움",
    TRAIN_ROWS,
    from_feedback=False,
    lengths=lambda recipe, run: [len(row.example) for row in _rows(recipe, run)],
    needs=_needs,
    work=_work,
    answers=True,
    code=("text",),
    reading=lambda recipe, run: reading_of(_rows(recipe, run)),
)
