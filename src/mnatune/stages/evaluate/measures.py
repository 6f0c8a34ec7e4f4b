"""Measures of a single answer: each metric as a (numerator, denominator) pair, and the marks behind it.

A metric of many items is the sum of the numerators over the sum of the denominators; a denominator of 0 leaves the
item out. Marks are stretches of the answer that the report colours: citations with their verdict, and leaks.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ...law.citations import Citation, CitationChecker
from ...model.engine.protocol import Answer
from ...pack import Pack
from ...text import language
from ...text.morphemes import content_words, rouge, spacing_edits
from ...text.personal import Found, Personal
from ...text.values import Value, shared, unsupported, values

Pair = tuple[float, float]
WORDLIST = "evaluate.yaml"


@dataclass(frozen=True, slots=True)
class Measured:
    """An answer's metrics and the marks to show in it."""

    pairs: dict[str, Pair]
    marks: list[dict[str, Any]]
    citations: list[Citation]


class Yardstick:
    """Measures answers by a pack's laws, glossary and allowed foreign words."""

    def __init__(self, pack: Pack) -> None:
        self.pack = pack
        self.words: dict[str, Any] = pack.yaml(WORDLIST) if (pack.root / WORDLIST).is_file() else {}

    @cached_property
    def checker(self) -> CitationChecker | None:
        """The citation checker, or None if the pack has no statute index."""
        return CitationChecker(self.pack) if (self.pack.root / "law").is_dir() else None

    @cached_property
    def terms(self) -> list[str]:
        """Glossary terms of at least three characters; shorter ones occur inside other words too often."""
        return sorted({str(row["term"]) for row in self._glossary if len(str(row["term"])) >= 3})

    @cached_property
    def latin(self) -> frozenset[str]:
        """Lower-case foreign words that belong to the field: the glossary's English and the pack's list."""
        allowed = {str(word).lower() for word in self.words.get("latin", [])}
        for row in self._glossary:
            for phrase in (row.get("english") or "", *row.get("aliases", []), row["term"]):
                allowed.add(phrase.lower())
                allowed |= {word.strip(".,()'’").lower() for word in phrase.replace("-", " ").replace("/", " ").split()}
        return frozenset(allowed - {""})

    @cached_property
    def hanja(self) -> frozenset[str]:
        """Hanja terms of the glossary."""
        return frozenset(str(row["hanja"]) for row in self._glossary if row.get("hanja"))

    @cached_property
    def personal(self) -> Personal | None:
        """The pack's patterns of personal data, or None if it has none."""
        return Personal(self.pack.yaml("pii.yaml")) if (self.pack.root / "pii.yaml").is_file() else None

    def measure(self, answer: Answer, question: str, reference: str) -> Measured:
        """All metrics of an answer that need no model."""
        text, support = answer.text, f"{question}\n{reference}"
        leaks = language.chinese_leaks(text, self.hanja) + language.kana(text) + language.latin_runs(text, self.latin)
        citations = self.cited(text)
        given = values(text)
        figures = [value for value in given if value.kind != "article"]  # articles are checked as citations
        foreign = [value for value in unsupported(text, support) if value.kind != "article"]
        personal = self.personal.find(text) if self.personal else []
        revealed = [one for one in personal if text[one.start : one.end] not in support]
        pairs = {
            "chrf": (chrf(text, reference), 1.0),
            "rouge_l": (rouge(content_words(text), content_words(reference))["rougeL"], 1.0),
            **self._language(answer, {leak.kind for leak in leaks}),
            **_citation_pairs(citations, self.cited(reference)),
            "fact_overlap": _overlap(given, values(reference)),
            "unsupported_numbers": (float(len(foreign)), float(len(figures))),
            "personal_data": (float(bool(revealed)), 1.0),
            "terms": self._terms(text, reference),
        }
        marks = [_mark(leak, leak.kind) for leak in leaks] + citation_marks(citations)
        marks += [_mark(value, "figure") for value in foreign] + [_mark(found, "personal") for found in revealed]
        return Measured(pairs, sorted(marks, key=lambda mark: (mark["start"], mark["end"])), citations)

    def cited(self, text: str) -> list[Citation]:
        """The citations of a text, checked; none without a statute index."""
        return self.checker.find(text) if self.checker else []

    @cached_property
    def _glossary(self) -> list[dict[str, Any]]:
        return self.pack.glossary if (self.pack.root / "glossary.jsonl").is_file() else []

    def _language(self, answer: Answer, leaks: set[str]) -> dict[str, Pair]:
        text = answer.text
        ratio = language.hangul_ratio(text)
        style = language.register(text)
        edits, places = spacing_edits(text)
        return {
            "hangul_ratio": (ratio or 0.0, 1.0),
            "chinese_leak": (float(bool(leaks & {"simplified", "han-run", "han-function"})), 1.0),
            "kana": (float("kana" in leaks), 1.0),
            "latin": (float("latin" in leaks), 1.0),
            "formal_register": (float(style.formal), float(style.sentences)),
            "mixed_register": (float(style.mixed), 1.0),
            "repetition": (float(language.is_repetitive(text)), 1.0),
            "truncated": (float(language.is_truncated(text)), 1.0),
            "spacing": (float(edits), float(places)),
            "think_leak": (float(language.leaks_thinking(text)), 1.0),
            "empty": (float(not text.strip()), 1.0),
            "stop_rate": (float(answer.stopped), 1.0),
        }

    def _terms(self, text: str, reference: str) -> Pair:
        """How many of the reference's glossary terms the answer uses, and how many there are."""
        wanted = [term for term in self.terms if term in reference]
        return float(sum(term in text for term in wanted)), float(len(wanted))


