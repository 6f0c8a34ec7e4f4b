"""Near-duplicates: found when only the wording differs, never merged when a number or a negation does."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from korean import edited, row

from mnatune.stages.curate.near import Components, sign
from mnatune.stages.curate.unique import _connect_here
from mnatune.text.shingles import facts_of, resemblance


def test_planted_near_duplicates_are_found(curating):
    dice = random.Random(5)
    rows = [row(dice, dice.randint(2, 4)) for _ in range(1500)]
    twins = [edited(dice, original) for original in rows[:300]]
    alike = [
        resemblance("\n".join(a.values()), "\n".join(b.values())) >= 0.8 for a, b in zip(rows, twins, strict=False)
    ]
    out = curating(rows + twins)
    near = [r for r in out.dropped if r["drop_reason"] == "near-duplicate"]
    assert sum(alike) > 200
    assert len(near) >= 0.95 * sum(alike)
    questions = {r["question"] for r in rows[300:]}
    assert questions <= {r["question"] for r in out.rows}, "a row without a twin was lost"


def test_rows_that_differ_in_one_number_are_never_merged(curating):
    """The template rows of faults and fees: the whole text is the same but for one number."""
    text = "{}년 결산 기준으로 이 회사의 순자산은 {}억 원이며, 합병비율은 외부평가기관의 평가를 거쳐 정하였고 주주총회의 승인을 받았다."
    rows = [
        {"question": f"{n}년 합병비율은 어떻게 정하였나요?", "answer": text.format(n, 77)} for n in range(1000, 2000)
    ]
    rows += [{"question": "합병비율은 어떻게 정하였나요?", "answer": text.format(2020, n)} for n in range(2000, 3000)]
    out = curating(rows)
    assert len(out.rows) == 2000
    assert not out.dropped
    assert len(set(out.clusters.values())) <= 2, "template rows belong to one cluster, for the split"
    assert len(out.clusters) == 2000
    assert {r["cluster"] for r in out.rows} == set(out.clusters.values())


SAME = (
    "주주총회의 특별결의로 승인을 받아야 하며 반대주주에게는 주식매수청구권이 인정된다는 것이 판례의 태도이다. "
    "합병계약서에는 존속회사와 소멸회사의 상호와 본점의 소재지를 적고, 이사회가 먼저 이를 의결한다. "
    "채권자는 공고된 기간에 이의를 제출하며 회사는 변제하거나 담보를 내놓아 그 이익을 지킨다. "
)


@pytest.mark.parametrize(
    ("one", "other"),
    [("5억 원이다.", "5만 원이다."), ("30일 이내이다.", "20일 이내이다."), ("할 수 있다.", "할 수 없다."), ("1.5배이다.", "15배이다."), ("３개월이다.", "４개월이다.")],
)  # fmt: skip
def test_other_facts_are_not_merged(one, other, curating):
    rows = [{"question": "합병 절차를 설명해 주세요.", "answer": SAME + end} for end in (one, other)]
    out = curating(rows)
    assert len(out.rows) == 2
    assert len(set(out.clusters.values())) == 1


def test_the_longest_then_the_best_licensed_stays(curating):
    text = SAME + "이는 상법의 규정이다."
    question = "합병 절차를 설명해 주세요."
    first = [{"question": question, "answer": text}, {"question": question, "answer": text + " 이상입니다."}]
    out = curating(first)
    assert [r["answer"] for r in out.rows] == [text + " 이상입니다."]
    assert out.reasons() == {question: "near-duplicate"}
    same = [{"question": question, "answer": text}]
    assert [r["source"]["archive"] for r in curating(same, same).rows] == ["source0.jsonl"]
    licensed = curating(same, same, licences=("모름", "CC0 1.0"))
    assert [r["source"]["licence"] for r in licensed.rows] == ["CC0 1.0"]
    near = [{"question": question, "answer": text.replace("이는", "이가")}]
    assert [r["source"]["licence"] for r in curating(near, same, licences=("AI Hub", "CC BY 4.0")).rows] == [
        "CC BY 4.0"
    ]


@pytest.mark.parametrize("length", [60, 76, 82, 100])
def test_short_texts_and_those_about_the_boundary(length, curating):
    base = "합병반대주주의주식매수청구권은주주총회전에서면으로반대의사를통지한주주가결의일부터일정한기간안에행사하는권리이며회사는이를매수하여야한다그가액은협의로정한다그밖의절차는법원의결정에따른다"
    rows = [{"question": "매수청구권이란?", "answer": base[: length - 8] + end} for end in ("하며", "하여", "한다")]
    out = curating(rows)
    assert len(out.rows) == 1, [resemblance(a["answer"], b["answer"]) for a in rows for b in rows]


def test_unrelated_short_rows_stay(curating):
    dice = random.Random(3)
    out = curating(
        [
            {
                "question": f"{''.join(dice.sample('가나다라마바사아자차', 6))}란?",
                "answer": row(dice, 1, numbers=False)["answer"][:50],
            }
            for _ in range(200)
        ]
    )
    assert not any(r["drop_reason"] == "near-duplicate" for r in out.dropped)


def test_the_search_can_be_switched_off(curating):
    rows = [{"question": "합병 절차를 설명해 주세요.", "answer": SAME + end} for end in ("끝.", "끝이다.")]
    out = curating(rows, near_duplicates=0)
    assert len(out.rows) == 2
    assert not out.clusters


def test_same_files_from_the_same_rows(curating):
    dice = random.Random(9)
    rows = [row(dice) for _ in range(120)]
    rows += [edited(dice, original) for original in rows[:60]]
    first = curating(rows).manifest.outputs
    assert curating(rows).manifest.outputs == first


def test_the_expressions_for_a_cluster_find_the_same(tmp_path):
    """The pairs, components and merges of `cluster`, run by Daft here, equal those of `near`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from mnatune.stages.curate.cluster import connect_in_daft
    from mnatune.stages.curate.result import DUPLICATE, Fate

    dice = random.Random(11)
    rows = [row(dice, dice.randint(1, 4), numbers=dice.random() < 0.5) for _ in range(150)]
    rows += [edited(dice, dice.choice(rows)) for _ in range(80)]
    rows += [{"question": "비율은?", "answer": SAME + f"비율은 {n}이다."} for n in range(40)]
    dice.shuffle(rows)
    files = []
    for shard in range(2):
        part = rows[shard::2]
        table = pa.table(
            {
                "row": [(shard << 32) + n for n in range(len(part))],
                "history": pa.array([[]] * len(part), pa.list_(pa.string())),
                "question": [r["question"] for r in part],
                "answer": [r["answer"] for r in part],
            }
        )
        files.append(tmp_path / f"{shard}.parquet")
        pq.write_table(table, files[-1])
    fate = Fate([len(rows[0::2]), len(rows[1::2])])
    fate.status[[3, 40]] = DUPLICATE
    here = _connect_here(files, 0.8, fate)
    there = connect_in_daft(files, 0.8, fate.rows(fate.status == DUPLICATE))
    assert [c.groups() for c in here] == [c.groups() for c in there]
    assert len(here[1].groups()) > 40


