"""Numbers in Korean, marks, places in drawings, judgements, and the choice of examples."""

import math
import random
import re
import shlex
from pathlib import Path

import pytest
from fake_run import CONTENT, FakeRun, _metric
from hypothesis import given
from hypothesis import strategies as st

from mnatune.reports import korean
from mnatune.reports.findings import evaluation, headline
from mnatune.reports.funnel import funnel
from mnatune.reports.judge_section import judging
from mnatune.reports.metric_table import PAD, WIDTH, row, topics
from mnatune.reports.next_steps import next_steps
from mnatune.reports.side_by_side import BUDGET, AnswerPair, Side, choose, embedded, segments
from mnatune.reports.terminal import summarize
from mnatune.reports.worsened import decline
from mnatune.runs.errors import DataError
from mnatune.runs.workspace import Run, read_jsonl, write_jsonl

FINITE = st.floats(-1e9, 1e9)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (9_864, "9,864"),
        (99_999, "99,999"),
        (1_013_422, "101.3만"),
        (6_850_000, "685만"),
        (2_300_000_000, "23억"),
    ],
)
def test_headlines_round_to_korean_units(value: int, text: str) -> None:
    assert korean.rough(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(2.34, "2.3초"), (59.6, "1분 0초"), (131, "2분 11초"), (4027, "1시간 7분"), (None, "–")]
)
def test_durations(seconds: float | None, text: str) -> None:
    assert korean.duration(seconds) == text


@given(st.integers(0, 10**9), st.integers(1, 10**9))
def test_a_share_is_never_rounded_to_nothing_or_all(part: int, whole: int) -> None:
    part = min(part, whole)
    text = korean.percent(part, whole)
    assert (text == "0.0%") == (part == 0)
    assert (text == "100.0%") == (part == whole)


@given(FINITE, st.integers(0, 3))
def test_a_difference_has_a_sign_unless_it_is_nothing(value: float, digits: int) -> None:
    text = korean.signed(value, digits)
    exact = float(text.replace(",", "").replace("−", "-"))
    assert exact == pytest.approx(value, abs=0.51 * 10**-digits)
    assert text[0] in "+−" if exact else text[0] == "0"


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_what_is_no_number_is_a_dash(value: float | None) -> None:
    assert korean.number(value) == korean.NONE


def test_an_unknown_reason_is_shown_as_it_is() -> None:
    assert korean.reason("brand-new-reason") == "brand-new-reason"
    assert korean.reason("score-at-most-45") == "심사 점수 45점 이하"
    assert korean.reason("larger than 1,024 bytes") == "1,024바이트를 넘음"
    assert korean.reason("longer-than-512-tokens") == "512토큰을 넘음"


@given(
    st.text(max_size=60),
    st.lists(st.tuples(st.integers(0, 70), st.integers(0, 70), st.sampled_from(["citation-valid", "kana", "other"]))),
)
def test_marking_never_changes_an_answer(text: str, marks: list[tuple[int, int, str]]) -> None:
    cut = segments(text, [{"start": a, "end": b, "kind": kind, "note": ""} for a, b, kind in marks])
    assert "".join(segment.text for segment in cut) == text
    assert all(segment.text for segment in cut)


def test_marks_carry_tone_and_note() -> None:
    text = "상법 제999조에 따릅니다."
    first, rest = segments(text, [{"start": 0, "end": 8, "kind": "citation-invalid", "note": "없는 조문"}])
    assert (first.text, first.tone, first.note) == ("상법 제999조", "bad", "존재하지 않는 조문: 없는 조문")
    assert (rest.text, rest.tone) == ("에 따릅니다.", "")


@given(base=FINITE, tuned=FINITE, error=st.none() | st.floats(0, 1e6), unit=st.sampled_from(["percent", "nats"]))
def test_every_dot_and_bar_lies_inside_its_drawing(base: float, tuned: float, error: float | None, unit: str) -> None:
    facts = {"name": "m", "label": "m", "area": "accuracy", "kind": "higher", "unit": unit, "guard": False, "note": ""}
    drawn = row(_metric(**facts, base=base, tuned=tuned, error=error), "")
    for span in (drawn.base, drawn.tuned, drawn.difference):
        places = [span.low_at, span.at, span.high_at] if span.low_at is not None else [span.at]
        assert all(PAD - 0.1 <= place <= WIDTH - PAD + 0.1 for place in places if place is not None)


@pytest.mark.parametrize(
    ("kind", "low", "high", "p", "primary", "expected"),
    [
        ("higher", 1.0, 3.0, 0.01, False, "better"),
        ("lower", 1.0, 3.0, 0.01, False, "worse"),
        ("lower", -3.0, -1.0, 0.01, False, "better"),
        ("higher", -1.0, 3.0, 0.01, False, "same"),
        ("higher", 0.0, 3.0, 0.01, False, "same"),
        ("higher", 1.0, 3.0, 0.20, False, "leaning-better"),
        ("higher", -3.0, -1.0, 0.20, False, "leaning-worse"),
        ("higher", 1.0, 3.0, 0.20, True, "better"),
        ("higher", None, None, 0.01, False, "unknown"),
    ],
)
def test_a_difference_counts_only_if_it_is_shown(
    kind: str, low: float | None, high: float | None, p: float, primary: bool, expected: str
) -> None:
    side = {"value": 50.0, "low": 48.0, "high": 52.0, "n": 40}
    difference = {"value": 2.0, "low": low, "high": high, "n": 40, "p": p / 4, "p_holm": p}
    metric = {"name": "m", "label": "m", "kind": kind, "base": side, "tuned": side, "difference": difference}
    assert row(metric, "m" if primary else "other").judgement == expected


