"""Is the tuned model better than its base: at what, by how much, how sure. Base and tuned answer the same items.

Writes into `7-evaluate/`:

answers.jsonl   one line per held-out question: id, question, reference, category, source, group, split, base, tuned
                (the answers), base_stopped, tuned_stopped, metrics {"base": {name: value}, "tuned": …}, marks {"base":
                [{start, end, kind, note}], "tuned": …} (kind: "citation-valid|invalid|unresolved", "simplified",
                "han-run", "han-function", "kana", "latin"), change (gain of the primary metric, shown units, or null)
exam.jsonl      one line per exam item: id, kind ("choice", "false_premise", "essay"), topic, question, key, and per
                model what it chose or wrote
metrics.json    {"version", "models", "items" {name: n}, "primary", "metrics": [{name, label, area, kind, unit, guard,
                note, base {value, low, high, n}, tuned {…}, difference {value, low, high, n, p, p_holm, test},
                detectable}], "topics": [{topic, n, metrics {name: {base, tuned, n}}}], "counts" (unparsed, refused,
                citations by verdict and law, case numbers), "not_computed": [{name, label, reason}]}; values of unit
                "percent" are 0–100, `low` and `high` may be null where one document alone was asked
verdict.json    {"verdict": "promote|hold|reject", "label", "primary", "guard_margin", "reasons": [Korean sentences],
                "improved": [ids], "worsened": [ids]}

Does not: ask an endpoint unless the recipe names one, or sample answers unless `evaluate.samples` says how many.
"""

from collections.abc import Sequence
from shutil import rmtree
from typing import Any

from ...errors import UsageError
from ...job import Job
from ...models.hf import Answer, ChatModel
from ...recipe import Recipe
from ...workspace import write_json, write_jsonl
from . import exam
from .answers import Ask, answer_all
from .consistency import consistency
from .items import Item, exam_items, held_out
from .judging import Referee
from .likelihood import score_completions
from .measures import Measured, Yardstick, case_summary, citation_summary
from .metrics import BY_NAME, METRICS, Sample, table, topics
from .verdict import decide, most_changed

__all__ = ["evaluate"]

VERSION = 1
WHY_NOT = {
    "endpoint.base_url": "판정 모델의 엔드포인트가 설정되지 않았습니다(endpoint.base_url).",
    "evaluate.samples": "표본 수가 0입니다(evaluate.samples).",
    "evaluate.exam": "시험을 보지 않도록 설정되었습니다(evaluate.exam).",
    "": "해당하는 문항이나 값이 없습니다.",
}
MODELS = ("base", "tuned")
TOPIC_METRICS = ("chrf", "rouge_l", "exam_letter", "exam_text", "false_premise")


def evaluate(job: Job) -> None:
    """Answer, measure, compare and decide; writes answers, exam, metrics and verdict."""
    recipe = job.recipe
    _check_primary(recipe)
    chat = ChatModel(recipe.model.id, adapter=job.run.require("train", "adapter"), revision=recipe.model.revision)
    yardstick = Yardstick(job.pack)
    items = held_out(job)
    answers = _answers(job, chat, items)
    measured = {
        model: [yardstick.measure(answers[model][item.id], item.question, item.reference) for item in items]
        for model in MODELS
    }
    samples = [*_likelihood_samples(chat, items), *_answer_samples(items, measured)]
    exam_rows, exam_samples, counts = _exam(job, chat, yardstick)
    samples += exam_samples
    if recipe.evaluate.samples:
        samples += consistency(job, chat, items, exam_items(job, "choice", recipe.evaluate.items), yardstick.words)
    if recipe.endpoint.base_url:
        more_rows, more_samples, more_counts = _judged(job, chat, items, answers)
        exam_rows, samples, counts = exam_rows + more_rows, samples + more_samples, counts | more_counts
    counts |= {
        "citations": {model: citation_summary(measured[model]) for model in MODELS},
        "cases": {model: case_summary(yardstick, [a.text for a in answers[model].values()]) for model in MODELS},
    }
    rows = table(samples, recipe.seed)
    verdict = decide(rows, recipe.evaluate.primary, recipe.evaluate.guard_margin)
    changed = most_changed(samples, recipe.evaluate.primary)
    write_jsonl(job.path("answers.jsonl"), _answer_rows(items, answers, measured, samples, recipe.evaluate.primary))
    write_jsonl(job.path("exam.jsonl"), exam_rows)
    write_json(job.path("metrics.json"), _metrics(job, items, rows, samples, counts))
    write_json(job.path("verdict.json"), verdict | changed)
    job.manifest.rows_in = job.manifest.rows_out = len(items)
    job.manifest.facts = {"verdict": verdict["verdict"], "items": {"held_out": len(items), "exam": len(exam_rows)}}
    rmtree(job.path("state"), ignore_errors=True)


