"""Does GRPO with citation rewards lower invented citations and raise citation F1 on held-out questions? Against SFT alone.

    python bench/evidence_training.py --out START
    python bench/rewards.py --start START --kind both --out FOLDER [--steps 120] [--questions N] [--quick]

START holds the same questions asked without articles ("closed") and with ("evidence"), and an adapter trained on each (SFT).
That of `--kind` is trained on with GRPO on the training questions of that kind, watched on its validation questions. With
"both", SFT comes first, on START's rows with their articles and every fourth of them without too, and so does GRPO. With
`--questions`, it learns from so many of the pack's questions by article instead, whose articles neither SFT nor the held-out
rows know, asked as serving asks them: with the articles that the search finds, in its order. Others of them are watched,
and others again stand in the test split beside the pack's own questions ("articles/" and "pack/" before a figure). An
article's questions stay in one split. The search's vectors have learnt from the questions by article, so that it finds
nearly all of them: for how well the search serves, look at the pack's own.

Both adapters answer the test split greedily, as `evaluate` asks it: without articles, and but for kind "closed" also with
those that the search finds, which may not use the question, and with the right ones taken out. Every figure is evaluation's
own, paired by question, with a 95 % interval of the difference. `ratio`: citation F1, GRPO over SFT.

Every part is kept in FOLDER: the same command goes on where it was stopped. `--quick`: 2 steps and 8 questions; shows that
it runs, proves nothing.

Does not: say anything about a larger model. The starter has 9 million parameters.
"""

import argparse
import json
import platform
import subprocess
import time
from collections.abc import Sequence
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from asked_articles import NAME, asked_rows, cited_in

from mnatune.model.engine.local import open_engine
from mnatune.model.evidence_prompt import without_passages
from mnatune.model.load import load_tokenizer
from mnatune.pack import Pack
from mnatune.runs.job import Job
from mnatune.runs.recipe import Recipe, load_recipe
from mnatune.runs.train_options import REWARDS
from mnatune.runs.workspace import Run, Stage, file_hash, read_jsonl, value_hash, write_json, write_jsonl
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

WATCHED, TESTED = 48, 200  # questions by article: watched in the training, and asked at its end
EACH = 2  # of them about an article
LONGEST = 768  # tokens of one with its passages and its answer: a step's cost
CLOSED = 4  # with kind "both" every so many-th row is asked without its passages too
GENERATIONS, QUESTIONS = 8, 2  # answers to a question, questions of a step
TEMPERATURE, KL = 0.8, 0.0
SHOWN = (
    "closed_false", "closed_f1", "closed_precision", "closed_recall", "evidence_false", "evidence_f1",
    "evidence_precision", "evidence_recall", "abstention", "needless_abstention", "false_citations", "citation_f1", "loss",
    "fact_overlap", "unsupported_numbers", "stop_rate", "truncated", "hangul_ratio", "chinese_leak", "formal_register",
    "repetition", "empty",
)  # fmt: skip


