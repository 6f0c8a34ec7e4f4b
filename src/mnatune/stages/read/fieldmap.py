"""Field maps: the layout of a published data set as data, so that a new set needs a YAML file and no code.

A map names which archives hold labels, and one or more *layouts* of their JSON members:

    unit      where a member's records lie: "" (the member is one record), "[]" (a list), "data_info[]" (under a key)
    rows      where question–answer rows lie within a record: "" (the record is the row), "contents[].QA[]", …
    question, answer, category, group, reference, …   where a row's fields lie

Paths are dotted names. `name[]` walks a list, `name[2]` takes one element. A field path is relative to the row; "^" in
front climbs to the enclosing list element, "/" starts at the record. A list of paths means the first that is there.
"""

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

from ...runs.errors import DataError, UsageError
from ...runs.yaml_text import parse_yaml

if TYPE_CHECKING:
    from ...pack import Pack

Paths = str | list[str]

# Pydantic's setting. It checks these dataclasses where a map is loaded; workers take them without loading pydantic.
FORBID = {"extra": "forbid"}


@dataclass(frozen=True)
class Rule:
    """Archives whose path matches `match` (a shell pattern) belong to `split`, or are skipped for a reason."""

    __pydantic_config__ = FORBID

    match: str
    split: Literal["train", "valid", ""] = ""
    skip: str = ""


@dataclass(frozen=True)
class Ranked:
    """Answers with a ranking: the best becomes the answer, the others alternatives in order."""

    __pydantic_config__ = FORBID

    answers: list[str]
    text: str
    rank: str


@dataclass(frozen=True)
class JsonLayout:
    """One JSON layout; see the module's docstring for the path language."""

    __pydantic_config__ = FORBID

    name: str
    question: Paths
    unit: str = ""
    rows: str = ""
    answer: Paths = field(default_factory=list)
    ranked: Ranked | None = None
    passage: Paths = field(default_factory=list)
    """Text that the question is about; it is put below the question."""
    category: Paths = field(default_factory=list)
    group: Paths = field(default_factory=list)
    reference: Paths = field(default_factory=list)
    require: list[Literal["category", "group"]] = field(default_factory=list)
    """Fields without which a row is dropped; question and answer always are."""
    only: dict[str, list[str]] = field(default_factory=dict)
    """Path → values that a row must have there; rows of other tasks in the same file are counted as "other-task"."""


@dataclass(frozen=True)
class FieldMap:
    """A data set's map."""

    __pydantic_config__ = FORBID

    name: str
    title: str
    licence: str
    layouts: list[JsonLayout]
    homepage: str = ""
    members: str = "*.json"
    rules: list[Rule] = field(default_factory=list)

    def rule_for(self, path: str, *, root: str = "", folder: bool = False) -> Rule:
        """The first rule that matches an archive, without regard to case; by default it is read without a split.

        Args:
            path: from the source's root.
            root: name of the source's own folder, for rules that name a folder.
            folder: the archive is a folder of loose files.
        """
        path = path.casefold() + ("/" if folder else "")
        for rule in self.rules:
            match = rule.match.casefold()
            names = [path, PurePosixPath(path).name, *([f"{root.casefold()}/{path}"] if "/" in match else [])]
            if any(fnmatchcase(name, match) for name in names):
                return rule
        return Rule(match="*")


def load_map(name: str, pack: "Pack") -> FieldMap:
    """A map of the pack by name, or any YAML file by path.

    Raises:
        UsageError: there is no such map.
        DataError: the file is no field map; every fault is named.
    """
    import yaml
    from pydantic import TypeAdapter, ValidationError

    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        path = pack.root / "maps" / f"{name}.yaml"
    if not path.is_file():
        known = sorted(p.stem for p in (pack.root / "maps").glob("*.yaml"))
        raise UsageError(f"there is no field map {name!r}", next_step=f"maps of the pack: {', '.join(known)}")
    try:
        return TypeAdapter(FieldMap).validate_python(parse_yaml(path.read_text(encoding="utf-8-sig")))
    except (ValidationError, yaml.YAMLError) as error:
        raise DataError(f"not a field map: {error}", where=str(path)) from None
