"""What `evaluate` has found: metrics.json and verdict.json, and the report's one-sentence conclusion."""

from dataclasses import dataclass, field
from typing import Any

from ..runs.errors import DataError
from ..runs.workspace import STAGES, Run, read_json
from . import korean

VERDICTS = ("valid", "invalid", "unresolved")
SEARCH = {"hit@1": "첫째", "hit@5": "다섯 안", "hit@10": "열 안", "mrr": "순위의 역수 평균(MRR)"}
LAWS = 12  # laws in the table of citations
SENTENCES = {
    "promote": ("good", "학습 후 모델이 더 낫습니다. 배포를 권합니다."),
    "hold": ("warn", "더 나아졌다고 단정하기 이릅니다. 배포를 보류합니다."),
    "reject": ("bad", "학습 후 모델이 더 낫지 않습니다. 배포하지 않기를 권합니다."),
}
UNUSABLE = "{} 법률 답변으로는 쓸 수 없습니다."


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The content of metrics.json and verdict.json."""

    metrics: dict[str, Any]
    verdict: dict[str, Any]

    def count(self, name: str) -> Any:
        """A part of what was counted besides the metrics; empty if it was not."""
        return (self.metrics.get("counts") or {}).get(name) or {}

    @property
    def primary(self) -> str:
        """Name of the metric that decides."""
        return str(self.verdict.get("primary", ""))

    @property
    def guards(self) -> dict[str, str]:
        """State of every guard: "failed", "worse", "passed" or "open"."""
        return {str(guard["name"]): str(guard["state"]) for guard in self.verdict.get("guards", [])}

    @property
    def unusable(self) -> list[str]:
        """Where the tuned model misses the pack's floors; empty if usable."""
        return [str(reason) for reason in (self.verdict.get("usable") or {}).get("reasons", [])]

    @property
    def learnt(self) -> bool:
        """Whether the held-out loss fell significantly."""
        row = next((one for one in self.metrics["metrics"] if one["name"] == "loss"), None)
        high = korean.finite(row["difference"].get("high")) if row else None
        return high is not None and high < 0

    @property
    def leaks(self) -> dict[str, Any]:
        """What the models give away of what they were trained on; empty if it was not measured."""
        return dict(self.metrics.get("privacy") or {})

    @property
    def domain(self) -> list[dict[str, Any]]:
        """The parts of the domain score."""
        return list(self.count("domain"))

    @property
    def citations(self) -> list[tuple[str, list[int]]]:
        """Citations in all and per law, most cited first: (law, base and tuned by `VERDICTS`)."""
        counts = self.count("citations")
        sides = [counts.get(model) or {} for model in ("base", "tuned")]
        laws = dict.fromkeys(law for side in reversed(sides) for law in side.get("per_law", {}))
        rows = [("모든 법령", [int(side.get(v, 0)) for side in sides for v in VERDICTS])]
        for law in laws:
            cells = [side.get("per_law", {}).get(law, {}) for side in sides]
            rows.append((law, [int(cell.get(v, 0)) for cell in cells for v in VERDICTS]))
        ranked = sorted(rows[1:], key=lambda row: (-sum(row[1]), row[0]))[:LAWS]
        return [rows[0], *ranked] if sum(rows[0][1]) else []

    @property
    def premises(self) -> list[tuple[str, int, int]]:
        """Answers to false premises by verdict: (verdict, base, tuned)."""
        counts = self.count("false_premise")
        return [(v, counts["base"][v], counts["tuned"][v]) for v in counts.get("base", {})]

    @property
    def apart(self) -> list[tuple[str, int, int]]:
        """Non-zero counts that are kept out of the metrics: (label, base, tuned)."""

        def of(name: str, key: str = "") -> list[int]:
            cells: list[Any] = [self.count(name).get(model) for model in ("base", "tuned")]
            if key:
                cells = [(cell or {}).get(key) for cell in cells]
            return [sum(cell.values()) if isinstance(cell, dict) else int(cell or 0) for cell in cells]

        rows = [
            ("생성한 답에서 글자를 읽지 못한 객관식 문항", of("exam_unparsed")),
            ("인용한 조문 가운데 지금은 시행되지 않는 것", of("citations", "not_in_force")),
            ("적은 사건번호", of("cases", "found")),
            ("그 가운데 법원이 붙일 수 없는 형식", of("cases", "malformed")),
            ("문맥이 짧아 조문과 함께 묻지 못한 질문", of("no_room")),
            ("서버가 답하지 못한 질문", of("served", "failed")),
            ("서버가 받지 않아 다른 표집 값으로 얻은 답", of("served", "other_sampling")),
        ]
        return [(label, cells[0], cells[1]) for label, cells in rows if any(cells)]

    @property
    def search(self) -> list[tuple[str, str, str, int]]:
        """How well the search finds the articles of the held-out questions: (metric, value, interval, questions)."""
        table = self.count("open_book").get("search") or {}
        return [(SEARCH[name], *_shares(cell), int(cell["n"])) for name, cell in table.items()]

    @property
    def served(self) -> list[str]:
        """Addresses of the served models that answered, base and tuned; empty if they answered in process."""
        return [f"{side['url']}#{side['model']}" for side in self.count("served").values()]

    @property
    def judge(self) -> "Judge | None":
        """The judge of essays and pairs; None without one."""
        return Judge(self.count("judge"), self.count("pairwise")) if self.count("judge") else None

    @property
    def primary_metric(self) -> dict[str, Any] | None:
        """The primary metric's row of metrics.json."""
        return next((metric for metric in self.metrics["metrics"] if metric["name"] == self.primary), None)


