"""The pages in real Chromium: ask, stream, stop, rate, correct, compare, reload, review, attacks, accessibility."""

import json
import re
from datetime import UTC, datetime

import pytest
from pages import DESK, PHONE, answered, ask, axe_findings, expect, ready
from served_app import make_app, wait_for

from mnatune.model.engine.echo import EchoEngine
from mnatune.service.keys import KeyStore, KeyTerms
from mnatune.service.service import Settings

pytestmark = pytest.mark.browser

LONG = " ".join(f"낱말{i}" for i in range(400))
ANSWER = "**합병**은 상법 제522조에 따릅니다.\n\n1. 첫째\n2. 둘째\n\n| 가 | 나 |\n|---|---|\n| 1 | 2 |"
ATTACKS = [
    "<script>window.hit=1</script>",
    '<img src=x onerror="window.hit=1">',
    "[누르세요](javascript:window.hit=1)",
    "[x](data:text/html,<script>window.hit=1</script>)",
    "![x](https://evil.example/leak.png)",
    '<a href="https://evil.example" onmouseover="window.hit=1">x</a>',
    "**<svg/onload=window.hit=1>**",
    "```\n</code></pre><script>window.hit=1</script>\n```",
    "| <iframe srcdoc='<script>parent.hit=1</script>'> | b |\n|---|---|\n| 1 | 2 |",
    '상법 제522조"><script>window.hit=1</script>',
    "> " * 2000 + "깊은 인용",
    "*" * 5000 + "a" + "*" * 5000,
]


class Titled:
    """A checker that knows one article and refuses another."""

    def find(self, text):
        from test_serve_page_api import Mark

        known = {"상법 제522조": ("valid", "합병계약서와 그 승인결의"), "상법 제999조": ("invalid", "")}
        found = ((hit.start(), hit.end(), *known[hit[0]]) for hit in re.finditer("|".join(known), text))
        return [Mark(start, end, verdict=verdict, title=title) for start, end, verdict, title in found]


def app_saying(answer=ANSWER, pause=0.0, **more):
    names = more.pop("names", ("tuned", "base"))
    return make_app(EchoEngine(names, pause=pause, reply=lambda task: answer), checker=Titled(), **more)


def stored(page):
    """Title → texts of every dialogue that this browser keeps."""
    chats = json.loads(page.evaluate("localStorage.getItem('mnatune.chats')") or "[]")
    return {chat["title"]: [turn["content"] for turn in chat["turns"]] for chat in chats}


def test_ask_and_read_an_answer_with_markdown_and_citation(visit):
    page, _ = visit(app_saying())
    ask(page)
    answered(page)
    expect(page.locator(".answer strong")).to_have_text("합병")
    assert page.locator(".answer ol li").all_text_contents() == ["첫째", "둘째"]
    assert page.locator(".answer td").all_text_contents() == ["1", "2"]
    cite = page.locator(".cite.valid")
    assert cite.locator(".mark").all_text_contents() == ["실재", "근거 미확인"]
    expect(page.locator(".not-checked")).to_contain_text("확인하지 않았습니다")
    expect(page.locator(".tip")).to_be_hidden()
    cite.hover()
    expect(page.locator(".tip")).to_have_text("실재 · 근거는 확인하지 않음: 상법 합병계약서와 그 승인결의")
    page.mouse.move(0, 0)
    page.locator(".tip").wait_for(state="hidden")
    expect(page.locator("#chat-title")).to_have_text("합병이란?")


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_the_title_of_an_article_is_shown_wherever_the_citation_stands(visit, viewport):
    """Also at the edges of the window and where a citation is broken over two lines."""
    page, _ = visit(app_saying(" ".join(["상법 제522조"] * 40)), viewport=viewport)
    ask(page)
    answered(page)
    within = """e => { const b = e.getBoundingClientRect();
        return !e.hidden && b.left >= 0 && b.top >= 0 && b.right <= innerWidth && b.bottom <= innerHeight }"""
    cites = page.locator(".cite")
    expect(cites).to_have_count(40)
    for at in range(0, 40, 3):
        cites.nth(at).focus()
        assert page.locator(".tip").evaluate(within), at


def test_a_long_title_leaves_room_for_its_delete_button(visit):
    page, _ = visit(app_saying())
    ask(page, "주식매수청구권은 누가 언제까지 어떻게 행사하며 매수가액은 어떻게 정합니까?")
    answered(page)
    side, button = page.locator("#side").bounding_box(), page.locator(".history .icon").bounding_box()
    assert button["x"] + button["width"] <= side["x"] + side["width"]


