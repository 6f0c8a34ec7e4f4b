"""A run folder as the stages leave it, with plausible Korean content, for looking at reports without training anything.

    python tests/reports/fake_run.py FOLDER     builds one and writes its report

Its content is in fake_run.yaml; nothing in it was measured.
"""

import math
import random
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from mnatune.runs.recipe import Recipe, save_lock
from mnatune.runs.records import DROPPED_SCHEMA, QA, QA_SCHEMA, Source, content_id, to_table, write_table
from mnatune.runs.workspace import Manifest, Run, Stage, value_hash, write_json, write_jsonl

HOSTILE = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'> & \u2028 끝"
CONTENT: dict[str, Any] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
PAIRS = CONTENT["pairs"]
SPOILED = CONTENT["spoiled"]
KEEP_ABOVE = 30


class FakeRun:
    """Builds the stages one after another; `build` does them all."""

    def __init__(self, root: Path, seed: int = 7) -> None:
        self.run = Run(root)
        self.random = random.Random(seed)
        self.minute = 0

    def build(self, verdict: str = "promote") -> Run:
        """All stages."""
        self.lock()
        rows = self.rows(240)
        self.read(rows)
        self.curate(rows)
        self.compose(self.judge(rows))
        self.train()
        self.evaluate(verdict)
        return self.run

    def lock(self) -> None:
        save_lock(Recipe(name="qwen3-8b-mna"), self.run.root / "recipe.lock.yaml")

    def rows(self, number: int) -> list[QA]:
        """Judged rows; every third is from a general set, where scores are low."""
        found = []
        for at in range(number):
            topic, question, answer = PAIRS[at % len(PAIRS)]
            question = f"{question} (사례 {at})"
            if at % 3:
                source = Source("mna-qa", "qa.jsonl", "", at, "예시 데이터")
                category, score = topic, 100 if at == 1 else self.random.randint(45, 98)
            else:
                source = Source("aihub-71748", "Training/Other.zip", "/corpus_0007.json", at, "예시 데이터")
                category, score = self.random.choice(CONTENT["categories"]), self.random.randint(0, 75)
            found.append(
                QA(
                    id=content_id(question, answer),
                    question=question,
                    answer=answer,
                    category=category,
                    group=f"g{at // 2}",
                    source=source,
                    score=score,
                    reason=HOSTILE if at == 1 else "질문 '합병'(20), '주식매수청구'(15) · 조문 인용 +5",
                    judge="lexicon",
                )
            )
        return found

    def finish(self, stage: str, *after: str, **facts: Any) -> Manifest:
        """Write the stage's manifest over the files that lie in its folder, with the counts of fake_run.yaml."""
        inputs = {name: value for earlier in after for name, value in self.run.output_hashes(earlier).items()}
        self.minute += 7
        started = f"2026-11-22T{9 + self.minute // 60:02d}:{self.minute % 60:02d}:00+0900"
        folder = self.run.folder(stage)
        folder.mkdir(parents=True, exist_ok=True)
        counts = CONTENT.get(stage, {}) | facts
        manifest = Manifest(
            stage, value_hash([stage, inputs]), CONTENT["sections"], inputs, 42, started=started, **counts
        )
        Stage(folder, manifest).finish(4027.0 if stage == "train" else 41.5)
        manifest.versions = dict(CONTENT["versions"])
        write_json(folder / "manifest.json", asdict(manifest))
        return manifest

    def read(self, rows: list[QA]) -> None:
        folder = self.run.folder("read")
        write_table(to_table(rows, QA_SCHEMA), folder / "qa/00-00000.parquet")
        write_table(DROPPED_SCHEMA.empty_table(), folder / "dropped.parquet")
        self.finish("read")

    def curate(self, rows: list[QA]) -> None:
        folder = self.run.folder("curate")
        write_table(to_table(rows, QA_SCHEMA), folder / "qa.parquet")
        write_table(DROPPED_SCHEMA.empty_table(), folder / "dropped.parquet")
        self.finish("curate", "read")

    def judge(self, rows: list[QA]) -> list[QA]:
        folder = self.run.folder("judge")
        kept = [row for row in rows if row.score > KEEP_ABOVE]
        dropped = [row for row in rows if row.score <= KEEP_ABOVE]
        reasons = [f"score-at-most-{KEEP_ABOVE}"] * len(dropped)
        write_table(to_table(kept, QA_SCHEMA), folder / "qa.parquet")
        write_table(to_table(dropped, DROPPED_SCHEMA, drop_reason=reasons), folder / "dropped.parquet")
        scores = {"id": [r.id for r in rows], "score": [r.score for r in rows], "judge": [r.judge for r in rows]}
        write_table(pa.table(scores), folder / "scores.parquet")
        write_json(folder / "judge.json", judge_facts(rows))
        self.finish("judge", "curate")
        return kept

    def compose(self, kept: list[QA]) -> None:
        folder = self.run.folder("compose")
        lines = []
        for row in kept:
            turns = [{"role": "user", "content": row.question}, {"role": "assistant", "content": row.answer}]
            lines.append({"id": row.id, "messages": turns, "category": row.category, "source": asdict(row.source)})
        for name, part in (("train", lines[20:]), ("valid", lines[:10]), ("test", lines[10:20])):
            write_jsonl(folder / f"{name}.jsonl", part)
        self.finish("compose", "judge")

    def train(self, *, done: bool = True, gpu: bool = True) -> None:
        folder = self.run.folder("train")
        write_jsonl(folder / "metrics.jsonl", training_rows(self.random, gpu))
        if done:
            (folder / "adapter").mkdir(exist_ok=True)
            (folder / "adapter/adapter_model.safetensors").write_bytes(b"weights" * 100)
            self.finish("train", "compose")

    def evaluate(self, verdict: str = "promote") -> None:
        folder = self.run.folder("evaluate")
        items = [self._answer(at) for at in range(60)]
        write_jsonl(folder / "answers.jsonl", items)
        write_jsonl(folder / "exam.jsonl", CONTENT["exam"])
        metrics = {
            "version": 1,
            "models": {"base": "Qwen/Qwen3-8B", "tuned": "Qwen/Qwen3-8B + 6-train/adapter"},
            "items": {"held_out": 60, "groups": 60},
            "primary": "chrf",
            "metrics": [_metric(**facts) for facts in CONTENT["metrics"]],
            "topics": [_topic(topic, at) for at, topic in enumerate(dict.fromkeys(pair[0] for pair in PAIRS))],
            "counts": CONTENT["counts"],
            "not_computed": CONTENT["not_computed"],
        }
        write_json(folder / "metrics.json", metrics)
        ranked = sorted(items, key=lambda row: -row["change"])
        decision = {
            "verdict": verdict,
            "label": {"promote": "승격", "hold": "보류", "reject": "반려"}[verdict],
            "primary": "chrf",
            "guard_margin": 2.0,
            "reasons": CONTENT["reasons"],
            "guards": CONTENT["guards"],
            "usable": {"met": True, "reasons": []},
            "improved": [row["id"] for row in ranked[:20] if row["change"] > 0],
            "worsened": [row["id"] for row in ranked[::-1][:20] if row["change"] < 0],
        }
        write_json(folder / "verdict.json", decision)
        self.finish("evaluate", "compose", "train", rows_in=60, rows_out=60)

    def _answer(self, at: int) -> dict[str, Any]:
        topic, question, reference = PAIRS[at % len(PAIRS)]
        base, tuned = SPOILED[at % 3], reference if at % 5 else SPOILED[(at + 1) % 3]
        if at == 4:
            tuned = HOSTILE
        before = self.random.uniform(12, 30)
        after = self.random.uniform(14, 62) if at % 5 else self.random.uniform(8, 20)
        if tuned == HOSTILE:
            after = 99.0
        return {
            "id": f"item-{at:03d}",
            "question": f"{question} (문항 {at}){HOSTILE if tuned == HOSTILE else ''}",
            "reference": reference,
            "category": topic,
            "source": "mna-qa",
            "group": f"g{at}",
            "split": "test",
            "base": base,
            "tuned": tuned,
            "base_stopped": bool(at % 4),
            "tuned_stopped": True,
            "metrics": {"base": {"chrf": before}, "tuned": {"chrf": after}},
            "marks": {"base": marks_of(base), "tuned": marks_of(tuned), "reference": marks_of(reference)},
            "change": round(after - before, 4),
        }


