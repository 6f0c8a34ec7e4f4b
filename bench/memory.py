"""The plan's memory against what a training step takes.

    python bench/memory.py                 on a CPU: three shapes of random weights, a few minutes on two cores, and
                                           every other training method on one shape; --only NAME … takes some
    python bench/memory.py                 on CUDA: Qwen3-8B with random weights, LoRA in bf16 and QLoRA (nf4)
    python bench/memory.py --simulate      on any machine: Qwen3-8B, 14B and 32B at full size, without allocating them

Each case is a process of its own that does two optimizer steps of `mnatune train` on rows of the seed's greatest length.
The other methods do one step on texts of the pack, through the product's own train stage, from a random adapter where they start from
one. Measured is the growth of the process's peak resident memory from just before the model is loaded (CPU), or the peak of
allocated memory (CUDA). The plan's part for the CUDA context is left out of the comparison on both. On a CPU every
tensor above a megabyte is mapped by itself (MALLOC_MMAP_THRESHOLD_), else glibc's heap, which keeps the holes between
tensors, would be measured: without it the first case takes half as much again. The last line is JSON.
"""

import argparse
import importlib
import json
import logging
import multiprocessing
import os
import platform
import random
import resource
import subprocess
import tempfile
import warnings
from pathlib import Path

import psutil
import torch
from simulated import CASES, simulate
from transformers import PrinterCallback, Qwen3Config, Qwen3ForCausalLM, set_seed

from mnatune.law import LawIndex
from mnatune.model.load import load_tokenizer
from mnatune.model.memory import CONTEXT_GIB, GIB, shape_of
from mnatune.model.prompt import Example, dialogue, prompt_ids
from mnatune.pack import Pack
from mnatune.runs.job import Job
from mnatune.runs.recipe import Recipe
from mnatune.runs.workspace import Run, Stage, read_jsonl, write_jsonl
from mnatune.stages.train import train as train_stage
from mnatune.stages.train.loop import adapted, collator, trl_config
from mnatune.stages.train.setting import Setting, decide, fitted
from mnatune.stages.train.token_rows import TokenRows, as_dataset
from mnatune.stages.train.trainer import AnswerTrainer

LENGTH, ROWS_PER_STEP, STEPS = 384, 8, 2
# hidden, layers, heads, key heads, intermediate, vocabulary; then keys of the recipe's train section
CPU_CASES = {
    "plain": ((1024, 8, 16, 8, 3072, 32_000), {"dropout": 0.0, "throughput": "plain"}),
    "dropout": ((1024, 6, 16, 8, 3072, 32_000), {"dropout": 0.1, "throughput": "plain"}),
    "checkpointing": ((1024, 12, 16, 8, 3072, 32_000), {"dropout": 0.0, "extra": {"gradient_checkpointing": True}}),
}
METHOD_SHAPE = (512, 4, 8, 4, 1536, 12_032)  # the starter's vocabulary: these cases have its tokenizer
METHOD_CASES = {
    "dpo": {"rows_per_step": 4},
    "kto": {},
    "grpo": {"epochs": 0.25, "options": {"generations": 4, "answer_tokens": 192}},
    "distill": {},
}
CUDA_CASES = {
    "lora": (None, {"quantize": "none", "extra": {"per_device_train_batch_size": 1}}),
    "qlora": (None, {"quantize": "nf4", "memory_gb": 10}),
}


def save_random_model(folder: Path, numbers: tuple[int, ...] | None) -> None:
    """A Qwen3 of random bf16 weights; without numbers that of Qwen3-8B."""
    if numbers is None:
        s = shape_of("Qwen/Qwen3-8B")
        numbers = (s.hidden, s.layers, s.heads, s.kv_heads, s.intermediate, s.vocabulary)
    hidden, layers, heads, kv_heads, intermediate, vocabulary = numbers
    config = Qwen3Config(
        vocab_size=vocabulary, hidden_size=hidden, intermediate_size=intermediate, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=kv_heads, head_dim=128, tie_word_embeddings=vocabulary < 100_000,
    )  # fmt: skip
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        Qwen3ForCausalLM(config).save_pretrained(folder)
    torch.set_default_dtype(torch.float32)


