"""Does a model cite better with articles before it, and is one that was trained so better than one trained without?

    python bench/evidence_training.py --out FOLDER [--model starter] [--max-length 1024] [--epochs 3] [--rows N] [--items 400]
                                       [--asked N] [--untrained] [--split test] [--quick]

The pack's own questions are read, judged and composed with `compose.evidence: 1`. Of the train and valid rows those that
got passages are kept, and make two data sets: as composed ("evidence"), and the same rows with their own question and
answer ("closed"). With `--asked`, both get so many of the pack's questions by article too, answered by rule. One adapter is trained on each, with the same settings, steps and, but for the rows that lack the right
article, the same answer tokens, which alone carry loss; the prompts of one are longer. Both and the untrained base are
then asked the held-out questions as `evaluate` does: without articles, with those that the search finds (it may not use
held-out questions), and with the right ones taken out. `ratio`: citation F1 of the evidence-trained model with articles over
that of the closed-book one without, and over that of the closed-book one with articles.

With `--untrained` only the base is asked, and `ratio` is with articles over without. Every part is kept in FOLDER: the same
command goes on where it was stopped. `--quick` takes 24 rows and 8 questions.
"""

import argparse
import json
import math
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from asked_articles import asked_rows, cited_in

from mnatune.model.engine.local import open_engine
from mnatune.model.evidence_prompt import without_passages
from mnatune.model.load import load_tokenizer
from mnatune.pack import Pack
from mnatune.runs.job import Job
from mnatune.runs.journey import perform
from mnatune.runs.recipe import Recipe
from mnatune.runs.workspace import Run, Stage, read_jsonl, value_hash, write_jsonl
from mnatune.stages.evaluate.backends import LocalSide
from mnatune.stages.evaluate.examine import Examined, examine
from mnatune.stages.evaluate.items import held_out
from mnatune.stages.evaluate.measures import Pair, Yardstick
from mnatune.stages.evaluate.open_book import OpenBook
from mnatune.stages.evaluate.statistics import Comparison, Estimate, compare_paired
from mnatune.stages.train import train
from mnatune.stages.train.token_rows import load_rows

UNTRAINED = 0.01  # of the rows: evaluation asks with articles where any row has them
Column = dict[str, Pair]  # by question
KINDS = ("closed", "evidence")
OURS = (("evidence", "evidence_f1"), ("closed", "closed_f1"), ("closed", "evidence_f1"))
CONTRASTS = {
    "evidence-trained with articles - closed-book without": OURS[:2],
    "evidence-trained - closed-book, both with articles": (OURS[0], OURS[2]),
    "base, with articles - without": (("base", "evidence_f1"), ("base", "closed_f1")),
}
PREPARED = ("read", "curate", "judge", "compose")


def recipe_of(args: argparse.Namespace) -> Recipe:
    """The quickstart's training on the pack's own questions, long enough for passages."""
    train_keys = {
        "r": args.rank,
        "alpha": 2 * args.rank,
        "dropout": 0.0,
        "epochs": args.epochs,
        "learning_rate": args.learning_rate,
    }
    return Recipe.model_validate(
        {
            "name": "evidence training",
            "model": {"id": args.model, "max_length": args.max_length},
            "read": {"sources": [{"kind": "qa", "path": "pack:qa", "name": "mna-qa"}]},
            "judge": {"keep_above": 0, "always_keep": ["mna-qa"]},
            "compose": {"evidence": UNTRAINED if args.untrained else 1.0, "splits": [0.7, 0.1, 0.2]},
            "train": {**train_keys, "rows_per_step": 8, "max_grad_norm": 1.0},
            "generation": {"repetition_penalty": args.penalty, "max_new_tokens": args.new_tokens},
            "evaluate": {"items": 8 if args.quick else args.items},
        }
    )


def composed(
    run: Run, source: Path, kind: str, rows: int | None, split: str, asked: Sequence[dict[str, Any]] = ()
) -> None:
    """The rows of a data set, written as `compose` writes them."""

    def work(place: Stage) -> None:
        for name in ("train", "valid", "test"):
            kept = read_jsonl(source / f"{split if name == 'test' else name}.jsonl")
            if name != "test":
                kept = [row for row in kept if "evidence" in row][: rows if name == "train" else 8]
                kept += asked if name == "train" else []
            if kind == "closed":
                kept = [
                    {key: value for key, value in row.items() if key != "evidence"}
                    | {"messages": without_passages(row)}
                    for row in kept
                ]
            write_jsonl(place.path(f"{name}.jsonl"), kept)

    run.perform("compose", {}, {"rows": value_hash([rows, kind, split, *asked])}, 42, "", work)


def prepare(recipe: Recipe, home: Run) -> None:
    """Read, curate, judge and compose the pack's questions."""
    for stage in PREPARED:
        perform(stage, recipe, home)


def held_out_rows(home: Run) -> list[dict[str, Any]]:
    """The validation and test rows."""
    return [row for name in ("valid", "test") for row in read_jsonl(home.require("compose", f"{name}.jsonl"))]


def trained(recipe: Recipe, pack: Pack, run: Run) -> dict[str, Any]:
    """Train on a data set; what was trained on and how long it took."""
    start = time.perf_counter()
    section, rows_of = recipe.train.model_dump(mode="json"), run.output_hashes("compose")
    run.perform("train", section, rows_of, 42, "", lambda place: train(Job(recipe, pack, run, place)))
    rows = load_rows(
        run.folder("compose") / "train.jsonl", load_tokenizer(recipe.model.id), recipe.model.max_length
    ).examples
    return {
        "rows": len(rows),
        "tokens_per_epoch": sum(map(len, rows)),
        "answer_tokens_per_epoch": sum(len(row.completion) for row in rows),
        "seconds": round(time.perf_counter() - start),
    }


