"""Does the search find the article? And how fast is it, and how large?

    python bench/law.py --sources legalize-kr precedent-kr law_history.jsonl --questions law_questions.jsonl [--quick]
                        [--articles 200000]

Quality: questions taken from decisions, and the pack's own questions (with the questions before them in a dialogue), each
with the articles that answer it. They are split into folds by decision (and by question); a fold is searched in a memory
built without its decisions and questions. The constants of the search were chosen on folds 0 to 2; "untouched" are the
questions of folds 3 and 4. Beside them stands BM25 over character bigrams of the articles alone (rank_bm25) on the same
questions; its scores are read from inverted lists, because it looks at every article for every bigram. `ratio` times itself.
Hit@k: the share of questions with a right article among the first k (Wilson interval, 95 %); MRR: bootstrap, 95 %.

Date: 300 questions that name a day and an article of the histories among the sources ("2015-03-02 현재 상법 제360조의3은 …"),
half of them about days on which it was not in force. Right: the day is read, the article comes first if it was in force
and is not found if it was not, and a text that was amended after that day is not shown as that day's.

Speed: `--articles` repeats the statutes under other names until there are that many, builds a memory from them in a
process of its own, and searches it; `ratio` compares the time of one search in the memory of the sources with
rank_bm25's. `--quick` does one fold, fifty questions each, and no large memory.
"""

import argparse
import hashlib
import json
import multiprocessing
import random
import re
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rank_bm25 import BM25Okapi

from mnatune.law.article_numbers import plain_number, written
from mnatune.law.building import build
from mnatune.law.evidence_search import asked_day
from mnatune.law.law_memory import LawIndex
from mnatune.law.terms import WordTerms
from mnatune.pack import Pack
from mnatune.stages.evaluate.statistics import wilson

FOLDS = 5
UNTOUCHED = (3, 4)
KS = (1, 5, 10)
DATES = 300
DATED = (
    "{day} 현재 {name}의 내용은 무엇입니까?",
    "{day}에 시행되던 {name}을 알려 주세요.",
    "{day} 기준으로 {name}은 무엇을 정합니까?",
)
AMENDED = re.compile(r"(\d{4})\.\s?(\d{1,2})\.\s?(\d{1,2})")
START = time.perf_counter()
LETTERS = re.compile(r"[^가-힣A-Za-z0-9]")


class Question(NamedTuple):
    """A question and the articles that answer it, as "상법 522의3"; `name` is what it may not be found by."""

    name: str
    question: str
    gold: frozenset[str]
    earlier: tuple[str, ...] = ()


def fold(name: str) -> int:
    """The fold of a decision or question; the same on every machine."""
    return hashlib.blake2b(name.encode(), digest_size=4).digest()[0] % FOLDS


def tell(text: str) -> None:
    """A line of progress."""
    print(f"[{time.perf_counter() - START:6.1f} s] {text}", flush=True)


def bigrams(text: str) -> list[str]:
    letters = LETTERS.sub("", text)
    return [letters[at : at + 2] for at in range(len(letters) - 1)]


def from_decisions(path: Path) -> list[Question]:
    """Lines of {"id": "2000다18608-0", "question", "gold": [["상법", "제41조"]]}."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [
        Question(
            row["id"].rpartition("-")[0],
            row["question"],
            frozenset(f"{law} {plain_number(number)}" for law, number in row["gold"]),
        )
        for row in rows
    ]


def from_pack(pack: Pack, memory: LawIndex) -> list[Question]:
    """The pack's question-answer rows whose source names an article."""
    rows = [json.loads(line) for line in pack.path("qa.jsonl").read_text(encoding="utf-8").splitlines()]
    found = []
    for row in rows:
        cited = frozenset(f"{c.law} {c.article}" for c in memory.checker.find(row["source"]) if c.in_force)
        known = frozenset(name for name in cited if memory.statutes.laws.get(name.rpartition(" ")[0]))
        if known:
            earlier = tuple(turn["content"] for turn in row.get("history", [])[::2])
            found.append(Question(row["question"], row["question"], known, earlier))
    return found