def measure(folder: str, train: dict[str, object]) -> dict[str, float]:
    """Plan and peak of one case in GiB, without the CUDA context."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    values = {"rows_per_step": ROWS_PER_STEP, "epochs": 1, **train}
    recipe = Recipe.model_validate({"name": "memory", "model": {"id": folder, "max_length": LENGTH}, "train": values})
    draw = random.Random(1)
    made = [draw.choices(range(1000, 12_000), k=LENGTH) for _ in range(ROWS_PER_STEP * STEPS)]
    rows = TokenRows([Example(ids[:100], ids[100:]) for ids in made], [""] * len(made))
    setting, tokenizer = decide(recipe, rows, TokenRows([], [])), load_tokenizer("starter")
    torch.ones(64, 64) @ torch.ones(64, 64)  # the runtime's own threads and buffers are no part of the training
    before = psutil.Process().memory_info().rss
    set_seed(1)
    with tempfile.TemporaryDirectory() as place:
        config = trl_config(recipe, setting, Path(place), [], evaluate=False)
        config.save_strategy = "no"
        trainer = AnswerTrainer(
            model=adapted(recipe, setting), args=config, train_dataset=as_dataset(rows),
            processing_class=tokenizer, data_collator=collator(tokenizer, setting), prefix=setting.prefix,
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    if torch.cuda.is_available():
        peak = torch.cuda.max_memory_allocated()
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    planned = setting.plan.total_gb - CONTEXT_GIB
    if setting.train.dropout and not torch.cuda.is_available():  # its masks take two bytes here, and one on CUDA
        shape = shape_of(folder)
        planned += setting.batch * LENGTH * shape.layers * sum(i for i, _ in shape.linear.values()) / GIB
    return {"planned_gib": planned, "measured_gib": peak / GIB, "micro_batch": setting.batch}


def method_run(folder: Path) -> Run:
    """Rows of the pack for every method, as long as they may be, and a random adapter beside them."""
    tokenizer, pack, run = load_tokenizer(str(folder)), Pack.load("mna_ko"), Run(folder / "run")
    text = " ".join(row["answer"] for row in read_jsonl(pack.path("qa.jsonl"))[:40])
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    rows, pairs = [], []
    for at in range(ROWS_PER_STEP):
        prompt = dialogue(tokenizer.decode(ids[at * 7 : at * 7 + 60]), pack.system_prompt)
        room = LENGTH - len(prompt_ids(tokenizer, prompt)) - 30
        answers = [
            [{"role": "assistant", "content": tokenizer.decode(ids[start : start + room])}]
            for start in (300 + at, 700 + at)
        ]
        passage = {"name": "글", "in_force": "시행 중", "text": tokenizer.decode(ids[at : at + 420])}
        rows.append({"id": str(at), "messages": [*prompt, *answers[0]], "passage": {**passage, "span": str(at)}})
        pairs.append({"prompt": prompt, "chosen": answers[0], "rejected": answers[1], "margin": 1})

    def work(place: Stage) -> None:
        for name, lines in {"train": rows, "valid": [], "test": [], "preferences": pairs[: ROWS_PER_STEP // 2]}.items():
            write_jsonl(place.path(f"{name}.jsonl"), lines)

    run.perform("compose", {}, {}, 42, "", work)
    recipe = method_recipe(folder, {})
    setting = Setting(*fitted(recipe, [LENGTH] * ROWS_PER_STEP))
    adapted(recipe, setting).save_pretrained(folder / "adapter")
    return run


def prepare_methods(folder: Path) -> None:
    """Model, rows and adapter of the methods' cases."""
    save_random_model(folder, METHOD_SHAPE)
    load_tokenizer("starter").save_pretrained(folder)
    method_run(folder)


def method_recipe(folder: Path, train: dict[str, object]) -> Recipe:
    """One step of a method."""
    values = {"epochs": 1, "dropout": 0.0, "rows_per_step": ROWS_PER_STEP, "checkpoint_every": 100, **train}
    return Recipe.model_validate(
        {"name": "memory", "model": {"id": str(folder), "max_length": LENGTH}, "train": values}
    )