def _answers(job: Job, chat: ChatModel, items: Sequence[Item]) -> dict[str, dict[str, Answer]]:
    """Greedy answers of both models by item id."""
    asks = [Ask(item.id, item.messages) for item in items]
    found = {model: answer_all(job, chat, asks, "answers", tuned=model == "tuned") for model in MODELS}
    return {model: {name: one.answer for name, one in by_id.items()} for model, by_id in found.items()}


def _likelihood_samples(chat: ChatModel, items: Sequence[Item]) -> list[Sample]:
    """Loss and token accuracy on the reference answers."""
    examples = [item.example(chat.tokenizer) for item in items]
    scored = {model: score_completions(chat, examples, tuned=model == "tuned") for model in MODELS}
    samples = []
    for item, base, tuned in zip(items, scored["base"], scored["tuned"], strict=True):
        place = (item.id, item.group, item.category)
        samples.append(Sample("loss", *place, (base.nll, base.tokens), (tuned.nll, tuned.tokens)))
        samples.append(Sample("token_accuracy", *place, (base.hits, base.tokens), (tuned.hits, tuned.tokens)))
    return samples


def _answer_samples(items: Sequence[Item], measured: dict[str, list[Measured]]) -> list[Sample]:
    return [
        Sample(name, item.id, item.group, item.category, base.pairs[name], tuned.pairs[name])
        for item, base, tuned in zip(items, measured["base"], measured["tuned"], strict=True)
        for name in base.pairs
    ]


