"""Facts of the statutes, asked closed-book after distillation, against plain fine-tuning on the same passages.

    python bench/distill.py --out FOLDER [--base starter] [--facts 200] [--epochs 12] [--rate 3e-3] [--general 0.1] [--reader ROWS]
                            [--arms passages views] [--teacher] [--quick]

A fact is an article of the pack's law memory that states one period or share; the test asks for it in a wording that no
training row has, without the passage, and an answer is right if it gives that value, in 32 tokens. Facts that the base answers right are
left out: all others are unknown to it. Three adapters are trained for the same number of tokens, prompt and answer, with the
same settings: `passages` writes the article's text from its name, `views` learns the questions and answers that
`synthesize` makes of the passages by their tokens, `distill` learns the same rows from the teacher that reads the passage.
`--general` of every arm's tokens are those of one half of the pack's 100 general dialogues, against forgetting. The guard is how
many tokens of the other half, on which nothing is trained, a model predicts right.

A base that cannot read has nothing to teach: `open_book` is its accuracy with the passage, and `--teacher` stops there. `--reader ROWS` first trains the base
on so many questions about articles of other laws with their passage, in which the value is replaced by another number each time,
so that it can only be read; merges that into it, and takes the result as the base of all that follows. `ratio`: closed-book accuracy of `distill` over each of the others. Intervals: 95 %, paired, by fact.

Every part is kept in FOLDER: the same command goes on where it was stopped.
"""

import argparse
import json
import platform
import random
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from mnatune.law.article_numbers import written
from mnatune.model.engine.local import open_engine
from mnatune.model.engine.protocol import Answer, Engine, Sampling, Task
from mnatune.model.evidence_prompt import EvidenceWords, NumberedPassage
from mnatune.model.export.merged import merge
from mnatune.model.export.subject import Subject
from mnatune.model.load import load_tokenizer
from mnatune.model.prompt import dialogue, examples
from mnatune.pack import Pack
from mnatune.runs.job import Job
from mnatune.runs.recipe import Recipe
from mnatune.runs.records import Document, Source, content_id
from mnatune.runs.workspace import Run, Stage, read_jsonl, value_hash, write_json, write_jsonl
from mnatune.stages.evaluate.statistics import compare_paired
from mnatune.stages.synthesize.by_rule import Made, extract
from mnatune.stages.synthesize.grounding import fault
from mnatune.stages.synthesize.passages import Passage, passages
from mnatune.stages.synthesize.views import views
from mnatune.stages.train import train
from mnatune.text.values import Value, values

ARMS = ("distill", "passages", "views")
TAUGHT = (
    "상법", "민법", "자본시장과 금융투자업에 관한 법률", "독점규제 및 공정거래에 관한 법률",
    "채무자 회생 및 파산에 관한 법률",
)  # fmt: skip
LONGEST = 420  # characters of a passage
VIEWS = 5  # rows for each passage, at most
ASKED = {
    "deadline": "{where} 규정이 정한 기한을 숫자와 단위로 답하십시오.",
    "share": "{where} 규정이 정한 비율을 숫자로 답하십시오.",
}
CHECKED = ("period", "ratio")


@dataclass(frozen=True)
class Fact:
    """A value that an article states, and how it is asked for."""

    question: str
    value: Value
    passage: Passage
    rows: list[Made]

    @property
    def id(self) -> str:
        return self.passage.id

    def shown(self) -> NumberedPassage:
        return NumberedPassage(self.passage.title, self.passage.document.in_force or "시행 중", self.passage.text)


