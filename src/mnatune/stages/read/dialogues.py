"""Rows that are dialogues: `messages` as OpenAI writes them, ShareGPT's `conversations`, and alpaca rows with a history."""

from collections.abc import Mapping
from typing import Any, NamedTuple

LISTS = ("messages", "conversations", "conversation", "dialogue", "dialog", "대화")
ROLES = ("role", "from", "speaker", "화자")
TEXTS = ("content", "value", "text", "발화", "내용")
SPEAKERS = {
    "system": ("system", "시스템"),
    "user": ("user", "human", "prompter", "question", "사용자", "질문자", "고객", "의뢰인"),
    "assistant": ("assistant", "gpt", "chatgpt", "bot", "model", "answer", "답변자", "상담사", "변호사"),
}
ROLE_OF = {name: role for role, names in SPEAKERS.items() for name in names}


class Dialogue(NamedTuple):
    """A dialogue that ends with a question and its answer."""

    question: str
    answer: str
    history: list[str]
    system: str


class Malformed(ValueError):
    """The dialogue cannot be a record; the message is the reason that is counted."""


def dialogue_of(row: Mapping[str, Any]) -> Dialogue | None:
    """The dialogue of a row; None if the row holds none.

    Raises:
        Malformed: turns are missing, out of order, or not text.
    """
    name = turns_column(row)
    return _dialogue(*_turns(row[name])) if name else None


def turns_column(row: Mapping[str, Any]) -> str:
    """The key of a row's list of turns; empty if the row holds none."""
    return next((name for name in LISTS if isinstance(row.get(name), list)), "")


def history_of(value: Any) -> list[str]:
    """The turns of a row's `history`: (question, answer) pairs as alpaca has them, or messages as OpenAI writes them.

    Raises:
        Malformed: it has another shape.
    """
    if not value:
        return []
    if isinstance(value, list) and all(isinstance(turn, dict) for turn in value):
        system, turns = _turns(value)
        if system or [role for role, _ in turns] != ["user", "assistant"] * (len(turns) // 2):
            raise Malformed("history-not-pairs")
        return [text for _, text in turns]
    texts: list[str] = []
    for pair in value if isinstance(value, list) else [value]:
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(t, str) and t.strip() for t in pair)):
            raise Malformed("history-not-pairs")
        texts += pair
    return texts


def _turns(messages: list[Any]) -> tuple[str, list[tuple[str, str]]]:
    """The system prompt, and (role, text) of each turn; consecutive messages of one side are joined."""
    system = ""
    turns: list[tuple[str, str]] = []
    for message in messages:
        if not isinstance(message, dict):
            raise Malformed("wrong-type")
        said = next((message[name] for name in ROLES if name in message), None)
        role = ROLE_OF.get(str(said).strip().lower())
        if role is None:
            of_a_tool = said in ("tool", "function", "observation", "function_call")
            raise Malformed("tool-turn" if of_a_tool else "unknown-role")
        text = _text(next((message[name] for name in TEXTS if name in message), None))
        if role == "system":
            if turns:
                raise Malformed("turns-out-of-order")
            system = text
        elif turns and turns[-1][0] == role:
            turns[-1] = (role, f"{turns[-1][1]}\n\n{text}")
        else:
            turns.append((role, text))
    return system, turns


def _text(content: Any) -> str:
    if isinstance(content, list):  # parts, as in {"type": "text", "text": …}
        parts = [part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)]
        content = "\n".join(parts) if len(parts) == len(content) else None
    if not isinstance(content, str):
        raise Malformed("wrong-type")
    if not content.strip():
        raise Malformed("empty-turn")
    return content


def _dialogue(system: str, turns: list[tuple[str, str]]) -> Dialogue:
    roles = [role for role, _ in turns]
    if "assistant" not in roles:
        raise Malformed("missing-answer")
    if roles[0] == "assistant":
        raise Malformed("begins-with-answer")
    if roles[-1] == "user":
        raise Malformed("ends-with-question")
    texts = [text for _, text in turns]
    return Dialogue(texts[-2], texts[-1], texts[:-2], system)
