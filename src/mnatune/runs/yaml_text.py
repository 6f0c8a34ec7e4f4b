"""YAML as people mean it: one strict loader for recipes and packs, and a writer that it reads back unchanged.

PyYAML follows YAML 1.1, where `off` is false, `1e-2` is text, `1:30` is 90 and a key may stand twice. Here scalars follow
the core schema of YAML 1.2, a key that stands twice is an error, and aliases cannot blow up: a few hundred bytes of
nested aliases may otherwise stand for gigabytes.
"""

import re
from typing import Any, ClassVar

import yaml

MOST_NODES = 200_000  # after aliases are expanded
KeyPath = tuple[str | int, ...]

# libyaml where PyYAML was built with it: ten times faster on a lexicon, and as safe.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

SCALARS = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?(?:0|[1-9][0-9_]*)|0x[0-9a-fA-F]+", list("-+0123456789")),
    "float": (
        r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    "merge": (r"<<", ["<"]),
}


class _CoreLoader(_Loader):  # type: ignore[misc]
    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}


class _CoreDumper(yaml.SafeDumper):
    """Quotes what either version of YAML would take for something else than text."""


for _kind in (_CoreLoader, _CoreDumper):
    for _tag, (_pattern, _first) in SCALARS.items():
        _kind.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), _first)


def parse_yaml(text: str) -> Any:
    """The value of a YAML text.

    Raises:
        yaml.YAMLError: not YAML, a key that stands twice, or aliases that expand beyond `MOST_NODES`.
    """
    loader = _CoreLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _check(node)
        return loader.construct_document(node)
    except RecursionError as error:
        raise yaml.YAMLError("nested too deeply") from error
    except ValueError as error:  # YAML allows the character or the number, Python does not
        raise yaml.YAMLError(str(error)) from error
    finally:
        loader.dispose()


def lines_of(text: str) -> dict[KeyPath, int]:
    """The line of every key, from 1, by its path, in a text that `parse_yaml` accepts."""
    return dict(_lines(yaml.compose(text, Loader=_CoreLoader)))


def dump_yaml(value: Any) -> str:
    """YAML that `parse_yaml` reads as the same value, keys in the given order."""
    return str(yaml.dump(value, Dumper=_CoreDumper, allow_unicode=True, sort_keys=False))


def place_and_fault(error: yaml.YAMLError, file: object) -> tuple[str, str]:
    """Where a YAML error is, as file:line, and what it says."""
    mark = getattr(error, "problem_mark", None)
    return f"{file}:{mark.line + 1}" if mark else str(file), str(getattr(error, "problem", None) or error)


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _check(root: yaml.Node) -> None:
    """Refuse doubled keys and exploding aliases; each node is visited once."""
    sizes: dict[int, int] = {}
    open_: set[int] = set()

    def size(node: yaml.Node) -> int:
        if id(node) not in sizes:
            if id(node) in open_:
                raise yaml.MarkedYAMLError(problem="an alias holds itself", problem_mark=node.start_mark)
            open_.add(id(node))
            _refuse_doubles(node)
            sizes[id(node)] = 1 + sum(map(size, _children(node)))
            open_.discard(id(node))
        if sizes[id(node)] > MOST_NODES:
            problem = f"aliases expand to more than {MOST_NODES:,} values"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
        return sizes[id(node)]

    size(root)


def _refuse_doubles(node: yaml.Node) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                line = key.start_mark.line + 1
                if key.value in seen:
                    problem = f"the key {key.value!r} stands twice, in line {seen[key.value]} and here"
                    raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
                seen[key.value] = line


def _lines(node: yaml.Node | None, path: KeyPath = ()) -> list[tuple[KeyPath, int]]:
    found: list[tuple[KeyPath, int]] = []
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*path, str(key.value))
            found += [(here, key.start_mark.line + 1), *_lines(value, here)]
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            found += [((*path, index), value.start_mark.line + 1), *_lines(value, (*path, index))]
    return found
