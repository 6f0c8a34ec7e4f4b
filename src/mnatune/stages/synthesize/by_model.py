"""Has the endpoint's model make questions and answers from one passage at a time, and check their grounding."""

from typing import Any

from ...model.endpoint import Ask, BadReply, Endpoint, Outcome, Tally, check_flat, json_in, ledger_key, meter
from ...model.prompt import Message
from ...runs.errors import EnvironmentFault
from ...runs.job import Job
from ...runs.workspace import value_hash
from ...text.untrusted import InstructionFilter, echoes, fill, without_markers
from .by_rule import Made
from .passages import Passage

TOKENS_PER_PAIR = 500
GROUNDING_TOKENS = 250
PROMPTS = ("synthesize_", "grounding_", "question_types")
LONGEST = 8000  # characters of a passage in a prompt
ITEM = {
    "properties": {"question": {"type": "string"}, "answer": {"type": "string"}, "span": {"type": "string"}},
    "required": ["question", "answer", "span"],
}
GROUNDED = {
    "type": "object",
    "properties": {"reason": {"type": "string"}, "supported": {"type": "boolean"}},
    "required": ["reason", "supported"],
    "additionalProperties": False,
}


class Maker:
    """The endpoint with the pack's prompts for synthesis."""

    def __init__(self, job: Job) -> None:
        self._prompts = job.pack.prompts
        self._markers = (str(self._prompts["data_begin"]).strip(), str(self._prompts["data_end"]).strip())
        self._guard = InstructionFilter(job.pack.yaml("rubric.yaml")["guard"])
        self.template = "\n".join(
            str(text) for name, text in self._prompts.items() if name.startswith(("synthesize_", "question_types"))
        )
        self._count = job.recipe.synthesize.per_passage
        self._version = value_hash({k: v for k, v in self._prompts.items() if k.startswith(PROMPTS)})
        self.endpoint = Endpoint(job.recipe.endpoint, str(job.run.root.resolve()))
        self.tally = Tally()

    def make(self, passages: list[Passage]) -> dict[str, list[Made]]:
        """Passage id → what the model made of it; passages without a usable reply are absent.

        Raises:
            EnvironmentFault: there was no usable reply at all.
        """
        asks = [self._ask(passage) for passage in passages]
        ids = {ask.key: passage.id for ask, passage in zip(asks, passages, strict=True)}
        made: dict[str, list[Made]] = {}

        def note(outcome: Outcome) -> None:
            if outcome.state == "ok":
                items = outcome.value["items"][: self._count]
                made[ids[outcome.key]] = [Made(i["question"], i["answer"], i["span"], "model") for i in items]

        with meter(len(asks), "making questions") as tell:
            self.tally += self.endpoint.ask(asks, note, tell)
        if asks and not made:
            raise EnvironmentFault(
                f"not one of {len(asks):,} passages got a usable reply: {dict(self.tally.failed)} {self.tally.refusal}".rstrip(),
                where=f"{self.endpoint.section.base_url}, model {self.endpoint.model}",
                next_step="check endpoint.model; without endpoint.base_url the patterns of statutes make the questions",
            )
        return made

    def supported(self, pairs: list[tuple[Passage, Made]]) -> list[bool | None]:
        """Whether the model finds each pair supported by its passage; None if it gave no usable reply."""
        asks = [self._grounding(passage, made) for passage, made in pairs]
        found: dict[str, bool] = {}

        def note(outcome: Outcome) -> None:
            if outcome.state == "ok":
                found[outcome.key] = bool(outcome.value["supported"])

        with meter(len(asks), "checking the grounding") as tell:
            self.tally += self.endpoint.ask(asks, note, tell)
        return [found.get(ask.key) for ask in asks]

    def _ask(self, passage: Passage) -> Ask:
        values = {
            "passage": self._shown(passage.text),
            "title": self._shown(passage.title),
            "count": str(self._count),
            "question_types": "\n".join(f"- {kind}" for kind in self._prompts["question_types"]),
        }
        key = ledger_key("synthesize", passage.title, passage.text, self._count, self._version, self.endpoint.model)
        return Ask(key, self._messages("synthesize", values), None, _items, TOKENS_PER_PAIR * self._count)

    def _grounding(self, passage: Passage, made: Made) -> Ask:
        fields = {"passage": passage.text, "question": made.question, "answer": made.answer}
        messages = self._messages("grounding", {name: self._shown(text) for name, text in fields.items()})
        key = ledger_key("grounding", fields, self._version, self.endpoint.model)
        template = f"{self._prompts['grounding_system']}\n{self._prompts['grounding_user']}"

        def check(text: str) -> tuple[dict[str, Any], bool]:
            value, clean = _grounded(text)
            if echoes(value["reason"], template):
                raise BadReply("echoed-reason", "reason에 요청의 말을 그대로 옮겼습니다")
            return value, clean

        return Ask(key, messages, GROUNDED, check, GROUNDING_TOKENS)

    def _messages(self, name: str, values: dict[str, str]) -> list[Message]:
        return [
            {"role": "system", "content": str(self._prompts[f"{name}_system"])},
            {"role": "user", "content": fill(str(self._prompts[f"{name}_user"]), values)},
        ]

    def _shown(self, text: str) -> str:
        return self._guard.clean(without_markers(text, self._markers, LONGEST))[0]


def _items(text: str) -> tuple[dict[str, Any], bool]:
    """The pairs of a reply, without those that only copy the form.

    Raises:
        BadReply: there is no list, an item is broken, or all items copy the form.
    """
    value, clean = json_in(text, "[")
    if not isinstance(value, list):
        raise BadReply("not-a-list", "JSON 배열이 아닙니다")
    items, copied = [], None
    for item in value:
        try:
            items.append(check_flat(item, ITEM))
        except BadReply as bad:
            if not bad.code.startswith("placeholder-"):
                raise
            copied = bad
    if copied and not items:
        raise copied
    return {"items": items}, clean and not copied


def _grounded(text: str) -> tuple[dict[str, Any], bool]:
    value, clean = json_in(text)
    return check_flat(value, GROUNDED), clean
