"""Whether a sentence can rest on the articles that it cites, and the day that a question is about."""

import pytest

from mnatune.law import LawIndex
from mnatune.law.fact_date import fact_date
from mnatune.law.support import check_citations
from mnatune.runs.workspace import read_jsonl


@pytest.fixture(scope="module")
def memory(pack):
    return LawIndex.open(pack.root)


def checked(memory, text, day="2026-06-02", **more):
    return [(one.text, one.verdict, one.support, one.fault) for one in check_citations(memory, text, day=day, **more)]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("합병에 반대하는 주주는 상법 제522조의3에 따라 20일 이내에 청구합니다.", ("valid", "supported", "")),
        ("합병에 반대하는 주주는 상법 제522조의3에 따라 3개월 이내에 청구합니다.", ("valid", "unsupported", "unsupported")),
        ("부가가치세의 과세표준과 환급세액을 상법 제522조의3이 정합니다.", ("valid", "unsupported", "unsupported")),
        ("상법 제999조가 정합니다.", ("invalid", "unchecked", "missing")),
        ("상법 제522조의3 제9항이 정합니다.", ("invalid", "unchecked", "missing")),
        ("근로기준법 제23조가 정합니다.", ("unresolved", "unchecked", "")),
    ],
)  # fmt: skip
def test_a_citation_is_judged_with_its_sentence(memory, text, wanted):
    ((_, *found),) = checked(memory, text)
    assert tuple(found) == wanted


def test_the_day_decides_and_an_old_law_may_be_cited_as_such(memory):
    law, number, article = next(
        (name, number, article)
        for name, articles in memory.statutes.laws.items()
        for number, article in articles.items()
        if "2005" < article.last < "2025" and "의" not in number and article.first < "2004"
    )
    text = f"{law} 제{number}조에 따릅니다."
    assert checked(memory, text)[0][3] == "not_in_force"
    assert checked(memory, text, day=article.last)[0][3] == ""
    assert checked(memory, f"구 {text}")[0][3] == ""


def test_values_of_the_question_count_as_said(memory):
    text = "반대주주가 3개월 뒤에 한 매수청구는 상법 제522조의3에 맞지 않습니다."
    assert checked(memory, text)[0][3] == "unsupported"
    assert checked(memory, text, question="반대주주가 3개월 뒤에 청구하면?")[0][3] == ""


def test_only_what_ends_behind_the_start_is_judged_with_the_law_before_it(memory):
    text = "상법 제522조에 따릅니다. 같은 법 제999조도 같습니다."
    ((cited, verdict, *_),) = checked(memory, text, start=text.index(" 같은"))
    assert (cited, verdict) == ("같은 법 제999조", "invalid")


def test_right_citations_of_the_pack_stay_untouched(memory, pack):
    """The pack's own answers cite correctly: at least 95 in 100 must pass (97.3 of 1,282 did when this was written)."""
    faults = [
        one.fault
        for row in read_jsonl(pack.root / "qa.jsonl")[::6]
        for one in check_citations(memory, row["answer"], day=memory.today, question=row["question"])
        if one.verdict == "valid"
    ]
    assert len(faults) > 150
    assert sum(not fault for fault in faults) >= 0.95 * len(faults)


@pytest.mark.parametrize(
    ("question", "day", "words"),
    [
        ("2019년에 체결한 계약의 해제는?", "2019-12-31", "2019년"),
        ("2023-05-01 현재의 요건은?", "2023-05-01", "2023-05-01"),
        ("2019년 2월 당시의 요건은?", "2019-02-28", "2019년 2월"),
        ("2019년에 체결하고 2021. 3. 5. 기준으로 해제하면?", "2021-03-05", "2021. 3. 5."),
        ("2026년에 체결한 계약은?", "2026-11-29", "2026년"),
    ],
)
def test_the_fact_date_of_a_question(question, day, words):
    found = fact_date(question, "2026-11-29")
    assert (found.day, found.words) == (day, words)


@pytest.mark.parametrize(
    "question",
    ["3년 안에 해제할 수 있나요?", "2023-02-31 현재는?", "대법원 2011. 8. 25. 선고 판결은?", "2030년까지 유효한가요?",
     "2020. 12. 29. 개정된 조문은?", "제2019조는?", ""],
)  # fmt: skip
def test_no_fact_date(question):
    assert fact_date(question, "2026-11-29") is None
