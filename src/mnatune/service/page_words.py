"""What the pages say of the field, in the pack's words; a pack without them gets words that fit any field."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from pydantic import ValidationError

from ..pack.schema import GradeForm, RatingForm, WelcomeForm
from ..runs.errors import DataError

WELCOME = WelcomeForm(title="무엇을 도와드릴까요?", text="질문을 입력하면 답변을 드립니다.")
RATING = RatingForm(
    guideline=["결론이 맞는지 먼저 보고, 그다음 근거가 맞는지 봅니다.", "잘 모르는 분야이면 건너뜁니다."],
    grades=[
        GradeForm(label="틀림", means="결론이나 근거가 틀렸습니다."),
        GradeForm(label="많이 고쳐야 함", means="방향은 맞지만 중요한 것이 빠지거나 틀렸습니다."),
        GradeForm(label="조금 고치면 됨", means="맞지만 다듬어야 합니다."),
        GradeForm(label="그대로 쓸 수 있음", means="고칠 것이 없습니다."),
    ],
)


@dataclass(frozen=True, slots=True)
class PageWords:
    """The words of the chat page's welcome and of the rating workspace."""

    welcome: WelcomeForm = WELCOME
    rating: RatingForm = RATING

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Self:
        """The words of a pack, from its pack.yaml; raises `DataError` if they have another form."""
        try:
            return cls(
                WelcomeForm.model_validate(facts["welcome"]) if facts.get("welcome") else WELCOME,
                RatingForm.model_validate(facts["rating"]) if facts.get("rating") else RATING,
            )
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise DataError(
                f"{first['msg']} ({place})", where="pack.yaml: welcome, rating", next_step="mnatune pack check"
            ) from error
