"""Any two models against each other: tuned models of runs, adapter folders, and served models, on the same items.

A run that has been evaluated brings its stored answers. Anything else is asked the held-out questions and the exam of
one run, the home, under its recipe; that needs hours for a large model, so what is answered is kept in the home's
`compare/` until the comparison is done, and an interrupted one goes on.

An item counts once, with its own value, so that figures can differ a little from the runs' tables, where metrics such
as the loss weigh an answer by its tokens.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from shutil import rmtree
from typing import Any, Self

from ...model.engine.local import open_engine
from ...model.load import base_fingerprint, base_quantization
from ...pack import Pack
from ...runs.errors import DataError, UsageError
from ...runs.job import Job
from ...runs.recipe import ModelSection, Recipe, load_recipe
from ...runs.workspace import Manifest, Run, Stage, code_hash, file_hash, read_jsonl, value_hash, write_json
from .backends import AskedSide, LocalSide, ServedSide, served
from .exam import exam_samples, take_choices, take_premises
from .examine import examine
from .general_guards import Harness, Scores, guard_rows
from .items import exam_items, held_out
from .measures import Yardstick
from .metrics import BY_NAME, Sample, domain_samples, table
from .open_book import OpenBook

LOCK = "recipe.lock.yaml"


@dataclass(frozen=True)
class Sheet:
    """One model's results.

    Attributes:
        answers: by item id: reference, category, group, and metrics {name: shown value}.
        exam: by item id: the line of exam.jsonl, what the model gave under "tuned".
        guards: scores of lm-evaluation-harness.
    """

    name: str
    answers: dict[str, dict[str, Any]]
    exam: dict[str, dict[str, Any]]
    guards: Scores = field(default_factory=dict)


@dataclass(frozen=True)
class Home:
    """The run whose questions are asked, with its recipe."""

    run: Run
    recipe: Recipe

    def sheet(self, subject: str, side: AskedSide, identity: str) -> Sheet:
        """Let a model answer this run's questions and exam.

        Args:
            identity: hash or address of the model; stored answers of other models are not reused.
        """
        pack, limit = Pack.load(self.recipe.pack), self.recipe.evaluate.items
        section = self.recipe.section("evaluate", "generation", "model")
        files = ("prompts.yaml", "exam", "evaluate.yaml", *(["law"] if self.recipe.compose.evidence else []))
        inputs = pack.hashes(*files) | self.run.output_hashes("compose")
        key = value_hash([identity, section, inputs, code_hash("stages/evaluate", "text", "law", "model")])
        folder = self.run.root / "compare" / key[:16]
        stage = Stage(folder, Manifest("evaluate", key, section, inputs, self.recipe.seed))
        job = Job(self.recipe, pack, self.run, stage)
        yardstick, items = Yardstick(pack), held_out(job)
        found = examine(job, side, items, yardstick)
        if open_book := OpenBook.prepared(job, items):
            open_book.ask(job, "tuned", side, found, yardstick)
        rows: list[dict[str, Any]] = []
        if self.recipe.evaluate.exam:
            rows, _ = take_choices(job, {"tuned": side}, exam_items(job, "choice", limit))
            premises = exam_items(job, "false_premise", max(1, limit // 4))
            rows += take_premises(job, {"tuned": side}, premises, yardstick.words)[0]
        rmtree(folder)
        answers = {
            item.id: {
                "reference": item.reference,
                "category": item.category,
                "group": item.group,
                "metrics": {n: a / b * BY_NAME[n].scale if b else None for n, (a, b) in found.pairs[item.id].items()},
            }
            for item in items
            if item.id in found.answers
        }
        return Sheet(subject, answers, _by_id(rows))


def adapter_sheet(home: Home, adapter: Path, kept: Path) -> Sheet:
    """What an adapter over the home's base gives on the home's questions.

    Args:
        kept: a file that holds the result, so that the same adapter is asked once.
    """
    subject = Local.of(home.recipe, adapter)
    identity = value_hash([subject.identity, home.recipe.section("evaluate"), home.run.output_hashes("compose")])
    known = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    if known.get("identity") != identity:
        for _, side, of_model in _opened({"current": subject}):
            sheet = home.sheet("current", side, of_model)
            if home.recipe.evaluate.guards != "off" and isinstance(side, LocalSide):
                limit = home.recipe.evaluate.guards
                harness = Harness(Pack.load(home.recipe.pack), None, 0 if limit == "all" else limit)
                sheet = replace(sheet, guards=harness.in_process(side.engine, side.model))
        known = {"identity": identity, "sheet": asdict(sheet)}
        write_json(kept, known)
    return Sheet(**known["sheet"])


def stored(run: Run) -> Sheet:
    """The tuned model of an evaluated run, from its files.

    Raises:
        UsageError: it has not been evaluated.
    """
    answers = read_jsonl(run.require("evaluate", "answers.jsonl"))
    rows = [{**row, "metrics": row["metrics"]["tuned"]} for row in answers]
    exam = read_jsonl(run.require("evaluate", "exam.jsonl"))
    guards = run.folder("evaluate") / "guards.json"
    scores = json.loads(guards.read_text(encoding="utf-8"))["tuned"] if guards.is_file() else {}
    return Sheet(str(run.root), _by_id(rows), _by_id(exam), scores)


def shared_samples(a: Sheet, b: Sheet, pack: Pack) -> list[Sample]:
    """The items that both have, measured against the same text, under every metric that both have a value for.

    Recomputes the domain score, since its parts may have lost items.
    """
    samples = [
        Sample(metric, name, str(row["group"]), str(row["category"]), (x, 1.0), (y, 1.0))
        for name, row in a.answers.items()
        if (other := b.answers.get(name)) and other.get("reference") == row.get("reference")
        for metric, x, y in _values(row["metrics"], other["metrics"])
    ]
    for name, row in a.exam.items():
        if (other := b.exam.get(name)) and other.get("key") == row.get("key"):
            samples += exam_samples(row, row["tuned"], other["tuned"])
    return samples + domain_samples(samples, Yardstick(pack).words.get("domain", {}))


def compare(a: Sheet, b: Sheet, pack: Pack, seed: int = 0) -> dict[str, Any]:
    """B against A, in the shape of metrics.json (base is A, tuned is B).

    Raises:
        DataError: they have no item in common.
    """
    samples = shared_samples(a, b, pack)
    if not samples:
        raise DataError("the two have no item in common", where=f"{a.name}, {b.name}")
    asked = {sample.item for sample in samples}
    guards = guard_rows(pack, a.guards, b.guards, seed) if a.guards and b.guards else ()
    return {
        "a": a.name,
        "b": b.name,
        "items": {"held_out": len(asked & set(a.answers)), "exam": len(asked & set(a.exam))},
        "metrics": table(samples, seed, guards),
    }


def compare_all(names: Sequence[str], home: Home | None = None) -> list[dict[str, Any]]:
    """`compare` of each later subject against the first: run folders, adapter folders, or URL#MODEL.

    Args:
        home: the run whose questions are put to subjects without stored answers; by default the first subject that is a run.

    Raises:
        UsageError: a subject is nothing of that kind or comes twice, or there is no run whose questions could be asked.
    """
    if len(names) < 2 or len(set(names)) < len(names):
        step = "mnatune evaluate --compare RUN OTHER …"
        raise UsageError("a comparison needs two or more different subjects", next_step=step)
    home = home or next((_home(name) for name in names if _is_run(name)), None)
    if home is None:
        step = "give the recipe and its run too: mnatune evaluate RECIPE --out RUN --compare A B"
        raise UsageError("none of these is a run, so there are no questions to ask", next_step=step)
    sheets: dict[str, Sheet] = {}
    fresh: dict[str, Local | ServedSide] = {}
    for name in names:
        run = Run(Path(name)) if _is_run(name) else None
        if run and run.manifest("evaluate"):
            sheets[name] = stored(run)
        else:
            fresh[name] = served(name, "tuned") if "://" in name else _local(name, run, home)
    for name, side, identity in _opened(fresh):
        sheets[name] = home.sheet(name, side, identity)
    pack = Pack.load(home.recipe.pack)
    return [compare(sheets[names[0]], sheets[name], pack, home.recipe.seed) for name in names[1:]]


@dataclass(frozen=True)
class Local:
    """A model to be loaded: a base and an adapter over it."""

    base: ModelSection
    quantize: str
    adapter: Path

    @classmethod
    def of(cls, recipe: Recipe, adapter: Path) -> Self:
        """An adapter over the recipe's base, quantised as in training."""
        return cls(recipe.model, base_quantization(adapter, recipe.train.quantize), adapter)

    @property
    def identity(self) -> str:
        """Hash of base and adapter."""
        weights = self.adapter / "adapter_model.safetensors"
        return value_hash([base_fingerprint(self.base.id, self.base.revision), self.quantize, file_hash(weights)])


