"""The crawling process: `python -m mnatune.stages.collect.crawl PLAN.json`. Scrapy, with what a guest owes its hosts.

robots.txt (with Crawl-delay, and closed when it cannot be read), a least gap between requests to a site, AutoThrottle,
Retry-After, conditional requests on a second crawl, and no way to an address that is not public, before and after DNS.

Does not: run JavaScript, log in, or go through a proxy (the address check would be the proxy's).
"""

import sys
import time
from pathlib import Path
from typing import Any, ClassVar

import scrapy
from scrapy import signals
from scrapy.crawler import CrawlerProcess
from scrapy.exceptions import IgnoreRequest
from scrapy.extensions.throttle import AutoThrottle
from scrapy.resolver import CachingThreadedResolver
from twisted.internet.error import DNSLookupError

from ...model.endpoint.wire import retry_after
from .addresses import public, refusal
from .order import CrawlOrder
from .spider import SiteSpider, host_of

JITTER = 0.25  # of the mean gap, which is set so that the shortest gap equals the recipe's delay
LONGEST_GAP = 60.0
CLOSED = b"User-agent: *\nDisallow: /\n"
PRIVATE = "private-address"
HERE = "mnatune.stages.collect.crawl"


class PublicResolver(CachingThreadedResolver):  # type: ignore[misc]
    """Fails names that resolve to a non-public address. The address checked is the one connected to.

    Attributes:
        refused: those names; Twisted does not pass the reason on. There is one crawl per process.
    """

    refused: ClassVar[set[str]] = set()

    @classmethod
    def from_crawler(cls, crawler: Any, reactor: Any) -> Any:
        resolver = super().from_crawler(crawler, reactor)
        resolver.private_hosts = frozenset(crawler.settings["PLAN"].private_hosts)
        return resolver

    def getHostByName(self, name: str, timeout: Any = ()) -> Any:
        return super().getHostByName(name, timeout).addCallback(self._checked, name)

    def _checked(self, address: str, name: str) -> str:
        if name not in self.private_hosts and not public(address):
            self.refused.add(name)
            raise DNSLookupError(PRIVATE)
        return address


class Manners:
    """Downloader middleware: refuses addresses, and pages beyond the limits; obeys Retry-After."""

    def __init__(self, crawler: Any) -> None:
        self._crawler = crawler
        self._private = frozenset(crawler.settings["PLAN"].private_hosts)

    @classmethod
    def from_crawler(cls, crawler: Any) -> "Manners":
        return cls(crawler)

    def process_request(self, request: Any) -> None:
        why = refusal(request.url, self._private)
        if not why:
            spider = self._crawler.spider
            why = spider.against_request(request) if spider.is_home(request.url) else "other-site"
        if why:
            raise IgnoreRequest(why)

    def process_exception(self, request: Any, exception: Exception) -> None:
        if host_of(request.url) in PublicResolver.refused:
            raise IgnoreRequest(PRIVATE) from exception

    def process_response(self, request: Any, response: Any) -> Any:
        wait = retry_after((response.headers.get("Retry-After") or b"").decode("latin-1"))
        slot = self._crawler.engine.downloader.slots.get(request.meta.get("download_slot"))
        if wait and response.status in (429, 503) and slot is not None:
            slot.lastseen = max(slot.lastseen, time.monotonic() + wait)  # the next request counts its gap from then
        return response


class ClosedRobots:
    """Downloader middleware above the retries: an unreadable robots.txt closes the site (RFC 9309 2.3.1.4)."""

    def process_response(self, request: Any, response: Any) -> Any:
        unreadable = response.status >= 500 or response.status == 429
        if request.url.endswith("/robots.txt") and unreadable:
            return response.replace(status=200, body=CLOSED)
        return response

    def process_exception(self, request: Any, exception: Exception) -> Any:
        if request.url.endswith("/robots.txt") and not isinstance(exception, IgnoreRequest):
            return scrapy.http.TextResponse(request.url, body=CLOSED)
        return None


