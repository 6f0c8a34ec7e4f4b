"""`dpo`: learn from pairs which of two answers is the better one (Rafailov et al. 2023)."""

from collections.abc import Sequence
from typing import Any

from ....runs.job import Job
from ....runs.recipe import Recipe
from ....runs.workspace import Run
from ..method import Figure, Method
from ..plan import Needs
from ..preference_rows import PAIRS, PreferenceForm, is_pair, preference_lengths, preference_needs


def _trainer() -> tuple[type, type]:
    from trl import DPOConfig, DPOTrainer

    return DPOConfig, DPOTrainer


def _rows(row: dict[str, Any]) -> list[dict[str, Any]] | None:
    return [row] if is_pair(row) else None


DPO_FORM = PreferenceForm("dpo", PAIRS, ("chosen", "rejected"), _rows, _trainer)
FIGURES = {
    "rewards/accuracies": Figure("선호 정확도", ".0%"),
    "rewards/margins": Figure("보상 차이", ".2~f"),
}


def _lengths(recipe: Recipe, run: Run) -> list[int]:
    return preference_lengths(recipe, run, DPO_FORM)


def _needs(recipe: Recipe, lengths: Sequence[int]) -> Needs:
    return preference_needs(DPO_FORM)


def _work(job: Job) -> None:
    from ..preference import train_on_preferences

    train_on_preferences(job, DPO_FORM)


DPO = Method("dpo", "두 답변 가운데 나은 쪽을 배움", PAIRS, True, _lengths, _needs, _work, FIGURES)
