"""The crawler against a local site with known text: what it finds, what it leaves out and why, and its manners."""

import json
import os
import zlib
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from crawled_site import ARTICLES, GIGABYTE, LONG, Site, bomb, page, sentences
from hypothesis import given
from hypothesis import strategies as st

from mnatune.pack import Pack
from mnatune.runs.errors import EnvironmentFault, UsageError
from mnatune.runs.job import Job
from mnatune.runs.recipe import Recipe
from mnatune.runs.workspace import Manifest, Run, Stage, read_jsonl
from mnatune.stages.collect import collect, crawl, plan_of
from mnatune.stages.collect.addresses import address_key, canonical, public, refusal, shape, trap
from mnatune.stages.collect.encodings import decode
from mnatune.stages.collect.order import CrawlOrder


def make_job(root: Path, **section: Any) -> Job:
    recipe = Recipe.model_validate(
        {"name": "t", "collect": {"sites": {"127.0.0.1": {"private": True}}, "delay": 0, **section}}
    )
    run = Run(root)
    run.folder("collect").mkdir(parents=True, exist_ok=True)
    manifest = Manifest("collect", "", {}, {}, recipe.seed)
    return Job(recipe, Pack.load("mna_ko"), run, Stage(run.folder("collect"), manifest))


def make_plan(folder: Path, site: Site, *paths: str, **more: Any) -> CrawlOrder:
    folder.mkdir(parents=True, exist_ok=True)
    values = {
        "folder": str(folder),
        "start_urls": [site.root + path for path in paths],
        "sitemaps": [],
        "allow": [],
        "deny": [],
        "depth": 2,
        "max_pages": 50,
        "delay": 0.0,
        "user_agent": "mnatune (+test)",
        "private_hosts": ["127.0.0.1"],
        "timeout": 20.0,
    }
    return CrawlOrder(**values | more)


def reasons(folder: Path) -> dict[str, str]:
    return {row["url"].split("/", 3)[-1]: row["reason"] for row in read_jsonl(folder / "skipped.jsonl")}


def test_two_hundred_pages_three_encodings_and_every_trap(tmp_path: Path) -> None:
    with Site() as site:
        job = make_job(
            tmp_path, start_urls=[site.root + "/"], depth=12, licence="시험용", contact="https://example.org/about"
        )
        collect(job)
    documents = pq.read_table(job.path("pages.parquet")).to_pylist()
    by_path = {row["group"].removeprefix(site.root): row for row in documents}
    wanted = {f"/a/{n}.html" for n in range(1, ARTICLES + 1)}
    assert wanted <= set(by_path)
    others = {"/busy", "/report.pdf", "/loop/x", "/loop/x/x", *(f"/calendar/2030/{month}" for month in "123")}
    assert set(by_path) - wanted <= others
    found = right = 0
    for number in range(1, ARTICLES + 1):
        text = "".join(by_path[f"/a/{number}.html"]["text"].split())
        known = ["".join(s.split()) for s in sentences(number)]
        assert all(sentence in text for sentence in known), number
        right += sum(map(len, known))
        found += len(text)
    assert right / found >= 0.95  # precision of the text, in characters
    assert site.hits["/inside"] == 0
    assert site.hits["/private/secret"] == 0
    assert all("https://example.org/about" in agent and "mnatune" in agent for agent in site.agents)
    dropped = job.manifest.dropped
    assert dropped["private-address"] == 6
    assert {"trap", "noindex", "forbids-use", "too-large", "robots.txt", "nofollow", "http-404"} <= set(dropped)
    assert dropped["too-large"] == 4  # 30 MB, a gigabyte with and without Content-Length, and the gzip bomb
    assert site.sent["/gigabyte"] <= 3 * plan_of(job, tmp_path).max_bytes  # the cap and what the sockets hold
    assert site.sent["/gigabyte-announced"] <= 3 * plan_of(job, tmp_path).max_bytes
    assert site.hits["/gigabyte"] == site.hits["/gigabyte-announced"] == site.hits["/bomb"] == 1
    assert sum(site.hits[f"/calendar/2030/{month}"] for month in range(1, 13)) <= 6
    attached = read_jsonl(job.path("attachments.jsonl"))
    assert {row["kind"] for row in attached} == {"hwp", "pdf"}
    one = by_path["/a/5.html"]
    assert (one["title"], one["source"]["licence"], one["source"]["name"]) == ("글 5", "시험용", "127.0.0.1")
    assert any(flag.startswith("fetched:20") for flag in one["flags"])
    assert "Merger report" in by_path["/report.pdf"]["text"]
    fates = Counter(row["url"] for row in read_jsonl(job.path("fetches.jsonl")))
    assert job.manifest.rows_in == sum(fates.values())
    assert job.manifest.rows_out + sum(dropped.values()) == job.manifest.rows_in


def test_the_bomb_is_one() -> None:
    packed = bomb(GIGABYTE)
    unpacker, size = zlib.decompressobj(31), 0
    while packed and size < 64 << 20:
        size += len(unpacker.decompress(packed, 1 << 20))
        packed = unpacker.unconsumed_tail
    assert len(bomb(GIGABYTE)) < 2 << 20
    assert size >= 64 << 20