def test_topics_without_the_primary_metric_show_the_next_best() -> None:
    rows = [row(_metric(**facts), "loss") for facts in CONTENT["metrics"]]
    cells = {"chrf": {"base": 20.0, "tuned": 30.0, "n": 4}, "fact_overlap": {"base": None, "tuned": 10.0, "n": 1}}
    table = topics([{"topic": "합병", "n": 4, "metrics": cells}, {"topic": "", "n": 1, "metrics": {}}], rows, "loss")
    assert table is not None
    assert (table.metric, table.others) == ("chrF++", ["사실 일치"])
    assert [(t.topic, t.better, t.others) for t in table.rows] == [("합병", True, [("–", "10.0")])]
    assert topics([], rows, "loss") is None


def test_topics_of_the_exam_alone_come_last() -> None:
    rows = [row(_metric(**facts), "chrf") for facts in CONTENT["metrics"]]
    exam = {"topic": "공시", "n": 9, "metrics": {"exam_letter": {"base": 40.0, "tuned": 50.0, "n": 9}}}
    held_out = {"topic": "합병", "n": 4, "metrics": {"chrf": {"base": 20.0, "tuned": 30.0, "n": 4}}}
    table = topics([exam, held_out], rows, "chrf")
    assert table is not None
    assert [(t.topic, t.base.text, t.better, t.others) for t in table.rows] == [
        ("합병", "20.0", True, [("–", "–")]),
        ("공시", "–", None, [("40.0", "50.0")]),
    ]


def item(name: str, gain: float | None, text: str = "") -> AnswerPair:
    side = Side(segments(text, []), text, "", [])
    return AnswerPair(name, "held_out", "합병", "질문", "참조", side, side, gain)


def test_the_three_examples_are_the_quartiles_whatever_the_order() -> None:
    items = [item(f"{n:03d}", float(n)) for n in range(101)] + [item("none", None)]
    wanted = [chosen.gain for chosen in choose(items)]
    random.Random(3).shuffle(items)
    assert [chosen.gain for chosen in choose(items)] == wanted
    assert wanted == pytest.approx([75, 50, 25], abs=1.5)
    assert choose(items[:2]) != []
    assert choose([]) == []


def test_the_browser_says_how_many_items_it_left_out() -> None:
    items = [item(str(n), 0.0, "가" * 50_000) for n in range(20)]
    rows, left_out = embedded(items)
    assert 0 < len(rows) < 20
    assert len(rows) + left_out == 20
    assert len(rows) * 300_000 <= BUDGET


def test_the_funnel_accounts_for_every_row(whole_run: Run) -> None:
    found = funnel(whole_run)
    assert [step.stage for step in found.steps] == ["read", "curate", "judge", "compose"]
    for step in found.steps:
        assert step.rows_in == step.rows_out + step.dropped + step.unexplained
        assert step.unexplained == 0
    sources = {source.source: source for source in found.sources}
    assert sources["aihub-71748"].rows == {"read": 1_013_422, "curate": 851_785, "judge": 9_605, "compose": 9_502}
    assert ("curate", "near-duplicate", 27) in [(s, x.reason, x.rows) for s, x in sources["mna-qa"].losses]


def test_the_summary_tells_the_whole_run(whole_run: Run) -> None:
    report_path = whole_run.root / "report.html"
    text = summarize(whole_run)
    assert text.count("\n  학습 전  ") == text.count("\n  학습 후  ") == 3
    assert "853,283" in text
    assert "chrF++ *" in text
    assert "판정: 승격 – 학습 후 모델이 더 낫습니다" in text
    assert text.rstrip().endswith(str(report_path) if report_path.exists() else "아직 만들지 않음")


def test_a_summary_is_in_one_language(whole_run: Run) -> None:
    """Without the answers, which are content, English output has no Hangul, and Korean headings no English."""
    head, *_, metrics, verdict, end = summarize(whole_run, "en").split("\n\n")
    assert not re.search("[가-힣]", head + metrics + verdict + end)
    assert "Verdict: PROMOTE" in verdict
    assert "hit@5 75.6 (60.7 ~ 86.2)" in metrics.splitlines()[-1]
    assert "guards too few items: exam_letter" in verdict
    head, *_, metrics, verdict, _ = summarize(whole_run).split("\n\n")
    assert not re.search("[a-z]{3}", (head.split("\n")[0] + metrics.split("\n")[0] + verdict).replace("chrF", ""))


