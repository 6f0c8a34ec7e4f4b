"""The order of what waits for a rating or a review: facts that cost time are looked up once per answer and kept."""

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock

from .feedback.priority import RatedQuestion, Waiting, WorthRating, ranked, said_good
from .feedback.sink import Answered, ReviewItem
from .marking import Checker

KEPT = 20_000  # answers whose citations are remembered


class Worth:
    """What a rating would change, for answers of one pack.

    Args:
        checker: finds and judges citations; None leaves them out of account.
        exam: (topic, question) of every exam item.
    """

    def __init__(self, checker: Checker | None, exam: Sequence[tuple[str, str]]) -> None:
        self._checker = checker
        self._exam = exam
        self._kept: OrderedDict[str, tuple[str, ...]] = OrderedDict()
        self._lock = Lock()

    def verdicts(self, answer: str) -> tuple[str, ...]:
        """The verdicts of an answer's citations."""
        if self._checker is None:
            return ()
        with self._lock:
            if answer not in self._kept:
                self._kept[answer] = tuple(mark.verdict for mark in self._checker.find(answer))
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            return self._kept[answer]

    def answers(self, waiting: Sequence[Answered], rated: Sequence[Answered]) -> list[WorthRating]:
        """Answers in the order in which a reviewer should see them."""
        items = [
            Waiting(one.id, one.question, one.answer, one.created, one.others, self.verdicts(one.answer), one.grades)
            for one in waiting
        ]
        return ranked(items, [RatedQuestion(one.question, one.good) for one in rated], self._exam)

    def reviews(self, waiting: Sequence[ReviewItem], decided: Sequence[ReviewItem]) -> list[WorthRating]:
        """Feedback in the order in which it should be decided."""
        items = [
            Waiting(
                one.id, one.question, one.answer, one.created, (one.other,) if one.other else (),
                self.verdicts(one.answer) + (self.verdicts(one.other) if one.other else ()),
            )
            for one in waiting
        ]  # fmt: skip
        known = [RatedQuestion(one.question, said_good(one.kind, one.value)) for one in decided]
        return ranked(items, known, self._exam)
