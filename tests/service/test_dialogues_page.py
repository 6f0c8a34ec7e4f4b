"""Dialogues in real Chromium: kept over a reload, each with its own answers, deleted for good."""

import pytest
from pages import answered, ask, expect, ready
from served_app import make_app, wait_for
from test_serve_page import app_saying, stored

from mnatune.model.engine.echo import EchoEngine

pytestmark = pytest.mark.browser


def delete(page, title):
    page.get_by_role("button", name=f"‘{title}’ 삭제").click()
    page.get_by_role("button", name="삭제", exact=True).click()
    expect(page.locator(".entry", has_text=title)).to_have_count(0)


def test_a_reload_keeps_the_dialogue_and_its_ratings(visit):
    page, _ = visit(app_saying())
    ask(page, "첫 질문")
    answered(page)
    page.get_by_role("button", name="좋아요").click()
    page.get_by_text("어떤 점이 좋았나요?").wait_for()
    page.reload()
    answered(ready(page))
    expect(page.locator(".question .text")).to_have_text("첫 질문")
    expect(page.get_by_role("button", name="좋아요")).to_have_attribute("aria-pressed", "true")
    page.click("#new-chat")
    expect(page.locator("#welcome")).to_be_visible()
    page.locator(".entry").first.click()
    answered(page)
    delete(page, "첫 질문")
    expect(page.locator(".entry")).to_have_count(0)


def test_a_dialogue_is_sent_with_its_earlier_turns(visit):
    app = make_app(EchoEngine(reply=lambda task: " | ".join(m["content"] for m in task.messages)))
    page, _ = visit(app)
    ask(page, "하나")
    answered(page)
    ask(page, "둘")
    answered(page, 1)
    expect(page.locator(".answer .text").nth(1)).to_have_text("체계 | 하나 | 체계 | 하나 | 둘")


def app_that_takes_its_time(seen):
    """Answers with the question, many times over; `seen` gets what each request carried."""

    def reply(task):
        seen.append([message["content"] for message in task.messages if message["role"] != "system"])
        return f"{task.messages[-1]['content']}의답 " * 200

    return make_app(EchoEngine(("tuned", "base"), pause=0.02, reply=reply))


def writing(page, question):
    ask(page, question)
    page.get_by_text(f"{question}의답").first.wait_for()


def entry(page, title):
    return page.locator("#history .entry", has_text=title)


def test_an_answer_stays_in_its_own_dialogue_whatever_is_opened_meanwhile(visit):
    seen = []
    page, _ = visit(app_that_takes_its_time(seen))
    writing(page, "가사건")
    page.click("#new-chat")
    writing(page, "나사건")
    entry(page, "가사건").click()
    page.locator("#chat-title", has_text="가사건").wait_for()
    writing(page, "다질문")
    page.click("#stop")
    page.locator(".tools").last.wait_for()
    kept = stored(page)
    assert set(kept) == {"가사건", "나사건"}
    assert all("나사건" not in text for text in kept["가사건"])
    assert all("가사건" not in text and "다질문" not in text for text in kept["나사건"])
    assert [text[:3] for text in kept["가사건"]] == ["가사건", "가사건", "다질문", "다질문"]
    assert seen[1] == ["나사건"]
    assert all("나사건" not in text for text in seen[2])


def test_who_comes_back_in_mid_answer_finds_what_had_come(visit):
    page, _ = visit(app_that_takes_its_time([]))
    writing(page, "가사건")
    page.click("#new-chat")
    entry(page, "가사건").click()
    page.locator(".answer", has_text="가사건의답").wait_for()
    page.locator(".tools").wait_for()
    assert [text[:3] for text in stored(page)["가사건"]] == ["가사건", "가사건"]
    expect(page.locator(".answer")).to_have_count(1)


def test_a_dialogue_deleted_in_mid_answer_does_not_come_back(visit):
    page, server = visit(app_that_takes_its_time([]))
    writing(page, "가사건")
    delete(page, "가사건")
    assert wait_for(lambda: server.gauge("mnatune_engine_running") == 0, 10)
    ask(page, "나사건")
    page.get_by_text("나사건의답").first.wait_for()
    assert set(stored(page)) == {"나사건"}


def test_a_reload_in_mid_answer_is_told_and_the_question_can_be_asked_again(visit):
    seen = []
    page, _ = visit(app_that_takes_its_time(seen))
    writing(page, "가사건")
    page.reload()
    ready(page).get_by_text("끝까지 오지 않았습니다").wait_for()
    page.get_by_role("button", name="다시 시도").click()
    page.get_by_text("가사건의답").first.wait_for()
    assert seen == [["가사건"], ["가사건"]]
    expect(page.locator(".question")).to_have_count(1)
