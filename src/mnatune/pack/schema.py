"""The form of every file of a pack.

An exam's items stand in `exam_items`. Forms that belong to a stage (`drops.yaml`, `maps/*.yaml`) are passed in by the command.
"""

import math
import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from ..text.personal import PersonalData

Text = Annotated[str, StringConstraints(min_length=1, pattern=r"^\S(?:[\s\S]*\S)?$")]
"""Text that is neither empty nor begins or ends with white space."""


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"no regular expression: {pattern!r}: {error}") from None
    return pattern


Pattern = Annotated[Text, AfterValidator(_compiles)]
Edit = Annotated[
    list[str], Field(min_length=2, max_length=2), AfterValidator(lambda edit: [_compiles(edit[0]), edit[1]])
]
"""A regular expression, and what replaces it."""
HAN = re.compile(r"[\u3400-\u9fff]+(?:[ ·][\u3400-\u9fff]+)*")


class Form(BaseModel):
    """A row or file of a pack: no unknown keys, no converted types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class WelcomeForm(Form):
    """What the chat page says before the first question."""

    title: Text
    text: Text


class GradeForm(Form):
    """A grade of an answer and what it means."""

    label: Text
    means: Text


class RatingForm(Form):
    """The rating workspace: what raters go by, and the four grades from the worst to the best."""

    guideline: Annotated[list[Text], Field(min_length=1)]
    grades: Annotated[list[GradeForm], Field(min_length=4, max_length=4)]


class PackFacts(Form):
    """pack.yaml."""

    name: Text
    version: Annotated[str, StringConstraints(pattern=r"^\d+\.\d+\.\d+$")]
    exam_version: int = Field(1, ge=1)
    """Goes up when an exam item changes: scores of two versions are not compared."""
    title: Text
    examples: list[Text] = []
    welcome: WelcomeForm | None = None
    rating: RatingForm | None = None
    language: Text
    licence: Text
    max_question_chars: int = Field(ge=1)
    max_answer_chars: int = Field(ge=1)
    giveaways: dict[str, list[Text]] = {}
    """Kinds of words by which a choice might be guessed (absolutes, reasons) → the words."""


class PairForm(Form):
    """What every row of questions and answers has."""

    question: Text
    answer: str


class Turn(Form):
    """An earlier turn of a dialogue."""

    role: Literal["user", "assistant"]
    content: Text


class QARow(PairForm):
    """A row of qa.jsonl.

    Attributes:
        source: the article, decision, standard or practice that the answer rests on.
        kind: what the answer is: a plain answer, or a kind of work product.
        history: earlier turns, oldest first; the last one is the assistant's.
    """

    answer: Text
    source: Text
    topic: Text
    kind: Text = "answer"
    history: list[Turn] = []

    @model_validator(mode="after")
    def _turns_alternate(self) -> Self:
        roles = [turn.role for turn in self.history]
        if roles != ["user", "assistant"] * (len(roles) // 2):
            raise ValueError("the history must alternate between user and assistant and end with the assistant")
        return self


class ArticleQuestionsRow(Form):
    """A row of article_questions.jsonl: what people ask who need an article but do not know its words.

    Attributes:
        law, article: as the law memory has them, "상법" and "522의3".
    """

    law: Text
    article: Annotated[str, StringConstraints(pattern=r"^\d+(?:의\d+)*$")]
    questions: Annotated[list[Text], Field(min_length=1)]


class GeneralRow(PairForm):
    """A row of general.jsonl: an everyday request, of no field."""

    answer: Text
    topic: Text


class LabelledRow(PairForm):
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
    def _is_tidy(self) -> Self:
        if self.hanja and not HAN.fullmatch(self.hanja):
            raise ValueError(f"not Hanja: {self.hanja!r}")
        if ". " in self.definition:
            raise ValueError("the definition has more than one sentence")
        return self


class SampleRowForm(PairForm):
    """A row of the sample archive; `kind` says which filter it is for, so that its answer may be empty or broken."""

    category: Text
    title: Text
    kind: Literal["general", "mna", "false_friend", "pii", "refusal", "short", "foreign"]


class TwinRow(PairForm):
    """A row of the sample archive that differs from its family only in numbers."""

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

    pattern: Pattern
    cancels: Annotated[list[Text], Field(min_length=1)]
    penalty: int | float = Field(ge=0)
    why: Text


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


class GuardForm(Form):
    """Sentences addressed to the judge, and what replaces them before it reads a row."""

    replacement: Text
    patterns: list[Pattern]


class RubricFile(Form):
    """rubric.yaml."""

    version: int
    scale: dict[Literal["min", "max"], int]
    rule: str = ""
    cap: dict[str, Any] = {}
    parts: dict[str, RubricPart]
    guard: GuardForm
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


class DenialForms(Form):
    """Regular expressions by which a sentence denies a premise or gives in to it; see evaluate.yaml."""

    absent: list[Pattern]
    demonstratives: list[Pattern]
    untrue: list[Pattern]
    stance: list[Pattern]
    affirming: list[Pattern]
    agreeing: list[Pattern]
    relying: list[Pattern]


class UsableForm(Form):
    """What a metric has to reach."""

    at_least: float = -math.inf
    at_most: float = math.inf


class EvaluateFile(Form):
    """evaluate.yaml: the domain score, what is usable, how answers deny or decline, paraphrases, outside tasks."""

    version: int
    latin: list[Text]
    domain: Annotated[dict[Text, Annotated[float, Field(gt=0)]], Field(min_length=1)]
    usable: dict[Text, UsableForm] = {}
    denials: DenialForms
    refusals: list[Pattern]
    hedges: list[Pattern] = []
    paraphrases: dict[str, list[Edit]] = {}
    guards: list[dict[str, str]] = []


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


OPTIONAL_FILES = frozenset({"evaluate.yaml"})
YAML_FILES: dict[str, type[BaseModel]] = {
    "pack.yaml": PackFacts,
    "lexicon.yaml": LexiconFile,
    "rubric.yaml": RubricFile,
    "citations.yaml": CitationsFile,
    "evaluate.yaml": EvaluateFile,
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
    "evidence_user": ("passages", "question"),
    "evidence_passage": ("number", "name", "in_force", "text"),
    "evidence_rewrite": ("passages", "question", "sentence", "faults"),
    "evidence_missing": ("missing",),
}
"""Prompts that a pack must have, and the places in them that code fills."""
