"""The page in a browser: no error, no request, charts drawn, the item browser works, and it fits a phone."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


class Visit:
    """The page opened at a width, with everything it complained of or asked for."""

    def __init__(self, browser: Any, path: Path, width: int, scheme: str = "light") -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page = self.context.new_page()
        self.page.set_default_timeout(120_000)  # a loaded machine is no fault
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda m: self.complaints.append(m.text) if m.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("#items article")

    def __enter__(self) -> "Visit":
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def ask(self, script: str) -> Any:
        return self.page.evaluate(script)


def test_desktop(browser: Any, page_path: Path) -> None:
    with Visit(browser, page_path, 1280) as visit:
        assert visit.requests == [page_path.as_uri()]
        drawn = "[...document.querySelectorAll('.plot')].filter(p => p.querySelector('svg.main-svg')).length"
        assert visit.ask(drawn) == visit.ask("document.querySelectorAll('.plot').length") > 10
        found, articles = visit.page.locator("#found"), visit.page.locator("#items article")
        sync_api.expect(found).to_have_text("62문항 가운데 10개를 보입니다.")
        visit.page.click("#more")
        sync_api.expect(articles).to_have_count(20)
        visit.page.fill("#filter-text", "window.hacked")
        sync_api.expect(articles).to_have_count(1)
        sync_api.expect(articles.first).to_contain_text("<script>window.hacked = 1</script>")
        visit.page.fill("#filter-text", "이런 말은 없음")
        sync_api.expect(found).to_have_text("맞는 문항이 없습니다.")
        visit.page.fill("#filter-text", "")
        visit.page.select_option("#filter-sort", "객관식")
        sync_api.expect(articles).to_have_count(1)
        visit.page.select_option("#filter-sort", "")
        visit.page.select_option("#filter-kind", "worse")
        assert visit.page.locator("#items .tag.bad", has_text="변화").count() == articles.count() > 0
        assert visit.ask("window.hacked") is None
        assert visit.complaints == []


def test_phone_at_night_and_on_paper(browser: Any, page_path: Path) -> None:
    line = "document.querySelector('#curve-loss .lines path').style.stroke"
    with Visit(browser, page_path, 390, "dark") as visit:
        assert visit.ask("document.documentElement.scrollWidth") == 390
        night = visit.ask(line)
        visit.ask("dispatchEvent(new Event('beforeprint'))")
        paper = visit.ask(line)
        width = visit.ask("document.querySelector('#curve-loss svg').getBoundingClientRect().width")
        closed = visit.ask("document.querySelectorAll('.funnel details:not([open])').length")
        visit.ask("dispatchEvent(new Event('afterprint'))")
        assert (width, closed) == (220, 0)
        assert night == visit.ask(line) != paper
        assert visit.complaints == []
