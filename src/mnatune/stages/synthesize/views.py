"""More views of a fact that a pattern found in an article: the same span asked and told in other ways.

A model that meets a fact in one wording learns the wording; in several it learns the fact (Lin et al. 2025, Active Reading).
The kinds are value, paraphrase, application, teach-back, summary and locate; `by_rule` gives plain questions and answers, and the contrast
of a rule with its exception. A view rests on the span of the pair that it is made from, and is checked like it.
"""

import re
from collections.abc import Iterator, Sequence

from .by_rule import ARTICLE_TITLE, DEADLINE, SHARE, Made, particle, rests_on
from .passages import Passage
from .sentences import pieces

# kind of the pair → kind of the view → question and answer. {law은} is the law with its particle; {told} the pair's statement,
# {first} its first sentence, {value} the one period or share in it.
VIEWS: dict[str, dict[str, tuple[str, str]]] = {
    "deadline": {
        "value": (
            "{law} {article}({topic})의 기한만 짧게 알려 주세요.",
            "{value}입니다. ({law} {article})",
        ),
        "paraphrase": (
            "{topic}에 관하여 {law은} 언제까지, 얼마 동안이라고 정하고 있습니까?",
            "{law} {article}에 따르면 {told}",
        ),
        "application": (
            "A사의 법무팀이 '{topic}' 문제를 검토합니다. 달력에 적어 둘 기한을 알려 주세요.",
            "{law} {article}의 기한을 적어 두어야 합니다. {told}",
        ),
        "teach-back": (
            "{law} {article}의 기한을 처음 배우는 동료에게 가르쳐 주세요.",
            "'{topic}'에 관하여 외워 둘 기한은 다음과 같습니다. {told} ({law} {article})",
        ),
    },
    "share": {
        "value": (
            "{law} {article}({topic})의 비율만 짧게 알려 주세요.",
            "{value}입니다. ({law} {article})",
        ),
        "paraphrase": (
            "{topic}에 관하여 {law은} 얼마만큼의 비율이 필요하다고 하고 있습니까?",
            "{law} {article}에 따르면 {told}",
        ),
        "application": (
            "A사가 '{topic}' 안건을 준비합니다. 몇 분의 몇이 기준인지 알려 주세요.",
            "{law} {article}의 비율을 맞추어야 합니다. {told}",
        ),
        "teach-back": (
            "{law} {article}의 비율 기준을 처음 배우는 동료에게 가르쳐 주세요.",
            "'{topic}'에 관하여 외워 둘 비율은 다음과 같습니다. {told} ({law} {article})",
        ),
    },
    "exception": {
        "application": (
            "A사는 '{topic}' 규정의 단서에 기대려고 합니다. 원칙부터 차례로 설명해 주세요.",
            "{law} {article}의 본문부터 보아야 합니다. {told}",
        ),
    },
    "content": {
        "teach-back": (
            "{topic}에 관한 규정을 처음 배우는 사람에게 가르치듯 설명해 주세요.",
            "'{topic}'에 관한 것은 {law} {article}에서 정합니다. {told}",
        ),
        "summary": ("{law} {article}의 요지를 한 문장으로 말해 주세요.", "{first} ({law} {article})"),
        "locate": ("{topic}에 관한 것은 {law}의 몇 조에 있나요?", "{law} {article}({topic})에 있습니다."),
    },
}  # fmt: skip
# "2주간 내", "3분의 2 이상": a limit without its direction would be another one
STATED = {
    "deadline": re.compile(rf"(?:{DEADLINE.pattern})(?:\s?(?:이내|내))?"),
    "share": re.compile(rf"(?:{SHARE.pattern})(?:\s?(?:이상|이하|초과|미만)|[을를]\s?(?:초과|넘)(?:하?지)?)?"),
}
OVER = re.compile(r"[을를]\s?(?:초과|넘)(?P<denied>하?지)?$")  # 초과하여, 넘는; 초과하지 못한다
FORBIDDEN = re.compile(r"못하|못한|못합|아니\s?[된됩하한합]|안\s?[된됩]")
KINDS = ("value", "paraphrase", "application", "teach-back", "summary", "locate")


def views(passage: Passage, found: Sequence[Made]) -> Iterator[Made]:
    """Further views of the pairs that were found in an article, kind by kind; none of other documents."""
    place = ARTICLE_TITLE.match(passage.title)
    if not place or not place["topic"]:
        return
    names = {name: place[name] for name in ("law", "article", "topic")}
    for kind in KINDS:
        for made in found:
            if kind not in VIEWS.get(made.kind, {}):
                continue
            told = made.answer.removesuffix(rests_on(place))
            first = next(pieces(told), "")
            if kind == "summary" and first == told:
                continue  # the whole is one sentence already
            value = _value(made.kind, told) if kind == "value" else ""
            if kind == "value" and not value:
                continue
            words = {
                **names,
                "law은": particle(place["law"], "은", "는"),
                "told": told,
                "first": first,
                "value": value,
            }
            question, answer = (text.format(**words) for text in VIEWS[made.kind][kind])
            yield Made(question, answer, made.span, kind)


def _value(kind: str, told: str) -> str:
    """The one period or share of a statement with its direction; empty where there are several, or what it means is unclear."""
    stated = {one.group() for one in STATED[kind].finditer(told)}
    if len(stated) != 1:
        return ""
    value = stated.pop().removesuffix("에")
    over = OVER.search(value)
    if over and not over["denied"] and FORBIDDEN.search(told):
        return ""  # "20분의 1을 초과하여 … 받지 못한다": the share alone would say the contrary
    return OVER.sub(" 이하" if over and over["denied"] else " 초과", value)
