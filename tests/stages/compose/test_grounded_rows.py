"""Rows asked with evidence: the same tokens as in serving, honest reasons, and nothing lost or cut."""

import asyncio
from collections import Counter

import pytest

from mnatune.law import LawIndex
from mnatune.model.engine.echo import EchoEngine
from mnatune.model.engine.protocol import Sampling, Task
from mnatune.model.evidence_prompt import EvidenceWords, without_passages
from mnatune.model.load import load_tokenizer
from mnatune.model.prompt import dialogue, examples, prompt_ids
from mnatune.pack import Pack
from mnatune.runs.errors import DataError
from mnatune.runs.job import Job
from mnatune.runs.recipe import Recipe
from mnatune.runs.records import QA, QA_SCHEMA, Source, content_id, to_table, write_table
from mnatune.runs.workspace import Run, read_jsonl
from mnatune.service.evidence import Evidence, LawEvidence
from mnatune.service.repair import GroundedEngine
from mnatune.stages.compose import compose, grounded_rows
from mnatune.stages.evaluate.items import held_out
from mnatune.stages.train.setting import fitted
from mnatune.stages.train.token_rows import load_rows
from mnatune.text.abstention import abstains

PACK = Pack.load("mna_ko")
QUESTION = "{}번 합병에 반대하는 주주는 언제까지 매수를 청구해야 하나요?"
GOOD = "합병에 반대하는 주주는 주주총회 결의일부터 20일 이내에 주식의 매수를 청구할 수 있습니다(상법 제522조의3). {}번입니다."
OTHERS = ("522", "526", "527", "528", "529", "530의2")


class Finds(LawIndex):
    """The pack's memory with a search that finds a fixed list, so that no test waits for the analyser."""

    asked: list = []  # noqa: RUF012 - what was hidden, by call

    def search(self, question, at="", top=5, kinds=("article",), hidden=(), earlier=()):
        self.asked.append((question, tuple(hidden)))
        return [self.article("상법", number, at) for number in ("522의3", *OTHERS)][:top]


@pytest.fixture(autouse=True)
def memory(monkeypatch):
    found = Finds(PACK.root / "law")
    found.asked.clear()
    monkeypatch.setattr(grounded_rows, "LawIndex", type("Opened", (), {"open": staticmethod(lambda path: found)}))
    return found


def qa(number, answer=GOOD, question=QUESTION, **more):
    question, answer = question.format(number), answer.format(number)
    return QA(content_id(question, answer), question, answer, "합병", f"g{number}", Source("s"), **more)


def composed(folder, rows, max_length=2048, evidence=1.0, splits=(0.8, 0.1, 0.1)):
    recipe = Recipe.model_validate(
        {
            "name": "t",
            "model": {"id": "starter", "max_length": max_length},
            "compose": {"evidence": evidence, "splits": splits},
        }
    )
    run = Run(folder)
    run.perform("judge", {}, {}, 42, "", lambda stage: write_table(to_table(rows, QA_SCHEMA), stage.path("qa.parquet")))
    manifest, _ = run.perform("compose", {}, {}, 42, "", lambda stage: compose(Job(recipe, PACK, run, stage)))
    written = {name: read_jsonl(run.folder("compose") / f"{name}.jsonl") for name in ("train", "valid", "test")}
    return Job(recipe, PACK, run, None), manifest, written


@pytest.fixture
def twenty(tmp_path):
    return composed(tmp_path, [qa(n) for n in range(20)])


