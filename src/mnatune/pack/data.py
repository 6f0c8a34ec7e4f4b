"""A pack's rows, checked against `schema` and `exam_items`; each fault is reported with file and line."""

from collections.abc import Iterator
from typing import TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from ..runs.errors import DataError
from ..runs.workspace import read_jsonl
from . import Pack
from .exam_items import ChoiceItem, EssayItem, ExamItem, FalsePremiseItem
from .schema import (
    ArticleQuestionsRow,
    GeneralRow,
    GlossaryRow,
    LabelledRow,
    PackFacts,
    PairForm,
    QARow,
    SampleRowForm,
    TwinRow,
)

F = TypeVar("F")
R = TypeVar("R", bound=BaseModel)


class PackData:
    """A pack's rows, typed. Rows that do not fit their form are left out and counted as faults."""

    def __init__(self, pack: Pack) -> None:
        self.pack = pack
        self.faults: list[str] = []
        self.read = 0
        self.facts = self.form("pack.yaml", PackFacts)
        self.qa = self._rows("qa.jsonl", QARow, optional=True)
        self.general = self._rows("general.jsonl", GeneralRow, optional=True)
        self.article_questions = self._rows("article_questions.jsonl", ArticleQuestionsRow, optional=True)
        self.choice = self._rows("exam/choice.jsonl", ChoiceItem)
        self.essay = self._rows("exam/essay.jsonl", EssayItem)
        self.false_premise = self._rows("exam/false_premise.jsonl", FalsePremiseItem)
        self.glossary = self._rows("glossary.jsonl", GlossaryRow)
        self.labels = self._rows("lexicon_labels.jsonl", LabelledRow, optional=True)
        self.holdout = self._rows("lexicon_holdout.jsonl", LabelledRow, optional=True)
        self.sample = self._rows("sample/rows.jsonl", SampleRowForm, optional=True)
        self.twins = self._rows("sample/twins.jsonl", TwinRow, optional=True)

    def form(self, name: str, form: type[F]) -> F | None:
        """A YAML file in its form, a pydantic model or a dataclass; None if it does not fit."""
        try:
            self.read += 1
            return TypeAdapter(form).validate_python(self.pack.yaml(name))
        except DataError as error:
            self.faults.append(f"{name}: {error.what}")
        except ValidationError as error:
            self.faults += [f"{name}: {line}" for line in _lines(error)]
        return None

    def _rows(self, name: str, form: type[R], *, optional: bool = False) -> list[tuple[str, R]]:
        """(place, row) of a JSON Lines file."""
        if not (self.pack.root / name).is_file():
            if not optional:
                self.faults.append(f"{name}: the pack lacks it")
            return []
        self.read += 1
        rows = []
        try:
            raw = read_jsonl(self.pack.root / name)
        except DataError as error:
            self.faults.append(f"{error.where}: {error.what}")
            return []
        for number, value in enumerate(raw, 1):
            try:
                rows.append((f"{name}:{number}", form.model_validate(value)))
            except ValidationError as error:
                self.faults += [f"{name}:{number}: {line}" for line in _lines(error)]
        return rows

    def trained(self) -> Iterator[tuple[str, str, str]]:
        """(place, question, answer) of all rows that a model of this pack may be trained on."""
        rows: list[tuple[str, PairForm]] = [*self.qa, *self.sample, *self.twins, *self.general]
        yield from ((place, row.question, row.answer) for place, row in rows)

    def examined(self) -> Iterator[tuple[str, str, str]]:
        """(id, question, right answer) of all exam items."""
        yield from ((item.id, item.question, item.right) for _, item in self.choice)
        yield from ((item.id, item.question, item.reference) for _, item in self.essay)
        yield from ((item.id, item.question, item.answer) for _, item in self.false_premise)

    def stated(self) -> Iterator[tuple[str, str]]:
        """(place, text) of everything that the pack states as true; premises of false-premise items are left out."""
        for place, qa in self.qa:
            turns = (turn.content for turn in qa.history)
            yield from ((place, text) for text in (qa.question, qa.answer, qa.source, *turns))
        for _, choice in self.choice:
            texts = (choice.question, *choice.choices, choice.article, choice.explanation)
            yield from ((choice.id, text) for text in texts)
        for _, essay in self.essay:
            texts = (essay.question, essay.article, essay.reference, *(line.text for line in essay.rubric))
            yield from ((essay.id, text) for text in texts)
        for _, item in self.false_premise:
            yield from ((item.id, text) for text in (item.answer, item.article))
        for place, term in self.glossary:
            yield place, term.definition
        rows: list[tuple[str, PairForm]] = [*self.sample, *self.twins, *self.labels, *self.holdout]
        for place, row in rows:
            yield from ((place, text) for text in (row.question, row.answer))

    def rests_on(self) -> Iterator[tuple[str, str]]:
        """(place, text) of the fields that cite what a row is based on."""
        yield from ((place, row.source) for place, row in self.qa)
        yield from ((item.id, item.article) for item in self.items())

    def items(self) -> list[ExamItem]:
        """All exam items."""
        found: list[tuple[str, ExamItem]] = [*self.choice, *self.essay, *self.false_premise]
        return [item for _, item in found]


def _lines(error: ValidationError) -> list[str]:
    return [f"{'.'.join(map(str, e['loc'])) or 'row'}: {e['msg']}" for e in error.errors()]
