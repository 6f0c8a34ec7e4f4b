"""Pages of the recipe's sites: address, fetch time and licence note with each, and a reason for each one left out.

The crawl runs in a process of its own (`crawl`), politely; what it fetched stays in `state/`, so that the next crawl
asks only for what has changed. Texts are taken out here.
"""

import re
import subprocess
import sys
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ... import __version__
from ...runs.errors import EnvironmentFault, UsageError, needs
from ...runs.job import Job
from ...runs.records import DOCUMENT_SCHEMA, Document, Source, content_id, to_table, write_table
from ...runs.workspace import read_jsonl, write_jsonl
from .order import CrawlOrder
from .page_text import SHORTEST, Extracted
from .parser_process import FetchedFile, ParserProcess

__all__ = ["collect"]

SITEMAP = re.compile(r"\.xml(\.gz)?(\?|$)", re.IGNORECASE)


def collect(job: Job) -> None:
    """Write pages.parquet, fetches.jsonl (every address with its fate) and attachments.jsonl."""
    folder = job.path("state")
    folder.mkdir(parents=True, exist_ok=True)
    crawl(plan_of(job, folder))
    fetched = sorted(read_jsonl(folder / "fetched.jsonl"), key=lambda row: row["url"])
    skipped = read_jsonl(folder / "skipped.jsonl")
    documents, fates = _documents(job, fetched, folder / "bodies")
    fates += [{"url": row["url"], "reason": row["reason"]} for row in skipped]
    for fate in fates:
        if fate["reason"]:
            job.manifest.drop(fate["reason"])
    job.manifest.rows_in, job.manifest.rows_out = len(fates), len(documents)
    per_host = Counter(document.source.name for document in documents)
    job.manifest.per_source = {host: {"pages": count} for host, count in sorted(per_host.items())}
    attachments = sorted(read_jsonl(folder / "attachments.jsonl"), key=lambda row: row["url"])
    job.manifest.facts = {
        "fetched": len(fetched),
        "unchanged": sum(row["unchanged"] for row in fetched),
        "attachments": len(attachments),
    }
    if not documents:
        reasons = ", ".join(f"{reason} ({count})" for reason, count in sorted(job.manifest.dropped.items()))
        raise EnvironmentFault(
            f"no page was collected: {reasons or 'nothing could be fetched'}",
            where=", ".join(job.recipe.collect.start_urls) or "collect.start_urls",
            next_step="check the addresses, collect.follow and the network"
            if job.recipe.collect.start_urls
            else "set collect.start_urls: it names no page to begin with",
        )
    write_table(to_table(documents, DOCUMENT_SCHEMA), job.path("pages.parquet"))
    write_jsonl(job.path("fetches.jsonl"), sorted(fates, key=lambda row: (row["url"], row["reason"])))
    write_jsonl(job.path("attachments.jsonl"), attachments)


def plan_of(job: Job, folder: Path) -> CrawlOrder:
    """The crawl's order from the recipe and the pack."""
    section = job.recipe.collect
    for pattern in section.follow:
        try:
            re.compile(pattern.removeprefix("!"))
        except re.error as error:
            fault = f"the pattern {pattern!r} is no regular expression: {error}"
            raise UsageError(fault, where="collect.follow") from error
    contact = f"; {section.contact}" if section.contact else ""
    return CrawlOrder(
        folder=str(folder),
        start_urls=[url for url in section.start_urls if not SITEMAP.search(url)],
        sitemaps=[url for url in section.start_urls if SITEMAP.search(url)],
        allow=[pattern for pattern in section.follow if not pattern.startswith("!")],
        deny=[pattern[1:] for pattern in section.follow if pattern.startswith("!")],
        depth=section.depth,
        max_pages=section.max_pages,
        delay=section.delay,
        user_agent=f"mnatune/{__version__} (+research crawler{contact})",
        sites={host: {"max_pages": own.max_pages, "delay": own.delay} for host, own in section.sites.items()},
        private_hosts=[host for host, own in section.sites.items() if own.private],
        forbids_use=job.pack.yaml("crawl.yaml")["forbids_use"],
    )


def crawl(plan: CrawlOrder) -> None:
    """Run the crawl in a process of its own, because Scrapy's reactor can be started only once in a process."""
    with needs("scrapy", "collect"):
        import scrapy  # noqa: F401
    order = Path(plan.folder) / "plan.json"
    plan.save(order)
    command = [sys.executable, "-m", "mnatune.stages.collect.crawl", str(order)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise EnvironmentFault(
            f"the crawl ended with an error: {lines[-1] if lines else done.returncode}",
            where=str(order),
            next_step=f"to see all of it: {' '.join(command)}",
        )


def _documents(job: Job, fetched: list[Any], bodies: Path) -> tuple[list[Document], list[dict[str, Any]]]:
    """Documents of the fetched pages in the order of their addresses, and the fate of every page."""
    documents: list[Document] = []
    fates: list[dict[str, Any]] = []
    seen: set[str] = set()
    with ParserProcess() as parser:
        for row in job.track(fetched, "extracting", len(fetched)):
            body = (bodies / row["body"]).read_bytes()
            found = parser.extract(FetchedFile(row["kind"], body, row["content_type"], row["url"]))
            document = _document(job, row, found)
            reason = found.fault or ("no-text" if len(document.text) < SHORTEST else "")
            reason = reason or ("duplicate-text" if document.id in seen else "")
            if not reason:
                documents.append(document)
                seen.add(document.id)
            facts = {name: row[name] for name in ("url", "kind", "bytes", "encoding", "fetched", "unchanged")}
            told = {"title": found.title, "date": found.date, "author": found.author}
            fates.append(facts | told | {"licence": document.source.licence, "reason": reason})
    return documents, fates


def _document(job: Job, row: dict[str, Any], found: Extracted) -> Document:
    host = urlsplit(row["url"]).hostname or ""
    own = job.recipe.collect.sites.get(host)
    licence = (own.licence if own else "") or job.recipe.collect.licence
    text = unicodedata.normalize("NFC", found.text).strip()
    title = unicodedata.normalize("NFC", found.title).strip() or row["url"]
    flags = [f"fetched:{row['fetched']}"] + ([f"author:{found.author}"] if found.author else [])
    source = Source(host, archive=row["url"], licence=licence)
    return Document(content_id(text), title, text, row["url"], source, found.date, flags)
