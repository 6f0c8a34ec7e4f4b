"""Dialogues of several turns, from a QA file through curation to training rows and held-out items."""

import json

import pytest

from mnatune.model.load import load_tokenizer
from mnatune.model.prompt import examples
from mnatune.pack import Pack
from mnatune.runs.job import Job
from mnatune.runs.recipe import Recipe, bundled
from mnatune.runs.records import iter_qa
from mnatune.runs.workspace import Run, read_jsonl
from mnatune.stages.compose import compose
from mnatune.stages.curate import curate
from mnatune.stages.evaluate.items import held_out
from mnatune.stages.judge import judge
from mnatune.stages.read import read
from mnatune.stages.train.token_rows import load_rows

SYSTEM = "상장회사 법무팀의 변호사로서 답하십시오."
PHONE = "010-1234-5678"


def dialogue(number):
    topics = ("합병", "영업양도", "공개매수", "주식교환", "물적분할")
    topic = topics[number % 5]
    return {
        "messages": [
            {"role": "system", "content": SYSTEM},
            {
                "role": "user",
                "content": f"상법상 {topic} {number}번 사건의 절차를 알려 주세요. 제 번호는 {PHONE}입니다.",
            },
            {
                "role": "assistant",
                "content": f"{topic} {number}번 사건은 주주총회의 특별결의와 채권자 보호 절차를 거칩니다.",
            },
            {"role": "user", "content": "기한은요?"},
            {
                "role": "assistant",
                "content": f"주주총회일부터 {number + 2}주 안에 채권자에게 공고하고 {number + 20}일을 기다려야 합니다.",
            },
        ]
    }


@pytest.fixture
def composed(tmp_path):
    """Twelve dialogues and two rows that repeat one of them, read, curated, judged and composed."""
    rows = [dialogue(n) for n in range(12)]
    path = tmp_path / "d.jsonl"
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in [*rows, rows[0]]))
    source = {"kind": "qa", "path": str(path), "name": "d"}
    sections = {
        "model": {"id": "starter", "max_length": 512},
        "judge": {"keep_above": 0},
        "compose": {"splits": [0.5, 0.25, 0.25]},
    }
    recipe = Recipe.model_validate({"name": "t", "read": {"sources": [source]}, **sections})
    run, pack = Run(tmp_path / "run"), Pack(bundled("packs") / "mna_ko")
    for name, work in (("read", read), ("curate", curate), ("judge", judge), ("compose", compose)):
        run.perform(name, {}, {}, 42, "", lambda place, work=work: work(Job(recipe, pack, run, place)), force=True)
    return run, recipe, pack


def test_turns_stay_turns(composed):
    run, *_ = composed
    curated = list(iter_qa(run.folder("curate") / "qa.parquet"))
    assert len(curated) == 12, "equal last questions do not make two dialogues one"
    assert all(PHONE not in turn for row in curated for turn in row["history"])
    written = [
        row for split in ("train", "valid", "test") for row in read_jsonl(run.folder("compose") / f"{split}.jsonl")
    ]
    assert len(written) == 12
    for row in written:
        assert [m["role"] for m in row["messages"]] == ["system", "user", "assistant", "user", "assistant"]
        assert row["messages"][0]["content"] == SYSTEM
        assert row["messages"][3]["content"] == "기한은요?"
    assert json.loads((run.folder("compose") / "leakage.json").read_text())["spanning"] == {
        "group": 0,
        "cluster": 0,
        "question": 0,
    }


def test_every_answer_is_trained_and_the_last_one_asked(composed):
    run, recipe, pack = composed
    tokenizer = load_tokenizer("starter", None)
    path = run.folder("compose") / "train.jsonl"
    rows = read_jsonl(path)
    trained = load_rows(path, tokenizer, 512)
    assert len(trained.examples) == 2 * len(rows)
    assert [e.prompt for e in examples(tokenizer, rows[0]["messages"])] == [e.prompt for e in trained.examples[:2]]
    job = Job(recipe, pack, run, None)  # type: ignore[arg-type]
    items = held_out(job)
    assert items
    assert all([m["role"] for m in item.messages] == ["system", "user", "assistant", "user"] for item in items)
    assert all(item.question == "기한은요?" for item in items)
