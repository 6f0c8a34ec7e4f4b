"""Records are cut out of a JSON stream wherever its chunks and windows end."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnatune.stages.read import split

NESTED = st.recursive(
    st.one_of(st.text(st.sampled_from('가"\\[]{}:,a\n'), max_size=6), st.integers(), st.none()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(st.sampled_from('가"\\['), max_size=2), inner, max_size=3)
    ),
    max_leaves=12,
)
ELEMENTS = st.lists(
    st.one_of(st.lists(NESTED, max_size=3), st.dictionaries(st.sampled_from(("가", "b")), NESTED)), max_size=5
)


@settings(max_examples=300, deadline=None)
@given(ELEMENTS, st.booleans(), st.booleans(), st.integers(1, 40), st.integers(1, 40), st.data())
def test_records_are_those_of_the_list_whatever_the_windows(elements, under, spaced, piece, window, data):
    value = {"앞": [["아님"]], "data_info": elements, "뒤": {"data_info": [{"속": 1}]}} if under else elements
    text = json.dumps(value, ensure_ascii=False, indent=1 if spaced else None).encode()
    chunks = [text[at : at + piece] for at in range(0, len(text), piece)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(split, "WINDOW", window)
        found = list(split.split_records(iter(chunks), ["data_info"] if under else []))
        assert [json.loads(record) for record in found] == elements
        cut = text[: data.draw(st.integers(0, len(text) - 1))]
        whole = [r for r in split.split_records(iter([cut]), ["data_info"] if under else []) if type(r) is bytes]
    assert [json.loads(record) for record in whole] == elements[: len(whole)]