def facts(pack: Pack, laws: set[str] | None, seed: int) -> Iterator[Fact]:
    """Facts of the law memory in random order, one for an article; without `laws` those of all others than TAUGHT."""
    rows = pq.read_table(pack.path("law/articles.parquet")).to_pylist()
    rows = [r for r in rows if r["text"] and not r["last"] and (r["law"] in laws if laws else r["law"] not in TAUGHT)]
    random.Random(seed).shuffle(rows)
    for row in rows:
        title = f"{row['law']} {written(row['number'])} ({row['title']})"
        document = Document(content_id(title), title, row["text"], title, Source("law"), row["since"] or "")
        if len(row["text"]) > LONGEST:
            continue
        for passage in passages(document, 600, len):
            found = extract(passage, 9)
            made = next((one for one in found if one.kind in ASKED), None)
            told = [v for v in values(made.answer) if v.kind in CHECKED] if made else []
            if made is None or len({v.text for v in told}) != 1:
                continue
            where = f"{row['law']} {written(row['number'])}({row['title']})"
            kept = [
                one
                for one in (*found, *views(passage, found))
                if not fault(passage, one.question, one.answer, one.span)
            ]
            yield Fact(ASKED[made.kind].format(where=where), told[0], passage, kept[:VIEWS])
            break


def is_right(fact: Fact, answer: str) -> bool:
    """Whether the answer gives the fact's value, and not several to choose from."""
    given = {v.text for v in values(answer) if v.kind in CHECKED}
    return fact.value.text in given and len(given) <= 2


def asked(engine: Engine, model: str, prompts: Sequence[Any], tokens: int = 32) -> list[str]:
    """Greedy answers."""
    found = engine.answers([Task(model, Sampling(tokens, repetition_penalty=1.1), messages=one) for one in prompts])
    return [one.text if isinstance(one, Answer) else "" for one in found]


def accuracy(engine: Engine, model: str, pack: Pack, chosen: Sequence[Fact], *, passage: bool = False) -> list[float]:
    """1 or 0 for each fact."""
    words = EvidenceWords.of(pack.prompts)
    prompts = [
        words.dialogue(dialogue(one.question, pack.system_prompt), [one.shown()] if passage else []) for one in chosen
    ]
    answers = asked(engine, model, prompts)
    return [float(is_right(one, answer)) for one, answer in zip(chosen, answers, strict=True)]


def kept_tokens(engine: Any, model: str, tokenizer: Any, rows: Sequence[dict[str, Any]]) -> list[tuple[float, float]]:
    """Of each dialogue, answer tokens predicted right, and answer tokens."""
    found = engine.likelihoods(model, [examples(tokenizer, row["messages"])[-1] for row in rows])
    return [(float(one.hits), float(one.tokens)) for one in found]


def general_halves(pack: Pack) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The pack's general dialogues as rows: those to mix in, and those of the guard."""
    rows = [
        row_of(pack, f"general-{at}", one["question"], one["answer"], None)
        for at, one in enumerate(read_jsonl(pack.path("general.jsonl")))
    ]
    random.Random(5).shuffle(rows)
    return rows[::2], rows[1::2]


def mixed_in(
    rows: list[dict[str, Any]], general: list[dict[str, Any]], share: float, tokenizer: Any
) -> list[dict[str, Any]]:
    """The rows with copies of the general ones until these are about a share of all tokens."""
    times = round(share / (1 - share) * tokens_in(rows, tokenizer) / tokens_in(general, tokenizer))
    return [*rows, *({**one, "id": f"{one['id']}-{copy}"} for copy in range(times) for one in general)]


def row_of(pack: Pack, name: str, question: str, answer: str, fact: Fact | None, span: str = "") -> dict[str, Any]:
    """A line of train.jsonl."""
    turns = [*dialogue(question, pack.system_prompt), {"role": "assistant", "content": answer}]
    shown = fact.shown() if fact else None
    passage = {"name": shown.name, "in_force": shown.in_force, "text": shown.text, "span": span} if shown else None
    return {"id": name, "messages": turns, **({"passage": passage} if passage else {})}


def rows_of(arm: str, pack: Pack, chosen: Sequence[Fact]) -> list[dict[str, Any]]:
    """The training rows of an arm."""
    if arm == "passages":
        return [
            row_of(pack, one.id, f"{one.passage.title}의 조문을 적어 주세요.", one.passage.text, None) for one in chosen
        ]
    return [
        row_of(pack, f"{one.id}-{at}", made.question, made.answer, one if arm == "distill" else None, made.span)
        for one in chosen
        for at, made in enumerate(one.rows)
    ]


