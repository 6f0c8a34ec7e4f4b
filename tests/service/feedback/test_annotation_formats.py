"""Label Studio and Argilla: out and back gives the same grades; files from the tools; files that are none."""

import json

import pytest
from made_feedback import generation, mask
from typer.testing import CliRunner

from mnatune.cli import app
from mnatune.runs.errors import DataError
from mnatune.service.feedback.annotation_formats import FORMATS, read_grades, take_grades, write_tasks
from mnatune.service.feedback.sink import Grade, UnknownItem
from mnatune.service.feedback.store import FeedbackStore


def facts(store):
    return sorted((one.generation, one.rater, one.grade, one.comment) for one in store.grades())


@pytest.fixture
def graded(store):
    for number in range(3):
        store.save_generation(generation(number))
    store.save_generation(generation(9, consent=False))
    store.grade(Grade("gen-0", "key:kim", 4))
    store.grade(Grade("gen-0", "key:lee", 1, "없는 조문"))
    store.grade(Grade("gen-1", "key:kim", None))
    return store


@pytest.mark.parametrize("kind", FORMATS)
def test_out_and_back_gives_the_same_grades(graded, kind, tmp_path):
    out = tmp_path / "tasks.json"
    assert write_tasks(graded, out, kind) == (3, 2)
    assert "gen-9" not in out.read_text(encoding="utf-8")
    other = FeedbackStore("sqlite://", mask)
    other.save_generation(generation(0))
    taken = take_grades(other, read_grades(out))
    assert (taken.stored, taken.same, taken.unknown) == (2, 0, 0)
    assert facts(other) == facts(graded)
    assert take_grades(other, read_grades(out)).same == 2


def test_a_grade_of_an_answer_that_is_gone_is_told(graded, tmp_path):
    write_tasks(graded, tmp_path / "a.json", "argilla")
    empty = FeedbackStore("sqlite://", mask)
    assert take_grades(empty, read_grades(tmp_path / "a.json")).unknown == 2


def test_what_label_studio_adds_is_read(tmp_path):
    """An export of its own: ids, dates, an account by number or address, a cancelled annotation, one without a grade."""
    rating = {
        "id": "x",
        "from_name": "grade",
        "to_name": "answer",
        "type": "rating",
        "origin": "manual",
        "value": {"rating": 3},
    }
    text = {"from_name": "comment", "to_name": "answer", "type": "textarea", "value": {"text": ["첫 줄", "둘째 줄"]}}
    annotations = [
        {"id": 5, "completed_by": 7, "result": [rating, text], "was_cancelled": False, "lead_time": 3.1},
        {"id": 6, "completed_by": {"id": 8, "email": "lee@example.com"}, "result": [rating], "was_cancelled": False},
        {"id": 7, "completed_by": 9, "result": [], "was_cancelled": True},
        {"id": 8, "completed_by": 9, "result": [text], "was_cancelled": False},
    ]
    file = tmp_path / "ls.json"
    file.write_text(json.dumps([{"id": 1, "data": {"id": "gen-1"}, "annotations": annotations, "predictions": []}]))
    assert [(g.rater, g.grade, g.comment) for g in read_grades(file)] == [
        ("label-studio:7", 3, "첫 줄\n둘째 줄"),
        ("label-studio:lee@example.com", 3, ""),
    ]


def test_what_argilla_adds_is_read(tmp_path):
    user = "11111111-2222-3333-4444-555555555555"
    record = {"id": "gen-1", "_server_id": "s", "fields": {}, "metadata": {}, "suggestions": {}, "vectors": {},
              "responses": {"grade": [{"value": 2, "user_id": user}]}}  # fmt: skip
    file = tmp_path / "argilla.json"
    file.write_text(json.dumps([record]))
    assert [(g.generation, g.rater, g.grade) for g in read_grades(file)] == [("gen-1", f"argilla:{user}", 2)]


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[1]", '[{"id": "a"}]', '[{"data": {}, "annotations": [{"result": [{"from_name": "grade", "value": {"rating": 3}}]}]}]',
     '[{"id": "a", "responses": {"grade": [{"value": 9, "user_id": "u"}]}}]'],
)  # fmt: skip
def test_a_file_of_another_form_is_refused_with_its_place(tmp_path, text):
    file = tmp_path / "x.json"
    file.write_text(text)
    with pytest.raises(DataError) as refused:
        list(read_grades(file))
    assert "x.json" in str(refused.value)


def test_only_usable_answers_are_graded(graded):
    for name in ("gen-9", "none"):
        with pytest.raises(UnknownItem):
            graded.grade(Grade(name, "key:kim", 3))


def test_grades_become_rows_and_skips_none(graded, tmp_path):
    from mnatune.service.feedback.candidates import candidates

    refused = []
    found = list(candidates(graded, system="전문가", unreviewed=False, refuse=refused.append))
    assert sorted((one.file, one.rater, one.desirable) for one in found) == [
        ("unpaired", "key:kim", True),
        ("unpaired", "key:lee", False),
    ]
    assert [one.reason for one in refused] == ["skip"]


def test_the_commands(tmp_path):
    db = str(tmp_path / "feedback.db")
    store = FeedbackStore(db, mask)
    store.save_generation(generation(1))
    store.grade(Grade("gen-1", "key:kim", 4))
    out = tmp_path / "tasks.json"
    run = CliRunner().invoke
    said = run(app, ["feedback", "tasks", "--out", str(out), "--db", db])
    assert (said.exit_code, said.stdout.split("  ")[0]) == (0, "1 answers, 1 grades")
    assert "<Rating" in out.with_suffix(".xml").read_text(encoding="utf-8")
    assert run(app, ["feedback", "tasks", "--out", str(out), "--db", db]).exit_code != 0
    assert run(app, ["feedback", "import", str(out), "--db", db]).stdout == "0 grades stored, 1 were there already\n"
    assert "no agreement to tell" in run(app, ["feedback", "agreement", "--db", db]).stdout
    store.grade(Grade("gen-1", "key:lee", 2))
    assert run(app, ["feedback", "agreement", "--db", db]).stdout.startswith("alpha 0.000")
