"""The spider: follows links within its sites, keeps bodies on disk, and notes why anything was left out."""

import hashlib
import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import scrapy
from scrapy.exceptions import IgnoreRequest
from scrapy.http import HtmlResponse
from scrapy.linkextractors import LinkExtractor
from scrapy.utils.gz import gunzip, gzip_magic_number
from scrapy.utils.response import get_meta_refresh
from scrapy.utils.sitemap import Sitemap

from .addresses import address_key, canonical, refusal, shape, trap
from .encodings import decode
from .order import CrawlOrder

PDF = ".pdf"
LISTED = (".hwp", ".hwpx", ".doc", ".docx", ".xls", ".xlsx", ".ppt", ".pptx", ".zip")
IGNORED = re.compile(r"\.(?:css|js|png|jpe?g|gif|svg|ico|webp|mp[34]|avi|mov|woff2?|ttf|exe|dmg|iso)$", re.IGNORECASE)
BARREN_PAGES = 4  # identical pages (numbers aside) that make a template a trap, if they are half of it
MOST_SITEMAPS = 50
MOST_HOPS = 5  # by frames and refreshes from one page


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
        self._frames = LinkExtractor(tags=("frame", "iframe"), attrs=("src",), deny_extensions=[], unique=True)
        self._seen: set[str] = set()
        self._asked: Counter[str] = Counter()  # pages asked for, by host
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
        pages = (self._follow(url, 0) for url in self._plan.start_urls)
        for request in chain.from_iterable([*map(self._sitemap, self._plan.sitemaps), *pages]):
            yield request

    def parse_sitemap(self, response: Any) -> Iterator[Any]:
        """Addresses of a sitemap, packed or not, and of the sitemaps that it names."""
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
            address = _joined(response.url, entry["loc"].strip())
            if sitemap.type == "sitemapindex":
                yield from self._sitemap(address)
            elif sitemap.type == "urlset":
                yield from self._follow(address, 0)

    def parse(self, response: Any, depth: int, hops: int) -> Iterator[Any]:
        """Keep a page, and follow its links, its frames and its refresh."""
        kind = (response.headers.get("Content-Type") or b"").decode("latin-1").lower()
        self._skip_redirected(response.request)
        if "pdf" in kind or response.body[:5] == b"%PDF-":
            self._keep(response, "pdf", "")
        elif "html" not in kind and not isinstance(response, HtmlResponse):
            self._skip(response.url, "not-a-page")
        else:
            text, encoding = decode(response.body, kind)
            page = _page(response.url, text, encoding)
            rules = _robots_rules(response, page)
            why = self._reason_against(page, rules, encoding)
            if why:
                self._skip(response.url, why)
            else:
                self._keep(response, "html", encoding)
            if "nofollow" not in rules and why != "trap":
                yield from self._leads(page, depth, hops)

    def _leads(self, page: HtmlResponse, depth: int, hops: int) -> Iterator[Any]:
        """Requests for a page's links, frames and refresh; frames and refresh keep the page's depth."""
        try:
            _, refresh = get_meta_refresh(page)
        except ValueError:  # no address
            refresh = None
        inner = [link.url for link in self._frames.extract_links(page)] + ([refresh] if refresh else [])
        for url in inner if hops < MOST_HOPS else []:
            yield from self._follow(url, depth, found_on=page.url, hops=hops + 1)
        for link in self._links.extract_links(page):
            yield from self._follow(link.url, depth + 1, nofollow=link.nofollow, found_on=page.url)

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
            reason = "redirect-loop" if "redirections" in text else reason
        else:
            reason = FAILURES.get(name, f"failed-{name}")
        self._skip_redirected(request)
        if reason != KNOWN_TARGET:
            self._skip(request.url, reason)

    def against_request(self, request: Any) -> str:
        """Why a page's request must not go out: a limit is reached, or a redirect leads to a known address."""
        if "page" not in request.meta or request.meta.get("retry_times"):
            return ""
        if passed := request.meta.get("redirect_urls"):
            key = address_key(request.url)
            if key in {address_key(url) for url in passed}:
                return "redirect-loop"
            if key in self._seen:
                return KNOWN_TARGET
            self._seen.add(key)
            return ""
        host = host_of(request.url)
        why = self._full(host)
        self._asked[host] += not why
        return why

    def _full(self, host: str) -> str:
        """The limit that a host has reached, or "". Every requested page counts, kept or not."""
        most = self._plan.sites.get(host, {}).get("max_pages")
        if most is not None and self._asked[host] >= most:
            return "site-limit"
        return "page-limit" if self._asked.total() >= self._plan.max_pages else ""

    def closed(self, reason: str) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()

    def _sitemap(self, url: str) -> Iterator[Any]:
        """A request for a sitemap, or a note why there is none."""
        if url in self._seen:
            return
        self._seen.add(url)
        self._sitemaps += 1
        if self._sitemaps > max(len(self._plan.sitemaps), min(MOST_SITEMAPS, self._plan.max_pages)):
            self._skip(url, "too-many-sitemaps")
            return
        yield scrapy.Request(url, self.parse_sitemap, errback=self.failed, priority=1, dont_filter=True)

    def _follow(
        self, url: str, depth: int, *, nofollow: bool = False, found_on: str = "", hops: int = 0
    ) -> Iterator[Any]:
        """A request for an address, or a note why there is none."""
        refused = refusal(url, self._private)
        key = url if refused else address_key(url)
        if key in self._seen or (not refused and IGNORED.search(urlsplit(url).path)):
            return
        self._seen.add(key)
        if refused:
            self._skip(url, refused)
            return
        address = canonical(url)
        suffix = Path(urlsplit(address).path).suffix.lower()
        if suffix in LISTED:
            self._note("attachments", {"url": address, "kind": suffix[1:], "found_on": found_on})
            return
        if why := self._against_address(address, depth, nofollow):
            self._skip(address, why)
            return
        if suffix == PDF:
            self._note("attachments", {"url": address, "kind": "pdf", "found_on": found_on})
        yield scrapy.Request(
            address,
            self.parse,
            errback=self.failed,
            cb_kwargs={"depth": depth, "hops": hops},
            meta={"page": True},
            priority=-depth,
            dont_filter=True,  # `_seen` does this; Scrapy's filter would drop a redirect silently
        )

    def _against_address(self, address: str, depth: int, nofollow: bool) -> str:
        if not self.is_home(address):
            return "other-site"
        if nofollow:
            return "nofollow"
        if depth > self._plan.depth:
            return "too-deep"
        unlisted = self._allow and depth and not any(p.search(address) for p in self._allow)
        if unlisted or any(p.search(address) for p in self._deny):
            return "not-allowed"
        if trap(address) or self._barren(shape(address)):
            return "trap"
        return self._full(host_of(address))

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
        if "noindex" in rules or "none" in rules.split(","):
            return "noindex"
        reserved = "noai" in rules or page.xpath("//meta[@name='tdm-reservation' and @content='1']")
        if reserved or self._forbids.search(words):
            return "forbids-use"
        return "" if encoding else "unknown-encoding"

    def _keep(self, response: Any, kind: str, encoding: str) -> None:
        name = hashlib.sha256(response.body).hexdigest()[:32]
        (self._folder / "bodies" / name).write_bytes(response.body)
        row = {
            "url": canonical(response.url),
            "kind": kind,
            "body": name,
            "bytes": len(response.body),
            "encoding": encoding,
            "content_type": (response.headers.get("Content-Type") or b"").decode("latin-1"),
            "fetched": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "unchanged": "cached" in response.flags,
        }
        self._note("fetched", row)

    def _skip_redirected(self, request: Any) -> None:
        """Note the addresses from which a request was redirected."""
        for url in request.meta.get("redirect_urls", []):
            if address_key(url) != address_key(request.url):
                self._skip(url, "redirected")

    def _skip(self, url: str, reason: str) -> None:
        self._note("skipped", {"url": url, "reason": reason})

    def _note(self, name: str, row: dict[str, Any]) -> None:
        self._files[name].write(json.dumps(row, ensure_ascii=False) + "\n")
        self._files[name].flush()


