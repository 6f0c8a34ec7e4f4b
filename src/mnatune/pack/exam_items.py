"""The form of an exam's items: choices, essays, questions with a false premise."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ..text.letters import LETTERS
from .schema import Form, Text

Difficulty = Literal["상", "중", "하"]


class ExamItem(Form):
    """What every exam item has; `article` decides it."""

    id: Text
    topic: Text
    question: Text
    article: Text


class OpenBookItem(ExamItem):
    """An item whose evidence can be scored: `articles` are the statute articles that decide it, without paragraphs.

    Empty where a decision or an accounting standard decides alone.
    """

    articles: list[Text]


class ChoiceItem(OpenBookItem):
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
    """A line of an essay item that a judge answers with yes or no; `applies` if it is about the facts of the case."""

    id: Text
    points: int = Field(ge=1)
    text: Text
    applies: bool = False


class EssayItem(OpenBookItem):
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
    """A question with a false premise.

    Attributes:
        must_mention: marks of an answer that rejects the premise.
        accepting: marks of an answer that accepts it.
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
