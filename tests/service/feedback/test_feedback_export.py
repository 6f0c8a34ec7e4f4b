"""The export: which feedback becomes which row, every guard, traceability, and equal bytes on both databases."""

import json
import re
from dataclasses import dataclass

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from made_feedback import generation, mask

from mnatune.runs.errors import UsageError
from mnatune.service.feedback.datasets import Known, Options, export
from mnatune.service.feedback.filters import near_copies
from mnatune.service.feedback.sink import BlindPair, Edit, PairChoice, Rating
from mnatune.service.feedback.store import FeedbackStore
from mnatune.text.shingles import facts_of, resemblance

SYSTEM = "전문가"
QUESTIONS = [
    "흡수합병에서 소멸회사의 주주는 언제까지 반대의사를 통지해야 합니까?",
    "영업양수도 계약에서 진술 및 보장 조항은 어떤 역할을 합니까?",
    "상장회사의 주요사항보고서는 어떤 경우에 제출합니까?",
    "기업결합 신고의 대상이 되는 회사 규모를 설명해 주십시오.",
    "분할합병과 물적분할의 차이를 알려 주십시오.",
    "주식매수선택권을 부여할 때 필요한 절차는 무엇입니까?",
    "우호적 인수와 적대적 인수를 구분하는 기준이 있습니까?",
    "자산 실사에서 우발채무를 확인하는 방법이 궁금합니다.",
]


class Citations:
    """Knows one false article."""

    def find(self, text):
        @dataclass
        class Found:
            verdict: str

        return [Found("invalid" if n == "999" else "valid") for n in re.findall(r"제(\d+)조", text)]


KNOWN = Known(SYSTEM, Citations(), exam=["공개매수 기간은 며칠 이상 며칠 이내로 정해야 합니까?"])


@pytest.fixture
def store():
    """In memory: that both databases give the same bytes is a test of its own."""
    store = FeedbackStore("sqlite://", mask)
    yield store
    store.close()


def served(store, n, answer="원래 답변입니다.", **more):
    question = more.pop("question", QUESTIONS[n % len(QUESTIONS)])
    rater = more.pop("rater", "key:a")
    messages = more.pop("messages", [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}])
    store.save_generation(generation(n, rater, messages=messages, answer=answer, **more))
    return f"gen-{n}"


def edited(store, n, text, *, approve=True, created=0.0, **more):
    name = served(store, n, **more)
    store.edit(Edit(name, more.get("rater", "key:a"), text, created=created or 1000.0 + n))
    if approve:
        approve_all(store)


def approve_all(store):
    for item in store.review_queue(limit=500).items:
        store.review(item.id, "admin", "approved")


def paired(store, n, choice, left="왼쪽 답입니다.", right="오른쪽 답입니다.", **more):
    a, b = served(store, n, left, **more), served(store, n + 1, right, question=QUESTIONS[n % len(QUESTIONS)], **more)
    store.save_pair(BlindPair(f"p{n}", "key:a", a, b, 0.0))
    store.choose(PairChoice(f"p{n}", "key:a", choice, created=1000.0 + n))


def lines(folder, name):
    return [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]


def everything(store):
    """A little of every kind of feedback, good and bad."""
    edited(store, 0, "고친 답변입니다.", consent=False)
    edited(store, 1, "진술 및 보장은 위험을 나눕니다.")
    served(store, 2, "좋은 답")
    store.rate(Rating("gen-2", "key:a", 1, created=1002.0))
    served(store, 3, "나쁜 답")
    store.rate(Rating("gen-3", "key:a", -1, ("wrong_fact",), created=1003.0))
    paired(store, 10, "left")
    paired(store, 12, "both_bad")
    paired(store, 14, "tie")
    approve_all(store)
    served(store, 20)
    store.rate(Rating("gen-20", "key:a", 1, created=1020.0))


def test_sqlite_and_postgresql_give_the_same_bytes(tmp_path, postgres_url):
    found = []
    for name, url in (("one", str(tmp_path / "f.db")), ("two", postgres_url)):
        store = FeedbackStore(url, mask)
        everything(store)
        result = export(store, tmp_path / name, KNOWN)
        assert export(store, tmp_path / name, KNOWN).id == result.id  # again, over itself
        found.append({p.name: p.read_bytes() for p in sorted((tmp_path / name).iterdir())})
        store.close()
    assert found[0] == found[1]
    assert len(found[0]) == 7