KNOWN_TARGET = "redirected"  # to an address that has a fate of its own
FAILURES = {
    "DownloadTimeoutError": "timeout",
    "DownloadCancelledError": "too-large",
    "ResponseDataLossError": "cut-off",
    "DownloadConnectionRefusedError": "refused-connection",
    "CannotResolveHostError": "unknown-host",
}


def _joined(base: str, url: str) -> str:
    """The absolute address, or what is written if it is none."""
    try:
        return urljoin(base, url)
    except ValueError:
        return url


def _page(url: str, text: str, encoding: str) -> HtmlResponse:
    """The page in its own encoding, because browsers encode the queries of its links in it (UTF-8 for Unicode)."""
    name = "utf-8" if not encoding or encoding.startswith("utf") else encoding
    return HtmlResponse(url, body=text.encode(name, "xmlcharrefreplace"), encoding=name)


def _robots_rules(response: Any, page: HtmlResponse) -> str:
    """The rules of the robots meta tags and of X-Robots-Tag, in lower case."""
    names = "translate(@name, 'ROBTS', 'robts')"
    tags = page.xpath(f"//meta[{names}='robots' or {names}='mnatune']/@content").getall()
    headers = [value.decode("latin-1") for value in response.headers.getlist("X-Robots-Tag")]
    return ",".join([*tags, *headers]).lower().replace(" ", "")
