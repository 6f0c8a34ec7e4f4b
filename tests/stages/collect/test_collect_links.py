"""How a crawl gets from page to page: queries byte for byte, frames, refreshes, redirects, and how many requests it makes."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from costly_files import EndlessFile, HungryFile
from crawled_site import pdf

from mnatune.runs.workspace import read_jsonl
from mnatune.stages.collect import crawl
from mnatune.stages.collect.order import CrawlOrder
from mnatune.stages.collect.parser_process import TOO_COSTLY, FetchedFile, ParserProcess

QUERY = "%C7%D5%BA%B4"  # 합병 in EUC-KR
Page = tuple[int, dict[str, str], bytes]


def html(text: str, head: str = "", encoding: str = "utf-8") -> Page:
    page = f"<html><head>{head}</head><body><p>{text}</p></body></html>"
    return 200, {"Content-Type": "text/html"}, page.encode(encoding)


def moved(to: str) -> Page:
    return 302, {"Location": to}, b""


@contextmanager
def serving(pages: dict[str, Page], other: Page = (404, {}, b"")) -> Iterator[tuple[str, list[str]]]:
    """A server of these pages, and of `other` everywhere else; gives its root and the request targets as they came."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != "/robots.txt":
                asked.append(self.path)
            status, headers, body = (404, {}, b"") if self.path == "/robots.txt" else pages.get(self.path, other)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()


def crawled(folder: Path, root: str, *paths: str, **more: Any) -> tuple[set[str], dict[str, str]]:
    """Paths of the pages that were kept, and the reasons of those that were not."""
    values: dict[str, Any] = {
        "folder": str(folder), "start_urls": [root + path for path in paths], "sitemaps": [], "allow": [], "deny": [],
        "depth": 1, "max_pages": 50, "delay": 0.0, "user_agent": "mnatune (+test)", "private_hosts": ["127.0.0.1"],
    }  # fmt: skip
    crawl(CrawlOrder(**values | more))
    skipped = {row["url"].removeprefix(root): row["reason"] for row in read_jsonl(folder / "skipped.jsonl")}
    return {row["url"].removeprefix(root) for row in read_jsonl(folder / "fetched.jsonl")}, skipped


def test_every_way_from_page_to_page_is_gone_and_every_address_has_a_fate(tmp_path: Path) -> None:
    links = "".join(
        f'<a href="{to}">x</a>'
        for to in (
            "/a?sid=1",
            "/a?sid=2",
            f"/find?q={QUERY}",
            "/raw?q=합병",
            "/board?12345",
            "/old",
            "/twice",
            "/loop",
            "/end",
        )
    )
    frames = '<frameset><frame src="/menu"><frame src="/main?b=2&amp;a=1"></frameset>'
    pages = {
        "/": html(links, '<meta charset="euc-kr">', "euc-kr"),
        "/old": moved("/new"),
        "/twice": moved("/a?sid=1"),
        "/loop": moved("/loop"),
        "/end": html("", '<meta http-equiv="refresh" content="0; url=/after">'),
        "/after": html(f"<iframe src='/inside'></iframe>{frames}"),
    }
    with serving(pages, html("쪽")) as (root, asked):
        kept, skipped = crawled(tmp_path, root, "/")
    inner = {"/after", "/inside", "/menu", "/main?b=2&a=1"}  # below the depth of links: they belong to their page
    assert {"/a?sid=1", "/a?sid=2", f"/find?q={QUERY}", f"/raw?q={QUERY}", "/board?12345"} | inner <= set(asked)
    assert kept == {*asked} - {"/old", "/twice", "/loop"}
    assert len(asked) == len(set(asked))  # nothing is asked for twice, whichever way leads to it
    assert skipped == {"/old": "redirected", "/twice": "redirected", "/loop": "redirect-loop"}


def test_an_address_that_is_none_costs_no_other(tmp_path: Path) -> None:
    listed = "".join(f"<url><loc>{to}</loc></url>" for to in ("http://[::1", "/listed"))
    pages = {
        "/": html(
            '<a href="http://[bad">x</a><a href="/next">x</a>', '<meta http-equiv="refresh" content="0; url=http://[x">'
        ),
        "/sitemap.xml": (200, {"Content-Type": "text/xml"}, f"<urlset>{listed}</urlset>".encode()),
    }
    with serving(pages, html("쪽")) as (root, _):
        kept, skipped = crawled(tmp_path, root, "/", sitemaps=[f"{root}/sitemap.xml"])
    assert kept == {"/", "/next", "/listed"}
    assert skipped == {"http://[::1": "bad-address"}


def test_pages_that_embed_one_another_without_end_are_left_after_some_hops(tmp_path: Path) -> None:
    def page(number: int) -> Page:
        return html(f"{'가' * number} 글", f'<meta http-equiv="refresh" content="0; url=/next/{"x" * (number + 1)}">')

    with serving({f"/next/{'x' * number}": page(number) for number in range(40)}) as (root, asked):
        crawled(tmp_path, root, "/next/")
    assert len(asked) <= 6


@pytest.mark.parametrize("fate", ["noindex", "kept", "http-404"])
def test_no_more_pages_are_asked_for_than_the_limit_whatever_becomes_of_them(tmp_path: Path, fate: str) -> None:
    links = "".join(f'<a href="/p/{"z" * number}">x</a>' for number in range(200))
    head = '<meta name="robots" content="noindex">' if fate == "noindex" else ""
    other = (404, {}, b"") if fate == "http-404" else html("", head)
    with serving({"/": html(links, head)}, other) as (root, asked):
        _, skipped = crawled(tmp_path, root, "/", max_pages=5)
    assert len(asked) == 5
    assert sum(reason == "page-limit" for reason in skipped.values()) == 201 - 5


def test_sitemaps_that_name_a_thousand_others_are_not_all_asked_for(tmp_path: Path) -> None:
    names = "".join(f"<sitemap><loc>/s/{number}.xml</loc></sitemap>" for number in range(1000))
    index = f"<sitemapindex>{names}</sitemapindex>".encode()
    with serving({"/sitemap.xml": (200, {"Content-Type": "text/xml"}, index)}) as (root, asked):
        crawled(tmp_path, root, sitemaps=[f"{root}/sitemap.xml"], max_pages=5)
    assert len(asked) <= 10


def test_a_site_has_a_limit_of_its_own(tmp_path: Path) -> None:
    links = "".join(f'<a href="/p/{"z" * number}">x</a>' for number in range(9))
    with serving({"/": html(links)}, html("쪽")) as (root, asked):
        _, skipped = crawled(tmp_path, root, "/", sites={"127.0.0.1": {"max_pages": 3, "delay": 0.0}})
    assert len(asked) == 3
    assert set(skipped.values()) == {"site-limit"}


def test_a_file_that_costs_too_much_ends_its_parser_and_no_more() -> None:
    good = FetchedFile("pdf", pdf("Merger report for shareholders. "), "application/pdf", "http://a.example/")
    with ParserProcess(memory=256 << 20, cpu_seconds=1) as parser:
        assert parser.extract(HungryFile("pdf", b"", "", "")).fault == TOO_COSTLY
        assert parser.extract(EndlessFile("pdf", b"", "", "")).fault == TOO_COSTLY
        assert parser.extract(FetchedFile("pdf", b"%PDF-1.4 nothing", "", "")).fault == "broken-file"
        assert "Merger report" in parser.extract(good).text