@dataclass(frozen=True, slots=True)
class Judge:
    """What counts.judge and counts.pairwise of metrics.json say."""

    facts: dict[str, Any]
    pairwise: dict[str, Any]

    @property
    def lines(self) -> list[tuple[str, str]]:
        """(label, value in words); checks on the judge last."""
        found = [("판정 모델", f"{self.facts['judge']} · 프롬프트 {str(self.facts['prompts_sha256'])[:12]}")]
        if self.facts.get("same_family"):
            found.append(
                ("주의", "학습한 모델과 같은 계열의 모델이 판정했습니다. 다른 계열로 다시 판정하기를 권합니다.")
            )
        if self.pairwise:
            wins, losses, ties = (korean.count(int(self.pairwise[name])) for name in ("wins", "losses", "ties"))
            found.append(("쌍대 비교", f"학습 후 승 {wins} · 패 {losses} · 무승부 {ties}"))
            share = korean.number(100 * float(self.pairwise["consistency"]), 1)
            found.append(("두 순서의 판정이 같은 비율", f"{share}% (다르면 무승부로 셉니다)"))
        unusable = self.facts.get("unusable") or {}
        told = ", ".join(f"{code} {korean.count(int(count))}" for code, count in unusable.items())
        found.append(("쓸 수 없는 응답", told or "없음"))
        return found

    @property
    def agreement(self) -> list[tuple[str, int, list[str]]]:
        """Agreement with people: (kind of label, rows, raw agreement, kappa and weighted kappa in words)."""
        names = {"pairs": "두 답변 가운데 나은 쪽", "lines": "서술형 채점 항목"}
        measures = ("agreement", "kappa", "quadratic_kappa")
        return [
            (names.get(kind, kind), int(found["rows"]), [_with_interval(found[name]) for name in measures])
            for kind, found in (self.facts.get("agreement") or {}).items()
        ]


@dataclass(frozen=True, slots=True)
class Headline:
    """The conclusion: one sentence with its tone (good, warn, bad, none) and the reasons for it."""

    tone: str
    sentence: str
    reasons: list[str] = field(default_factory=list)


def evaluation(run: Run) -> Evaluation | None:
    """The evaluation of a run; None before `evaluate`."""
    if run.manifest("evaluate") is None:
        return None
    folder = run.folder("evaluate")
    again = f"mnatune evaluate RECIPE --out {run.root} --force"
    metrics, verdict = (read_json(folder / name, again) for name in ("metrics.json", "verdict.json"))
    if not isinstance(metrics.get("metrics"), list):
        raise DataError("no list of metrics", where=str(folder / "metrics.json"), next_step=again)
    return Evaluation(metrics, verdict)


def headline(run: Run, found: Evaluation | None) -> Headline:
    """The verdict in one sentence, or how far the run has come."""
    if found is not None:
        verdict = str(found.verdict.get("verdict"))
        tone, sentence = SENTENCES.get(verdict, ("none", "평가를 마쳤으나 판정이 없습니다."))
        reasons = [str(reason) for reason in found.verdict.get("reasons", [])]
        if found.unusable:
            tone = "bad" if verdict == "reject" else "warn"
            sentence = UNUSABLE.format("학습은 되었으나" if found.learnt else "학습 후 모델은")
            reasons = [f"쓸 수 있는 기준에 미치지 못했습니다: {'; '.join(found.unusable)}.", *reasons]
        return Headline(tone, sentence, reasons)
    done = [stage for stage in STAGES if run.manifest(stage) is not None]
    last = korean.name("stages", done[-1])
    return Headline("none", "아직 평가하지 않았습니다.", [f"지금까지 마친 단계는 ‘{last}’까지입니다."])


def _shares(found: dict[str, float | None]) -> tuple[str, str]:
    """A share in per cent, and its interval."""
    value, low, high = (
        None if found[part] is None else korean.number(100 * float(found[part] or 0))
        for part in ("value", "low", "high")
    )
    return value or korean.NONE, f"{low} ~ {high}" if low and high else korean.NONE


def _with_interval(found: dict[str, float | None]) -> str:
    value, low, high = (found[part] for part in ("value", "low", "high"))
    return korean.NONE if value is None else f"{value:.2f} ({low:.2f} ~ {high:.2f})"
