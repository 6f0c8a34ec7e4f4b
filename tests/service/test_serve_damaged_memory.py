"""A law memory that is gone or damaged: said in the reply, and the question is answered all the same."""

import json
import shutil

import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient
from test_serve_evidence import MISSING, PACK, QUESTION, WORDS, Finds, answers, ask, says

from mnatune.service.evidence import LawEvidence
from mnatune.service.server import ServeOptions, build


@pytest.fixture
def law():
    return LawEvidence(Finds(PACK.root / "law"), WORDS)


def test_a_memory_that_fails_is_told_and_the_question_answered(law):
    class Broken(Finds):
        def search(self, *_, **__):
            raise ValueError("damaged")

    for broken in (None, LawEvidence(Broken(PACK.root / "law"), WORDS)):
        for stream in (False, True):
            reply = ask(answers(says(MISSING), broken), stream=stream)
            told = reply[0]["evidence"] if stream else reply["evidence"]
            assert told["status"] == "unavailable"
            assert told["note"]
            last = (reply[-1] if stream else reply)["choices"][0]
            assert (last["unchecked"], len(last["citations"])) == ((True, 0) if broken is None else (False, 1))
    nothing = ask(answers(says(MISSING), law), "날씨는?")
    assert nothing["evidence"]["status"] == "nothing"
    assert "~~" in nothing["choices"][0]["message"]["content"]


@pytest.mark.parametrize("damage", ["gone", "cut", "not json", "empty", "no rows", "no words"])
def test_a_server_starts_with_a_damaged_memory_and_says_so(tmp_path, damage):
    root = tmp_path / "pack"
    shutil.copytree(PACK.root, root)
    law = root / "law"
    if damage == "gone":
        shutil.rmtree(law)
    elif damage == "cut":
        articles = (law / "articles.parquet").read_bytes()
        (law / "articles.parquet").write_bytes(articles[: len(articles) // 2])
    elif damage == "not json":
        (law / "law.json").write_text("{", encoding="utf-8")
    elif damage == "no rows":
        pq.write_table(pq.read_table(law / "articles.parquet").slice(0, 0), law / "articles.parquet")
        facts = json.loads((law / "law.json").read_text(encoding="utf-8"))
        facts["files"]["articles.parquet"] = (law / "articles.parquet").stat().st_size
        (law / "law.json").write_text(json.dumps(facts), encoding="utf-8")
    elif damage == "no words":
        text = (root / "prompts.yaml").read_text(encoding="utf-8")
        (root / "prompts.yaml").write_text(text.replace("evidence_user:", "other_user:"), encoding="utf-8")
    else:
        shutil.rmtree(law)
        law.mkdir()
    options = ServeOptions(echo=True, pack=str(root), feedback="", keys=tmp_path / "keys.json", evidence=True)
    client = TestClient(build(options), base_url="http://localhost")
    reply = ask(client, evidence=None)
    assert reply["evidence"]["status"] == "unavailable"
    assert reply["choices"][0]["message"]["content"] == QUESTION
    facts = client.get("/api/page").json()
    assert facts["evidence"] is False
    assert facts["citations"] is (damage == "no words")
