"""Every training method killed by SIGKILL at random moments and resumed: the adapter, byte for byte, and every logged figure.

    python bench/methods.py [--times 5] [--methods sft dpo kto grpo distill] [--model FOLDER] [--quick]

`mnatune train --prove-resume N` on a random Qwen3 of two layers with the starter's tokenizer, or on the model of FOLDER, over rows
of the pack: 20 steps, a checkpoint every second one, each training a process of its own that is killed once at a random moment,
saving included. Methods that start from an adapter start from one that `sft` made. `ratio`: 1 for a method of which every
resumed training equals the one left alone, else 0. The last line is JSON.
"""

import argparse
import json
import platform
import subprocess
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from mnatune.model.load import load_tokenizer
from mnatune.model.prompt import dialogue
from mnatune.pack import Pack
from mnatune.runs.errors import EnvironmentFault
from mnatune.runs.job import Job
from mnatune.runs.recipe import Recipe
from mnatune.runs.workspace import Run, Stage, read_jsonl, write_jsonl
from mnatune.stages.train import train
from mnatune.stages.train.proof import prove

METHODS = ("sft", "dpo", "kto", "grpo", "distill")
PER_STEP = {"sft": 4, "dpo": 2, "kto": 2, "grpo": 4, "distill": 4}
ROWS, MAX_LENGTH = 120, 320


def random_model(folder: Path) -> None:
    """A small Qwen3 whose weights are drawn."""
    tokenizer = load_tokenizer("starter")
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=32, max_position_embeddings=2048, tie_word_embeddings=True,
    )  # fmt: skip
    Qwen3ForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)


def composed(run: Run, pack: Pack) -> None:
    """Rows of the pack for every method: dialogues, half of them with a passage, and pairs of answers."""
    short = [row for row in read_jsonl(pack.path("qa.jsonl")) if len(row["answer"]) < 200 and not row.get("history")]
    rows, pairs = [], []
    for at, (row, other) in enumerate(pairwise(short[: ROWS + 1])):
        prompt = dialogue(row["question"], pack.system_prompt)
        answer, worse = ([{"role": "assistant", "content": one["answer"]}] for one in (row, other))
        passage = {"name": row["source"], "in_force": "시행 중", "text": row["answer"], "span": row["answer"][:40]}
        rows.append({"id": str(at), "messages": [*prompt, *answer], **({"passage": passage} if at % 2 else {})})
        pairs.append({"prompt": prompt, "chosen": answer, "rejected": worse, "margin": 1})

    def work(place: Stage) -> None:
        for name, lines in {"train": rows[8:], "valid": rows[:8], "test": [], "preferences": pairs}.items():
            write_jsonl(place.path(f"{name}.jsonl"), lines)

    run.perform("compose", {}, {}, 42, "", work)


def recipe_of(model: str, method: str, start: Path | None) -> Recipe:
    """Twenty steps are cut out of this by the proof."""
    section: dict[str, Any] = {
        "method": method,
        "r": 4,
        "alpha": 8,
        "rows_per_step": PER_STEP[method],
        "learning_rate": 1e-3,
    }
    if method == "grpo":
        section["options"] = {"generations": 4, "answer_tokens": 16}
    if method in ("dpo", "kto", "grpo"):
        section["from_adapter"] = str(start)
    return Recipe.model_validate({"name": method, "model": {"id": model, "max_length": MAX_LENGTH}, "train": section})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--model", default="")
    parser.add_argument("--quick", action="store_true", help="each killed once")
    args = parser.parse_args()
    times, pack, told = 1 if args.quick else args.times, Pack.load("mna_ko"), {}
    with tempfile.TemporaryDirectory(prefix="methods-") as name:
        place = Path(name)
        model = args.model or str(place / "model")
        if not args.model:
            random_model(place / "model")
        run = Run(place / "run")
        composed(run, pack)
        first = recipe_of(model, "sft", None)
        run.perform("train", {}, {}, 42, "", lambda stage: train(Job(first, pack, run, stage)))
        for method in args.methods:
            began = time.perf_counter()
            try:
                said, equal = prove(recipe_of(model, method, run.folder("train") / "adapter"), run.root, times), 1
            except EnvironmentFault as error:
                said, equal = str(error), 0
            told[method] = {"seconds": round(time.perf_counter() - began, 1), "equal": equal, "said": said}
            print(f"{method}: {said}", flush=True)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout
    record = {
        "bench": "methods", "commit": commit.strip(), "device": f"{platform.machine()} CPU, one thread",
        "ratio": {"uninterrupted": {name: one["equal"] for name, one in told.items()}}, "times": times, "ours": told, "baseline": {"uninterrupted": 1},
    }  # fmt: skip
    print(json.dumps(record, ensure_ascii=False))


if __name__ == "__main__":
    main()