def test_the_summary_of_an_unfinished_run(fake: FakeRun) -> None:
    fake.read(fake.rows(8))
    assert "아직 수행하지 않음" in summarize(fake.run)
    assert "보고서: 아직 만들지 않음" in summarize(fake.run)
    assert "Report: not written yet" in summarize(fake.run, "en")


def test_the_way_to_a_missing_file_can_be_typed_as_it_stands(tmp_path: Path) -> None:
    for stage, section in (("judge", judging), ("evaluate", evaluation)):
        run = Run(tmp_path / stage)
        run.perform(stage, {}, {}, 42, "", lambda place: None)
        with pytest.raises(DataError, match="lacks") as refused:
            section(run)
        assert refused.value.next_step == f"mnatune {stage} RECIPE --out {run.root} --force"


def test_what_is_counted_apart_and_the_judges_control_are_told(tmp_path: Path) -> None:
    found = evaluation(FakeRun(tmp_path).build())
    assert found is not None
    assert found.apart == [
        ("생성한 답에서 글자를 읽지 못한 객관식 문항", 9, 1),
        ("인용한 조문 가운데 지금은 시행되지 않는 것", 2, 0),
        ("적은 사건번호", 12, 10),
        ("그 가운데 법원이 붙일 수 없는 형식", 5, 0),
        ("문맥이 짧아 조문과 함께 묻지 못한 질문", 0, 3),
    ]
    judge = found.judge
    assert judge is not None
    assert judge.agreement == [
        ("두 답변 가운데 나은 쪽", 120, ["0.78 (0.70 ~ 0.85)", "0.61 (0.48 ~ 0.73)", "0.70 (0.58 ~ 0.80)"])
    ]
    assert not any(label == "주의" for label, _ in judge.lines)
    judge.facts["same_family"] = True
    assert any(label == "주의" for label, _ in judge.lines)
    assert found.served == []
    told = {"url": "http://h/v1", "failed": {"http-400": 2, "cut": 1}, "other_sampling": 5}
    found.metrics["counts"]["served"] = {model: {**told, "model": model} for model in ("base", "tuned")}
    assert found.served == ["http://h/v1#base", "http://h/v1#tuned"]
    assert found.apart[-2:] == [("서버가 답하지 못한 질문", 3, 3), ("서버가 받지 않아 다른 표집 값으로 얻은 답", 5, 5)]
    found.metrics["counts"] = {}
    assert (found.apart, found.judge) == ([], None)


def test_the_gravest_new_faults_come_first_with_what_is_right(whole_run: Run) -> None:
    found = decline(whole_run)
    assert [one.severity for one in found.examples] == sorted((one.severity for one in found.examples), reverse=True)
    assert len(found.examples) <= 10
    first = found.examples[0]
    assert first.faults[0].startswith("지어낸 조문: ‘상법 제999조’ – 그런 조문이 없음")
    assert any(segment.tone == "bad" and segment.text == "상법 제999조" for segment in first.answer)
    assert first.right.startswith("참조 답변")
    counts = {one.label: (one.base, one.tuned) for one in found.counts}
    assert counts["지어낸 조문"] == (20, 4)
    assert counts["거짓 전제를 받아들임"] == (1, 0)


def test_a_fault_that_the_base_had_too_is_no_decline(tmp_path: Path) -> None:
    run = FakeRun(tmp_path).build()
    file = run.folder("evaluate") / "answers.jsonl"
    rows = read_jsonl(file)
    write_jsonl(
        file,
        [
            {**r, "base": r["tuned"], "base_stopped": True, "marks": {**r["marks"], "base": r["marks"]["tuned"]}}
            for r in rows
        ],
    )
    assert decline(run).examples == []


def test_next_steps_name_commands_that_can_be_typed(whole_run: Run) -> None:
    found = evaluation(whole_run)
    assert found is not None
    steps = next_steps(whole_run, found)
    commands = [shlex.split(step.command) for step in steps if step.command]
    assert all(command[0] == "mnatune" for command in commands)
    assert any("약 2,900문항" in step.sentence for step in steps)
    assert next(c for c in commands if "--force" in c)[-2:] == ["--set", "evaluate.items=548"]
    found.verdict["guards"] = [{"name": "false_citations", "label": "지어낸 조문 인용", "state": "failed"}]
    assert "지어낸 조문 인용" in next_steps(whole_run, found)[1].sentence


def test_an_unusable_model_is_called_so(whole_run: Run) -> None:
    found = evaluation(whole_run)
    assert found is not None
    found.verdict["usable"] = {"met": False, "reasons": ["객관식 25.0% (쓸 수 있으려면 40.0% 이상)"]}
    told = headline(whole_run, found)
    assert told.sentence == "학습은 되었으나 법률 답변으로는 쓸 수 없습니다."
    assert "40.0% 이상" in told.reasons[0]
    found.metrics["metrics"] = []
    assert headline(whole_run, found).sentence.startswith("학습 후 모델은")


def test_every_metric_has_a_meaning_for_readers() -> None:
    from mnatune.stages.evaluate.metrics import METRICS

    assert {metric.name for metric in METRICS if metric.guard} - {"think_leak", "empty"} <= korean.wording()[
        "glossary"
    ].keys()
    assert "domain" in korean.wording()["glossary"]
