"""The plan as a table for the terminal."""

from dataclasses import replace

from ...model.device import find_device
from ...model.memory import GIB, cache_tokens_in, shape_of, stage_peaks
from ...runs.recipe import Recipe
from ...runs.workspace import Run
from .methods import METHODS
from .plan import TrainPlan, memory_budget
from .setting import fitted


def plan_table(recipe: Recipe, run: Run) -> str:
    """The plan for a run's composed rows, or, before `compose`, for 1,000 rows of the greatest length.

    Raises:
        EnvironmentFault: the training cannot fit the card or `train.memory_gb`.
    """
    method = METHODS[recipe.train.method]
    composed = bool(recipe.train.options.get("rows")) or (run.folder("compose") / "train.jsonl").exists()
    if composed:
        lengths = method.lengths(recipe, run)
        basis = f"{len(lengths):,} composed rows"
    else:
        lengths = [recipe.model.max_length] * 1000
        basis = f"nothing composed yet: assuming 1,000 rows of {recipe.model.max_length} tokens"
    needs = method.needs(recipe, lengths)
    if method.reading and composed:
        needs = replace(needs, reading=method.reading(recipe, run))
    train, plan = fitted(recipe, lengths, needs)
    shape = f"{plan.batch} of {plan.rows_per_step} rows at once, quantize {train.quantize}"
    checkpointing = "on" if plan.gradient_checkpointing else "off"
    return "\n".join(
        [
            f"method           {method.name}, learning rate {train.learning_rate:g}",
            f"basis            {basis}",
            f"shape            {shape}, gradient checkpointing {checkpointing}",
            *_lines(plan),
            "",
            *stage_lines(recipe, plan),
        ]
    )


def stage_lines(recipe: Recipe, plan: TrainPlan) -> list[str]:
    """The peak of every stage that loads the model, and whether it fits `train.memory_gb` or the card."""
    shape, device = shape_of(recipe.model.id), find_device()
    budget = memory_budget(recipe.train.memory_gb, device)
    peaks = {"train": plan.memory} | stage_peaks(shape, plan.quantize, plan.trainable)
    lines = [f"peak by stage    planned with {budget:.1f} GiB"]
    for stage, parts in peaks.items():
        need = sum(parts.values()) / GIB
        told = ", ".join(f"{name} {size / GIB:.1f}" for name, size in parts.items() if size >= GIB / 20)
        lines.append(f"  {stage:<10} {need:6.2f} GiB  {'fits' if need <= budget else 'does not fit':<12}  {told}")
    left = (budget * GIB - sum(peaks["serve"].values())) + peaks["serve"]["cache"]
    lines.append(f"  a server's cache may hold {cache_tokens_in(left, shape):,} tokens in what is left")
    return lines


def _lines(plan: TrainPlan) -> list[str]:
    share = plan.trainable / plan.parameters
    hours = f"{plan.hours:.2f}" if plan.hours is not None else "not estimated for this device"
    return [
        f"parameters       {plan.parameters:,}, trainable {plan.trainable:,} ({share:.2%})",
        *(f"memory {name:<12} {size / GIB:8.2f} GiB" for name, size in plan.memory.items()),
        f"memory in all    {plan.total_gb:11.2f} GiB",
        f"steps            {plan.steps:,} ({plan.steps_per_epoch:,} an epoch, {plan.rows_per_step} rows each)",
        f"tokens           {plan.tokens:,}",
        *([f"drawn            {plan.generated:,} tokens at most"] if plan.generated else []),
        *([f"read by teacher  {plan.read:,} tokens, {plan.state_bytes / 2**20:,.0f} MiB on disk"] if plan.read else []),
        f"checkpoints      {plan.checkpoint_bytes / 2**20:,.0f} MiB on disk",
        f"work             {plan.flop:.3g} FLOP",
        f"hours            {hours}",
    ]
