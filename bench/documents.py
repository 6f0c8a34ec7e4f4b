"""How fast does a folder of office files become passages with places? Pages a second and memory, against a plain script.

    python bench/documents.py [--quick] [--files 2000] [--pages 15]

The folder is generated: files of all formats in turn (hwpx, hwp, docx, xlsx, pptx, pdf, html, md, txt, eml), each of so
many pages of about 1,500 characters, every second with a table. Ours is `read_documents`, as the stage `read` calls it:
limited worker processes, tables with merged cells, articles, places, and for HWP the second reader. The baseline
(`script`) calls the same libraries one file after another in one process and keeps the plain text. Memory is the peak
of the resident sets of all processes, sampled every 50 ms. Run it alone on the machine.
"""

import argparse
import email
import email.policy
import json
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import psutil
from office_files import WRITERS, paper

from mnatune.runs.workers import cores
from mnatune.stages.read.counts import ReadTally
from mnatune.stages.read.deal_room import read_documents

ROUNDS = 3


def build(folder: Path, files: int, pages: int) -> int:
    """Write the files; returns their pages."""
    kinds = list(WRITERS.items())
    total = 0
    for number in range(files):
        kind, write = kinds[number % len(kinds)]
        document = paper(number, pages)
        total += len(document.parts)
        home = folder / f"{number // 100:03d}"
        home.mkdir(exist_ok=True)
        (home / f"{number:05d}.{kind}").write_bytes(write(document))
    return total


class Peak:
    """The most memory that this process and its children hold together, in MB."""

    def __enter__(self) -> "Peak":
        self.mb = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        me = psutil.Process()
        while not self._over.wait(0.05):
            held = 0
            for process in [me, *me.children(recursive=True)]:
                try:
                    held += process.memory_info().rss
                except psutil.Error:
                    continue
            self.mb = max(self.mb, held / 1e6)


def ours(folder: Path) -> dict[str, object]:
    """Passages of the whole folder."""
    tally = ReadTally()
    passages = sum(1 for _ in read_documents(folder, "bench", "", tally))
    return {"files": tally.members, "skipped": dict(tally.members_skipped), "passages": passages}


def script(folder: Path) -> dict[str, object]:
    """What one would write first: one loop, the plain text of each file."""
    counts: Counter[str] = Counter()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            counts["files"] += 1
            counts["characters"] += len(_plain(path))
    return dict(counts)


def _plain(path: Path) -> str:
    match path.suffix:
        case ".hwp" | ".hwpx" | ".docx" | ".pptx":
            from dochan import Dochan

            return str(Dochan(str(path)).to_markdown())
        case ".xlsx":
            from python_calamine import CalamineWorkbook

            book = CalamineWorkbook.from_path(str(path))
            return "\n".join(str(row) for name in book.sheet_names for row in book.get_sheet_by_name(name).to_python())
        case ".pdf":
            import pypdfium2

            document = pypdfium2.PdfDocument(str(path))
            return "\n".join(page.get_textpage().get_text_range() for page in document)
        case ".html":
            from lxml import html

            return str(html.fromstring(path.read_bytes()).text_content())
        case ".eml":
            body = email.message_from_bytes(path.read_bytes(), policy=email.policy.default).get_body(("plain",))
            return str(body.get_content()) if body else ""
        case ".txt":
            return path.read_text(encoding="cp949")
    return path.read_text(encoding="utf-8")


def main() -> None:
    """Build, measure in turn, and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="100 files, one round")
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--pages", type=int, default=15)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    rounds: dict[str, list[dict[str, object]]] = {"ours": [], "script": []}
    try:
        pages = build(folder, 100 if options.quick else options.files, options.pages)
        for _ in range(1 if options.quick else ROUNDS):
            for name, work in (("ours", ours), ("script", script)):
                with Peak() as peak:
                    start = time.perf_counter()
                    facts = work(folder)
                    seconds = time.perf_counter() - start
                facts |= {
                    "seconds": round(seconds, 2),
                    "pages_per_second": round(pages / seconds, 1),
                    "peak_mb": round(peak.mb),
                }
                rounds[name].append(facts)
                print(f"  {name:<7} {facts}")
    finally:
        shutil.rmtree(folder)
    best = {
        name: sorted(found, key=lambda f: float(str(f["seconds"])))[len(found) // 2] for name, found in rounds.items()
    }
    ratio = statistics.median(
        float(str(theirs["seconds"])) / float(str(mine["seconds"]))
        for mine, theirs in zip(*rounds.values(), strict=True)
    )
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    line = {
        "bench": "documents", "commit": commit, "device": f"{cores()} cores", "ratio": {"script": round(ratio, 2)},
        "ours": best["ours"] | {"pages": pages}, "baseline": best["script"],
    }  # fmt: skip
    print(json.dumps(line, ensure_ascii=False))


if __name__ == "__main__":
    main()
