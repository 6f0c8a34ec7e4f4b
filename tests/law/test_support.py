"""Whether a sentence can rest on the articles that it cites, and the day that a question is about."""

import random

import pytest

from mnatune.law import LawIndex
from mnatune.law.article_numbers import written
from mnatune.law.fact_date import fact_date
from mnatune.law.support import check_citations
from mnatune.runs.errors import DataError
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
        ("합병에 반대하는 주주의 주식매수청구는 상법 제389조에 따릅니다.", ("valid", "unsupported", "unsupported")),
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


def test_right_citations_stay_untouched_and_wrong_articles_of_the_same_law_are_told_apart(memory, pack):
    """At least 95 of 100 right citations pass, and 85 of 100 wrong ones do not (bench/evidence.py)."""
    rows = read_jsonl(pack.root / "qa.jsonl")
    hidden, rng, right, wrong = [row["question"] for row in rows], random.Random(1), [], []
    for row in rows[::8]:
        text = row["answer"]
        told = check_citations(memory, text, day=memory.as_of, question=row["question"], hidden=hidden)
        right += [not one.fault for one in told if one.verdict == "valid"]
        if len(told) == 1 and told[0].support == "supported":
            (one,) = told
            others = [
                n for n, article in memory.statutes.laws[one.law].items() if not article.last and n != one.article
            ]
            swapped = f"{text[: one.start]}{one.law} {written(rng.choice(others))}{text[one.end :]}"
            again = check_citations(memory, swapped, day=memory.as_of, question=row["question"], hidden=hidden)
            wrong += [bool(again[0].fault)] if again[0].support != "unchecked" else []
    assert (len(right) > 150, len(wrong) > 25) == (True, True)
    assert sum(right) >= 0.95 * len(right)
    assert sum(wrong) >= 0.85 * len(wrong)


def test_a_damaged_search_leaves_the_check_of_existence(pack):
    class Damaged(LawIndex):
        def fit(self, *_):
            raise DataError("the search index is damaged")

    text = "합병은 상법 제999조에 따라 승인합니다. 합병에 반대하는 주주는 상법 제522조의3에 따라 청구합니다."
    told = [(verdict, support, fault) for _, verdict, support, fault in checked(Damaged.open(pack.root), text)]
    assert told == [("invalid", "unchecked", "missing"), ("valid", "unchecked", "")]


def test_a_question_of_the_pack_can_be_hidden_from_the_check(memory, pack):
    question = read_jsonl(pack.root / "qa.jsonl")[0]["question"]
    other = [memory.article("상법", "530의2")]  # what the pack's own answer cites fits the question better
    known, unknown = (memory.fit(question, other, memory.as_of, hidden) for hidden in ([], [question]))
    assert 0 < known < unknown


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
