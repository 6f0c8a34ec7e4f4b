"""Who answers: a model in this process, with its adapter on or off, or one behind an OpenAI-compatible server.

Both give the same greedy answers to the same dialogues, under the recipe's length limit and repetition penalty. What
needs likelihoods or token ids is done for models in this process alone; a served model's metrics lack it, and say so.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ...model.endpoint import Ask as Request
from ...model.endpoint import Endpoint, Ledger, Outcome, ledger_key
from ...model.load import Answer, ChatModel
from ...model.prompt import prompt_ids, under_policy
from ...runs.errors import EnvironmentFault, UsageError
from ...runs.job import Job
from ...runs.recipe import GenerationSection
from .answers import Question, answer_all, keep, plan
from .decoding import Decoded

EMPTY_THINKING = re.compile(r"\A\s*<think>\s*</think>\s*")
UNLIMITED = 1_000_000_000  # requests or tokens a minute: one's own server is held by its concurrency alone


@dataclass(frozen=True)
class InProcess:
    """A model in this process; `tuned` says whether its adapter is on."""

    chat: ChatModel
    tuned: bool

    def answers(self, job: Job, asks: Sequence[Question], kind: str, *, limit: int | None = None) -> dict[str, Answer]:
        """Greedy answers by id.

        Args:
            kind: names the ledger under `state/`.
            limit: longest answer in tokens; by default the recipe's.
        """
        found = answer_all(job, self.chat, asks, kind, tuned=self.tuned, limit=limit)
        return {name: decoded.answer for name, decoded in found.items()}

    def sampled(self, job: Job, asks: Sequence[Question], sampling: GenerationSection, seed: int) -> dict[str, Answer]:
        """One sampled answer by id; another seed gives another."""
        lengths = {ask.id: len(prompt_ids(self.chat.tokenizer, ask.messages)) for ask in asks}

        def work(batch: list[Question]) -> list[Decoded]:
            messages = [ask.messages for ask in batch]
            tokens = sum(lengths[ask.id] + sampling.max_new_tokens for ask in batch) * 2
            given = self.chat.answer(messages, tuned=self.tuned, generation=sampling, batch_tokens=tokens, seed=seed)
            return [Decoded(answer, []) for answer in given]

        batches = plan(lengths, asks, sampling.max_new_tokens)
        found = keep(job, f"sample-{seed}-{'tuned' if self.tuned else 'base'}", batches, work)
        return {name: decoded.answer for name, decoded in found.items()}


@dataclass
class ServedSide:
    """A model behind an OpenAI-compatible server.

    Attributes:
        failed: dialogues without an answer, by the endpoint client's code. They are left out for both models.
        other_sampling: answers under a sampling other than the recipe's, since the server refused its fields.
    """

    url: str
    model: str
    failed: dict[str, int] = field(default_factory=dict)
    other_sampling: int = 0

    def answers(self, job: Job, asks: Sequence[Question], kind: str, *, limit: int | None = None) -> dict[str, Answer]:
        """As `InProcess.answers`; what the server could not answer is missing."""
        wanted = job.recipe.generation
        return self._ask(job, asks, {"repetition_penalty": wanted.repetition_penalty}, limit or wanted.max_new_tokens)

    def sampled(self, job: Job, asks: Sequence[Question], sampling: GenerationSection, seed: int) -> dict[str, Answer]:
        """As `InProcess.sampled`."""
        fields = {"temperature": sampling.temperature, "top_p": sampling.top_p, "seed": seed}
        return self._ask(job, asks, fields, sampling.max_new_tokens)

    def facts(self) -> dict[str, Any]:
        """What the report has to tell about these answers."""
        return {
            "url": self.url,
            "model": self.model,
            "failed": dict(sorted(self.failed.items())),
            "other_sampling": self.other_sampling,
        }

    def _ask(self, job: Job, asks: Sequence[Question], sampling: dict[str, Any], limit: int) -> dict[str, Answer]:
        section = job.recipe.endpoint.model_copy(
            update={
                "base_url": self.url,
                "model": self.model,
                "per_minute": (UNLIMITED, UNLIMITED),
                "max_cost": 0.0,
            }
        )
        ledger = Ledger(job.path("state/served.sqlite3"))  # what a name stands for may change from run to run
        endpoint = Endpoint(section, str(job.run.root.resolve()), ledger)
        policy = {"chat_template_kwargs": {"enable_thinking": False}}
        requests = {
            ledger_key(ask.id, self.url, self.model, ask.messages, sampling, limit, job.manifest.key): ask
            for ask in asks
        }
        # the shortest first: a prompt that is too long must not teach the client that the server refuses a field
        order = sorted(requests.items(), key=lambda pair: (sum(len(m["content"]) for m in pair[1].messages), pair[0]))
        found: dict[str, Outcome] = {}
        try:
            tally = endpoint.ask(
                (
                    Request(key, under_policy(ask.messages), None, None, limit, sampling=sampling | policy)
                    for key, ask in order
                ),
                lambda outcome: found.__setitem__(outcome.key, outcome),
            )
        finally:
            ledger.close()
        answers = {}
        for key, ask in requests.items():
            outcome = found[key]
            if outcome.state == "ok":
                text = EMPTY_THINKING.sub("", str(outcome.value["text"])).strip()
                answers[ask.id] = Answer(text, [], bool(outcome.value["stopped"]))
                self.other_sampling += outcome.how == "tolerated"
            else:
                self.failed[outcome.code] = self.failed.get(outcome.code, 0) + 1
        if asks and not answers:
            raise EnvironmentFault(
                f"the server answered none of {len(asks)} questions ({', '.join(self.failed)}) {tally.refusal}".rstrip(),
                where=f"{self.url}#{self.model}",
                next_step="check the server and the name of its model",
            )
        return answers


Backend = InProcess | ServedSide
Sides = Mapping[str, Backend]  # "base" and "tuned"


def open_sides(job: Job) -> dict[str, Backend]:
    """Base and tuned as the recipe says: served ones, or the base in this process with the run's adapter off and on."""
    recipe = job.recipe
    if recipe.evaluate.answered_by:
        return {name: served(recipe.evaluate.answered_by[name]) for name in ("base", "tuned")}
    chat = ChatModel(recipe.model.id, adapter=job.run.require("train", "adapter"), revision=recipe.model.revision)
    return {"base": InProcess(chat, False), "tuned": InProcess(chat, True)}


def served(address: str) -> ServedSide:
    """The served model at URL#MODEL.

    Raises:
        UsageError: it is no such address.
    """
    url, _, model = address.partition("#")
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname or not model:
        raise UsageError(
            f"not an address of a served model: {address!r}",
            next_step="write URL#MODEL, such as http://127.0.0.1:8000/v1#qwen3-8b",
        )
    return ServedSide(url, model)


def in_process(sides: Sides) -> dict[str, InProcess]:
    """The sides if all are in this process, else none: a comparison needs both."""
    found = {name: side for name, side in sides.items() if isinstance(side, InProcess)}
    return found if len(found) == len(sides) else {}