def training_rows(noise: random.Random, gpu: bool, steps: int = 3_699) -> list[dict[str, Any]]:
    """metrics.jsonl of a smooth training: a line every ten steps, an evaluation every 370."""
    rows: list[dict[str, Any]] = []
    for step in [1, *range(10, steps, 10), steps]:
        wave, early = noise.gauss(0, 0.04), math.exp(-step / 420)
        row = {
            "step": step,
            "epoch": round(3 * step / steps, 3),
            "loss": 0.92 + 1.5 * early + wave,
            "mean_token_accuracy": 0.745 - 0.25 * early - wave / 6,
            "learning_rate": 1e-4 * min(step / 111, (steps - step) / (steps - 111)),
            "grad_norm": abs(0.42 + 0.6 * early + 3 * wave),
            "num_tokens": step * 1_842,
            "tokens_per_second": 1_700 + 900 * wave,
            "seconds": step * 1.088,
            "cpu_percent": 103 + 60 * wave,
            "rss_mb": 6_210 + step / 9,
        }
        if gpu:
            row |= {"gpu_memory_mb": 15_800 + min(step, 300), "gpu_percent": 97 + 10 * wave}
        rows.append(row)
        if step % 370 == 0:
            evaluated = {"eval_loss": 0.99 + 1.2 * early, "eval_mean_token_accuracy": 0.73 - 0.2 * early}
            rows.append({"step": step, **evaluated})
    return rows


