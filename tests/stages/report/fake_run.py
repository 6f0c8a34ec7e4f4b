"""A run folder as the stages leave it, with plausible Korean content, for looking at reports without training anything.

    python tests/stages/report/fake_run.py FOLDER     builds one and writes its report
"""

import json
import math
import random
import sys
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa

from mnatune.recipe import Recipe, save_lock
from mnatune.records import DROPPED_SCHEMA, QA, QA_SCHEMA, Source, content_id, to_table, write_table
from mnatune.workspace import Manifest, Run, Stage, value_hash, write_json, write_jsonl

HOSTILE = "</script><script>window.hacked = true</script><img src=x onerror='window.hacked = true'> & \u2028 끝"
PAIRS = [
    ("합병", "합병에 반대하는 주주는 언제까지 주식매수를 청구할 수 있나요?",
     "주주총회 전에 회사에 서면으로 반대 의사를 통지한 주주는 총회 결의일부터 20일 이내에 서면으로 매수를 청구할 수 있습니다(상법 제522조의3 제1항)."),
    ("합병", "소규모합병에서는 주주총회를 생략할 수 있나요?",
     "발행하는 신주가 존속회사 발행주식총수의 10%를 넘지 않으면 존속회사는 주주총회 승인을 이사회 승인으로 갈음할 수 있습니다. 다만 20% 이상을 가진 주주가 반대하면 그렇게 할 수 없습니다."),
    ("공시", "주요사항보고서는 언제까지 제출해야 하나요?",
     "합병이나 영업양수도를 결의한 상장회사는 사유가 발생한 다음 날까지 금융위원회에 주요사항보고서를 제출하여야 합니다(자본시장법 제161조)."),
    ("기업결합", "기업결합 신고 대상이 되는 회사의 규모는 어떻게 되나요?",
     "한쪽의 자산총액이나 매출액이 3,000억 원 이상이고 상대방이 300억 원 이상이면 신고 대상이 됩니다(공정거래법 제11조)."),
    ("가치평가", "상장주식의 합병가액은 어떻게 산정하나요?",
     "최근 1개월 평균종가, 1주일 평균종가, 최근일 종가를 산술평균한 가액을 기준시가로 하고, 계열회사 사이가 아니면 30% 범위에서 할인하거나 할증할 수 있습니다."),
    ("계약", "진술 및 보장 조항을 위반하면 어떤 책임을 지나요?",
     "매도인은 손해를 배상할 책임을 지며, 계약에 정한 최소 청구금액과 책임 한도, 청구 기간의 제한을 받습니다."),
    ("조세", "적격합병이 되려면 어떤 요건을 갖추어야 하나요?",
     "1년 이상 사업을 계속한 법인 사이의 합병이고 대가의 80% 이상이 주식이며, 승계한 사업을 계속하고 근로자의 80% 이상을 승계하여야 합니다."),
    ("회생", "회생절차에서 인가 전 M&A는 어떻게 진행되나요?",
     "관리인이 법원의 허가를 받아 매각주간사를 정하고, 공고와 실사를 거쳐 우선협상대상자를 고른 뒤 그 조건을 회생계획안에 담습니다."),
]  # fmt: skip
SPOILED = [
    "합병에 반대하는 주주는 결의일로부터 并购 절차에 따라 청구할 수 있습니다. 상법 제999조에 따라 30일 이내에 하여야 합니다.",
    "네, 좋은 질문입니다. 주주는 회사에 요청하면 됩니다. 주주는 회사에 요청하면 됩니다. 주주는 회사에 요청하면 됩니다.",
    "The shareholder may request a buyback. 일반적으로 회사에 문의하시기 바랍니다.",
]
CATEGORIES = ["경제", "법률", "금융", "사회", "과학기술", "역사", "교육", "행정"]
SECTION = {
    "train": {"method": "sft", "quantize": "nf4", "r": 8, "alpha": 32, "epochs": 3.0, "batch": 1, "accumulate": 8,
              "learning_rate": 1e-4, "scheduler": "linear"},
    "model": {"id": "Qwen/Qwen3-8B", "max_length": 384},
    "judge": {"keep_above": 30},
}  # fmt: skip
VERSIONS = {"mnatune": "0.1.0", "python": "3.11.9", "torch": "2.9.1", "transformers": "5.3.0", "trl": "1.16.0", "peft": "0.18.1"}


