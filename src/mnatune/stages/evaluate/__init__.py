"""Is the tuned model better than its base: at what, by how much, how sure. Base and tuned answer the same items.

Writes into `7-evaluate/`:

answers.jsonl   one line per held-out question: id, question, reference, category, source, group, split, base, tuned
                (the answers), base_stopped, tuned_stopped, metrics {"base": {name: value}, "tuned": …}, marks {"base":
                [{start, end, kind, note}], "tuned": …, "reference": its citations} (kind: "citation-valid|invalid|repealed|unresolved",
                "simplified", "han-run", "han-function", "kana", "latin", "figure" (not in question or reference),
                "personal"), change (gain of the primary metric, shown units, or null)
exam.jsonl      one line per exam item: id, kind ("choice", "false_premise", "essay"), topic, question, key, and per
                model what it chose or wrote
open_book.jsonl one line per held-out question whose reference cites articles, if the recipe composes rows with evidence: id,
                question, day, right (the articles), rank (of the first right one in the search, from 0), found and
                others (the articles shown; others without the right ones), and per model the answers {"found", "missing"}
guards.json     scores of lm-evaluation-harness, if they are wanted: {"base": {task: {item: score}}, "tuned": …}
metrics.json    {"version", "models", "items" {name: n}, "primary", "metrics": [{name, label, area, kind, unit, guard,
                note, base {value, low, high, n}, tuned {…}, difference {value, low, high, n, p, p_holm, test},
                detectable}], "topics": [{topic, n, metrics {name: {base, tuned, n}}}], "counts" (unparsed, refused,
                citations by verdict and law, parts of the domain score, case numbers, the judge and its agreement with people, served answers,
                the harness, the open book: questions, hits of the search with intervals), "not_computed": [{name, label, reason}],
                "privacy": see `privacy.py`, if the run has canaries}; values of unit "percent" are 0–100, `low` and
                `high` may be null where one document alone was asked
verdict.json    {"verdict": "promote|hold|reject", "label", "primary", "guard_margin", "reasons": [Korean sentences],
                "guards": [{name, label, state "failed|worse|passed|open", margin, n, needed}], "usable": {met, reasons},
                "improved": [ids], "worsened": [ids]}

Does not: ask an endpoint unless the recipe names one, or sample answers unless `evaluate.samples` says how many.
"""

from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from shutil import rmtree
from typing import Any

from ...runs.job import Job
from ...runs.workspace import write_json, write_jsonl
from . import exam
from .agreement import agreement, read_labels
from .backends import LocalSide, ServedSide, Sides, in_process, open_sides
from .computable import check, not_computed
from .consistency import consistency
from .examine import Examined, examine, paired
from .general_guards import Harness, Scores, guard_rows
from .items import HeldOut, exam_items, held_out
from .judge_marks import Referee
from .measures import Yardstick, case_summary, citation_marks, citation_summary
from .metrics import BY_NAME, Sample, domain_parts, domain_samples, table, topics
from .open_book import OpenBook
from .privacy import privacy, with_privacy
from .verdict import decide, most_changed, with_usability

__all__ = ["evaluate"]

VERSION = 2
MODELS = ("base", "tuned")
OF_THE_ITEM = ("id", "question", "reference", "category", "source", "group", "split")
TOPIC_METRICS = ("domain", "chrf", "rouge_l", "exam_letter", "exam_text", "exam_generated", "false_premise")


def evaluate(job: Job) -> None:
    """Answer, measure, compare and decide; writes answers, exam, metrics and verdict."""
    check(job.recipe, job.pack)
    harness = _harness(job)  # its tasks' data must be there before hours are spent on answers
    with open_sides(job) as sides:
        _compare(job, sides, harness)


