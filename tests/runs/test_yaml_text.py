"""YAML by its 1.2 core schema: what is written is what is read, and nothing explodes."""

import tracemalloc

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mnatune.runs.yaml_text import dump_yaml, parse_yaml

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=("Cs", "Cc")) | st.sampled_from("0123456789eE.:_-+onfyt~<=x\n"))
)


@settings(max_examples=60)
@given(st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text("abc가", min_size=1), inner)))
def test_what_is_written_is_read_again(value: object) -> None:
    """By this loader and by one of YAML 1.1."""
    text = dump_yaml(value)
    assert parse_yaml(text) == value
    assert yaml.safe_load(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("off", "off"), ("no", "no"), ("1e-2", 0.01), ("1:30", "1:30"), ("010", "010"), ("1_000", 1000), ("2024-01-01", "2024-01-01"),
     ("true", True), ("~", None), ("", None), (".5", 0.5), ("-3", -3), ("0x1f", 31)],
)  # fmt: skip
def test_scalars(text: str, value: object) -> None:
    found = parse_yaml(text)
    assert found == value
    assert type(found) is type(value)


def nested(link: str, levels: int = 12) -> str:
    lines = ["a0: &a0 {k: [x, x, x, x, x, x, x, x, x, x]}"]
    lines += [link.format(n, ", ".join([f"*a{n - 1}"] * 10)) for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    "text",
    [nested("a{0}: &a{0} [{1}]"), nested("a{0}: &a{0} {{<<: [{1}]}}"), "&a [*a]", "a: &a {b: *a}", "[" * 3000, "a: \0", "a: 1\na: 2", "x: {a: 1, a: 1}",
     "a: !!python/object/apply:os.system [ls]"],
)  # fmt: skip
def test_hostile_text_is_refused_in_little_memory(text: str) -> None:
    tracemalloc.start()
    with pytest.raises(yaml.YAMLError):
        parse_yaml(text)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 20_000_000


def test_an_alias_within_reason_stays_usable() -> None:
    assert parse_yaml("a: &a {x: 1}\nb: {<<: *a, y: 2}") == {"a": {"x": 1}, "b": {"x": 1, "y": 2}}
