"""`dpo`: learn from pairs which of two answers is the better one (Rafailov et al. 2023)."""

from typing import Any

from ..given_rows import is_pair
from ..method import Figure
from ..preference_rows import PAIRS, PreferenceForm
from .by_preference import preference_method


def _trainer() -> tuple[type, type]:
    from trl import DPOConfig, DPOTrainer

    return DPOConfig, DPOTrainer


def _rows(row: dict[str, Any]) -> list[dict[str, Any]] | None:
    return [row] if is_pair(row) else None


FIGURES = {
    "rewards/accuracies": Figure("선호 정확도", ".0%"),
    "rewards/margins": Figure("보상 차이", ".2~f"),
}


DPO_FORM = PreferenceForm("dpo", PAIRS, ("chosen", "rejected"), _rows, _trainer, FIGURES)
DPO = preference_method(DPO_FORM, "두 답변 가운데 나은 쪽을 배움")
