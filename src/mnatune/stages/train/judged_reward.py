"""The reward `rubric`: what a judge behind the recipe's endpoint gives an answer by the pack's rubric.

Every reply is in the endpoint's ledger, by question, answer, rubric and judge. So an answer is paid for once, and a resumed
training, which draws the same answers, is given the same marks.
"""

from collections.abc import Sequence

from ...model.endpoint import Endpoint, Outcome
from ...model.endpoint.rubric import Rubric
from ...runs.errors import EnvironmentFault, UsageError
from ...runs.job import Job
from ...runs.workspace import value_hash
from .asked_rows import AskedQuestion

REWARD = "rubric"


class RubricJudge:
    """The recipe's endpoint with the pack's rubric.

    Attributes:
        identity: hash of everything that a mark depends on besides question and answer.
    """

    def __init__(self, job: Job) -> None:
        if not job.recipe.endpoint.base_url or not job.recipe.endpoint.model:
            raise UsageError(
                "a judge gives the reward rubric, and the recipe names no endpoint to ask",
                where="endpoint",
                next_step=f"set endpoint.base_url and endpoint.model, or take {REWARD} out of train.options.rewards",
            )
        self._rubric = Rubric(job.pack)
        self._endpoint = Endpoint(job.recipe.endpoint, str(job.run.root.resolve()))
        self.identity = value_hash([self._endpoint.model, self._rubric.fingerprint])

    def marks(self, answers: Sequence[tuple[AskedQuestion, str]]) -> list[float | None]:
        """Scores from 0 to 1, in order; None where the judge gives no usable reply.

        Raises:
            EnvironmentFault: the endpoint does not answer. What has been paid is kept; the training goes on from there.
        """
        rows = [{"id": one.id, "question": one.plain, "answer": text} for one, text in answers]
        asks = [self._rubric.ask(row, self._endpoint.model) for row in rows]
        found: dict[str, Outcome] = {}
        once = {ask.key: ask for ask in asks}  # answers may be drawn twice
        self._endpoint.ask(once.values(), lambda outcome: found.__setitem__(outcome.key, outcome))
        return [self._mark(found[ask.key]) for ask in asks]

    def _mark(self, outcome: Outcome) -> float | None:
        if outcome.state == "ok":
            return self._rubric.score(outcome.value) / 100
        if outcome.code.startswith("http-"):  # not in the ledger: asked again, it may get a mark
            raise EnvironmentFault(
                f"the judge gave no reply ({outcome.code})",
                where=self._endpoint.section.base_url,
                next_step="run the same command again: it goes on from the last checkpoint",
            )
        return None
