"""What other models leave in their answers: reasoning traces, and the control tokens of their formats.

Does not: find reasoning that no mark encloses.
"""

import re

_SPACE = r"\s{0,3}"
_NAMES = "think|thinking|thoughts?|reasoning|reflection|scratchpad|내부사고|생각"
_CONTROL = re.compile(
    r"(?i)<\|[^<>|\n]{1,40}\|>|\[\|[^\[\]|\n]{1,40}\|\]|\[/?INST\]|<</?SYS>>|</?(?:start|end)_of_(?:turn|text|image)>"
    r"|<(?:bos|eos|pad|unk|mask|s)>|</s>|</?tool_(?:call|response)s?>"
)
_MARK = re.compile(rf"(?i)[<◁\[]{_SPACE}(/?){_SPACE}(?:{_NAMES}){_SPACE}[>▷\]]")
CONTROL, THOUGHT = range(2)
_WRAPPER = re.compile(r"(?i)</?(?:answer|final|final_answer|output|response)>")
_SWITCH = re.compile(r"(?i)(?<!\S)/(?:no_)?think(?!\S)")  # of Qwen3


def without_thoughts(answer: str) -> tuple[str, bool]:
    """The answer without its reasoning, and whether there was any. A trace that is never closed stays, to be seen.

    What stands before a closing mark without an opening one is reasoning too: the prompt has opened it.
    """
    marks = list(_MARK.finditer(answer)) if _may_hold(answer) else []
    if not any(mark[1] for mark in marks):
        return answer, False
    kept: list[str] = []
    at = depth = 0
    for mark in marks:
        if not mark[1]:
            if not depth:
                kept.append(answer[at : mark.start()])
            depth += 1
            at = mark.start()
        else:
            if not depth:
                kept.clear()
            depth = max(0, depth - 1)
            at = mark.end()
    return _WRAPPER.sub("", "".join([*kept, answer[at:]])).strip(), True


def without_switches(question: str) -> str:
    """The question without `/think` and `/no_think`, which switch a Qwen3 model."""
    return _SWITCH.sub("", question).strip() if "/" in question else question


def without_control(text: str) -> str:
    """The text without control tokens."""
    return _CONTROL.sub("", text)


def marks_of(text: str) -> set[int]:
    """CONTROL if the text spells a control token, THOUGHT if it holds a mark of reasoning."""
    if not _may_hold(text):
        return set()
    return {kind for kind, pattern in ((CONTROL, _CONTROL), (THOUGHT, _MARK)) if pattern.search(text)}


def _may_hold(text: str) -> bool:
    """Cheap pre-check: True if the text has a character that starts a mark."""
    return "<" in text or "[" in text or "◁" in text
