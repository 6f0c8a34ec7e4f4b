"""Answers with evidence: passages, the day that is meant, verdicts, repair before sending, and a memory that fails."""

import asyncio
import json
import random
import re
from contextlib import suppress

import httpx
import pytest
from fastapi.testclient import TestClient
from served_app import make_app, wait_for

from mnatune.law import Hit, LawIndex
from mnatune.law.support import check_citations
from mnatune.model.engine.echo import EchoEngine
from mnatune.model.engine.refusals import bad_request
from mnatune.model.evidence_prompt import EvidenceWords, NumberedPassage
from mnatune.model.export.comparison import template_ids
from mnatune.model.export.merged import policy_template
from mnatune.model.load import load_tokenizer
from mnatune.model.prompt import dialogue, examples, prompt_ids
from mnatune.pack import Pack
from mnatune.service import evidence
from mnatune.service.api_schema import ChatCompletion
from mnatune.service.evidence import LawEvidence
from mnatune.service.service import Settings

CHAT = "/v1/chat/completions"
PACK = Pack.load("mna_ko")
WORDS = EvidenceWords.of(PACK.prompts)
QUESTION = "합병에 반대하는 주주는 언제까지 매수를 청구합니까?"
GOOD = "합병에 반대하는 주주는 주주총회 결의일부터 20일 이내에 주식의 매수를 청구할 수 있습니다(상법 제522조의3)."
MISSING = "합병 반대주주의 매수청구는 상법 제999조에 따릅니다."
LONG = " ".join(f"낱말{i}" for i in range(400))
CONTRADICTS = "반대주주는 상법 제522조의3에 따라 3개월 이내에 매수를 청구합니다."


class Finds(LawIndex):
    """The pack's memory with a search that knows one article, so that no test waits for the analyser."""

    def search(self, question, at="", top=5, kinds=("article",), hidden=(), earlier=()):
        self.earlier = list(earlier)
        hit = self.article("상법", "522의3", at or self.today)
        return [hit] if "합병" in question or "매수" in question else []


@pytest.fixture(scope="module")
def memory():
    return Finds(PACK.root / "law")


@pytest.fixture
def law(memory):
    return LawEvidence(memory, WORDS)


def answers(reply, law, **settings):
    engine = EchoEngine(("tuned",), reply=reply)
    return TestClient(make_app(engine, settings=Settings(system="체계", **settings), law=law))


def says(first, again=""):
    """An engine that answers `first`, and `again` when it is asked to mend a sentence."""
    return lambda task: again if "고칠 문장" in task.messages[-1]["content"] else first


def ask(client, question=QUESTION, **fields):
    body = {"messages": [{"role": "user", "content": question}], "evidence": True, **fields}
    with client:
        reply = client.post(CHAT, json=body)
        assert reply.status_code == 200, reply.text
    if not fields.get("stream"):
        return reply.json()
    return [json.loads(line[6:]) for line in reply.text.splitlines() if line.startswith("data: {")]


def streamed(events):
    return "".join(event["choices"][0]["delta"].get("content", "") for event in events if event["choices"])


def test_the_engine_gets_the_prompt_and_the_reply_tells_passages_and_verdicts(law):
    seen = []
    reply = ask(answers(lambda task: seen.append(task) or GOOD, law))
    hit = law.memory.article("상법", "522의3")
    (passage,) = reply["evidence"]["passages"]
    assert (passage["name"], passage["text"], passage["since"]) == (hit.name, hit.text, hit.since)
    assert reply["evidence"]["status"] == "found"
    assert reply["evidence"]["at"] == law.memory.today
    choice = reply["choices"][0]
    assert choice["message"]["content"] == GOOD
    (cited,) = choice["citations"]
    assert GOOD[cited["start"] : cited["end"]] == cited["text"] == "상법 제522조의3"
    assert (cited["verdict"], cited["support"], cited["fault"], cited["passage"]) == ("valid", "supported", "", 1)
    system, user = seen[-1].messages
    assert system["content"] == "체계"
    assert passage["name"] in user["content"]
    assert user["content"].endswith(f"질문: {QUESTION}")


def test_the_schema_names_every_field_of_a_reply(law):
    reply = ask(answers(says(MISSING), law))
    assert ChatCompletion.model_validate(reply).model_dump(mode="json") == reply


