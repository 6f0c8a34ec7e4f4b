"""The form of every file of a pack, and its rows read by these forms, so that each fault is named with file and line.

Forms that a stage owns (`drops.yaml`, `maps/*.yaml`) are not repeated here; the command hands them in.
"""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from .errors import DataError
from .pack import Pack
from .text.personal import PersonalData
from .workspace import read_jsonl

Text = Annotated[str, StringConstraints(min_length=1, pattern=r"^\S(?:[\s\S]*\S)?$")]
"""Text that is neither empty nor begins or ends with white space."""
Difficulty = Literal["상", "중", "하"]
LETTERS = "ABCD"
R = TypeVar("R", bound=BaseModel)
HAN = re.compile(r"[\u3400-\u9fff]+(?:[ ·][\u3400-\u9fff]+)*")


class Form(BaseModel):
    """A row or file of a pack: no unknown keys, no converted types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class PackFacts(Form):
    """pack.yaml."""

    name: Text
    version: Annotated[str, StringConstraints(pattern=r"^\d+\.\d+\.\d+$")]
    exam_version: int = Field(1, ge=1)
    """Goes up when an exam item changes: scores of two versions are not compared."""
    title: Text
    language: Text
    licence: Text
    max_question_chars: int = Field(ge=1)
    max_answer_chars: int = Field(ge=1)


class Pair(Form):
    """What every row of questions and answers has."""

    question: Text
    answer: str


class QARow(Pair):
    """A row of mna_qa.jsonl; `source` names the article, standard or practice that the answer rests on."""

    answer: Text
    source: Text
    topic: Text


class ExamItem(Form):
    """What every exam item has; `article` decides it."""

    id: Text
    topic: Text
    question: Text
    article: Text


class ChoiceItem(ExamItem):
    """A four-choice item."""

    difficulty: Difficulty
    choices: Annotated[list[Text], Field(min_length=4, max_length=4)]
    answer: Literal["A", "B", "C", "D"]
    explanation: Text

    @model_validator(mode="after")
    def _choices_differ(self) -> Self:
        if len(set(self.choices)) < len(self.choices):
            raise ValueError("two choices are the same")
        return self

    @property
    def right(self) -> str:
        """The text of the right choice."""
        return self.choices[LETTERS.index(self.answer)]


class RubricLine(Form):
    """A line of an essay item that a judge answers with yes or no."""

    id: Text
    points: int = Field(ge=1)
    text: Text


class EssayItem(ExamItem):
    """An essay item with four to eight rubric lines and a reference answer."""

    difficulty: Difficulty
    rubric: Annotated[list[RubricLine], Field(min_length=4, max_length=8)]
    reference: Text

    @model_validator(mode="after")
    def _lines_differ(self) -> Self:
        if len({line.id for line in self.rubric}) < len(self.rubric):
            raise ValueError("two rubric lines have one id")
        return self


class FalsePremiseItem(ExamItem):
    """A question that rests on something untrue.

    Attributes:
        must_mention: marks of an answer that says so.
        accepting: marks of an answer that fell for it.
    """

    premise: Text
    answer: Text
    must_mention: Annotated[list[Text], Field(min_length=1)]
    accepting: list[Text]

    @model_validator(mode="after")
    def _marks_fit_the_answer(self) -> Self:
        missing = [mark for mark in self.must_mention if mark not in self.answer]
        fallen = [mark for mark in self.accepting if mark in self.answer]
        if missing or fallen:
            raise ValueError(f"the right answer lacks {missing} or holds {fallen}")
        return self


class LabelledRow(Pair):
    """A row labelled by hand: does it belong to the field?"""

    answer: Text
    label: bool
    topic: Text


class GlossaryRow(Form):
    """A term of the field."""

    term: Text
    english: str
    hanja: str
    definition: Annotated[str, StringConstraints(min_length=10, max_length=200, pattern=r"^\S[^\n]*\.$")]
    aliases: list[Text]

    @model_validator(mode="after")
    def _hanja_is_han(self) -> Self:
        if self.hanja and not HAN.fullmatch(self.hanja):
            raise ValueError(f"not Hanja: {self.hanja!r}")
        return self


class SampleRow(Pair):
    """A row of the sample archive; `kind` says which filter it is for, so that its answer may be empty or broken."""

    category: Text
    title: Text
    kind: Literal["general", "mna", "false_friend", "pii", "refusal", "short", "foreign"]


class TwinRow(Pair):
    """A row of the sample archive that differs from its family in numbers alone."""

    answer: Text
    category: Text
    title: Text
    twin: Text


class Term(Form):
    """A term of the lexicon."""

    term: Text
    weight: int | float = Field(gt=0)
    group: Text


class Statute(Form):
    """A statute's name in the lexicon."""

    name: Text
    weight: int | float = Field(gt=0)


class FalseFriend(Form):
    """A context in which terms mean something else."""

    pattern: Text
    cancels: Annotated[list[Text], Field(min_length=1)]
    penalty: int | float = Field(ge=0)
    why: Text

    @model_validator(mode="after")
    def _pattern_compiles(self) -> Self:
        _compiled(self.pattern)
        return self


class LexiconFile(Form):
    """lexicon.yaml."""

    version: int
    terms: list[Term]
    statutes: list[Statute]
    false_friends: list[FalseFriend]
    numbers: dict[Literal["amount", "percent", "article"], int | float]
    length: dict[Literal["min_chars", "bonus"], int | float]
    question_boost: int | float = Field(gt=0)
    saturate: int | float = Field(gt=0)


