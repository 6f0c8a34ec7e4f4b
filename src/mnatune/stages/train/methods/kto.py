"""`kto`: learn from single answers with a thumb up or down (Ethayarajh et al. 2024); pairs are taken apart."""

from collections.abc import Sequence
from typing import Any

from ..given_rows import is_pair, is_thumb
from ..method import Figure
from ..preference_rows import PreferenceForm
from .by_preference import preference_method

THUMBS = "unpaired.jsonl"


def _trainer() -> tuple[type, type]:
    from trl import KTOConfig, KTOTrainer

    return KTOConfig, KTOTrainer


def _rows(row: dict[str, Any]) -> list[dict[str, Any]] | None:
    """A row with a thumb as it is; a pair as a wanted and an unwanted answer."""
    if is_pair(row):
        sides = (("chosen", True), ("rejected", False))
        return [{"prompt": row["prompt"], "completion": row[name], "label": label} for name, label in sides]
    return [row] if is_thumb(row) else None


def balance(labels: Sequence[bool]) -> dict[str, float]:
    """Weights by which wanted and unwanted answers count alike in KTO's loss; the rarer kind is weighted up.

    TRL's guide to KTO (Ethayarajh et al., 2024) advises w_d · n_d : w_u · n_u between 1:1 and 4:3, and people rate what
    is wrong more often than what is right, or the other way round. `train.extra` goes before. Answers of one kind alone
    are left as they are: there is nothing to balance.
    """
    wanted = sum(labels)
    unwanted = len(labels) - wanted
    if not wanted or not unwanted:
        return {"desirable_weight": 1.0, "undesirable_weight": 1.0}
    return {
        "desirable_weight": round(max(1.0, unwanted / wanted), 4),
        "undesirable_weight": round(max(1.0, wanted / unwanted), 4),
    }


def _balanced(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    return balance([row["label"] for row in rows])


FIGURES = {"rewards/margins": Figure("보상 차이", ".2~f")}
# two rows at once at least: its KL term, estimated within a micro-batch, would vanish
KTO_FORM = PreferenceForm("kto", THUMBS, ("completion",), _rows, _trainer, FIGURES, _balanced, least=2)
KTO = preference_method(KTO_FORM, "엄지로 매긴 답변에서 배움")