def _is_run(name: str) -> bool:
    return (Path(name) / LOCK).is_file()


def _home(name: str) -> Home:
    return Home(Run(Path(name)), load_recipe(Path(name) / LOCK))


def _local(name: str, run: Run | None, home: Home) -> Local:
    """The adapter of a trained, unevaluated run, or of an adapter folder (over the home's base)."""
    if run:
        recipe = load_recipe(run.root / LOCK)
        return Local.of(recipe, run.require("train", "adapter"))
    if not (Path(name) / "adapter_config.json").is_file():
        step = "give a run folder, a folder with adapter_config.json, or URL#MODEL"
        raise UsageError(f"{name!r} is no run, no adapter folder and no served model", next_step=step)
    return Local.of(home.recipe, Path(name))


def _opened(subjects: Mapping[str, Local | ServedSide]) -> Iterator[tuple[str, AskedSide, str]]:
    """Name, model and identity of each; adapters of one base share it, and one base at a time is in memory."""
    bases: dict[tuple[str, str | None, str], dict[str, Local]] = {}
    for name, subject in subjects.items():
        if isinstance(subject, ServedSide):
            yield name, subject, f"{subject.url}#{subject.model}"
        else:
            base = subject.base.id, subject.base.revision, subject.quantize
            bases.setdefault(base, {})[name] = subject
    for (model_id, revision, quantize), same in bases.items():
        adapters = {name: subject.adapter for name, subject in same.items()}
        with open_engine(model_id, adapters, revision=revision, quantize=quantize) as engine:
            for name, subject in same.items():
                yield name, LocalSide(engine, name, "tuned"), subject.identity


def _by_id(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {str(row["id"]): row for row in rows}


def _values(a: Mapping[str, float | None], b: Mapping[str, float | None]) -> list[tuple[str, float, float]]:
    """(metric, value of A, value of B) in stored units, where both have one."""
    known = [BY_NAME[name] for name in a if name in BY_NAME and name in b and name != "domain"]
    pairs = [(metric, a[metric.name], b[metric.name]) for metric in known]
    return [(m.name, x / m.scale, y / m.scale) for m, x, y in pairs if x is not None and y is not None]
