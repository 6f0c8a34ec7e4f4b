"""The order of training: every epoch whole, nothing twice, resuming is skipping."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tiny_run import SYSTEM, messages

from mnatune.model.load import load_tokenizer
from mnatune.model.prompt import Example, examples
from mnatune.runs.errors import DataError
from mnatune.runs.workspace import write_jsonl
from mnatune.stages.train.token_rows import (
    IGNORED,
    as_dataset,
    count_steps,
    load_rows,
    shared_prefix,
    step_order,
    tokens_by_step,
)

lengths = st.lists(st.integers(1, 400), min_size=1, max_size=150)
per_step = st.integers(1, 12)
seeds = st.integers(0, 5)


@example([1] * 5, 2, 2, 0)
@given(lengths, per_step, st.integers(1, 3), seeds)
def test_every_epoch_holds_distinct_rows_and_leaves_the_remainder_out(lengths, per_step, epochs, seed) -> None:
    order = step_order(lengths, per_step, epochs, seed)
    rows = min(per_step, len(lengths))
    size = len(lengths) // rows * rows
    assert len(order) == size * epochs
    for epoch in range(epochs):
        part = order[epoch * size : (epoch + 1) * size]
        assert len(set(part)) == size
        assert set(part) <= set(range(len(lengths)))


@given(lengths, per_step, st.floats(0.1, 3), seeds)
def test_the_order_is_fixed_and_a_longer_training_begins_with_the_shorter(lengths, per_step, epochs, seed) -> None:
    order = step_order(lengths, per_step, epochs, seed)
    assert order == step_order(lengths, per_step, epochs, seed)
    assert step_order(lengths, per_step, epochs + 1, seed)[: len(order)] == order
    rows = min(per_step, len(lengths))
    assert len(order) == rows * count_steps(len(lengths), rows, epochs)


@given(lengths, per_step, seeds)
def test_tokens_are_counted_up_to_each_step(lengths, per_step, seed) -> None:
    order = step_order(lengths, per_step, 1, seed)
    rows = min(per_step, len(lengths))
    marks = tokens_by_step(lengths, order, rows)
    assert marks[0] == 0
    assert len(marks) == len(order) // rows + 1
    assert marks[-1] == sum(lengths[i] for i in order)


def test_rows_of_like_length_meet_in_a_step() -> None:
    lengths = [n % 97 + 1 for n in range(800)]
    order = step_order(lengths, 8, 1, 42)
    steps = [[lengths[i] for i in order[at : at + 8]] for at in range(0, 800, 8)]
    assert sum(8 * max(s) for s in steps) < 1.05 * sum(lengths)
    assert order[:8] != sorted(order[:8])
    assert step_order(lengths, 8, 1, 43) != order


def test_whole_steps_only() -> None:
    assert count_steps(11_130, 8, 3) == 4_173
    assert count_steps(5, 8, 1) == 1
    assert count_steps(100, 1, 0.29) == 29  # 28.999… in floating point
    with pytest.raises(DataError, match="no row"):
        step_order([], 8, 1, 42)


@given(
    st.lists(st.tuples(st.lists(st.integers(0, 3), min_size=1, max_size=8), st.integers(1, 3)), min_size=1, max_size=6)
)
def test_the_shared_prefix_is_the_longest_that_leaves_a_prompt_token(rows) -> None:
    made = [Example(prompt, [9] * answer) for prompt, answer in rows]
    shared = shared_prefix(made)
    assert all(row.prompt[:shared] == made[0].prompt[:shared] for row in made)
    assert shared < min(len(row.prompt) for row in made)
    longer = [tuple(row.prompt[: shared + 1]) for row in made]
    assert len(set(longer)) > 1 or shared + 1 == min(len(row.prompt) for row in made)


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer("starter")


def dialogue_of_two() -> list[dict[str, str]]:
    return [
        *messages(1),
        {"role": "user", "content": "더 짧게 말해 주세요."},
        {"role": "assistant", "content": "네, 그렇습니다."},
    ]


def test_a_dialogue_gives_a_row_for_each_answer_or_the_last(tokenizer, tmp_path) -> None:
    path = tmp_path / "train.jsonl"
    write_jsonl(
        path, [{"id": "a", "messages": dialogue_of_two()}, {"id": "b", "messages": dialogue_of_two(), "loss": "last"}]
    )
    rows = load_rows(path, tokenizer, 320)
    assert rows.ids == ["a", "a", "b"]
    assert rows.examples[1] == rows.examples[2] == examples(tokenizer, dialogue_of_two())[1]
    row = as_dataset(rows)[2]
    answer = rows.examples[2]
    assert row["input_ids"] == answer.prompt + answer.completion
    assert row["labels"] == [IGNORED] * len(answer.prompt) + answer.completion


def test_rows_that_cannot_be_trained_are_refused_with_their_line(tokenizer, tmp_path) -> None:
    path = tmp_path / "train.jsonl"
    write_jsonl(path, [{"id": "a", "messages": messages(1)}])
    with pytest.raises(DataError, match=r"train\.jsonl:1"):
        load_rows(path, tokenizer, 20)
    write_jsonl(
        path, [{"id": "a", "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "?"}]}]
    )
    with pytest.raises(DataError, match="without an answer"):
        load_rows(path, tokenizer, 320)
