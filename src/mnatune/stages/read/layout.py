"""A layout compiled: a typed decoder that skips what no path names, and functions that fetch a row's fields."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from itertools import chain
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from .fieldmap import JsonLayout, Paths

STEP = re.compile(r"([^.\[\]]+)|\[(\d*)\]")
RANK = re.compile(r"\s*(\d{1,3})(?:\.0{1,6})?\s*(?:위|등|순위)?\s*")
Steps = list[str | int | None]
Trail = tuple[Any, ...]
Getter = Callable[[Trail], Any]
WRONG = object()  # stands for the rows that should lie where something else lies


def steps_of(path: str) -> Steps:
    """The steps of a path: a name, an index, or None for every element of a list."""
    return [name or (int(index) if index else None) for name, index in STEP.findall(path)]


def _each(paths: Paths) -> list[str]:
    return [paths] if isinstance(paths, str) else paths


def rank_of(value: Any) -> int | None:
    """A rank as a number: 1, 1.0, "1" and "1위" are the same. None if it cannot be read."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str):
        match = RANK.fullmatch(unicodedata.normalize("NFKC", value))
        return int(match[1]) if match else None
    return value if type(value) is int else None


class _Node:
    """A JSON object or list of which only the named parts are decoded."""

    def __init__(self) -> None:
        self.fields: dict[str, _Node] = {}
        self.each: _Node | None = None
        self.leaf = False
        self.text = False  # a question or answer of a simple layout, which `decode_raw` leaves as it stands

    def add(self, steps: Steps) -> None:
        node = self
        for step in steps:
            if isinstance(step, str):
                node = node.fields.setdefault(step, _Node())
            else:
                node.each = node.each or _Node()
                node = node.each
        node.leaf = True

    def take_whole(self) -> None:
        """Decode this and all below it into plain Python values."""
        self.leaf = True
        for node in [*self.fields.values(), *([self.each] if self.each else [])]:
            node.take_whole()

    @property
    def typed(self) -> bool:
        """True if this is decoded into a struct or list, not into plain Python values."""
        return not self.leaf and bool(self.fields) != (self.each is not None)

    def type(self, *, raw: bool = False) -> Any:
        """The msgspec type that decodes this part and skips everything beside it.

        Args:
            raw: nothing may be null and texts must be there; they stay undecoded.
        """
        if raw and self.text:
            return msgspec.Raw
        if not self.typed:
            return Any
        if self.each is not None:
            elements = list[self.each.type(raw=raw)]  # type: ignore[misc, valid-type]
            return elements if raw else elements | None
        columns = [
            (f"f{i}", node.type(raw=raw), msgspec.NODEFAULT if raw and node.text else None)
            for i, node in enumerate(self.fields.values())
        ]
        rename = {f"f{i}": name for i, name in enumerate(self.fields)}
        part = msgspec.defstruct("Part", columns, rename=rename, gc=False, kw_only=True)
        return part if raw else part | None

    def compiled(self, steps: Steps) -> list[tuple[str, Any]]:
        """The steps from this node on as ("field", attribute), ("key", name) or ("item", number)."""
        node: _Node | None = self
        typed = True
        found: list[tuple[str, Any]] = []
        for step in steps:
            typed = typed and node is not None and node.typed  # below plain values all is plain
            if isinstance(step, str):
                found.append(("field", f"f{list(node.fields).index(step)}") if typed and node else ("key", step))
                node = node.fields.get(step) if node else None
            else:
                found.append(("item", step))
                node = node.each if node else None
        return found

    def at(self, steps: Steps) -> "_Node":
        """The node at a path."""
        node = self
        for step in steps:
            below = node.fields.get(step) if isinstance(step, str) else node.each
            if below is None:
                return _Node()
            node = below
        return node


def pick(value: Any, steps: list[tuple[str, Any]]) -> Any:
    """What lies at a compiled path; None if anything on the way is missing or of another kind."""
    for kind, step in steps:
        if value is None:
            return None
        if kind == "field":
            value = getattr(value, step)
        elif kind == "key":
            value = value.get(step) if isinstance(value, dict) else None
        else:
            value = value[step] if isinstance(value, list) and step < len(value) else None
    return value