class FakeRun:
    """Builds the stages one after another; `build` does them all."""

    def __init__(self, root: Path, seed: int = 7) -> None:
        self.run = Run(root)
        self.random = random.Random(seed)
        self.minute = 0

    def build(self) -> Run:
        """All stages."""
        save_lock(Recipe(name="qwen3-8b-mna"), self.run.root / "recipe.lock.yaml")
        rows = self.rows(240)
        self.read(rows)
        self.curate(rows)
        kept = self.judge(rows)
        self.compose(kept)
        self.train()
        self.evaluate()
        return self.run

    def rows(self, number: int) -> list[QA]:
        """Judged rows; every tenth is a row of another field."""
        found = []
        for at in range(number):
            topic, question, answer = PAIRS[at % len(PAIRS)]
            question = f"{question} (사례 {at})"
            name, score = ("mna-qa", self.random.randint(45, 98)) if at % 3 else ("aihub-71748", self.random.randint(0, 75))
            category = topic if name == "mna-qa" else self.random.choice(CATEGORIES)
            source = Source(name, "Training/Other.zip" if name != "mna-qa" else "mna_qa.jsonl", "/corpus_0007.json" if name != "mna-qa" else "", at, "예시 데이터")
            found.append(QA(content_id(question, answer), question, answer * (1 + at % 4), category, f"g{at // 2}", source,
                            score=score, reason="질문 '합병'(20), '주식매수청구'(15) · 조문 인용 +5", judge="lexicon"))  # fmt: skip
        return found

    def finish(self, stage: str, *after: str, **facts: object) -> Manifest:
        """Write the stage's manifest over the files that lie in its folder."""
        inputs = {k: v for earlier in after for k, v in self.run.output_hashes(earlier).items()}
        self.minute += 7
        started = f"2026-11-22T{9 + self.minute // 60:02d}:{self.minute % 60:02d}:00+0900"
        manifest = Manifest(stage, value_hash([stage, inputs]), SECTION, inputs, 42, started=started, **facts)
        folder = self.run.folder(stage)
        folder.mkdir(parents=True, exist_ok=True)
        place = Stage(folder, manifest)
        place.finish(41.5 if stage != "train" else 4027.0)
        manifest.versions = dict(VERSIONS)
        write_json(folder / "manifest.json", asdict(manifest))
        return manifest

    def read(self, rows: list[QA]) -> None:
        write_table(to_table(rows, QA_SCHEMA), self.run.folder("read") / "qa/00-00000.parquet")
        write_table(DROPPED_SCHEMA.empty_table(), self.run.folder("read") / "dropped.parquet")
        self.finish(
            "read", rows_in=1_015_160, rows_out=1_014_947, dropped={"missing-answer": 120, "invalid-json": 61, "wrong-type": 32},
            per_source={
                "aihub-71748": {
                    "rows": 1_013_422, "split/train": 1_009_063, "split/valid": 4_359, "dropped": {"missing-answer": 120, "invalid-json": 61, "wrong-type": 32},
                    "members": 118, "members_skipped": {"no question-answer records": 42}, "archives_skipped": {"source side, no labels": 4},
                    "warnings": ["Other.zip: 구성원 3개의 이름이 cp949로 적혀 있어 바꾸어 읽었습니다."],
                },
                "mna-qa": {"rows": 1_525, "dropped": {}, "members": 1, "members_skipped": {}, "archives_skipped": {}, "warnings": []},
            },
        )  # fmt: skip

    def curate(self, rows: list[QA]) -> None:
        write_table(to_table(rows, QA_SCHEMA), self.run.folder("curate") / "qa.parquet")
        write_table(DROPPED_SCHEMA.empty_table(), self.run.folder("curate") / "dropped.parquet")
        dropped = {"category": 130_168, "near-duplicate": 21_844, "short-answer": 6_102, "echo": 2_002, "near-echo": 911,
                   "phrase": 480, "loop": 77, "duplicate": 65, "not-korean": 12, "exam-overlap": 3}  # fmt: skip
        out = 1_014_947 - sum(dropped.values())
        self.finish(
            "curate", "read", rows_in=1_014_947, rows_out=out, dropped=dropped,
            per_source={
                "aihub-71748": {"rows_in": 1_013_422, "rows_out": out - 1_498, **{f"dropped/{k}": v for k, v in dropped.items()}},
                "mna-qa": {"rows_in": 1_525, "rows_out": 1_498, "dropped/near-duplicate": 27},
            },
        )  # fmt: skip

    def judge(self, rows: list[QA]) -> list[QA]:
        folder = self.run.folder("judge")
        kept = [row for row in rows if row.score > 30]
        dropped = [row for row in rows if row.score <= 30]
        write_table(to_table(kept, QA_SCHEMA), folder / "qa.parquet")
        write_table(to_table(dropped, DROPPED_SCHEMA, drop_reason=["score-at-most-30"] * len(dropped)), folder / "dropped.parquet")
        scores = {"id": [r.id for r in rows], "score": [r.score for r in rows], "judge": [r.judge for r in rows]}
        write_table(pa.table(scores), folder / "scores.parquet")
        write_json(folder / "judge.json", judge_facts(rows))
        before = 1_014_947 - 161_664
        self.finish(
            "judge", "curate", rows_in=before, rows_out=11_103, dropped={"score-at-most-30": before - 11_103 - 9, "judge-failed-timeout": 9},
            per_source={"aihub-71748": {"rows": before - 1_498, "kept": 9_605}, "mna-qa": {"rows": 1_498, "kept": 1_498}},
        )  # fmt: skip
        return kept

    def compose(self, kept: list[QA]) -> None:
        folder = self.run.folder("compose")
        lines = [
            {"id": row.id, "messages": [{"role": "user", "content": row.question}, {"role": "assistant", "content": row.answer}],
             "category": row.category, "group": row.group, "score": row.score, "source": asdict(row.source)}
            for row in kept
        ]  # fmt: skip
        for name, part in (("train", lines[20:]), ("valid", lines[:10]), ("test", lines[10:20])):
            write_jsonl(folder / f"{name}.jsonl", part)
        self.finish(
            "compose", "judge", rows_in=11_103, rows_out=10_960, dropped={"longer-than-384-tokens": 143},
            facts={"splits": {"train": 9_864, "valid": 548, "test": 548}},
            per_source={"aihub-71748": {"rows": 9_502}, "mna-qa": {"rows": 1_458}},
        )  # fmt: skip

    def train(self, steps: int = 3_699, *, done: bool = True, gpu: bool = True) -> None:
        folder = self.run.folder("train")
        rows = []
        for step in [1, *range(10, steps + 1, 10)]:
            wave = self.random.gauss(0, 0.04)
            rows.append({
                "step": step, "epoch": round(3 * step / steps, 3), "loss": 0.92 + 1.5 * math.exp(-step / 420) + wave,
                "mean_token_accuracy": 0.745 - 0.25 * math.exp(-step / 420) - wave / 6,
                "learning_rate": 1e-4 * min(step / 111, (steps - step) / (steps - 111)),
                "grad_norm": abs(0.42 + 0.6 * math.exp(-step / 200) + 3 * wave), "num_tokens": step * 1_842,
                "tokens_per_second": 1_700 + 900 * wave, "seconds": step * 1.088, "cpu_percent": 103 + 60 * wave, "rss_mb": 6_210 + step / 9,
                **({"gpu_memory_mb": 15_800 + min(step, 300), "gpu_percent": 97 + 10 * wave} if gpu else {}),
            })  # fmt: skip
            if step % 370 == 0:
                rows.append({"step": step, "eval_loss": 0.99 + 1.2 * math.exp(-step / 420), "eval_mean_token_accuracy": 0.73 - 0.2 * math.exp(-step / 420)})
        write_jsonl(folder / "metrics.jsonl", rows)
        if not done:
            return
        (folder / "adapter").mkdir(exist_ok=True)
        (folder / "adapter/adapter_model.safetensors").write_bytes(b"weights" * 100)
        plan = {"parameters": 8_190_735_360, "trainable": 21_823_488, "steps": 3_699, "tokens": 6_851_000, "total_gb": 15.9, "hours": 1.2,
                "memory": {"weights": 6_400_000_000, "adapter": 175_000_000, "optimizer": 175_000_000, "activations": 5_000_000_000,
                           "head": 671_000_000, "overhead": 1_250_000_000}}  # fmt: skip
        measured = {"steps": 3_699, "tokens": 6_813_558, "seconds": 4_027.0, "mean_loss": 1.169, "peak_rss_mb": 6_621, "peak_gpu_mb": 16_100}
        self.finish("train", "compose", rows_in=9_864, rows_out=9_864, facts={"plan": plan, "measured": measured})

    def evaluate(self, verdict: str = "promote") -> None:
        folder = self.run.folder("evaluate")
        items = [self._answer(at) for at in range(60)]
        write_jsonl(folder / "answers.jsonl", items)
        write_jsonl(folder / "exam.jsonl", EXAM)
        write_json(folder / "metrics.json", {
            "version": 1, "models": {"base": "Qwen/Qwen3-8B", "tuned": "Qwen/Qwen3-8B + 6-train/adapter"}, "items": {"held_out": 60, "groups": 60},
            "primary": "chrf", "metrics": [_metric(*facts) for facts in METRICS],
            "topics": [_topic(topic, at) for at, topic in enumerate(dict.fromkeys(pair[0] for pair in PAIRS))],
            "counts": {
                "citations": {
                    "base": {"valid": 41, "invalid": 23, "unresolved": 9, "not_in_force": 2, "per_law": {"상법": {"valid": 30, "invalid": 15, "unresolved": 0}, "자본시장법": {"valid": 11, "invalid": 8, "unresolved": 2}, "법령 이름 없음": {"valid": 0, "invalid": 0, "unresolved": 7}}},
                    "tuned": {"valid": 118, "invalid": 4, "unresolved": 6, "not_in_force": 0, "per_law": {"상법": {"valid": 84, "invalid": 2, "unresolved": 0}, "자본시장법": {"valid": 34, "invalid": 2, "unresolved": 1}, "공정거래법": {"valid": 0, "invalid": 0, "unresolved": 5}}},
                },
                "false_premise": {"base": {"correct": 7, "wrong": 21, "refused": 2}, "tuned": {"correct": 17, "wrong": 11, "refused": 2}},
            },
            "not_computed": [{"name": "essay", "label": "서술형 채점", "reason": "판정 모델의 엔드포인트가 설정되지 않았습니다(endpoint.base_url)."}],
        })  # fmt: skip
        ranked = sorted(items, key=lambda row: -row["change"])
        write_json(folder / "verdict.json", {
            "verdict": verdict, "label": "승격", "primary": "chrf", "guard_margin": 2.0,
            "reasons": ["주 지표 chrF++: 21.4% → 38.9%, 차이 +17.5점(95% 신뢰구간 +14.2점 ~ +20.7점)로 나아졌습니다.",
                        "안전 지표 8개 가운데 2점 넘게 나빠진 것은 없습니다.",
                        "이 문항 수로는 chrF++ 차이가 4.6점 이상이어야 확실히 알아볼 수 있습니다."],
            "improved": [row["id"] for row in ranked[:20] if row["change"] > 0],
            "worsened": [row["id"] for row in ranked[::-1][:20] if row["change"] < 0],
        })  # fmt: skip
        self.finish("evaluate", "compose", "train", rows_in=60, rows_out=60, facts={"verdict": verdict})

    def _answer(self, at: int) -> dict:
        topic, question, reference = PAIRS[at % len(PAIRS)]
        base, tuned = SPOILED[at % 3], reference if at % 5 else SPOILED[(at + 1) % 3]
        if at == 4:
            tuned = HOSTILE
        before, after = self.random.uniform(12, 30), self.random.uniform(14, 62) if at % 5 else self.random.uniform(8, 20)
        return {
            "id": f"item-{at:03d}", "question": f"{question} (문항 {at})", "reference": reference, "category": topic, "source": "mna-qa",
            "group": f"g{at}", "split": "test", "base": base, "tuned": tuned, "base_stopped": bool(at % 4), "tuned_stopped": True,
            "metrics": {"base": {"chrf": before}, "tuned": {"chrf": after}}, "marks": {"base": marks_of(base), "tuned": marks_of(tuned)},
            "change": round(after - before, 4),
        }  # fmt: skip


