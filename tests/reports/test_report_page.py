"""The page: self-contained, safe, accessible, complete, the same every time, and honest about what is missing."""

import base64
import hashlib
import itertools
import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fake_run import CONTENT, HOSTILE, FakeRun

from mnatune.reports import korean, report
from mnatune.reports.findings import evaluation, headline
from mnatune.runs.errors import DataError, UsageError
from mnatune.runs.workspace import Run, write_json, write_jsonl

VOID = {"meta", "link", "input", "br", "img", "line", "circle"}


class Outline(HTMLParser):
    """Elements in order with their attributes, visible text, and the content of each script."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.tables: list[list[str]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif self.tables and "table" in self._open:
            self.tables[-1].append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        if tag in self._open:
            while self._open.pop() != tag:
                pass

    def handle_data(self, data):
        if self._open and self._open[-1] == "script":
            self.scripts[-1] += data
        elif "style" not in self._open:
            self.text += data


@pytest.fixture(scope="session")
def outline(page: str) -> Outline:
    return Outline(page)


def text_of(run: Run) -> str:
    return " ".join(Outline(report(run).read_text(encoding="utf-8")).text.split())


def test_nothing_is_loaded_from_elsewhere(page: str, outline: Outline) -> None:
    for tag, attributes in outline.elements:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            value = attributes.get(name)
            assert value is None or value.startswith("#") or value == "data:,", (tag, name, value)
    assert "@import" not in page.split("</style>")[0]
    assert "url(" not in page.split("</style>")[0]
    assert len(page.encode()) < 8_000_000


def test_only_the_two_scripts_of_the_page_may_run(outline: Outline) -> None:
    policy = next(a["content"] for t, a in outline.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    data, *scripts = outline.scripts
    hashes = {base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts}
    assert set(re.findall(r"'sha256-([^']+)'", policy)) == hashes
    assert len(scripts) == 2
    assert "default-src 'none'" in policy
    assert "script-src 'unsafe" not in policy
    assert json.loads(data)["charts"]


def test_text_of_a_model_stays_text(page: str, outline: Outline) -> None:
    items = json.loads(outline.scripts[0])["items"]
    texts = ["".join(segment[0] for segment in side["segments"]) for item in items for side in item["sides"]]
    assert HOSTILE in texts
    assert page.count("onerror=&#39;window.hacked") == 3  # as a question, an answer and a judge's reason
    assert not any(tag == "img" for tag, _ in outline.elements)


def test_headings_tables_and_ids_are_sound(outline: Outline) -> None:
    levels = [int(tag[1]) for tag, _ in outline.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert outline.tables
    assert all(tags[0] == "caption" for tags in outline.tables)
    assert all("scope" in attributes for tag, attributes in outline.elements if tag == "th")
    assert all("aria-label" in a or "aria-hidden" in a for t, a in outline.elements if t == "svg")
    ids = Counter(attributes["id"] for _, attributes in outline.elements if "id" in attributes)
    assert set(ids.values()) == {1}
    anchors = {a["href"][1:] for t, a in outline.elements if t == "a" and (a["href"] or "").startswith("#")}
    assert anchors <= set(ids)


def test_every_chart_has_its_place_and_a_description(outline: Outline) -> None:
    charts = {chart["id"] for chart in json.loads(outline.scripts[0])["charts"]}
    places = {a["id"]: a for t, a in outline.elements if a.get("class") == "plot"}
    assert set(places) == charts
    assert {"curve-loss", "curve-mean_token_accuracy", "curve-learning_rate", "curve-grad_norm"} <= charts
    assert {"curve-tokens", "curve-steps", "system-gpu_memory_mb", "scores", "topics", "recall"} <= charts
    assert all(len(a["aria-label"] or "") > 5 for a in places.values())


def test_every_dropped_row_is_told_with_its_reason(whole_run: Run, outline: Outline) -> None:
    text = " ".join(outline.text.split())
    for stage in ("read", "curate", "judge", "compose"):
        manifest = whole_run.manifest(stage)
        assert manifest is not None
        for reason, rows in manifest.dropped.items():
            assert f"{korean.reason(reason)}−{korean.count(rows)}" in text, (stage, reason)
    assert "이유가 기록되지 않은 행" not in text
    assert "가린 개인정보: 전화번호 18 · 전자우편 9 · brand_new_kind 1" in text


def test_metrics_answers_and_provenance_are_there(whole_run: Run, outline: Outline) -> None:
    text = " ".join(outline.text.split())
    for metric in CONTENT["metrics"]:
        assert metric["label"] in text
    assert "가장 나아진 문항 20개" in text
    assert "가장 나빠진 문항" in text
    adapter = whole_run.manifest("train").outputs["adapter/adapter_model.safetensors"]["sha256"]  # type: ignore[union-attr]
    assert adapter in text
    assert "앞 단계가 남긴 파일의 해시와 모두 일치합니다" in text
    assert "max_grad_norm: 0.3" in text


def test_the_same_run_gives_the_same_bytes(whole_run: Run, page: str) -> None:
    assert report(whole_run).read_text(encoding="utf-8") == page


@pytest.mark.parametrize(
    ("verdict", "sentence"),
    [("promote", "배포를 권합니다"), ("hold", "배포를 보류합니다"), ("reject", "배포하지 않기를 권합니다")],
)
def test_the_headline_is_the_verdict(fake: FakeRun, verdict: str, sentence: str) -> None:
    fake.evaluate(verdict)
    found = headline(fake.run, evaluation(fake.run))
    assert sentence in found.sentence
    assert found.reasons == CONTENT["reasons"]


def test_the_headline_stands_on_top(outline: Outline) -> None:
    assert (
        outline.text.index("배포를 권합니다") < outline.text.index("차이 +17.5점") < outline.text.index("걸러진 과정")
    )


def test_missing_stages_are_said_to_be_missing(fake: FakeRun) -> None:
    rows = fake.rows(24)
    fake.read(rows)
    text = text_of(fake.run)
    assert "아직 평가하지 않았습니다" in text
    assert text.count("아직 수행하지 않았습니다") >= 6
    fake.curate(rows)
    fake.compose(fake.judge(rows))
    text = text_of(fake.run)
    assert "‘학습’ 단계는 아직 수행하지 않았습니다" in text
    assert "‘심사’ 단계는" not in text


def test_rows_without_a_reason_raise_an_alarm(fake: FakeRun) -> None:
    rows = fake.rows(24)
    fake.read(rows)
    path = fake.run.folder("read") / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["dropped"].pop("wrong-type")
    write_json(path, manifest)
    assert "이유가 기록되지 않은 행이 32개 있습니다" in text_of(fake.run)


def test_a_training_that_still_runs_is_shown(fake: FakeRun) -> None:
    fake.read(fake.rows(24))
    fake.train(done=False, gpu=False)
    with (fake.run.folder("train") / "metrics.jsonl").open("a", encoding="utf-8") as handle:
        handle.write('{"step": 3709, "loss": NaN}\n{"step": 3710, "lo')
    text = text_of(fake.run)
    assert "학습이 끝나지 않았습니다" in text
    assert "GPU 없이 CPU에서 학습했습니다" in text


def test_a_stage_done_again_breaks_the_chain_visibly(fake: FakeRun) -> None:
    rows = fake.rows(24)
    fake.read(rows)
    fake.curate(rows)
    fake.judge(rows)
    assert "모두 일치합니다" in text_of(fake.run)
    fake.curate([replace(row, question=row.question + "?") for row in rows])
    text = text_of(fake.run)
    assert "모두 일치합니다" not in text
    assert "정제 이후 다시 수행 필요" in text


def test_half_a_character_in_an_answer_does_not_stop_the_report(fake: FakeRun) -> None:
    fake.train()
    fake.evaluate()
    path = fake.run.folder("evaluate") / "answers.jsonl"
    lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    row = json.loads(lines[0])
    row |= {"tuned": "앞\ud800뒤", "marks": {"base": [], "tuned": []}}
    path.write_text("\n".join([json.dumps(row), *lines[1:]]), encoding="utf-8")
    assert "앞?뒤" in report(fake.run).read_text(encoding="utf-8")


def test_no_held_out_answers_is_no_fault(fake: FakeRun) -> None:
    fake.train()
    fake.evaluate()
    write_jsonl(fake.run.folder("evaluate") / "answers.jsonl", [])
    write_jsonl(fake.run.folder("evaluate") / "exam.jsonl", [])
    assert "답변이 기록되지 않았습니다" in text_of(fake.run)


def test_a_folder_without_a_stage_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no stage"):
        report(Run(tmp_path))
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("name", ["7-evaluate/metrics.json", "7-evaluate/verdict.json", "4-judge/judge.json"])
@pytest.mark.parametrize("damage", ["cut", "removed", "other"])
def test_a_damaged_result_is_named(fake: FakeRun, name: str, damage: str) -> None:
    fake.judge(fake.rows(24))
    fake.evaluate()
    path = fake.run.root / name
    if damage == "removed":
        path.unlink()
    else:
        path.write_text('{"metrics": [' if damage == "cut" else "[]", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        report(fake.run)
    assert path.name in caught.value.where
    assert not (fake.run.root / "report.html").exists()


def test_rows_with_evidence_and_the_search_behind_them_are_told(outline: Outline) -> None:
    text = " ".join(outline.text.split())
    assert "근거로 보이고 묻는 행 3,014 (답의 조문이 든 것 2,411, 일부러 뺀 것 603)" in text
    assert "그대로 둔 행: 답변에 조문 인용이 없음 2,140 · 근거를 붙이면 너무 김 52" in text
    assert "섞은 일반 대화 97행 (general.jsonl, 학습 행의 10%)" in text
    assert "다섯 안75.660.7 ~ 86.241" in text
    assert "순위의 역수 평균(MRR)58.6–41" in text
    assert "문맥이 짧아 조문과 함께 묻지 못한 질문03" in text
