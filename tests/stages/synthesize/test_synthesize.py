"""Synthesis: everything that is kept rests on its passage, and nothing that was read comes back."""

import json
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnatune.model.endpoint import BadReply
from mnatune.model.endpoint.fake import Body, FakeEndpoint
from mnatune.model.evidence_prompt import PASSAGE_LENGTHS
from mnatune.pack import Pack
from mnatune.runs.errors import EnvironmentFault
from mnatune.runs.job import Job
from mnatune.runs.recipe import Recipe
from mnatune.runs.records import DOCUMENT_SCHEMA, QA, QA_SCHEMA, Document, Source, content_id, to_table, write_table
from mnatune.runs.workspace import Manifest, Run, Stage
from mnatune.stages.synthesize import synthesize
from mnatune.stages.synthesize.by_model import _grounded, _items
from mnatune.stages.synthesize.by_rule import extract, particle, polite
from mnatune.stages.synthesize.duplicates import SeenQuestions
from mnatune.stages.synthesize.grounding import fault
from mnatune.stages.synthesize.passages import Passage, passages
from mnatune.stages.synthesize.views import KINDS, views

# Invented articles in the form of statutes.
ARTICLES = {
    "시험법 제3조 (공개매수의 기간)": "**①** 공개매수자는 공고일부터 20일 이상 60일 이내에 매수하여야 한다. "
    "다만, 대항공개매수가 있는 경우에는 그 기간을 연장할 수 있다. <개정 2020.1.1>\n\n"
    "**②** 주주총회의 승인은 출석한 주주의 의결권의 3분의 2 이상으로 하여야 한다.",
    "시험법 제2조 (정의)": '이 법에서 "완전자회사"란 다른 회사가 발행주식의 총수를 소유하고 있는 회사를 말한다.',
    "시험법 제9조 (합병의 등기)": "합병을 한 때에는 본점 소재지에서 2주간 내에 합병의 등기를 하여야 한다.",
}
SOURCE = Source("law", licence="저작권법 제7조")


def document(title: str, text: str) -> Document:
    return Document(content_id(title, text), title, text, title, SOURCE)


def passage(title: str, text: str) -> Passage:
    return next(passages(document(title, text), 500, len))


def make_job(root: Path, documents: list[Document], read: list[str], **sections: Any) -> Job:
    run = Run(root)
    rows = [QA(content_id(q, ""), q, "답", "사회", q, Source("s")) for q in read]

    def read_work(place: Stage) -> None:
        write_table(to_table(rows, QA_SCHEMA), place.path("qa/00.parquet"))

    def curate_work(place: Stage) -> None:
        write_table(to_table(documents, DOCUMENT_SCHEMA), place.path("documents.parquet"))

    run.perform("read", {}, {}, 0, "", read_work)
    run.perform("curate", {}, {}, 0, "", curate_work)
    recipe = Recipe.model_validate({"name": "t", "model": {"id": "starter"}, **sections})
    run.folder("synthesize").mkdir(parents=True)
    manifest = Manifest("synthesize", "", {}, {}, recipe.seed)
    return Job(recipe, Pack.load("mna_ko"), run, Stage(run.folder("synthesize"), manifest))


def kept(job: Job) -> list[dict[str, Any]]:
    return [json.loads(line) for line in job.path("synthesized.jsonl").read_text(encoding="utf-8").splitlines()]


def test_statutes_give_grounded_pairs_offline(tmp_path: Path) -> None:
    job = make_job(tmp_path, [document(t, x) for t, x in ARTICLES.items()], [], synthesize={"per_passage": 4})
    synthesize(job)
    made = kept(job)
    kinds = {row["kind"] for row in made}
    assert {"definition", "deadline", "share", "exception", "content"} <= kinds
    assert kinds & set(KINDS), "an article with few facts is asked about in other ways"
    for row in made:
        assert row["span"] in row["passage"]["text"]
        assert row["passage"] == {"name": row["source"], "in_force": "law", "text": ARTICLES[row["source"]]}
    rows = pq.read_table(job.path("qa.parquet")).to_pylist()
    assert [row["id"] for row in rows] == [row["id"] for row in made]
    assert {row["source"]["licence"] for row in rows} == {"저작권법 제7조"}
    definition = next(row for row in made if row["kind"] == "definition")
    assert definition["question"] == "시험법에서 말하는 '완전자회사'란 무엇인가요?"
    assert "개정 2020" not in "".join(row["answer"] for row in made)


