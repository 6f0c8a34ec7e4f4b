"""The journey: the order of the stages, what each depends on, and the functions that the CLI and notebooks call.

This module alone knows the order. Each function here does one stage of a run unless it is done already, and returns
its manifest; `run` does them all and writes the report.
"""

import json
import os
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..model.load import base_fingerprint
from ..pack import Pack
from .errors import UsageError
from .job import Job
from .recipe import FREE_TRAIN_KEYS, Recipe, SourceSection, bundled, save_lock
from .stage_folder import MANIFEST
from .workspace import STAGES, Manifest, Run, Stage, code_hash, file_hash, fingerprint, in_charge
from .yaml_text import parse_yaml

LOCK = "recipe.lock.yaml"


@dataclass(frozen=True)
class Dependencies:
    """A stage's dependencies: recipe sections, earlier stages, pack files and source packages.

    `wanted` tells whether a recipe needs the stage at all.
    """

    sections: tuple[str, ...]
    after: tuple[str, ...]
    pack_files: tuple[str, ...]
    code: tuple[str, ...]
    wanted: Callable[[Recipe], bool] = lambda recipe: True


WITH_DOCUMENTS = ("documents", "law", "precedent", "pages")
STEPS: dict[str, Dependencies] = {
    "collect": Dependencies(
        ("collect",), (), ("crawl.yaml",), ("stages/collect",), lambda r: bool(r.collect.start_urls)
    ),
    "read": Dependencies(("read",), ("collect",), ("maps",), ("stages/read", "documents", "runs/records")),
    "curate": Dependencies(
        ("curate",), ("read",), ("drops.yaml", "pii.yaml", "exam"), ("stages/curate", "text", "runs/records")
    ),
    "synthesize": Dependencies(
        ("synthesize", "endpoint"),
        ("read", "curate"),
        ("prompts.yaml", "rubric.yaml", "lexicon.yaml", "exam"),
        ("stages/synthesize", "text", "runs/records", "model/endpoint"),
        lambda r: r.synthesize.per_passage > 0 and any(s.kind in WITH_DOCUMENTS for s in r.read.sources),
    ),
    "judge": Dependencies(
        ("judge", "endpoint"),
        ("curate", "synthesize"),
        ("lexicon.yaml", "rubric.yaml", "prompts.yaml"),
        ("stages/judge", "text", "runs/records", "model/endpoint", "runs/human_labels"),
    ),
    "compose": Dependencies(
        ("compose", "model"),
        ("synthesize", "judge"),
        ("prompts.yaml",),
        ("stages/compose", "text", "runs/records", "model/prompt", "model/evidence_prompt", "law"),
    ),
    "train": Dependencies(("train", "model"), ("compose",), ("prompts.yaml",), ("stages/train", "model")),
    "evaluate": Dependencies(
        ("evaluate", "generation", "model", "endpoint"),
        ("compose", "train"),
        ("prompts.yaml", "exam", "glossary.jsonl", "citations.yaml", "law", "evaluate.yaml"),
        ("stages/evaluate", "text", "law", "model", "runs/human_labels"),
    ),
}


def perform(stage: str, recipe: Recipe, run: Run, *, force: bool = False) -> tuple[Manifest, bool]:
    """Do one stage of a run unless it is done; returns its manifest and whether it was skipped.

    Several processes (torchrun, accelerate launch) may do `train` alone: each calls this, and one writes.

    Raises:
        UsageError: this stage or an earlier one was done with other settings, and `force` is not set.
    """
    from ..stages.train.methods import METHODS

    if stage != "train" and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        advice = "do the other stages first, then start `mnatune train` alone with torchrun or accelerate launch"
        raise UsageError(f"stage {stage!r} runs in one process", next_step=advice)
    pack = Pack.load(recipe.pack)
    upto = list(STEPS)[: list(STEPS).index(stage) + 1]
    _refuse_other_settings(recipe, pack, run, upto, frozenset({stage} if force else ()), alone=stage)
    step = STEPS[stage]
    with run.alone():
        real = _with_samples(recipe, pack, run)
        inputs = _inputs(stage, recipe, real, pack, run)

        def work(place: Stage) -> None:
            _keep_recipe(recipe, run)
            _function_of(stage)(Job(real, pack, run, place))

        own = METHODS[recipe.train.method].code if stage == "train" else ()  # rooms that the method computes with
        section, code = section_of(stage, recipe), code_hash(*step.code, *own)
        manifest, skipped = run.perform(stage, section, inputs, recipe.seed, code, work, force=force)
        if not any(_other_settings(recipe, run, stage) for stage in STEPS):  # of a later stage that is done
            _keep_recipe(recipe, run)
        return manifest, skipped


