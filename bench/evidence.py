"""Does a wrong citation leave the server unmarked, and does a right one stay as it is?

    python bench/evidence.py [--answers 1000] [--quick]

The pack's own answers, which cite rightly, are served with evidence by an engine that recites them; a part of their
citations is made wrong first: articles and paragraphs that do not exist. Asked to mend a sentence, the engine gives the right
one half of the time. Beside it stand the same answers as served without evidence. `ratio` is the share of invalid citations
that left unmarked, ours over theirs. `untouched`: right citations that came out as they were (Wilson interval, 95 %).

Does not: show how a real model cites, or how long repair takes with one.
"""

import argparse
import asyncio
import json
import random
import re
import subprocess

from mnatune.law.support import SENTENCE_END, check_citations
from mnatune.model.engine.echo import EchoEngine
from mnatune.model.engine.protocol import Sampling, Task
from mnatune.model.prompt import dialogue
from mnatune.pack import Pack
from mnatune.runs.workspace import read_jsonl
from mnatune.service.evidence import LawEvidence
from mnatune.service.repair import CheckedPieces, GroundedEngine
from mnatune.stages.evaluate.statistics import wilson

WRONG = 0.3  # of the citations
ARTICLE = re.compile(r"제\d+조(?:의\d+)?")
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
            for one in check_citations(law.memory, said, day=evidence.day, question=row["question"]):
                if one.verdict == "invalid":
                    counts[name][0] += 1
                    counts[name][1] += not MARKED.match(said, one.end)
        told = [mark for mark in stream.pieces.citations if mark["verdict"] == "valid"]
        counts["right"][0] += len(told)
        counts["right"][1] += sum(not mark["struck"] for mark in told)
    await asyncio.gather(*kept)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=int, default=1000)
    parser.add_argument("--pack", default="mna_ko")
    parser.add_argument("--quick", action="store_true", help="fifty answers")
    args = parser.parse_args()
    pack = Pack.load(args.pack)
    law = LawEvidence.of(pack)
    counts = asyncio.run(serve(read_jsonl(pack.path("qa.jsonl")), 50 if args.quick else args.answers, law))
    (invalid, unmarked), (wrong, plain), (right, untouched) = counts["ours"], counts["plain"], counts["right"]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    result = {
        "bench": "evidence",
        "commit": commit.stdout.strip(),
        "device": "CPU",
        "ratio": {"plain": round((unmarked / max(1, invalid)) / (plain / max(1, wrong)), 4)},
        "ours": {"invalid": invalid, "unmarked": unmarked, "right": right, "untouched": [round(x, 4) for x in (untouched / right, *wilson(untouched / right, right))]},
        "baseline": {"invalid": wrong, "unmarked": plain},
    }  # fmt: skip
    print(json.dumps(result, ensure_ascii=False))


if __name__ == "__main__":
    main()
