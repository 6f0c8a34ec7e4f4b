"""Every regular expression of the code and of the packs takes time linear in the text, whatever the text.

Patterns are collected from modules, from literals given to `re`, and from the packs' YAML. Each is run on hostile texts
made from its own parts: what leads up to a repetition, and then eight times as much of one character as before. A
linear pattern takes eight times as long, a quadratic one 64 times; the limit lies between, and only times that the
clock can tell count.
"""

import ast
import importlib
import pkgutil
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from re import _constants as sre
from re import _parser as sre_parse
from typing import Any

import pytest
import yaml

import mnatune
from mnatune.law.citations import CitationChecker
from mnatune.pack import Pack
from mnatune.runs.recipe import bundled

PACKAGE = Path(mnatune.__file__).parent
SIZES = (256, 2048, 16384)
GROWTH = 24.0  # between linear (8) and quadratic (64)
FLOOR_S = 0.008  # shorter runs are not judged
CLEAR_S = 0.002  # at the second size a quadratic pattern takes ten times as long: below, the third is spared
ALPHABET = " \n0a가,.(\"'-"
REPEATS = (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT)
CLASSES = {
    sre.CATEGORY_SPACE: " ",
    sre.CATEGORY_DIGIT: "0",
    sre.CATEGORY_WORD: "가",
    sre.CATEGORY_NOT_SPACE: "가",
    sre.CATEGORY_NOT_DIGIT: "가",
    sre.CATEGORY_NOT_WORD: " ",
}
SCANNING = {"search", "finditer", "findall", "sub", "subn", "split"}
QUANTIFIED = re.compile(r"[)\]}.]|\\[sdwSDW]")
Collected = dict[tuple[str, int, bool], str]  # pattern, flags, whether only its anchored methods are called → where


# ------------------------------------------------------------------------------------------------ patterns


def in_modules(found: Collected) -> None:
    """Compiled patterns that modules and their containers hold."""
    scanned = scanned_names()
    for info in pkgutil.walk_packages([str(PACKAGE)], "mnatune."):
        source = PACKAGE.joinpath(*info.name.split(".")[1:])
        source = source / "__init__.py" if info.ispkg else source.with_suffix(".py")
        if "re.compile(" not in source.read_text(encoding="utf-8"):
            continue
        module = importlib.import_module(info.name)
        for name, value in vars(module).items():
            for pattern in patterns_of(value, 3):
                anchored = value is pattern and (info.name, name) not in scanned
                key = (pattern.pattern, pattern.flags, anchored)
                if isinstance(pattern.pattern, str):
                    found.setdefault(key, f"{info.name}.{name}")


def patterns_of(value: Any, depth: int) -> Iterator[re.Pattern[str]]:
    if isinstance(value, re.Pattern):
        yield value
    elif depth and isinstance(value, dict):
        for inner in value.values():
            yield from patterns_of(inner, depth - 1)
    elif depth and isinstance(value, list | tuple | set | frozenset):
        for inner in value:
            yield from patterns_of(inner, depth - 1)
    elif depth and type(value).__module__.startswith("mnatune") and hasattr(value, "__dict__"):
        yield from patterns_of(vars(value), depth - 1)


