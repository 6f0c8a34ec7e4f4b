"""Every reason for which a row is dropped, and what is counted."""

import pickle
import random

import pytest
from korean import row

from mnatune.pack import Pack
from mnatune.runs.errors import DataError
from mnatune.runs.recipe import bundled
from mnatune.runs.workspace import read_jsonl
from mnatune.stages.curate.clean import Cleaner
from mnatune.stages.curate.rules import Drops, Rules

GOOD = "합병은 둘 이상의 회사가 계약으로 하나의 회사가 되는 것으로, 소멸회사의 권리와 의무가 포괄적으로 승계됩니다."
ASK = "합병이란 무엇인지 설명해 주세요."


def one(**change):
    return {"question": ASK, "answer": GOOD, **change}


FAULTS = {
    "empty": one(answer=" \u200b \n"),
    "echo": one(question="합병은 무엇을 말하는 것인가요? ", answer=" 합병은 무엇을 말하는 것인가요?"),
    "category": one(topic="종교"),
    "short-question": one(question="합병?"),
    "short-answer": one(answer="회사의 결합"),
    "long-question": one(question="합병 " * 800),
    "long-answer": one(answer=" ".join(f"{chr(0xAC00 + n)}{chr(0xB000 + n)} 회사는" for n in range(1500))),
    "broken-text": one(answer=GOOD + "\ufffd\ufffd\ufffd"),
    "not-korean": one(answer="A merger is a statutory combination of two or more companies. 합병."),
    "figures": one(answer="1,234 5,678 91,011 = 12 + 13 × 14 ÷ 15; 16.17.18 - 19 합계 (20)"),
    "phrase": one(answer=GOOD + " 저는 AI 언어 모델입니다."),
    "repeated-lines": one(answer="합병의 뜻과 절차\n" * 3 + "분할의 뜻과 절차\n" + "합병의 뜻과 절차"),
    "loop": one(answer="합병을 하면 회사가 하나로 됩니다. " * 8),
}


@pytest.mark.parametrize("reason", FAULTS)
def test_each_reason(reason, curating):
    fine = {
        "question": "분할이란 무엇인지 설명해 주세요.",
        "answer": GOOD.replace("합병", "분할") + " 분할에는 인적분할과 물적분할이 있습니다.",
    }
    out = curating([FAULTS[reason], fine])
    assert [r["drop_reason"] for r in out.dropped] == [reason]
    assert [r["question"] for r in out.rows] == [fine["question"]]
    assert out.manifest.dropped == {reason: 1}
    assert out.manifest.rows_in == 2
    assert out.manifest.rows_out == 1


def test_near_echo(curating):
    long = "합병계약서의 승인에 관한 주주총회의 특별결의를 거치지 아니하고 이루어진 합병은 그 효력이 인정되지 아니한다고 볼 것인지"
    out = curating([one(question=long + "?", answer=long + ".")])
    assert out.manifest.dropped == {"near-echo": 1}


def test_calculations_do_not_count_as_loops():
    rules = Rules(Drops(max_repeated_ngram_ratio=0.25))
    text = "총수는 7,000,000주 + 3,000,000주 = 10,000,000주이고 기준은 6,000,000주 × 2/3 = 4,000,000주와 3,333,334주입니다."
    assert rules.reasons([ASK], [text], [""]) == [""]


def test_counts_per_source_and_funnel(curating):
    dice = random.Random(1)
    rows = [row(dice, 1) for _ in range(20)]
    out = curating([*rows, FAULTS["echo"], FAULTS["category"], FAULTS["phrase"]], [rows[0], FAULTS["loop"]])
    manifest = out.manifest
    assert manifest.rows_in == 25
    assert manifest.rows_out == len(out.rows) == 20
    assert manifest.dropped == {"echo": 1, "category": 1, "phrase": 1, "loop": 1, "duplicate": 1}
    assert manifest.per_source["source0"] == {
        "rows": 23, "rows_out": 20, "dropped": {"echo": 1, "category": 1, "phrase": 1}, "split/none": 20,
    }  # fmt: skip
    assert manifest.per_source["source1"]["dropped"] == {"loop": 1, "duplicate": 1}
    steps = manifest.facts["funnel"]["none"]
    assert [s["rows"] for s in steps] == [25, 25, 24, 23, 22, 21, 20]
    assert [s["step"] for s in steps] == ["read", "empty", "echo", "category", "loop", "phrase", "duplicate"]


def test_text_is_tidied_and_ids_follow(curating):
    import unicodedata

    from mnatune.runs.records import content_id

    messy = one(
        question=unicodedata.normalize("NFD", ASK) + "\u200b",
        answer="\ufeff" + GOOD.replace(" ", "\u3000 ") + "\r\n\r\n\r\n\r\n끝입니다.",
    )
    (kept,) = curating([messy]).rows
    assert (kept["question"], kept["answer"]) == (ASK, GOOD + "\n\n끝입니다.")
    assert kept["id"] == kept["group"] == kept["cluster"] == content_id(ASK, GOOD + "\n\n끝입니다.")


def test_exam_items_are_kept_out_of_training(curating):
    pack = Pack(bundled("packs") / "mna_ko")
    items = [
        item for form in ("choice", "essay", "false_premise") for item in read_jsonl(pack.path(f"exam/{form}.jsonl"))
    ]
    leaks = [{"question": item["question"], "answer": GOOD} for item in items[::9]]
    leaks.append({"question": "다음 글을 보고 답하세요.", "answer": f"문제: {items[0]['question']} 해설: {GOOD}"})
    out = curating([*leaks, one()], near_duplicates=0)
    assert set(out.reasons().values()) == {"exam-overlap"}
    assert [r["question"] for r in out.rows] == [ASK]


def test_processes_give_what_one_process_gives(curating, monkeypatch):
    dice = random.Random(2)
    sources = [[row(dice) for _ in range(40)] for _ in range(3)]
    first = curating(*sources).manifest
    monkeypatch.setattr("mnatune.stages.curate.SMALL", 0)
    monkeypatch.setattr("mnatune.stages.curate.cores", lambda: 2)
    second = curating(*sources).manifest
    assert (first.outputs, first.dropped, first.facts) == (second.outputs, second.dropped, second.facts)


def test_no_row_at_all(curating):
    out = curating([FAULTS["phrase"]])
    assert not out.rows
    assert out.manifest.rows_out == 0


def test_a_wrong_drop_list_is_a_clear_error(tmp_path):
    (tmp_path / "drops.yaml").write_text("min_answer_char: 3\n")
    with pytest.raises(DataError, match="min_answer_char"):
        Drops.of(Pack(tmp_path))


def test_a_cleaner_never_gets_the_rules_of_another_and_equal_ones_share_theirs():
    found = [Cleaner(Drops(min_answer_chars=least), None, []).ready() for least in range(1, 30)]  # each freed at once
    assert [rules.reasons([ASK], ["가" * 10], [""]) for rules, _, _ in found[:9]] == [
        rules.reasons([ASK], ["가" * 10], [""]) for rules in (Rules(Drops(min_answer_chars=n)) for n in range(1, 10))
    ]
    assert len({id(ready) for ready in found}) == len(found)
    cleaner = Cleaner(Drops(), {}, ["합병이란?"])
    assert pickle.loads(pickle.dumps(cleaner)).ready() is cleaner.ready()  # as a worker gets it with every task
