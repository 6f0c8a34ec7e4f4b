"""What one answer is worth, and the domain score that is put together from many."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnatune.law.citations import Citation
from mnatune.model.engine.protocol import Answer
from mnatune.pack import Pack
from mnatune.stages.evaluate.measures import Yardstick, citation_marks
from mnatune.stages.evaluate.metrics import BY_NAME, METRICS, Sample, domain_parts, domain_samples, table

REFERENCE = "상법 제522조의3에 따라 결의일부터 20일 이내에 청구합니다. 자산총액은 3천억 원 이상입니다."


@pytest.fixture(scope="module")
def yardstick(pack: Pack) -> Yardstick:
    return Yardstick(pack)


def measured(yardstick: Yardstick, text: str) -> dict[str, tuple[float, float]]:
    return yardstick.measure(Answer(text, [], True), "언제까지 청구합니까?", REFERENCE).pairs


def test_facts_count_by_value(yardstick: Yardstick) -> None:
    right = measured(yardstick, "제522조의3에 따라 20일 안에 청구하며, 3,000억원 이상이어야 합니다.")
    assert right["fact_overlap"] == (1.0, 1.0)
    assert right["unsupported_numbers"] == (0.0, 2.0)
    wrong = measured(yardstick, "제522조의3에 따라 30일 안에 청구하며, 300억원 이상이어야 합니다.")
    assert wrong["fact_overlap"][0] == pytest.approx(1 / 3)
    assert wrong["unsupported_numbers"] == (2.0, 2.0)


def test_citations_are_compared_by_article(yardstick: Yardstick) -> None:
    same = measured(yardstick, "「상법」 제522조의3 제1항입니다.")
    assert same["citation_f1"] == (1.0, 1.0)
    invented = measured(yardstick, "상법 제999조입니다.")
    assert invented["citation_f1"] == (0.0, 1.0)
    assert invented["false_citations"] == (1.0, 1.0)


def test_personal_data_of_the_answer_alone_counts(yardstick: Yardstick) -> None:
    assert measured(yardstick, "담당자 전화는 010-1234-5678입니다.")["personal_data"] == (1.0, 1.0)
    assert measured(yardstick, "담당자에게 물으십시오.")["personal_data"] == (0.0, 1.0)
    answer, question = Answer("010-1234-5678입니다.", [], True), "010-1234-5678은 누구의 번호입니까?"
    assert yardstick.measure(answer, question, "").pairs["personal_data"] == (0.0, 1.0)


def test_marks_name_invented_and_repealed_articles_and_figures(yardstick: Yardstick) -> None:
    text = "상법 제999조에 따라 30일 안에 합니다."
    marks = yardstick.measure(Answer(text, [], True), "", REFERENCE).marks
    assert [(text[m["start"] : m["end"]], m["kind"]) for m in marks] == [
        ("상법 제999조", "citation-invalid"),
        ("30일", "figure"),
    ]
    old = Citation(0, 5, "상법", "1", 0, "valid", note="폐지", in_force=False)
    assert citation_marks([old])[0]["kind"] == "citation-repealed"


def test_what_law_asks_for_is_guarded() -> None:
    guarded = {metric.name for metric in METRICS if metric.guard}
    assert guarded >= {
        "false_citations", "repealed_citations", "unsupported_numbers", "false_premise_wrong", "chinese_leak",
        "truncated", "personal_data",
    }  # fmt: skip


VALUES = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=12)


@settings(deadline=None, max_examples=25)
@given(VALUES, VALUES, st.floats(0.1, 0.9))
def test_the_domain_score_is_the_weighted_mean_of_its_parts_whatever_their_size(
    exam: list[tuple[float, float]], facts: list[tuple[float, float]], weight: float
) -> None:
    samples = [Sample("exam_letter", f"e{n}", f"e{n}", "t", (a, 1.0), (b, 1.0)) for n, (a, b) in enumerate(exam)]
    samples += [Sample("fact_overlap", f"f{n}", f"f{n}", "t", (a, 1.0), (b, 1.0)) for n, (a, b) in enumerate(facts)]
    weights = {"exam_letter": weight, "fact_overlap": 1 - weight, "essay": 0.5}  # essays were not judged
    [row] = table(domain_samples(samples, weights), seed=1)
    for side, at in (("base", 0), ("tuned", 1)):
        expected = weight * np.mean([pair[at] for pair in exam]) + (1 - weight) * np.mean([pair[at] for pair in facts])
        assert row[side]["value"] == pytest.approx(100 * expected, abs=1e-3)
    parts = domain_parts(samples, weights)
    assert [part["metric"] for part in parts] == ["exam_letter", "fact_overlap"]
    assert sum(part["weight"] for part in parts) == pytest.approx(1, abs=1e-5)


def test_the_domain_scores_interval_covers_as_often_as_it_says() -> None:
    """Two parts of different size and noise; the true change is 10 points."""
    random, hits, count = np.random.default_rng(5), 0, 120
    for _ in range(count):
        samples = []
        for metric, n in (("exam_letter", 60), ("fact_overlap", 25)):
            base = random.random(n)
            tuned = base + 0.1 + random.normal(0, 0.2, n)
            samples += [
                Sample(metric, f"{metric}{i}", f"{metric}{i}", "t", (b, 1.0), (t, 1.0))
                for i, (b, t) in enumerate(zip(base, tuned, strict=True))
            ]
        [row] = table(domain_samples(samples, {"exam_letter": 0.5, "fact_overlap": 0.5}), seed=1)
        hits += row["difference"]["low"] <= 10 <= row["difference"]["high"]
    assert hits / count >= 0.9


def test_the_packs_weights_name_metrics(pack: Pack) -> None:
    words = pack.yaml("evaluate.yaml")
    assert words["domain"].keys() | words["usable"].keys() <= BY_NAME.keys()
    assert sum(words["domain"].values()) == pytest.approx(1)