def test_an_article_with_a_list_is_not_told_as_if_it_were_whole() -> None:
    text = "다음 각 호의 행위를 할 때에는 결의가 있어야 한다.\n1. 영업의 양도\n\n제1항의 통지에는 그 뜻을 적어야 한다."
    assert "content" not in {made.kind for made in extract(passage("시험법 제4조 (영업의 양도)", text), 9)}


@given(st.sampled_from(sorted(ARTICLES)))
def test_what_patterns_make_passes_the_check(title: str) -> None:
    here = passage(title, ARTICLES[title])
    found = extract(here, 9)
    for made in [*found, *views(here, found)]:
        assert fault(here, made.question, made.answer, made.span) == ""


def test_a_fact_is_told_in_several_views_of_the_same_span() -> None:
    title = next(iter(ARTICLES))
    here = passage(title, ARTICLES[title])
    found = extract(here, 9)
    made = list(views(here, found))
    assert {one.kind for one in made} == {"value", "paraphrase", "application", "teach-back", "summary", "locate"}
    assert {one.span for one in made} <= {one.span for one in found}
    deadlines = [one for one in (*found, *made) if "20일 이상 60일 이내" in one.answer]
    assert len({one.question for one in deadlines}) == len(deadlines) >= 4
    assert not SeenQuestions([one.question for one in made]).repeated_within([one.question for one in made])
    assert list(views(passage("회사 규정", ARTICLES[title]), found)) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("합병의 승인은 출석한 주주의 의결권의 3분의 2 이상으로 하여야 한다.", "3분의 2 이상입니다."),
        ("다른 회사 주식의 10분의 1을 초과하여 취득한 회사는 이를 통지하여야 한다.", "10분의 1 초과입니다."),
        ("무의결권주식의 총수는 발행주식의 4분의 1을 초과하지 못한다.", "4분의 1 이하입니다."),
        ("자기주식은 발행주식의 100분의 5를 넘지 아니하는 범위에서 취득할 수 있다.", "100분의 5 이하입니다."),
        ("회사는 발행주식총수의 20분의 1을 초과하여 자기의 주식을 질권의 목적으로 받지 못한다.", None),
        ("신용공여는 자기자본의 100분의 15를 초과하여서는 아니 된다.", None),
        ("이의를 신청한 자는 서류를 2주간 내에 내야 한다.", "2주간 내입니다."),
        ("이의를 신청한 자는 서류를 통지일부터 30일 이내에 내야 한다.", "30일 이내입니다."),
        ("이의는 20일 이상 60일 이내의 기간을 정하여 받아야 한다.", None),
    ],
)
def test_the_value_alone_is_a_view_with_its_direction_where_there_is_one_only(text: str, told: str | None) -> None:
    here = passage("시험법 제4조 (합병의 승인)", f"{text} 이사회는 그 결과를 지체 없이 주주에게 알려야 한다.")
    short = [one for one in views(here, extract(here, 9)) if one.kind == "value"]
    assert [one.answer for one in short] == ([f"{told} (시험법 제4조)"] if told else [])


def test_a_passage_is_never_longer_than_what_a_question_shows_of_it(tmp_path: Path) -> None:
    sentence = "이사회는 다음 회의까지 그 이유를 적은 서면을 보내야 한다. "
    job = make_job(tmp_path, [document("시험법 제8조 (서면)", sentence * 60)], [])
    synthesize(job)
    assert job.manifest.facts["passages"] > 1
    assert all(len(row["passage"]["text"]) <= PASSAGE_LENGTHS[0] for row in kept(job))