def grpo_recipe(recipe: Recipe, adapter: Path, rows: int, args: argparse.Namespace) -> Recipe:
    """The recipe of SFT with GRPO in its place."""
    section = {
        **recipe.train.model_dump(mode="json"),
        "method": "grpo",
        "options": {
            "generations": GENERATIONS,
            "answer_tokens": args.answer_tokens,
            "kl": KL,
            "temperature": TEMPERATURE,
            "rewards": {**REWARDS, "citation_supported": args.supported},
        },
        "from_adapter": str(adapter),
        "rows_per_step": GENERATIONS * QUESTIONS,
        "learning_rate": args.learning_rate,
        "epochs": (args.steps + 0.5) / (rows // QUESTIONS),
        "log_every": 5,
        "checkpoint_every": 10,
    }
    changed = {
        "train": section,
        "generation": {"repetition_penalty": 1.3, "max_new_tokens": args.answer_tokens},  # as the quickstart's
        "evaluate": {"items": 8 if args.quick else args.items},
    }
    return Recipe.model_validate({**recipe.model_dump(mode="json"), **changed})


def composed(start: Path, kind: str, run: Run, questions: int) -> int:
    """The questions of a kind as the run's rows, to train on, to watch and to test on; how many there are to train on."""
    home = start / "home" / "5-compose"
    files = {"train": start / "evidence" / "5-compose" / "train.jsonl"}
    files |= {name: home / f"{name}.jsonl" for name in ("valid", "test")}

    def work(place: Stage) -> None:
        rows = {name: list(read_jsonl(path)) for name, path in files.items()}
        if questions:
            recipe, pack = load_recipe(start / "home" / "recipe.lock.yaml"), Pack.load("mna_ko")
            shorter = recipe.model.model_copy(update={"max_length": min(LONGEST, recipe.model.max_length)})
            recipe = recipe.model_copy(update={"model": shorter})
            known = cited_in([row for found in rows.values() for row in found], pack)
            made = asked_rows(pack, recipe, questions + WATCHED + TESTED, known, EACH, as_served=True)
            first = {row["group"]: at for at, row in reversed(list(enumerate(made)))}
            place_of = [first[row["group"]] for row in made]  # an article's questions stay in one split
            rows["train"] = [row for row, at in zip(made, place_of, strict=True) if at < questions]
            rows["valid"] = [row for row, at in zip(made, place_of, strict=True) if 0 <= at - questions < WATCHED]
            rows["test"] += [row for row, at in zip(made, place_of, strict=True) if at >= questions + WATCHED]
        for name, found in rows.items():
            found = asked_as("closed" if name == "test" else kind, found)
            write_jsonl(place.path(f"{name}.jsonl"), sorted(found, key=itemgetter("id")))  # the first are a mix

    inputs = {name: file_hash(path) for name, path in files.items()}
    run.perform("compose", {"kind": kind, "questions": questions}, inputs, 42, "", work)
    return sum(1 for _ in read_jsonl(run.require("compose", "train.jsonl")))


def asked_as(kind: str, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with their passages ("evidence"), without ("closed", with the answer from before), or all with and some without."""
    closed = [
        {name: value for name, value in row.items() if name != "evidence"}
        | {"id": f"{row['id']}-closed", "messages": without_passages(row)}
        for row in rows
    ]
    return {"evidence": list(rows), "closed": closed, "both": [*rows, *closed[::CLOSED]]}[kind]


def start_adapter(args: argparse.Namespace, recipe: Recipe, pack: Pack) -> Path:
    """The adapter of SFT that GRPO begins with: START's, or for "both" one trained here on the same rows asked both ways."""
    if args.kind != "both":
        return Run(args.start / args.kind).require("train", "adapter")
    run, source = Run(args.out / "sft"), Run(args.start / "evidence")

    def work(place: Stage) -> None:
        for name in ("train", "valid", "test"):
            rows = list(read_jsonl(source.require("compose", f"{name}.jsonl")))[: 16 if args.quick else None]
            write_jsonl(place.path(f"{name}.jsonl"), asked_as("both", rows))

    run.perform("compose", {"quick": args.quick}, source.output_hashes("compose"), 42, "", work)
    section, hashes = recipe.section("train", "model"), run.output_hashes("compose")
    run.perform("train", section, hashes, 42, "", lambda place: train(Job(recipe, pack, run, place)))
    return run.require("train", "adapter")


def trained(run: Run, recipe: Recipe, pack: Pack, out: Path) -> dict[str, Any]:
    """Train with GRPO; what was measured."""
    with counted(out / "cpu_seconds.json"):
        manifest, _ = run.perform(
            "train",
            recipe.section("train", "model"),
            run.output_hashes("compose"),
            recipe.seed,
            "bench",
            lambda place: train(Job(recipe, pack, run, place)),
        )
    facts = {key: manifest.facts.get(key) for key in ("held_out", "measured", "saved", "rewards")}
    seconds = json.loads((out / "cpu_seconds.json").read_text(encoding="utf-8"))
    return {**facts, "cpu_minutes": round(sum(seconds) / 60, 1)}


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
    job: Job, adapters: dict[str, Path], *, with_articles: bool
) -> tuple[list[HeldOut], dict[str, Examined], OpenBook | None]:
    """What both adapters give on the test split, without articles and, if wanted, with."""
    items, yardstick = held_out(job), Yardstick(job.pack)
    book = OpenBook.prepared(job, items) if with_articles else None
    found = {}
    with open_engine(job.recipe.model.id, adapters) as engine:
        engine.loaded.context = min(engine.loaded.context, job.recipe.model.max_length)
        for name in adapters:
            side = LocalSide(engine, name, name)
            found[name] = examine(job, side, items, yardstick)
            if book:
                book.ask(job, name, side, found[name], yardstick)
    return items, found, book


def all_figures(items: list[HeldOut], found: dict[str, Examined], seed: int) -> dict[str, Any]:
    """The figures of all questions and, where both kinds are there, of the pack's and of those by article."""
    figures = compared(items, found, seed)
    kinds = {"articles": [one for one in items if one.category == NAME]}
    kinds["pack"] = [one for one in items if one.category != NAME]
    for name, chosen in kinds.items() if all(kinds.values()) else ():
        figures |= {f"{name}/{figure}": row for figure, row in compared(chosen, found, seed).items()}
    return figures


def compared(items: list[HeldOut], found: dict[str, Examined], seed: int) -> dict[str, Any]:
    """Figure → both values and the difference with its interval, in per cent (`loss` in nats)."""
    rows = table(paired(items, {"base": found["sft"], "tuned": found["grpo"]}), seed)
    return {
        row["name"]: {"sft": row["base"], "grpo": row["tuned"], "difference": row["difference"]}
        for row in rows
        if row["name"] in SHOWN
    }


def tricks(
    pack: Pack, items: list[HeldOut], questions: dict[str, AskedQuestion], found: dict[str, Examined], texts: dict
) -> dict[str, Any]:
    """Answers that play a trick, by kind, without articles and with; the share with its difference.

    Args:
        items: what was asked; those of one group are one draw of the interval.
        texts: item → adapter → way of asking → answer, of the answers with articles.
    """
    rewarder, shares, kinds = Rewarder(pack), {}, {}
    group_of, groups = {one.id: one.group for one in items}, []
    for name, examination in found.items():
        answers = {at: [one.text, *texts.get(at, {}).get(name, {}).values()] for at, one in examination.answers.items()}
        groups = [group_of[at] for at, given in answers.items() for _ in given]
        marks = [
            rewarder.mark(questions[at], DrawnAnswer(text, True)).trick
            for at, given in answers.items()
            for text in given
        ]
        shares[name] = np.array([(float(bool(trick)), 1.0) for trick in marks])
        kinds[name] = {kind: marks.count(kind) for kind in sorted(set(marks) - {""})}
    change = compare_paired(shares["sft"], shares["grpo"], groups).as_dict(100.0)
    return {"sft": change["base"], "grpo": change["tuned"], "difference": change["difference"], "kinds": kinds}


def main() -> None:
    """Train, answer, compare, print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", type=Path, required=True, help="folder of bench/evidence_training.py")
    parser.add_argument("--kind", choices=("closed", "evidence", "both"), required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--questions", type=int, default=0, help="by article, in place of START's")
    parser.add_argument("--steps", type=int, default=120, help="of 16 answers each")
    parser.add_argument("--items", type=int, default=600, help="test questions at most")
    parser.add_argument("--answer-tokens", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument(
        "--supported", type=float, default=1.0, help="weight of the right articles; of those that exist: 1"
    )
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    args.steps = 2 if args.quick else args.steps
    run, pack = Run(args.out / "run"), Pack.load("mna_ko")
    recipe = load_recipe(args.start / "home" / "recipe.lock.yaml")
    rows = composed(args.start, args.kind, run, args.questions)
    adapter = start_adapter(args, recipe, pack)
    recipe = grpo_recipe(recipe, adapter, rows, args)
    training = trained(run, recipe, pack, args.out)
    adapters = {"sft": adapter, "grpo": run.require("train", "adapter")}
    place = Stage(args.out / "answers" / value_hash([training, args.items])[:12], run.manifest("train"))
    job, with_articles = Job(recipe, pack, run, place), args.kind != "closed"
    items, found, book = examined(job, adapters, with_articles=with_articles)
    figures = all_figures(items, found, recipe.seed)
    asked = asked_questions(run.require("compose", "test.jsonl"), load_tokenizer(recipe.model.id))
    figures["tricks"] = tricks(pack, items, {one.id: one for one in asked}, found, book.texts if book else {})
    texts = {name: {at: a.text for at, a in one.answers.items()} for name, one in found.items()}
    write_json(args.out / "answers.json", {"closed": texts, "evidence": book.texts if book else {}})
    for name, row in figures.items():
        print(f"{name:<22} {row['sft']['value']} -> {row['grpo']['value']}   {row['difference']}")
    print(json.dumps(record(figures, len(items), book, training, args), ensure_ascii=False))


def record(
    figures: dict[str, Any], items: int, book: OpenBook | None, training: dict[str, Any], args: argparse.Namespace
) -> dict[str, Any]:
    """The line of the bench."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    f1 = figures["evidence_f1" if book else "citation_f1"]
    before, after = (f1[name]["value"] for name in ("sft", "grpo"))
    return {
        "bench": "rewards",
        "commit": commit,
        "device": f"{platform.machine()}, one thread",
        "test questions": {"all": items, "with articles": len(book.questions) if book else 0},
        "arguments": {name: value for name, value in vars(args).items() if name not in ("start", "out")},
        "training": training,
        "ratio": {"sft": round(after / before, 3) if before else None},
        "ours": {name: figure["grpo"]["value"] for name, figure in figures.items()},
        "baseline": {name: figure["sft"]["value"] for name, figure in figures.items()},
        "difference": {name: figure["difference"] for name, figure in figures.items()},
        "tricks": figures["tricks"]["kinds"],
    }


if __name__ == "__main__":
    main()
