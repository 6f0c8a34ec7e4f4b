"""Checks of a pack: well-formed files, real citations, exam items that are not trained on.

`check` returns one outcome per check; each failure is one line with file and row.

Does not: judge whether an answer is right. That takes a lawyer; this finds what a reader would overlook.
"""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..law.citations import CitationChecker
from ..law.tables import article_questions, pack_questions, questions_key, read_facts
from ..runs.errors import DataError
from ..runs.recipe import CurateSection, JudgeSection
from ..text.language import chinese_leaks, kana
from ..text.lexicon import Lexicon
from ..text.normalize import INVISIBLE
from ..text.personal import Personal
from ..text.shingles import facts_of, shingles, spaceless
from . import Pack
from .data import PackData
from .exam_checks import application, balance, choices_alone, open_book, unstated
from .schema import OPTIONAL_FILES, PLACEHOLDERS, YAML_FILES, LabelledRow

EXAM_LIMIT = 0.5  # Jaccard similarity of character 5-grams from which a training row gives an exam item away
GRAM = 5
LEAST_AUTHORITY = 0.9  # share of the answers resting on law that must name the article or decision
LEAST_QUALITY = 0.9  # precision and recall of the lexicon on the labelled rows
BANDS = (160, 320, 800, 1600)  # upper bounds of the answer lengths that are counted apart, in characters
TEXT_SUFFIXES = (".yaml", ".jsonl", ".json", ".md")


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one check found: `facts` for the reader, one line in `failures` for each fault."""

    name: str
    facts: str
    failures: list[str] = field(default_factory=list)


def check(pack: Pack, owned: Mapping[str, type] | None = None) -> tuple[list[CheckResult], PackData]:
    """Run every check on a pack.

    Args:
        owned: pattern of YAML files → the form that a stage reads them with.
    """
    data = PackData(pack)
    outcomes = [_schema(data, owned or {})]
    for name, question in CHECKS.items():
        try:
            facts, failures = question(data)
        except DataError as error:
            facts, failures = "could not be checked", [f"{error.where}: {error.what}"]
        outcomes.append(CheckResult(name, facts, failures))
    return outcomes, data


def topics(data: PackData) -> tuple[list[str], list[tuple[str, list[int]]]]:
    """Question–answer rows by topic and length of the answer: headings, and rows of counts, the largest topic first."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0] * (len(BANDS) + 1))
    for _, row in data.qa:
        counts[row.topic][sum(len(row.answer) > bound for bound in BANDS)] += 1
    heads = [*(f"<= {bound}" for bound in BANDS), f"> {BANDS[-1]}", "all"]
    rows = sorted(counts.items(), key=lambda item: (-sum(item[1]), item[0]))
    return heads, [(topic, [*numbers, sum(numbers)]) for topic, numbers in rows]


