"""Who answers: a model in this process, or one behind an OpenAI-compatible server.

Both are engines that are given the same tasks, under the recipe's length limit and repetition penalty. What needs
likelihoods or token ids is done for models in this process alone; a served model's metrics lack it, and say so.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

from ...model.engine.local import LocalEngine, open_engine
from ...model.engine.protocol import Answer, Engine, Sampling, Task
from ...model.engine.refusals import Refusal
from ...model.engine.upstream import Upstream, UpstreamEngine
from ...model.load import base_quantization
from ...model.prompt import Message, prompt_ids
from ...runs.errors import EnvironmentFault, UsageError
from ...runs.job import Job
from ...runs.recipe import GenerationSection
from .answers import Keep, Question, keep, plan
from .base_answers import FOLDER, BaseAnswers, base_identity

CONCURRENCY = 8  # questions that a server is asked at once


@dataclass
class AskedSide:
    """One of the models that are compared: an engine, and the model's name in it.

    Attributes:
        place: names the files under `state/` that hold its answers.
        failed: dialogues without an answer, by cause. They are left out for every model.
    """

    engine: Engine
    model: str
    place: str
    failed: dict[str, int] = field(default_factory=dict)

    def answers(
        self, job: Job, asks: Sequence[Question], kind: str, *, limit: int | None = None, quoting: bool = False
    ) -> dict[str, Answer]:
        """Greedy answers by id, with the recipe's repetition penalty: what is judged is what would be served.

        Args:
            kind: names the file under `state/`.
            limit: longest answer in tokens; by default the recipe's.
            quoting: as in `Sampling`.
        """
        return self._ask(job, asks, kind, replace(_greedy(job, limit), quoting=quoting))

    def sampled(self, job: Job, asks: Sequence[Question], sampling: GenerationSection, seed: int) -> dict[str, Answer]:
        """One sampled answer by id; another seed gives another."""
        return self._ask(job, asks, f"sample-{seed}", Sampling.of(sampling, seed=seed))

    def fits(self, job: Job, messages: Sequence[Message]) -> bool:
        """Whether a dialogue and its answer have room in the model's context, as far as that is known here."""
        return True

    def _ask(self, job: Job, asks: Sequence[Question], kind: str, sampling: Sampling) -> dict[str, Answer]:
        return self._required(asks, keep(job, f"{kind}-{self.place}", [list(asks)], self._asking(sampling)))

    def _asking(self, sampling: Sampling, **more: Any) -> Callable[[list[Question], Keep], None]:
        """The work on a batch: books its answers and counts what was refused; `more` goes to the engine."""

        def work(batch: list[Question], book: Keep) -> None:
            tasks = [Task(self.model, _own_seed(sampling, ask.id), ask.messages) for ask in batch]
            for one in self.engine.answers(tasks, done=lambda at, one: book(batch[at].id, one), **more):
                if isinstance(one, Refusal):
                    cause = one.code or f"http-{one.status}"
                    self.failed[cause] = self.failed.get(cause, 0) + 1

        return work

    def _required(self, asks: Sequence[Question], found: dict[str, Answer]) -> dict[str, Answer]:
        if asks and not found:
            raise EnvironmentFault(
                f"{self.model!r} answered none of {len(asks)} questions ({', '.join(self.failed)})",
                next_step="check the server and the name of its model",
            )
        return found


