"""What the crawling process is told, and what it writes."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

MEGABYTE = 1 << 20


@dataclass(frozen=True)
class CrawlOrder:
    """A crawl's order, handed to the child process as JSON.

    Attributes:
        folder: where it writes fetched.jsonl, skipped.jsonl, attachments.jsonl, bodies/ and httpcache/.
        sites: host → {"max_pages", "delay"}; a missing value takes the general one.
        forbids_use: patterns of pages that forbid use.
        max_bytes: a longer body is cut off and the page skipped; after decompression too.
        timeout: seconds for one download.
        user_agent: how the crawler names itself.
    """

    folder: str
    start_urls: list[str]
    sitemaps: list[str]
    allow: list[str]
    deny: list[str]
    depth: int
    max_pages: int
    delay: float
    user_agent: str
    sites: dict[str, dict[str, float | None]] = field(default_factory=dict)
    private_hosts: list[str] = field(default_factory=list)
    forbids_use: list[str] = field(default_factory=list)
    max_bytes: int = 10 * MEGABYTE
    timeout: float = 30.0

    def save(self, path: Path) -> None:
        """Write as JSON."""
        path.write_text(json.dumps(asdict(self), ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))
