"""DPO and KTO on ranked answers: preference accuracy and reward margin on pairs that were held out. Against the SFT adapter.

    python bench/preferences.py --run RUN --out OUT [--epochs 3] [--rates default 1e-5 1e-4] [--quick]

RUN is a run whose `train` is done with `train.method: sft` and whose sources had ranked answers. A quarter of its questions is
held out; each method trains on the pairs of the others, once for each learning rate. A pair's margin is
log(p/p_sft)(better) − log(p/p_sft)(worse) in nats (DPO's implicit reward without beta); its accuracy is the share of pairs
with a margin above 0, where half of a tie counts. The SFT adapter itself has a margin of 0: accuracy 50 %. Intervals: 95 %,
bootstrap by question. `prefers` is the share of pairs of which the better answer is likelier per token, before and after.
"""

import argparse
import hashlib
import json
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from mnatune.model.engine.local import open_engine
from mnatune.model.load import load_tokenizer
from mnatune.model.prompt import Example, examples
from mnatune.pack import Pack
from mnatune.runs.job import Job
from mnatune.runs.recipe import Recipe, load_recipe
from mnatune.runs.workspace import Run, read_jsonl, write_jsonl
from mnatune.stages.evaluate.statistics import compare_paired
from mnatune.stages.train import train

HELD_OUT = 0.25


def is_held_out(row: dict[str, Any]) -> bool:
    """By a hash of the question, so that no question has pairs on both sides."""
    return int(hashlib.sha256(str(row["prompt"]).encode()).hexdigest()[:8], 16) / 16**8 < HELD_OUT


def trained(
    base: Recipe, run: Run, place: Path, section: dict[str, Any], pairs: list[dict[str, Any]]
) -> tuple[Path, Any]:
    """The adapter of a method on these pairs, and what the training measured."""
    new = Run(place)
    if not new.folder("compose").exists():
        place.mkdir(parents=True, exist_ok=True)
        shutil.copytree(run.folder("compose"), new.folder("compose"))
        write_jsonl(new.folder("compose") / "preferences.jsonl", pairs)
    values = {**base.train.model_dump(mode="json"), **section, "from_adapter": str(run.folder("train") / "adapter")}
    recipe = Recipe.model_validate({**base.model_dump(mode="json"), "train": values})
    pack = Pack.load(recipe.pack)
    manifest, _ = new.perform(
        "train", recipe.section("train", "model"), {}, recipe.seed, "bench",
        lambda stage: train(Job(recipe, pack, new, stage)),
    )  # fmt: skip
    return new.folder("train") / "adapter", manifest.facts


def sides(tokenizer: Any, pairs: list[dict[str, Any]]) -> list[Example]:
    """Better and worse answer of each pair, in turn."""
    return [
        examples(tokenizer, [*pair["prompt"], *pair[name]])[-1] for pair in pairs for name in ("chosen", "rejected")
    ]


def figures(sft: np.ndarray, tuned: np.ndarray, lengths: np.ndarray, groups: list[str]) -> dict[str, Any]:
    """Accuracy and margin of a tuned adapter, and how often the better answer is the likelier one.

    Args:
        sft, tuned: log-likelihoods, (pairs, 2): better and worse. lengths: their tokens.
    """
    margin = (tuned - sft)[:, 0] - (tuned - sft)[:, 1]
    right = np.where(margin == 0, 0.5, margin > 0)
    one = np.ones(len(margin))
    prefers = [((logs / lengths)[:, 0] > (logs / lengths)[:, 1]).astype(float) for logs in (sft, tuned)]

    def against(before: np.ndarray, after: np.ndarray, scale: float) -> dict[str, Any]:
        columns = (np.column_stack([side, one]) for side in (before, after))
        return compare_paired(*columns, groups, resamples=4000).as_dict(scale)

    return {
        "accuracy": against(0.5 * one, right, 100.0),
        "margin": against(0 * one, margin, 1.0),
        "prefers": against(*prefers, 100.0),
    }


def fitting_pairs(run: Run, tokenizer: Any, longest: int) -> list[dict[str, Any]]:
    """The preference pairs of a run both of whose sides have room."""
    rows = read_jsonl(run.folder("compose") / "preferences.jsonl")
    return [pair for pair in rows if max(map(len, sides(tokenizer, [pair]))) <= longest]


def main() -> None:
    """Train, score, compare, print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--rates", nargs="+", default=["default", "1e-5", "1e-4"])
    parser.add_argument(
        "--quick", action="store_true", help="16 pairs, one epoch, one rate: shows that it runs, proves nothing"
    )
    arguments = parser.parse_args()
    run = Run(arguments.run)
    base = load_recipe(run.root / "recipe.lock.yaml")
    tokenizer = load_tokenizer(base.model.id, base.model.revision)
    pairs = fitting_pairs(run, tokenizer, base.model.max_length)
    held_out = [pair for pair in pairs if is_held_out(pair)]
    rest = [pair for pair in pairs if not is_held_out(pair)]
    if arguments.quick:
        rest, arguments.epochs, arguments.rates = rest[:16], 1, ["1e-4"]
    adapters, facts = {"sft": run.folder("train") / "adapter"}, {}
    for method in ("dpo", "kto"):
        for rate in arguments.rates:
            section = {
                "method": method,
                "options": {},
                "epochs": arguments.epochs,
                "learning_rate": None if rate == "default" else float(rate),
            }
            name = f"{method}-{rate}"
            adapters[name], facts[name] = trained(base, run, arguments.out / name, section, rest)
    scored: dict[str, np.ndarray] = {}
    wanted = sides(tokenizer, held_out)
    with open_engine(base.model.id, adapters) as engine:
        for name in adapters:
            scored[name] = -np.array([one.nll for one in engine.likelihoods(name, wanted)]).reshape(-1, 2)
    lengths = np.array([len(one.completion) for one in wanted]).reshape(-1, 2)
    groups = [str(pair["prompt"]) for pair in held_out]
    found = {name: figures(scored["sft"], scored[name], lengths, groups) for name in adapters if name != "sft"}
    for name, figure, shown in ((name, *one) for name, each in found.items() for one in each.items()):
        before, after = shown["base"]["value"], shown["tuned"]["value"]
        print(f"{name:<12} {figure:<9} {before:7.3f} -> {after:7.3f}  {shown['difference']}")
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    record = {
        "bench": "preferences",
        "commit": commit,
        "device": f"{platform.machine()}, one thread",
        "pairs": {"trained": len(rest), "held_out": len(held_out), "questions held out": len(set(groups))},
        "epochs": arguments.epochs,
        "learning_rates": {name: each["setting"]["learning_rate"] for name, each in facts.items()},
        "steps": {name: each["measured"]["steps"] for name, each in facts.items()},
        "ratio": {
            "seed": None,
            "SFT's preference accuracy": {n: round(f["accuracy"]["tuned"]["value"] / 50, 3) for n, f in found.items()},
        },
        "ours": {name: {figure: each[figure]["tuned"]["value"] for figure in each} for name, each in found.items()},
        "baseline": {"sft": {figure: each["base"]["value"] for figure, each in next(iter(found.values())).items()}},
        "difference": {name: {figure: each[figure]["difference"] for figure in each} for name, each in found.items()},
    }
    print(json.dumps(record, ensure_ascii=False))


if __name__ == "__main__":
    main()
