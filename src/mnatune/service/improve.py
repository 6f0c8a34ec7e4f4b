"""One round of the loop: export feedback, curate, train on from the current adapter, compare with it, promote or hold.

    OUT/feedback/      the export
    OUT/run/           a run of the journey: feedback read, curated, composed with older rows, trained, evaluated
    OUT/current.json   what the current model gives on the same questions
    OUT/verdict.json   the new model against the current one

The new model is measured on the questions that the current one was measured on, none of which is in the feedback rows,
and on a share of the corrected answers that is kept out of training. Older training rows are mixed in, so that it does
not forget. Every step that is done already is skipped: an interrupted round continues.

Rank: between the command line and the journey.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..model.load import load_tokenizer
from ..model.prompt import examples
from ..model.registry import PROMOTE, Lineage, Model, Registry
from ..pack import Pack
from ..runs.errors import UsageError
from ..runs.journey import perform
from ..runs.recipe import CollectSection, ReadSection, Recipe, SourceSection
from ..runs.records import QA, is_canary, read_qa
from ..runs.workspace import Run, Stage, code_hash, file_hash, read_jsonl, write_json, write_jsonl
from ..stages.evaluate.compare import Home, Sheet, adapter_sheet, shared_samples, stored
from ..stages.evaluate.general_guards import guard_rows
from ..stages.evaluate.metrics import table
from ..stages.evaluate.verdict import decide
from ..stages.train.methods import METHODS
from .feedback.datasets import SOURCE, Export, Options, export, known_of
from .feedback.store import FeedbackStore

TRAINED_ON = {name: method.rows for name, method in METHODS.items() if method.from_feedback}


@dataclass(frozen=True)
class Terms:
    """How a round goes.

    Attributes:
        least: rows of feedback below which nothing is trained.
        replay: older training rows mixed in for each row of feedback.
        export: how feedback becomes rows.
        promote: put a better model into production; else it is registered only.
    """

    least: int = 20
    replay: float = 3.0
    export: Options = field(default_factory=Options)
    promote: bool = True


@dataclass(frozen=True)
class RoundOutcome:
    """How a round ended.

    Attributes:
        decision: "promote", "hold" or "reject".
        model: name of the new model; empty if none was trained.
        reasons: Korean sentences.
    """

    decision: str
    model: str
    reasons: list[str]
    feedback: Export


def improve(
    recipe: Recipe,
    out: Path,
    store: FeedbackStore,
    registry: Registry,
    *,
    parent: Run | None = None,
    terms: Terms | None = None,
    tell: Callable[[str], Any] = lambda text: None,
) -> RoundOutcome:
    """Do one round.

    Args:
        recipe: `train.method` says what is learned from: corrections (sft), preferences (dpo) or thumbs (kto).
        parent: the run that the current model comes from; by default the one that the registry names.
        tell: called with a line about each step.

    Raises:
        UsageError: there is no current model, or its run is gone, or the method learns nothing from feedback.
    """
    terms = terms or Terms()
    if recipe.train.method not in TRAINED_ON:
        raise UsageError(
            f"train.method: {recipe.train.method} learns nothing from feedback",
            next_step=f"set train.method to one of {', '.join(TRAINED_ON)}",
        )
    production = registry.production()
    parent = parent or _run_of(production)
    current = production.adapter if production else parent.require("train", "adapter")
    pack = Pack.load(recipe.pack)
    everyone = store.within("")  # of no matter: all will use the model
    made = export(everyone, out / "feedback", known_of(pack, parent), terms.export)
    rows = made.rows[TRAINED_ON[recipe.train.method]]
    left_out = "".join(f", {count} left out as {reason}" for reason, count in sorted(made.dropped.items()))
    tell(f"feedback: {rows} rows for {recipe.train.method}{left_out} ({made.folder}, {made.id[:12]})")
    if rows < terms.least:
        return RoundOutcome("hold", "", [f"피드백이 {rows}행뿐이라 학습하지 않았습니다(최소 {terms.least}행)."], made)
    run = Run(out / "run")
    recipe = _continuing(recipe, current, made.folder, run)
    _curate(recipe, run, made, tell)
    _compose(recipe, run, parent, made, terms.replay)
    tell(f"train: {'done already' if perform('train', recipe, run)[1] else 'done'}")
    if _weights(run.require("train", "adapter")) == _weights(current):
        return RoundOutcome("hold", "", ["학습 뒤에도 어댑터가 그대로라 견줄 것이 없습니다."], made)
    tell(f"evaluate: {'done already' if perform('evaluate', recipe, run)[1] else 'done'}")
    verdict = compare(recipe, stored(run), adapter_sheet(Home(run, recipe), current, out / "current.json"))
    write_json(out / "verdict.json", verdict)
    lineage = Lineage.of_run(run, parent=production.name if production else "", feedback=made.id)
    model = registry.register(
        run.require("train", "adapter"),
        replace(lineage, verdict=verdict),
        recipe=run.root / "recipe.lock.yaml",
        feedback_items=made.folder / "items.jsonl",
    )
    if verdict["verdict"] == PROMOTE and terms.promote:
        registry.promote(model.name)
    else:
        registry.hold(model.name, verdict["verdict"])
    return RoundOutcome(verdict["verdict"], model.name, verdict["reasons"], made)


def compare(recipe: Recipe, new: Sheet, current: Sheet) -> dict[str, Any]:
    """The new model against the current one, item by item on the same questions; as verdict.json."""
    pack = Pack.load(recipe.pack)
    guards = guard_rows(pack, current.guards, new.guards, recipe.seed)
    rows = table(shared_samples(current, new, pack), recipe.seed, guards)
    verdict = decide(rows, recipe.evaluate.primary, recipe.evaluate.guard_margin)
    return {**verdict, "against": "current", "metrics": rows}


def _run_of(production: Model | None) -> Run:
    if production is None:
        raise UsageError("no model is in production", next_step="name the run to start from: --from RUN")
    return Run(Path(production.lineage.run))


def _continuing(recipe: Recipe, adapter: Path, feedback: Path, run: Run) -> Recipe:
    """The recipe of the round: the export as its only source, training that goes on from the adapter on its rows."""
    source = SourceSection(kind="qa", path=str(feedback / "qa.jsonl"), name=SOURCE)
    method = recipe.train.method
    own = {} if method == "sft" else {"rows": str((run.folder("compose") / TRAINED_ON[method]).resolve())}
    options = {**recipe.train.options, **own}
    changes = {
        "collect": CollectSection(),
        "read": ReadSection(sources=[source]),
        "train": recipe.train.model_copy(update={"from_adapter": str(adapter), "options": options}),
        "evaluate": recipe.evaluate.model_copy(update={"answered_by": {}}),  # no server has the new adapter
    }
    return recipe.model_copy(update=changes)


def _curate(recipe: Recipe, run: Run, made: Export, tell: Callable[[str], Any]) -> None:
    """Read and curate the corrections of one turn as any other questions and answers."""
    if recipe.train.method == "sft" and made.rows["qa.jsonl"]:
        for stage in ("read", "curate"):
            manifest, _ = perform(stage, recipe, run)
            tell(f"{stage}: {manifest.rows_out} of {manifest.rows_in} rows kept")


def _compose(recipe: Recipe, run: Run, parent: Run, made: Export, replay: float) -> None:
    """Write 5-compose of the round: feedback and older rows to train on, the parent's questions and more to test on.

    `replay.jsonl` holds all older rows with the new ones, so that later rounds draw from everything ever trained on.
    """
    inputs = {f"feedback/{name}": file_hash(made.folder / name) for name in TRAINED_ON.values()}
    inputs |= run.output_hashes("curate") | {f"parent/{k}": v for k, v in parent.output_hashes("compose").items()}
    section = recipe.section("train", "model", "compose") | {"replay": replay}

    def work(place: Stage) -> None:
        method = recipe.train.method
        fresh, held_out = _feedback_rows(recipe, run, made, place) if method == "sft" else ([], [])
        pool = parent.folder("compose") / "replay.jsonl"
        trained_on = read_jsonl(pool if pool.is_file() else parent.require("compose", "train.jsonl"))
        old = [row for row in trained_on if not is_canary(row)]
        trained = [*fresh, *_draw(old, round(replay * len(fresh)), recipe.seed)]
        write_jsonl(place.path("train.jsonl"), trained)
        write_jsonl(place.path("replay.jsonl"), [*old, *fresh])
        if method != "sft":
            name = TRAINED_ON[method]
            trained = read_jsonl(made.folder / name)
            older = parent.folder("compose") / name
            extra = read_jsonl(older) if older.is_file() else []
            trained += _draw(extra, round(replay * len(trained)), recipe.seed)
            write_jsonl(place.path(name), trained)
        for name, more in (("valid.jsonl", []), ("test.jsonl", held_out)):
            write_jsonl(place.path(name), [*more, *read_jsonl(parent.require("compose", name))])
        manifest = place.manifest
        manifest.rows_out = len(trained) + len(held_out)
        manifest.rows_in = manifest.rows_out + sum(manifest.dropped.values())
        manifest.per_source = {SOURCE: {"rows": len(fresh)}, "replay": {"rows": len(trained) - len(fresh)}}
        manifest.facts = {"splits": {"train": len(trained), "test": len(held_out)}, "feedback": made.id}

    run.perform("compose", section, inputs, recipe.seed, code_hash("service/improve", "service/feedback"), work)


def _feedback_rows(recipe: Recipe, run: Run, made: Export, place: Stage) -> tuple[list[Any], list[Any]]:
    """Corrections to train on, and those kept out to test on; dialogues stay whole, too long rows are dropped."""
    exported = read_jsonl(made.folder / "train.jsonl")
    several = [row for row in exported if sum(m["role"] == "user" for m in row["messages"]) > 1]
    curated = read_qa(run.require("curate", "qa.parquet")) if made.rows["qa.jsonl"] else []
    place.manifest.drop("curated-away", len(exported) - len(several) - len(curated))
    by_id = {row["id"]: row for row in exported}
    single = [by_id[row["id"]] for row in read_jsonl(made.folder / "qa.jsonl")]
    kept = [_as_curated(single[qa.source.index], qa) for qa in curated]
    tokenizer = load_tokenizer(recipe.model.id, recipe.model.revision)
    fresh, held_out = [], []
    for row in sorted([*several, *kept], key=lambda r: r["id"]):
        if len(examples(tokenizer, row["messages"])[-1]) > recipe.model.max_length:
            place.manifest.drop(f"longer-than-{recipe.model.max_length}-tokens")
        elif _share(row["group"], recipe.seed) < recipe.compose.splits[2]:
            held_out.append(row)
        else:
            fresh.append(row)
    return fresh, held_out


def _as_curated(row: dict[str, Any], qa: QA) -> dict[str, Any]:
    """The exported row, under its own id, with the texts and the cluster that curation gave it."""
    system = [m for m in row["messages"] if m["role"] == "system"]
    turns = [{"role": "user", "content": qa.question}, {"role": "assistant", "content": qa.answer}]
    return {**row, "messages": [*system, *turns], "cluster": qa.cluster}


def _draw(rows: list[Any], count: int, seed: int) -> list[Any]:
    """So many of the rows, by a seeded hash of their ids; all if there are fewer."""
    return sorted(rows, key=lambda row: _share(str(row["id"]), seed))[:count]


def _share(identity: str, seed: int) -> float:
    """A number in [0, 1) that belongs to this identity and seed."""
    return int(hashlib.sha256(f"{seed}/{identity}".encode()).hexdigest()[:13], 16) / 16**13


def _weights(adapter: Path) -> str:
    return file_hash(adapter / "adapter_model.safetensors")