def test_which_feedback_becomes_which_row(tmp_path, store):
    everything(store)
    result = export(store, tmp_path / "out", KNOWN)
    (sft,) = lines(tmp_path / "out", "train.jsonl")
    assert [m["role"] for m in sft["messages"]] == ["system", "user", "assistant"]
    assert sft["messages"][-1]["content"] == "진술 및 보장은 위험을 나눕니다."
    rows = lines(tmp_path / "out", "preferences.jsonl")
    pairs = {(row["chosen"][0]["content"], row["rejected"][0]["content"]) for row in rows}
    assert pairs == {("진술 및 보장은 위험을 나눕니다.", "원래 답변입니다."), ("왼쪽 답입니다.", "오른쪽 답입니다.")}
    labels = {(u["completion"][0]["content"], u["label"]) for u in lines(tmp_path / "out", "unpaired.jsonl")}
    assert labels == {("좋은 답", True), ("나쁜 답", False), ("왼쪽 답입니다.", False), ("오른쪽 답입니다.", False)}
    assert result.dropped == {"no-consent": 1, "not-reviewed": 1, "tie": 1}


def test_every_row_and_every_drop_names_its_feedback(tmp_path, store):
    everything(store)
    result = export(store, tmp_path / "out", KNOWN)
    items, dropped = lines(tmp_path / "out", "items.jsonl"), lines(tmp_path / "out", "dropped.jsonl")
    rows = {r["id"] for name in ("train", "preferences", "unpaired") for r in lines(tmp_path / "out", f"{name}.jsonl")}
    assert {i["row"] for i in items} == rows
    said = {i.id for state in ("open", "approved") for i in store.review_queue(state, 500).items}
    assert {i["feedback"] for i in items} | {d["feedback"] for d in dropped} == said
    assert store.exports_with("key:a") == [result.id]
    store.delete_user("key:a")
    assert sum(export(store, tmp_path / "later", KNOWN).rows.values()) == 0


def test_unreviewed_thumbs_and_picks_only_when_asked_and_edits_never(tmp_path, store):
    served(store, 1)
    store.rate(Rating("gen-1", "key:a", 1))
    edited(store, 2, "고친 답", approve=False)
    assert export(store, tmp_path / "a", KNOWN).dropped == {"not-reviewed": 2}
    result = export(store, tmp_path / "b", KNOWN, Options(unreviewed=True))
    assert (result.rows["unpaired.jsonl"], result.rows["train.jsonl"]) == (1, 0)


@pytest.mark.parametrize(
    ("text", "more", "reason"),
    [
        ("원래 답변입니다.", {}, "unchanged-edit"),
        ("상법 제999조에 따릅니다.", {}, "invalid-citation"),
        ("고친 답", {"finish_reason": "cancelled"}, "cancelled"),
        ("고친 답", {"messages": [{"role": "user", "content": "질문"}]}, "other-system-prompt"),
        ("공개매수 기간은 며칠 이상 며칠 이내로 정해야 합니까? 20일입니다.", {}, "exam-item"),
    ],
)  # fmt: skip
def test_what_may_not_be_learned(tmp_path, store, text, more, reason):
    edited(store, 1, text, **more)
    result = export(store, tmp_path / "out", KNOWN)
    assert result.rows["train.jsonl"] == result.rows["preferences.jsonl"] == 0
    assert set(result.dropped) == {reason}


def test_held_out_questions_are_not_trained_on(tmp_path, store):
    edited(store, 1, "고친 답")
    edited(store, 2, "다른 답")
    known = Known(SYSTEM, Citations(), held_out=[QUESTIONS[1]])
    result = export(store, tmp_path / "out", known)
    assert result.rows["train.jsonl"] == 1
    assert result.dropped == {"held-out-item": 2}


def test_a_held_out_question_of_a_few_letters_is_found_too(tmp_path, store):
    edited(store, 1, "고친 답", question="Q. 실사란?")
    edited(store, 2, "다른 답", question="합병이란?")
    result = export(store, tmp_path / "out", Known(SYSTEM, Citations(), held_out=["실사란"]))
    assert result.rows["train.jsonl"] == 1
    assert result.dropped == {"held-out-item": 2}


