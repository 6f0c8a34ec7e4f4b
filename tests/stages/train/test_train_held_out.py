"""Rows that a recipe names for training must not ask what the run is tested on."""

import pytest
from tiny_run import compose, make_recipe, messages, train_job

from mnatune.runs.errors import DataError
from mnatune.runs.workspace import write_jsonl
from mnatune.stages.train import train
from mnatune.stages.train.held_out_rows import refuse_test_questions

FOLLOWED = [{"role": "user", "content": "기한은요?"}, {"role": "assistant", "content": "두 주입니다."}]


@pytest.fixture
def run(tmp_path):
    """A run that is tested on question 700, and on what follows question 701."""
    made = compose(tmp_path / "run", rows=8)
    rows = [{"id": "a", "messages": messages(700)}, {"id": "b", "messages": [*messages(701), *FOLLOWED]}]
    write_jsonl(made.folder("compose") / "test.jsonl", rows)
    return made


def preference(turns: list[dict[str, str]]) -> dict:
    worse = [{"role": "assistant", "content": "모릅니다."}]
    return {"id": "p", "prompt": turns[:-1], "chosen": turns[-1:], "rejected": worse}


@pytest.mark.parametrize("method", ["dpo", "kto", "grpo", "distill"])
def test_every_method_refuses_rows_that_ask_a_question_of_the_test_split(run, tmp_path, method) -> None:
    made = preference if method in ("dpo", "kto") else lambda turns: {"id": "r", "messages": turns}
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, [made(messages(n)) for n in (1, 700, 2)])
    recipe = make_recipe("no-such-model", method=method, options={"rows": str(path)}, from_adapter="nowhere")
    with pytest.raises(DataError, match="1 rows to learn from ask a question of the run's own") as caught:
        train(train_job(recipe, run))
    assert caught.value.where == f"{path}:2"
    assert str(run.folder("compose") / "test.jsonl") in caught.value.next_step


def test_the_test_split_itself_and_a_folder_of_rows_are_refused(run, tmp_path) -> None:
    test = run.folder("compose") / "test.jsonl"
    recipe = make_recipe("m", method="grpo", options={"rows": str(test)})
    with pytest.raises(DataError, match="2 rows"):
        refuse_test_questions(recipe, run, "train.jsonl")
    write_jsonl(tmp_path / "export" / "unpaired.jsonl", [preference([*messages(701), *FOLLOWED])])
    recipe = make_recipe("m", method="kto", options={"rows": str(tmp_path / "export")}, from_adapter="a")
    with pytest.raises(DataError, match="1 rows") as caught:
        refuse_test_questions(recipe, run, "unpaired.jsonl")
    assert caught.value.where.endswith("unpaired.jsonl:1")


@pytest.mark.parametrize(
    ("row", "refused"),
    [
        ({"messages": [*messages(700), *FOLLOWED]}, True),
        ({"messages": [*messages(700), *FOLLOWED], "loss": "last"}, False),
        (preference([*messages(700), *FOLLOWED]), False),
        ({"messages": [*messages(1), *FOLLOWED]}, False),
        ({"messages": messages(701)}, False),
        ({"messages": [{**messages(700)[1], "content": "자료: … 700. 합병?"}], "evidence": {"question": ""}}, False),
        (
            {
                "messages": [{"role": "user", "content": f"자료와 함께 묻습니다. {messages(700)[1]['content']}"}],
                "evidence": {"question": messages(700)[1]["content"], "passages": []},
            },
            True,
        ),
        ({"prompt": "글", "completion": "답"}, False),
    ],
)
def test_what_counts_is_the_question_whose_answer_is_learnt(run, tmp_path, row, refused) -> None:
    write_jsonl(tmp_path / "rows.jsonl", [row])
    recipe = make_recipe("m", method="grpo", options={"rows": str(tmp_path / "rows.jsonl")})
    if refused:
        with pytest.raises(DataError, match="ask a question"):
            refuse_test_questions(recipe, run, "train.jsonl")
    else:
        refuse_test_questions(recipe, run, "train.jsonl")


def test_a_run_without_a_test_split_or_without_named_rows_has_nothing_to_refuse(run, tmp_path) -> None:
    refuse_test_questions(make_recipe("m", method="grpo"), run, "train.jsonl")
    recipe = make_recipe("m", method="grpo", options={"rows": str(tmp_path / "nowhere.jsonl")})
    refuse_test_questions(recipe, run, "train.jsonl")
    test = run.folder("compose") / "test.jsonl"
    recipe = make_recipe("m", method="grpo", options={"rows": str(test.rename(tmp_path / "rows.jsonl"))})
    refuse_test_questions(recipe, run, "train.jsonl")


@pytest.mark.parametrize(
    "line", ["[1]", '{"messages": "ab"}', '{"messages": [1], "evidence": []}', '{"prompt": 3}', "{"]
)
def test_a_line_that_is_no_dialogue_is_refused_with_its_place_not_by_a_traceback(
    run, tiny_model, tmp_path, line
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(f"\n{line}\n", encoding="utf-8")
    recipe = make_recipe(tiny_model, method="grpo", options={"rows": str(path)})
    with pytest.raises(DataError) as caught:
        train(train_job(recipe, run))
    assert caught.value.where == f"{path}:2"
