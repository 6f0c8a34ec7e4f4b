"""Does GRPO with citation rewards lower invented citations and raise citation F1 on held-out questions? Against SFT alone.

    python bench/rewards.py --run runs/quickstart --out /tmp/grpo [--steps 120] [--quick]

RUN is a run whose `train` is done with `train.method: sft`. Its adapter is trained on with GRPO on the training questions whose
reference cites an article; then both adapters answer the questions of its test split, greedily and `--samples` times at the
training's temperature. Every figure is paired by question, with a 95 % interval of the difference (bootstrap by question). The
test questions are neither trained on nor watched: the validation split is what the training looks at. A stopped run continues.
"""

import argparse
import json
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from mnatune.model.engine.local import open_engine
from mnatune.model.engine.protocol import Answer, Sampling, Task
from mnatune.model.load import load_tokenizer
from mnatune.pack import Pack
from mnatune.runs.job import Job
from mnatune.runs.recipe import Recipe, load_recipe
from mnatune.runs.workspace import Run, read_jsonl, write_json, write_jsonl
from mnatune.stages.evaluate.measures import Yardstick
from mnatune.stages.evaluate.statistics import compare_paired
from mnatune.stages.train import train
from mnatune.stages.train.asked_rows import AskedQuestion, asked_questions
from mnatune.stages.train.rewards import DrawnAnswer, Rewarder

GENERATIONS, QUESTIONS = 8, 4  # answers to a question, questions of a step
MEASURES = (
    "false_citations", "citation_f1", "fact_overlap", "unsupported_numbers", "stop_rate", "truncated", "hangul_ratio",
    "chinese_leak", "formal_register", "repetition", "empty",
)  # fmt: skip


def questions_to_train_on(run: Run, yardstick: Yardstick, out: Path) -> tuple[Path, int]:
    """The training rows whose reference cites an article that exists, as a file."""
    rows = read_jsonl(run.folder("compose") / "train.jsonl")
    citing = [row for row in rows if any(c.verdict == "valid" for c in yardstick.cited(row["messages"][-1]["content"]))]
    path = out / "questions.jsonl"
    write_jsonl(path, citing)
    return path, len(citing)