def measure_method(folder: str, method: str, train: dict[str, object]) -> dict[str, float]:
    """As `measure`, of the train stage itself."""
    for name in ("distill_loop", "grpo_loop", "preference"):  # the libraries' own memory is no part of the training
        importlib.import_module(f"mnatune.stages.train.{name}")
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    start = {} if method == "distill" else {"from_adapter": f"{folder}/adapter"}
    recipe = method_recipe(Path(folder), {"method": method, **start, **train})
    pack, run = Pack.load("mna_ko"), Run(Path(folder) / "run")
    torch.ones(64, 64) @ torch.ones(64, 64)
    before, facts = psutil.Process().memory_info().rss, {}
    if method == "grpo":  # the law memory with its analyser is no part of the training
        law = LawIndex.open(pack.root)
        law.search("합병")
        before = psutil.Process().memory_info().rss

    def work(stage: Stage) -> None:
        train_stage(Job(recipe, pack, run, stage))
        facts.update(stage.manifest.facts)

    run.perform("train", {}, {"method": method}, 42, "", work, force=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    planned = facts["plan"]["total_gb"] - CONTEXT_GIB
    return {
        "planned_gib": planned,
        "measured_gib": peak / GIB,
        "micro_batch": facts["setting"]["batch"],
        "planned_tokens": facts["plan"]["tokens"],
        "measured_tokens": facts["measured"]["tokens"],
        "planned_steps": facts["plan"]["steps"],
        "measured_steps": facts["measured"]["steps"],
    }


def simulate_all(*, quick: bool) -> None:
    """Plan and simulation of every case, as a table and a JSON line."""
    found = {}
    for name, case in list(CASES.items())[: 2 if quick else None]:
        one = found[name] = simulate(case)
        print(f"{name:<34} planned {one['planned_gib']:7.2f} GiB, simulated {one['simulated_gib']:7.2f} GiB, "
              f"{one['ratio'] - 1:+.1%}", flush=True)  # fmt: skip
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout
    report = {
        "bench": "memory-simulated", "commit": commit.strip(), "device": f"{platform.machine()} CPU, FakeTensorMode",
        "ratio": {name: one["ratio"] for name, one in found.items()},
        "ours": {name: one["planned_gib"] for name, one in found.items()},
        "baseline": {name: one["simulated_gib"] for name, one in found.items()},
    }  # fmt: skip
    print(json.dumps(report))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the first case alone")
    parser.add_argument("--only", nargs="+", help="cases of a CPU to take")
    parser.add_argument("--simulate", action="store_true", help="count a step's storages without computing it")
    args = parser.parse_args()
    if args.simulate:
        simulate_all(quick=args.quick)
        return
    cuda = torch.cuda.is_available()
    os.environ["MALLOC_MMAP_THRESHOLD_"] = str(1 << 20)  # read by the processes that are started
    cases = list((CUDA_CASES if cuda else CPU_CASES).items())[: 1 if args.quick else None]
    cases = [case for case in cases if not args.only or case[0] in args.only]
    found = {}
    for name, (numbers, train) in cases:
        with tempfile.TemporaryDirectory() as folder, multiprocessing.get_context("spawn").Pool(1) as pool:
            pool.apply(save_random_model, (Path(folder), numbers))
            with multiprocessing.get_context("spawn").Pool(1) as fresh:
                found[name] = fresh.apply(measure, (folder, train))
        one = found[name]
        print(f"{name:<14} planned {one['planned_gib']:.2f} GiB, measured {one['measured_gib']:.2f} GiB", flush=True)
    methods = {} if cuda or args.quick else {n: t for n, t in METHOD_CASES.items() if not args.only or n in args.only}
    with tempfile.TemporaryDirectory() as folder:
        if methods:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                pool.apply(prepare_methods, (Path(folder),))
        for name, train in methods.items():
            with multiprocessing.get_context("spawn").Pool(1) as fresh:
                one = found[name] = fresh.apply(measure_method, (folder, name, train))
            print(
                f"{name:<14} planned {one['planned_gib']:.2f} GiB, measured {one['measured_gib']:.2f} GiB", flush=True
            )
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout
    device = torch.cuda.get_device_name() if cuda else f"{platform.machine()} CPU"
    ratio = {name: round(one["planned_gib"] / one["measured_gib"], 3) for name, one in found.items()}
    ours = {name: {key: round(value, 3) for key, value in one.items()} for name, one in found.items()}
    print(json.dumps({"bench": "memory", "commit": commit.strip(), "device": device, "ratio": ratio, "ours": ours}))


if __name__ == "__main__":
    main()
