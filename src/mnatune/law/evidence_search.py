"""What a question is asked with: the day that it is about, and the articles that the law memory has for it.

Training, evaluation and serving all look up here, so that a model meets in use what it was trained on. Own documents stand
behind the articles in serving alone.
"""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from .fact_date import FactDate, fact_date

if TYPE_CHECKING:
    from .hits import Hit
    from .law_memory import LawIndex

PASSAGES = 4  # articles that a question is asked with
OWN_DOCUMENTS = 2  # passages of own documents behind them


def asked_day(questions: Sequence[str], today: str) -> FactDate:
    """The day that the last question to name one is about; today if none does."""
    dated = (fact_date(question, today) for question in reversed(questions))
    return next((found for found in dated if found), None) or FactDate(today, "")


def articles_for(
    memory: "LawIndex",
    questions: Sequence[str],
    day: str,
    *,
    top: int = PASSAGES,
    hidden: Collection[str] = (),
) -> "list[Hit]":
    """The best articles whose text is known, as of a day.

    Args:
        questions: those of the dialogue; the last one is asked.
        hidden: questions that are not to help, because the asked one is to be new to the memory.
    """
    return [
        hit for hit in memory.search(questions[-1], day, top=top, hidden=hidden, earlier=questions[:-1]) if hit.text
    ]


def documents_for(memory: "LawIndex", question: str) -> "list[Hit]":
    """The best passages of own documents; none where the memory was built without."""
    return memory.search(question, top=OWN_DOCUMENTS, kinds=["document"]) if memory.has_documents else []