def _keep_recipe(recipe: Recipe, run: Run) -> None:
    if in_charge():
        save_lock(recipe, run.root / LOCK)


def section_of(stage: str, recipe: Recipe) -> dict[str, Any]:
    """The part of the recipe that a stage's result depends on: not what it costs, nor where it is logged."""
    section = recipe.section(*STEPS[stage].sections)
    if stage == "train":
        from ..stages.train.methods import METHODS

        for name in FREE_TRAIN_KEYS:
            section["train"].pop(name, None)
        if METHODS[recipe.train.method].answers:
            section["generation"] = {"repetition_penalty": recipe.generation.repetition_penalty}
        if recipe.train.options.get("rewards", {}).get("rubric"):  # a judge of the endpoint gives it
            section |= recipe.section("endpoint")
    if "endpoint" in section:
        names = () if stage == "judge" and recipe.judge.scorer == "lexicon" else ("base_url", "model")
        section["endpoint"] = {name: section["endpoint"][name] for name in names}
    return section


def _inputs(stage: str, recipe: Recipe, real: Recipe, pack: Pack, run: Run) -> dict[str, str]:
    """Name → hash of everything that a stage reads. `real` is the recipe with the pack's samples in place."""
    step = STEPS[stage]
    inputs = pack.hashes(*step.pack_files)
    for earlier in step.after:
        if not STEPS[earlier].wanted(recipe):  # left over from an earlier recipe
            (run.folder(earlier) / MANIFEST).unlink(missing_ok=True)
        elif run.manifest(earlier) is None:
            run.require(earlier, MANIFEST)
        inputs |= run.output_hashes(earlier)
    if stage == "read":
        for source, there in zip(recipe.read.sources, real.read.sources, strict=True):
            if source.kind != "pages":
                inputs |= {f"source/{source.path}/{name}": value for name, value in _files_of(there).items()}
    if "model" in step.sections:
        inputs |= _base_hash(recipe)
    if stage == "train":
        inputs |= _train_files(recipe, pack, run)
    if stage == "compose":
        inputs |= _compose_files(recipe, real, pack)
    if stage == "evaluate":
        inputs |= _evaluate_files(recipe, pack)
    return inputs


def _refuse_other_settings(
    recipe: Recipe, pack: Pack, run: Run, stages: Iterable[str], force: Collection[str], alone: str = ""
) -> None:
    """Refuse to overwrite stages that were done with other settings; `alone` is the only stage to be done, if it is one.

    Changed data or code does not count: the stage then runs again by itself. Keys that only one version of mnatune
    knows are not compared.
    """
    told: list[str] = []
    stale: list[str] = []
    for stage in stages:
        manifest = run.manifest(stage)
        if manifest is None or stage in force:
            continue
        found = _other_settings(recipe, run, stage) + _other_pack(manifest, recipe, pack, run, stage)
        if found:
            stale.append(stage)
            told += [f"{stage}: {line}" for line in found]
    if told:
        again = "--force" if stale == [alone] else " ".join(f"--force {stage}" for stage in stale)
        command = "" if stale == [alone] or not alone else "`mnatune run` with "
        raise UsageError(
            "this run was made with other settings\n  " + "\n  ".join(told),
            where=str(run.root),
            next_step=f"another --out keeps this run; {command}{again} does it again with these settings",
        )


def _other_settings(recipe: Recipe, run: Run, stage: str) -> list[str]:
    """One line for each key with which a stage was done otherwise than the recipe says; none if it was not done."""
    manifest = run.manifest(stage)
    if manifest is None:
        return []
    return differences(manifest.section | {"seed": manifest.seed}, section_of(stage, recipe) | {"seed": recipe.seed})


