"""Collect, synthesize and judge end to end with a real model behind an OpenAI-compatible server.

    python bench/judge_live.py                                          `mnatune serve` with the bundled starter model
    python bench/judge_live.py --base-url http://127.0.0.1:8080/v1 --model NAME       a server that is running already

What is shown is the path, not the judge: a local site made of the pack's own questions and answers is crawled, its
pages are turned into questions, and rows of the pack are judged, half of them of the field and half of other fields.
Counted are the replies that were usable at once, with words around the JSON, after the repair request, or not at all
(by code), the share of rows that got the commonest points, and what a second run pays. The starter of 9 M parameters cannot write JSON: nothing of it is usable, and each
stage must say so instead of going on with nothing. Its context is raised from 2,048 to 8,192 tokens in the copy that is
served, so that a repair request is answered at all. The last line is JSON.
"""

import argparse
import html
import json
import os
import platform
import shutil
import socketserver
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from mnatune.pack import Pack
from mnatune.runs import journey
from mnatune.runs.errors import EnvironmentFault
from mnatune.runs.recipe import Recipe, bundled
from mnatune.runs.workspace import Run

LONGEST_ROW = 200  # characters
CONTEXT = 8192  # of the served copy of the starter: its own 2,048 tokens do not hold the rubric with a repair request
PAIRS_ON_PAGE = 3


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def short(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if len(row["question"]) + len(row["answer"]) <= LONGEST_ROW]


