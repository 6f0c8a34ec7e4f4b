"""What `train.options` and `train.lora` may hold: each training method's own keys, and LoRA's variants.

Each method has a strict model of its own, so a key of one method is refused under another, with the nearest name.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from .errors import did_you_mean

REWARDS = {
    "citation_exists": 1.0,
    "citation_supported": 1.0,
    "citation_shown": 1.0,
    "abstention": 1.0,
    "values_grounded": 0.5,
    "letter": 1.0,
    "ends": 0.5,
    "korean": 0.5,
    "length": 0.25,
    "polite": 0.25,
}
REWARD_NAMES = (*REWARDS, "rubric")


class OptionsForm(BaseModel):
    """Unknown keys are refused, values cannot be changed after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


class LoraOptions(OptionsForm):
    """Variants of LoRA by PEFT's own names."""

    use_rslora: bool = False
    """Scale by alpha / √r instead of alpha / r (Kalajdzievski 2023): for ranks of 32 and more, where alpha / r fades."""
    use_dora: bool = False
    """Learn direction and magnitude apart (Liu et al. 2024): for ranks of 8 and less; slower, and vLLM does not serve it."""

    @model_validator(mode="before")
    @classmethod
    def _no_whole_modules(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and given.get("modules_to_save"):
            raise ValueError(
                "modules_to_save is refused: a whole trained embedding or head makes every checkpoint and adapter larger than "
                "the base's own (1.2 GB each on Qwen3-8B), breaks tied weights, and no server loads it beside a base; "
                "start from an instruct model, whose end token is trained already"
            )
        return given


class SftOptions(OptionsForm):
    """`sft` has no options of its own."""


class PreferenceOptions(OptionsForm):
    """`dpo` and `kto`."""

    rows: str | None = None
    """Preference rows, or a folder of them such as a feedback export; by default the run's own from ranked answers."""
    margin: int = Field(1, ge=1)
    """Least difference in rank of a pair; a higher one trains on clear differences only."""


class GrpoOptions(OptionsForm):
    """`grpo`."""

    rows: str | None = None
    """JSONL of questions to answer: `messages`, and where known `evidence` and `letter`; by default the run's own train.jsonl."""
    generations: int = Field(8, ge=2)
    """Answers drawn for each question and compared with one another; `train.rows_per_step` is a multiple of it."""
    answer_tokens: int = Field(256, ge=8)
    """Longest answer drawn; longer ones are cut and do not count as ended."""
    temperature: float = Field(1.0, gt=0)
    """Of the draw; below 1 the answers to a question differ less, and less is learnt."""
    kl: float = Field(0.02, ge=0)
    """Weight of the distance from the adapter at the start (TRL's beta); 0 keeps no reference and measures none."""
    rewards: dict[str, float] = REWARDS
    """Name of a reward → weight; those left out count nothing. `rubric` asks the recipe's endpoint about every answer."""

    @field_validator("rewards")
    @classmethod
    def _known_rewards(cls, rewards: dict[str, float]) -> dict[str, float]:
        for name, weight in rewards.items():
            if name not in REWARD_NAMES:
                raise ValueError(f"unknown reward {name!r}; {did_you_mean(name, REWARD_NAMES)}".removesuffix("; "))
            if weight < 0:
                raise ValueError(f"the weight of {name} must not be negative")
        if not any(rewards.values()):
            raise ValueError("at least one reward needs a weight above 0")
        return rewards


class DistillOptions(OptionsForm):
    """`distill`."""

    rows: str | None = None
    """JSONL of rows with the `passage` that the teacher reads; by default the run's own train.jsonl."""
    unknown: float = Field(0.5, gt=0, le=1)
    """Share of the rows with facts that the model does not know; the others have no passage and are learnt as they stand."""


OPTIONS: dict[str, type[OptionsForm]] = {
    "sft": SftOptions,
    "dpo": PreferenceOptions,
    "kto": PreferenceOptions,
    "grpo": GrpoOptions,
    "distill": DistillOptions,
}


def check_options(method: str, given: Mapping[str, Any]) -> None:
    """Raise `ValueError` with every fault of a method's options."""
    form = OPTIONS[method]
    try:
        form.model_validate(dict(given))
    except ValidationError as error:
        told = []
        for fault in error.errors():
            key = ".".join(map(str, fault["loc"]))
            unknown = fault["type"] == "extra_forbidden"
            hint = did_you_mean(key, form.model_fields, f"its keys: {', '.join(form.model_fields) or 'none'}")
            words = f"unknown key of {method}; {hint}" if unknown else fault["msg"].removeprefix("Value error, ")
            told.append(f"{key}: {words}")
        raise ValueError("; ".join(told)) from None
