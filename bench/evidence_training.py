"""Is a model that was trained on questions with articles better at using articles than one trained on the same rows without?

    python bench/evidence_training.py --out FOLDER [--quick] [--model starter] [--max-length 2048] [--epochs 2]
                                       [--items 400] [--rows N]

The pack's own questions are read, judged and composed with `compose.evidence: 1`. Of the train and valid rows those that
got passages are kept, and make two data sets: as composed ("evidence"), and the same rows with their own question and
answer ("closed"). One adapter is trained on each, with the same settings, steps and, but for the rows that lack the right
article, the same answer tokens, which alone carry loss; the prompts of one are longer. Both and the untrained base are
then asked the held-out questions as `evaluate` does: without articles, with those that the search finds (it may not use
held-out questions), and with the right ones taken out. `ratio`: citation F1 with articles, evidence over closed.

Every part is kept in FOLDER: the same command goes on where it was stopped. `--quick` takes 24 rows and 8 questions.

Does not: say anything about a larger model. The starter has 9 million parameters and was trained on short texts.
"""

import argparse
import json
import subprocess
import time
from pathlib import Path
from typing import Any

from mnatune.model.engine.local import open_engine
from mnatune.model.evidence_prompt import without_passages
from mnatune.model.load import load_tokenizer
from mnatune.pack import Pack
from mnatune.runs.job import Job
from mnatune.runs.journey import perform
from mnatune.runs.recipe import Recipe
from mnatune.runs.workspace import Run, Stage, read_jsonl, value_hash, write_json, write_jsonl
from mnatune.stages.evaluate.backends import LocalSide
from mnatune.stages.evaluate.examine import examine, paired
from mnatune.stages.evaluate.items import held_out
from mnatune.stages.evaluate.measures import Yardstick
from mnatune.stages.evaluate.metrics import table
from mnatune.stages.evaluate.open_book import OpenBook
from mnatune.stages.train import train
from mnatune.stages.train.token_rows import load_rows

KINDS = ("closed", "evidence")
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
            "compose": {"evidence": 1.0, "splits": [0.7, 0.1, 0.2]},
            "train": {**train_keys, "rows_per_step": 8, "max_grad_norm": 1.0},
            "generation": {"repetition_penalty": args.penalty, "max_new_tokens": 192},
            "evaluate": {"items": 8 if args.quick else args.items},
        }
    )


def composed(run: Run, source: Path, kind: str, rows: int | None, split: str) -> None:
    """The rows of a data set, written as `compose` writes them."""

    def work(place: Stage) -> None:
        for name in ("train", "valid", "test"):
            kept = read_jsonl(source / f"{split if name == 'test' else name}.jsonl")
            if name != "test":
                kept = [row for row in kept if "evidence" in row][: rows if name == "train" else 8]
            if kind == "closed":
                kept = [
                    {key: value for key, value in row.items() if key != "evidence"}
                    | {"messages": without_passages(row)}
                    for row in kept
                ]
            write_jsonl(place.path(f"{name}.jsonl"), kept)

    run.perform("compose", {}, {"rows": value_hash([rows, kind, split])}, 42, "", work)


def trained(recipe: Recipe, pack: Pack, run: Run) -> dict[str, Any]:
    """Train on a data set; what was trained on and how long it took."""
    start = time.perf_counter()
    run.perform("train", {}, run.output_hashes("compose"), 42, "", lambda place: train(Job(recipe, pack, run, place)))
    rows = load_rows(
        run.folder("compose") / "train.jsonl", load_tokenizer(recipe.model.id), recipe.model.max_length
    ).examples
    return {
        "rows": len(rows),
        "tokens_per_epoch": sum(map(len, rows)),
        "answer_tokens_per_epoch": sum(len(row.completion) for row in rows),
        "seconds": round(time.perf_counter() - start),
    }


def measured(recipe: Recipe, pack: Pack, runs: dict[str, Run], place: Stage) -> tuple[list[dict], list[dict], dict]:
    """Metric tables of evidence against closed and against the base, and the facts of the search."""
    job = Job(recipe, pack, runs["evidence"], place)
    items, yardstick = held_out(job), Yardstick(pack)
    book = OpenBook.prepared(job, items)
    assert book
    asked = {one.item.id for one in book.questions}
    items = [item for item in items if item.id in asked]
    adapters = {kind: runs[kind].require("train", "adapter") for kind in KINDS}
    examined = {}
    with open_engine(recipe.model.id, adapters) as engine:
        engine.loaded.context = min(engine.loaded.context, recipe.model.max_length)
        for name in ("base", *KINDS):
            side = LocalSide(engine, name, name)
            examined[name] = examine(job, side, items, yardstick)
            book.ask(job, name, side, examined[name], yardstick)
    write_jsonl(place.path("open_book.jsonl"), book.rows())
    tables = [
        table(paired(items, {"base": examined[first], "tuned": examined["evidence"]}), recipe.seed)
        for first in ("closed", "base")
    ]
    return tables[0], tables[1], book.facts(recipe.seed) | {"no_room": book.no_room}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--max-length", type=int, default=2048)
    parser.add_argument("--epochs", type=float, default=2)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--penalty", type=float, default=1.0)
    parser.add_argument("--split", default="test")
    parser.add_argument("--rows", type=int, help="training rows at most; all without it")
    parser.add_argument("--items", type=int, default=400, help="held-out questions at most")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    recipe, pack = recipe_of(args), Pack.load("mna_ko")
    home = Run(args.out / "home")
    for stage in PREPARED:
        perform(stage, recipe, home)
    runs = {kind: Run(args.out / kind) for kind in KINDS}
    facts = {}
    for kind, run in runs.items():
        composed(run, home.folder("compose"), kind, 24 if args.quick else args.rows, args.split)
        facts[kind] = trained(recipe, pack, run)
        print(f"{kind}: {facts[kind]}", flush=True)
    place = Stage(args.out / "answers", home.manifest("compose"))
    to_closed, to_base, search = measured(recipe, pack, runs, place)
    write_json(args.out / "tables.json", {"closed": to_closed, "base": to_base})
    print(f"{'metric':<22} {'base':>7} {'closed':>7} {'evidence':>8}  evidence - closed (95 %)   n")
    values: dict[str, dict[str, Any]] = {}
    for row, beside in zip(to_closed, to_base, strict=True):
        if row["area"] != "evidence" and row["name"] != "loss":
            continue
        change = row["difference"]
        values[row["name"]] = {
            "base": beside["base"], "closed": row["base"], "evidence": row["tuned"], "evidence-closed": change,
        }  # fmt: skip
        cells = [f"{one['value']:.1f}" for one in (beside["base"], row["base"], row["tuned"])]
        low, high = (f"{change[end]:+.1f}" if change[end] is not None else "?" for end in ("low", "high"))
        print(
            f"{row['name']:<22} {cells[0]:>7} {cells[1]:>7} {cells[2]:>8}  "
            f"{change['value']:+.1f} ({low} ~ {high})  {change['n']}"
        )
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    ours, theirs = (values["evidence_f1"][kind]["value"] for kind in ("evidence", "closed"))
    result = {
        "bench": "evidence_training",
        "commit": commit.stdout.strip(),
        "device": "CPU",
        "ratio": {"closed": round(ours / theirs, 2) if theirs else None},
        "ours": {"model": args.model, "epochs": args.epochs, "training": facts["evidence"], "metrics": values},
        "baseline": {"training": facts["closed"]},
        "search": search,
    }
    print(json.dumps(result, ensure_ascii=False))


if __name__ == "__main__":
    main()
