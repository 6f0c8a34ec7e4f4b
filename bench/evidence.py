"""Does a wrong citation leave the server unmarked, does a right one stay as it is, and what does the check cost?

    python bench/evidence.py [--answers 1000] [--timed 40] [--model starter] [--adapter FOLDER] [--quick]

1. Served: the pack's own answers, which cite rightly, are served with evidence by an engine that recites them; a part of
   their citations is made wrong first: articles and paragraphs that do not exist. Asked to mend a sentence, the engine gives
   the right one half of the time. Beside it stand the same answers as served without evidence. `ratio.plain` is the share of
   invalid citations that left unmarked, ours over theirs. `untouched`: right citations that came out as they were.
2. Swapped: in sentences with one citation, another article that exists stands in its place, any of the same law or the one
   beside it. `caught` is the share that the check says the sentence cannot rest on, `untouched` the share of right citations
   that it lets pass, beside the check by shared letter pairs that was in use before. Only answers whose half was not used
   to choose the threshold; the pack's questions are hidden from the search.
3. Timed: a real local engine answers with the same passages, plainly and checked in turn. `ratio.unchecked` is the median
   time of a checked answer over that of a plain one.

Intervals are Wilson's, 95 %. Does not: show how a real model cites.
"""

import argparse
import asyncio
import hashlib
import json
import random
import re
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from mnatune.law import LawIndex
from mnatune.law.article_numbers import written
from mnatune.law.support import SENTENCE_END, WORD, check_citations, contradicts, shared
from mnatune.model.engine.echo import EchoEngine
from mnatune.model.engine.local import open_engine
from mnatune.model.engine.protocol import Engine, Sampling, Stream, Task
from mnatune.model.engine.refusals import Refusal
from mnatune.model.evidence_prompt import PASSAGE_LENGTHS, EvidenceWords
from mnatune.model.prompt import dialogue
from mnatune.pack import Pack
from mnatune.runs.workspace import read_jsonl
from mnatune.service.evidence import Evidence, LawEvidence, passages
from mnatune.service.repair import CheckedPieces, GroundedEngine
from mnatune.stages.evaluate.statistics import wilson

WRONG = 0.3  # of the citations
ARTICLE = re.compile(r"제\d+조(?:의\d+)?")
SWAPS = 3  # articles of the same law that are put in a citation's place
OVERLAP = 0.07  # of a sentence's letter pairs: the check before
MARKED = re.compile(r"(?:~~)?\(없는 [조항]")


def spoilt(text: str, law: LawEvidence, rng: random.Random) -> tuple[str, dict[str, str]]:
    """The answer with some citations made wrong, and each spoilt sentence's right wording."""
    assert law.memory
    made, right = "", {}
    ends = [*(match.end() for match in SENTENCE_END.finditer(text)), len(text)]
    begin = 0
    for end in ends:
        sentence = text[begin:end]
        wrong = sentence
        for one in reversed(law.memory.checker.find(sentence)):
            if one.verdict == "valid" and rng.random() < WRONG:
                cited = sentence[one.start : one.end]
                other = (
                    ARTICLE.sub(f"제{rng.randrange(5000, 9000)}조", cited, count=1)
                    if rng.random() < 0.7
                    else cited + " 제88항"
                )
                wrong = wrong[: one.start] + other + wrong[one.end :]
        if wrong != sentence:
            right[wrong.strip()] = sentence.strip()
        made, begin = made + wrong, end
    return made, right