def test_without_the_field_nothing_changes(law):
    seen = []
    client = answers(lambda task: seen.append(task) or MISSING, law)
    for wanted in ({"evidence": False}, {"evidence": None}):
        reply = ask(client, **wanted)
        assert reply["choices"][0]["message"]["content"] == MISSING
        assert set(reply["choices"][0]) == {"index", "message", "logprobs", "finish_reason"}
        assert "evidence" not in reply
        assert seen[-1].messages[-1]["content"] == QUESTION
    assert not any("evidence" in event for event in ask(client, evidence=False, stream=True))


def test_the_servers_default_holds_for_requests_that_do_not_say(law):
    client = answers(lambda task: GOOD, law, evidence=True)
    assert "evidence" in ask(client, evidence=None)
    assert "evidence" not in ask(client, evidence=False)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("wrong", [MISSING, CONTRADICTS])
def test_a_wrong_citation_is_rewritten_once_and_otherwise_struck(law, wrong, stream):
    mended = ask(answers(says(f"{wrong} 끝입니다.", GOOD), law), stream=stream)
    struck = ask(answers(says(f"{wrong} 끝입니다.", MISSING), law), stream=stream)
    text = streamed if stream else lambda reply: reply["choices"][0]["message"]["content"]
    last = (lambda events: events[-1]["choices"][0]) if stream else lambda reply: reply["choices"][0]
    assert text(mended) == f"{GOOD} 끝입니다."
    assert last(mended)["rewritten"] == 1
    assert [c["fault"] for c in last(mended)["citations"]] == [""]
    cited, label = ("상법 제999조", "없는 조문") if wrong == MISSING else ("상법 제522조의3", "근거와 다름")
    assert text(struck) == f"{wrong} 끝입니다.".replace(cited, f"~~{cited}~~({label})")
    (mark,) = last(struck)["citations"]
    assert (mark["struck"], mark["label"], mark["text"]) == (True, label, cited)
    assert text(struck)[mark["start"] : mark["end"]] == cited


def test_an_article_not_in_force_on_the_day_is_struck(law):
    new = next(
        (name, number, article)
        for name, articles in law.memory.statutes.laws.items()
        for number, article in articles.items()
        if not article.last and law.memory.statutes.since[name] < "2015-01-01" and "2021" < article.first < "2025"
    )
    name, number, article = new
    main, _, branch = number.partition("의")
    cited = f"{name} 제{main}조" + (f"의{branch}" if branch else "")
    text = f"{cited}에 따릅니다."
    client = answers(says(text), law)
    old = ask(client, "2016년에 체결한 합병 계약은?")
    assert (old["evidence"]["at"], old["evidence"]["at_words"]) == ("2016-12-31", "2016년")
    assert f"~~{cited}~~(시행되지 않는 조문)" in old["choices"][0]["message"]["content"]
    assert (
        "시행되지 않는 조문"
        not in ask(client, f"{article.first} 현재 합병 계약은?")["choices"][0]["message"]["content"]
    )


def test_the_day_of_an_earlier_question_holds_until_another_is_named(law):
    turns = ["2016년에 체결한 합병 계약은?", "매수 청구는?", "2020-03-05 현재 매수 청구는?"]
    told = []
    with answers(says(GOOD), law) as client:
        for end in (2, 3):
            messages = [
                m
                for text in turns[:end]
                for m in ({"role": "user", "content": text}, {"role": "assistant", "content": "답"})
            ]
            told.append(client.post(CHAT, json={"messages": messages[:-1], "evidence": True}).json()["evidence"]["at"])
    assert told == ["2016-12-31", "2020-03-05"]
    assert law.memory.earlier == turns[:2], "earlier questions help to find"


def test_a_day_after_the_memorys_own_is_answered_with_a_word_of_warning(law):
    notes = [
        ask(answers(says(GOOD), law), f"{day} 당시 합병에 반대하는 주주의 매수청구는요?")["evidence"]["note"]
        for day in ("2030년 1월 1일", "2024년 1월 1일")
    ]
    assert notes == [f"{law.memory.as_of}까지의 법령입니다. 그 뒤의 개정은 알 수 없습니다.", ""]


def test_a_sentence_that_denies_an_article_is_marked_and_kept(law):
    denial = "상법 제999조는 존재하지 않습니다."
    reply = ask(answers(says(denial, GOOD), law))
    assert reply["choices"][0]["message"]["content"] == "상법 제999조(없는 조문)는 존재하지 않습니다."


