"""Field maps: the layout of a published data set as data, so that a new set needs a YAML file and no code.

A map names which archives hold labels, and one or more *layouts* of their JSON members:

    unit      where a member's records lie: "" (the member is one record), "[]" (a list), "data_info[]" (a list under a key)
    rows      where question–answer rows lie within a record: "" (the record is the row), "contents[].QA[]", …
    question, answer, category, group, reference, …   where a row's fields lie

Paths are dotted names. `name[]` walks a list, `name[2]` takes one element. A field path is relative to the row; a leading "^"
climbs to the enclosing list element, a leading "/" starts at the record. A list of paths means the first that is there.
"""

import re
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import msgspec
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from ...errors import DataError, UsageError
from ...pack import Pack

STEP = re.compile(r"([^.\[\]]+)|\[(\d*)\]")
Paths = str | list[str]


class Rule(BaseModel):
    """Archives whose path matches `match` (a shell pattern, case kept) belong to `split`, or are skipped for a reason."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    match: str
    split: Literal["train", "valid", ""] = ""
    skip: str = ""


class Ranked(BaseModel):
    """Answers with a ranking: the best becomes the answer, the others alternatives in order."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    answers: list[str]
    text: str
    rank: str


class Layout(BaseModel):
    """One JSON layout; see the module's docstring for the path language."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    unit: str = ""
    rows: str = ""
    question: Paths
    answer: Paths = []
    ranked: Ranked | None = None
    passage: Paths = []
    """Text that the question is about; it is put below the question."""
    category: Paths = []
    group: Paths = []
    reference: Paths = []
    require: list[Literal["category", "group"]] = []
    """Fields without which a row is dropped; question and answer always are."""
    only: dict[str, list[str]] = {}
    """Path → values that a row must have there (a set that holds other tasks too); others are counted as "other-task"."""


class FieldMap(BaseModel):
    """A data set's map."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    title: str
    licence: str
    homepage: str = ""
    members: str = "*.json"
    rules: list[Rule] = []
    layouts: list[Layout]

    def rule_for(self, path: str) -> Rule:
        """The first rule that matches an archive's path from the source's root; by default it is read without a split."""
        name = PurePosixPath(path).name
        for rule in self.rules:
            if fnmatchcase(path, rule.match) or fnmatchcase(name, rule.match):
                return rule
        return Rule(match="*")


