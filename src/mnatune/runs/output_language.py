"""The language of what a command prints: Korean or English, by one switch.

MNATUNE_LANG (`ko` or `en`) decides, or `mnatune --lang`; without it the system's own language. Help and errors are
English.
"""

import os
from typing import Literal

VARIABLE = "MNATUNE_LANG"
LANGUAGES = ("ko", "en")

# What `Job.track` calls a piece of work → in Korean.
WORK = {
    "classifier": "분류기 점수",
    "clean": "행 정리",
    "cutting documents": "문서 자르기",
    "extracting": "꺼내기",
    "lexicon": "용어집 점수",
    "measuring rows": "행 길이 재기",
    "read": "파일 읽기",
    "scoring": "점수 매기기",
}
# What evaluation asks, of which model.
ASKED = {
    "answers": "보류 문항",
    "exam": "객관식",
    "premises": "거짓 전제",
    "essays": "서술형",
    "paraphrases": "바꿔 물은 문항",
}
SIDES = {"base": "학습 전", "tuned": "학습 후"}
WORK |= {f"{kind}-{side}": f"{asked}, {name}" for kind, asked in ASKED.items() for side, name in SIDES.items()}


def language() -> Literal["ko", "en"]:
    """`ko` or `en`."""
    names = (VARIABLE, "LC_ALL", "LC_MESSAGES", "LANG")
    chosen = next((os.environ[name] for name in names if os.environ.get(name)), "")
    return "ko" if chosen.lower().startswith("ko") else "en"


def say(english: str, korean: str) -> str:
    """The one of two texts that is in the output's language."""
    return korean if language() == "ko" else english


def work_name(label: str) -> str:
    """A piece of work in the output's language; one without a Korean name is shown as it is."""
    return say(label, WORK.get(label, label))
