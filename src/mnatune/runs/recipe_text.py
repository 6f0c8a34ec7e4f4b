"""A recipe's text: read as a tree with overrides, and its faults in words.

Each fault is told with its place, what a removed key became, or the nearest name.
"""

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from .errors import UsageError
from .yaml_text import KeyPath, lines_of, parse_yaml, place_and_fault

# Other tools' names of keys.
HABITS = {
    "base_model": "id",
    "batch_size": "rows_per_step",
    "lora_alpha": "alpha",
    "lora_dropout": "dropout",
    "lora_r": "r",
    "lr": "learning_rate",
    "model_name_or_path": "id",
    "num_train_epochs": "epochs",
    "rank": "r",
    "target_modules": "targets",
    "threshold": "keep_above",
}


def read_tree(file: Path, overrides: Iterable[str]) -> tuple[dict[str, Any], dict[KeyPath, str]]:
    """A recipe file's values with the overrides applied, and the place of each key."""
    try:
        text = file.read_text(encoding="utf-8-sig")
        tree = parse_yaml(text) or {}
    except UnicodeDecodeError:
        step = "save it as UTF-8 in your editor"
        raise UsageError("the recipe is not UTF-8 text", where=str(file), next_step=step) from None
    except OSError as error:
        raise UsageError(f"the recipe cannot be read: {error.strerror}", where=str(file)) from error
    except yaml.YAMLError as error:
        where, fault = place_and_fault(error, file)
        raise UsageError(f"the recipe is not valid YAML: {fault}", where=where) from None
    if not isinstance(tree, dict):
        raise UsageError("the recipe is not a mapping of sections", where=str(file))
    places = {path: f"{file}:{line}" for path, line in lines_of(text).items()}
    for override in overrides:
        places |= dict.fromkeys(_apply(tree, override), f"--set {override}")
    _switch_extra(tree)
    return tree, places


def _apply(tree: dict[str, Any], override: str) -> list[KeyPath]:
    """Set one value; returns the paths that it wrote."""
    key, separator, value = override.partition("=")
    if not separator:
        raise UsageError(f"--set takes section.key=value, not {override!r}")
    *sections, last = path = key.strip().split(".")
    for name in sections:
        tree = tree.setdefault(name, {})
        if not isinstance(tree, dict):
            raise UsageError(f"--set {key}: {name!r} is not a section")
    try:
        tree[last] = parse_yaml(value)
        return [tuple(path), *((*path, *inner) for inner in lines_of(value))]
    except yaml.YAMLError as error:
        raise UsageError(f"--set {key}: the value is not valid YAML") from error


def _switch_extra(tree: dict[str, Any]) -> None:
    """Read yes, no, on and off in `train.extra` as booleans: nobody else checks these values. A strategy may be "no"."""
    train = tree.get("train")
    extra = train.get("extra") if isinstance(train, dict) else None
    if isinstance(extra, dict):
        switches = {"yes": True, "on": True, "no": False, "off": False}
        for key, value in extra.items():
            if isinstance(value, str) and not str(key).endswith("strategy"):
                extra[key] = switches.get(value.lower(), value)


def explain(
    error: ValidationError,
    file: Path,
    places: Mapping[KeyPath, str],
    whole: type[BaseModel],
    removed: Mapping[str, str],
) -> str:
    """All faults of a recipe, one line each.

    Args:
        places: the place of each key, from `read_tree`.
        whole: the recipe's class.
        removed: key of an earlier version → what stands for it now.
    """
    faults: dict[KeyPath, list[str]] = {}
    for fault in error.errors():
        path = tuple(part for part in fault["loc"] if not str(part).startswith(("literal[", "constrained-")))
        unknown = fault["type"] == "extra_forbidden"
        words = f"unknown key{_did_you_mean(whole, path)}" if unknown else fault["msg"].removeprefix("Value error, ")
        faults.setdefault(path, []).append(words)
    told = []
    for path, said in faults.items():
        place = next((places[path[:n]] for n in range(len(path), 0, -1) if path[:n] in places), str(file))
        dotted = ".".join(map(str, path))
        gone = removed.get(dotted)
        told.append(f"{place}: {dotted}: " + (f"this key is gone: {gone}" if gone else ", or: ".join(said)))
    return "\n  ".join(["the recipe is wrong", *told])


def _did_you_mean(whole: type[BaseModel], path: KeyPath) -> str:
    """The nearest key of the same section by spelling or habit, else the same key of another section."""
    wrong, siblings = str(path[-1]), _keys_at(whole, path[:-1])
    meant = HABITS.get(wrong, wrong)
    near = [meant] if meant in siblings else difflib.get_close_matches(wrong, siblings, n=1)
    if not near:
        near = [f"{s}.{meant}" for s in whole.model_fields if meant in _keys_at(whole, (s,))]
    return f"; did you mean {near[0]!r}?" if near else ""


def _keys_at(whole: Any, path: KeyPath) -> list[str]:
    for name in path:
        inner = [part for part in get_args(whole) if hasattr(part, "model_fields")]
        if inner:  # a list or mapping of sections: the name is its index or key
            whole = inner[0]
        else:
            field = getattr(whole, "model_fields", {}).get(str(name))
            whole = field.annotation if field else None
    return list(getattr(whole, "model_fields", {}))