def _compare(job: Job, sides: Sides, harness: Harness | None) -> None:
    recipe, yardstick = job.recipe, Yardstick(job.pack)
    items = held_out(job)
    open_book = OpenBook.prepared(job, items)
    examined = {model: examine(job, sides[model], items, yardstick) for model in MODELS}
    if open_book:
        for model, found in examined.items():
            open_book.ask(job, model, sides[model], found, yardstick)
    items = [item for item in items if all(item.id in examined[model].answers for model in MODELS)]
    samples = paired(items, examined)
    exam_rows, counts = _exam(job, sides, yardstick)
    samples += [sample for row in exam_rows for sample in exam.exam_samples(row, row["base"], row["tuned"])]
    if recipe.evaluate.samples:
        choices = exam_items(job, "choice", recipe.evaluate.items)
        samples += consistency(job, sides, items, choices, yardstick.words)
    if recipe.endpoint.base_url:
        essays, more_samples, more_counts = _judged(job, sides, items, examined)
        exam_rows, samples, counts = exam_rows + essays, samples + more_samples, counts | more_counts
    exam_rows = [_marked(row, yardstick) for row in exam_rows]
    weights = yardstick.words.get("domain", {})
    samples += domain_samples(samples, weights)
    guards = _guards(harness, sides) if harness else {}
    counts |= _counts(yardstick, items, examined, sides)
    if harness:
        counts["harness"] = {"version": metadata.version("lm_eval"), "tasks": [task["task"] for task in harness.tasks]}
    rows = table(samples, recipe.seed, guard_rows(job.pack, guards["base"], guards["tuned"]) if guards else ())
    verdict = decide(rows, recipe.evaluate.primary, recipe.evaluate.guard_margin)
    leaks = privacy(job, in_process(sides))
    verdict = with_privacy(with_usability(verdict, rows, yardstick.words.get("usable", {})), leaks)
    asked = {item.id for item in items}
    changed = most_changed([one for one in samples if one.item in asked], recipe.evaluate.primary)
    write_jsonl(job.path("answers.jsonl"), _answer_rows(items, examined, samples, recipe.evaluate.primary, yardstick))
    write_jsonl(job.path("exam.jsonl"), exam_rows)
    if guards:
        write_json(job.path("guards.json"), guards)
    if open_book:
        write_jsonl(job.path("open_book.jsonl"), open_book.rows())
        counts |= {"open_book": open_book.facts(recipe.seed), "no_room": open_book.no_room}
    counts["domain"] = domain_parts(samples, weights)
    metrics = _metrics(job, items, rows, samples, counts) | ({"privacy": leaks} if leaks else {})
    write_json(job.path("metrics.json"), metrics)
    write_json(job.path("verdict.json"), verdict | changed)
    job.manifest.rows_in = job.manifest.rows_out = len(items)
    job.manifest.facts |= {"verdict": verdict["verdict"], "items": {"held_out": len(items), "exam": len(exam_rows)}}
    rmtree(job.path("state"), ignore_errors=True)


def _harness(job: Job) -> Harness | None:
    wanted = job.recipe.evaluate
    if wanted.guards == "off":
        return None
    return Harness(job.pack, "generate" if wanted.answered_by else None, 0 if wanted.guards == "all" else wanted.guards)


def _guards(harness: Harness, sides: Sides) -> dict[str, Scores]:
    """Scores of both models on the harness's tasks."""
    scores = {}
    for model, side in sides.items():
        if isinstance(side, LocalSide):
            scores[model] = harness.in_process(side.engine, side.model)
        elif isinstance(side, ServedSide):
            scores[model] = harness.served(side.url, side.model)
    return scores


