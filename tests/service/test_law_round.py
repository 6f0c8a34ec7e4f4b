"""`mnatune law update`: every kind of row that cites a change is listed, and new answers are kept only if they hold."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mnatune.cli import app
from mnatune.law.building import build
from mnatune.law.law_memory import LawIndex
from mnatune.model.endpoint import Outcome
from mnatune.pack import Pack
from mnatune.runs.errors import UsageError
from mnatune.runs.workspace import Run, Stage, read_jsonl, write_jsonl
from mnatune.service.feedback.rated_texts import rated_texts
from mnatune.service.feedback.sink import Generation, Rating
from mnatune.service.feedback.store import open_store
from mnatune.service.law_round import Holdings, law_round

LAW = "---\n제목: 보기회사법\n시행일자: {day}\n---\n\n##### 제2조 (매수청구)\n\n합병에 반대하는 주주는 {days}일 이내에 매수를 청구할 수 있다.\n"
ASKED = "합병에 반대하는 주주는 언제까지 매수를 청구합니까?"
OLD = "보기회사법 제2조에 따라 10일 이내에 매수를 청구할 수 있습니다."
GOOD = "합병에 반대하는 주주는 20일 이내에 매수를 청구할 수 있습니다(보기회사법 제2조)."


@pytest.fixture
def home(tmp_path: Path, pack: Pack) -> Path:
    """A pack with its memory, the new texts, and a run."""
    for name in ("pack.yaml", "pii.yaml", "prompts.yaml"):
        (tmp_path / "pack").mkdir(exist_ok=True)
        shutil.copy(pack.path(name), tmp_path / "pack" / name)
    root = tmp_path / "pack"
    (root / "citations.yaml").write_text(
        'aliases: {"보기회사법": ["보기법"]}\nanaphora: ["같은법"]\n', encoding="utf-8"
    )
    (root / "exam").mkdir()
    item = {"id": "choice-1", "question": "기간은?", "choices": ["10일", "20일"], "article": "보기법 제2조"}
    write_jsonl(
        root / "exam" / "choice.jsonl", [item, {"id": "choice-2", "question": "무엇?", "article": "보기법 제9조"}]
    )
    write_jsonl(root / "glossary.jsonl", [{"term": "매수청구", "definition": "보기회사법 제2조의 권리이다."}])
    write_jsonl(root / "qa.jsonl", [{"question": ASKED, "answer": OLD, "source": "보기회사법 제2조"}])
    for name, days, day in (("old", 10, "2020-01-01"), ("new", 20, "2024-06-01")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "법률.md").write_text(LAW.format(day=day, days=days), encoding="utf-8")
    build([tmp_path / "old"], root / "law", Pack(root))
    turns = [
        {"role": "system", "content": "전문가"},
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": "예."},
    ]
    rows = [{"id": "r1", "messages": turns, "reference": "보기회사법 제2조"}, {"id": "r2", "messages": turns}]
    rows.append({**rows[0], "id": "planted", "source": {"name": "canary"}})

    def work(place: Stage) -> None:
        for split, count in (("train", 3), ("valid", 0), ("test", 0)):
            write_jsonl(place.path(f"{split}.jsonl"), rows[:count])

    Run(tmp_path / "run").perform("compose", {}, {}, 0, "code", work)
    return tmp_path


class Answering:
    """An endpoint that always says the same."""

    model = "fake"

    def __init__(self, text: str) -> None:
        self.text, self.asked = text, []

    def ask(self, asks, note) -> None:
        for ask in asks:
            self.asked.append(ask.messages[-1]["content"])
            note(Outcome(ask.key, "ok", "", "", {"text": self.text, "stopped": True}, False))


def listed(out: Path, name: str = "affected.jsonl") -> list:
    return read_jsonl(out / name)


def test_every_kind_is_listed_and_the_table_is_korean(home: Path) -> None:
    pack, out = Pack(home / "pack"), home / "out"
    store = open_store(str(home / "f.db"), pack)
    messages = [{"role": "user", "content": "보기법 제2조는 무엇입니까?"}]
    facts = {"revision": "", "adapter_hash": "", "prompt_hash": "", "sampling": {}, "finish_reason": "stop"}
    numbers = {"prompt_tokens": 1, "completion_tokens": 1, "consent": True, "seconds": 1.0, "first_token": 1.0}
    store.save_generation(
        Generation(
            id="g",
            conversation="c",
            rater="a",
            model="m",
            messages=messages,
            answer="10일",
            created=1.0,
            **facts,
            **numbers,
        )
    )
    store.rate(Rating(generation="g", rater="a", thumb=1, created=2.0))
    canned = home / "canned.jsonl"
    write_jsonl(
        canned, [{"id": "hello", "text": "보기법 제2조를 보십시오."}, {"id": "bye", "text": "안녕히 가십시오."}]
    )
    held = Holdings([home / "run"], rated_texts(store), [canned])
    found = law_round(home / "new", LawIndex.open(pack.root), pack, held, out)
    assert found.counts == {"canned": 1, "exam": 1, "glossary": 1, "pack": 1, "rated": 1, "training": 1}
    assert {row["id"] for row in listed(out)} >= {"choice-1", "r1", "hello"}
    assert {row["action"] for row in listed(out)} == {"review"}
    assert {row["id"] for row in listed(out, "leave_out.jsonl")} == {"r1", "qa.jsonl:1"}
    told = (out / "affected.md").read_text(encoding="utf-8")
    assert "| 평가받은 답변 |" in told
    assert "보기회사법 제2조(매수청구) | 개정 | 2024-06-01" in told
    (change,) = listed(out, "changes.jsonl")
    assert (change["article"], change["substantial"]) == ("제2조", True)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (GOOD, True),
        (GOOD.replace("20", "10"), False),  # what the old text said
        (GOOD.replace("제2조", "제77조"), False),
        ("그때그때 다릅니다.", False),
    ],
)
def test_a_new_answer_is_kept_only_if_its_citations_hold(home: Path, text: str, kept: bool) -> None:
    pack, out, endpoint = Pack(home / "pack"), home / "out", Answering(text)
    found = law_round(home / "new", LawIndex.open(pack.root), pack, Holdings(), out, endpoint)
    assert (found.rederived, found.unheld) == (int(kept), int(not kept))
    assert ["20일" in asked for asked in endpoint.asked] == [True]
    assert [row["answer"] for row in listed(out, "rederived.jsonl")] == [text] * kept
    assert {row["id"] for row in listed(out) if row["action"] == "replace"} == ({"qa.jsonl:1"} if kept else set())


def test_a_folder_with_other_things_is_left_alone(home: Path) -> None:
    pack = Pack(home / "pack")
    (home / "out").mkdir()
    (home / "out" / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match="something else"):
        law_round(home / "new", LawIndex.open(pack.root), pack, Holdings(), home / "out")


@pytest.mark.parametrize(
    ("held", "told"),
    [
        (Holdings(canned=[Path("nowhere.jsonl")]), "no such file"),
        (Holdings(runs=[Path("nowhere")]), "has not been done"),
    ],
)
def test_what_is_not_there_is_told_and_nothing_is_written(home: Path, held: Holdings, told: str) -> None:
    pack = Pack(home / "pack")
    with pytest.raises(UsageError, match=told):
        law_round(home / "new", LawIndex.open(pack.root), pack, held, home / "out")
    assert not (home / "out").exists()


def test_the_command_tells_what_to_do_next(home: Path) -> None:
    args = [
        "law",
        "update",
        str(home / "new"),
        "--pack",
        str(home / "pack"),
        "--run",
        str(home / "run"),
        "--out",
        str(home / "o"),
    ]
    done = CliRunner().invoke(app, args, catch_exceptions=False)
    assert done.exit_code == 0
    assert "1 articles differ, 1 in substance" in done.output
    assert "training        1 rows" in done.output
    assert "mnatune law build" in done.output
    assert json.loads((home / "o" / "affected.jsonl").read_text(encoding="utf-8").splitlines()[0])["changes"]