def write_rows(pack: Pack, count: int, path: Path) -> None:
    """Rows to be judged: half of the field, half of other fields."""
    field = short(read_lines(pack.path("qa.jsonl")))[: count // 2]
    others = short([row for row in read_lines(pack.path("sample") / "rows.jsonl") if row["kind"] == "general"])
    with path.open("w", encoding="utf-8") as file:
        for row in [*field, *others[: count - len(field)]]:
            file.write(json.dumps({"question": row["question"], "answer": row["answer"]}, ensure_ascii=False) + "\n")


@contextmanager
def site(pack: Pack, count: int) -> Iterator[str]:
    """A local site of so many pages, each with a few of the pack's answers under headings; gives its first address."""
    rows = read_lines(pack.path("qa.jsonl"))[-count * PAIRS_ON_PAGE :]
    pages = [rows[at : at + PAIRS_ON_PAGE] for at in range(0, len(rows), PAIRS_ON_PAGE)]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.strip("/")
            number = int(name) if name.isdigit() else -1
            if name and not 0 <= number < len(pages):
                self.send_error(404)
                return
            links = "".join(f'<a href="/{n}">{n}</a> ' for n in range(len(pages)))
            parts = [(r["question"].rstrip("?"), r["answer"]) for r in pages[number]] if name else [("차례", links)]
            text = "".join(f"<h2>{html.escape(h)}</h2><p>{p if not name else html.escape(p)}</p>" for h, p in parts)
            title = f"자료 {name}" if name else "자료실"
            body = f"<html><head><title>{title}</title></head><body><article><h1>{title}</h1>{text}</article></body></html>"
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    server: socketserver.BaseServer = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def starter_server(folder: Path) -> Iterator[str]:
    """`mnatune serve` with a copy of the bundled starter of longer context on a free port; gives its base_url."""
    shutil.copytree(bundled("starter") / "model", folder / "starter")
    config = json.loads((folder / "starter/config.json").read_text())
    (folder / "starter/config.json").write_text(json.dumps(config | {"max_position_embeddings": CONTEXT}))
    options = ["--models", str(folder / "registry"), "--base", str(folder / "starter"), "--port", "0", "--keyless"]
    command = [
        sys.executable,
        "-m",
        "mnatune",
        "serve",
        *options,
        "--feedback",
        "",
        "--keys",
        str(folder / "keys.json"),
    ]
    with (folder / "serve.log").open("w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    if "serving on" not in line:
        process.wait(60)
        raise SystemExit(f"the server did not start:\n{(folder / 'serve.log').read_text()}")
    try:
        yield f"{line.split()[-1]}/v1"
    finally:
        process.terminate()
        process.wait(120)


def first_model(base_url: str) -> str:
    with urllib.request.urlopen(f"{base_url}/models", timeout=60) as answer:
        return str(json.load(answer)["data"][0]["id"])


def booked(ledger: Path) -> tuple[Counter[str], int, int]:
    """Replies in the ledger by how they ended, calls paid and tokens."""
    if not ledger.exists():
        return Counter(), 0, 0
    with sqlite3.connect(ledger) as base:
        states = base.execute(
            "SELECT CASE state WHEN 'ok' THEN how ELSE 'failed-' || code END, count(*) FROM replies GROUP BY 1"
        )
        calls, tokens = base.execute("SELECT sum(calls), sum(tokens_in + tokens_out) FROM spending").fetchone()
        return Counter(dict(states.fetchall())), int(calls or 0), int(tokens or 0)


def do(stage: str, recipe: Recipe, run: Run) -> dict[str, Any]:
    """A stage twice; what it booked, how it ended, and what the second time booked."""
    ledger = Path(recipe.endpoint.ledger)
    before, paid, tokens = booked(ledger)
    started, facts = time.monotonic(), {}
    try:
        manifest, _ = journey.perform(stage, recipe, run)
        ended, facts = f"{manifest.rows_in} -> {manifest.rows_out} rows", manifest.facts
        dropped = dict(manifest.dropped)
    except EnvironmentFault as fault:
        ended, dropped = str(fault).splitlines()[0], {}
    seconds = time.monotonic() - started
    after, paid_after, tokens_after = booked(ledger)
    try:
        journey.perform(stage, recipe, run, force=True)
    except EnvironmentFault as fault:
        ended_again = str(fault).splitlines()[0]
        assert ended_again.partition(":")[0] == ended.partition(":")[0], ended_again
    again, paid_again, _ = booked(ledger)
    assert again == after, "a row was settled twice"
    replies = after - before
    settled, usable = sum(replies.values()), sum(n for how, n in replies.items() if not how.startswith("failed-"))
    return {
        "ended": ended,
        "settled": settled,
        "replies": dict(sorted(replies.items())),
        "usable_at_once": round((replies["clean"] + replies["tolerated"]) / max(1, settled), 4),
        "needed_repair": round(1 - (replies["clean"] + replies["tolerated"]) / max(1, settled), 4),
        "repaired": round(replies["repaired"] / max(1, settled), 4),
        "failed": round(1 - usable / max(1, settled), 4),
        "dropped": dropped,
        "calls": paid_after - paid,
        "tokens": tokens_after - tokens,
        "faults": facts.get("endpoint", {}).get("faults", {}),
        "canaries": facts.get("canaries", {}),
        "warnings": facts.get("warnings", []),
        "commonest_points": facts.get("endpoint", {}).get("commonest_points"),
        "same_points": facts.get("endpoint", {}).get("same_points"),
        "calls_of_second_run": paid_again - paid_after,
        "seconds": round(seconds, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="6 rows and 1 page")
    parser.add_argument("--rows", type=int, default=40)
    parser.add_argument("--pages", type=int, default=6)
    parser.add_argument("--base-url", default="", help="a running server; without it `mnatune serve` is started")
    parser.add_argument("--model", default="", help="model to ask for; by default the server's first")
    parser.add_argument("--concurrency", type=int, default=8)
    wish = parser.parse_args()
    rows, pages = (6, 1) if wish.quick else (wish.rows, wish.pages)
    pack = Pack.load("mna_ko")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        start = stack.enter_context(site(pack, pages))
        base_url = wish.base_url.rstrip("/") or stack.enter_context(starter_server(folder))
        model = wish.model or first_model(base_url)
        write_rows(pack, rows, folder / "rows.jsonl")
        sources = [{"kind": "qa", "path": str(folder / "rows.jsonl"), "name": "rows"}, {"kind": "pages", "path": ""}]
        values = {
            "name": "live",
            "model": {"id": "starter"},
            "collect": {"start_urls": [start], "sites": {"127.0.0.1": {"private": True}}, "delay": 0.0, "licence": "Apache-2.0"},
            "read": {"sources": sources},
            "synthesize": {"per_passage": 1, "max_passages": 2 * pages},
            "judge": {"scorer": "llm"},
            "endpoint": {
                "base_url": base_url, "model": model, "timeout": 900.0, "concurrency": wish.concurrency,
                "per_minute": (10**6, 10**9), "ledger": str(folder / "ledger.sqlite3"),
            },
        }  # fmt: skip
        recipe, run = Recipe.model_validate(values), Run(folder / "run")
        for stage in ("collect", "read", "curate"):
            journey.perform(stage, recipe, run)
        found = {"synthesize": do("synthesize", recipe, run)}
        if run.manifest("synthesize") is None:
            recipe = Recipe.model_validate(values | {"synthesize": {"per_passage": 0}})
        found["judge"] = do("judge", recipe, run)
    for stage, facts in found.items():
        print(stage, *(f"  {key}: {value}" for key, value in facts.items()), sep="\n")
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    device = f"{platform.machine()}, {os.cpu_count()} cores"
    head = {"bench": "judge_live", "commit": commit.stdout.strip(), "device": device, "model": model}
    print(json.dumps(head | {"rows": rows, "pages": pages} | found, ensure_ascii=False))


if __name__ == "__main__":
    main()