def reading_rows(pack: Pack, count: int) -> list[dict[str, Any]]:
    """Questions about articles of other laws with their passage, each time with another number in place of the value."""
    words, found, draw = EvidenceWords.of(pack.prompts), [], random.Random(3)
    others = list(facts(pack, None, 7))
    while len(found) < count:
        fact = others[len(found) % len(others)]
        value = next(v for v in values(fact.passage.text) if v.text == fact.value.text)
        raw = fact.passage.text[value.start : value.end]
        old, new = (re.findall(r"\d+", raw) or ["–"])[-1], str(draw.randrange(2, 96))
        made = draw.choice(fact.rows)
        short = (fact.question, f"{raw}입니다.")
        question, answer = short if draw.random() < 0.5 else (made.question, made.answer)

        def changed(text: str, old: str = old, new: str = new) -> str:
            return re.sub(rf"(?<![\d제]){old}(?!\d)", new, text)

        shown = fact.shown()
        shown = NumberedPassage(shown.name, shown.in_force, changed(shown.text))
        turns = words.dialogue(dialogue(question, pack.system_prompt), [shown])
        found.append({"id": str(len(found)), "messages": [*turns, {"role": "assistant", "content": changed(answer)}]})
    return found


def trained(args: argparse.Namespace, base: str, name: str, rows: list[dict[str, Any]], **train_keys: Any) -> Run:
    """A run that is trained on these rows."""
    run, pack = Run(args.out / name), Pack.load("mna_ko")

    def composed(place: Stage) -> None:
        for split, lines in (("train", rows), ("valid", []), ("test", [])):
            write_jsonl(place.path(f"{split}.jsonl"), lines)

    run.perform("compose", {}, {"rows": value_hash(rows)}, 42, "", composed)
    section = {
        "r": args.rank, "alpha": 2 * args.rank, "dropout": 0.0, "rows_per_step": 8, "learning_rate": args.rate,
        "max_grad_norm": 1.0, "log_every": 10, "checkpoint_every": 50, **train_keys,
    }  # fmt: skip
    tokenizer = load_tokenizer(base)
    longest = max(len(examples(tokenizer, row["messages"])[-1]) for row in rows)
    model = {"id": base, "max_length": longest}
    recipe = Recipe.model_validate({"name": name, "model": model, "train": section})
    manifest, _ = run.perform(
        "train", recipe.section("train", "model"), run.output_hashes("compose"), 42, "",
        lambda place: train(Job(recipe, pack, run, place)),
    )  # fmt: skip
    print(f"{name}: {manifest.facts['measured']} {manifest.facts.get('facts', '')}", flush=True)
    return run


def reader(args: argparse.Namespace, pack: Pack) -> str:
    """The base with a reading adapter merged into it."""
    folder = args.out / "reader-model"
    if not folder.is_dir():
        run = trained(args, args.base, "reader", reading_rows(pack, args.reader), epochs=args.reader_epochs)
        recipe = Recipe.model_validate({"name": "reader", "model": {"id": args.base}})
        merge(Subject("reader", run.folder("train") / "adapter", recipe), folder)
    return str(folder)


def tokens_in(rows: list[dict[str, Any]], tokenizer: Any) -> int:
    """Tokens of one pass."""
    return sum(len(examples(tokenizer, row["messages"])[-1]) for row in rows)


def unknown_facts(base: str, pack: Pack, count: int, kept: Path) -> tuple[list[Fact], dict[str, float]]:
    """Facts that the base answers wrong, and its accuracies over all that were asked; asked once, then read from `kept`."""
    pool = list(facts(pack, set(TAUGHT), 1))[: round(count * 1.3)]
    if kept.is_file():
        told = json.loads(kept.read_text(encoding="utf-8"))
        return [fact for fact in pool if fact.id in told["unknown"]], told["base"]
    with open_engine(base, {}) as engine:
        closed = accuracy(engine, "base", pack, pool)
        chosen = [fact for fact, right in zip(pool, closed, strict=True) if not right][:count]
        opened = accuracy(engine, "base", pack, chosen, passage=True)
    told = {"asked": len(pool), "closed_book": float(np.mean(closed)), "open_book": float(np.mean(opened))}
    print(f"base: {told}", flush=True)
    write_json(kept, {"unknown": [fact.id for fact in chosen], "base": told})
    return chosen, told


