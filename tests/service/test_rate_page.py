"""The rating workspace and the reviewers' page in real Chromium: keys, skip, batches, filters, bulk, sheets, attacks."""

import os
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from pages import DESK, PHONE, answered, ask, axe_findings, expect, ready
from served_app import make_app, wait_for
from test_serve_page import Titled

from mnatune.model.engine.echo import EchoEngine
from mnatune.service.service import Settings

pytestmark = pytest.mark.browser

SHOTS = os.environ.get("MNATUNE_SCREENSHOTS")  # a folder: keep what the tests saw
ATTACK = "<script>window.hit=1</script><img src=x onerror=window.hit=1>"
QUESTIONS = ("상법 제999조에 따른 합병의 요건은?", "유류분은 누구에게 청구하나요?", "주식매수청구권의 행사 기간은?")
ANSWER = "**결론.** {}\n\n| 절차 | 기한 |\n|---|---|\n| 이사회 | D-60 |\n\n1. 상법 제522조의 승인 결의가 필요합니다.\n2. 상법 제999조도 같습니다."


@pytest.fixture
def app():
    """A server whose store holds three answers, one of them in a longer dialogue."""
    engine = EchoEngine(("tuned", "base"), reply=lambda task: ANSWER.format(task.messages[-1]["content"]))
    made = make_app(engine, checker=Titled(), settings=Settings(system="체계", title="M&A 상담"))
    fill(made, QUESTIONS)
    return made


def fill(app, questions, **headers):
    """Ask through the API, outside its life cycle, so that the store stays open."""
    client = TestClient(app, base_url="http://127.0.0.1")
    earlier = [{"role": "user", "content": "앞선 질문"}, {"role": "assistant", "content": "앞선 답변"}]
    for at, question in enumerate(questions):
        messages = [*(earlier if at == 0 else []), {"role": "user", "content": question}]
        client.post("/v1/chat/completions", json={"messages": messages, "store": True}, headers=headers)


def grades(server):
    return sorted((one.question, one.grade, one.comment) for one in server.store.grades())


def shoot(page, name):
    if SHOTS:
        page.screenshot(path=Path(SHOTS) / f"{name}.png", full_page=True)


def test_a_batch_is_graded_by_keys(visit, app):
    page, server = visit(app, "/rate")
    ready(page)
    expect(page.locator("#count")).to_have_text("묶음 1 / 3")
    shown = [page.locator(".review h3").text_content()]
    page.get_by_label("의견", exact=True).fill("4 요건 확인")  # a digit in the comment is no grade
    page.locator(".review h3").focus()
    page.keyboard.press("4")
    page.get_by_text("묶음 2 / 3").wait_for()
    shown.append(page.locator(".review h3").text_content())
    page.keyboard.press("s")
    page.get_by_text("묶음 3 / 3").wait_for()
    shown.append(page.locator(".review h3").text_content())
    page.keyboard.press("1")
    page.get_by_text("3건 가운데 2건을 평가했습니다.").wait_for()
    assert sorted(shown) == sorted(QUESTIONS)
    assert grades(server) == sorted([(shown[0], 4, "4 요건 확인"), (shown[2], 1, "")])
    assert page.locator("#figures dd").all_text_contents()[:3] == ["2", "2", "1"]
    page.get_by_role("button", name="다음 묶음").click()
    page.get_by_text("조건에 맞는 답변이 없습니다").wait_for()


def test_one_goes_back_and_changes_a_grade(visit, app):
    page, server = visit(app, "/rate")
    ready(page)
    first = page.locator(".review h3").text_content()
    page.keyboard.press("1")
    page.get_by_text("묶음 2 / 3").wait_for()
    page.keyboard.press("ArrowLeft")
    page.locator(".grade[aria-pressed=true]", has_text="틀림").wait_for()
    page.get_by_role("button", name="조금 고치면 됨").click()
    page.get_by_text("묶음 2 / 3").wait_for()
    assert grades(server) == [(first, 3, "")]
    page.select_option("#show", "mine")
    page.get_by_text("묶음 1 / 1").wait_for()
    page.get_by_role("button", name="평가 거두기").click()
    assert wait_for(lambda: grades(server) == [], 5)


