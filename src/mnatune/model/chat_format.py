"""How one model family writes a dialogue, learnt from its own chat template: Qwen3, Qwen2.5, Llama, Gemma, EXAONE 4, …

The template is rendered on a small dialogue, and what stands around the turns tells the end of an answer, whether a
system turn is known, and whether the base thinks. Nothing depends on a model's name. What cannot be trained under one
policy is refused here, with the tokenizer alone, before any weights are read.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from weakref import WeakKeyDictionary

from ..runs.errors import DataError

Policy = Literal["off", "none"]

EMPTY_THINKING = "<think>\n\n</think>\n\n"  # of Qwen3, where an answer begins with thinking switched off
QWEN3_END = "<|im_end|>"
POLICIES: dict[str, str] = {  # as cards tell them
    "off": "사용자 발화 끝에 `/no_think`, 답변 앞에 손실이 없는 빈 think 블록",
    "none": "기반 모델의 대화 틀 그대로 (사고를 켜고 끄지 않는 모델)",
}
DATE = "26 Jul 2024"  # what Llama's templates write where they are given no clock
THOUGHT = re.compile(r"<(?:think|thought|reasoning)>\s*\Z")
MARKED_UP = re.compile(r"<(?=\|[^|<>\s]+\|>)|\[(?=\|[^|\[\]\s]+\|\])|<(?=(?:start|end)_of_turn>)")
BREAK = "\u200b"  # zero width: readers see the same text, the tokenizer no control token
# The marks of the probe hold no space: a template may strip or fold them.
SYSTEM, ASKED, ANSWERED, ASKED_AGAIN = "zqsystem", "zqasked", "zqanswered", "zqagain"


@dataclass(frozen=True, slots=True)
class ChatFormat:
    """What has to be known of a family beside its template.

    Attributes:
        turn_end: the token that ends an answer.
        policy: "off": user turns end with /no_think and an answer begins after an empty think block (Qwen3); "none":
            the template alone, since the base does not think or its template switches thinking off by itself.
        folds_system: the family knows no system turn, so the system prompt opens the first user turn.
        control: where a control token of the family begins in a text.
    """

    turn_end: str
    policy: Policy
    folds_system: bool
    control: re.Pattern[str]

    def plain(self, text: str) -> str:
        """The text with control tokens broken up: whatever a user or a row holds, it cannot end or open a turn."""
        return self.control.sub(lambda found: found[0][0] + BREAK + found[0][1:], text)

    def placed(self, messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The messages with the system prompt where this family can take it."""
        turns = [dict(message) for message in messages]
        if not (self.folds_system and turns and turns[0]["role"] == "system"):
            return turns
        first = turns[1] if len(turns) > 1 else {"role": "user", "content": ""}
        return [{**first, "content": f"{turns[0]['content']}\n\n{first['content']}"}, *turns[2:]]


_known: "WeakKeyDictionary[Any, tuple[Any, ChatFormat]]" = WeakKeyDictionary()


def chat_format(tokenizer: Any) -> ChatFormat:
    """The format that the tokenizer's chat template writes; found once for a tokenizer and template.

    Raises:
        DataError: there is no template, or dialogues under it cannot be trained: a base that always thinks, or a turn
            that ends with plain text.
    """
    template = getattr(tokenizer, "chat_template", None)
    known = _known.get(tokenizer)
    if known is None or known[0] != template:
        known = _known[tokenizer] = (template, _probed(tokenizer))
    return known[1]


def turn_end_id(tokenizer: Any) -> int:
    """Id of the token that every answer ends with."""
    return int(tokenizer.convert_tokens_to_ids([chat_format(tokenizer).turn_end])[0])


def answer_ends(model: Any, tokenizer: Any) -> frozenset[int]:
    """The turn end, and the tokens that the base's own generation settings stop at."""
    stated = getattr(model.generation_config, "eos_token_id", None)
    others = stated if isinstance(stated, list) else [] if stated is None else [stated]
    return frozenset([turn_end_id(tokenizer), *map(int, others)])