def grpo_recipe(recipe: Recipe, run: Run, rows: Path, count: int, arguments: argparse.Namespace) -> Recipe:
    """The run's recipe with GRPO in the place of SFT."""
    options = {
        "rows": str(rows),
        "generations": GENERATIONS,
        "answer_tokens": arguments.answer_tokens,
        "kl": arguments.kl,
    }
    section = {
        **recipe.train.model_dump(mode="json"),
        "method": "grpo",
        "options": options,
        "from_adapter": str(run.folder("train") / "adapter"),
        "rows_per_step": GENERATIONS * QUESTIONS,
        "learning_rate": arguments.learning_rate,
        "epochs": (arguments.steps + 0.5) * QUESTIONS / (count // QUESTIONS * QUESTIONS),
        "log_every": 5,
        "checkpoint_every": 10,
    }
    return Recipe.model_validate({**recipe.model_dump(mode="json"), "train": section})


def marks(
    yardstick: Yardstick, rewarder: Rewarder, questions: list[AskedQuestion], answers: list[Answer]
) -> dict[str, np.ndarray]:
    """Figure → (questions, 2) of numerator and denominator, the answers to a question added up.

    All but `tricks` are evaluation's own measures, not the rewards.
    """
    repeats = len(answers) // len(questions)
    found = {name: np.zeros((len(questions), 2)) for name in (*MEASURES, "tricks")}
    for at, answer in enumerate(answers):
        question = questions[at // repeats]
        pairs = yardstick.measure(answer, question.asked, question.reference).pairs
        trick = rewarder.mark(question, DrawnAnswer(answer.text, answer.stopped)).trick
        for name in found:
            found[name][at // repeats] += pairs[name] if name in pairs else (bool(trick), 1)
    return found


def answered(
    recipe: Recipe, adapters: dict[str, Path], questions: list[AskedQuestion], arguments: argparse.Namespace
) -> dict[str, dict[str, list[Answer]]]:
    """Adapter → way → answers, those to one question in a row."""
    ways = {"greedy": [0], "drawn": list(range(1, arguments.samples + 1))}
    found: dict[str, dict[str, list[Answer]]] = {}
    with open_engine(recipe.model.id, adapters) as engine:
        for name in adapters:
            found[name] = {}
            for way, seeds in ways.items():
                tasks = [
                    Task(
                        name,
                        sampling(recipe, arguments.answer_tokens, seed, at),
                        prompt=one.prompt,
                    )
                    for at, one in enumerate(questions)
                    for seed in seeds
                ]
                found[name][way] = [answer for answer in engine.answers(tasks) if isinstance(answer, Answer)]
                assert len(found[name][way]) == len(tasks)
    return found


def main() -> None:
    """Train, answer, compare, print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--answer-tokens", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--kl", type=float, default=0.02)
    parser.add_argument(
        "--quick", action="store_true", help="2 steps, 8 questions, 1 sample: shows that it runs, proves nothing"
    )
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.steps, arguments.samples = 2, 1
    run, out = Run(arguments.run), arguments.out
    recipe = load_recipe(run.root / "recipe.lock.yaml")
    pack, tokenizer = Pack.load(recipe.pack), load_tokenizer(recipe.model.id, recipe.model.revision)
    yardstick, rewarder = Yardstick(pack), Rewarder(pack)
    out.mkdir(parents=True, exist_ok=True)
    rows, count = questions_to_train_on(run, yardstick, out)
    new = Run(out / "run")
    if not new.folder("compose").exists():
        new.folder("compose").parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(run.folder("compose"), new.folder("compose"))
    wanted = grpo_recipe(recipe, run, rows, count, arguments)
    section = wanted.section("train", "model")
    manifest, _ = new.perform(
        "train", section, {}, wanted.seed, "bench", lambda stage: train(Job(wanted, pack, new, stage))
    )
    questions = asked_questions(run.folder("compose") / "test.jsonl", tokenizer)[: 8 if arguments.quick else None]
    adapters = {"sft": run.folder("train") / "adapter", "grpo": new.folder("train") / "adapter"}
    answers = answered(wanted, adapters, questions, arguments)
    write_json(
        out / "answers.json", {m: {w: [a.text for a in got] for w, got in ways.items()} for m, ways in answers.items()}
    )
    figures = compared(yardstick, rewarder, questions, answers)
    print(json.dumps(record(figures, len(questions), manifest.facts, arguments), ensure_ascii=False))


def sampling(recipe: Recipe, tokens: int, seed: int, at: int) -> Sampling:
    """Seed 0: greedy with the recipe's repetition penalty, as in evaluation; others: a draw as in training."""
    if seed:
        return Sampling(tokens, 1.0, seed=seed * 100_003 + at)
    return Sampling(tokens, repetition_penalty=recipe.generation.repetition_penalty)


def compared(
    yardstick: Yardstick,
    rewarder: Rewarder,
    questions: list[AskedQuestion],
    answers: dict[str, dict[str, list[Answer]]],
) -> dict[str, Any]:
    """Way and figure → both values in per cent, and the difference with its interval."""
    figures: dict[str, Any] = {}
    for way in answers["sft"]:
        before, after = (marks(yardstick, rewarder, questions, answers[name][way]) for name in ("sft", "grpo"))
        for name in before:
            found = compare_paired(before[name], after[name], [q.id for q in questions], resamples=2000)
            figures[f"{way}/{name}"] = shown = found.as_dict(100.0)
            change = shown["difference"]
            print(f"{way:<7} {name:<20} {shown['base']['value']} -> {shown['tuned']['value']}   {change}")
    return figures


def record(
    figures: dict[str, Any], questions: int, facts: dict[str, Any], arguments: argparse.Namespace
) -> dict[str, Any]:
    """The line of the bench."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    return {
        "bench": "rewards",
        "commit": commit,
        "device": f"{platform.machine()}, one thread",
        "questions": questions,
        "arguments": {name: value for name, value in vars(arguments).items() if name not in ("run", "out")},
        "training": {key: facts.get(key) for key in ("held_out", "measured", "saved", "rewards")},
        "ratio": {"seed": None, "SFT's citation F1": ratio(figures["drawn/citation_f1"])},
        "ours": {name: figure["tuned"]["value"] for name, figure in figures.items()},
        "baseline": {name: figure["base"]["value"] for name, figure in figures.items()},
        "difference": {name: figure["difference"] for name, figure in figures.items()},
    }


def ratio(figure: dict[str, Any]) -> float | None:
    """After divided by before; None where there was nothing."""
    before, after = figure["base"]["value"], figure["tuned"]["value"]
    return round(after / before, 3) if before else None


if __name__ == "__main__":
    main()
