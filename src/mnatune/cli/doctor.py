"""`mnatune doctor`: what this machine lacks for a recipe, and the cure for each."""

import importlib.util
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..runs.recipe import Recipe

OLDEST_SAFE_PYTHON = (3, 11, 8)  # before it zipfile accepts overlapping entries (CVE-2024-0450)


@dataclass(frozen=True)
class Finding:
    """One check: `level` is ok, warn or fail; `cure` says what to do."""

    level: str
    subject: str
    fact: str
    cure: str = ""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(doctor)


def doctor(
    recipe: Annotated[str, typer.Argument(help="Recipe to check the machine against.")] = "quickstart",
) -> None:
    """Check Python, torch, CUDA, memory, disk, hub, tracker and tokenizer; print a cure for each failure."""
    from ..runs.errors import EnvironmentFault
    from ..runs.recipe import load_recipe

    loaded = load_recipe(recipe)
    failed = 0
    for finding in examine(loaded):
        failed += finding.level == "fail"
        typer.echo(f"  {finding.level:<5} {finding.subject:<12} {finding.fact}")
        if finding.cure:
            typer.echo(f"        cure: {finding.cure}")
    if failed:
        raise EnvironmentFault(f"{failed} checks failed for {loaded.name!r}", next_step="apply the cures above")


def examine(recipe: "Recipe") -> Iterator[Finding]:
    """All findings for a recipe."""
    yield from _python()
    yield from _torch(recipe)
    yield from _memory(recipe)
    yield from _disk()
    yield from _model(recipe)
    yield from _tracker(recipe)


def _python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST_SAFE_PYTHON:
        fact = f"{version}; its zipfile accepts overlapping entries (mnatune's own check stands in)"
        yield Finding("warn", "Python", fact, "update to 3.11.8 or later")
    else:
        yield Finding("ok", "Python", version)


def _torch(recipe: "Recipe") -> Iterator[Finding]:
    if importlib.util.find_spec("torch") is None:
        yield Finding("fail", "torch", "not installed", "pip install torch")
        return
    import torch

    if torch.cuda.is_available():
        total = torch.cuda.get_device_properties(0).total_memory / 2**30
        yield Finding("ok", "CUDA", f"torch {torch.__version__}, {torch.cuda.get_device_name()}, {total:.0f} GiB")
    elif torch.version.cuda:
        fact = f"torch is built for CUDA {torch.version.cuda} but sees no device"
        yield Finding("fail", "CUDA", fact, "update the NVIDIA driver, or install the torch build that matches it")
    elif recipe.model.id == "starter":
        yield Finding("ok", "CUDA", f"torch {torch.__version__} for CPU, enough for the starter")
    else:
        fact = f"torch {torch.__version__} is a CPU build; {recipe.model.id} needs a GPU"
        yield Finding("fail", "CUDA", fact, "pip install torch from the CUDA index of pytorch.org")
    if recipe.train.quantize == "nf4" and importlib.util.find_spec("bitsandbytes") is None:
        yield Finding("fail", "nf4", "bitsandbytes is not installed", "pip install 'mnatune[cuda]'")


def _memory(recipe: "Recipe") -> Iterator[Finding]:
    from ..runs.errors import EnvironmentFault
    from ..stages.train.plan import fit, make_plan

    lengths = [recipe.model.max_length] * recipe.train.batch * recipe.train.accumulate
    try:
        train = fit(recipe, lengths) if recipe.train.memory_gb else recipe.train
        need = make_plan(recipe.model_copy(update={"train": train}), lengths).total_gb
    except EnvironmentFault as error:
        yield Finding("fail", "memory", error.what, error.next_step)
        return
    have, kind = _available_gb()
    fact = f"training needs about {need:.1f} GiB, {kind} has {have:.1f}"
    if need <= have:
        yield Finding("ok", "memory", fact)
    else:
        yield Finding("fail", "memory", fact, f"set train.memory_gb: {int(have)}, or train.quantize: nf4")


def _available_gb() -> tuple[float, str]:
    import psutil

    from ..stages.train.plan import card_gb

    card = card_gb()
    if card is not None:
        return card, "the GPU"
    return psutil.virtual_memory().available / 2**30, "main memory"


def _disk() -> Iterator[Finding]:
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    if free < 5:
        yield Finding("fail", "disk", f"{free:.1f} GiB free here", "free 5 GiB for checkpoints and reports")
    else:
        yield Finding("ok", "disk", f"{free:.0f} GiB free here")


def _model(recipe: "Recipe") -> Iterator[Finding]:
    from ..model.load import load_tokenizer
    from ..runs.errors import MnatuneError

    try:
        tokenizer = load_tokenizer(recipe.model.id, recipe.model.revision)
        yield Finding("ok", "tokenizer", f"{recipe.model.id}: {len(tokenizer):,} entries, turn end and padding differ")
    except MnatuneError as error:
        yield Finding("fail", "tokenizer", error.what, error.next_step)


def _tracker(recipe: "Recipe") -> Iterator[Finding]:
    name = recipe.train.tracking
    if name == "none":
        yield Finding("ok", "tracking", "none wanted; metrics.jsonl is always written")
    elif importlib.util.find_spec(name) is None:
        yield Finding("fail", "tracking", f"{name} is not installed", "pip install 'mnatune[tracking]'")
    elif name == "wandb":
        from ..stages.train.tracking import wandb_ready

        ready = wandb_ready()
        yield (
            Finding("ok", "W&B", "logged in")
            if ready
            else Finding(
                "warn", "W&B", "no login or no network: the run is logged offline", "wandb login; later: wandb sync"
            )
        )
    else:
        yield Finding("ok", "tracking", name)