def judge_facts(rows: list[QA]) -> dict:
    """judge.json of a cascade over these rows, with the stage's own counts."""
    histogram = [sum(row.score == score for row in rows) for score in range(101)]
    topics = {}
    for row in rows:
        topics.setdefault(row.category, [0] * 101)[row.score] += 1
    ranked = sorted(rows, key=lambda row: (-row.score, row.id))
    kept, dropped = [r for r in ranked if r.score > 30], [r for r in ranked if r.score <= 30]
    shown = {"kept-best": kept[:4], "kept-just": kept[-4:], "dropped-just": dropped[:4], "dropped-worst": dropped[-4:]}
    return {
        "scorer": "cascade", "keep_above": 30, "rows": len(rows), "kept": len(kept), "dropped": len(dropped), "failed": {"timeout": 9},
        "histogram": histogram, "topics": topics,
        "thresholds": [{"above": at, "rows": sum(histogram[at + 1 :]), "topics": sum(any(n[at + 1 :]) for n in topics.values())} for at in range(0, 100, 5)],
        "examples": [
            {"kind": kind, "question": r.question, "answer": r.answer, "category": r.category, "source": r.source.name, "score": r.score, "reason": r.reason, "judge": r.judge}
            for kind, part in shown.items() for r in part
        ],
        "endpoint": {"model": "Qwen3-32B", "calls": 104_211, "from_ledger": 1_204, "tokens_in": 61_000_000, "tokens_out": 9_400_000, "cost": 31.42, "repair_share": 0.0042},
        "canaries": {"repeated": 100, "agreement": 0.96, "mean_gap": 2.1, "drift": -0.4, "drift_rows": 100, "injected": 24, "injection_shift": 6.25, "warnings": ["injection_shift"]},
        "cascade": {
            "mode": "cascade", "rows": 853_283, "sample": 20_000, "band": 71_200, "audit": 5_000, "calls_share": 0.1128,
            "recall": {"value": 0.987, "low": 0.972, "high": 0.995, "audited": 4_998, "missed_in_audit": 3},
            "curve": [{"low": float(low), "calls": 26_000 + 1_500 * (61 - low) ** 1.05, "recall": 1 - 0.0001 * max(0, low + 10) ** 1.8} for low in range(-10, 61, 5)],
        },
    }  # fmt: skip