def kinds(data: PackData) -> tuple[list[str], list[tuple[str, list[int]]]]:
    """Question–answer rows by kind: headings, and for each kind the rows, dialogues, median and 90 % length of answers."""
    lengths: dict[str, list[int]] = defaultdict(list)
    dialogues: Counter[str] = Counter()
    for _, row in data.qa:
        lengths[row.kind].append(len(row.answer))
        dialogues[row.kind] += bool(row.history)
    heads = ["rows", "with history", "median", "90 %"]
    found = []
    for kind, sizes in sorted(lengths.items(), key=lambda item: -len(item[1])):
        ordered = sorted(sizes)
        median, long = ordered[len(ordered) // 2], ordered[9 * len(ordered) // 10]
        found.append((kind, [len(ordered), dialogues[kind], median, long]))
    return heads, found


def _schema(data: PackData, owned: Mapping[str, type]) -> CheckResult:
    for name, form in YAML_FILES.items():
        if name != "pack.yaml" and (name not in OPTIONAL_FILES or (data.pack.root / name).is_file()):
            data.form(name, form)
    for pattern, form in owned.items():
        names = sorted(p.relative_to(data.pack.root).as_posix() for p in data.pack.root.glob(pattern))
        data.faults += [] if names else [f"{pattern}: the pack lacks it"]
        for name in names:
            data.form(name, form)
    return CheckResult("form of every file", f"{data.read} files", data.faults)


def _identity(data: PackData) -> tuple[str, list[str]]:
    failures = []
    ids = Counter(item.id for item in data.items())
    failures += [f"{name}: {n} exam items have this id" for name, n in ids.items() if n > 1]
    for kind, rows in (("training rows", data.trained()), ("exam items", data.examined())):
        seen: dict[str, str] = {}
        for place, question, _ in rows:
            first = seen.setdefault(spaceless(question), place)
            if first != place:
                failures.append(f"{place}: the question of {first} again ({kind})")
    return f"{len(list(data.trained()))} training rows, {len(ids)} exam items", failures


def _apart(data: PackData) -> tuple[str, list[str]]:
    exam, rows = list(data.examined()), list(data.trained())
    failures: list[str] = []
    nearest = 0.0
    for label, parts in (("question", 1), ("question and answer", 2)):
        asked, taught = ([" ".join(row[1 : 1 + parts]) for row in side] for side in (exam, rows))
        for one, other, share in similar(asked, taught, at_least=0.1):
            nearest = max(nearest, share)
            if share >= EXAM_LIMIT:
                failures.append(f"{rows[other][0]}: gives away {exam[one][0]} ({label}, Jaccard {share:.2f})")
    return f"nearest pair {nearest:.2f}, limit {EXAM_LIMIT}", failures


def _unlike(data: PackData) -> tuple[str, list[str]]:
    limit = CurateSection().near_duplicates
    texts = [f"{row.question} {row.answer}" for _, row in data.qa]
    failures = []
    nearest = 0.0
    for one, other, share in similar(texts, texts, at_least=0.1):
        if one < other:
            nearest = max(nearest, share)
            if share >= limit and facts_of(texts[one]) == facts_of(texts[other]):
                failures.append(f"{data.qa[other][0]}: nearly the same as {data.qa[one][0]} (Jaccard {share:.2f})")
    return f"nearest pair {nearest:.2f}, limit {limit}", failures


def _citations(data: PackData) -> tuple[str, list[str]]:
    checker = CitationChecker(data.pack)
    counts: Counter[str] = Counter()
    failures = []
    for place, text in data.stated():
        for cited in checker.find(text):
            counts[cited.verdict] += 1
            if cited.verdict == "invalid":
                failures.append(f"{place}: {text[cited.start : cited.end]!r}: {cited.note}")
    for place, text in data.rests_on():
        failures += [
            f"{place}: rests on {text[c.start : c.end]!r}: {c.note}"
            for c in checker.find(text)
            if c.verdict == "valid" and not c.in_force
        ]
    owners: dict[str, str] = {}
    for law, aliases in data.pack.yaml("citations.yaml")["aliases"].items():
        if law not in checker.index.laws:
            failures.append(f"citations.yaml: {law!r} is not in the index")
        for alias in aliases:
            first = owners.setdefault(spaceless(alias), law)
            if first != law:
                failures.append(f"citations.yaml: {alias!r} stands for both {first!r} and {law!r}")
    laws = len(checker.index.laws)
    return f"{counts['valid']} valid, {counts['unresolved']} outside the index of {laws} laws", failures


def _law_memory(data: PackData) -> tuple[str, list[str]]:
    root = data.pack.root
    facts = read_facts(data.pack.path("law"))
    if facts["questions"] == questions_key(pack_questions(data.pack), article_questions(data.pack)):
        return (
            f"built with the {len(data.qa)} questions of qa.jsonl and those of {len(data.article_questions)} articles",
            [],
        )
    command = f"mnatune law build {' '.join(facts['sources'])} --out {root / 'law'} --pack {root}"
    return "stale", [f"law: built with other questions than those of the pack; rebuild it: {command}"]


def _article_questions(data: PackData) -> tuple[str, list[str]]:
    """Of an article of the memory, none twice, and none that is the question of an exam item or of a row."""
    rows = data.article_questions
    known = CitationChecker(data.pack).index.laws if rows else {}
    failures = [
        f"{place}: {row.law!r} has no article {row.article!r}"
        for place, row in rows
        if row.article not in known.get(row.law, {})
    ]
    taken = {spaceless(question): place for place, question, _ in (*data.trained(), *data.examined())}
    owners: dict[str, str] = {}
    for place, row in rows:
        first = owners.setdefault(f"{row.law} {row.article}", place)
        if first != place:
            failures.append(f"{place}: {row.law} {row.article} stands in {first} too")
        for question in row.questions:
            first = taken.setdefault(spaceless(question), place)
            if first != place:
                failures.append(f"{place}: {question!r} is asked in {first} too")
    return f"{sum(len(row.questions) for _, row in rows)} questions about {len(rows)} articles", failures


def _lengths(data: PackData) -> tuple[str, list[str]]:
    if data.facts is None or not data.qa:
        return "no rows", []
    limits = {"question": data.facts.max_question_chars, "answer": data.facts.max_answer_chars}
    failures = [
        f"{place}: the {key} has {len(getattr(row, key))} characters, limit {limit}"
        for place, row in data.qa
        for key, limit in limits.items()
        if len(getattr(row, key)) > limit
    ]
    longest = {key: max(len(getattr(row, key)) for _, row in data.qa) for key in limits}
    return ", ".join(f"{key} up to {longest[key]} of {limits[key]}" for key in limits), failures


def _authority(data: PackData) -> tuple[str, list[str]]:
    """An answer whose source is an article or a decision must name one itself."""
    checker = CitationChecker(data.pack)
    wanted = [(place, row) for place, row in data.qa if checker.find(row.source) or checker.cases(row.source)]
    silent = [place for place, row in wanted if not checker.find(row.answer) and not checker.cases(row.answer)]
    share = 1 - len(silent) / max(1, len(wanted))
    failures = []
    if share < LEAST_AUTHORITY:
        failures = [f"qa.jsonl: {share:.0%} of the answers that rest on law name it, not {', '.join(silent)}"]
    return f"{len(wanted) - len(silent)} of {len(wanted)} answers that rest on law name it", failures


def _personal(data: PackData) -> tuple[str, list[str]]:
    rules = data.pack.yaml("pii.yaml")
    failures, examples = [], 0
    for kind in rules["kinds"]:
        alone = Personal({**rules, "kinds": [kind]}, every=True)
        for wanted, key in ((True, "match"), (False, "no_match")):
            for example in kind.get(key, []):
                examples += 1
                if bool(alone.find(example)) is not wanted:
                    failures.append(f"pii.yaml: {kind['kind']} {'misses' if wanted else 'matches'} {example!r}")
    together = Personal(rules)
    failures += [
        f"pii.yaml: {example!r} is left unmasked when all kinds work together"
        for kind in rules["kinds"]
        if kind.get("enabled", True)
        for example in kind.get("match", [])
        if not together.find(example)
    ]
    return f"{len(rules['kinds'])} kinds, {examples} examples", failures


def _lexicon(data: PackData) -> tuple[str, list[str]]:
    raw = data.pack.yaml("lexicon.yaml")
    names = Counter([term["term"] for term in raw["terms"]] + [law["name"] for law in raw["statutes"]])
    failures = [f"lexicon.yaml: {name!r} is listed {n} times" for name, n in names.items() if n > 1]
    failures += [
        f"lexicon.yaml: the false friend {friend['why']!r} cancels {name!r}, which is no term"
        for friend in raw["false_friends"]
        for name in friend["cancels"]
        if name not in names
    ]
    lexicon = Lexicon(raw)
    facts = [f"{len(raw['terms'])} terms, {len(raw['false_friends'])} false friends"]
    for label, rows in (("labels", data.labels), ("holdout", data.holdout)):
        if rows:
            precision, recall = _quality(lexicon, [row for _, row in rows])
            facts.append(f"{label} precision {precision:.3f} recall {recall:.3f} (n={len(rows)})")
            if label == "labels" and min(precision, recall) < LEAST_QUALITY:
                found = f"precision {precision:.3f}, recall {recall:.3f} on the labelled rows"
                failures.append(f"lexicon.yaml: {found}; at least {LEAST_QUALITY} is wanted")
    return "; ".join(facts), failures


def _quality(lexicon: Lexicon, rows: list[LabelledRow]) -> tuple[float, float]:
    """Precision and recall of "score above the default threshold"."""
    threshold = JudgeSection().keep_above
    kept = [(lexicon.score(row.question, row.answer)[0] > threshold, row.label) for row in rows]
    hits = sum(found and label for found, label in kept)
    return hits / max(1, sum(found for found, _ in kept)), hits / max(1, sum(label for _, label in kept))


def _text(data: PackData) -> tuple[str, list[str]]:
    files = sorted(p for p in data.pack.root.rglob("*") if p.is_file() and p.suffix in TEXT_SUFFIXES)
    failures = [f"{file.relative_to(data.pack.root).as_posix()}:{fault}" for file in files for fault in _untidy(file)]
    return f"{len(files)} files in NFC", failures


def _untidy(file: Path) -> Iterator[str]:
    try:
        text = file.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        yield f" not UTF-8: {error.reason}"
        return
    for number, line in enumerate(text.split("\n"), 1):
        if not unicodedata.is_normalized("NFC", line):
            yield f"{number}: not in NFC"
        if "\r" in line or "\ufffd" in line or INVISIBLE.search(line):
            yield f"{number}: an invisible or broken character"


def _glossary(data: PackData) -> tuple[str, list[str]]:
    owners: dict[str, str] = {}
    failures = []
    for place, row in data.glossary:
        for name in (row.term, *row.aliases):
            first = owners.setdefault(spaceless(name.lower()), place)
            if first != place:
                failures.append(f"{place}: {name!r} stands in {first} too")
        if any(leak.kind == "simplified" for leak in chinese_leaks(row.hanja)) or kana(row.definition):
            failures.append(f"{place}: Chinese or Japanese characters in {row.term!r}")
    return f"{len(data.glossary)} terms, {len(owners) - len(data.glossary)} further names", failures


def _prompts(data: PackData) -> tuple[str, list[str]]:
    prompts = data.pack.prompts
    failures = []
    for name, places in PLACEHOLDERS.items():
        text = prompts.get(name)
        if not isinstance(text, str) or not text.strip():
            failures.append(f"prompts.yaml: {name} is missing")
            continue
        failures += [f"prompts.yaml: {name} lacks {{{place}}}" for place in places if f"{{{place}}}" not in text]
    return f"{len(PLACEHOLDERS)} prompts", failures


def similar(ones: list[str], others: list[str], *, at_least: float) -> Iterator[tuple[int, int, float]]:
    """(index, index, Jaccard similarity of character 5-grams) of all pairs that reach a similarity."""
    sets = [shingles(spaceless(text), GRAM) for text in others]
    where: dict[str, list[int]] = defaultdict(list)
    for index, pieces in enumerate(sets):
        for piece in pieces:
            where[piece].append(index)
    for index, text in enumerate(ones):
        pieces = shingles(spaceless(text), GRAM)
        for other, common in Counter(o for piece in pieces for o in where.get(piece, ())).items():
            share = common / (len(pieces) + len(sets[other]) - common)
            if share >= at_least:
                yield index, other, share


CHECKS: dict[str, Callable[[PackData], tuple[str, list[str]]]] = {
    "ids and questions are unique": _identity,
    "exam apart from training": _apart,
    "no near-duplicates": _unlike,
    "citations": _citations,
    "law memory": _law_memory,
    "article questions": _article_questions,
    "answers not guessable": balance,
    "choices alone": choices_alone,
    "exam asks what no row states": unstated,
    "essays ask for application": application,
    "open-book articles": open_book,
    "lengths": _lengths,
    "authority": _authority,
    "personal data": _personal,
    "lexicon": _lexicon,
    "text": _text,
    "glossary": _glossary,
    "prompts": _prompts,
}