class RubricPart(Form):
    """A sub-score of the judge, with an anchor for each value of the scale."""

    name: Text
    question: Text
    weight: float = Field(gt=0, le=1)
    anchors: dict[int, Text]


class Guard(Form):
    """Sentences that speak to the judge, and what stands in their place before it reads a row."""

    replacement: Text
    patterns: list[Text]

    @model_validator(mode="after")
    def _patterns_compile(self) -> Self:
        for pattern in self.patterns:
            _compiled(pattern)
        return self


class RubricFile(Form):
    """rubric.yaml."""

    version: int
    scale: dict[Literal["min", "max"], int]
    rule: str = ""
    cap: dict[str, Any] = {}
    parts: dict[str, RubricPart]
    guard: Guard | None = None
    injections: list[Text] = []

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        total = sum(part.weight for part in self.parts.values())
        if abs(total - 1) > 1e-9:
            raise ValueError(f"the weights sum to {total:g}, not to 1")
        wanted = list(range(self.scale["min"], self.scale["max"] + 1))
        for name, part in self.parts.items():
            if sorted(part.anchors) != wanted:
                raise ValueError(f"the anchors of {name} are not {wanted[0]}-{wanted[-1]}")
        return self


class CitationsFile(Form):
    """citations.yaml."""

    version: int
    aliases: dict[str, list[Text]]
    former_names: list[Text] = []
    unindexed: list[Text] = []
    anaphora: list[Text] = []
    own_act_words: list[Text] = []
    foreign: list[Text] = []
    case_kinds: list[Text] = []


YAML_FILES: dict[str, type[BaseModel]] = {
    "pack.yaml": PackFacts,
    "lexicon.yaml": LexiconFile,
    "rubric.yaml": RubricFile,
    "citations.yaml": CitationsFile,
    "pii.yaml": PersonalData,
}
PLACEHOLDERS = {
    "system": (),
    "judge_system": (),
    "judge_user": ("rubric", "row_id", "question", "answer"),
    "judge_repair": ("error",),
    "grounding_system": (),
    "grounding_user": ("passage", "question", "answer"),
    "synthesize_system": (),
    "synthesize_user": ("passage", "title", "count", "question_types"),
    "essay_judge_system": (),
    "essay_judge_user": ("question", "answer", "rubric_line"),
    "pairwise_system": (),
    "pairwise_user": ("question", "answer_a", "answer_b"),
    "choice_user": ("question", "a", "b", "c", "d"),
}
"""Prompts that a pack must have, and the places in them that code fills."""


class PackData:
    """A pack's rows, typed. Rows that do not fit their form are left out and counted as faults."""

    def __init__(self, pack: Pack) -> None:
        self.pack = pack
        self.faults: list[str] = []
        self.read = 0
        self.facts = self._form("pack.yaml", PackFacts)
        self.qa = self._rows("mna_qa.jsonl", QARow, optional=True)
        self.choice = self._rows("exam/choice.jsonl", ChoiceItem)
        self.essay = self._rows("exam/essay.jsonl", EssayItem)
        self.false_premise = self._rows("exam/false_premise.jsonl", FalsePremiseItem)
        self.glossary = self._rows("glossary.jsonl", GlossaryRow)
        self.labels = self._rows("lexicon_labels.jsonl", LabelledRow, optional=True)
        self.holdout = self._rows("lexicon_holdout.jsonl", LabelledRow, optional=True)
        self.sample = self._rows("sample/rows.jsonl", SampleRow, optional=True)
        self.twins = self._rows("sample/twins.jsonl", TwinRow, optional=True)

    def fits(self, name: str, form: type[BaseModel]) -> None:
        """Check a YAML file against a form."""
        self._form(name, form)

    def _form(self, name: str, form: type[R]) -> R | None:
        try:
            self.read += 1
            return form.model_validate(self.pack.yaml(name))
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
        rows: list[tuple[str, Pair]] = [*self.qa, *self.sample, *self.twins]
        yield from ((place, row.question, row.answer) for place, row in rows)

    def examined(self) -> Iterator[tuple[str, str, str]]:
        """(id, question, right answer) of all exam items."""
        yield from ((item.id, item.question, item.right) for _, item in self.choice)
        yield from ((item.id, item.question, item.reference) for _, item in self.essay)
        yield from ((item.id, item.question, item.answer) for _, item in self.false_premise)

    def stated(self) -> Iterator[tuple[str, str]]:
        """(place, text) of everything that the pack states as true, premises of false-premise items left out."""
        for place, qa in self.qa:
            yield from ((place, text) for text in (qa.question, qa.answer, qa.source))
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
        rows: list[tuple[str, Pair]] = [*self.sample, *self.twins, *self.labels, *self.holdout]
        for place, row in rows:
            yield from ((place, text) for text in (row.question, row.answer))

    def rests_on(self) -> Iterator[tuple[str, str]]:
        """(place, text) of the fields that name what a row rests on."""
        yield from ((place, row.source) for place, row in self.qa)
        yield from ((item.id, item.article) for item in self.items())

    def items(self) -> list[ExamItem]:
        """All exam items."""
        found: list[tuple[str, ExamItem]] = [*self.choice, *self.essay, *self.false_premise]
        return [item for _, item in found]


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(f"no regular expression: {pattern!r}: {error}") from None


def _lines(error: ValidationError) -> list[str]:
    return [f"{'.'.join(map(str, e['loc'])) or 'row'}: {e['msg']}" for e in error.errors()]
