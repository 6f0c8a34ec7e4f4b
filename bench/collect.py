"""Crawling a local site of 200 generated pages in three encodings, with known text and the traps of the open web.

    python bench/collect.py [--quick]

The site is that of the tests: wrong declarations, broken HTML, a calendar and a loop without end, session ids, noindex,
pages that forbid use, robots.txt, 429 with Retry-After, redirects to private addresses, 30 MB, a gigabyte with and
without Content-Length, and a gzip bomb of a gigabyte. Told are the pages found, what was left out and why, how much of
the known text was taken out and how much of what was taken out is known text, and how much of the gigabyte was read.
--quick begins at page 50, below which there are four pages. The last line is JSON.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests/stages/collect"))

import pyarrow.parquet as pq  # noqa: E402
from crawled_site import ARTICLES, ENCODINGS, Site, sentences  # noqa: E402

from mnatune.pack import Pack  # noqa: E402
from mnatune.runs.job import Job  # noqa: E402
from mnatune.runs.recipe import Recipe  # noqa: E402
from mnatune.runs.workspace import Manifest, Run, Stage  # noqa: E402
from mnatune.stages.collect import collect, plan_of  # noqa: E402


def make_job(root: Path, start: str) -> Job:
    section = {"start_urls": [start], "sites": {"127.0.0.1": {"private": True}}, "delay": 0, "depth": 12}
    recipe = Recipe.model_validate({"name": "bench", "collect": section})
    run = Run(root)
    run.folder("collect").mkdir(parents=True, exist_ok=True)
    return Job(recipe, Pack.load("mna_ko"), run, Stage(run.folder("collect"), Manifest("collect", "", {}, {}, 0)))


def texts(documents: list[dict[str, Any]], root: str, wanted: list[int]) -> dict[str, Any]:
    """Pages found, and precision and recall of their text in characters without white space."""
    by_path = {row["group"].removeprefix(root): "".join(row["text"].split()) for row in documents}
    right = known = taken = 0
    found = Counter[str]()
    for number in wanted:
        text = by_path.get(f"/a/{number}.html", "")
        found[ENCODINGS[number % 3]] += bool(text)
        own = ["".join(sentence.split()) for sentence in sentences(number)]
        right += sum(len(sentence) for sentence in own if sentence in text)
        known += sum(map(len, own))
        taken += len(text)
    return {
        "pages": len(wanted),
        "found": sum(found.values()),
        "by_encoding": dict(found),
        "text_precision": round(right / max(1, taken), 4),
        "text_recall": round(right / known, 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    wish = parser.parse_args()
    wanted = [n for n in range(1, ARTICLES + 1) if not wish.quick or n in (50, 100, 101, 200)]
    with tempfile.TemporaryDirectory() as name, Site() as site:
        job = make_job(Path(name), site.root + ("/a/50.html" if wish.quick else "/"))
        started = time.monotonic()
        collect(job)
        seconds = time.monotonic() - started
        documents = pq.read_table(job.path("pages.parquet")).to_pylist()
        hits, sent = sum(site.hits.values()), dict(site.sent)
        again = make_job(Path(name), site.root + ("/a/50.html" if wish.quick else "/"))
        collect(again)
        cap = plan_of(job, Path(name)).max_bytes
    found = texts(documents, site.root, wanted) | {
        "skipped": dict(sorted(job.manifest.dropped.items())),
        "attachments": job.manifest.facts["attachments"],
        "hits_behind_private_redirects": site.hits["/inside"],
        "hits_behind_robots": site.hits["/private/secret"],
        "mib_sent_of_a_gigabyte": {path: round(size / 2**20, 1) for path, size in sorted(sent.items())},
        "cap_mib": cap / 2**20,
        "hits": hits,
        "unchanged_on_second_crawl": again.manifest.facts["unchanged"],
        "seconds": round(seconds, 1),
        "crawler_peak_mib": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024,
    }
    print(*(f"{key}: {value}" for key, value in found.items()), sep="\n")
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    device = f"{platform.machine()}, {os.cpu_count()} cores"
    head = {"bench": "collect", "commit": commit.stdout.strip(), "device": device}
    print(json.dumps({**head, "ours": found}, ensure_ascii=False))


if __name__ == "__main__":
    main()