def differences(there: dict[str, Any], now: dict[str, Any], path: str = "") -> list[str]:
    """One line for each key that both have with different values."""
    found = []
    for key in there.keys() & now.keys():
        old, new = there[key], now[key]
        if isinstance(old, dict) and isinstance(new, dict):
            found += differences(old, new, f"{path}{key}.")
        elif old != new:
            found.append(f"{path}{key} is {_shown(old)} there, {_shown(new)} now")
    return sorted(found)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:79]}…"


def _other_pack(manifest: Manifest, recipe: Recipe, pack: Pack, run: Run, stage: str) -> list[str]:
    """The pack's name, if another pack with other content made the stage."""
    lock = run.root / LOCK
    before = str((parse_yaml(lock.read_text(encoding="utf-8")) or {}).get("pack", "")) if lock.is_file() else ""
    if not before or before == recipe.pack:
        return []
    used = {name: digest for name, digest in manifest.inputs.items() if name.startswith("pack/")}
    return [f"pack is {before} there, {recipe.pack} now"] if used != pack.hashes(*STEPS[stage].pack_files) else []


def run(
    recipe: Recipe,
    out: Run | str | Path,
    *,
    force: frozenset[str] = frozenset(),
    tell: Callable[[str, Manifest, bool], Any] = lambda stage, manifest, skipped: None,
) -> Path:
    """The whole journey; stages that are done are skipped. Returns the path of the report.

    Args:
        force: stages to do again even if they are done.
        tell: called after each stage with its name, manifest and whether it was skipped.
    """
    unknown = force - set(STAGES)
    if unknown:
        raise UsageError(f"no such stage: {', '.join(sorted(unknown))}", next_step=f"stages: {', '.join(STAGES)}")
    place = _run(out)
    _refuse_other_settings(recipe, Pack.load(recipe.pack), place, STEPS, force)
    for stage, step in STEPS.items():
        if step.wanted(recipe):
            tell(stage, *perform(stage, recipe, place, force=stage in force))
    return report(place)


def report(out: Run | str | Path) -> Path:
    """Write the run's `report.html` from its manifests; returns its path."""
    from ..reports import report as write

    return write(_run(out))


def collect(recipe: Recipe, out: Run | str | Path, *, force: bool = False) -> Manifest:
    """Crawl the recipe's sites into pages, unless that is done; returns the stage's manifest."""
    return perform("collect", recipe, _run(out), force=force)[0]


def read(recipe: Recipe, out: Run | str | Path, *, force: bool = False) -> Manifest:
    """Read archives, files, laws and pages into records, unless that is done; returns the stage's manifest."""
    return perform("read", recipe, _run(out), force=force)[0]


def curate(recipe: Recipe, out: Run | str | Path, *, force: bool = False) -> Manifest:
    """Clean, mask and deduplicate the records, unless that is done; returns the stage's manifest."""
    return perform("curate", recipe, _run(out), force=force)[0]


def synthesize(recipe: Recipe, out: Run | str | Path, *, force: bool = False) -> Manifest:
    """Make grounded questions and answers from documents, unless that is done; returns the stage's manifest."""
    return perform("synthesize", recipe, _run(out), force=force)[0]


def judge(recipe: Recipe, out: Run | str | Path, *, force: bool = False) -> Manifest:
    """Score every row 0-100 and keep the useful ones, unless that is done; returns the stage's manifest."""
    return perform("judge", recipe, _run(out), force=force)[0]


def compose(recipe: Recipe, out: Run | str | Path, *, force: bool = False) -> Manifest:
    """Write chat examples in three splits that cannot leak, unless that is done; returns the stage's manifest."""
    return perform("compose", recipe, _run(out), force=force)[0]


def train(recipe: Recipe, out: Run | str | Path, *, force: bool = False) -> Manifest:
    """Train the LoRA adapter, unless that is done; returns the stage's manifest."""
    return perform("train", recipe, _run(out), force=force)[0]


def evaluate(recipe: Recipe, out: Run | str | Path, *, force: bool = False) -> Manifest:
    """Compare base and tuned on held-out items and the exam, unless that is done; returns the stage's manifest."""
    return perform("evaluate", recipe, _run(out), force=force)[0]


def _run(out: Run | str | Path) -> Run:
    return out if isinstance(out, Run) else Run(Path(out))


