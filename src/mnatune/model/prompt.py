"""The one place where a dialogue becomes token ids, for training, evaluation, `ask`, the API and exports.

A dialogue is rendered by the model's own chat template. Think policy `off` (Qwen3): every user turn ends with /no_think,
and the answer starts with an empty think block. The block belongs to the prompt, so it carries no loss. Families that do
not think have the policy `none` and their template as it is. The completion is the answer and the family's turn end
(<|im_end|>, <|eot_id|>, <end_of_turn>, …), nothing else.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from ..runs.errors import DataError
from .chat_format import BREAK, MARKED_UP, chat_format, rendered, turn_end_id

NO_THINK = "/no_think"
QWEN3 = re.compile(r"qwen-?3", re.IGNORECASE)


class Message(TypedDict):
    """One turn of a dialogue."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Example:
    """A training row as token ids: loss on `completion` only."""

    prompt: list[int]
    completion: list[int]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.completion)


def dialogue(question: str, system: str, history: Sequence[Message] = ()) -> list[Message]:
    """System prompt, earlier turns and the question as messages."""
    opening: list[Message] = [{"role": "system", "content": system}] if system else []
    return [*opening, *history, {"role": "user", "content": question}]


def prompt_text(tokenizer: Any, messages: Sequence[Message]) -> str:
    """The prompt up to where the answer begins, as the chat template renders it under the think policy."""
    if not messages or messages[-1]["role"] not in ("user", "tool"):
        raise DataError("a dialogue must end with a user turn before it can be answered")
    form = chat_format(tokenizer)
    turns = [Message(role=m["role"], content=form.plain(m["content"])) for m in messages]
    return rendered(tokenizer, form.placed(_all_marked(turns) if form.policy == "off" else turns))


def marked_for(model: str, messages: Sequence[Message]) -> list[Message]:
    """The messages as a server's model of this name, which renders by itself, needs them.

    Control tokens are broken up; /no_think means something to Qwen3 alone.
    """
    turns = [Message(role=m["role"], content=plain(m["content"])) for m in messages]
    return _all_marked(turns) if QWEN3.search(model) else turns


def unmarked(text: str) -> str:
    """A user turn without the mark that rendering puts on."""
    return text.rstrip().removesuffix(NO_THINK).rstrip()


def plain(text: str) -> str:
    """The text with what looks like a control token of any known family broken up."""
    return MARKED_UP.sub(lambda found: found[0] + BREAK, text)


def prompt_ids(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """`prompt_text` as token ids."""
    return list(tokenizer(prompt_text(tokenizer, messages), add_special_tokens=False)["input_ids"])


def examples(tokenizer: Any, messages: Sequence[Message]) -> list[Example]:
    """One training row per assistant turn: the turn's history as prompt, the turn as completion.

    A dialogue of several turns gives several rows, so that every answer is trained after exactly the tokens that
    stand before it when it is generated (a history shows earlier answers without their think blocks).
    """
    rows = []
    for at, message in enumerate(messages):
        if message["role"] == "assistant":
            prompt = prompt_ids(tokenizer, messages[:at])
            content = chat_format(tokenizer).plain(message["content"]).strip()
            answer = tokenizer(content, add_special_tokens=False)["input_ids"]
            rows.append(Example(prompt, [*answer, turn_end_id(tokenizer)]))
    return rows


def common_prefix(rows: Sequence[list[int]]) -> int:
    """How many token ids all the rows begin with: mostly the system prompt, which is then computed once."""
    if not rows:
        return 0
    first, last = min(rows), max(rows)  # in lexicographic order: the farthest pair
    pairs = zip(first, last, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(first), len(last)))


def completion_text(tokenizer: Any, content: str) -> str:
    """An answer as it is trained: control tokens broken up, white space around it taken off, and the turn end."""
    form = chat_format(tokenizer)
    return form.plain(content).strip() + form.turn_end


def _all_marked(messages: Sequence[Message]) -> list[Message]:
    return [_marked(m) if m["role"] == "user" else m for m in messages]


def _marked(message: Message) -> Message:
    text = message["content"].rstrip()
    return message if text.endswith(NO_THINK) else {"role": "user", "content": f"{text} {NO_THINK}"}