def test_nothing_invalid_leaves_unmarked_whole_and_streamed_alike(law):
    """Random answers of true and false citations, cut into sentences in every way."""
    rng = random.Random(3)
    pieces = ["상법 제522조", "상법 제999조", "제530조", "같은 법 제1234조", "상법 제522조 제77항", "민법 제9999조의2", "이하",
              "합병", "에 따라", "및", "(", ")", ".", "다.", "습니다.\n", "\n\n- ", "| 표 |", "“", "”", "20일"]  # fmt: skip
    said = ["", ""]
    invalid = 0
    with answers(lambda task: said["고칠 문장" in task.messages[-1]["content"]], law) as client:
        for _ in range(60):
            said[:] = (
                " ".join(rng.choice(pieces) for _ in range(rng.randrange(5, 40))) + " 끝.",
                rng.choice(["", MISSING]),
            )
            body = {"messages": [{"role": "user", "content": QUESTION}], "evidence": True}
            whole = client.post(CHAT, json=body).json()["choices"][0]
            content = whole["message"]["content"]
            for one in check_citations(law.memory, content, day=law.memory.today, question=QUESTION):
                if one.verdict == "invalid":
                    invalid += 1
                    assert re.match(r"(?:~~)?\(없는 [조항]", content[one.end :]), (said[0], content, one)
            assert all(mark["struck"] for mark in whole["citations"] if mark["fault"])
            lines = client.post(CHAT, json={**body, "stream": True}).text.splitlines()
            events = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
            assert streamed(events) == content
            assert events[-1]["choices"][0]["citations"] == whole["citations"]
    assert invalid > 100


def test_a_stream_tells_the_passages_first_and_sends_whole_sentences(law):
    events = ask(answers(says(f"{GOOD} 둘째 문장입니다."), law), stream=True)
    assert events[0]["evidence"]["passages"][0]["article"] == "522의3"
    texts = [e["choices"][0]["delta"]["content"] for e in events[1:] if e["choices"][0]["delta"].get("content")]
    assert texts == [GOOD, " 둘째 문장입니다."]


def test_tokens_of_rewriting_are_counted(law):
    asked = []
    plain = ask(answers(says(MISSING.replace("999", "522"), ""), law))["usage"]
    client = answers(lambda task: asked.append(task) or says(MISSING, GOOD)(task), law)
    mended = ask(client)["usage"]
    assert mended["completion_tokens"] == plain["completion_tokens"] + len(GOOD.split())
    assert len(asked) == 2
    assert mended["prompt_tokens"] == sum(len(task.messages[-1]["content"].split()) for task in asked)


def test_search_and_check_stay_off_the_event_loop(law, monkeypatch):
    seen = []

    def watched(name, work):
        def run(*args, **kwargs):
            with suppress(RuntimeError):  # no loop runs in this thread
                asyncio.get_running_loop()
                seen.append(f"{name} on the event loop")
            seen.append(name)
            return work(*args, **kwargs)

        return run

    for name in ("check_citations", "asked_day"):
        monkeypatch.setattr(f"mnatune.service.evidence.{name}", watched(name, getattr(evidence, name)))
    monkeypatch.setattr(Finds, "search", watched("search", Finds.search))
    ask(answers(says(MISSING, GOOD), law))
    assert set(seen) == {"check_citations", "asked_day", "search"}


@pytest.mark.parametrize(("room", "status", "passages"), [(560, "found", 1), (300, "no_room", 0)])
def test_a_context_too_short_for_the_passages_cuts_them_or_leaves_them_out(law, room, status, passages):
    seen = []

    class Short(EchoEngine):
        async def open(self, task):
            if len(task.messages[-1]["content"]) > room:
                raise bad_request("too long", code="context_length_exceeded")
            return await super().open(task)

    client = TestClient(make_app(Short(("m",), reply=lambda task: seen.append(task) or MISSING), law=law))
    reply = ask(client)
    assert (reply["evidence"]["status"], len(reply["evidence"]["passages"])) == (status, passages)
    assert "문맥이 짧아" in reply["evidence"]["note"]
    assert ("(이하 생략)" in seen[0].messages[-1]["content"]) == bool(passages)
    assert "~~" in reply["choices"][0]["message"]["content"]