def test_a_grade_that_did_not_arrive_is_told_and_sent_again(visit, app):
    page, server = visit(app, "/rate")
    ready(page)
    page.route("**/api/rating/*", lambda route: route.abort())
    page.keyboard.press("2")
    page.locator("#told", has_text="저장되지 않았습니다").wait_for()
    expect(page.locator("#told")).to_contain_text("‘없음’")
    expect(page.locator("#count")).to_have_text("묶음 1 / 3")
    assert grades(server) == []
    page.unroute("**/api/rating/*")
    page.keyboard.press("2")
    page.get_by_text("묶음 2 / 3").wait_for()
    assert [grade for _, grade, _ in grades(server)] == [2]


def test_reasons_the_whole_dialogue_and_filters(visit, app):
    page, _ = visit(app, "/rate")
    ready(page)
    assert page.locator(".reasons li").count() > 0
    page.fill("#words", "제999조에 따른")
    page.press("#words", "Enter")
    page.get_by_text("묶음 1 / 1").wait_for()
    earlier = page.locator(".earlier")
    assert "앞선 대화 2개" in earlier.text_content()
    earlier.locator("summary").click()
    expect(page.get_by_text("앞선 답변")).to_be_visible()
    assert page.locator(".cite.valid").count() > 0
    page.select_option("#verdict", "none")
    page.get_by_text("조건에 맞는 답변이 없습니다").wait_for()
    with page.expect_download() as download:
        page.click("#csv")
    assert download.value.path().read_text(encoding="utf-8-sig").startswith("generation,rater,")


def test_feedback_is_decided_in_bulk_on_the_admin_page(visit, app):
    page, server = visit(app)
    for at in range(2):
        ask(page, f"질문 {at}")
        answered(page, at)
        page.get_by_role("button", name="좋아요", exact=True).nth(at).click()
        page.get_by_text("어떤 점이 좋았나요?").nth(at).wait_for()
    admin, _ = visit(server, "/admin")
    ready(admin)
    assert admin.locator("#queue .reasons li").count() >= 2
    admin.get_by_label("이 쪽 모두 고르기").check()
    admin.get_by_text("2건 고름").wait_for()
    admin.get_by_role("button", name="고른 것 승인").click()
    admin.locator("#chosen", has_text="2건을 승인했습니다.").wait_for()
    assert server.store.review_queue("approved").total == 2
    admin.select_option("#state", "approved")
    admin.get_by_text("2건 가운데 1–2").wait_for()
    admin.fill("#words", "질문 1")
    admin.press("#words", "Enter")
    admin.get_by_text("1건 가운데 1–1").wait_for()
    with admin.expect_download() as download:
        admin.click("#csv")
    assert "질문 1" in download.value.path().read_text(encoding="utf-8-sig")


def test_what_users_and_models_write_stays_text(visit):
    app = make_app(EchoEngine(("tuned",)), checker=Titled())
    fill(app, [ATTACK, f'**{ATTACK}** 상법 제522조"><script>window.hit=1</script>'])
    page, server = visit(app, "/rate")
    ready(page)
    page.get_by_label("의견", exact=True).fill(ATTACK)
    page.get_by_role("button", name="틀림").click()
    page.get_by_text("묶음 2 / 2").wait_for()
    expect(page.locator("main :is(script, img)")).to_have_count(0)
    admin, _ = visit(server, "/admin")
    ready(admin).select_option("#state", "approved")
    admin.get_by_text("1건 가운데").wait_for()
    expect(admin.locator(".review")).to_contain_text(ATTACK)
    expect(admin.locator("main :is(script, img)")).to_have_count(0)
    assert page.evaluate("window.hit") is None
    assert admin.evaluate("window.hit") is None


@pytest.mark.parametrize(("scheme", "viewport"), [("light", DESK), ("dark", PHONE)], ids=["desk", "phone"])
def test_the_reviewers_pages_have_no_serious_finding(visit, app, scheme, viewport):
    page, server = visit(app, "/rate", viewport=viewport, color_scheme=scheme)
    ready(page)
    assert axe_findings(page) == []
    shoot(page, f"rate-{viewport['width']}")
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(wide) <= 0
    page.keyboard.press("4")
    page.get_by_text("묶음 2 / 3").wait_for()
    generation = server.store.grades()[0].generation
    from mnatune.service.feedback.sink import Grade

    server.store.grade(Grade(generation, "key:other", 1, "조문이 다름", 1.0))
    admin, _ = visit(server, "/admin", viewport=viewport, color_scheme=scheme)
    ready(admin).click("#apart-fold summary")
    admin.select_option("#state", "approved")
    admin.get_by_text("2건 가운데").wait_for()
    assert axe_findings(admin) == []
    assert admin.evaluate(wide) <= 0
    shoot(admin, f"admin-{viewport['width']}")