@given(st.sampled_from(sorted(ARTICLES)), st.integers(1000, 10**9))
def test_a_number_or_article_from_elsewhere_is_found(title: str, number: int) -> None:
    here = passage(title, ARTICLES[title])
    made = extract(here, 1)[0]
    assert fault(here, made.question, f"{made.answer} {number}원입니다.", made.span) == "number-not-in-passage"
    assert fault(here, made.question, f"{made.answer} 제{number}조", made.span) == "article-not-in-passage"
    assert fault(here, made.question, made.answer, made.span[:-3] + "않는다.") == "span-not-in-passage"


@pytest.mark.parametrize("asked", ["이 글에서 말하는 기간은 무엇인가요?", "위 자료의 요건은 무엇인가요?"])
def test_a_question_that_needs_the_passage_is_dropped(asked: str) -> None:
    here = passage(*next(iter(ARTICLES.items())))
    assert fault(here, asked, "기간을 연장할 수 있습니다.", here.text[:40]) == "points-at-the-passage"


PROMPT = "질문의 갈래는 다음에서 고릅니다. 용어나 제도의 뜻과 쓰임을 묻는다. 합병의 등기를 설명하는 질문"


@pytest.mark.parametrize(
    ("question", "answer", "why"),
    [
        ("용어나 제도의 뜻과 쓰임을 묻는다", "2주간 내에 합병의 등기를 하여야 합니다.", "no-question"),
        ("합병의 등기를 설명하는 질문", "2주간 내에 합병의 등기를 하여야 합니다.", "repeats-the-prompt"),
        ("합병의 등기는 언제까지 하나요?", "질문의 갈래는 다음에서 고릅니다.", "repeats-the-prompt"),
        ("합병의 등기는 언제까지 하나요?", "합병의 등기는 언제까지 하는지 설명해 주세요.", "no-answer"),
        ("합병의 등기는 언제까지 하는가", "합병의 등기는 언제까지 하는가.", "no-answer"),
        ("합병의 등기는 언제까지 하여야 하는지 설명하시오.", "2주간 내에 하여야 합니다.", ""),
    ],
)
def test_what_only_repeats_or_asks_is_no_pair(question: str, answer: str, why: str) -> None:
    title = "시험법 제9조 (합병의 등기)"
    prompt = "" if why == "no-question" else PROMPT
    assert fault(passage(title, ARTICLES[title]), question, answer, ARTICLES[title][:30], prompt) == why


def test_a_copied_form_beside_real_items_is_left_out() -> None:
    item = {"question": "등기는 언제 하나요?", "answer": "2주간 내에 합니다.", "span": "합병을 한 때에는"}
    copied = {"question": "<질문>", "answer": "<답변>", "span": "<구절>"}
    assert _items(json.dumps([copied, item]))[0]["items"] == [item]
    for text, code in (
        (json.dumps([copied]), "placeholder-question"),
        ('{"reason": "한국어 이유", "supported": true}', ""),
    ):
        with pytest.raises(BadReply, match=None) as caught:
            _items(text) if code else _grounded(text)
        assert caught.value.code == (code or "placeholder-reason")


@given(st.lists(st.text("가나다라 .\n#", min_size=1, max_size=120), max_size=8), st.integers(50, 200))
def test_passages_fit_and_come_from_the_text(paragraphs: list[str], longest: int) -> None:
    text = "\n\n".join(paragraphs)
    for piece in passages(document("제목", text), longest, len):
        assert len(piece.text) <= longest
        assert re.sub(r"\s", "", piece.text) in re.sub(r"\s", "", text)


def test_read_questions_and_repetitions_are_dropped_but_not_other_numbers() -> None:
    made = ["상법 제527조의3에서 정한 기한은 어떻게 되나요?", "상법 제527조의5에서 정한 기한은 어떻게 되나요?"]
    seen = SeenQuestions([*made, made[0] + " "])
    assert seen.repeated_in(["상법 제527조의3에서 정한 기한은 어떻게 되나요", "점심은 무엇인가요?"]) == {0, 2}
    assert seen.repeated_within([*made, made[0] + " "]) == {2}


