"""`mnatune doctor`: what this machine lacks for a recipe, and the cure for each."""

import importlib.util
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..runs.errors import EnvironmentFault, MnatuneError

if TYPE_CHECKING:
    from ..runs.recipe import Recipe

LARGEST_ON_CPU = 1e9  # parameters
SMALL_FILES_GIB = 2.0  # checkpoints, adapter, records, report
OLDEST_SAFE_PYTHON = (3, 11, 8)  # before it zipfile accepts overlapping entries (CVE-2024-0450)


@dataclass(frozen=True)
class Finding:
    """One check: `level` is ok, warn or fail; `cure` says what to do."""

    level: str
    subject: str
    fact: str
    cure: str = ""


def doctor(
    recipe: Annotated[str, typer.Argument(help="Recipe to check the machine against.")] = "quickstart",
) -> None:
    """Check Python, torch, CUDA, memory, disk, hub, tracker and tokenizer; print a cure for each failure."""
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
    for check in (_torch, _memory, _disk, _model, _tracker):
        yield from check(recipe)


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

    from ..model.device import find_device

    device = find_device()
    if device.cuda:
        yield Finding("ok", "CUDA", f"torch {torch.__version__}, {device.name}, {device.memory_gb:.1f} GiB")
        if device.count > 1:
            fact = f"{device.count} cards are visible, and one process uses one"
            yield Finding("warn", "CUDA", fact, f"torchrun --nproc_per_node {device.count} -m mnatune train … uses all")
    elif torch.version.cuda:
        fact = f"torch is built for CUDA {torch.version.cuda} but sees no device"
        yield Finding("fail", "CUDA", fact, "update the NVIDIA driver, or install the torch build that matches it")
    else:
        yield from _without_card(recipe, f"torch {torch.__version__} for CPU")
    for kind, package in (("nf4", "bitsandbytes"), ("fp8", "torchao")):
        if recipe.train.quantize == kind and importlib.util.find_spec(package) is None:
            yield Finding("fail", kind, f"{package} is not installed", "pip install 'mnatune[quantize]'")


def _without_card(recipe: "Recipe", torch_build: str) -> Iterator[Finding]:
    """A CPU trains a small model; a large one would take weeks."""
    from ..model.memory import shape_of

    try:
        parameters = shape_of(recipe.model.id).parameters
    except EnvironmentFault:  # told as the tokenizer's fault
        parameters = 0
    if parameters > LARGEST_ON_CPU:
        fact = f"{torch_build}; {recipe.model.id} of {parameters / 1e9:.1f} B parameters needs a GPU"
        yield Finding("fail", "CUDA", fact, "pip install torch from the CUDA index of pytorch.org")
    else:
        yield Finding("ok", "CUDA", f"{torch_build}, enough for {recipe.model.id}")


def _memory(recipe: "Recipe") -> Iterator[Finding]:
    from ..model.device import find_device
    from ..stages.train.plan import memory_budget

    lengths = [recipe.model.max_length] * recipe.train.rows_per_step
    try:
        need, told = _peaks(recipe, lengths)
    except EnvironmentFault as error:
        yield Finding("fail", "memory", error.what, error.next_step)
        return
    device = find_device()
    have = memory_budget(recipe.train.memory_gb, device)
    fact = f"{told}; planned with {have:.1f} of {'the GPU' if device.cuda else 'main memory'}"
    if need <= have:
        yield Finding("ok", "memory", fact)
    else:
        yield Finding("fail", "memory", fact, "set train.quantize: nf4, or choose a smaller model.id")


def _peaks(recipe: "Recipe", lengths: list[int]) -> tuple[float, str]:
    """GiB of the stage that needs most, and every stage's in words; stages that cannot follow training count too."""
    from ..model.memory import GIB, shape_of, stage_peaks
    from ..stages.train.methods import METHODS
    from ..stages.train.setting import fitted

    plan = fitted(recipe, lengths, METHODS[recipe.train.method].needs(recipe, lengths))[1]
    found = {"train": plan.total_gb}
    if recipe.model.id != "starter":  # which fits anything, and whose evaluation is counted for a GPU's batches
        stages = stage_peaks(shape_of(recipe.model.id), plan.quantize, plan.trainable)
        found |= {stage: sum(parts.values()) / GIB for stage, parts in stages.items()}
    return max(found.values()), ", ".join(f"{stage} {need:.1f} GiB" for stage, need in found.items())


def _disk(recipe: "Recipe") -> Iterator[Finding]:
    """Room for the download, checkpoints, adapter and reports."""
    from ..model.memory import GIB, shape_of, weight_bytes

    need = SMALL_FILES_GIB
    try:
        if not _is_here(recipe.model.id, recipe.model.revision):
            need += weight_bytes(shape_of(recipe.model.id)) / GIB
    except EnvironmentFault:
        pass
    free = shutil.disk_usage(Path.cwd()).free / GIB
    if free < need:
        cure = f"free {need:.0f} GiB for the model's download, checkpoints and reports"
        yield Finding("fail", "disk", f"{free:.1f} GiB free here", cure)
    else:
        yield Finding("ok", "disk", f"{free:.0f} GiB free here, {need:.0f} needed")


def _is_here(model_id: str, revision: str | None) -> bool:
    """True for a local folder, and for a hub model whose weights are in the cache."""
    from huggingface_hub import try_to_load_from_cache

    from ..model.load import model_path

    path = model_path(model_id)
    if Path(path).is_dir():
        return True
    names = ("model.safetensors", "model.safetensors.index.json")
    return any(isinstance(try_to_load_from_cache(path, name, revision=revision), str) for name in names)


def _model(recipe: "Recipe") -> Iterator[Finding]:
    from ..model.load import load_tokenizer

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

        offline = ("no login or no network: the run is logged offline", "wandb login; later: wandb sync")
        yield Finding("ok", "W&B", "logged in") if wandb_ready() else Finding("warn", "W&B", *offline)
    else:
        yield Finding("ok", "tracking", name)