def test_text_streams_and_the_stop_button_ends_it_for_the_engine_too(visit):
    page, server = visit(app_saying(LONG, pause=0.02))
    ask(page)
    page.get_by_text("낱말3 낱말4").wait_for()
    expect(page.locator("#send")).to_be_hidden()
    page.click("#stop")
    page.get_by_text("답변을 중지했습니다.").first.wait_for()
    assert wait_for(lambda: server.gauge("mnatune_answers_in_flight") == 0, 5)
    expect(page.locator(".answer .text")).not_to_contain_text("낱말399")
    expect(page.locator("#send")).to_be_visible()


def test_escape_stops_too_and_a_stopped_answer_can_be_rated(visit):
    page, server = visit(app_saying(LONG, pause=0.02))
    ask(page)
    page.get_by_text("낱말3 낱말4").wait_for()
    page.keyboard.press("Escape")
    answered(page)
    wait_for(lambda: bool(server.store.usage()), 5)
    page.get_by_role("button", name="좋아요").click()
    assert wait_for(lambda: server.store.review_queue().total == 1, 5)


def test_rate_with_reasons_and_comment(visit):
    page, server = visit(app_saying())
    ask(page)
    page.get_by_role("button", name="아쉬워요").click()
    page.get_by_label("사실이 틀림").check()
    page.get_by_label("조문이 틀림").check()
    page.get_by_label("의견", exact=True).fill("요건이 빠졌습니다")
    page.get_by_role("button", name="의견 보내기").click()
    page.get_by_text("의견을 보냈습니다").first.wait_for()
    (item,) = server.store.review_queue().items
    assert (item.value, set(item.tags), item.comment) == ("down", {"wrong_fact", "wrong_citation"}, "요건이 빠졌습니다")
    pressed = page.get_by_role("button", name="아쉬워요")
    expect(pressed).to_have_attribute("aria-pressed", "true")
    pressed.click()  # takes the rating back
    assert wait_for(lambda: server.store.review_queue().total == 0, 5)


def test_correct_an_answer(visit):
    page, server = visit(app_saying())
    ask(page)
    page.get_by_role("button", name="답변 고치기").click()
    area = page.get_by_label("고친 답변", exact=True)
    expect(area).to_have_value(ANSWER)
    area.fill("바른 답변입니다.")
    page.get_by_role("button", name="고친 답변 저장").click()
    page.get_by_text("고친 답변을 저장했습니다").first.wait_for()
    (item,) = server.store.review_queue().items
    assert (item.kind, item.value, item.answer) == ("edit", "바른 답변입니다.", ANSWER)


def test_compare_blind_and_see_the_names_only_after_the_choice(visit):
    said = {"tuned": "긴 답변", "base": "짧은 답변"}
    page, server = visit(make_app(EchoEngine(tuple(said), reply=lambda task: said[task.model])))
    ready(page).click("#compare")
    ask(page)
    page.locator(".verdict button").first.wait_for()
    shown = page.locator("#turns").text_content()
    assert "tuned" not in shown
    assert "base" not in shown
    page.get_by_role("button", name="나가 더 좋음").click()
    page.locator(".answer.chosen").wait_for()
    names = page.locator(".pair .who").all_text_contents()
    assert sorted(name.partition(" · ")[2] for name in names) == ["base", "tuned"]
    (item,) = server.store.review_queue().items
    assert (item.kind, item.value) == ("pair", "right")
    texts = page.locator(".pair .text").all_text_contents()
    assert [said[name.partition(" · ")[2]] for name in names] == texts


def test_a_rating_that_did_not_arrive_is_not_shown_as_given(visit):
    page, _ = visit(app_saying())
    ask(page)
    answered(page)
    page.route("**/rating", lambda route: route.abort())
    good = page.get_by_role("button", name="좋아요", exact=True)
    good.click()
    page.locator(".tools [role=alert]").wait_for()
    expect(good).to_have_attribute("aria-pressed", "false")
    expect(page.locator(".tools [role=alert]")).to_contain_text("서버에 있는 것은 지금도 평가 ‘없음’")
    page.unroute("**/rating")
    page.get_by_role("button", name="다시 보내기").click()
    page.get_by_text("어떤 점이 좋았나요?").wait_for()
    expect(good).to_have_attribute("aria-pressed", "true")


