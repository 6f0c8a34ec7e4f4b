"""`mnatune sweep`: one recipe with several values of a few keys, run after run, and compared.

Every stage before the first that depends on a swept key is done once, in `shared/`, and its files are linked into each run: there
they are verified by their hashes like those of any stage that is done. A run that is done is skipped, and an interrupted one
continues.

The first combination is what the others are compared with on the recipe's primary metric; all their p values are one
family for Holm's correction.
"""

import itertools
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..reports.compared_models import comparison_page
from ..runs import journey
from ..runs.errors import UsageError
from ..runs.output_language import say
from ..runs.recipe import Recipe, load_recipe
from ..runs.workspace import Manifest, Run, atomic_path, atomic_text, value_hash, write_json
from ..runs.yaml_text import parse_yaml
from ..stages.evaluate.compare import compare_all
from ..stages.evaluate.statistics import holm

SHARED = "shared"
LONGEST_NAME = 32  # letters of a value in a folder's name; a longer one is told apart by its hash
LIKELY = 0.05  # a corrected p below this, with an interval that leaves out 0, is a difference
Tell = Callable[[str, Manifest, bool], Any]


@dataclass(frozen=True, slots=True)
class SweepRun:
    """One combination of values: the name of its folder, the values, and the recipe with them."""

    name: str
    values: dict[str, Any]
    recipe: Recipe


def combinations(recipe: str | Path, overrides: Sequence[str], over: Sequence[str]) -> list[SweepRun]:
    """Every combination of the values, the last key's changing fastest.

    Args:
        over: "section.key=value,value,…"; the values are YAML.

    Raises:
        UsageError: a key has one value only, or comes twice, or the recipe refuses a value.
    """
    axes = dict(map(_axis, over))
    if not axes or len(axes) < len(over):
        raise UsageError("a sweep needs --over section.key=VALUE,VALUE for one key or several, each once")
    last = [key.rpartition(".")[2] for key in axes]
    shown = last if len(set(last)) == len(last) else list(axes)
    found = []
    for values in itertools.product(*axes.values()):
        chosen = [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in zip(axes, values, strict=True)]
        name = ",".join(f"{key}={_plain(value)}" for key, value in zip(shown, values, strict=True))
        loaded = load_recipe(recipe, [*overrides, *chosen])
        found.append(SweepRun(name, dict(zip(axes, values, strict=True)), loaded))
    names = [one.name for one in found]
    if len(set(names)) < len(names):
        raise UsageError(f"two combinations are the same: {', '.join(sorted(names))}", where="--over")
    return found


def sweep(runs: Sequence[SweepRun], out: Path, tell: Callable[[str], Any], tell_stage: Tell) -> dict[str, Any]:
    """Do all runs, compare them, and write sweep.json, sweep.txt and sweep.html; returns what sweep.json holds.

    Args:
        tell: called with the name of each run before it begins. tell_stage: as in `journey.run`.
    """
    common = shared_stages(runs)
    shared = Run(out / SHARED)
    if common:
        tell(SHARED)
    for stage in common:
        tell_stage(stage, *journey.perform(stage, runs[0].recipe, shared))
    for one in runs:
        tell(one.name)
        link_stages(shared, Run(out / one.name), common)
        journey.run(one.recipe, out / one.name, tell=tell_stage)
    comparisons = compare_all([str(out / one.name) for one in runs])
    found = {"primary": runs[0].recipe.evaluate.primary, "shared": common, "runs": results(runs, out, comparisons)}
    write_json(out / "sweep.json", found)
    for name, text in (("sweep.txt", sweep_text(found)), ("sweep.html", comparison_page(comparisons))):
        with atomic_text(out / name) as handle:
            handle.write(text)
    return found


def shared_stages(runs: Sequence[SweepRun]) -> list[str]:
    """The stages before the first that depends on a swept key."""
    common: list[str] = []
    for stage, step in journey.STEPS.items():
        wanted = {step.wanted(one.recipe) for one in runs}
        depends = [{**journey.section_of(stage, o.recipe), "seed": o.recipe.seed, "pack": o.recipe.pack} for o in runs]
        if len(wanted) > 1 or any(one != depends[0] for one in depends):
            return common
        common += [stage] if wanted == {True} else []
    return common