def test_the_tokens_are_those_that_serving_sends(twenty, memory):
    _, _, written = twenty
    tokenizer = load_tokenizer("starter")
    law = LawEvidence(memory, EvidenceWords.of(PACK.prompts))
    row = next(row for row in written["train"] if row["evidence"]["kind"] == "right")
    kept, sent = row["evidence"], []

    async def serve():
        hits = tuple(memory.article(*name.split(" "), at=kept["day"]) for name in kept["passages"])
        engine = GroundedEngine(EchoEngine(("m",), reply=lambda task: sent.append(task) or ""), law, lambda work: None)
        task = Task("m", Sampling(), dialogue(kept["question"], PACK.system_prompt))
        stream, _ = await engine.open(task, Evidence("found", kept["question"], kept["day"], hits=hits))
        return [piece async for piece in stream.pieces]

    asyncio.run(serve())
    (example,) = examples(tokenizer, row["messages"])
    assert prompt_ids(tokenizer, sent[0].messages) == example.prompt


def test_the_cited_article_stands_among_others_in_an_order_of_its_own(twenty, memory):
    _, manifest, written = twenty
    facts = manifest.facts["evidence"]
    rows = [*written["train"], *written["valid"]]
    kinds = Counter(row["evidence"]["kind"] for row in rows)
    assert (facts["right"], facts["missing"]) == (kinds["right"], kinds["missing"])
    assert kinds["right"]
    assert kinds["missing"]
    places = set()
    for row in rows:
        names = row["evidence"]["passages"]
        assert len(set(names)) == 4
        assert ("상법 522의3" in names) == (row["evidence"]["kind"] == "right")
        places |= {names.index("상법 522의3")} if row["evidence"]["kind"] == "right" else set()
    assert len(places) > 1
    assert all(hidden == (question,) for question, hidden in memory.asked), "a row does not find its own articles"


def test_without_the_article_the_answer_says_what_is_missing_and_cites_nothing(twenty, memory):
    _, _, written = twenty
    row = next(row for row in written["train"] if row["evidence"]["kind"] == "missing")
    answer = row["messages"][-1]["content"]
    assert "상법의 합병반대주주의 주식매수청구권" in answer
    assert not memory.checker.find(answer)
    assert abstains(answer, PACK.yaml("evaluate.yaml")["refusals"])
    assert not abstains(row["evidence"]["answer"], PACK.yaml("evaluate.yaml")["refusals"])


def test_the_same_rows_come_out_twice_and_another_seed_draws_others(tmp_path):
    rows = [qa(n) for n in range(20)]
    first, again = (composed(tmp_path / name, rows, evidence=0.5)[2]["train"] for name in ("a", "b"))
    assert first == again
    with_evidence = sum("evidence" in row for row in first)
    assert 0 < with_evidence < len(first)


ODD = {
    "no-citation": "조문을 적지 않은 답변으로 {}번째입니다.",
    "citation-unknown": "합병 반대주주의 매수청구는 상법 제999조에 따르며 {}번째입니다.",
    "not-supported": "합병에 반대하는 주주는 상법 제522조의3에 따라 3개월 이내에 매수를 청구합니다. {}번.",
    "too-many-articles": "합병의 등기와 합병계약서와 주식매수청구권은 상법 제522조, 제522조의3, 제523조, 제528조에 있습니다. {}번.",
}


@pytest.mark.parametrize("reason", ODD)
def test_a_row_that_cannot_be_asked_so_stays_as_it_is_with_a_reason(tmp_path, reason):
    rows = [qa(n) for n in range(9)] + [qa(n, ODD[reason]) for n in range(9, 13)]
    _, manifest, written = composed(tmp_path, rows, splits=(0.9, 0.1, 0))
    assert manifest.facts["evidence"]["left_as_they_are"] == {reason: 4}
    plain = [row for row in [*written["train"], *written["valid"]] if "evidence" not in row]
    assert len(plain) == 4
    assert all(row["messages"][1]["content"].endswith("청구해야 하나요?") for row in plain)
    assert manifest.rows_out == 13


def test_a_row_too_long_with_passages_is_asked_without_and_counted(tmp_path):
    _, manifest, written = composed(tmp_path, [qa(n) for n in range(10)], max_length=300)
    assert set(manifest.facts["evidence"]["left_as_they_are"]) == {"too-long"}
    assert not any("evidence" in row for rows in written.values() for row in rows)
    assert manifest.dropped == {}


