"""Rows that people give to the training methods: learnt as they are meant, or refused with their line and what to do."""

import json
from unicodedata import normalize

import pytest
from tiny_run import SYSTEM, compose, make_recipe, messages, train_job

from mnatune.model.evidence_prompt import EvidenceWords
from mnatune.model.load import load_tokenizer
from mnatune.runs.errors import DataError, UsageError
from mnatune.runs.recipe import bundled
from mnatune.runs.workspace import write_jsonl
from mnatune.stages.train.asked_rows import asked_questions
from mnatune.stages.train.distill_loop import teachable
from mnatune.stages.train.distill_rows import distill_rows
from mnatune.stages.train.methods import METHODS
from mnatune.stages.train.methods.dpo import DPO_FORM
from mnatune.stages.train.methods.kto import KTO_FORM
from mnatune.stages.train.plan import batch_sizes
from mnatune.stages.train.preference_rows import fitting_rows, preferences

STARTER = bundled("starter") / "model"
ASKED = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "합병은 누가 승인합니까?"}]
RIGHT = [{"role": "assistant", "content": "상법 제522조에 따라 주주총회가 승인합니다."}]
WRONG = [{"role": "assistant", "content": "잘 모릅니다."}]
DIALOGUE = [*ASKED, *RIGHT]
PAIR = {"prompt": ASKED, "chosen": RIGHT, "rejected": WRONG}
THUMB = {"prompt": ASKED, "completion": RIGHT, "label": True}
SHOWN = {"passages": ["상법 522"], "day": "2024-01-31"}
PASSAGE = {"name": "상법 제522조", "in_force": "2024-01-01 시행 법령", "text": "주주총회의 승인을 얻어야 한다."}


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(str(STARTER))


@pytest.fixture
def read(tmp_path, tokenizer, pack):
    """read(method, *rows): what a method makes of a file of these rows, or of these bytes."""
    path, words = tmp_path / "rows.jsonl", EvidenceWords.of(pack.prompts)
    ways = {
        "dpo": lambda: list(preferences(path, DPO_FORM)),
        "kto": lambda: list(preferences(path, KTO_FORM)),
        "grpo": lambda: asked_questions(path, tokenizer),
        "distill": lambda: distill_rows(path, tokenizer, words),
    }

    def of(method, *rows, raw=None):
        write_jsonl(path, rows)
        if raw is not None:
            path.write_bytes(raw)
        return ways[method]()

    return of


def without(row: dict, name: str) -> dict:
    return {key: value for key, value in row.items() if key != name}


def said(content: object, role: str = "assistant") -> list[dict]:
    return [{"role": role, "content": content}]