class Reader:
    """A layout, ready to decode records and to fetch the fields of their rows.

    Args:
        typed: records are decoded into structs, which refuse a value of the wrong kind anywhere in them. `untyped` is
            the same layout for records as plain values: there a wrong value costs its own row alone.

    Raises:
        ValueError: a path climbs higher than the record.
    """

    def __init__(self, layout: JsonLayout, *, typed: bool = True) -> None:
        self.layout = layout
        self.under = [step for step in steps_of(layout.unit) if isinstance(step, str)]
        self.listed = layout.unit.endswith("[]")
        self._row = steps_of(layout.rows)
        self._root = _Node()
        fields = (
            layout.question, layout.answer, layout.passage, layout.category, layout.group, layout.reference,
            list(layout.only), layout.ranked.answers if layout.ranked else [],
        )  # fmt: skip
        for path in chain.from_iterable(map(_each, fields)):
            self._root.add(self._absolute(path))
        if not typed:
            self._root.take_whole()
        record = self._root.type()
        self.decode_record = msgspec.json.Decoder(record).decode
        self.decode_records = msgspec.json.Decoder(list[record]).decode  # type: ignore[valid-type]
        member: Any = list[record] if self.listed else record  # type: ignore[valid-type]
        for key in reversed(self.under):
            member = msgspec.defstruct("Member", [("f0", member)], rename={"f0": key})
        self._decode_member = msgspec.json.Decoder(member).decode
        self._levels = self._compiled_levels()
        self.question, self.answer = self.getter(layout.question), self.getter(layout.answer)
        self.passage, self.category = self.getter(layout.passage), self.getter(layout.category)
        self.group, self.reference = self.getter(layout.group), self.getter(layout.reference)
        self.only = [(self.getter(path), frozenset(values)) for path, values in layout.only.items()]
        self.plain = not (layout.passage or layout.reference or layout.ranked)
        self.shared = [self._attribute(paths) for paths in (layout.category, layout.group)]
        self.simple = self._is_simple()
        if self.simple:
            self.question_key, self.answer_key = str(layout.question), str(layout.answer)
            for key in (self.question_key, self.answer_key):
                self._root.at(self._absolute(key)).text = True
            self._lists = [attrgetter(".".join(name for _, name in steps)) for steps in self._levels]
            self.decode_raw = msgspec.json.Decoder(list[self._root.type(raw=True)]).decode  # type: ignore[misc]
        texts = (*_each(layout.question), *_each(layout.answer))
        first = (steps_of(path.lstrip("^/"))[0] for path in texts if path.lstrip("^/"))
        self.keys = sorted({step for step in first if isinstance(step, str)})  # which a row holds at most once

    @cached_property
    def untyped(self) -> "Reader":
        """The same layout for records that are plain dicts and lists."""
        return Reader(self.layout, typed=False)

    def fits(self, head: bytes) -> bool:
        """True if a member that begins like this can have the layout."""
        if self.listed and not self.under:
            return head[:1] == b"["
        wanted = self.under[:1] or [step for step in self._root.fields if self.layout.rows.startswith(step)]
        return head[:1] == b"{" and all(b'"' + key.encode() + b'"' in head for key in wanted)

    def decode_member(self, data: bytes) -> list[Any]:
        """All records of a member's whole text; raises what msgspec raises."""
        value = self._decode_member(data)
        for _ in self.under:
            value = value.f0
        return value if self.listed else [value]

    def trails(self, record: Any) -> Iterator[Trail]:
        """The rows of a record, each with the records that enclose it: (record, …, row)."""
        return _descend((record,), self._levels)

    def sizes(self, records: list[Any]) -> npt.NDArray[np.int64]:
        """How many rows each of the records has that `decode_raw` gave.

        Raises:
            TypeError, AttributeError: a list on the way is missing.
        """
        found: Iterable[Any] = records
        bounds = np.arange(len(records) + 1)
        for get in self._lists:
            lists = list(map(get, found))
            bounds = np.cumsum([0, *map(len, lists)])[bounds]
            found = chain.from_iterable(lists)
        return np.diff(bounds)

    def count(self, record: Any) -> int:
        """How many rows a record has."""
        return _count(record, self._levels)

    def ranked(self, trail: Trail) -> list[Any] | None:
        """The ranked answers, best first; [] without a ranking, None if the best is ambiguous."""
        rule = self.layout.ranked
        if rule is None:
            return []
        found = []
        for order, get in enumerate(self._ranked):
            entry = get(trail)
            if isinstance(entry, dict) and entry.get(rule.text) is not None:
                found.append((rank_of(entry.get(rule.rank)), order, entry[rule.text]))
        places = [place for place, _, _ in found]
        if len(found) > 1 and (None in places or places.count(min(places)) > 1):  # type: ignore[type-var]
            return None
        return [text for _, _, text in sorted(found, key=lambda f: f[:2])]

    def getter(self, paths: Paths) -> Getter:
        """A function from a row's trail to the first value found at `paths`."""
        places = []
        for path in _each(paths):
            level, start = self._place(path)
            places.append((level, self._root.at(start).compiled(steps_of(path.lstrip("^/")))))
        if not places:
            return lambda trail: None
        if len(places) == 1 and places[0][1] and all(kind == "field" for kind, _ in places[0][1]):
            only_level, fetch = places[0][0], attrgetter(".".join(name for _, name in places[0][1]))

            def get_field(trail: Trail) -> Any:
                try:
                    return fetch(trail[only_level])
                except AttributeError:  # a part on the way is null
                    return None

            return get_field

        def get(trail: Trail) -> Any:
            for level, steps in places:
                value = pick(trail[level], steps)
                if value is not None:
                    return value
            return None

        return get

    def _attribute(self, paths: Paths) -> Callable[[Any], Any]:
        """A function from a record to the field at one path of names; from anything less simple it takes the long way."""
        if isinstance(paths, str) and paths.startswith("/"):
            steps = self._root.compiled(steps_of(paths.lstrip("/")))
            if steps and all(kind == "field" for kind, _ in steps):
                return attrgetter(".".join(name for _, name in steps))
        get = self.getter(paths)
        return lambda record: get((record,))

    def _is_simple(self) -> bool:
        """True if `wholesale` can take the layout.

        The member is a list, question and answer are plain fields of the row, and all else lies in the record.
        """
        layout = self.layout
        others = [*_each(layout.category), *_each(layout.group)]
        plain = self.plain and not layout.only and layout.unit == "[]" and self._levels
        if not plain or not others or not all(path.startswith("/") for path in others):
            return False
        if any(kind != "field" for steps in self._levels for kind, _ in steps):
            return False
        row = self._root.at(self._row)
        texts = (layout.question, layout.answer)
        return row.typed and all(
            isinstance(text, str) and text in row.fields and row.fields[text].leaf for text in texts
        )

    def _place(self, path: str) -> tuple[int, Steps]:
        """Which element of the trail a path starts at, and the steps to it from the record."""
        if path.startswith("/"):
            return 0, []
        climbs = len(path) - len(path.lstrip("^"))
        lists = [n for n, step in enumerate(self._row) if step is None]
        if climbs > len(lists):
            raise ValueError(f"the path {path!r} climbs higher than the record")
        start = self._row[: lists[-climbs - 1] + 1] if climbs < len(lists) else []
        return len(lists) - climbs, start if climbs else list(self._row)

    def _absolute(self, path: str) -> Steps:
        return [*self._place(path)[1], *steps_of(path.lstrip("^/"))]

    def _compiled_levels(self) -> list[list[tuple[str, Any]]]:
        layout = self.layout
        self._ranked = [self.getter(path) for path in layout.ranked.answers] if layout.ranked else []
        levels, start = [], 0
        for n, step in enumerate(self._row):
            if step is None:
                levels.append(self._root.at(self._row[:start]).compiled(self._row[start:n]))
                start = n + 1
        return levels


def _descend(trail: Trail, levels: list[list[tuple[str, Any]]]) -> Iterator[Trail]:
    if not levels:
        yield trail
        return
    inner = pick(trail[-1], levels[0])
    if isinstance(inner, list):
        if len(levels) == 1:
            for element in inner:
                yield (*trail, element)
        else:
            for element in inner:
                yield from _descend((*trail, element), levels[1:])
    elif inner is not None or trail[-1] is None or isinstance(trail[-1], (str, int, float, list)):
        yield (*trail, *[WRONG] * len(levels))


def _count(value: Any, levels: list[list[tuple[str, Any]]]) -> int:
    if not levels:
        return 1
    inner = pick(value, levels[0])
    if not isinstance(inner, list):
        return 0
    return len(inner) if len(levels) == 1 else sum(_count(element, levels[1:]) for element in inner)