def arguments() -> argparse.Namespace:
    """The command line; `--quick` makes it small."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--base", default="starter")
    parser.add_argument("--facts", type=int, default=200)
    parser.add_argument("--epochs", type=float, default=12, help="of distill; the others take as many tokens")
    parser.add_argument("--general", type=float, default=0.1, help="share of the tokens that are of general dialogues")
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--arms", nargs="+", choices=ARMS[1:], default=ARMS[1:], help="what distill is held against")
    parser.add_argument("--reader", type=int, default=0, metavar="ROWS")
    parser.add_argument("--reader-epochs", type=float, default=2)
    parser.add_argument("--teacher", action="store_true", help="only ask the base, with and without the passages")
    parser.add_argument("--quick", action="store_true", help="12 facts, one epoch: shows that it runs, proves nothing")
    args = parser.parse_args()
    if args.quick:
        args.facts, args.epochs, args.reader = 12, 1, min(args.reader, 48)
    return args


def main() -> None:
    """Choose the facts, train, ask, compare, print one JSON line."""
    args = arguments()
    pack, began = Pack.load("mna_ko"), time.perf_counter()
    base = reader(args, pack) if args.reader else args.base
    tokenizer = load_tokenizer(base)
    chosen, told = unknown_facts(base, pack, args.facts, args.out / "unknown.json")
    if args.teacher:
        print(json.dumps({"bench": "distill", "facts": len(chosen), "base": told, "ratio": {"seed": None}}))
        return
    general, guarded = general_halves(pack)
    arms = ("distill", *args.arms)
    rows = {arm: mixed_in(rows_of(arm, pack, chosen), general, args.general, tokenizer) for arm in arms}
    budget = args.epochs * tokens_in(rows["distill"], tokenizer)
    runs = {}
    for arm in arms:
        taught = sum("passage" in row for row in rows[arm]) / len(rows[arm])
        keys = {"method": "distill", "options": {"unknown": taught}} if arm == "distill" else {}
        runs[arm] = trained(args, base, arm, rows[arm], epochs=budget / tokens_in(rows[arm], tokenizer), **keys)
    adapters = {arm: run.folder("train") / "adapter" for arm, run in runs.items()}
    marks, guards = {}, {}
    with open_engine(base, adapters) as engine:
        for name in ("base", *arms):
            marks[name] = accuracy(engine, name, pack, chosen)
            guards[name] = np.array(kept_tokens(engine, name, tokenizer, guarded))
    names, one = [fact.id for fact in chosen], np.ones(len(chosen))
    against = {
        arm: compare_paired(
            np.column_stack([marks[arm], one]), np.column_stack([marks["distill"], one]), names
        ).as_dict(100)
        for arm in ("base", *args.arms)
    }
    dialogues = [str(n) for n in range(len(guards["base"]))]
    lost = {arm: compare_paired(guards["base"], guards[arm], dialogues).as_dict(100) for arm in arms}
    share = {name: float(np.mean(mark)) for name, mark in marks.items()}
    for name in share:
        kept = "" if name == "base" else f"  guard {lost[name]['difference']}"
        print(f"{name:<9} closed book {share[name]:6.1%}{kept}", flush=True)
    commonest = max(sum(one.value.text == other.value.text for other in chosen) for one in chosen) / len(chosen)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    record = {
        "bench": "distill", "commit": commit, "device": f"{platform.machine()}, one thread",
        "facts": len(chosen), "rows": {arm: len(rows[arm]) for arm in arms}, "base": told, "commonest_value": commonest,
        "tokens": {arm: run.manifest("train").facts["measured"]["tokens"] for arm, run in runs.items()},
        "seconds": round(time.perf_counter() - began),
        "ratio": {"seed": None, **{n: round(share["distill"] / share[n], 3) if share[n] else None for n in args.arms}},
        "ours": {"closed_book": share["distill"], "guard": lost["distill"]},
        "baseline": {n: {"closed_book": share[n], "guard": lost.get(n)} for n in ("base", *args.arms)},
        "difference": against,
    }  # fmt: skip
    print(json.dumps(record, ensure_ascii=False))


if __name__ == "__main__":
    main()