def asked(
    recipe: Recipe, pack: Pack, runs: dict[str, Run], questions: Run, place: Stage, *, found_only: bool
) -> tuple[dict[str, Examined], OpenBook]:
    """What the base and the trained models answered, each in all three ways, and the open book."""
    import torch

    job = Job(recipe, pack, questions, place)
    items, yardstick = held_out(job), Yardstick(pack)
    book = OpenBook.prepared(job, items)
    assert book
    if found_only:
        book.questions = [replace(one, others=()) for one in book.questions]
    wanted = {one.item.id for one in book.questions}
    adapters = {kind: run.require("train", "adapter") for kind, run in runs.items() if run.folder("train").is_dir()}
    examined = {}
    with open_engine(recipe.model.id, adapters) as engine:
        engine.loaded.causal.to(torch.bfloat16)  # as in training; twice as fast on a CPU that has it
        engine.loaded.context = min(engine.loaded.context, recipe.model.max_length)
        for name in ("base", *adapters):
            side = LocalSide(engine, name, name)
            examined[name] = examine(job, side, [item for item in items if item.id in wanted], yardstick)
            book.ask(job, name, side, examined[name], yardstick)
    write_jsonl(place.path("open_book.jsonl"), book.rows())
    return examined, book


def compared(book: OpenBook, first: Column, second: Column) -> Comparison:
    """Two measures of one metric on the questions that have both."""
    found = [
        (one.item.group, first[one.item.id], second[one.item.id])
        for one in book.questions
        if one.item.id in first and one.item.id in second
    ]
    return compare_paired(
        np.array([a for _, a, _ in found]), np.array([b for *_, b in found]), [group for group, *_ in found]
    )


def columns(examined: dict[str, Examined]) -> dict[tuple[str, str], Column]:
    """By model and metric, what each question measures."""
    made: dict[tuple[str, str], Column] = {}
    for model, one in examined.items():
        for question, pairs in one.pairs.items():
            for metric, pair in pairs.items():
                made.setdefault((model, metric), {})[question] = pair
    return made


def told(estimate: Estimate) -> dict[str, Any]:
    """An estimate in percent; None where nothing was cited."""
    found = (estimate.value, estimate.low, estimate.high)
    value, low, high = (None if one is None or math.isnan(one) else round(100 * one, 1) for one in found)
    return {"value": value, "low": low, "high": high, "n": estimate.n}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--max-length", type=int, default=1024)
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--penalty", type=float, default=1.2, help="repetition penalty, as in `generation`")
    parser.add_argument("--split", default="test", help="valid while settings are chosen")
    parser.add_argument("--rows", type=int, help="training rows at most; all without it")
    parser.add_argument("--asked", type=int, default=0, help="questions by article beside them")
    parser.add_argument("--items", type=int, default=400, help="held-out questions at most")
    parser.add_argument("--new-tokens", type=int, default=192)
    parser.add_argument("--found-only", action="store_true", help="do not ask without the right articles")
    parser.add_argument("--untrained", action="store_true", help="ask the base only")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    recipe, pack = recipe_of(args), Pack.load("mna_ko")
    home = Run(args.out / "home")
    prepare(recipe, home)
    asked_too = asked_rows(pack, recipe, args.asked, cited_in(held_out_rows(home), pack)) if args.asked else []
    runs = {kind: Run(args.out / kind) for kind in KINDS}
    facts = {}
    for kind, run in runs.items():
        composed(run, home.folder("compose"), kind, 24 if args.quick else args.rows, "test", asked_too)
        if not args.untrained:
            facts[kind] = trained(recipe, pack, run)
            print(f"{kind}: {facts[kind]}", flush=True)
    questions = Run(args.out / f"asked-{args.split}")
    composed(questions, home.folder("compose"), "closed", None, args.split)
    known = home.manifest("compose") if args.untrained else runs["evidence"].manifest("train")
    place = Stage(args.out / f"answers-{args.split}", known)
    examined, book = asked(recipe, pack, runs, questions, place, found_only=args.found_only)
    made = columns(examined)
    metrics: dict[str, dict[str, Any]] = {}
    for (model, metric), column in made.items():
        if metric.startswith(("closed_", "evidence_")) or metric in ("abstention", "needless_abstention", "repetition"):
            metrics.setdefault(metric, {})[model] = told(compared(book, column, column).base)
    contrasts = {
        name: told(compared(book, made[first], made[second]).difference)
        for name, (second, first) in CONTRASTS.items()
        if first in made and second in made
    }
    for metric, by_model in metrics.items():
        cells = [f"{model} {one['value']} ({one['low']}–{one['high']})" for model, one in by_model.items()]
        print(f"{metric:<22} {'  '.join(cells)}")
    f1 = {key: compared(book, column, column).base.value for key, column in made.items() if key[1].endswith("_f1")}
    ours, *others = CONTRASTS["base, with articles - without"] if args.untrained else OURS
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    result = {
        "bench": "evidence_training",
        "commit": commit.stdout.strip(),
        "device": "CPU",
        "ratio": {" ".join(other): round(f1[ours] / f1[other], 2) if f1[other] else None for other in others},
        "ours": {"model": args.model, "epochs": args.epochs, "training": facts, "metrics": metrics},
        "differences": contrasts,
        "search": book.facts(recipe.seed) | {"no_room": book.no_room},
    }
    print(json.dumps(result, ensure_ascii=False))


if __name__ == "__main__":
    main()