@dataclass
class LocalSide(AskedSide):
    """A model in this process.

    Attributes:
        shelf: kept answers, for the bare base.
    """

    engine: LocalEngine
    shelf: BaseAnswers | None = None

    def watched(
        self, job: Job, asks: Sequence[Question], kind: str, tokens: Sequence[int], *, limit: int
    ) -> dict[str, Answer]:
        """Greedy answers by id, with the logits of `tokens` at the first position in `first`."""
        return self._ask(job, asks, kind, _greedy(job, limit), tokens)

    def fits(self, job: Job, messages: Sequence[Message]) -> bool:
        """Whether a dialogue and its answer have room in the model's context."""
        return len(self.prompt(messages)) + job.recipe.generation.max_new_tokens <= self.engine.loaded.context

    def encoded(self, text: str) -> list[int]:
        """Token ids of a text."""
        return list(self.engine.loaded.tokenizer(text, add_special_tokens=False)["input_ids"])

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of a dialogue."""
        return prompt_ids(self.engine.loaded.tokenizer, messages)

    def _ask(
        self, job: Job, asks: Sequence[Question], kind: str, sampling: Sampling, watched: Sequence[int] = ()
    ) -> dict[str, Answer]:
        prompts = {ask.id: self.prompt(ask.messages) for ask in asks}
        key = ""
        if self.shelf:
            key = self.shelf.key(prompts, {ask.id: _own_seed(sampling, ask.id) for ask in asks}, watched)
            if kept := self.shelf.find(key):
                return kept
        lengths = {name: len(ids) for name, ids in prompts.items()}
        batches, work = plan(lengths, asks, sampling.max_tokens or 1), self._asking(sampling, watched=watched)
        found = self._required(asks, keep(job, f"{kind}-{self.place}", batches, work, whole=True))
        if self.shelf and len(found) == len(asks):
            self.shelf.keep(key, found)
        return found


@dataclass
class ServedSide(AskedSide):
    """A model behind an OpenAI-compatible server."""

    engine: UpstreamEngine
    url: str = ""

    def facts(self) -> dict[str, Any]:
        """For the report."""
        failed = dict(sorted(self.failed.items()))
        return {"url": self.url, "model": self.model, "failed": failed, "other_sampling": self.engine.tolerated}


Sides = Mapping[str, AskedSide]  # "base" and "tuned"


@contextmanager
def open_sides(job: Job) -> Iterator[dict[str, AskedSide]]:
    """Base and tuned as the recipe says: served ones, or both over one load of the base in this process."""
    recipe = job.recipe
    if recipe.evaluate.answered_by:
        yield {name: served(recipe.evaluate.answered_by[name], name) for name in ("base", "tuned")}
        return
    adapter, model = job.run.require("train", "adapter"), recipe.model
    kind = base_quantization(adapter, recipe.train.quantize)
    with open_engine(model.id, {"tuned": adapter}, revision=model.revision, quantize=kind) as engine:
        shelf = BaseAnswers(job.run.root.resolve().parent / FOLDER, base_identity(engine.loaded, kind))
        yield {"base": LocalSide(engine, "base", "base", shelf=shelf), "tuned": LocalSide(engine, "tuned", "tuned")}
        if shelf.reused:
            job.manifest.facts["base_answers"] = {"reused": shelf.reused, "folder": str(shelf.folder)}


def served(address: str, place: str) -> ServedSide:
    """The served model at URL#MODEL.

    Raises:
        UsageError: it is no such address.
    """
    url, _, model = address.partition("#")
    host = urlsplit(url).hostname if urlsplit(url).scheme in ("http", "https") else None
    if not host or not model:
        step = "write URL#MODEL, such as http://127.0.0.1:8000/v1#qwen3-8b"
        raise UsageError(f"not an address of a served model: {address!r}", next_step=step)
    upstream = Upstream(url, (model,), CONCURRENCY, frozenset({host}))
    return ServedSide(UpstreamEngine(upstream), model, place, url=url)


def in_process(sides: Sides) -> dict[str, LocalSide]:
    """The sides if all are in this process, else none: a comparison needs both."""
    found = {name: side for name, side in sides.items() if isinstance(side, LocalSide)}
    return found if len(found) == len(sides) else {}


def _greedy(job: Job, limit: int | None) -> Sampling:
    sampling = Sampling.of(job.recipe.generation, greedy=True)
    return replace(sampling, max_tokens=limit) if limit else sampling


def _own_seed(sampling: Sampling, name: str) -> Sampling:
    """Each question draws on its own, also where one seed is given for all."""
    if sampling.temperature == 0:
        return sampling
    return replace(sampling, seed=int(sha256(f"{sampling.seed}/{name}".encode()).hexdigest()[:8], 16))