def load_map(name: str, pack: Pack) -> FieldMap:
    """A map of the pack by name, or any YAML file by path.

    Raises:
        UsageError: there is no such map.
        DataError: the file is no field map; every fault is named.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        path = pack.root / "maps" / f"{name}.yaml"
    if not path.is_file():
        known = sorted(p.stem for p in (pack.root / "maps").glob("*.yaml"))
        raise UsageError(f"there is no field map {name!r}", next_step=f"maps of the pack: {', '.join(known)}")
    try:
        return FieldMap.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (ValidationError, yaml.YAMLError) as error:
        raise DataError(f"not a field map: {error}", where=str(path)) from None


class _Node:
    """A JSON object or list of which only the named parts are decoded."""

    def __init__(self) -> None:
        self.fields: dict[str, _Node] = {}
        self.each: _Node | None = None
        self.leaf = False

    def add(self, steps: list[str | int | None]) -> None:
        node = self
        for step in steps:
            if isinstance(step, str):
                node = node.fields.setdefault(step, _Node())
            else:
                node.each = node.each or _Node()
                node = node.each
        node.leaf = True

    def type(self, label: str = "Row") -> Any:
        """The msgspec type that decodes this part and skips everything beside it."""
        if self.each is not None and not self.fields and not self.leaf:
            return list[self.each.type(label)] | None  # type: ignore[misc]
        if self.leaf or not self.fields:
            return Any
        names = list(self.fields)
        columns = [(f"f{i}", self.fields[n].type(f"{label}_{i}"), None) for i, n in enumerate(names)]
        rename = {f"f{i}": n for i, n in enumerate(names)}
        struct = msgspec.defstruct(label, columns, rename=rename, gc=False)
        return struct | None


def steps_of(path: str) -> list[str | int | None]:
    """The steps of a path: a name, an index, or None for every element."""
    steps: list[str | int | None] = []
    for name, index in STEP.findall(path):
        if name:
            steps.append(name)
        else:
            steps.append(int(index) if index else None)
    return steps


Getter = Callable[[Any], Any]


def _attribute(struct: Any, name: str) -> Any:
    """A field of a decoded struct by its JSON name, or of a plain dict."""
    if isinstance(struct, dict):
        return struct.get(name)
    index = _names(type(struct)).get(name)
    return None if index is None else getattr(struct, index)


_NAMES: dict[type, dict[str, str]] = {}


def _names(kind: type) -> dict[str, str]:
    found = _NAMES.get(kind)
    if found is None:
        fields = getattr(kind, "__struct_fields__", ())
        found = _NAMES[kind] = dict(zip(getattr(kind, "__struct_encode_fields__", ()), fields, strict=True))
    return found


def pick(value: Any, steps: list[str | int | None]) -> Any:
    """What lies at a path without wildcards; None if anything on the way is missing or of another kind."""
    for step in steps:
        if value is None:
            return None
        if isinstance(step, str):
            value = _attribute(value, step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return None
    return value


class Reader:
    """A layout compiled: a typed decoder for records, and getters for the fields of their rows."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.chain = [s for s in steps_of(layout.unit) if isinstance(s, str)]
        self.listed = layout.unit.endswith("[]")
        self._levels = self._split_levels(steps_of(layout.rows))
        self.type = self._record_type()
        self.root_keys = [s for path in self.paths() for s in self._absolute(path, steps_of(layout.rows))[:1] if isinstance(s, str)]
        self.decode_one = msgspec.json.Decoder(self.type).decode
        self._decode_root = msgspec.json.Decoder(self._root_type()).decode
        self.question = self.getter(layout.question)
        self.answer = self.getter(layout.answer)
        self.passage = self.getter(layout.passage)
        self.category = self.getter(layout.category)
        self.group = self.getter(layout.group)
        self.reference = self.getter(layout.reference)
        self.only = [(self.getter(path), frozenset(values)) for path, values in layout.only.items()]

    @staticmethod
    def _split_levels(steps: list[str | int | None]) -> list[list[str | int | None]]:
        levels: list[list[str | int | None]] = [[]]
        for step in steps:
            if step is None:
                levels.append([])
            else:
                levels[-1].append(step)
        return levels[:-1]

    def paths(self) -> list[str]:
        """Every field path of the layout."""
        named: list[str] = [*self.layout.only]
        for value in (self.layout.question, self.layout.answer, self.layout.passage, self.layout.category,
                      self.layout.group, self.layout.reference):
            named += [value] if isinstance(value, str) else value
        if self.layout.ranked:
            named += self.layout.ranked.answers
        return named

    def _record_type(self) -> Any:
        root = _Node()
        row = steps_of(self.layout.rows)
        for path in self.paths():
            root.add(self._absolute(path, row))
        return root.type()

    def _root_type(self) -> Any:
        kind: Any = list[self.type] if self.listed else self.type
        for key in reversed(self.chain):
            kind = msgspec.defstruct("Root", [("f0", kind)], rename={"f0": key})
        return kind

    def decode_member(self, data: bytes) -> list[Any]:
        """All records of a member's whole text; raises what msgspec raises."""
        value = self._decode_root(data)
        for _ in self.chain:
            value = value.f0
        return value if self.listed else [value]

    @staticmethod
    def _absolute(path: str, row: list[str | int | None]) -> list[str | int | None]:
        """A field path from the record on."""
        if path.startswith("/"):
            return steps_of(path[1:])
        prefix = list(row)
        while path.startswith("^"):
            path = path[1:]
            prefix.pop()  # the list step of this level
            while prefix and prefix[-1] is not None:
                prefix.pop()
        return [*prefix, *steps_of(path)]

    def getter(self, paths: Paths) -> Callable[[tuple[Any, ...]], Any]:
        """A function from a row's trail (record, …, row) to the first value found at `paths`."""
        compiled = []
        for path in [paths] if isinstance(paths, str) else paths:
            if path.startswith("/"):
                compiled.append((0, steps_of(path[1:])))
            else:
                climbs = len(path) - len(path.lstrip("^"))
                compiled.append((-1 - climbs, steps_of(path.lstrip("^"))))

        def get(trail: tuple[Any, ...]) -> Any:
            for level, steps in compiled:
                value = pick(trail[level], steps)
                if value is not None:
                    return value
            return None

        return get

    def trails(self, record: Any) -> Iterator[tuple[Any, ...]]:
        """The rows of a record, each with the records that enclose it: (record, …, row)."""
        trails: Iterator[tuple[Any, ...]] = iter([(record,)])
        for steps in self._levels:
            trails = self._descend(trails, steps)
        return trails

    @staticmethod
    def _descend(trails: Iterator[tuple[Any, ...]], steps: list[str | int | None]) -> Iterator[tuple[Any, ...]]:
        for trail in trails:
            inner = pick(trail[-1], steps)
            if isinstance(inner, list):
                for element in inner:
                    yield (*trail, element)

    def ranked(self, trail: tuple[Any, ...]) -> list[Any]:
        """The ranked answers, best first; empty if the layout or the row has none."""
        rule = self.layout.ranked
        if rule is None:
            return []
        found = []
        for order, path in enumerate(rule.answers):
            entry = pick(trail[-1], steps_of(path))
            if entry is not None:
                rank = pick(entry, steps_of(rule.rank))
                found.append((rank if isinstance(rank, int) else len(rule.answers) + order, order, pick(entry, steps_of(rule.text))))
        return [text for _, _, text in sorted(found, key=lambda f: f[:2])]