def rank_of(asked: Question, found: Sequence[str]) -> int:
    """The place of the first right article, from 0; 99 if it is not among the found ones."""
    return next((place for place, name in enumerate(found) if name in asked.gold), 99)


def summary(places: Sequence[int]) -> dict[str, list[float] | int]:
    """Hit@k and MRR as [value, low, high]."""
    table: dict[str, list[float] | int] = {f"hit@{k}": interval(sum(p < k for p in places), len(places)) for k in KS}
    gains = [1 / (place + 1) if place < 99 else 0.0 for place in places]
    draw = random.Random(7)
    means = sorted(statistics.fmean(draw.choices(gains, k=len(gains))) for _ in range(500))
    table["mrr"] = [round(x, 4) for x in (statistics.fmean(gains), means[12], means[487])]
    return {**table, "n": len(places)}


def interval(hits: int, n: int) -> list[float]:
    """[share, low, high]."""
    return [round(x, 4) for x in (hits / n, *wilson(hits / n, n))]


def names(memory: LawIndex, question: str, earlier: Sequence[str] = ()) -> list[str]:
    return [f"{hit.law} {hit.article}" for hit in memory.search(question, top=max(KS), earlier=earlier)]


def quality(args: argparse.Namespace, pack: Pack, work: Path) -> tuple[dict[str, dict], dict[str, dict], float]:
    """Summaries of ours and of rank_bm25 by set of questions, and the ratio of their times per search."""
    terms = WordTerms()
    build(args.sources, work / "law", pack, terms=terms)
    memory = LawIndex.open(work)
    sets = {"decisions": from_decisions(args.questions), "pack": from_pack(pack, memory)}
    folds = range(1 if args.quick else FOLDS)
    sets = {
        name: [q for q in rows if fold(q.name) in folds][: 50 if args.quick else None] for name, rows in sets.items()
    }
    ours: dict[str, list[int]] = {}
    for number in folds:
        tell(f"fold {number}")
        build(args.sources, work / "law", pack, terms=terms, without=lambda name, n=number: fold(name) == n)
        memory = LawIndex.open(work)
        for name, rows in sets.items():
            places = [rank_of(q, names(memory, q.question, q.earlier)) for q in rows if fold(q.name) == number]
            for part in (name, f"{name}, untouched") if number in UNTOUCHED else (name,):
                ours.setdefault(part, []).extend(places)
    tell("rank_bm25")
    articles = {f"{hit.law} {hit.article}": hit.text for hit in everything(memory)}
    plain = BM25Okapi([bigrams(f"{name} {text}") for name, text in articles.items()])
    quick = inverted(plain)
    listed = list(articles)

    def baseline(question: str, scores: Callable[[list[str]], np.ndarray] = plain.get_scores) -> list[str]:
        return [listed[at] for at in scores(bigrams(question)).argsort()[::-1][: max(KS)]]

    theirs = {name: [rank_of(q, baseline(q.question, quick)) for q in rows] for name, rows in sets.items()}
    asked = [q.question for rows in sets.values() for q in rows[:20]]
    assert all(np.allclose(quick(bigrams(q)), plain.get_scores(bigrams(q))) for q in asked[::10])
    ratio = timed(baseline, asked)[0] / timed(lambda q: names(memory, q), asked)[0]
    return {n: summary(p) for n, p in ours.items()}, {n: summary(p) for n, p in theirs.items()}, ratio


def inverted(plain: BM25Okapi) -> Callable[[list[str]], np.ndarray]:
    """The scores of rank_bm25 for the terms of a question, from lists of the articles that have each term."""
    lists: dict[str, list[tuple[int, int]]] = {}
    for number, counts in enumerate(plain.doc_freqs):
        for term, count in counts.items():
            lists.setdefault(term, []).append((number, count))
    arrays = {term: np.array(found).T for term, found in lists.items()}
    norm = plain.k1 * (1 - plain.b + plain.b * np.array(plain.doc_len) / plain.avgdl)

    def scores(terms: list[str]) -> np.ndarray:
        found = np.zeros(len(norm))
        for term in terms:
            if term in arrays:
                at, counts = arrays[term]
                found[at] += plain.idf[term] * counts * (plain.k1 + 1) / (counts + norm[at])
        return found

    return scores


