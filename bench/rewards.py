"""Does GRPO with citation rewards lower invented citations and raise citation F1 on held-out questions? Against SFT alone.

    python bench/rewards.py --out FOLDER [--steps 100] [--model starter] [--max-length 1024] [--quick]

The pack's own questions are read, judged and composed with `compose.evidence: 1`: what fits `--max-length` is asked with
articles, the rest without. An adapter is trained on them (SFT), and trained on with GRPO on the training questions that are
asked with articles and as many without whose reference cites one. Both then answer the test split as `evaluate` asks it, greedily:
without articles, with those that the search finds, and with the right ones taken out. Every figure is evaluation's own,
paired by question, with a 95 % interval of the difference. The test questions are neither trained on nor watched: GRPO
watches the validation split. `ratio`: citation F1 with articles, GRPO over SFT.

Every part is kept in FOLDER: the same command goes on where it was stopped. `--quick`: 2 steps and 8 questions; shows that
it runs, proves nothing.

Does not: say anything about a larger model. The starter has 9 million parameters.
"""

import argparse
import json
import platform
import random
import shutil
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mnatune.model.engine.local import open_engine
from mnatune.model.load import load_tokenizer
from mnatune.pack import Pack
from mnatune.runs.job import Job
from mnatune.runs.journey import perform
from mnatune.runs.recipe import Recipe
from mnatune.runs.workspace import Run, Stage, read_jsonl, value_hash, write_json, write_jsonl
from mnatune.stages.evaluate.backends import LocalSide
from mnatune.stages.evaluate.examine import Examined, examine, paired
from mnatune.stages.evaluate.items import HeldOut, held_out
from mnatune.stages.evaluate.measures import Yardstick
from mnatune.stages.evaluate.metrics import table
from mnatune.stages.evaluate.open_book import OpenBook
from mnatune.stages.evaluate.statistics import compare_paired
from mnatune.stages.train import train
from mnatune.stages.train.asked_rows import AskedQuestion, asked_questions
from mnatune.stages.train.rewards import DrawnAnswer, Rewarder

GENERATIONS, QUESTIONS = 8, 4  # answers to a question, questions of a step
PREPARED = ("read", "curate", "judge", "compose", "train")
SHOWN = (
    "closed_false", "closed_f1", "closed_precision", "closed_recall", "evidence_false", "evidence_f1",
    "evidence_precision", "evidence_recall", "abstention", "needless_abstention", "false_citations", "loss",
    "fact_overlap", "unsupported_numbers", "stop_rate", "truncated", "hangul_ratio", "chinese_leak", "formal_register",
    "repetition", "empty",
)  # fmt: skip


def sft_recipe(args: argparse.Namespace) -> Recipe:
    """The start: the quickstart's training on the pack's own questions, with articles where they fit."""
    train_keys = {"r": 16, "alpha": 32, "dropout": 0.0, "epochs": args.epochs, "learning_rate": args.sft_rate}
    return Recipe.model_validate(
        {
            "name": "rewards",
            "model": {"id": args.model, "max_length": args.max_length},
            "read": {"sources": [{"kind": "qa", "path": "pack:qa", "name": "mna-qa"}]},
            "judge": {"keep_above": 0, "always_keep": ["mna-qa"]},
            "compose": {"evidence": 1.0, "splits": [0.75, 0.05, 0.2]},
            "train": {**train_keys, "rows_per_step": 8, "max_grad_norm": 1.0, "checkpoint_every": 20},
            "generation": {"repetition_penalty": 1.3, "max_new_tokens": args.answer_tokens},
            "evaluate": {"items": 8 if args.quick else 1000},
        }
    )