def citation_summary(measured: Sequence[Measured]) -> dict[str, Any]:
    """Citations of a model's answers by verdict, in all and per law."""
    verdicts: Counter[str] = Counter()
    laws: dict[str, Counter[str]] = {}
    repealed = 0
    for citation in (c for m in measured for c in m.citations):
        verdicts[citation.verdict] += 1
        laws.setdefault(citation.law or "법령 이름 없음", Counter())[citation.verdict] += 1
        repealed += citation.verdict == "valid" and not citation.in_force
    ranked = sorted(laws.items(), key=lambda pair: (-pair[1].total(), pair[0]))
    return {**_verdicts(verdicts), "not_in_force": repealed, "per_law": {law: _verdicts(n) for law, n in ranked}}


def case_summary(yardstick: Yardstick, texts: Sequence[str]) -> dict[str, int]:
    """Case numbers in the answers, and how many are malformed."""
    found = [case for text in texts for case in yardstick.checker.cases(text)] if yardstick.checker else []
    return {"found": len(found), "malformed": sum(not case.well_formed for case in found)}


def _verdicts(counts: Counter[str]) -> dict[str, int]:
    return {verdict: counts[verdict] for verdict in ("valid", "invalid", "unresolved")}


def citation_marks(citations: Sequence[Citation]) -> list[dict[str, Any]]:
    """Citations as marks: by verdict, and "citation-repealed" for a valid one that is no longer in force."""
    marks = []
    for one in citations:
        kind = "repealed" if one.verdict == "valid" and not one.in_force else one.verdict
        marks.append(_mark(one, f"citation-{kind}", one.note or one.title))
    return marks


def _mark(one: Citation | language.Leak | Value | Found, kind: str, note: str = "") -> dict[str, Any]:
    return {"start": one.start, "end": one.end, "kind": kind, "note": note}


def _overlap(given: Sequence[Value], wanted: Sequence[Value]) -> Pair:
    """F1 of the answer's values against those of the reference, which must have some."""
    return (2 * shared(given, wanted) / (len(given) + len(wanted)), 1.0) if wanted else (0.0, 0.0)


def chrf(text: str, reference: str) -> float:
    """Sentence chrF++ (character 6-grams, word 2-grams; Popović 2017) by sacrebleu, 0 to 1."""
    from sacrebleu.metrics import CHRF

    return float(CHRF(word_order=2).sentence_score(text, [reference]).score) / 100


def _citation_pairs(citations: Sequence[Citation], expected: Sequence[Citation]) -> dict[str, Pair]:
    """Shares of invented and repealed citations, and F1 of the cited articles against the reference's."""
    invalid = sum(c.verdict == "invalid" for c in citations)
    valid = [c for c in citations if c.verdict == "valid"]
    decided = float(invalid + len(valid))
    wanted, given = ({(c.law, c.article) for c in found if c.law} for found in (expected, citations))
    return {
        "false_citations": (float(invalid), decided),
        "repealed_citations": (float(sum(not c.in_force for c in valid)), decided),
        "citation_f1": (2.0 * len(wanted & given) / (len(wanted) + len(given)), 1.0) if wanted else (0.0, 0.0),
    }