def dated(sources: Sequence[Path], memory: LawIndex) -> dict[str, list[float] | int]:
    """The share of questions about a day that are answered with the right version, as [share, low, high]."""
    lines = [line for source in sources if source.suffix == ".jsonl" for line in source.read_text("utf-8").splitlines()]
    known = [
        (law["law"], row)
        for law in map(json.loads, lines)
        for row in law["articles"]
        if (hit := memory.article(law["law"], row["article"])) and (hit.text or not row["current"])
    ]
    random.Random(3).shuffle(known)
    right, kinds, draw = 0, {"in force": [0, 0], "not in force": [0, 0]}, random.Random(5)
    asked = 0
    for law, row in known:
        number = memory.article(law, row["article"])
        day = _day(row, draw, inside=asked % 2 == 0)
        if not day or number is None:
            continue
        asked += 1
        valid = row["first"] <= day and (row["current"] or day <= row["last"])
        question = draw.choice(DATED).format(day=day, name=f"{law} {written(row['article'])}", year=day[:4])
        told = asked_day([question], memory.today).day
        hits = memory.search(question, told, top=3)
        first = bool(hits) and (hits[0].law, hits[0].article) == (law, row["article"])
        marks = [f"{int(y):04d}-{int(m):02d}-{int(d):02d}" for y, m, d in AMENDED.findall(number.text)]
        honest = not (first and max(marks, default="") > told and not hits[0].note)
        good = told == day and first == (valid and bool(number.text)) and honest
        right += good
        kinds["in force" if valid else "not in force"][0] += good
        kinds["in force" if valid else "not in force"][1] += 1
        if asked == DATES:
            break
    table: dict[str, list[float] | int] = {"right": interval(right, asked) if asked else [], "n": asked}
    return table | {name: interval(*cell) for name, cell in kinds.items() if cell[1]}


def _day(row: dict, draw: random.Random, *, inside: bool) -> str:
    """A day on which the article was in force, or was not; empty if there is no such day to ask about."""
    first, last = date.fromisoformat(row["first"]), date.fromisoformat(row["last"])
    today = date.today()
    if inside:
        end = min(today, last) if not row["current"] else today
        return (first + timedelta(days=draw.randrange((end - first).days + 1))).isoformat() if end >= first else ""
    before, after = (first.year > 1990), (not row["current"] and last < today - timedelta(days=2))
    if after and (not before or draw.random() < 0.5):
        return (last + timedelta(days=1 + draw.randrange((today - last).days - 1))).isoformat()
    return (first - timedelta(days=1 + draw.randrange(1500))).isoformat() if before else ""


def everything(memory: LawIndex) -> list:
    """Every article in force that has a text."""
    found = [memory.article(law, number) for law, rows in memory.statutes.laws.items() for number in rows]
    return [hit for hit in found if hit and hit.text]


def timed(
    search: Callable[[str], list[str]], questions: Sequence[str], clock: Callable[[], float] = time.perf_counter
) -> tuple[float, float]:
    """(median, 95th percentile) of the seconds of one search, after a first one."""
    search(questions[0])
    spent = []
    for question in questions:
        start = clock()
        search(question)
        spent.append(clock() - start)
    return statistics.median(spent), sorted(spent)[int(0.95 * (len(spent) - 1))]


def replicate(source: Path, out: Path, articles: int) -> int:
    """Copies of the statutes under other names, until there are so many articles."""
    files = [file for file in sorted(source.rglob("*.md")) if "\n시행일자:" in file.read_text(encoding="utf-8")]
    count = copy = 0
    while count < articles:
        for file in files:
            text = file.read_text(encoding="utf-8")
            text = re.sub(r"^제목: (.*)$", rf"제목: \1 제{copy}호", text, count=1, flags=re.MULTILINE)
            target = out / f"{copy}" / file.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
            count += text.count("\n##### 제")
        copy += 1
    return count