def _exam(job: Job, sides: Sides, yardstick: Yardstick) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The pack's exam, unless disabled."""
    if not job.recipe.evaluate.exam:
        return [], {}
    limit = job.recipe.evaluate.items
    choices = exam_items(job, "choice", limit)
    premises = exam_items(job, "false_premise", max(1, limit // 4))
    rows, counts = exam.take_choices(job, sides, choices)
    more_rows, more_counts = exam.take_premises(job, sides, premises, yardstick.words)
    return [*rows, *more_rows], {**counts, **more_counts}


def _judged(
    job: Job, sides: Sides, items: Sequence[HeldOut], examined: Mapping[str, Examined]
) -> tuple[list[dict[str, Any]], list[Sample], dict[str, Any]]:
    """Essays and the pairwise comparison, marked by the endpoint, and its agreement with human labels."""
    referee = Referee(job.pack, job.recipe, str(job.run.root.resolve()))
    texts = {model: {name: answer.text for name, answer in found.answers.items()} for model, found in examined.items()}
    samples, wins = referee.pairs(items, texts)
    asked = exam_items(job, "essay", job.recipe.evaluate.items) if job.recipe.evaluate.exam else []
    rows = exam.write_essays(job, sides, asked) if asked else []
    written = {str(row["id"]): row for row in rows}
    answered = [row for row in asked if str(row["id"]) in written]
    samples += referee.essays(answered, {m: {name: row[m]["text"] for name, row in written.items()} for m in MODELS})
    judge = referee.facts()
    if job.recipe.evaluate.labels:
        path = Path(job.recipe.evaluate.labels)
        judge["agreement"] = agreement(referee, read_labels(path), job.recipe.seed)
    return rows, samples, {"judge": judge, "pairwise": wins}


def _marked(row: dict[str, Any], yardstick: Yardstick) -> dict[str, Any]:
    """A row of exam.jsonl with the citations of written answers marked."""
    written = {model: row[model] for model in MODELS if "text" in row[model]}
    marked = {m: {**given, "marks": citation_marks(yardstick.cited(given["text"]))} for m, given in written.items()}
    return {**row, **marked}


def _counts(
    yardstick: Yardstick, items: Sequence[HeldOut], examined: Mapping[str, Examined], sides: Sides
) -> dict[str, Any]:
    """Citations and case numbers of both models, and facts about servers."""
    measured = {model: [found.measured[item.id] for item in items] for model, found in examined.items()}
    texts = {model: [found.answers[item.id].text for item in items] for model, found in examined.items()}
    counts: dict[str, Any] = {
        "citations": {model: citation_summary(found) for model, found in measured.items()},
        "cases": {model: case_summary(yardstick, found) for model, found in texts.items()},
    }
    if not in_process(sides):
        counts["served"] = {model: side.facts() for model, side in sides.items() if isinstance(side, ServedSide)}
    return counts


def _answer_rows(
    items: Sequence[HeldOut],
    examined: Mapping[str, Examined],
    samples: Sequence[Sample],
    primary: str,
    yardstick: Yardstick,
) -> list[dict[str, Any]]:
    """Lines of answers.jsonl, in the order of the held-out rows."""
    by_item: dict[str, list[Sample]] = {}
    for sample in samples:
        by_item.setdefault(sample.item, []).append(sample)
    rows = []
    for item in items:
        values = {m: {s.metric: _value(s.metric, getattr(s, m)) for s in by_item[item.id]} for m in MODELS}
        before, after = (values[model].get(primary) for model in MODELS)
        sign = 1 if BY_NAME[primary].kind == "higher" else -1
        marks = {model: examined[model].measured[item.id].marks for model in MODELS}
        row = {
            **{name: getattr(item, name) for name in OF_THE_ITEM},
            **{model: examined[model].answers[item.id].text for model in MODELS},
            **{f"{model}_stopped": examined[model].answers[item.id].stopped for model in MODELS},
            "metrics": values,
            "marks": marks | {"reference": citation_marks(yardstick.cited(item.reference))},
            "change": None if before is None or after is None else round(sign * (after - before), 4),
        }
        rows.append(row)
    return rows


def _value(metric: str, pair: tuple[float, float]) -> float | None:
    return round(pair[0] / pair[1] * BY_NAME[metric].scale, 4) if pair[1] else None


def _metrics(
    job: Job, items: Sequence[HeldOut], rows: list[dict[str, Any]], samples: Sequence[Sample], counts: dict[str, Any]
) -> dict[str, Any]:
    """The value of metrics.json."""
    tuned = f"{job.recipe.model.id} + {job.run.folder('train').name}/adapter"
    return {
        "version": VERSION,
        "models": {"base": job.recipe.model.id, "tuned": tuned, **job.recipe.evaluate.answered_by},
        "items": {
            "held_out": len(items),
            "validation_rows_among_them": sum(item.split == "valid" for item in items),
            "groups": len({item.group for item in items}),
        },
        "primary": job.recipe.evaluate.primary,
        "metrics": rows,
        "topics": topics(samples, TOPIC_METRICS),
        "counts": counts,
        "not_computed": not_computed(job.recipe, job.pack, {row["name"] for row in rows}),
    }