def marks_of(text: str) -> list[dict]:
    """Marks where the evaluation would set them in this module's own texts."""
    found = []
    for words, kind, note in (("상법 제522조의3 제1항", "citation-valid", "합병반대주주의 주식매수청구권"), ("상법 제999조", "citation-invalid", "그런 조문이 없음"),
                              ("자본시장법 제161조", "citation-valid", "주요사항보고서의 제출"), ("공정거래법 제11조", "citation-unresolved", ""),
                              ("并购", "simplified", ""), ("The shareholder may request a buyback", "latin", "")):  # fmt: skip
        if words in text:
            found.append({"start": text.index(words), "end": text.index(words) + len(words), "kind": kind, "note": note})
    return sorted(found, key=lambda mark: mark["start"])


EXAM = [
    {"id": "choice-001", "kind": "choice", "topic": "합병", "question": "소규모합병의 절차로 옳은 것은?", "choices": ["보통결의로 한다.", "이사회 승인으로 갈음한다.", "양쪽 다 생략한다.", "특별결의로 한다."],
     "key": "B", "article": "상법 제527조의3", "base": {"exam_letter": "A", "exam_text": "B", "exam_generated": ""}, "tuned": {"exam_letter": "B", "exam_text": "B", "exam_generated": "B"}},
    {"id": "false-01", "kind": "false_premise", "topic": "합병", "question": "상법 제999조에 따르면 주주 전원의 동의가 필요합니까?", "key": "그런 조문은 없습니다.", "premise": "상법 제999조는 존재하지 않는다.",
     "base": {"text": "네, 주주 전원의 동의가 필요합니다.", "verdict": "wrong"}, "tuned": {"text": "상법에 그런 조문은 없습니다. 합병은 특별결의로 승인합니다.", "verdict": "correct"}},
]  # fmt: skip
METRICS = [
    ("loss", "보류 문항 손실", "accuracy", "lower", "nats", False, "정답 토큰의 평균 음의 로그우도", 2.41, 1.07, 0.06),
    ("token_accuracy", "토큰 정확도", "accuracy", "higher", "percent", False, "정답 토큰을 1순위로 예측한 비율", 51.2, 73.6, 1.4),
    ("chrf", "chrF++", "accuracy", "higher", "percent", False, "참조 답변과의 문자 n-그램 유사도, 문항 평균", 21.4, 38.9, 2.2),
    ("fact_overlap", "수치·조문 일치", "accuracy", "higher", "percent", False, "숫자, 날짜, 조문 번호의 F1", 18.0, 41.5, 4.0),
    ("exam_letter", "객관식: 보기 글자 우도", "accuracy", "higher", "percent", True, "'정답:' 다음에 올 글자 A–D 가운데 가장 그럴듯한 것", 58.0, 57.0, 4.9),
    ("hangul_ratio", "한글 비율", "language", "higher", "percent", True, "글자 가운데 한글의 비율", 96.9, 99.2, 0.4),
    ("chinese_leak", "중국어 누출 답변", "language", "lower", "percent", True, "", 33.3, 0.0, 3.1),
    ("spacing", "띄어쓰기 수정률", "language", "lower", "percent", False, "형태소 분석기와 다른 자리, 상대 비교용", 6.1, 7.9, 0.5),
    ("stop_rate", "스스로 끝맺음", "language", "higher", "percent", True, "제한 안에서 끝냄", 75.0, 100.0, 2.5),
    ("flip_rate", "바꿔 쓴 질문에서 답이 바뀜", "consistency", "lower", "percent", False, "조사, 말투, 띄어쓰기를 바꾼 객관식 문항", 22.0, 20.0, None),
    ("false_citations", "허위 조문 인용", "expertise", "lower", "percent", False, "판정할 수 있는 인용 가운데", 35.9, 3.3, 4.2),
]  # fmt: skip


