"""The plan as a table for the terminal."""

from ...model.load import load_tokenizer
from ...model.memory import GIB
from ...runs.recipe import Recipe
from ...runs.workspace import Run
from .plan import TrainPlan
from .setting import fitted
from .token_rows import load_rows


def plan_table(recipe: Recipe, run: Run) -> str:
    """The plan for a run's composed rows, or, before `compose`, for 1,000 rows of the greatest length.

    Raises:
        EnvironmentFault: the training cannot fit the card or `train.memory_gb`.
    """
    composed = run.folder("compose") / "train.jsonl"
    if composed.exists():
        tokenizer = load_tokenizer(recipe.model.id, recipe.model.revision)
        lengths = load_rows(composed, tokenizer, recipe.model.max_length).lengths
        basis = f"{len(lengths):,} composed rows"
    else:
        lengths = [recipe.model.max_length] * 1000
        basis = f"nothing composed yet: assuming 1,000 rows of {recipe.model.max_length} tokens"
    train, plan = fitted(recipe, lengths)
    shape = f"batch {train.batch} x accumulate {train.accumulate}, quantize {train.quantize}"
    checkpointing = "on" if plan.gradient_checkpointing else "off"
    return "\n".join(
        [
            f"basis            {basis}",
            f"shape            {shape}, gradient checkpointing {checkpointing}",
            *_lines(plan),
        ]
    )


def _lines(plan: TrainPlan) -> list[str]:
    share = plan.trainable / plan.parameters
    hours = f"{plan.hours:.2f}" if plan.hours is not None else "not estimated for this device"
    return [
        f"parameters       {plan.parameters:,}, trainable {plan.trainable:,} ({share:.2%})",
        *(f"memory {name:<12} {size / GIB:8.2f} GiB" for name, size in plan.memory.items()),
        f"memory in all    {plan.total_gb:11.2f} GiB",
        f"steps            {plan.steps:,} ({plan.steps_per_epoch:,} an epoch, {plan.rows_per_step} rows each)",
        f"tokens           {plan.tokens:,}",
        f"checkpoints      {plan.checkpoint_bytes / 2**20:,.0f} MiB on disk",
        f"work             {plan.flop:.3g} FLOP",
        f"hours            {hours}",
    ]