def link_stages(shared: Run, run: Run, stages: Sequence[str]) -> None:
    """Link the files of stages that are done into a run that lacks them; copies them where the disk has no links."""
    for folder in (*(shared.folder(stage) for stage in stages), shared.root / "sample"):
        target = run.root / folder.name
        if folder.is_dir() and not target.exists():
            with atomic_path(target) as partial:
                shutil.copytree(folder, partial, copy_function=_link)


def results(runs: Sequence[SweepRun], out: Path, comparisons: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is told of each run: its training, its value of the primary metric, and its difference from the first run."""
    primary = runs[0].recipe.evaluate.primary
    rows = [next((row for row in one["metrics"] if row["name"] == primary), None) for one in comparisons]
    corrected = holm([row["difference"]["p"] if row else 1.0 for row in rows])
    found = []
    for at, one in enumerate(runs):
        run, row = Run(out / one.name), rows[at - 1] if at else rows[0]
        train, verdict = run.manifest("train"), run.manifest("evaluate")
        facts = train.facts if train else {}
        difference = {**row["difference"], "p_holm": corrected[at - 1]} if row and at else None
        found.append(
            {
                "name": one.name,
                "values": one.values,
                "seconds": facts.get("measured", {}).get("seconds"),
                "tokens": facts.get("measured", {}).get("tokens"),
                "eval_loss": facts.get("saved", {}).get("eval_loss"),
                "primary": row["tuned" if at else "base"] if row else None,
                "difference": difference,
                "differs": is_difference(difference),
                "verdict": verdict.facts.get("verdict") if verdict else None,
            }
        )
    return found


def is_difference(difference: dict[str, Any] | None) -> bool:
    """Whether an interval leaves out 0 and the corrected p is below 5 %; False without a difference."""
    if difference is None or difference["low"] is None:
        return False
    return not difference["low"] <= 0 <= difference["high"] and bool(difference["p_holm"] < LIKELY)


def sweep_text(found: dict[str, Any]) -> str:
    """The runs as a table, in the output's language."""
    width = max(len(one["name"]) for one in found["runs"])
    interval, corrected = say("difference (95% interval)", "차이 (95% 신뢰구간)"), "p(Holm)"
    heads = [say("run", "실행"), say("loss", "손실"), found["primary"], interval, corrected, say("verdict", "판정")]
    lines = [f"{heads[0]:<{width}} {heads[1]:>8} {heads[2]:>8}  {heads[3]:<28} {heads[4]:>8}  {heads[5]}"]
    for one in found["runs"]:
        value = one["primary"]["value"] if one["primary"] else None
        told, p = "", ""
        if one["difference"]:
            low, high = one["difference"]["low"], one["difference"]["high"]
            told = f"{one['difference']['value']:+.2f}" + (f" ({low:+.2f} ~ {high:+.2f})" if low is not None else "")
            p = f"{one['difference']['p_holm']:.3f}" + ("*" if one["differs"] else "")
        numbers = f"{_number(one['eval_loss'], 3):>8} {_number(value, 2):>8}"
        lines.append(f"{one['name']:<{width}} {numbers}  {told:<28} {p:>8}  {one['verdict'] or ''}")
    shared = ", ".join(found["shared"]) or say("nothing", "없음")
    return "\n".join(
        [
            *lines,
            say(f"done once for all: {shared}", f"한 번만 한 단계: {shared}"),
            say(
                "* differs from the first run: the interval leaves out 0, and p, corrected for all runs, is below 0.05",
                "* 첫 실행과 다름: 구간이 0을 포함하지 않고, 모든 실행에 대해 보정한 p가 0.05보다 작음",
            ),
        ]
    )


def _axis(over: str) -> tuple[str, list[Any]]:
    key, separator, values = over.partition("=")
    try:
        read = parse_yaml(f"[{values}]") if separator and values else []
    except yaml.YAMLError:
        read = []
    if not isinstance(read, list) or len(read) < 2:
        raise UsageError(f"--over takes section.key=VALUE,VALUE, not {over!r}")
    return key.strip(), read


def _plain(value: Any) -> str:
    """A value as part of a folder's name."""
    text = f"{value:g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)
    name = re.sub(r"[^\w.+-]+", "-", text).strip("-.") or "none"
    return name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}-{value_hash(value)[:8]}"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