def _function_of(stage: str) -> Callable[[Job], None]:
    """The stage's own function, imported on demand: most stages load heavy libraries."""
    match stage:
        case "collect":
            from ..stages.collect import collect as work
        case "read":
            from ..stages.read import read as work
        case "curate":
            from ..stages.curate import curate as work
        case "synthesize":
            from ..stages.synthesize import synthesize as work
        case "judge":
            from ..stages.judge import judge as work
        case "compose":
            from ..stages.compose import compose as work
        case "train":
            from ..stages.train import train as work
        case _:
            from ..stages.evaluate import evaluate as work
    return work


def _with_samples(recipe: Recipe, pack: Pack, run: Run) -> Recipe:
    """The recipe with real paths for what the pack brings; builds the sample archive if needed."""
    from ..pack.sample import build_sample

    sources = []
    for source in recipe.read.sources:
        if source.path == "pack:qa":
            source = source.model_copy(update={"path": str(pack.path("qa.jsonl"))})
        elif source.path == "pack:sample":
            source = source.model_copy(update={"path": str(build_sample(pack, run.root / "sample"))})
        sources.append(source)
    general = {
        str(pack.path("general.jsonl")) if path == "pack:general" else path: share
        for path, share in recipe.compose.general.items()
    }
    real = {
        "read": recipe.read.model_copy(update={"sources": sources}),
        "compose": recipe.compose.model_copy(update={"general": general}),
    }
    return recipe.model_copy(update=real)


def _files_of(source: SourceSection) -> dict[str, str]:
    path = Path(source.path)
    if not path.exists():
        step = "correct the path in the recipe"
        raise UsageError(f"the source {source.path!r} does not exist", where="read.sources", next_step=step)
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return {str(p.relative_to(path)) if path.is_dir() else p.name: fingerprint(p) for p in files}


def _compose_files(recipe: Recipe, real: Recipe, pack: Pack) -> dict[str, str]:
    """Hashes of what compose reads besides its run: the law memory for evidence, general dialogues, the exam kept apart from them."""
    found = pack.hashes("law", "citations.yaml", "glossary.jsonl") if recipe.compose.evidence else {}
    if recipe.compose.general and (pack.root / "exam").is_dir():
        found |= pack.hashes("exam")
    for named, path in zip(recipe.compose.general, real.compose.general, strict=True):
        if not Path(path).is_file():
            raise UsageError(f"there is no file of general dialogues {path!r}", where="compose.general")
        found[f"general/{named}"] = file_hash(Path(path))
    return found


def _base_hash(recipe: Recipe) -> dict[str, str]:
    if recipe.model.id != "starter":
        return {"model": base_fingerprint(recipe.model.id)} if Path(recipe.model.id).is_dir() else {}
    return {f"starter/{p.name}": file_hash(p) for p in sorted((bundled("starter") / "model").iterdir())}


def _train_files(recipe: Recipe, pack: Pack, run: Run) -> dict[str, str]:
    """Hashes of the files that training reads besides its run: a starting adapter, the method's rows, its pack files."""
    from ..stages.train.methods import METHODS

    train = recipe.train
    for key, value in (("from_adapter", train.from_adapter), ("options.rows", train.options.get("rows"))):
        if value and Path(value).resolve().is_relative_to(run.folder("train").resolve()):
            raise UsageError(
                f"train.{key} lies in the folder that this training writes",
                where=str(value),
                next_step="give this training another --out",
            )
    named = [Path(train.from_adapter) / "adapter_model.safetensors"] if train.from_adapter else []
    if train.options.get("rows"):
        rows = Path(train.options["rows"])
        named += sorted(rows.glob("*.jsonl")) if rows.is_dir() else [rows]
    wanted = [name for name in METHODS[train.method].pack_files if (pack.root / name).exists()]
    return {f"train/{path.name}": file_hash(path) for path in named if path.is_file()} | pack.hashes(*wanted)


def _evaluate_files(recipe: Recipe, pack: Pack) -> dict[str, str]:
    """Hashes of the files that evaluation reads if they are there: human labels, the pack's own guard tasks."""
    found = pack.hashes("guards") if (pack.root / "guards").is_dir() else {}
    path = Path(recipe.evaluate.labels)
    if recipe.evaluate.labels and not path.is_file():
        raise UsageError(f"there is no file of labels {str(path)!r}", where="evaluate.labels")
    return found | ({"labels": file_hash(path)} if recipe.evaluate.labels else {})