REFUSED = {
    "kto label as text": ("kto", {**THUMB, "label": "false"}, "label must be true or false"),
    "kto label as number": ("kto", {**THUMB, "label": -1}, "label must be true or false"),
    "kto label null": ("kto", {**THUMB, "label": None}, "not a row for train.method: kto"),
    "kto no prompt": ("kto", without(THUMB, "prompt"), "prompt must be a list of turns"),
    "kto empty completion": ("kto", {**THUMB, "completion": said(" ")}, "completion is empty"),
    "dpo no prompt": ("dpo", without(PAIR, "prompt"), "prompt must be a list of turns, and the row has none"),
    "dpo TRL's text": ("dpo", {"prompt": "왜?", "chosen": "네.", "rejected": "몰라요."}, "prompt must .*it is text"),
    "dpo TRL's answers": ("dpo", {**PAIR, "chosen": "네."}, "chosen must be a list of turns, and it is text"),
    "dpo no chosen turn": ("dpo", {**PAIR, "chosen": []}, "chosen must be a list of turns, and it is empty"),
    "dpo empty chosen": ("dpo", {**PAIR, "chosen": said("")}, "chosen is empty"),
    "dpo dialogue as chosen": ("dpo", {**PAIR, "chosen": DIALOGUE}, "chosen must be one answer"),
    "dpo question as answer": ("dpo", {**PAIR, "rejected": said("왜?", "user")}, "rejected must be one answer"),
    "dpo answered prompt": ("dpo", {**PAIR, "prompt": DIALOGUE}, "prompt must end with the question"),
    "dpo margin as text": ("dpo", {**PAIR, "margin": "2"}, "margin must be a number"),
    "dpo a thumb": ("dpo", THUMB, "not a row for train.method: dpo"),
    "dpo a list": ("dpo", [1], "a row must be a JSON object"),
    "grpo no messages": ("grpo", {"question": "왜?"}, "messages must be a list of turns, and the row has none"),
    "grpo no content": ("grpo", {"messages": [*ASKED, {"role": "assistant"}]}, "content of turn 3 is no text"),
    "grpo content null": ("grpo", {"messages": [*ASKED, *said(None)]}, "content of turn 3 is no text"),
    "grpo content parts": ("grpo", {"messages": [*ASKED, *said([{"type": "text"}])]}, "content of turn 3 is no text"),
    "grpo content number": ("grpo", {"messages": [*said(3, "user"), *RIGHT]}, "content of turn 1 is no text"),
    "grpo odd role": ("grpo", {"messages": [*said("왜?", "human"), *RIGHT]}, "the role of turn 1 is none of"),
    "grpo empty answer": ("grpo", {"messages": [*ASKED, *said(" ")]}, "ends with a question and its answer"),
    "grpo a turn as text": ("grpo", {"messages": ["왜?", "네."]}, "number 1 is no turn"),
    "grpo evidence as list": ("grpo", {"messages": DIALOGUE, "evidence": ["상법 522"]}, "not evidence"),
    "grpo a passage as text": ("grpo", {"messages": DIALOGUE, "evidence": {"passages": "상법 522"}}, "passages are no"),
    "grpo odd day": ("grpo", {"messages": DIALOGUE, "evidence": {**SHOWN, "day": "20240131"}}, "its day is no date"),
    "grpo half a question": ("grpo", {"messages": DIALOGUE, "evidence": {**SHOWN, "question": "왜?"}}, "not both there"),
    "grpo two letters": ("grpo", {"messages": DIALOGUE, "letter": "AB"}, "the letter 'AB' is none of"),
    "distill no messages": ("distill", {"passage": PASSAGE}, "messages must be a list of turns"),
    "distill no name": ("distill", {"messages": DIALOGUE, "passage": without(PASSAGE, "name")}, "no text as name"),
    "distill text alone": ("distill", {"messages": DIALOGUE, "passage": "글"}, "no text as name, in_force, text"),
    "distill no question": (
        "distill", {"messages": DIALOGUE, "evidence": {**SHOWN, "kind": "right"}}, "does not say its question",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("method", "row", "told"), REFUSED.values(), ids=REFUSED)
def test_a_row_that_is_none_is_refused_with_its_line(read, method, row, told, tmp_path) -> None:
    good = {"dpo": PAIR, "kto": THUMB}.get(method, {"messages": DIALOGUE})
    with pytest.raises(DataError, match=told) as caught:
        read(method, good, row)
    assert caught.value.where == f"{tmp_path / 'rows.jsonl'}:2"
    assert caught.value.next_step


@pytest.mark.parametrize("raw", [b"\n\n", b"", b" \n"])
@pytest.mark.parametrize("method", ["grpo", "distill"])
def test_a_file_without_rows_is_refused_as_such(read, method, raw) -> None:
    with pytest.raises(DataError, match="the file holds no rows"):
        read(method, raw=raw)


@pytest.mark.parametrize(("raw", "told"), [
    ("합병".encode("cp949"), "not UTF-8"), (b"{", "not a JSON line"), (b"[" * 100_000, "not a JSON line"),
])  # fmt: skip
def test_a_line_that_is_no_json_is_refused_where_it_stands(read, tmp_path, raw, told) -> None:
    whole = json.dumps(PAIR).encode()
    with pytest.raises(DataError, match=told) as caught:
        read("dpo", raw=b"\xef\xbb\xbf" + whole + b"\n\n" + raw)
    assert caught.value.where == f"{tmp_path / 'rows.jsonl'}:3", "blank lines count"


@pytest.mark.parametrize("escaped", [True, False])
def test_all_text_is_brought_to_nfc(read, escaped) -> None:
    row = {
        "id": "a",
        "messages": DIALOGUE,
        "evidence": {"passages": ["상법 522의3"], "question": "왜?", "answer": "네."},
    }
    text = normalize("NFD", json.dumps(row, ensure_ascii=False))
    if escaped:
        text = json.dumps(json.loads(text)) + "\n" + json.dumps({"messages": [*ASKED, *said("네\ud800.")]})
    first, *more = read("grpo", raw=text.encode())
    assert first.reference == RIGHT[0]["content"]
    assert first.asked == ASKED[1]["content"]
    assert first.evidence == {"상법 522의3"}
    assert [one.reference for one in more] == ["네\ufffd."] * escaped


def test_evidence_as_it_is_documented_is_read(read) -> None:
    row = {"messages": DIALOGUE, "evidence": {**SHOWN, "day": None}, "letter": None}
    bare, dated, told, none = read(
        "grpo", row, {"messages": DIALOGUE, "evidence": SHOWN},
        {"messages": DIALOGUE, "evidence": {**SHOWN, "question": "누가요?", "answer": "네."}},
        {"messages": DIALOGUE, "evidence": {}},
    )  # fmt: skip
    assert (bare.plain, bare.evidence, bare.day, bare.letter) == (ASKED[1]["content"], {"상법 522"}, "", "")
    assert dated.day == "2024-01-31"
    assert told.plain == "누가요?"
    assert none.evidence is None


def test_an_unwanted_answer_may_be_empty_and_null_is_as_good_as_nothing(read) -> None:
    (down,) = read("kto", {**THUMB, "completion": said(""), "label": False})
    assert down["label"] is False
    (pair,) = read("dpo", {**PAIR, "rejected": said(""), "margin": None})
    assert pair["margin"] == 1


def test_a_thumb_is_learnt_as_it_was_given(read, tokenizer) -> None:
    rows = read("kto", THUMB, {**THUMB, "completion": WRONG, "label": False})
    assert [row["label"] for row in fitting_rows(rows, KTO_FORM, tokenizer, 500)[0]] == [True, False]


@pytest.mark.parametrize(("method", "rows", "told"), [
    ("kto", [], "no preference to train on"), ("kto", [THUMB], "at least 2 rows"),
    ("dpo", [], "no preference to train on"), ("grpo", [], "the file holds no rows"),
    ("distill", [], "the file holds no rows"),
])  # fmt: skip
def test_too_few_rows_are_told_before_they_are_shared_out(tmp_path, method, rows, told) -> None:
    write_jsonl(tmp_path / "rows.jsonl", rows)
    recipe = make_recipe(STARTER, method=method, options={"rows": str(tmp_path / "rows.jsonl")})
    with pytest.raises(DataError, match=told) as caught:
        METHODS[method].lengths(recipe, compose(tmp_path / "run"))
    assert caught.value.where == str(tmp_path / "rows.jsonl")


def test_a_step_of_too_few_rows_is_not_told_to_be_divided() -> None:
    with pytest.raises(UsageError) as caught:
        batch_sizes(make_recipe(STARTER, method="kto", rows_per_step=1).train, 1, 2)
    assert caught.value.next_step == "take at least 2"


def test_rows_to_distill_need_no_id_and_two_of_one_id_are_refused(read, tmp_path) -> None:
    row = {"messages": DIALOGUE, "passage": PASSAGE}
    rows = read("distill", row, {"messages": DIALOGUE}, {**row, "passage": {**PASSAGE, "span": None}})
    assert [one.id for one in rows] == ["line 1", "line 2", "line 3"]
    assert rows[0].fact != rows[2].fact
    with pytest.raises(DataError, match=r"the id 'a' is that of .*rows.jsonl:1 too") as caught:
        read("distill", {**row, "id": "a"}, {**row, "id": "a"})
    assert caught.value.where.endswith("rows.jsonl:2")


def test_a_row_to_distill_that_is_too_long_is_counted_and_left_out(tmp_path, tokenizer, pack) -> None:
    path, row = tmp_path / "rows.jsonl", {"messages": messages(1), "passage": PASSAGE}
    long = {"messages": [*ASKED, *said("아주 긴 답입니다. " * 200)]}
    write_jsonl(path, [row, {**long, "passage": PASSAGE}, long])
    job = train_job(make_recipe(STARTER, method="distill"), compose(tmp_path / "run"))
    rows = teachable(job, path, tokenizer, EvidenceWords.of(pack.prompts))
    assert [one.id for one in rows] == ["line 1"]
    assert (job.manifest.rows_in, job.manifest.dropped) == (3, {"longer-than-160-tokens": 2})
    write_jsonl(path, [{**long, "passage": PASSAGE}])
    with pytest.raises(DataError, match="no row with a passage fits") as caught:
        teachable(job, path, tokenizer, EvidenceWords.of(pack.prompts))
    assert caught.value.where == str(path)