def test_a_sentence_is_rewritten_with_passages_as_short_as_the_answer_had(law):
    """What the context took for the answer, it takes for the rewriting of a sentence."""
    seen = []

    class Short(EchoEngine):
        async def open(self, task):
            if "(이하 생략)" not in task.messages[-1]["content"]:
                raise bad_request("too long", code="context_length_exceeded")
            return await super().open(task)

    client = TestClient(
        make_app(Short(("m",), reply=lambda task: seen.append(task) or says(MISSING, GOOD)(task)), law=law)
    )
    assert ask(client)["choices"][0]["message"]["content"] == GOOD
    assert len(seen) == 2


def test_own_documents_stand_behind_the_articles_with_file_and_place(memory):
    """From an answer back to the page of the firm's own file."""
    origin = "계약/주식매매계약서.docx, 12–30문단"
    own = Hit(
        "document", "", "", "제7조(손해배상)", "매도인의 책임은 매매대금의 10%를 넘지 않는다.", "", "", origin=origin
    )

    class Both(Finds):
        has_documents = True

        def search(self, question, at="", top=5, kinds=("article",), hidden=(), earlier=()):
            return [own] if "document" in kinds else super().search(question, at, top, kinds, hidden)

    seen = []
    law = LawEvidence(Both(PACK.root / "law"), WORDS)
    reply = ask(answers(lambda task: seen.append(task) or GOOD, law))
    article, document = reply["evidence"]["passages"]
    assert (article["kind"], document["kind"]) == ("article", "document")
    assert (document["origin"], document["in_force"], document["text"]) == (origin, origin, own.text)
    assert f"[2] 제7조(손해배상) ({origin})" in seen[-1].messages[-1]["content"]
    assert [mark["passage"] for mark in reply["choices"][0]["citations"]] == [1]
    ChatCompletion.model_validate(reply)


def test_what_is_stored_is_the_question_and_what_was_sent(law):
    with answers(says(MISSING), law) as client:
        body = {"messages": [{"role": "user", "content": QUESTION}], "evidence": True, "store": True}
        reply = client.post(CHAT, json=body).json()
        rating = {"thumb": -1, "tags": [], "comment": ""}
        assert client.put(f"/api/generations/{reply['id']}/rating", json=rating).status_code == 204
        (item,) = client.get("/api/admin/reviews").json()["items"]
    assert (
        item["answer"]
        == reply["choices"][0]["message"]["content"]
        == MISSING.replace("상법 제999조", "~~상법 제999조~~(없는 조문)")
    )
    assert item["question"] == QUESTION


def test_tokens_are_those_of_training_and_evaluation(law, starter):
    """What the engine is given, what a training row holds and what `ask` and exports render."""
    seen = []
    ask(answers(lambda task: seen.append(task) or GOOD, law))
    tokenizer = load_tokenizer(str(starter))
    asked = WORDS.dialogue(
        dialogue(QUESTION, "체계"), [NumberedPassage.of(law.memory.article("상법", "522의3"), law.memory.today)]
    )
    (row,) = examples(tokenizer, [*asked, {"role": "assistant", "content": GOOD}])
    assert row.prompt == prompt_ids(tokenizer, asked) == prompt_ids(tokenizer, seen[-1].messages)
    assert row.prompt == template_ids(tokenizer, policy_template(tokenizer))(asked)
    assert row.prompt != prompt_ids(tokenizer, dialogue(QUESTION, "체계"))


@pytest.mark.parametrize("mending", [False, True])
def test_a_client_that_leaves_ends_the_answer_and_its_rewriting(law, serve_live, caplog, mending):
    def reply(task):
        again = "고칠 문장" in task.messages[-1]["content"]
        return f"{GOOD} {MISSING} {LONG}" if again or not mending else f"{MISSING} {LONG}"

    engine = EchoEngine(("m",), reply=reply, pause=0.02)
    server = serve_live(make_app(engine, law=law))
    body = {"messages": [{"role": "user", "content": QUESTION}], "evidence": True, "stream": True}
    with httpx.stream("POST", server.url + CHAT, json=body, timeout=30) as response:
        lines = response.iter_lines()
        next(lines)
        assert wait_for(lambda: engine.load().running == 1 + mending, 10)
    assert wait_for(lambda: engine.load().running == 0, 10)
    assert wait_for(lambda: server.gauge("mnatune_answers_in_flight") == 0, 10)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