def test_sitemaps_of_sitemaps_and_packed_ones_are_read_and_a_bomb_is_not(tmp_path: Path) -> None:
    with Site() as site:
        sitemaps = [site.root + "/sitemap.xml", site.root + "/bomb.xml.gz", site.root + "/noindex"]
        crawl(make_plan(tmp_path, site, sitemaps=sitemaps, depth=0))
    fetched = {row["url"].removeprefix(site.root) for row in read_jsonl(tmp_path / "fetched.jsonl")}
    assert fetched == {"/a/150.html", "/a/151.html"}
    known = {"a/1.html": "too-deep", "": "too-deep"}  # links of the two pages
    assert reasons(tmp_path) == {"bomb.xml.gz": "too-large", "noindex": "broken-sitemap"} | known


def test_names_are_checked_after_dns_and_at_every_hop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The crawling process resolves names by a table: one to loopback, and the end of two redirects to a private net."""
    table = {"start.example": "127.0.0.1", "rebinding.example": "127.0.0.1", "inner.start.example": "10.0.0.7"}
    (tmp_path / "names").mkdir()
    (tmp_path / "names/sitecustomize.py").write_text(
        f"import socket\nknown, ask = {table!r}, socket.gethostbyname\n"
        "socket.gethostbyname = lambda name: known.get(name) or ask(name)\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "names"), os.environ.get("PYTHONPATH", "")]))
    with Site() as site:
        start = site.root.replace("127.0.0.1", "start.example")
        starts = [f"{start}/a/150.html", f"{start}/hop", "http://rebinding.example/inside"]
        crawl(make_plan(tmp_path, site, start_urls=starts, private_hosts=["start.example"], depth=0, timeout=3.0))
    assert [row["url"] for row in read_jsonl(tmp_path / "fetched.jsonl")] == [f"{start}/a/150.html"]
    skipped = {(row["url"], row["reason"]) for row in read_jsonl(tmp_path / "skipped.jsonl")}
    assert {("http://rebinding.example/inside", "private-address")} <= skipped
    assert {("http://inner.start.example/inside", "private-address")} <= skipped
    assert site.hits["/second-hop"] == 1
    assert site.hits["/inside"] == 0


def test_a_second_crawl_asks_only_whether_pages_changed(tmp_path: Path) -> None:
    with Site() as site:
        plan = make_plan(tmp_path, site, "/a/150.html", "/a/151.html", depth=0)
        crawl(plan)
        first = read_jsonl(tmp_path / "fetched.jsonl")
        crawl(plan)
        assert site.unchanged["/a/150.html"] == 1
    second = read_jsonl(tmp_path / "fetched.jsonl")
    assert [row["body"] for row in second] == [row["body"] for row in first]
    assert [row["unchanged"] for row in second] == [True, True]


def test_the_least_gap_and_retry_after_are_kept_and_a_slow_server_times_out(tmp_path: Path) -> None:
    with Site() as site:
        site.robots = (200, b"User-agent: *\nCrawl-delay: 0.4\n")
        crawl(make_plan(tmp_path, site, "/busy", "/a/150.html", "/a/151.html", "/slow", delay=0.1, timeout=1.0))
        times = [moment for moment, path in site.times if path != "/robots.txt"]
        after_busy = [moment for moment, _ in site.times if moment > site.busy_until - 1.0 + 0.05]
    gaps = [later - sooner for sooner, later in pairwise(times)]
    assert min(gaps) >= 0.38  # Crawl-delay, and never less; 5 % for the two clocks
    assert min(after_busy) >= site.busy_until - 0.05  # nobody came before Retry-After was over
    assert site.hits["/busy"] == 2
    assert reasons(tmp_path)["slow"] == "timeout"


def test_a_robots_file_that_cannot_be_read_closes_the_site(tmp_path: Path) -> None:
    with Site() as site:
        site.robots = (503, b"")
        job = make_job(tmp_path, start_urls=[site.root + "/a/150.html"])
        with pytest.raises(EnvironmentFault, match="no page"):
            collect(job)
        assert set(site.hits) == {"/robots.txt"}
        assert not job.path("pages.parquet").exists()


def test_the_rules_of_the_recipe_reach_the_plan(tmp_path: Path) -> None:
    addresses = ["https://a.example/", "https://a.example/wp-sitemap.xml", "https://a.example/s.XML.gz?page=2"]
    sites = {"a.example": {"max_pages": 3, "delay": 9}, "wiki.firm.example": {"private": True}}
    plan = plan_of(make_job(tmp_path, start_urls=addresses, follow=["/news/", "!/login"], sites=sites), tmp_path)
    assert plan.sites["a.example"] == {"max_pages": 3, "delay": 9.0}
    assert (plan.start_urls, plan.sitemaps) == (addresses[:1], addresses[1:])
    assert (plan.allow, plan.deny, plan.private_hosts) == (["/news/"], ["/login"], ["wiki.firm.example"])
    plan.save(tmp_path / "p.json")
    assert CrawlOrder.load(tmp_path / "p.json") == plan


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "10.1.2.3",
        "192.168.0.1",
        "172.16.9.9",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "::1",
        "fe80::1",
        "fd00::1",
        "::ffff:127.0.0.1",
        "2002:7f00:1::",
        "224.0.0.1",
        "2130706433",
        "0x7f000001",
        "127.1",
        "0177.0.0.1",
        "localhost",
        "printer.local",
        "db.internal",
    ],
)
def test_addresses_that_are_not_public_are_refused(host: str) -> None:
    assert not public(host)
    literal = f"[{host}]" if ":" in host else host
    assert refusal(f"http://{literal}/", frozenset()) == "private-address"
    assert refusal(f"http://{literal}/", frozenset({host})) == ""


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://a.example/", "not-http"),
        ("http://u:p@a.example/", "credentials-in-address"),
        ("http:///x", "not-http"),
        ("http://a.example:22/", "unusual-port"),
        ("http://a.example:x/", "bad-address"),
        ("https://law.go.kr/", ""),
    ],
)
def test_refusals_have_reasons(url: str, why: str) -> None:
    assert refusal(url, frozenset()) == why


def test_a_name_that_resolves_to_a_private_address_does_not_resolve() -> None:
    from twisted.internet.error import DNSLookupError

    from mnatune.stages.collect.crawl import PublicResolver

    resolver = PublicResolver.__new__(PublicResolver)
    resolver.private_hosts = frozenset({"wiki.firm.example"})
    assert resolver._checked("93.184.216.34", "a.example") == "93.184.216.34"
    assert resolver._checked("10.0.0.7", "wiki.firm.example") == "10.0.0.7"
    with pytest.raises(DNSLookupError):
        resolver._checked("10.0.0.7", "rebinding.example")


NAMES = ["a", "b", "sid", "PHPSESSID", "utm_source"]


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.text("xyz%C7+", max_size=3)), max_size=5))
def test_addresses_keep_their_bytes_but_no_session(pairs: list[tuple[str, str]]) -> None:
    query = "&".join(f"{k}={v}" for k, v in pairs)
    url = canonical(f"HTTP://A.example/p;jsessionid=77?{query}#top")
    kept = "&".join(f"{k}={v}" for k, v in pairs if k in ("a", "b", "sid"))
    assert url == "http://a.example/p" + (f"?{kept}" if kept else "")
    assert canonical(url) == url
    assert address_key(f"http://a.example/p?{'&'.join(f'{k}={v}' for k, v in reversed(pairs))}") == address_key(url)


def test_a_session_is_told_from_an_article_by_its_value() -> None:
    assert canonical("http://a.example/view?sid=17") == "http://a.example/view?sid=17"
    assert canonical("http://a.example/view?sid=9f86d081884c7d659a2feaa0c55ad015") == "http://a.example/view"
    assert canonical("http://a.example/board?12345") == "http://a.example/board?12345"
    assert shape("http://a.example/board?12345") == shape("http://a.example/board?6")


def test_shapes_and_traps() -> None:
    assert shape("http://a/2030/01?p=3") == shape("http://a/1999/12?p=4")
    assert trap("http://a/x/y/x/y/x/y")
    assert trap("http://a/" + "z" * 2000)
    assert not trap("http://a/2024/05/12/article-17")


@given(st.text(alphabet=st.characters(min_codepoint=0xAC00, max_codepoint=0xD7A3), min_size=4, max_size=80))
def test_hangul_is_read_whatever_the_page_declares(text: str) -> None:
    for encoding in ("utf-8", "cp949", "utf-8-sig"):
        for declared in ("utf-8", "euc-kr", "iso-8859-1", "nonsense"):
            assert decode(text.encode(encoding), f"text/html; charset={declared}")[0] == text


def test_bytes_of_no_encoding_are_said_to_be_so() -> None:
    assert decode(bytes(range(128, 256)) * 20)[1] == ""


def test_the_patterns_of_forbidden_use_find_what_they_should() -> None:
    import re

    pattern = re.compile("|".join(Pack.load("mna_ko").yaml("crawl.yaml")["forbids_use"]), re.IGNORECASE)
    for text in ("무단전재 및 재배포 금지", "무단 전재, 재배포, AI 학습 및 활용 금지", "인공지능 학습을 금지합니다"):
        assert pattern.search(text)
    for text in ("자기주식 취득의 금지", "배포를 금지하는 가처분", "재배포용 투자설명서", LONG, page("글")[0].decode()):
        assert not pattern.search(text)


def test_a_wrong_pattern_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no regular expression"):
        collect(make_job(tmp_path, start_urls=["http://127.0.0.1/"], follow=["!("]))


def test_a_crawl_that_breaks_says_how_to_see_it(tmp_path: Path) -> None:
    with Site() as site, pytest.raises(EnvironmentFault, match="ended with an error"):
        crawl(make_plan(tmp_path, site, "/", allow=["("]))
    assert json.loads((tmp_path / "plan.json").read_text())["allow"] == ["("]
