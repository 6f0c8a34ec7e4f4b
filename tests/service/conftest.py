"""Servers on real sockets, and Chromium to visit them."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from pages import DESK
from served_app import Live, live

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture
def serve_live() -> Iterator[Callable[..., Live]]:
    """Starts servers that end with the test."""
    with ExitStack() as stack:
        yield lambda app, **options: stack.enter_context(live(app, **options))


@pytest.fixture(scope="module")
def chromium():
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, serve_live):
    """Opens a page on a fresh server and fails on any script error or policy violation."""
    faults, contexts = [], []

    def open_page(app, path="/", viewport=DESK, consent=True, **options):
        server = app if hasattr(app, "url") else serve_live(app)
        context = chromium.new_context(viewport=viewport, locale="ko-KR", **options)
        contexts.append(context)
        if consent:
            context.add_init_script("localStorage.setItem('mnatune.consent', 'yes')")
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda m: faults.append(m.text) if "Content Security Policy" in m.text else None)
        page.goto(server.url + path)
        return page, server

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []
