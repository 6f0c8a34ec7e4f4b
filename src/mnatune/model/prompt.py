"""The one place where a dialogue becomes token ids, for training, evaluation, `ask`, the API and exports.

Think policy `off` (Qwen3): every user turn ends with /no_think, and the answer starts with an empty think block. The
block belongs to the prompt, so it carries no loss; the completion is the answer and <|im_end|>, nothing else.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from ..runs.errors import DataError

NO_THINK = "/no_think"
TURN_END = "<|im_end|>"
QWEN3 = re.compile(r"qwen-?3", re.IGNORECASE)
CONTROL = re.compile(r"<(?=\|[^|<>\s]+\|>)")  # how a control token such as <|im_start|> begins


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
    return str(
        tokenizer.apply_chat_template(
            under_policy(messages), tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
    )


def under_policy(messages: Sequence[Message]) -> list[Message]:
    """The messages as every template may render them: control tokens broken up, each user turn marked /no_think.

    A server that renders by itself needs nothing else.
    """
    return [_marked(m) if m["role"] == "user" else m for m in _plain(messages)]


def marked_for(model: str, messages: Sequence[Message]) -> list[Message]:
    """The messages as a server's model of this name needs them: /no_think means something to Qwen3 alone."""
    return under_policy(messages) if QWEN3.search(model) else _plain(messages)


def plain(text: str) -> str:
    """The text with control tokens broken up: whatever a user, a row or a page holds, it cannot end or open a turn."""
    return CONTROL.sub("<\u200b", text)


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
            answer = tokenizer(plain(message["content"]).strip(), add_special_tokens=False)["input_ids"]
            rows.append(Example(prompt, [*answer, turn_end_id(tokenizer)]))
    return rows


def common_prefix(rows: Sequence[list[int]]) -> int:
    """How many token ids all the rows begin with: mostly the system prompt, which is then computed once."""
    if not rows:
        return 0
    first, last = min(rows), max(rows)  # in lexicographic order: the farthest pair
    pairs = zip(first, last, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(first), len(last)))


def turn_end_id(tokenizer: Any) -> int:
    """Id of <|im_end|>, which every answer ends with."""
    ids = tokenizer.convert_tokens_to_ids([TURN_END])
    if ids[0] is None or ids[0] == tokenizer.unk_token_id:
        raise DataError(f"the tokenizer has no {TURN_END}: not a Qwen3-style chat model")
    return int(ids[0])


def _plain(messages: Sequence[Message]) -> list[Message]:
    return [{"role": m["role"], "content": plain(m["content"])} for m in messages]


def _marked(message: Message) -> Message:
    text = message["content"].rstrip()
    return message if text.endswith(NO_THINK) else {"role": "user", "content": f"{text} {NO_THINK}"}