async def serve(rows: list[dict[str, str]], answers: int, law: LawEvidence) -> dict[str, list[int]]:
    """Counts as [invalid, unmarked] of ours and of the plain answers, and [right, untouched]."""
    rng, kept = random.Random(11), []
    counts = {"ours": [0, 0], "plain": [0, 0], "right": [0, 0]}
    assert law.memory
    for at in range(answers):
        row = rows[at % len(rows)]
        text, right = spoilt(row["answer"], law, rng)
        mends = rng.random() < 0.5

        def reply(task: Task, text: str = text, right: dict[str, str] = right, mends: bool = mends) -> str:
            asked = task.messages[-1]["content"]
            if "고칠 문장" not in asked:
                return text
            return next((good for bad, good in right.items() if bad in asked), "") if mends else ""

        grounded = GroundedEngine(
            EchoEngine(("m",), reply=reply), law, lambda work: kept.append(asyncio.ensure_future(work))
        )
        messages = dialogue(row["question"], "")
        evidence = await law.gather(messages)
        stream, _ = await grounded.open(Task("m", Sampling(), messages), evidence)
        sent = "".join([piece.text async for piece in stream.pieces])
        assert isinstance(stream.pieces, CheckedPieces)
        for name, said in (("ours", sent), ("plain", text)):
            for one in law.memory.checker.on(evidence.day).find(said):
                if one.verdict == "invalid":
                    counts[name][0] += 1
                    counts[name][1] += not MARKED.match(said, one.end)
        told = [mark for mark in stream.pieces.citations if mark["verdict"] == "valid"]
        counts["right"][0] += len(told)
        counts["right"][1] += sum(not mark["struck"] for mark in told)
    await asyncio.gather(*kept)
    return counts


def held_back(row: dict[str, str]) -> bool:
    """Whether an answer is of the half that the threshold was not chosen on."""
    return int(hashlib.md5(row["question"].encode()).hexdigest(), 16) % 2 == 1


def swaps(rows: list[dict[str, str]], memory: LawIndex) -> Iterator[tuple[str, str, str, str]]:
    """(how, question, sentence, claim) of sentences with one citation: "right", "same_law" or "neighbour" put in its place."""
    rng = random.Random(5)
    texts = {law: [n for n in numbers if _has_text(memory, law, n)] for law, numbers in memory.statutes.laws.items()}
    for row in filter(held_back, rows):
        text = row["answer"]
        found = memory.checker.on(memory.as_of).find(text)
        for begin, end in pairwise([0, *(match.end() for match in SENTENCE_END.finditer(text)), len(text)]):
            cited = [one for one in found if begin < one.end <= end]
            if len(cited) != 1 or cited[0].verdict != "valid" or cited[0].article not in texts.get(cited[0].law, ()):
                continue
            (one,) = cited
            before, after, numbers = text[begin : max(begin, one.start)], text[one.end : end], texts[one.law]
            at = numbers.index(one.article)
            near = [numbers[place] for place in (at - 1, at + 1) if 0 <= place < len(numbers)]
            others = [number for number in numbers if number != one.article]
            if not others:
                continue
            chosen = [("right", one.article), ("neighbour", rng.choice(near))]
            chosen += [("same_law", rng.choice(others)) for _ in range(SWAPS)]
            for how, number in chosen:
                yield how, row["question"], f"{before}{one.law} {written(number)}{after}", f"{before} {after}"


def _has_text(memory: LawIndex, law: str, number: str) -> bool:
    hit = memory.article(law, number, at=memory.as_of)
    return bool(hit and hit.text and not hit.note)


def told_apart(rows: list[dict[str, str]], memory: LawIndex) -> dict[str, dict[str, list[float]]]:
    """By check, and by what was put in a citation's place: the share that is called unsupported."""
    hidden = [row["question"] for row in rows]
    seen: dict[str, dict[str, list[bool]]] = {"ours": {}, "overlap": {}}
    for how, question, sentence, claim in swaps(rows, memory):
        checked = check_citations(memory, sentence, day=memory.as_of, question=question, hidden=hidden)
        if len(checked) != 1 or checked[0].support == "unchecked":
            continue
        hit = memory.article(checked[0].law, checked[0].article, at=memory.as_of)
        assert hit
        pairs = len({word[at : at + 2] for word in WORD.findall(claim) for at in range(len(word) - 1)})
        apart = pairs >= 10 and shared(claim, [hit]) < OVERLAP * pairs
        seen["ours"].setdefault(how, []).append(checked[0].support == "unsupported")
        seen["overlap"].setdefault(how, []).append(apart or contradicts(claim, [hit], question))
    return {check: {how: _rate(told) for how, told in by.items()} for check, by in seen.items()}


