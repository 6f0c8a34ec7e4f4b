"""Whether an answer denies the false premise of a question.

A premise counts as denied if a sentence denies it, not if any negation occurs: the phrases are data of the pack.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from ...pack import Pack
from ...pack.check import CheckResult
from ...runs.workspace import read_jsonl
from ...text.abstention import EARLY, squeeze, squeezed_sentences
from ...text.values import values

Premise = Literal["correct", "wrong", "refused"]

UNLESS = re.compile(r"(?:지않|지아니하|없|아니)(?:으면|하면|면|는다면|다면|을경우|은경우|는경우|은때|는한|는이상)")
QUOTED_ON = re.compile(r"(?:다?라는|다?고하는|는것은아|고볼수(?:는)?없|는말|지는않|지않)")


def judge_premise(text: str, row: Mapping[str, Any], words: Mapping[str, Any]) -> Premise:
    """Correct: the premise is denied and every required point made; refused: no answer; wrong: anything else.

    A phrase that accepts the premise, an agreeing opening or an appeal to an article that only the question knows makes
    the answer wrong, whatever else it says.

    Args:
        row: the exam item, with `must_mention` and `accepting`; `question` and `answer` tie a denial to the premise.
        words: the pack's evaluate.yaml, for `denials` and `refusals`.
    """
    sentences = squeezed_sentences(text)
    denials: Mapping[str, Sequence[str]] = words["denials"]
    refusing = [at for at, bare in enumerate(sentences) if _any(words["refusals"], bare)]
    ties = _ties(row, denials["demonstratives"])
    absent = any(_any(denials["absent"], bare) and ties(bare) for bare in map(_affirmed(denials), sentences))
    untrue = any(_any(denials["untrue"], bare) for bare in map(_affirmed(denials), sentences))
    early = [bare for at, bare in enumerate(sentences[:EARLY]) if at not in refusing]
    stance = any(_any(denials["stance"], bare) for bare in map(_affirmed(denials), early))
    agreeing = bool(sentences) and _any(denials["agreeing"], sentences[0])
    relying = not absent and _relies(row, sentences, denials["relying"])
    if _accepts(row, "".join(sentences)) or relying or (agreeing and not absent):
        return "wrong"
    if (absent or untrue or stance) and all(_mentions(point, text, absent, denials) for point in row["must_mention"]):
        return "correct"
    return "refused" if any(at < EARLY for at in refusing) else "wrong"


def failing_keys(rows: Iterable[Mapping[str, Any]], words: Mapping[str, Any]) -> list[str]:
    """Ids of false-premise items whose own reference answer is not judged correct."""
    return [str(row["id"]) for row in rows if judge_premise(str(row["answer"]), row, words) != "correct"]


def check_keys(pack: Pack) -> CheckResult:
    """`pack check`: does the scorer of false premises pass the pack's own answers?"""
    path = pack.root / "exam/false_premise.jsonl"
    rows = read_jsonl(path, missing_ok=True)
    failing = failing_keys(rows, pack.yaml("evaluate.yaml")) if rows else []
    told = [f"exam/false_premise.jsonl: {name}: its own answer is not judged correct" for name in failing]
    return CheckResult("false premises denied by their keys", f"{len(rows)} items", told)


def _any(patterns: Iterable[str], bare: str) -> bool:
    return any(re.search(pattern, bare) for pattern in patterns)


def _affirmed(denials: Mapping[str, Sequence[str]]) -> Any:
    """Empties sentences whose negation affirms: "없이는 … 없다", "문제가 되지 않는다", exceptions that do not exist."""
    return lambda bare: "" if UNLESS.search(bare) or _any(denials["affirming"], bare) else bare


def _accepts(row: Mapping[str, Any], bare: str) -> bool:
    for phrase in map(squeeze, row.get("accepting", [])):
        at = bare.find(phrase)
        if at >= 0 and not QUOTED_ON.match(bare[at + len(phrase) :]):
            return True
    return False


def _ties(row: Mapping[str, Any], demonstratives: Sequence[str]) -> Any:
    """Whether a sentence speaks of the premise: by a demonstrative, a value or a longer word of the question."""
    question = str(row.get("question", ""))
    known = [value.text for value in values(question)]
    stems = {word[:4] for word in re.findall(r"[가-힣]{4,}", question)}

    def tied(bare: str) -> bool:
        if not question or _any(demonstratives, bare):
            return True
        return any(v.text in known for v in values(bare)) or any(stem in bare for stem in stems)

    return tied


def _relies(row: Mapping[str, Any], sentences: Sequence[str], relying: Sequence[str]) -> bool:
    """The answer takes an article as its authority that the question names and the reference answer does not."""
    if not row.get("question") or not row.get("answer"):
        return False
    asked, right = ({v.text for v in values(str(row[name])) if v.kind == "article"} for name in ("question", "answer"))
    for bare in sentences:
        for value in values(bare):
            if value.text in asked - right and any(re.match(pattern, bare[value.end :]) for pattern in relying):
                return True
    return False


def _mentions(point: str, text: str, absent: bool, denials: Mapping[str, Sequence[str]]) -> bool:
    """A required point is made literally, by value, or, where it is a denial itself, by another one."""
    if squeeze(point) in squeeze(text) or (absent and _any(denials["absent"], squeeze(point))):
        return True
    wanted, given = values(point), values(text)
    return bool(wanted) and all(any(value.agrees(one) for one in given) for value in wanted)
