"""A lawyer's day in real Chromium, on the starter and the pack's law memory: from a question to the next model in production."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from made_adapter import make_adapter
from pages import DESK, answered, ask, expect, ready
from served_app import live, wait_for

from mnatune.model.registry import Lineage, Registry
from mnatune.service.keys import KeyStore, KeyTerms, Wall
from mnatune.service.server import ServeOptions, build

pytestmark = pytest.mark.browser

SHOTS = os.environ.get("MNATUNE_SCREENSHOTS")  # a folder: keep what the test saw
MATTER = "한빛 인수"
QUESTIONS = ("합병에 반대하는 주주는 언제까지 매수를 청구합니까?", "영업양도에는 어떤 결의가 필요합니까?")
CORRECTED = "반대주주는 주주총회 결의일부터 20일 이내에 서면으로 매수를 청구할 수 있습니다(상법 제522조의3)."
STAFF = {
    "kim": KeyTerms(0, 0, 0, wall=MATTER),
    "lee": KeyTerms(0, 0, 0, reviewer=True, wall=MATTER),
    "park": KeyTerms(0, 0, 0, reviewer=True, wall=MATTER),
    "choi": KeyTerms(0, 0, 0, reviewer=True),
    "boss": KeyTerms(0, 0, 0, admin=True),
}


@pytest.fixture
def day(starter, tmp_path, visit):
    """The server, its registry with one model that is not promoted, and `enter`: the page for somebody of the staff."""
    registry = Registry(tmp_path / "models")
    verdict = {"verdict": "hold"}
    model = registry.register(make_adapter(starter, tmp_path / "adapter", 1, 0.02), Lineage("starter", verdict=verdict))
    keys = KeyStore(tmp_path / "keys.json")
    keys.put_wall(Wall(MATTER))
    secrets = {name: keys.create(name, terms)[1] for name, terms in STAFF.items()}
    app = build(ServeOptions(registry=registry.root, keys=keys.path, feedback=str(tmp_path / "feedback.db")))
    app.state.service.engine._new_tokens = 24  # the starter's answers mean nothing: short ones do
    with live(app) as server:

        def enter(who, path="/"):
            page, _ = visit(server, path, viewport=DESK)
            page.set_default_timeout(60_000)
            page.fill("#key", secrets[who])
            page.press("#key", "Enter")
            return ready(page)

        yield app, registry, model, server, enter


def shoot(page, name):
    if SHOTS:
        page.screenshot(path=Path(SHOTS) / f"day-{name}.png", full_page=True)


def test_a_lawyers_day(day):
    app, registry, model, server, enter = day
    page = enter("kim")
    expect(page.locator("#wall")).to_have_text(MATTER)
    expect(page.locator("#rate-link")).to_be_hidden()
    page.get_by_role("button", name="법령 근거").click()
    for at, question in enumerate(QUESTIONS):  # ask with evidence
        ask(page, question)
        answered(page, at)
    assert page.locator(".evidence .article-name").first.text_content().startswith("상법 제")
    page.get_by_role("button", name="아쉬워요", exact=True).first.click()  # rate
    page.get_by_role("button", name="답변 고치기").last.click()  # correct
    page.get_by_label("고친 답변", exact=True).fill(CORRECTED)
    page.get_by_role("button", name="고친 답변 저장").click()
    page.locator("#mine", has_text="내 평가 1 · 고침 1").wait_for()  # see the own progress
    shoot(page, "asked")

    for who, pressed in (("lee", "13"), ("park", "14")):
        desk = enter(who, "/rate")
        for at, key in enumerate(pressed):
            desk.get_by_text(f"묶음 {at + 1} / 2").wait_for()
            desk.keyboard.press(key)
        desk.get_by_text("2건 가운데 2건을 평가했습니다.").wait_for()
    outside = enter("choi", "/rate")
    outside.get_by_text("조건에 맞는 답변이 없습니다").wait_for()

    admin = enter("boss", "/admin")
    matter = admin.locator("#walls tr", has_text=MATTER)
    assert all(name in matter.text_content() for name in ("kim", "lee", "park"))
    agreed = admin.locator("#agreement").text_content()  # the administrator sees the agreement
    assert "둘 이상이 평가한 답변2" in agreed
    admin.select_option("#wall", label="벽 없음")
    admin.locator("#agreement", has_text="둘 이상이 평가한 답변0").wait_for()
    admin.select_option("#wall", label=MATTER)
    admin.locator("#agreement", has_text="둘 이상이 평가한 답변2").wait_for()
    admin.locator("#queue article", has_text="고친 답변").get_by_role("button", name="승인", exact=True).click()
    assert wait_for(lambda: any(i.kind == "edit" for i in server.store.review_queue("approved").items), 20)
    shoot(admin, "reviewed")

    admin.get_by_role("button", name="운영에 올리기").click()  # and promotes
    admin.fill("#text", "두 평가자가 검토함")
    admin.get_by_role("button", name="확인", exact=True).click()
    admin.locator("#registry-told", has_text="운영에 올렸습니다").wait_for()
    assert (registry.pointer.model, registry.history()[-1]["reason"]) == (model.name, "두 평가자가 검토함")
    with ThreadPoolExecutor(1) as aside:  # what the running server does every other second
        aside.submit(asyncio.run, app.state.follow.look()).result()
    page.reload()
    page.locator("#mine", has_text="승인 1").wait_for()
    assert page.locator("#model option").all_text_contents() == ["production", "starter"]
    shoot(admin, "promoted")