def test_every_row_is_signed_once_or_twice(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    answers = ["", "가", "나" * 79, "다" * 80, "라" * 103, "마" * 104, "바 " * 300]
    folder = tmp_path / "[최종] {a,b} *?\\"  # Daft takes paths for patterns
    folder.mkdir()
    history = pa.array([[]] * 7, pa.list_(pa.string()))
    columns = {"row": range(7), "history": history, "question": [""] * 7, "answer": answers}
    pq.write_table(pa.table(columns), folder / "x.parquet")
    long, short = sign([folder / "x.parquet"])
    assert long.rows.tolist() == [3, 4, 5, 6]
    assert short.rows.tolist() == [0, 1, 2, 3, 4]
    assert long.values.shape == (4, 100)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=60))
def test_components(edges):
    found = Components()
    for one, other in edges:
        found.join(one, other)
    groups = found.groups()
    reach = {n: {n} for n in range(31)}
    for _ in range(31):
        for one, other in edges:
            reach[one] |= reach[other]
            reach[other] |= reach[one]
    assert {frozenset(rows) for rows in groups.values()} == {frozenset(r) for r in reach.values() if len(r) > 1}
    assert all(root == min(rows) for root, rows in groups.items())


@settings(max_examples=60)
@given(st.text("가나다 0123년억.,없다", max_size=60), st.text("가나다 0123년억.,없다", max_size=60))
def test_resemblance(one, other):
    assert resemblance(one, other) == resemblance(other, one)
    assert resemblance(one, one.replace(" ", "  ")) == 1
    assert facts_of(one) == facts_of(one.replace("가", "나"))