def test_near_duplicates_of_what_was_read_are_counted(tmp_path: Path) -> None:
    documents = [document(t, x) for t, x in ARTICLES.items()]
    read = ["시험법에서 말하는 '완전자회사'란 무엇인가요"]
    job = make_job(tmp_path, documents, read)
    synthesize(job)
    assert job.manifest.dropped["near-duplicate-of-read"] == 1
    assert "definition" not in {row["kind"] for row in kept(job)}
    dropped = pq.read_table(job.path("dropped.parquet")).to_pylist()
    assert [row["drop_reason"] for row in dropped] == ["near-duplicate-of-read"]


def test_a_model_is_checked_in_code_and_by_its_own_word(tmp_path: Path) -> None:
    title, text = "시험법 제9조 (합병의 등기)", ARTICLES["시험법 제9조 (합병의 등기)"]
    span = text[:30]
    pairs = [
        {"question": "합병의 등기는 언제까지 하여야 하나요?", "answer": "2주간 내에 하여야 합니다.", "span": span},
        {"question": "합병 등기의 기한은 며칠인가요?", "answer": "30일 이내에 하여야 합니다.", "span": span},
        {"question": "합병 등기는 어디에서 하나요?", "answer": "본점 소재지에서 합니다.", "span": "지어낸 구절이다"},
        {"question": "합병의 등기를 게을리하면 어떻게 되나요?", "answer": "과태료를 물게 됩니다.", "span": span},
    ]

    def reply(body: Body) -> str:
        if "사실 확인" in body["messages"][0]["content"]:
            return json.dumps({"reason": "까닭", "supported": "과태료" not in body["messages"][1]["content"]})
        return "다음과 같습니다.\n" + json.dumps(pairs, ensure_ascii=False)

    with FakeEndpoint(reply) as server:
        endpoint = {"base_url": server.base_url, "model": "m", "ledger": str(tmp_path / "l"), "timeout": 5}
        sections = {"endpoint": endpoint, "synthesize": {"per_passage": 4}}
        job = make_job(tmp_path, [document(title, text)], [], **sections)
        synthesize(job)
        assert server.served.calls == 1 + 2
    assert [row["question"] for row in kept(job)] == [pairs[0]["question"]]
    assert job.manifest.dropped == {"number-not-in-passage": 1, "span-not-in-passage": 1, "not-supported": 1}
    assert job.manifest.facts["endpoint"]["replies"] == {"clean": 2, "tolerated": 1}


def test_a_model_that_makes_nothing_is_an_error_not_an_empty_table(tmp_path: Path) -> None:
    with FakeEndpoint(lambda body: "모르겠습니다") as server:
        endpoint = {"base_url": server.base_url, "model": "m", "ledger": str(tmp_path / "l"), "timeout": 5}
        job = make_job(tmp_path, [document(t, x) for t, x in ARTICLES.items()], [], endpoint=endpoint)
        with pytest.raises(EnvironmentFault, match=r"not one of 3 passages .*no-json"):
            synthesize(job)
    assert not job.path("qa.parquet").exists()


def test_no_documents_give_an_empty_table(tmp_path: Path) -> None:
    job = make_job(tmp_path, [], [])
    synthesize(job)
    assert pq.read_table(job.path("qa.parquet")).num_rows == 0


@pytest.mark.parametrize(("word", "expected"), [("합병", "합병은"), ("회사", "회사는"), ("'주식'", "'주식'은")])
def test_particles_follow_the_last_syllable(word: str, expected: str) -> None:
    assert particle(word, "은", "는") == expected


def test_endings_become_polite_or_stay() -> None:
    assert polite("등기를 하여야 한다.") == "등기를 하여야 합니다."
    assert polite("효력이 생김") == "효력이 생김"


def test_pairs_that_give_an_exam_item_away_are_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    question = "시험법에서 말하는 '완전자회사'란 무엇인가요?"
    monkeypatch.setattr(Pack, "exam_questions", [question])
    job = make_job(tmp_path, [document(t, x) for t, x in ARTICLES.items()], [], synthesize={"per_passage": 4})
    synthesize(job)
    assert question not in {row["question"] for row in kept(job)}
    assert job.manifest.dropped["exam-overlap"] == 1