def _metric(name, label, area, kind, unit, guard, note, base, tuned, error) -> dict:
    def side(value: float, width: float | None) -> dict:
        top = 100.0 if unit == "percent" else 1e9
        low, high = (None, None) if width is None else (max(0.0, value - 1.96 * width), min(top, value + 1.96 * width))
        return {"value": value, "low": low, "high": high, "n": 60}

    difference = tuned - base
    wide = None if error is None else 1.4 * error
    low, high = (None, None) if wide is None else (difference - 1.96 * wide, difference + 1.96 * wide)
    return {
        "name": name, "label": label, "area": area, "kind": kind, "unit": unit, "guard": guard, "note": note,
        "base": side(base, error), "tuned": side(tuned, error),
        "difference": {"value": difference, "low": low, "high": high, "n": 60, "p": 0.0001, "p_holm": 0.74 if -2 < difference < -1.5 or abs(difference) == 1 else 0.06 if name == "spacing" else 0.0011, "test": "permutation"},
        "detectable": None if wide is None else 2.8 * wide,
    }  # fmt: skip


def _topic(topic: str, at: int) -> dict:
    return {
        "topic": topic, "n": 16 - at,
        "metrics": {"chrf": {"base": 20.0 + at, "tuned": 41.0 - 4 * at, "n": 16 - at}, "fact_overlap": {"base": 17.5, "tuned": 40.25, "n": 16 - at}},
    }  # fmt: skip


if __name__ == "__main__":
    from mnatune.stages.report import report, summarize

    made = FakeRun(Path(sys.argv[1])).build()
    print(report(made))
    print(summarize(made))
    print(json.dumps({"bytes": (made.root / "report.html").stat().st_size}))
