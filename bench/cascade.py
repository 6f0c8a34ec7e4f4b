"""The cascade against judging everything, on rows whose usefulness is known by construction.

    python bench/cascade.py [--quick] [--rows 100000] [--share 0.03] [--plain 0.2] [--errors 0.0]

A share of the rows is useful; `plain` of those use no term of the lexicon, and some useless rows use its words in
another sense. The judge is a local server that knows the truth, and is wrong about a share `errors` of the rows. The
baseline is its verdict on every row. Recall is counted against the truth and against the judge's own verdicts: the
latter is what the cascade can measure and what its interval speaks of. The last line is JSON.
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
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests/stages/judge"))

import pyarrow.parquet as pq  # noqa: E402
from known_rows import endpoint, knowing, make_job, make_rows, make_run  # noqa: E402

from mnatune.model.endpoint.fake import FakeEndpoint  # noqa: E402
from mnatune.stages.judge import judge  # noqa: E402


def believed(ids: list[str], useful: set[str], errors: float) -> set[str]:
    """What a judge holds for useful that is wrong about a share of the rows; which ones follows from the id."""
    return {row for row in ids if (row in useful) != (int(row[4:12], 16) / 16**8 < errors)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--share", type=float, default=0.03)
    parser.add_argument("--plain", type=float, default=0.2)
    parser.add_argument("--errors", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    wish = parser.parse_args()
    count = 10_000 if wish.quick else wish.rows
    rows, useful = make_rows(count, wish.share, wish.plain, wish.seed)
    relevant = believed([row.id for row in rows], useful, wish.errors)
    with tempfile.TemporaryDirectory() as name, FakeEndpoint(knowing(relevant)) as server:
        folder = Path(name)
        section = endpoint(server.base_url, folder, concurrency=32)
        job = make_job(make_run(folder, rows), judge={"scorer": "cascade"}, endpoint=section)
        started = time.monotonic()
        judge(job)
        seconds, calls = time.monotonic() - started, server.served.calls
        kept = set(pq.read_table(job.path("qa.parquet"))["id"].to_pylist())
    told = job.manifest.facts["cascade"]
    interval = told["recall"]
    recall = len(kept & relevant) / len(relevant)
    found = {
        "rows": count,
        "useful": len(useful),
        "calls": calls,
        "calls_share": round(calls / count, 4),
        "recall": round(recall, 4),
        "recall_of_truth": round(len(kept & useful) / len(useful), 4),
        "interval": [interval["low"], interval["high"]],
        "interval_holds": interval["low"] <= recall <= interval["high"],
        "precision": round(len(kept & relevant) / max(1, len(kept)), 4),
        "sample": told["sample"],
        "band": told["band"],
        "audit": told["audit"],
        "band_cut": told["band_cut"],
        "seconds": round(seconds, 1),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(*(f"{key}: {value}" for key, value in found.items()), sep="\n")
    print("curve (calls, recall by out-of-fold estimate):", *((p["calls"], p["recall"]) for p in told["curve"]))
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    head = {
        "bench": "cascade",
        "commit": commit.stdout.strip(),
        "device": f"{platform.machine()}, {os.cpu_count()} cores",
    }
    wished = {"share": wish.share, "plain": wish.plain, "errors": wish.errors, "seed": wish.seed}
    print(json.dumps({**head, "ratio": {"everything": round(count / calls, 2)}, "wished": wished, "ours": found}))


if __name__ == "__main__":
    main()