def rendered(tokenizer: Any, messages: Sequence[Mapping[str, Any]]) -> str:
    """The dialogue as the template writes it: thinking off, and on the same date every day.

    Raises:
        DataError: the template does not take such a dialogue, such as two user turns in a row.
    """
    from jinja2 import TemplateError

    settled = {"enable_thinking": False, "date_string": DATE, "strftime_now": lambda form: DATE}
    try:
        return str(tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True, **settled))
    except TemplateError as error:
        raise DataError(f"the model's chat template does not take this dialogue: {error}") from error


def fixed_template(tokenizer: Any) -> str:
    """The family's own template with what `rendered` and `ChatFormat.placed` decide built in, for policy "none"."""
    fold = (
        "{%- if messages and messages[0]['role'] == 'system' -%}"
        "{%- set head = messages[0]['content'] + '\\n\\n' + (messages[1]['content'] if messages|length > 1 else '') -%}"
        "{%- set messages = [{'role': 'user', 'content': head}] + messages[2:] -%}"
        "{%- endif -%}"
    )
    head = f"{{%- set enable_thinking = false -%}}{{%- set date_string = '{DATE}' -%}}"
    return head + (fold if chat_format(tokenizer).folds_system else "") + str(tokenizer.chat_template)


def _probed(tokenizer: Any) -> ChatFormat:
    if not isinstance(getattr(tokenizer, "chat_template", None), str) or not tokenizer.chat_template:
        raise DataError(
            "the model has no chat template: it is a base model, not one that was taught to answer",
            next_step="set model.id to the family's instruct model",
        )
    talk = [
        {"role": "user", "content": ASKED},
        {"role": "assistant", "content": ANSWERED},
        {"role": "user", "content": ASKED_AGAIN},
    ]
    text = rendered(tokenizer, talk)
    before, _, after = text.partition(ANSWERED)
    opening = text.rpartition(ASKED_AGAIN)[2]
    if ASKED not in before or not after or not opening:
        raise DataError("the model's chat template leaves out a turn of the dialogue", next_step="use another model.id")
    if THOUGHT.search(opening):
        raise DataError(
            "the model opens every answer with a thought, also when thinking is switched off",
            next_step="choose a model that can answer without, such as Qwen/Qwen3-8B",
        )
    turn_end = _turn_end(tokenizer, after)
    policy: Policy = "off" if turn_end == QWEN3_END and opening.endswith(EMPTY_THINKING) else "none"
    return ChatFormat(turn_end, policy, _folds_system(tokenizer), _control(tokenizer, text))


def _turn_end(tokenizer: Any, after: str) -> str:
    """The control token that an answer is followed by."""
    ids = tokenizer(after.lstrip(), add_special_tokens=False)["input_ids"]
    first = ids[0] if ids else None
    added = tokenizer.get_added_vocab()
    for text, number in added.items():
        if number == first and number != tokenizer.unk_token_id and text.strip():
            return str(text)
    raise DataError(
        f"the model's chat template ends an answer with the plain text {after[:20]!r}, which no model can stop at",
        next_step="choose a model whose template ends turns with a control token",
    )


def _folds_system(tokenizer: Any) -> bool:
    """True if the template refuses a system turn, or passes it over."""
    talk = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": ASKED}]
    try:
        return SYSTEM not in rendered(tokenizer, talk)
    except DataError:
        return True


def _control(tokenizer: Any, scaffolding: str) -> re.Pattern[str]:
    """Control tokens by their looks, and this tokenizer's own: the special ones, and those that the template writes."""
    own = {
        added.content
        for added in getattr(tokenizer, "added_tokens_decoder", {}).values()
        if len(added.content.strip()) > 1 and (added.special or added.content in scaffolding)
    }
    own -= {mark for mark in own if "think" in mark}  # not control: they are counted as leaks where they are seen
    listed = [re.escape(text) for text in sorted(own, key=len, reverse=True)]
    return re.compile("|".join([*listed, MARKED_UP.pattern]))