class Throttle(AutoThrottle):  # type: ignore[misc]
    """AutoThrottle that never goes below a site's own least gap, from the recipe or from Crawl-delay."""

    def __init__(self, crawler: Any) -> None:
        super().__init__(crawler)
        self._least: dict[str, float] = {}
        crawler.signals.connect(self._robots, signal=signals.robots_parsed)

    def _robots(self, robotparser: Any, request: Any) -> None:
        agent = self.crawler.settings["USER_AGENT"]
        wished = robotparser.rp.crawl_delay(agent) if hasattr(robotparser, "rp") else None
        if wished:
            host = host_of(request.url)
            self._least[host] = min(LONGEST_GAP, float(wished)) / (1 - JITTER)
            slot = self.crawler.engine.downloader.slots.get(host)
            if slot is not None:
                slot.delay = max(slot.delay, self._least[host])

    def _adjust_delay(self, slot: Any, latency: float, response: Any) -> None:
        host = host_of(response.url)
        own = self.crawler.settings["DOWNLOAD_SLOTS"].get(host, {}).get("delay", 0.0)
        super()._adjust_delay(slot, latency, response)
        slot.delay = max(slot.delay, own, self._least.get(host, 0.0))


def settings_of(plan: CrawlOrder) -> dict[str, Any]:
    """Scrapy's settings for a plan."""
    slots = {
        host: {"delay": max(delay, 0.001) / (1 - JITTER), "concurrency": 1, "jitter": JITTER}
        for host, own in plan.sites.items()
        if (delay := own.get("delay")) is not None
    }
    return {
        "PLAN": plan,
        "USER_AGENT": plan.user_agent,
        "ROBOTSTXT_OBEY": True,
        "CONCURRENT_REQUESTS": 8,
        "CONCURRENT_REQUESTS_PER_DOMAIN": 1,
        "DOWNLOAD_DELAY": plan.delay / (1 - JITTER),
        "DOWNLOAD_DELAY_JITTER": JITTER,
        "DOWNLOAD_SLOTS": slots,
        "DOWNLOAD_MAXSIZE": plan.max_bytes,
        "DOWNLOAD_WARNSIZE": 0,
        "DOWNLOAD_TIMEOUT": plan.timeout,
        "DNS_RESOLVER": f"{HERE}.PublicResolver",
        "AUTOTHROTTLE_ENABLED": True,
        "AUTOTHROTTLE_START_DELAY": plan.delay / (1 - JITTER),
        "AUTOTHROTTLE_MAX_DELAY": LONGEST_GAP,
        "EXTENSIONS": {"scrapy.extensions.throttle.AutoThrottle": None, f"{HERE}.Throttle": 0},
        "DOWNLOADER_MIDDLEWARES": {
            f"{HERE}.Manners": 560,  # closest to the network except for retries, so that it sees every redirect
            f"{HERE}.ClosedRobots": 90,
            "scrapy.downloadermiddlewares.offsite.OffsiteMiddleware": None,
        },
        "HTTPPROXY_ENABLED": False,
        "HTTPCACHE_ENABLED": True,
        "HTTPCACHE_POLICY": "scrapy.extensions.httpcache.RFC2616Policy",
        "HTTPCACHE_DIR": str(Path(plan.folder) / "httpcache"),
        "REDIRECT_MAX_TIMES": 5,
        "METAREFRESH_ENABLED": False,
        "RETRY_TIMES": 2,
        "COOKIES_ENABLED": False,
        "TELNETCONSOLE_ENABLED": False,
        "LOG_LEVEL": "ERROR",
    }


def main() -> None:
    """Crawl as the plan says."""
    plan = CrawlOrder.load(Path(sys.argv[1]))
    process = CrawlerProcess(settings_of(plan))
    failures: list[Any] = []
    process.crawl(SiteSpider, plan=plan).addErrback(failures.append)
    process.start()
    if failures:
        sys.exit(f"{failures[0].type.__name__}: {failures[0].getErrorMessage()}")


if __name__ == "__main__":
    main()