def build_alone(sources: list[Path], out: Path, pack: str) -> tuple[float, float, float]:
    """(seconds, CPU seconds, peak gigabytes) of a build in this process, which does nothing else."""
    start = time.perf_counter()
    build(sources, out, Pack.load(pack))
    used = resource.getrusage(resource.RUSAGE_SELF)
    return time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 1e6


def open_alone(folder: Path) -> float:
    """Seconds to open a memory and search it once, with the analyser, in this process, which has done nothing else."""
    start = time.perf_counter()
    LawIndex.open(folder).search("합병에 반대하는 주주의 주식매수청구권")
    return time.perf_counter() - start


def scale(args: argparse.Namespace, work: Path) -> dict[str, float]:
    """A memory of many articles: what it costs to build, to open and to search."""
    tell(f"a memory of {args.articles:,} articles")
    folder = next(source for source in args.sources if source.is_dir())
    articles = replicate(folder, work / "copies", args.articles)
    rest = [source for source in args.sources if source != folder and source.suffix != ".jsonl"]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        seconds, worked, peak = pool.apply(build_alone, ([work / "copies", *rest], work / "law", args.pack))
    shutil.rmtree(work / "copies")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        opened = pool.apply(open_alone, (work,))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        packs = pool.apply(open_alone, (Pack.load(args.pack).root,))
    memory = LawIndex.open(work)
    asked = [q.question for q in from_decisions(args.questions)][:200]
    median, slow = timed(lambda q: names(memory, q), asked)
    busy, most = timed(lambda q: names(memory, q), asked, time.process_time)
    size = sum(path.stat().st_size for path in (work / "law").rglob("*") if path.is_file())
    return {
        "articles": articles,
        "build_s": round(seconds, 1),
        "build_cpu_s": round(worked, 1),
        "build_peak_gb": round(peak, 3),
        "disk_gb": round(size / 1e9, 3),
        "open_and_first_search_s": round(opened, 2),
        "open_and_first_search_of_the_pack_s": round(packs, 2),
        "search_ms_p50": round(1000 * median, 1),
        "search_ms_p95": round(1000 * slow, 1),
        "search_cpu_ms_p50": round(1000 * busy, 1),
        "search_cpu_ms_p95": round(1000 * most, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--sources", type=Path, nargs="+", required=True, help="as for mnatune law build; statutes first"
    )
    parser.add_argument("--questions", type=Path, required=True, help="questions from decisions (JSON Lines)")
    parser.add_argument("--articles", type=int, default=0, help="size of the large memory; 0: none")
    parser.add_argument("--pack", default="mna_ko")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        pack = Pack.load(args.pack)
        for name in ("citations.yaml", "glossary.jsonl"):
            shutil.copy(pack.path(name), work / name)
        ours, theirs, ratio = quality(args, pack, work)
        tell("questions about a day")
        dates = dated(args.sources, LawIndex.open(work))
        large = scale(args, work) if args.articles and not args.quick else {}
    print(f"{'questions':<22} {'search':<8} {'hit@1':>7} {'hit@5':>7} {'hit@10':>7} {'MRR':>7} {'n':>5}")
    for label, table in (("mnatune", ours), ("bigrams", theirs)):
        for name, row in table.items():
            values = " ".join(f"{row[key][0]:>7.3f}" for key in ("hit@1", "hit@5", "hit@10", "mrr"))
            print(f"{name:<22} {label:<8} {values} {row['n']:>5}")
    if dates["n"]:
        print(f"the right version on a day: {dates['right'][0]:.1%} of {dates['n']}")
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    result = {
        "bench": "law",
        "commit": commit.stdout.strip(),
        "device": "CPU",
        "ratio": {"rank_bm25": round(ratio, 2)},
        "ours": {"quality": ours, "date": dates, "scale": large},
        "baseline": {"quality": theirs},
    }
    print(json.dumps(result, ensure_ascii=False))


if __name__ == "__main__":
    main()
