"""Walls in real Chromium: what the page keeps and shows of a matter, and the administrator's view of all of them."""

import os
from pathlib import Path

import pytest
from pages import DESK, PHONE, answered, ask, axe_findings, expect, ready
from served_app import make_app

from mnatune.model.engine.echo import EchoEngine
from mnatune.service.keys import KeyStore, KeyTerms, Wall
from mnatune.service.service import Settings

pytestmark = pytest.mark.browser

SHOTS = os.environ.get("MNATUNE_SCREENSHOTS")  # a folder: keep what the tests saw


@pytest.fixture
def firm(tmp_path):
    """A server with two matters, and the keys by name."""
    keys = KeyStore(tmp_path / "keys.json")
    keys.put_wall(Wall("한빛 인수", ("hanbit", "hanbit-short"), "/srv/hanbit"))
    keys.put_wall(Wall("두리 합병", ("duri",)))
    terms = {
        "김변호사": KeyTerms(wall="한빛 인수"), "이변호사": KeyTerms(wall="두리 합병"), "박평가": KeyTerms(wall="한빛 인수", reviewer=True),
        "한빛 관리": KeyTerms(wall="한빛 인수", admin=True), "총괄": KeyTerms(admin=True), "공용": KeyTerms(),
    }  # fmt: skip
    secrets = {name: keys.create(name, given)[1] for name, given in terms.items()}
    engine = EchoEngine(("production", "hanbit", "hanbit-short", "duri", "base"))
    return make_app(engine, keys, Settings(system="체계", title="M&A 상담", require_keys=True)), secrets


def sign_in(page, secret):
    page.fill("#key", secret)
    page.press("#key", "Enter")
    return ready(page)


def models(page):
    return page.locator("#model option").all_text_contents()


def test_a_browser_shows_a_key_only_its_own_matters_dialogues(visit, firm):
    """One browser, three keys in turn: history, search and models are those of the key's wall."""
    app, secrets = firm
    page, _ = visit(app)
    sign_in(page, secrets["김변호사"])
    expect(page.locator("#wall")).to_have_text("한빛 인수")
    assert models(page) == ["hanbit", "hanbit-short", "production", "base"]
    ask(page, "한빛의 비밀 질문")
    answered(page)
    for who, wall, named in (("이변호사", "두리 합병", "duri"), ("공용", "", "production")):
        page.evaluate("sessionStorage.clear()")  # the browser was closed; nobody signed out
        page.reload()
        sign_in(page, secrets[who])
        expect(page.locator("#wall")).to_have_text(wall)
        assert models(page)[0] == named
        assert "hanbit" not in models(page)
        expect(page.locator("#history li")).to_have_count(0)
        assert "비밀 질문" not in page.locator("body").text_content()
        ask(page, f"{who}의 질문")
        answered(page)
        page.fill("#search", "한빛")
        expect(page.locator("#history li")).to_have_count(0)
    page.evaluate("sessionStorage.clear()")
    page.reload()
    sign_in(page, secrets["김변호사"])
    expect(page.locator("#history li")).to_have_count(1)
    expect(page.locator("#turns")).to_contain_text("한빛의 비밀 질문")
    page.click("#sign-out")  # takes every matter's dialogues from this browser
    page.locator("#key-dialog").wait_for()
    assert page.evaluate("Object.keys(localStorage).filter((key) => key.startsWith('mnatune.chats'))") == []


@pytest.mark.parametrize(("scheme", "viewport"), [("light", DESK), ("dark", PHONE)], ids=["desk", "phone"])
def test_walls_and_keys_are_shown_to_who_sees_over_all(visit, firm, scheme, viewport):
    app, secrets = firm
    page, server = visit(app, "/admin", viewport=viewport, color_scheme=scheme)
    sign_in(page, secrets["총괄"])
    rows = page.locator("#walls tr")
    assert rows.locator("th").all_text_contents() == ["벽 없음", "한빛 인수", "두리 합병"]
    expect(rows.nth(1)).to_contain_text("hanbit, hanbit-short")
    expect(rows.nth(1)).to_contain_text("박평가 (평가")
    assert axe_findings(page) == []
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    if SHOTS:
        page.screenshot(path=Path(SHOTS) / f"walls-{viewport['width']}.png", full_page=True)
    own, _ = visit(server, "/admin", viewport=viewport, color_scheme=scheme)
    sign_in(own, secrets["한빛 관리"])
    assert own.locator("#walls th").all_text_contents() == ["한빛 인수"]
    assert "두리" not in own.locator("body").text_content()
    expect(own.locator("#registry-part")).to_be_hidden()
    chat, _ = visit(server, viewport=viewport, color_scheme=scheme)
    sign_in(chat, secrets["김변호사"])
    assert axe_findings(chat) == []
    heights = chat.evaluate(
        """() => {
            for (const id of ["evidence", "chat-menu"]) document.getElementById(id).hidden = false;
            return [...document.querySelectorAll(".top-tools button, #model")].map((one) => one.getBoundingClientRect().height);
        }"""
    )
    assert max(heights) < 60  # every label on one line, beside a matter's name too
    if SHOTS:
        chat.screenshot(path=Path(SHOTS) / f"walls-chat-{viewport['width']}.png")