def test_what_was_typed_stays_until_the_server_has_it(visit):
    page, server = visit(app_saying())
    ask(page)
    page.get_by_role("button", name="답변 고치기").click()
    page.route("**/edit", lambda route: route.abort())
    page.get_by_label("고친 답변", exact=True).fill("길게 고친 답변")
    page.get_by_role("button", name="고친 답변 저장").click()
    page.locator(".panel [role=alert]", has_text="저장되지 않았습니다").wait_for()
    expect(page.get_by_label("고친 답변", exact=True)).to_have_value("길게 고친 답변")
    assert server.store.review_queue().total == 0
    page.unroute("**/edit")
    page.get_by_role("button", name="다시 보내기").click()
    page.locator(".note", has_text="고친 답변을 저장했습니다").wait_for()
    assert server.store.review_queue().items[0].value == "길게 고친 답변"


def test_a_corrected_answer_is_what_the_next_question_follows(visit):
    seen = []

    def reply(task):
        seen.append([message["content"] for message in task.messages if message["role"] != "system"])
        return "틀린 답변"

    page, _ = visit(make_app(EchoEngine(("tuned", "base"), reply=reply)))
    ask(page, "첫 질문")
    answered(page)
    page.get_by_role("button", name="답변 고치기").click()
    page.get_by_label("고친 답변", exact=True).fill("옳은 답변")
    page.get_by_role("button", name="고친 답변 저장").click()
    page.locator(".note", has_text="고친 답변을 저장했습니다").wait_for()
    expect(page.locator(".answer .text")).to_have_text("옳은 답변")
    page.get_by_role("button", name="원래 답변 보기").click()
    page.get_by_role("button", name="고친 답변 보기").wait_for()
    expect(page.locator(".answer .text")).to_have_text("틀린 답변")
    page.reload()
    answered(ready(page))
    expect(page.locator(".answer .text")).to_have_text("옳은 답변")
    ask(page, "둘째 질문")
    answered(page, 1)
    assert seen[1] == ["첫 질문", "옳은 답변", "둘째 질문"]


def test_signing_out_leaves_no_dialogue_behind(visit, tmp_path):
    store = KeyStore(tmp_path / "keys.json")
    _, secret = store.create("김")
    page, _ = visit(app_saying(keys=store))
    page.fill("#key", secret)
    page.press("#key", "Enter")
    ask(page)
    answered(page)
    page.click("#sign-out")
    page.locator("#key-dialog[open]").wait_for()
    assert stored(page) == {}


def test_what_user_and_model_write_stays_text(visit):
    page, _ = visit(make_app(EchoEngine(), checker=Titled()))
    for at, attack in enumerate(ATTACKS):
        ask(page, attack)  # the engine answers with the attack itself
        answered(page, at)
    assert page.evaluate("window.hit") is None
    expect(page.locator("#turns :is(script, img, iframe, svg, [onerror], [onmouseover])")).to_have_count(0)
    links = page.locator("#turns a").evaluate_all("nodes => nodes.map(node => node.href)")
    assert all(link.startswith(("http://", "https://")) for link in links)


def test_hangul_composition_does_not_send_half_a_question(visit):
    page, _ = visit(app_saying())
    ready(page).fill("#question", "합")
    fire = "new KeyboardEvent('keydown', {key: 'Enter', isComposing: true, bubbles: true, cancelable: true})"
    page.evaluate(f"document.getElementById('question').dispatchEvent({fire})")
    expect(page.locator(".question")).to_have_count(0)
    page.press("#question", "Shift+Enter")
    expect(page.locator("#question")).to_have_value("합\n")


def test_without_consent_nothing_is_stored_and_rating_is_not_offered(visit):
    page, server = visit(app_saying(), consent=False)
    ready(page).click("#consent-no")
    ask(page)
    answered(page)
    expect(page.locator(".thumb")).to_have_count(0)
    expect(page.locator("#compare")).to_be_hidden()
    assert server.store.usage() == []


def test_a_change_of_consent_begins_a_new_conversation(visit):
    page, server = visit(app_saying(), consent=False)
    ready(page).click("#consent-no")
    ask(page, "저장하지 않을 질문")
    answered(page)
    page.evaluate("document.getElementById('consent').click()")
    ask(page, "저장할 질문")
    page.locator(".thumb").first.wait_for()
    assert page.locator(".question .text").all_text_contents() == ["저장할 질문"]
    page.get_by_role("button", name="좋아요").click()
    assert wait_for(lambda: server.store.review_queue().total == 1, 5)
    (item,) = server.store.review_queue().items
    assert "저장하지 않을" not in str(item)


def test_everything_can_be_erased(visit):
    page, server = visit(app_saying())
    ask(page)
    answered(page)
    assert wait_for(lambda: bool(server.store.usage()), 5)
    page.click("#forget")
    page.get_by_role("button", name="모두 삭제", exact=True).click()
    assert wait_for(lambda: server.store.usage() == [], 5)
    assert page.evaluate("localStorage.getItem('mnatune.chats')") is None


