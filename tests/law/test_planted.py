"""The metrics against planted cases with known truth: the cases of `bench/metrics.py`, which prints the table."""

from pathlib import Path
from types import ModuleType

from mnatune.law.citations import CitationChecker
from mnatune.pack import Pack

LEAST = {  # precision and recall; the misses are told in docs/evaluation.md
    "chinese_leak": (1.0, 0.97),
    "kana": (1.0, 1.0),
    "latin": (1.0, 0.8),
    "mixed_register": (1.0, 1.0),
    "repetition": (1.0, 1.0),
    "truncated": (1.0, 1.0),
    "think_leak": (1.0, 1.0),
    "false_citations": (1.0, 1.0),
    "unsupported_numbers": (1.0, 1.0),
}


def test_planted_cases_are_told_apart(metrics: ModuleType, pack: Pack) -> None:
    table = metrics.planted(pack)
    assert table.keys() == LEAST.keys()
    for metric, (precision, recall) in LEAST.items():
        row = table[metric]
        assert (row["precision"], row["recall"]) >= (precision, recall), metric
        assert row["recall"] >= recall, metric
    assert (table["chinese_leak"]["planted"], table["chinese_leak"]["cases"]) == (100, 200)
    assert (table["false_citations"]["planted"], table["false_citations"]["cases"]) == (100, 300)


def test_genuine_citations_are_valid_and_false_ones_invalid(metrics: ModuleType, pack: Pack) -> None:
    checker = CitationChecker(pack)
    for text, false in metrics.false_citations(checker):
        [citation] = checker.find(text)
        assert citation.verdict == ("invalid" if false else "valid"), text
        assert false or citation.in_force


def test_decisions_are_counted(metrics: ModuleType, pack: Pack, tmp_path: Path) -> None:
    (tmp_path / "민사").mkdir()
    body = "상법 제522조와 상법 제9999조, 노인복지법 제3조, 구 상법 제9999조를 본다."
    (tmp_path / "민사" / "1.md").write_text(f"---\n사건번호: 1\n---\n{body}\n", encoding="utf-8")
    found = metrics.decisions(CitationChecker(pack), tmp_path)
    assert (found["citations"], found["valid"], found["invalid"], found["unresolved"]) == (4, 1, 1, 1)
    assert (found["false_alarm_rate"], found["unresolved_share"]) == (0.5, round(1 / 3, 5))