def test_a_thumb_up_for_a_cut_answer_or_a_false_article_is_refused(tmp_path, store):
    served(store, 1, "상법 제999조입니다.")
    served(store, 2, "끝나지 않은", finish_reason="length")
    served(store, 3, "상법 제999조이고 끝나지 않은", finish_reason="length")
    served(store, 4, " ")
    for n, thumb in ((1, 1), (2, 1), (3, -1), (4, 1)):
        store.rate(Rating(f"gen-{n}", "key:a", thumb))
    approve_all(store)
    result = export(store, tmp_path / "out", KNOWN)
    assert result.dropped == {"invalid-citation": 1, "unfinished": 1, "empty-answer": 1}
    assert [u["label"] for u in lines(tmp_path / "out", "unpaired.jsonl")] == [False]


def test_contradictions_cancel_each_other(tmp_path, store):
    served(store, 1, "같은 답")
    served(store, 2, "같은 답", question=QUESTIONS[1], rater="key:b")
    store.rate(Rating("gen-1", "key:a", 1))
    store.rate(Rating("gen-2", "key:b", -1))
    paired(store, 10, "left", "가 답변", "나 답변")
    paired(store, 18, "left", "나 답변", "가 답변")  # the same question
    approve_all(store)
    result = export(store, tmp_path / "out", KNOWN)
    assert result.dropped == {"contradictory": 4}


def test_of_several_corrections_of_one_question_the_newest_counts(tmp_path, store):
    edited(store, 1, "첫째 답", created=10.0)
    edited(store, 2, "둘째 답", created=30.0, question=QUESTIONS[1].replace("계약에서", "계약에서는"), rater="key:b")
    edited(store, 3, "셋째 답", created=20.0, question=QUESTIONS[1] + " 3년 기준입니다.")  # another number
    result = export(store, tmp_path / "out", KNOWN)
    assert {r["messages"][-1]["content"] for r in lines(tmp_path / "out", "train.jsonl")} == {"둘째 답", "셋째 답"}
    assert result.dropped["duplicate"] == 1


def test_one_rater_cannot_make_the_model(tmp_path, store):
    for n in range(6):
        edited(store, n, f"{QUESTIONS[n]} 답은 이렇습니다.", rater="key:loud")
    edited(store, 6, "조용한 사람의 답", rater="key:quiet")
    result = export(store, tmp_path / "out", KNOWN, Options(per_rater=2))
    texts = [r["messages"][-1]["content"] for r in lines(tmp_path / "out", "train.jsonl")]
    assert len(texts) == 3
    assert "조용한 사람의 답" in texts
    assert result.dropped["rater-cap"] == 8  # four of SFT, four of DPO


def test_a_dialogue_of_several_turns_trains_its_last_turn_alone(tmp_path, store):
    turns = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": "합병이란 무엇입니까? /no_think"},
        {"role": "assistant", "content": "검토되지 않은 답"},
        {"role": "user", "content": "그렇다면 분할은 무엇입니까? /no_think"},
    ]
    edited(store, 1, "고친 답", messages=turns)
    export(store, tmp_path / "out", KNOWN)
    (row,) = lines(tmp_path / "out", "train.jsonl")
    assert row["loss"] == "last"
    assert len(row["messages"]) == 5
    assert "/no_think" not in json.dumps(row)
    assert lines(tmp_path / "out", "qa.jsonl") == []


def test_a_foreign_folder_is_never_overwritten(tmp_path, store):
    (tmp_path / "notes.txt").write_text("wichtig")
    with pytest.raises(UsageError, match="not empty"):
        export(store, tmp_path, KNOWN)


WORDS = st.sampled_from(["합병", "분할", "상법", "주주", "이사회", "계약", "공시", "3일", "5일", "않는다"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(WORDS, min_size=1, max_size=8).map(" ".join), max_size=8))
@example(["합병 합병 상법 분할 합병", "합병 상법 분할 합병 합병 분할"])  # five shingles, four of them shared
def test_near_copies_are_those_of_the_definition(texts):
    copies = near_copies(texts, 0.8)
    kept = []
    for at, text in enumerate(texts):
        alike = any(facts_of(t) == facts_of(text) and resemblance(t, text) >= 0.8 for t in kept)
        assert (at in copies) == alike
        if not alike:
            kept.append(text)
