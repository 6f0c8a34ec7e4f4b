"""The page with evidence, in real Chromium: switch, articles, marks, dates, attacks, accessibility, phones."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from pages import DESK, PHONE, answered, ask, axe_findings, expect, ready
from served_app import make_app
from test_serve_evidence import GOOD, MISSING, PACK, WORDS, Finds, says

from mnatune.model.engine.echo import EchoEngine
from mnatune.service.evidence import LawEvidence
from mnatune.service.service import Settings

pytestmark = pytest.mark.browser

SHOTS = os.environ.get("MNATUNE_SCREENSHOTS")  # a folder: keep what the tests saw
ATTACK = "<img src=x onerror='window.hit=1'><script>window.hit=1</script>"
ANSWER = f"**결론.** {GOOD}\n\n- {MISSING}\n- 자세한 절차는 금융투자업규정 제5조를 보십시오."


class FindsMore(Finds):
    """Three articles for every question."""

    def search(self, question, at="", top=5, kinds=("article",), hidden=(), earlier=()):
        found = (self.article("상법", number, at or self.today) for number in ("522의3", "522", "374의2"))
        return [hit for hit in found if hit]


class Hostile(Finds):
    """A memory whose texts attack the page."""

    def search(self, question, at="", top=5, kinds=("article",), hidden=(), earlier=()):
        hit = self.article("상법", "522의3", at or self.today)
        return [replace(hit, title=ATTACK, text=ATTACK, note=ATTACK)]


@pytest.fixture(scope="module")
def memories():
    return {kind: kind(PACK.root / "law") for kind in (FindsMore, Hostile)}


@pytest.fixture
def app(memories):
    def make(answer=ANSWER, kind=FindsMore, default=False, law=True):
        engine = EchoEngine(("tuned", "base"), reply=says(answer, ""))
        memory = memories[kind]
        settings = Settings(system="체계", title="M&A 상담", evidence=default)
        return make_app(
            engine, settings=settings, checker=memory.checker, law=LawEvidence(memory, WORDS) if law else None
        )

    return make


def shoot(page, name):
    if SHOTS:
        page.screenshot(path=Path(SHOTS) / f"{name}.png", full_page=False)


def asked(page, question="합병에 반대하는 주주는 언제까지 매수를 청구합니까?"):
    ready(page).get_by_role("button", name="법령 근거").click()
    ask(page, question)
    answered(page)


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_articles_stand_beside_the_answer_with_their_dates_and_marks(visit, app, viewport):
    page, _ = visit(app(), viewport=viewport)
    asked(page)
    panel = page.locator(".evidence")
    assert "(오늘)" in panel.text_content()
    assert "확인하지 않았습니다" in panel.text_content()
    assert "인용 1개에 줄을 그었습니다" in panel.text_content()
    assert page.locator(".articles li.cited .article-name").all_text_contents() == [
        "상법 제522조의3(합병반대주주의 주식매수청구권)"
    ]
    expect(panel.locator(".article-facts").first).to_contain_text("시행")
    text = panel.locator(".article-text").first
    expect(text).to_be_hidden()
    panel.locator("summary").first.click()
    assert "20일 이내" in text.text_content()
    expect(text).to_be_visible()
    assert page.locator(".cite.valid.supported .sr").text_content().startswith(" (실재 · 근거 확인")
    assert page.locator(".cite.valid.supported .mark").all_text_contents() == ["실재", "근거 확인"]
    expect(page.locator(".not-checked")).to_have_count(0)  # the panel says it
    expect(page.locator("del .cite.invalid")).to_have_count(1)
    expect(page.locator(".cite.unresolved")).to_have_count(1)
    answer, beside = page.locator(".answer").bounding_box(), panel.bounding_box()
    if viewport is DESK:
        assert beside["x"] >= answer["x"] + answer["width"]
    else:
        assert beside["y"] >= answer["y"] + answer["height"]
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(wide) <= 0
    shoot(page, f"evidence-{viewport['width']}")


@pytest.mark.parametrize(("scheme", "viewport"), [("light", DESK), ("dark", PHONE)], ids=["desk", "phone"])
def test_evidence_has_no_serious_accessibility_finding(visit, app, scheme, viewport):
    page, _ = visit(app(), viewport=viewport, color_scheme=scheme)
    asked(page)
    page.locator(".articles summary").first.click()
    assert axe_findings(page) == []
    shoot(page, f"evidence-{scheme}-{viewport['width']}-open")


def test_the_switch_is_off_by_default_kept_and_follows_the_servers_default(visit, app):
    page, _ = visit(app())
    ask(page)
    answered(page)
    expect(page.locator(".evidence")).to_have_count(0)
    switch = page.get_by_role("button", name="법령 근거")
    switch.click()
    page.reload()
    expect(ready(page).get_by_role("button", name="법령 근거")).to_have_attribute("aria-pressed", "true")
    other, _ = visit(app(default=True))
    expect(ready(other).get_by_role("button", name="법령 근거")).to_have_attribute("aria-pressed", "true")


def test_the_day_that_the_question_names_is_shown(visit, app):
    page, _ = visit(app())
    asked(page, "2019년에 체결한 합병계약에 반대한 주주는?")
    expect(page.locator(".evidence")).to_contain_text("기준일 2019-12-31 (질문의 ‘2019년’에 따름)")


def test_a_reload_and_another_dialogue_keep_the_articles_with_their_answer(visit, app):
    page, _ = visit(app())
    asked(page)
    page.reload()
    answered(ready(page))
    expect(page.locator(".articles li.cited")).to_have_count(1)
    expect(page.locator(".cite.valid.supported")).to_have_count(1)
    page.click("#new-chat")
    expect(page.locator(".evidence")).to_have_count(0)


def test_text_of_the_law_cannot_attack_the_page(visit, app):
    page, _ = visit(app(f"{ATTACK} {GOOD}", Hostile))
    asked(page, ATTACK)
    page.locator(".articles summary").first.click()
    expect(page.locator(".article-text")).to_contain_text(ATTACK)
    expect(page.locator(".article-name")).to_contain_text(ATTACK)
    expect(page.locator(".turns img, .turns script")).to_have_count(0)
    assert page.evaluate("window.hit") is None


def test_without_a_law_memory_the_page_says_so(visit, app):
    page, _ = visit(app(default=True, law=False))
    expect(ready(page).locator("#evidence")).to_be_hidden()
    ask(page)
    answered(page)
    expect(page.locator(".evidence")).to_contain_text("근거 없이 답했습니다")