def judge_facts(rows: list[QA]) -> dict[str, Any]:
    """judge.json of a cascade over these rows."""
    histogram = [sum(row.score == score for row in rows) for score in range(101)]
    topics: dict[str, list[int]] = {}
    for row in rows:
        topics.setdefault(row.category, [0] * 101)[row.score] += 1
    ranked = sorted(rows, key=lambda row: (-row.score, row.id))
    kept = [row for row in ranked if row.score > KEEP_ABOVE]
    dropped = [row for row in ranked if row.score <= KEEP_ABOVE]
    shown = {"kept-best": kept[:4], "kept-just": kept[-4:], "dropped-just": dropped[:4], "dropped-worst": dropped[-4:]}
    names = ("question", "answer", "category", "score", "reason", "judge")
    return {
        "scorer": "cascade",
        "keep_above": KEEP_ABOVE,
        "rows": len(rows),
        "kept": len(kept),
        "dropped": len(dropped),
        "histogram": histogram,
        "topics": topics,
        "thresholds": [
            {"above": at, "rows": sum(histogram[at + 1 :]), "topics": sum(any(n[at + 1 :]) for n in topics.values())}
            for at in range(0, 100, 5)
        ],
        "examples": [
            {"kind": kind, "source": row.source.name, **{name: getattr(row, name) for name in names}}
            for kind, part in shown.items()
            for row in part
        ],
        **CONTENT["judge_json"],
    }


def marks_of(text: str) -> list[dict[str, Any]]:
    """Marks where the evaluation would set them in this run's own texts."""
    found = [
        {"start": text.index(words), "end": text.index(words) + len(words), "kind": kind, "note": note}
        for words, kind, note in CONTENT["marks"]
        if words in text
    ]
    return sorted(found, key=lambda mark: mark["start"])


def _metric(**facts: Any) -> dict[str, Any]:
    base, tuned, error = facts.pop("base"), facts.pop("tuned"), facts.pop("error")
    top = 100.0 if facts["unit"] == "percent" else math.inf
    change, wide = tuned - base, None if error is None else 1.4 * error

    def side(value: float, width: float | None, floor: float, ceiling: float) -> dict[str, Any]:
        ends = (None, None) if width is None else (max(floor, value - 1.96 * width), min(ceiling, value + 1.96 * width))
        return {"value": value, "low": ends[0], "high": ends[1], "n": 60}

    corrected = {"exam_letter": 0.74, "spacing": 0.06}.get(facts["name"], 0.0011)
    difference = side(change, wide, -math.inf, math.inf) | {"p": 0.0001, "p_holm": corrected, "test": "permutation"}
    return {
        **facts,
        "base": side(base, error, 0.0, top),
        "tuned": side(tuned, error, 0.0, top),
        "difference": difference,
        "detectable": None if wide is None else 2.8 * wide,
    }


def _topic(topic: str, at: int) -> dict[str, Any]:
    number = 16 - at
    chrf = {"base": 20.0 + at, "tuned": 41.0 - 4 * at, "n": number}
    return {
        "topic": topic,
        "n": number,
        "metrics": {"chrf": chrf, "fact_overlap": {"base": 17.5, "tuned": 40.25, "n": number}},
    }


if __name__ == "__main__":
    from mnatune.reports import report, summarize

    made = FakeRun(Path(sys.argv[1])).build()
    print(report(made))
    print(summarize(made))