def grpo_recipe(recipe: Recipe, start: Path, rows: Path, count: int, args: argparse.Namespace) -> Recipe:
    """The same recipe with GRPO in the place of SFT."""
    section = {
        **recipe.train.model_dump(mode="json"),
        "method": "grpo",
        "options": {
            "rows": str(rows),
            "generations": GENERATIONS,
            "answer_tokens": args.answer_tokens,
            "kl": args.kl,
            "temperature": args.temperature,
        },
        "from_adapter": str(start),
        "rows_per_step": GENERATIONS * QUESTIONS,
        "learning_rate": args.learning_rate,
        "epochs": (args.steps + 0.5) / (count // QUESTIONS),
        "log_every": 5,
        "checkpoint_every": 10,
    }
    return Recipe.model_validate({**recipe.model_dump(mode="json"), "train": section})


def questions_to_train_on(home: Run, yardstick: Yardstick, path: Path) -> int:
    """Write the training rows asked with articles, and as many without whose reference cites one that exists; how many."""
    rows = list(read_jsonl(home.folder("compose") / "train.jsonl"))
    grounded = [row for row in rows if "evidence" in row]
    plain = [
        row
        for row in rows
        if "evidence" not in row and any(c.verdict == "valid" for c in yardstick.cited(row["messages"][-1]["content"]))
    ]
    chosen = grounded + random.Random("closed").sample(plain, min(len(plain), len(grounded)))
    write_jsonl(path, chosen)
    return len(chosen)


def trained(home: Run, recipe: Recipe, pack: Pack, args: argparse.Namespace) -> tuple[Run, dict[str, Any]]:
    """The run of GRPO, and what was measured in it."""
    rows, run = args.out / "questions.jsonl", Run(args.out / "grpo")
    count = questions_to_train_on(home, Yardstick(pack), rows)
    if not run.folder("compose").exists():
        run.folder("compose").parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(home.folder("compose"), run.folder("compose"))
    wanted = grpo_recipe(recipe, home.require("train", "adapter"), rows, count, args)
    section = wanted.section("train", "model")
    with counted(args.out / "cpu_seconds.json"):
        manifest, _ = run.perform(
            "train", section, {}, wanted.seed, "bench", lambda place: train(Job(wanted, pack, run, place))
        )
    facts = {key: manifest.facts.get(key) for key in ("held_out", "measured", "saved", "rewards")}
    seconds = json.loads((args.out / "cpu_seconds.json").read_text(encoding="utf-8"))
    return run, {**facts, "questions": count, "cpu_minutes": round(sum(seconds) / 60, 1)}


@contextmanager
def counted(path: Path) -> Any:
    """Add the CPU seconds of the block to a file, so that an interrupted training counts whole."""
    begun = time.process_time()
    try:
        yield
    finally:
        former = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
        write_json(path, [*former, round(time.process_time() - begun, 1)])


def examined(
    recipe: Recipe, pack: Pack, home: Run, adapters: dict[str, Path], place: Stage
) -> tuple[list[HeldOut], dict[str, Examined], OpenBook]:
    """What both adapters give on the test split, without articles and with."""
    job, yardstick = Job(recipe, pack, home, place), Yardstick(pack)
    items = held_out(job)
    book = OpenBook.prepared(job, items)
    assert book
    found = {}
    with open_engine(recipe.model.id, adapters) as engine:
        for name in adapters:
            side = LocalSide(engine, name, name)
            found[name] = examine(job, side, items, yardstick)
            book.ask(job, name, side, found[name], yardstick)
    return items, found, book


def compared(items: list[HeldOut], found: dict[str, Examined], seed: int) -> dict[str, Any]:
    """Figure → both values and the difference with its interval, in per cent (`loss` in nats)."""
    rows = table(paired(items, {"base": found["sft"], "tuned": found["grpo"]}), seed)
    return {
        row["name"]: {"sft": row["base"], "grpo": row["tuned"], "difference": row["difference"]}
        for row in rows
        if row["name"] in SHOWN
    }


def tricks(pack: Pack, questions: dict[str, AskedQuestion], found: dict[str, Examined], book: OpenBook) -> dict:
    """Answers that play a trick, by kind, without articles and with; the share with its difference."""
    rewarder, shares, kinds = Rewarder(pack), {}, {}
    for name, examination in found.items():
        marks: list[tuple[str, str]] = []
        for at, answer in examination.answers.items():
            texts = [answer.text, *book.texts.get(at, {}).get(name, {}).values()]
            marks += [(at, rewarder.mark(questions[at], DrawnAnswer(text, answer.stopped)).trick) for text in texts]
        shares[name] = np.array([(float(bool(trick)), 1.0) for _, trick in marks])
        kinds[name] = {kind: sum(k == kind for _, k in marks) for kind in sorted({k for _, k in marks if k})}
        groups = [at for at, _ in marks]
    change = compare_paired(shares["sft"], shares["grpo"], groups).as_dict(100.0)
    return {"sft": change["base"], "grpo": change["tuned"], "difference": change["difference"], "kinds": kinds}


def main() -> None:
    """Train, answer, compare, print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--max-length", type=int, default=1024)
    parser.add_argument("--epochs", type=float, default=1, help="of SFT")
    parser.add_argument("--sft-rate", type=float, default=3e-3)
    parser.add_argument("--steps", type=int, default=100, help="of GRPO, 32 answers each")
    parser.add_argument("--answer-tokens", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--kl", type=float, default=0.02)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    if args.quick:
        args.steps, args.epochs = 2, 0.1
    recipe, pack = sft_recipe(args), Pack.load("mna_ko")
    home = Run(args.out / "home")
    for stage in PREPARED:
        perform(stage, recipe, home)
    run, training = trained(home, recipe, pack, args)
    adapters = {"sft": home.require("train", "adapter"), "grpo": run.require("train", "adapter")}
    place = Stage(args.out / "answers" / value_hash(training)[:12], home.manifest("compose"))
    items, found, book = examined(recipe, pack, home, adapters, place)
    asked = asked_questions(home.folder("compose") / "test.jsonl", load_tokenizer(recipe.model.id))
    figures = compared(items, found, recipe.seed)
    figures["tricks"] = tricks(pack, {one.id: one for one in asked}, found, book)
    write_jsonl(args.out / "open_book.jsonl", book.rows())
    texts = {name: {at: a.text for at, a in one.answers.items()} for name, one in found.items()}
    write_json(args.out / "answers.json", texts)
    for name, row in figures.items():
        change = row["difference"]
        print(f"{name:<22} {row['sft']['value']} -> {row['grpo']['value']}   {change}")
    print(json.dumps(record(figures, len(items), book, training, args), ensure_ascii=False))


def record(
    figures: dict[str, Any], items: int, book: OpenBook, training: dict[str, Any], args: argparse.Namespace
) -> dict[str, Any]:
    """The line of the bench."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    before, after = (figures["evidence_f1"][name]["value"] for name in ("sft", "grpo"))
    return {
        "bench": "rewards",
        "commit": commit,
        "device": f"{platform.machine()}, one thread",
        "test questions": {"all": items, "with articles": len(book.questions), "no room": book.no_room},
        "arguments": {name: value for name, value in vars(args).items() if name != "out"},
        "training": training,
        "ratio": {"sft": round(after / before, 3) if before else None},
        "ours": {name: figure["grpo"]["value"] for name, figure in figures.items()},
        "baseline": {name: figure["sft"]["value"] for name, figure in figures.items()},
        "difference": {name: figure["difference"] for name, figure in figures.items()},
        "tricks": figures["tricks"]["kinds"],
    }


if __name__ == "__main__":
    main()