def test_a_key_is_asked_for_and_a_wrong_one_is_told(visit, tmp_path):
    store = KeyStore(tmp_path / "keys.json")
    _, secret = store.create("kim", KeyTerms(admin=False))
    page, server = visit(app_saying(keys=store, settings=Settings(require_keys=True)))
    page.fill("#key", "mna_wrong")
    page.press("#key", "Enter")
    page.get_by_text("키가 맞지 않거나").wait_for()
    page.fill("#key", secret)
    page.press("#key", "Enter")
    ask(page)
    answered(page)
    expect(page.locator("#admin-link")).to_be_hidden()
    admin = page.context.new_page()
    admin.goto(server.url + "/admin")
    admin.get_by_text("관리자 권한이 있는 키").wait_for()


def test_errors_are_told_in_words(visit):
    page, _ = visit(make_app(EchoEngine(("only",), capacity=0)))
    ask(page)
    page.get_by_text("대기열이 가득").wait_for()
    expect(page.locator("#compare")).to_be_hidden()


def test_review_on_the_admin_page(visit):
    page, server = visit(app_saying())
    ask(page, "검토할 질문")
    page.get_by_role("button", name="답변 고치기").click()
    page.get_by_label("고친 답변", exact=True).fill("고친 답")
    page.get_by_role("button", name="고친 답변 저장").click()
    page.get_by_text("고친 답변을 저장했습니다").first.wait_for()
    page.get_by_role("button", name="좋아요").click()
    assert wait_for(lambda: server.store.review_queue().total == 2, 5)
    ready(admin_page := visit(server, "/admin")[0])
    assert admin_page.locator("#chart svg rect.up title").all_text_contents() == [
        f"{datetime.now(UTC):%Y-%m-%d} 좋아요 1"
    ]
    expect(admin_page.locator("#chart svg rect.down")).to_have_count(0)
    expect(admin_page.locator(".review h3").first).to_contain_text("검토할 질문")
    card = admin_page.locator(".review").filter(has_text="고친 답변")
    card.get_by_label("고친 답변", exact=True).fill("다듬은 답")
    card.get_by_role("button", name="승인").click()
    assert wait_for(lambda: server.store.review_queue("approved").total == 1, 5)
    assert server.store.review_queue("approved").items[0].value == "다듬은 답"


@pytest.mark.parametrize(("scheme", "viewport"), [("light", DESK), ("dark", PHONE)], ids=["desk", "phone"])
def test_accessibility_has_no_serious_finding(visit, scheme, viewport):
    app = app_saying(f"{ANSWER}\n\n> 인용 `코드` [법령](https://www.law.go.kr) 상법 제999조")
    page, server = visit(app, viewport=viewport, color_scheme=scheme, consent=False)
    assert axe_findings(ready(page)) == []
    page.click("#consent-yes")
    ask(page)
    page.get_by_role("button", name="아쉬워요").click()
    page.get_by_text("어떤 점이 아쉬웠나요?").wait_for()
    assert axe_findings(page) == []
    page.click("#compare")
    ask(page, "비교")
    page.get_by_role("button", name="비슷함").click()
    page.get_by_text("로 저장했습니다").first.wait_for()
    assert axe_findings(page) == []
    admin, _ = visit(server, "/admin", viewport=viewport, color_scheme=scheme)
    ready(admin)
    assert axe_findings(admin) == []


def test_a_phone_shows_everything_without_sideways_scrolling(visit):
    page, server = visit(app_saying(ANSWER + "\n\n" + "가" * 300), viewport=PHONE)
    ask(page, "https://example.com/" + "a" * 200)
    answered(page)
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(wide) <= 0
    page.click("#side-open")
    page.locator(".entry").first.wait_for()
    page.keyboard.press("Escape")
    page.locator("#side").wait_for(state="hidden")
    admin, _ = visit(server, "/admin", viewport=PHONE)
    assert ready(admin).evaluate(wide) <= 0


def test_the_theme_is_chosen_and_kept(visit):
    page, _ = visit(app_saying(), color_scheme="light")
    light = ready(page).evaluate("getComputedStyle(document.body).backgroundColor")
    page.click("#theme")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert dark != light
    page.reload()
    assert ready(page).evaluate("getComputedStyle(document.body).backgroundColor") == dark
    expect(page.locator("#theme")).to_have_text("밝은 화면")


def test_the_page_loads_nothing_from_elsewhere(visit):
    page, server = visit(app_saying())
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    ask(page)
    answered(page)
    assert asked
    assert all(url.startswith(server.url) for url in asked)
    assert json.loads(page.evaluate("localStorage.getItem('mnatune.chats')"))[0]["title"] == "합병이란?"