def _rate(told: list[bool]) -> list[float]:
    share = sum(told) / len(told)
    return [*(round(x, 4) for x in (share, *wilson(share, len(told)))), len(told)]


async def unchecked(engine: Engine, task: Task, evidence: Evidence, words: EvidenceWords) -> Stream:
    """The answer with the passages that the context takes, as the engine gives it."""
    quoting = replace(task.sampling, quoting=True)
    for longest in PASSAGE_LENGTHS:
        with suppress(Refusal):
            shown = words.dialogue(task.messages, passages(evidence.hits, evidence), longest)
            return await engine.open(replace(task, messages=shown, sampling=quoting))
    return await engine.open(task)


async def timed(engine: Engine, name: str, questions: list[str], law: LawEvidence) -> dict[str, Any]:
    """Seconds of plain and of checked answers to the same prompts, in turn."""
    assert law.words
    kept: list[asyncio.Future[None]] = []
    grounded = GroundedEngine(engine, law, lambda work: kept.append(asyncio.ensure_future(work)))
    seconds: dict[str, list[float]] = {"plain": [], "checked": []}
    citations = rewritten = 0
    await engine.start()
    await law.warm()
    for at, question in enumerate(questions):
        task = Task(name, Sampling(temperature=0, max_tokens=192), dialogue(question, ""))
        evidence = await law.gather(task.messages)
        for way in ("plain", "checked") if at % 2 else ("checked", "plain"):
            start = time.perf_counter()
            if way == "plain":
                stream = await unchecked(engine, task, evidence, law.words)
            else:
                stream, _ = await grounded.open(task, evidence)
            async for _ in stream.pieces:
                pass
            seconds[way].append(time.perf_counter() - start)
            if isinstance(stream.pieces, CheckedPieces):
                citations += len(stream.pieces.citations)
                rewritten += stream.pieces.rewritten
    await asyncio.gather(*kept)
    await engine.stop()
    medians = {way: round(statistics.median(taken), 3) for way, taken in seconds.items()}
    return {"answers": len(questions), "citations": citations, "rewritten": rewritten, "median_seconds": medians}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=int, default=1000)
    parser.add_argument("--timed", type=int, default=40, help="answers of the real engine")
    parser.add_argument("--model", default="starter")
    parser.add_argument("--adapter", type=Path)
    parser.add_argument("--pack", default="mna_ko")
    parser.add_argument("--quick", action="store_true", help="fifty answers, ten of them timed")
    args = parser.parse_args()
    pack = Pack.load(args.pack)
    law, rows = LawEvidence.of(pack), read_jsonl(pack.path("qa.jsonl"))
    assert law.memory
    counts = asyncio.run(serve(rows, 50 if args.quick else args.answers, law))
    (invalid, unmarked), (wrong, plain), (right, untouched) = counts["ours"], counts["plain"], counts["right"]
    swapped = told_apart(rows[::20] if args.quick else rows, law.memory)
    number = 10 if args.quick else args.timed
    asked = [row["question"] for row in random.Random(3).sample(rows, 4 * number) if len(row["question"]) < 120][
        :number
    ]
    with open_engine(args.model, {"tuned": args.adapter} if args.adapter else {}) as engine:
        latency = asyncio.run(timed(engine, "tuned" if args.adapter else "base", asked, law))
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    taken = latency["median_seconds"]
    share = untouched / right
    result = {
        "bench": "evidence",
        "commit": commit.stdout.strip(),
        "device": "CPU",
        "ratio": {
            "plain": round((unmarked / max(1, invalid)) / (plain / max(1, wrong)), 4),
            "unchecked": round(taken["checked"] / taken["plain"], 3),
        },
        "ours": {
            "served": {"invalid": invalid, "unmarked": unmarked, "right": right,
                       "untouched": [round(x, 4) for x in (share, *wilson(share, right))]},
            "unsupported": swapped["ours"],
            "latency": latency,
        },
        "baseline": {"served": {"invalid": wrong, "unmarked": plain}, "unsupported": swapped["overlap"]},
    }  # fmt: skip
    print(json.dumps(result, ensure_ascii=False))


if __name__ == "__main__":
    main()