def test_passages_are_cut_to_what_fits_and_never_below_what_the_answer_rests_on(twenty, tmp_path, monkeypatch):
    _, _, written = twenty
    tokenizer = load_tokenizer("starter")

    def lengths(rows):
        return [len(examples(tokenizer, row["messages"])[-1]) for row in rows if "evidence" in row]

    limit = max(lengths(written["train"])) - 1
    rows = [qa(n) for n in range(20)]
    _, _, cut = composed(tmp_path / "cut", rows, max_length=limit)
    shortened = ["(이하 생략)" in row["messages"][1]["content"] for row in cut["train"] if "evidence" in row]
    assert (any(shortened), len(shortened)) == (True, len(lengths(written["train"])))
    assert max(lengths(cut["train"])) <= limit
    monkeypatch.setattr(grounded_rows, "SHOWN", 1.01)  # no cut is good enough
    _, manifest, strict = composed(tmp_path / "strict", rows, max_length=limit)
    assert not any("(이하 생략)" in row["messages"][1]["content"] for row in strict["train"])
    assert manifest.facts["evidence"]["left_as_they_are"]["too-long"]


def test_nothing_changes_without_the_key(tmp_path, memory):
    _, manifest, written = composed(tmp_path, [qa(n) for n in range(10)], evidence=0.0)
    assert "evidence" not in manifest.facts
    assert not any("evidence" in row for rows in written.values() for row in rows)
    assert memory.asked == []


def test_held_out_questions_are_the_plain_ones(twenty):
    job, _, written = twenty
    items = held_out(job)  # fewer than thirty in test: valid rows, which have evidence, are asked too
    assert {item.split for item in items} == {"test", "valid"}
    assert all(item.question.endswith("청구해야 하나요?") for item in items)
    assert all("20일" in item.reference for item in items)
    (row, *_) = written["valid"]
    assert [m["content"] for m in without_passages(row)[1:]] == [row["evidence"]["question"], row["evidence"]["answer"]]


def test_an_earlier_turn_stays_and_dates_the_question(tmp_path):
    rows = [qa(n, history=["2019년에 체결한 합병계약이 있습니다.", "네."]) for n in range(10)]
    _, _, written = composed(tmp_path, rows)
    row = written["train"][0]
    assert row["evidence"]["day"] == "2019-12-31"
    assert [m["content"] for m in row["messages"][1:3]] == rows[0].history


def test_the_memory_plan_counts_the_longer_rows(twenty, tmp_path):
    job, _, _ = twenty
    tokenizer = load_tokenizer("starter")
    long, short = (
        load_rows(run.folder("compose") / "train.jsonl", tokenizer, 2048).lengths
        for run in (job.run, composed(tmp_path / "plain", [qa(n) for n in range(20)], evidence=0.0)[0].run)
    )
    assert min(long) > 3 * max(short)
    plans = [fitted(job.recipe, lengths)[1] for lengths in (long, short)]
    per_row = [plan.memory["activations"] / plan.batch for plan in plans]
    assert per_row[0] > 3 * per_row[1]


def test_the_card_tells_the_rows_with_evidence(twenty):
    job, manifest, _ = twenty
    facts = manifest.facts["evidence"]
    card = (job.run.folder("compose") / "README.md").read_text(encoding="utf-8")
    assert f"답의 조문이 든 것 {facts['right']}, 일부러 뺀 것 {facts['missing']}" in card


def test_a_pack_without_a_memory_is_refused(tmp_path, monkeypatch):
    bare = Pack(tmp_path / "pack")
    bare.root.mkdir()
    monkeypatch.setattr(Pack, "prompts", property(lambda self: Pack.load("mna_ko").yaml("prompts.yaml")))
    job = Job(Recipe.model_validate({"name": "t", "compose": {"evidence": 1.0}}), bare, Run(tmp_path), None)
    with pytest.raises(DataError, match="lacks law"):
        grounded_rows.evidence_rows(job, [(qa(1), [])])
