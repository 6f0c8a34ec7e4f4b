"""What the tests of the pages share: sizes of windows, asking and waiting, accessibility."""

from importlib.util import find_spec
from pathlib import Path

import pytest

DESK, PHONE = {"width": 1280, "height": 860}, {"width": 390, "height": 800}


def expect(locator):
    """Playwright's assertions: they look again until what they expect is there, or five seconds have gone."""
    from playwright.sync_api import expect

    return expect(locator)


def ready(page):
    page.wait_for_selector("body[data-ready]")
    return page


def ask(page, question="합병이란?"):
    ready(page).fill("#question", question)
    page.press("#question", "Enter")


def answered(page, nth=0):
    page.locator(".tools").nth(nth).wait_for()


def axe_findings(page):
    """axe-core's serious and critical findings on what is shown now."""
    if find_spec("axe_playwright_python") is None:
        pytest.skip("axe-playwright-python is not installed")
    import axe_playwright_python

    page.evaluate(Path(axe_playwright_python.__file__).with_name("axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("axe.run().then(r => r.violations.map(v => [v.impact, v.id, v.nodes.map(n => n.html)]))")
    return [finding for finding in found if finding[0] in ("serious", "critical")]
