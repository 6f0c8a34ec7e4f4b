"""General dialogues stand in train alone, at their share, apart from the exam and from what the field's rows ask."""

import json
from pathlib import Path
from unicodedata import normalize

import pytest

from mnatune.model.prompt import Message
from mnatune.pack import Pack
from mnatune.runs.errors import DataError, UsageError
from mnatune.runs.job import Job
from mnatune.runs.journey import perform
from mnatune.runs.recipe import Recipe, load_recipe
from mnatune.runs.records import QA, QA_SCHEMA, Source, content_id, to_table, write_table
from mnatune.runs.workspace import Manifest, Run, Stage, read_jsonl, write_jsonl
from mnatune.stages.compose import compose
from mnatune.stages.compose.general_rows import HeldOutQuestions
from mnatune.text.normalize import sameness


def make_job(root: Path, general: dict[str, float], rows: int = 60) -> Job:
    run = Run(root)
    judged = [
        QA(
            content_id(str(n), ""),
            f"{n}번째 합병 계약의 조건은?",
            f"조건은 {n}가지입니다.",
            "법률",
            str(n),
            Source("s"),
        )
        for n in range(rows)
    ]
    run.perform(
        "judge", {}, {}, 0, "", lambda place: write_table(to_table(judged, QA_SCHEMA), place.path("qa.parquet"))
    )
    recipe = Recipe.model_validate(
        {"name": "t", "model": {"id": "starter", "max_length": 320}, "compose": {"general": general}}
    )
    run.folder("compose").mkdir()
    return Job(recipe, Pack.load("mna_ko"), run, Stage(run.folder("compose"), Manifest("compose", "", {}, {}, 42)))


def split(job: Job, name: str) -> list[dict]:
    return read_jsonl(job.path(f"{name}.jsonl"))


def chat(path: Path, questions: list[str], **more: str) -> str:
    write_jsonl(path, [{"question": q, "answer": "그렇게 하시면 됩니다.", **more} for q in questions])
    return str(path)


@pytest.mark.parametrize("share", [0.1, 0.4])
def test_a_share_of_the_training_rows_is_general(tmp_path, pack, share) -> None:
    job = make_job(tmp_path / "run", {str(pack.path("general.jsonl")): share})
    compose(job)
    train = split(job, "train")
    general = [row for row in train if row["source"]["name"] == "general"]
    assert len(general) / len(train) == pytest.approx(share, abs=0.5 / len(train))
    assert not {row["source"]["name"] for name in ("valid", "test") for row in split(job, name)} - {"s"}
    assert {row["messages"][0]["content"] for row in train} == {pack.system_prompt}
    assert job.manifest.facts["general"][0]["rows"] == len(general)
    assert "warnings" not in job.manifest.facts
    assert f"일반 대화 {len(general)}행" in job.path("README.md").read_text(encoding="utf-8")
    again = make_job(tmp_path / "again", {str(pack.path("general.jsonl")): share})
    compose(again)
    assert split(again, "train") == train


def test_what_is_left_out_is_counted_and_a_shortage_is_said(tmp_path, pack) -> None:
    questions = [
        "김치는 어떻게 담그나요?",
        "김치는 어떻게  담그나요",
        "3번째 합병 계약의 조건은?",
        pack.exam_questions[0],
    ]
    path = tmp_path / "chat.jsonl"
    chat(path, questions)
    with path.open("a", encoding="utf-8") as handle:
        handle.write(json.dumps({"question": "길게 말해 주세요.", "answer": "아주 긴 답입니다. " * 200}) + "\n")
    job = make_job(tmp_path / "run", {str(path): 0.2})
    compose(job)
    told = job.manifest.facts["general"][0]
    assert told["left_out"] == {"duplicate": 1, "exam-overlap": 1, "held-out-overlap": 1, "longer-than-320-tokens": 1}
    assert (told["rows"], told["wanted"]) == (1, 14)
    assert job.manifest.facts["warnings"] == [
        "compose.general: chat.jsonl gives 1 of the 14 rows that its share asks for"
    ]


def test_no_turn_of_a_general_row_gives_a_held_out_question_away(tmp_path) -> None:
    compose(before := make_job(tmp_path / "before", {}))
    asked = {name: split(before, name)[0]["messages"][1]["content"] for name in ("train", "valid", "test")}
    path = tmp_path / "chat.jsonl"
    openings = [asked["test"], f"혹시 {asked['test']}", asked["valid"], "안녕하세요?", "오늘 뭐 먹지?"]
    rows = [
        [(opening, "네."), (f"{n}월에는 무슨 꽃이 피나요?", "벚꽃입니다.")] for n, opening in enumerate(openings, 3)
    ]
    rows += [[(f"혹시 {asked['test']}", "모릅니다.")]]
    turns = [
        [
            {"role": role, "content": text}
            for pair in row
            for role, text in zip(("user", "assistant"), pair, strict=True)
        ]
        for row in rows
    ]
    write_jsonl(path, [{"messages": one} for one in turns])
    job = make_job(tmp_path / "run", {str(path): 0.02})
    compose(job)
    assert job.manifest.facts["general"][0]["left_out"] == {"held-out-overlap": 4}
    learnt = {turn["content"] for row in split(job, "train") for turn in row["messages"]}
    assert learnt.isdisjoint({asked["test"], asked["valid"]})
    proof = json.loads(job.path("leakage.json").read_text(encoding="utf-8"))
    assert proof["splits"]["train"] == len(split(job, "train")) == 54 + job.manifest.facts["general"][0]["rows"]


def test_a_held_out_question_of_a_few_letters_is_found_in_any_turn() -> None:
    single = QA("a", "실사란?", "조사입니다.", "", "a", Source("s"))
    follows = QA("b", "기한은요?", "두 주입니다.", "", "b", Source("s"), history=["합병이란?", "합치는 일입니다."])
    held = HeldOutQuestions([single, follows])
    for first, second in (
        ("Q. 실사란", "네?"),
        ("네?", "실사란?"),
        ("합병이란", "네?"),
        ("안녕?", "기한은요"),
        ("네?", "왜요?"),
    ):
        said = zip(("user", "assistant", "user"), (first, "실사란?", second), strict=True)
        turns: list[Message] = [{"role": role, "content": text} for role, text in said]
        assert held.in_dialogue(turns) is (second != "왜요?")


def test_what_is_written_is_checked_whatever_it_was_made_of(tmp_path, monkeypatch) -> None:
    compose(before := make_job(tmp_path / "before", {}))
    path = chat(tmp_path / "chat.jsonl", [split(before, "test")[0]["messages"][1]["content"]])
    monkeypatch.setattr(HeldOutQuestions, "in_dialogue", lambda self, turns: False)
    with pytest.raises(DataError, match="1 questions stand in two splits"):
        compose(make_job(tmp_path / "run", {path: 0.02}))


def test_dialogues_keep_their_turns_and_their_own_system_prompt(tmp_path) -> None:
    turns = [{"role": r, "content": c} for r, c in (("user", "안녕"), ("assistant", "네."), ("user", "비 와?"))]
    own = [{"role": "system", "content": "친구처럼 답합니다."}, *turns, {"role": "assistant", "content": "응, 와."}]
    write_jsonl(tmp_path / "own.jsonl", [{"messages": own}])
    job = make_job(tmp_path / "run", {str(tmp_path / "own.jsonl"): 0.01})
    compose(job)
    assert [row["messages"] for row in split(job, "train") if row["category"] == "일반"] == [own]


@pytest.mark.parametrize(
    "row",
    [
        {"question": "왜요?"},
        {"question": "왜요?", "answer": None},
        {"messages": [{"role": "user", "content": "왜요?"}]},
        {"question": "왜", "answer": " "},
    ],
)
def test_a_line_that_is_no_dialogue_is_refused_with_its_place(tmp_path, row) -> None:
    write_jsonl(tmp_path / "bad.jsonl", [row])
    with pytest.raises(DataError, match="not a general dialogue") as caught:
        compose(make_job(tmp_path / "run", {str(tmp_path / "bad.jsonl"): 0.1}))
    assert caught.value.where == f"{tmp_path / 'bad.jsonl'}:1"


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ([1], "a row must be a JSON object"),
        ({"messages": "ab"}, "messages must be a list of turns, and it is text"),
        ({"messages": [1]}, "number 1 is no turn"),
        (
            {"messages": [{"role": "user", "content": "왜?"}, {"role": "assistant", "content": None}]},
            "turn 2 is no text",
        ),
        (
            {"messages": [{"role": "human", "content": "왜?"}, {"role": "assistant", "content": "네."}]},
            "role of turn 1",
        ),
    ],
)
def test_a_line_with_another_shape_is_refused_with_its_place(tmp_path, row, told) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(f"\n{json.dumps(row)}\n", encoding="utf-8")
    with pytest.raises(DataError, match=told) as caught:
        compose(make_job(tmp_path / "run", {str(path): 0.1}))
    assert caught.value.where == f"{path}:2"
    assert caught.value.next_step


def test_a_file_without_a_line_is_refused(tmp_path) -> None:
    (tmp_path / "none.jsonl").write_text("\n", encoding="utf-8")
    with pytest.raises(DataError, match="the file holds no rows"):
        compose(make_job(tmp_path / "run", {str(tmp_path / "none.jsonl"): 0.1}))


def test_general_dialogues_are_brought_to_nfc(tmp_path) -> None:
    chat(tmp_path / "apart.jsonl", [normalize("NFD", "김치는 어떻게 담그나요?")])
    job = make_job(tmp_path / "run", {str(tmp_path / "apart.jsonl"): 0.01})
    compose(job)
    (row,) = (row for row in split(job, "train") if row["category"] == "일반")
    assert row["messages"][1]["content"] == "김치는 어떻게 담그나요?"


def test_the_recipe_refuses_shares_that_leave_no_room_and_files_that_are_not_there(tmp_path) -> None:
    with pytest.raises(UsageError, match="leave room"):
        load_recipe("quickstart", ["compose.general={a.jsonl: 0.5, b.jsonl: 0.5}"])
    job = make_job(tmp_path / "run", {}, 3)
    recipe = load_recipe("quickstart", ["seed=0", "compose.general={nowhere.jsonl: 0.1}"])
    with pytest.raises(UsageError, match=r"no file of general dialogues 'nowhere\.jsonl'"):
        perform("compose", recipe, job.run)


def test_the_hundred_rows_of_the_pack_differ_from_all_that_is_trained_and_examined(pack) -> None:
    rows = read_jsonl(pack.path("general.jsonl"))
    assert len(rows) == 100
    assert len({row["topic"] for row in rows}) >= 20
    field = {sameness(row["question"]) for row in read_jsonl(pack.path("qa.jsonl"))} | {
        sameness(q) for q in pack.exam_questions
    }
    assert field.isdisjoint(sameness(row["question"]) for row in rows)
