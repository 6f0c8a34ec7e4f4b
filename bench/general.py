"""Does a share of general dialogues in the training split keep what a base could do, and what does it cost the field?

    python bench/general.py --out FOLDER [--shares 0 0.02 0.04] [--seeds 3] [--quick]

The quickstart is trained on the same rows of the field with different shares of general rows (`compose.general`), which come
from one half of the pack's 100 general dialogues. The guard is how many answer tokens of the other half, on which nothing
is trained, a model predicts right; the cost is the same on the field's test split. Every seed draws other halves and trains
anew. Intervals: 95 %, paired, by dialogue or question over all seeds. `ratio`: tokens of the guard predicted right with
the largest share over those without any.

Every part is kept in FOLDER: the same command goes on where it was stopped. Does not: say anything about a larger model.
"""

import argparse
import json
import platform
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from mnatune.model.engine.local import open_engine
from mnatune.model.load import load_tokenizer
from mnatune.model.prompt import Example, dialogue, examples
from mnatune.pack import Pack
from mnatune.runs.journey import perform
from mnatune.runs.recipe import Recipe, load_recipe
from mnatune.runs.workspace import Run, read_jsonl, write_jsonl
from mnatune.stages.evaluate.statistics import Comparison, compare_paired

SHARED = ("read", "curate", "judge")
Counts = list[tuple[float, float]]  # of each text: tokens predicted right, tokens


def recipe_of(share: float, source: Path, seed: int, quick: bool) -> Recipe:
    """The quickstart with a share of general rows."""
    recipe = load_recipe("quickstart").model_dump(mode="json")
    recipe["seed"] = seed
    recipe["compose"]["general"] = {str(source): share} if share else {}
    if quick:
        recipe["train"]["epochs"] = 0.05
    return Recipe.model_validate(recipe)


def halves(pack: Pack, seed: int, folder: Path) -> tuple[Path, list[dict[str, Any]]]:
    """A file with half of the general dialogues, and the other half."""
    rows = list(read_jsonl(pack.path("general.jsonl")))
    random.Random(seed).shuffle(rows)
    path = folder / "general.jsonl"
    write_jsonl(path, rows[: len(rows) // 2])
    return path, rows[len(rows) // 2 :]


def trained(recipe: Recipe, home: Run, folder: Path) -> Run:
    """A run with the home's rows, composed and trained by a recipe."""
    if not folder.is_dir():
        shutil.copytree(home.root, folder)
    run = Run(folder)
    for stage in ("compose", "train"):
        perform(stage, recipe, run)
    return run


def predicted(base: str, adapters: dict[str, Path], texts: dict[str, list[Example]]) -> dict[str, dict[str, Counts]]:
    """Model → set of texts → tokens predicted right and tokens, by text."""
    found: dict[str, dict[str, Counts]] = {}
    with open_engine(base, adapters) as engine:
        for model in ("base", *adapters):
            found[model] = {
                name: [(float(one.hits), float(one.tokens)) for one in engine.likelihoods(model, rows)]
                for name, rows in texts.items()
            }
    return found


def of_seed(args: argparse.Namespace, pack: Pack, seed: int) -> tuple[dict[str, dict[str, Counts]], dict[str, int]]:
    """What the base and the model of each share predict right, and the general rows that each was trained on."""
    folder = args.out / f"seed-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    source, kept = halves(pack, seed, folder)
    home = Run(folder / "home")
    for stage in SHARED:
        perform(stage, recipe_of(0, source, seed, args.quick), home)
    runs = {
        share: trained(recipe_of(share, source, seed, args.quick), home, folder / f"share-{share}")
        for share in args.shares
    }
    tokenizer = load_tokenizer("starter")
    guard = [
        [*dialogue(row["question"], pack.system_prompt), {"role": "assistant", "content": row["answer"]}]
        for row in kept
    ]
    field = [row["messages"] for row in read_jsonl(runs[args.shares[0]].require("compose", "test.jsonl"))]
    texts = {
        name: [examples(tokenizer, turns)[-1] for turns in dialogues]
        for name, dialogues in {"general": guard, "field": field}.items()
    }
    adapters = {str(share): run.require("train", "adapter") for share, run in runs.items()}
    rows = {
        str(share): sum(row["category"] == "일반" for row in read_jsonl(run.require("compose", "train.jsonl")))
        for share, run in runs.items()
    }
    return predicted("starter", adapters, texts), rows


def main() -> None:
    """Train, predict, compare, print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.0, 0.02, 0.04])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--quick", action="store_true", help="one seed, a twentieth of an epoch: shows that it runs, proves nothing"
    )
    args = parser.parse_args()
    pack, rows = Pack.load("mna_ko"), {}
    together: dict[tuple[str, str], list[tuple[str, tuple[float, float]]]] = {}
    for seed in range(1 if args.quick else args.seeds):
        found, counts = of_seed(args, pack, seed)
        rows[seed] = counts
        for model, sets in found.items():
            for name, column in sets.items():
                together.setdefault((model, name), []).extend((f"{seed}/{at}", one) for at, one in enumerate(column))
    none, most = (str(one) for one in (args.shares[0], args.shares[-1]))

    def compared(name: str, first: str, second: str) -> Comparison:
        before, after = together[first, name], together[second, name]
        return compare_paired(
            np.array([one for _, one in before]), np.array([one for _, one in after]), [at for at, _ in before]
        )

    pairs = [("base", model) for model in map(str, args.shares)] + [
        (none, model) for model in map(str, args.shares[1:])
    ]
    differences = {
        f"{name}: {second} - {first}": compared(name, first, second).as_dict(100)
        for name in ("general", "field")
        for first, second in pairs
    }
    for name, row in differences.items():
        print(f"{name:<28} {row['base']['value']} -> {row['tuned']['value']}   {row['difference']}", flush=True)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    ours = compared("general", none, most)
    print(
        json.dumps(
            {
                "bench": "general", "commit": commit.stdout.strip(), "device": f"{platform.machine()}, one thread",
                "seeds": len(rows), "general rows": rows,
                "ratio": {"seed": round(ours.tuned.value / ours.base.value, 3)},
                "ours": {"general": ours.tuned.value}, "baseline": {"general": ours.base.value}, "differences": differences,
            }, ensure_ascii=False,
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