def scanned_names() -> set[tuple[str, str]]:
    """(module, name) of patterns that the module, or one that imports the name, uses in another way than by
    `NAME.match(…)` and `NAME.fullmatch(…)`."""
    used: dict[str, set[str]] = {}
    imported: dict[str, set[str]] = {}
    for file in PACKAGE.rglob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        anchored = {
            id(node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and node.attr in ("match", "fullmatch")
        }
        module = ".".join(("mnatune", *file.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
        names = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)]
        used[module] = {node.id for node in names if id(node) not in anchored}
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        imported[module] = {alias.name for node in imports for alias in node.names}
    elsewhere = {name for module, names in used.items() for name in names & imported[module]}
    return {(module, name) for module, names in used.items() for name in names | elsewhere}


def in_literals(found: Collected) -> None:
    """Literals given to functions of `re` anywhere in the code."""
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
                continue
            first, caller = node.args[0], node.func.value
            if (
                isinstance(caller, ast.Name)
                and caller.id == "re"
                and node.func.attr in SCANNING | {"match", "fullmatch"}
            ):
                flags = sum(int(getattr(re, f.attr)) for f in ast.walk(node) if is_flag(f))
                where = f"{file.relative_to(PACKAGE)}:{node.lineno}"
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    found.setdefault((first.value, flags, node.func.attr not in SCANNING), where)


def is_flag(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr in ("DOTALL", "IGNORECASE", "MULTILINE", "VERBOSE")


def in_packs(found: Collected) -> None:
    """Strings of YAML files that hold a class, a group or a dot and are regular expressions."""

    def strings(value: Any) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict | list):
            for inner in value.values() if isinstance(value, dict) else value:
                yield from strings(inner)

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    for file in sorted(bundled("packs").rglob("*.yaml")):
        for text in strings(yaml.load(file.read_text(encoding="utf-8"), Loader=loader)):
            if QUANTIFIED.search(text) and re.search(r"[*+?}]", text) and compiles(text):
                found.setdefault((text, int(re.IGNORECASE), False), file.name)


def compiles(text: str) -> bool:
    try:
        re.compile(text)
    except re.error:
        return False
    return True


def collected() -> Collected:
    found: Collected = {}
    in_modules(found)
    in_literals(found)
    in_packs(found)
    return found


# --------------------------------------------------------------------------------------------- hostile texts


def sample(items: Iterable[tuple[Any, Any]]) -> str:
    """A text that a parsed pattern matches, or nearly: look-arounds are passed over."""
    made = ""
    for op, value in items:
        if op in (sre.LITERAL,):
            made += chr(value)
        elif op is sre.NOT_LITERAL or op is sre.ANY:
            made += "가"
        elif op is sre.IN:
            made += member(value)
        elif op in REPEATS:
            made += sample(value[2]) * max(1, min(value[0], 40))
        elif op is sre.SUBPATTERN:
            made += sample(value[3])
        elif op is sre.ATOMIC_GROUP:
            made += sample(value)
        elif op is sre.BRANCH:
            made += sample(value[1][0])
    return made


def member(items: list[tuple[Any, Any]]) -> str:
    """A character of a class."""
    negated = items[0][0] is sre.NEGATE
    for op, value in items[1 if negated else 0 :]:
        if op is sre.CATEGORY and not negated:
            return CLASSES[value]
        if op in (sre.LITERAL, sre.RANGE) and not negated:
            return chr(value if op is sre.LITERAL else value[0])
    return "가"


def openings(items: Iterable[tuple[Any, Any]], before: str = "") -> Iterator[tuple[str, str]]:
    """(what leads up to a repetition, a sample of what it repeats), for each repetition of a parsed pattern."""
    for op, value in items:
        if op in REPEATS:
            if value[1] > 1 and value[1] != value[0]:
                yield before, sample(value[2])
            yield from openings(value[2], before)
        elif op is sre.SUBPATTERN:
            yield from openings(value[3], before)
        elif op is sre.ATOMIC_GROUP:
            yield from openings(value, before)
        elif op is sre.BRANCH:
            for branch in value[1]:
                yield from openings(branch, before)
        elif op in (sre.ASSERT, sre.ASSERT_NOT):
            yield from openings(value[1], before)
        before += sample([(op, value)])


def attacks(pattern: re.Pattern[str]) -> list[tuple[str, str, str]]:
    """(head, body, tail): texts `head + body × n + tail` that a careless pattern takes too long for."""
    parsed = sre_parse.parse(pattern.pattern, pattern.flags)
    pairs = dict.fromkeys(openings(list(parsed)))
    heads = list(dict.fromkeys(["", *(before for before, _ in pairs)]))[:12]
    made = [(head, pump, "\x00") for head, pump in pairs if pump]
    made += [("", before + pump, "\x00") for before, pump in pairs]
    made += [("", before, "\x00") for before, _ in pairs if before]
    made += [(head, char, "\x00") for head in heads for char in ALPHABET]
    made += [("", head + char, "\x00") for head in heads if head for char in ALPHABET]
    made += [("", whole, "") for whole in (sample(list(parsed)),) if whole]
    return list(dict.fromkeys(made))


# --------------------------------------------------------------------------------------------------- measure


def seconds(pattern: re.Pattern[str], text: str, anchored: bool, tries: int = 1) -> float:
    """CPU time of a search through a text; the least of some tries."""
    best = float("inf")
    for _ in range(tries):
        start = time.process_time()
        if anchored:
            pattern.match(text)
        else:
            for _ in pattern.finditer(text):
                pass
        best = min(best, time.process_time() - start)
    return best


def blows_up(pattern: re.Pattern[str], attack: tuple[str, str, str], anchored: bool) -> str:
    """What a pattern needs for growing texts, if that grows faster than they do; empty if it does not."""
    head, body, tail = attack
    before = 0.0
    for size in SIZES:
        text = head + body * max(1, size // len(body)) + tail
        spent = seconds(pattern, text, anchored)
        if spent > FLOOR_S and spent > GROWTH * max(before, 1e-6):
            spent = seconds(pattern, text, anchored, 3) if spent < 1 else spent
            if spent > FLOOR_S and spent > GROWTH * max(before, 1e-6):
                return f"{head!r} + {body!r} × {size // len(body)}: {before:.4f} s, then {spent:.4f} s"
        if size == SIZES[1] and spent < CLEAR_S:
            break
        before = spent
    return ""


@pytest.fixture(scope="module")
def patterns() -> Collected:
    return collected()


def test_all_sources_are_collected(patterns: Collected) -> None:
    places = " ".join(patterns.values())
    assert len(patterns) > 200
    for part in ("law.citations", "text.language", "reports/", "pii.yaml", "lexicon.yaml", "rubric.yaml", "crawl.yaml"):
        assert part in places, part


def test_every_pattern_is_linear(patterns: Collected) -> None:
    slow = []
    for (source, flags, anchored), where in patterns.items():
        pattern = re.compile(source, flags)
        told = next((told for attack in attacks(pattern) if (told := blows_up(pattern, attack, anchored))), "")
        slow += [f"{where}: {source[:90]!r}\n    {told}"] if told else []
    assert not slow, f"{len(slow)} patterns\n" + "\n".join(slow)


@pytest.mark.parametrize("source", [r"\s*[^x]{1,30}?\s*x", r"(\w+\s?)*;", r"이하\s*[^()\n]{1,30}?\s*라"])
def test_careless_patterns_are_caught(source: str) -> None:
    pattern = re.compile(source)
    assert any(blows_up(pattern, attack, anchored=False) for attack in attacks(pattern))


@pytest.mark.parametrize(
    "unit",
    [
        "이하 ",
        "이하",
        "(",
        ")",
        "제1조",
        "제1조 ",
        "상법 제1조, ",
        "같은 법 제1조 ",
        "가",
        "가법을 ",
        "이하 '가' ",
        "①",
        "의 3",
    ],
)
def test_a_citation_check_is_linear(pack: Pack, unit: str) -> None:
    """The whole check, whose own loops look back: what 8,000 characters cost, 64,000 cost eight times."""
    checker = CitationChecker(pack)
    spent = []
    for size in (8_000, 64_000):
        text = unit * (size // len(unit))
        start = time.process_time()
        checker.find(text)
        spent.append(time.process_time() - start)
    assert spent[1] < max(GROWTH * spent[0], 0.1), spent