def _exam(job: Job, chat: ChatModel, yardstick: Yardstick) -> tuple[list[dict[str, Any]], list[Sample], dict[str, Any]]:
    """The pack's exam, unless the recipe leaves it out."""
    if not job.recipe.evaluate.exam:
        return [], [], {}
    limit = job.recipe.evaluate.items
    choices = exam_items(job, "choice", limit)
    premises = exam_items(job, "false_premise", max(1, limit // 4))
    rows, samples, counts = exam.take_choices(job, chat, choices)
    more_rows, more_samples, more_counts = exam.take_premises(job, chat, premises, yardstick.words)
    return [*rows, *more_rows], [*samples, *more_samples], {**counts, **more_counts}


def _judged(
    job: Job, chat: ChatModel, items: Sequence[Item], answers: dict[str, dict[str, Answer]]
) -> tuple[list[dict[str, Any]], list[Sample], dict[str, Any]]:
    """Essays and the pairwise comparison, marked by the endpoint."""
    referee = Referee(job)
    texts = {model: {name: answer.text for name, answer in by_id.items()} for model, by_id in answers.items()}
    samples, wins = referee.pairs(items, texts)
    essays = exam_items(job, "essay", job.recipe.evaluate.items) if job.recipe.evaluate.exam else []
    written = exam.write_essays(job, chat, essays)
    samples += referee.essays(essays, written) if essays else []
    rows = [
        {
            "id": row["id"],
            "kind": "essay",
            "topic": row.get("topic", ""),
            "question": row["question"],
            "key": row.get("reference", ""),
            **{model: {"text": written[model][str(row["id"])]} for model in MODELS},
        }
        for row in essays
    ]
    return rows, samples, {"judge": referee.facts(), "pairwise": wins}


def _answer_rows(
    items: Sequence[Item],
    answers: dict[str, dict[str, Answer]],
    measured: dict[str, list[Measured]],
    samples: Sequence[Sample],
    primary: str,
) -> list[dict[str, Any]]:
    """Lines of answers.jsonl, in the order of the held-out rows."""
    by_item: dict[str, list[Sample]] = {}
    for sample in samples:
        by_item.setdefault(sample.item, []).append(sample)
    rows = []
    for at, item in enumerate(items):
        values = {
            "base": {s.metric: _value(s.metric, s.base) for s in by_item[item.id]},
            "tuned": {s.metric: _value(s.metric, s.tuned) for s in by_item[item.id]},
        }
        before, after = values["base"].get(primary), values["tuned"].get(primary)
        sign = 1 if BY_NAME[primary].kind == "higher" else -1
        rows.append(
            {
                "id": item.id,
                "question": item.question,
                "reference": item.reference,
                "category": item.category,
                "source": item.source,
                "group": item.group,
                "split": item.split,
                "base": answers["base"][item.id].text,
                "tuned": answers["tuned"][item.id].text,
                "base_stopped": answers["base"][item.id].stopped,
                "tuned_stopped": answers["tuned"][item.id].stopped,
                "metrics": values,
                "marks": {model: measured[model][at].marks for model in MODELS},
                "change": None if before is None or after is None else round(sign * (after - before), 4),
            }
        )
    return rows


def _value(metric: str, pair: tuple[float, float]) -> float | None:
    return round(pair[0] / pair[1] * BY_NAME[metric].scale, 4) if pair[1] else None


def _metrics(
    job: Job, items: Sequence[Item], rows: list[dict[str, Any]], samples: Sequence[Sample], counts: dict[str, Any]
) -> dict[str, Any]:
    """The value of metrics.json."""
    computed = {row["name"] for row in rows}
    return {
        "version": VERSION,
        "models": {
            "base": job.recipe.model.id,
            "tuned": f"{job.recipe.model.id} + {job.run.folder('train').name}/adapter",
        },
        "items": {
            "held_out": len(items),
            "validation_rows_among_them": sum(item.split == "valid" for item in items),
            "groups": len({item.group for item in items}),
        },
        "primary": job.recipe.evaluate.primary,
        "metrics": rows,
        "topics": topics(samples, TOPIC_METRICS),
        "counts": counts,
        "not_computed": [
            {"name": metric.name, "label": metric.label, "reason": _why_not(job, metric.name)}
            for metric in METRICS
            if metric.name not in computed
        ],
    }


def _check_primary(recipe: Recipe) -> None:
    """Refuse a metric that cannot decide before any answer is generated.

    Raises:
        UsageError: there is no such metric, or the recipe leaves out what it needs.
    """
    primary = recipe.evaluate.primary
    if primary not in BY_NAME:
        raise UsageError(
            f"evaluate.primary is {primary!r}: there is no such metric",
            next_step=f"choose one of: {', '.join(BY_NAME)}",
        )
    if key := _lacking(recipe, primary):
        raise UsageError(
            f"evaluate.primary is {primary!r}, which is not computed without {key}",
            next_step=f"set {key}, or choose another metric",
        )


def _lacking(recipe: Recipe, name: str) -> str:
    """The recipe's key without which a metric is not computed; empty if the recipe gives all that it needs."""
    if name in ("essay", "pairwise") and not recipe.endpoint.base_url:
        return "endpoint.base_url"
    if BY_NAME[name].area == "consistency" and not recipe.evaluate.samples:
        return "evaluate.samples"
    if not recipe.evaluate.exam and name.startswith(("exam", "false_premise", "essay")):
        return "evaluate.exam"
    return ""


def _why_not(job: Job, name: str) -> str:
    """Why a metric is missing, in Korean for the report."""
    return WHY_NOT[_lacking(job.recipe, name)]
