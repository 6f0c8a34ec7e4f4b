"""The spider: follows links within its sites, keeps bodies on disk, and notes why anything was left out."""

import hashlib
import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import scrapy
from scrapy.exceptions import CloseSpider, IgnoreRequest
from scrapy.http import HtmlResponse
from scrapy.linkextractors import LinkExtractor
from scrapy.utils.gz import gunzip, gzip_magic_number
from scrapy.utils.sitemap import Sitemap

from .addresses import canonical, refusal, shape, trap
from .encodings import decode
from .order import CrawlOrder

PDF = ".pdf"
LISTED = (".hwp", ".hwpx", ".doc", ".docx", ".xls", ".xlsx", ".ppt", ".pptx", ".zip")
IGNORED = re.compile(r"\.(?:css|js|png|jpe?g|gif|svg|ico|webp|mp[34]|avi|mov|woff2?|ttf|exe|dmg|iso)$", re.IGNORECASE)
BARREN_PAGES = 4  # so many pages of one template, and half of all, say the same but for numbers: the template is a trap
MOST_SITEMAPS = 50


def host_of(url: str) -> str:
    """The host of an address."""
    return urlsplit(url).hostname or ""


class SiteSpider(scrapy.Spider):  # type: ignore[misc]
    """Crawls one plan."""

    name = "mnatune"

    def __init__(self, plan: CrawlOrder) -> None:
        super().__init__()
        self._plan = plan
        self._folder = Path(plan.folder)
        self._home = {host_of(url) for url in [*plan.start_urls, *plan.sitemaps]}
        self._private = frozenset(plan.private_hosts)
        self._allow = [re.compile(p) for p in plan.allow]
        self._deny = [re.compile(p) for p in plan.deny]
        self._forbids = re.compile("|".join(f"(?:{p})" for p in plan.forbids_use) or r"(?!)", re.IGNORECASE)
        self._links = LinkExtractor(deny_extensions=[], canonicalize=False, unique=True)
        self._seen: set[str] = set()
        self._pages: Counter[str] = Counter()
        self._texts: dict[str, Counter[str]] = {}
        self._sitemaps = 0
        (self._folder / "bodies").mkdir(parents=True, exist_ok=True)
        names = ("fetched", "skipped", "attachments")
        self._files = {name: (self._folder / f"{name}.jsonl").open("w", encoding="utf-8") for name in names}

    def is_home(self, url: str) -> bool:
        """True within the sites of the start addresses and their subdomains."""
        host = host_of(url)
        return any(host == home or host.endswith(f".{home}") for home in self._home)

    async def start(self) -> Any:
        for url in self._plan.sitemaps:
            yield scrapy.Request(url, self.parse_sitemap, errback=self.failed, priority=1)
        for url in self._plan.start_urls:
            for request in self._follow(url, 0):
                yield request

    def parse_sitemap(self, response: Any) -> Iterator[Any]:
        """Addresses of a sitemap, packed or not, and of the sitemaps that it names."""
        self._sitemaps += 1
        packed = gzip_magic_number(response)
        try:
            sitemap = Sitemap(gunzip(response.body, max_size=self._plan.max_bytes) if packed else response.body)
            entries = list(sitemap)
        except (ValueError, AttributeError, OSError, EOFError) as error:
            self._skip(response.url, "too-large" if "exceeded" in str(error) else "broken-sitemap")
            return
        if sitemap.type not in ("sitemapindex", "urlset"):
            self._skip(response.url, "broken-sitemap")
        for entry in entries:
            if sitemap.type == "sitemapindex" and self._sitemaps < MOST_SITEMAPS:
                yield scrapy.Request(entry["loc"], self.parse_sitemap, errback=self.failed, priority=1)
            elif sitemap.type == "urlset":
                yield from self._follow(entry["loc"], 0)

    def parse(self, response: Any, depth: int) -> Iterator[Any]:
        """Keep a page and follow its links."""
        kind = (response.headers.get("Content-Type") or b"").decode("latin-1").lower()
        if self._pages.total() >= self._plan.max_pages:
            raise CloseSpider("page-limit")
        if "pdf" in kind or response.body[:5] == b"%PDF-":
            self._keep(response, "pdf", "")
        elif "html" not in kind and not isinstance(response, HtmlResponse):
            self._skip(response.url, "not-a-page")
        else:
            text, encoding = decode(response.body, kind)
            page = HtmlResponse(response.url, body=text.encode("utf-8", "replace"), encoding="utf-8")
            rules = _robots_rules(response, page)
            why = self._reason_against(page, rules, encoding)
            if why:
                self._skip(response.url, why)
            else:
                self._keep(response, "html", encoding)
            if "nofollow" not in rules and why != "trap":
                for link in self._links.extract_links(page):
                    yield from self._follow(link.url, depth + 1, nofollow=link.nofollow, found_on=response.url)

    def failed(self, failure: Any) -> None:
        """Note a download that gave nothing."""
        request, error = failure.request, failure.value
        response = getattr(error, "response", None)
        name, text = type(error).__name__, str(error)
        if response is not None:
            reason = f"http-{response.status}"
        elif "robots.txt" in text:
            reason = "robots.txt"
        elif isinstance(error, IgnoreRequest):
            reason = text if re.fullmatch(r"[a-z-]+", text) else "too-large" if "exceed" in text else "ignored"
        else:
            reason = FAILURES.get(name, f"failed-{name}")
        self._skip(request.url, reason)

    def closed(self, reason: str) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()

    def _follow(self, url: str, depth: int, *, nofollow: bool = False, found_on: str = "") -> Iterator[Any]:
        """A request for an address, or a note why there is none."""
        why = refusal(url, self._private)
        address = url if why else canonical(url)
        if address in self._seen or IGNORED.search(urlsplit(address).path):
            return
        self._seen.add(address)
        suffix = Path(urlsplit(address).path).suffix.lower()
        if suffix in LISTED:
            self._note("attachments", {"url": address, "kind": suffix[1:], "found_on": found_on})
            return
        why = why or self._against_address(address, depth, nofollow)
        if why:
            self._skip(address, why)
            return
        if suffix == PDF:
            self._note("attachments", {"url": address, "kind": "pdf", "found_on": found_on})
        yield scrapy.Request(address, self.parse, errback=self.failed, cb_kwargs={"depth": depth}, priority=-depth)

    def _against_address(self, address: str, depth: int, nofollow: bool) -> str:
        if not self.is_home(address):
            return "other-site"
        if nofollow:
            return "nofollow"
        if depth > self._plan.depth:
            return "too-deep"
        if any(p.search(address) for p in self._deny):
            return "not-allowed"
        if self._allow and depth and not any(p.search(address) for p in self._allow):
            return "not-allowed"
        most = self._plan.sites.get(host_of(address), {}).get("max_pages")
        if most is not None and self._pages[host_of(address)] >= most:
            return "site-limit"
        return "trap" if trap(address) or self._barren(shape(address)) else ""

    def _barren(self, template: str) -> bool:
        """True if pages of this template mostly say the same: a calendar, a list of empty results."""
        texts = self._texts.get(template, Counter())
        most = max(texts.values(), default=0)
        return most >= BARREN_PAGES and 2 * most >= texts.total()

    def _reason_against(self, page: HtmlResponse, rules: str, encoding: str) -> str:
        """Why a fetched page is not kept."""
        words = " ".join(page.xpath("//body//text()[not(ancestor::script|ancestor::style)]").getall())
        same = hashlib.blake2b(re.sub(r"[\d\s]+", "", words).encode(), digest_size=8).hexdigest()
        self._texts.setdefault(shape(page.url), Counter())[same] += 1
        if self._barren(shape(page.url)):
            return "trap"
        most = self._plan.sites.get(host_of(page.url), {}).get("max_pages")
        if most is not None and self._pages[host_of(page.url)] >= most:
            return "site-limit"
        if "noindex" in rules or "none" in rules.split(","):
            return "noindex"
        if "noai" in rules or page.xpath("//meta[@name='tdm-reservation' and @content='1']"):
            return "forbids-use"
        if self._forbids.search(words):
            return "forbids-use"
        return "" if encoding else "unknown-encoding"

    def _keep(self, response: Any, kind: str, encoding: str) -> None:
        name = hashlib.sha256(response.body).hexdigest()[:32]
        (self._folder / "bodies" / name).write_bytes(response.body)
        self._pages[host_of(response.url)] += 1
        self._note(
            "fetched",
            {
                "url": canonical(response.url),
                "kind": kind,
                "body": name,
                "bytes": len(response.body),
                "encoding": encoding,
                "content_type": (response.headers.get("Content-Type") or b"").decode("latin-1"),
                "fetched": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "unchanged": "cached" in response.flags,
            },
        )

    def _skip(self, url: str, reason: str) -> None:
        self._note("skipped", {"url": url, "reason": reason})

    def _note(self, name: str, row: dict[str, Any]) -> None:
        self._files[name].write(json.dumps(row, ensure_ascii=False) + "\n")
        self._files[name].flush()


FAILURES = {
    "DownloadTimeoutError": "timeout",
    "DownloadCancelledError": "too-large",
    "ResponseDataLossError": "cut-off",
    "DownloadConnectionRefusedError": "refused-connection",
    "CannotResolveHostError": "unknown-host",
}


def _robots_rules(response: Any, page: HtmlResponse) -> str:
    """The rules of the robots meta tags and of X-Robots-Tag, in lower case."""
    names = "translate(@name, 'ROBTS', 'robts')"
    tags = page.xpath(f"//meta[{names}='robots' or {names}='mnatune']/@content").getall()
    headers = [value.decode("latin-1") for value in response.headers.getlist("X-Robots-Tag")]
    return ",".join([*tags, *headers]).lower().replace(" ", "")
