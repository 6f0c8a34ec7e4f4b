"""LoRA training, three ways in one call: the seed's recipe, plain TRL with packing, mnatune.

    python bench/train.py --quick                  starter model on a CPU, under two minutes on two idle cores
    python bench/train.py                          the same with more steps; on CUDA a random-weight Qwen3-8B
    python bench/train.py --run runs/quickstart    rows of a run instead of the pack's own questions

    (a) seed      TRL's SFTTrainer, batch 1 x 8, padded, fp32 on a CPU and bf16 on CUDA
    (b) packing   the same with TRL's packing (bfd) to about the rows of one step, one pack a step
    (c) mnatune   what `throughput: auto` makes of the seed's recipe on this machine

All see the same rows in the same order, the same LoRA (r 8, alpha 32, dropout 0.1), the same optimizer and the same
number of threads; gradient checkpointing, evaluation and saving are off for all. They run in turn, each in a process of
its own on a CPU, and the median of the repeats is kept. Tokens are real ones, padding is not counted. On a CPU that is
shared, wall time says little: the ratio there is of CPU seconds, and both are printed. Two warm-up steps are left out.

MFU on CUDA: (6 x matmul parameters + causal attention) x (2 + lora/frozen) / 3 FLOP per token (mnatune.stages.train.plan)
over the card's dense bf16 peak. The last line is JSON.
"""

import argparse
import gc
import json
import logging
import multiprocessing
import os
import platform
import random
import resource
import statistics
import subprocess
import tempfile
import time
import warnings
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, PrinterCallback, Qwen3Config, Qwen3ForCausalLM, TrainerCallback, set_seed
from trl import SFTConfig, SFTTrainer

from mnatune.model.device import PEAK_TFLOPS
from mnatune.model.load import load_base, load_tokenizer
from mnatune.model.memory import shape_of
from mnatune.model.prompt import Example, dialogue, examples
from mnatune.pack import Pack
from mnatune.runs.recipe import Recipe, bundled
from mnatune.stages.train.cpu import cheapen_dropout
from mnatune.stages.train.loop import collator, trl_config
from mnatune.stages.train.plan import make_plan
from mnatune.stages.train.setting import decide
from mnatune.stages.train.token_rows import TokenRows, as_dataset, load_rows, step_order
from mnatune.stages.train.trainer import AnswerTrainer

ROWS_PER_STEP = 8
WARM_UP = 2
SEED = 42
BIG = "Qwen/Qwen3-8B"
VARIANTS = ("seed", "packing", "mnatune")


class Clock(TrainerCallback):
    """Wall and CPU seconds of the steps after the warm-up."""

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step in (WARM_UP, state.max_steps):
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            now = (time.perf_counter(), time.process_time())
            if state.global_step == WARM_UP:
                self.began = now
            else:
                self.wall, self.cpu = now[0] - self.began[0], now[1] - self.began[1]


def make_recipe(model_id: str) -> Recipe:
    """The seed's values."""
    train = {"rows_per_step": ROWS_PER_STEP, "epochs": 1}
    return Recipe.model_validate({"name": "bench", "model": {"id": model_id, "max_length": 384}, "train": train})


def pack_rows(tokenizer, count: int) -> list[Example]:
    """The pack's own questions and answers as they are trained."""
    pack = Pack.load("mna_ko")
    lines = pack.path("qa.jsonl").read_text(encoding="utf-8").splitlines()
    random.Random(SEED).shuffle(lines)
    found = []
    for row in map(json.loads, lines):
        turns = [*dialogue(row["question"], pack.system_prompt), {"role": "assistant", "content": row["answer"]}]
        found += [e for e in examples(tokenizer, turns) if len(e) <= 384]
    return found[:count]


def made_up_rows(vocabulary: int, count: int) -> list[Example]:
    """Random ids with the seed's lengths: 44 shared tokens, 205 in the mean, 384 at most."""
    draw = random.Random(SEED)
    system = [draw.randrange(1000, vocabulary) for _ in range(44)]
    rows = []
    for _ in range(count):
        length = min(384, max(90, round(draw.lognormvariate(5.25, 0.38))))
        question = draw.randrange(20, 40)
        ids = [draw.randrange(1000, vocabulary) for _ in range(length - 44)]
        rows.append(Example(system + ids[:question], ids[question:]))
    return rows


def base_model(model_id: str, dtype: torch.dtype):
    """The starter from disk, or Qwen3-8B with random weights made on the GPU."""
    if model_id != BIG:
        return AutoModelForCausalLM.from_pretrained(str(bundled("starter") / "model"), dtype=dtype)
    s = shape_of(model_id)
    config = Qwen3Config(
        vocab_size=s.vocabulary, hidden_size=s.hidden, intermediate_size=s.intermediate, num_hidden_layers=s.layers,
        num_attention_heads=s.heads, num_key_value_heads=s.kv_heads, head_dim=s.head_dim, tie_word_embeddings=s.tied,
    )  # fmt: skip
    former = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device("cuda"):
            return Qwen3ForCausalLM(config)
    finally:
        torch.set_default_dtype(former)


def with_lora(model, recipe: Recipe):
    """The same adapter for all."""
    t = recipe.train
    lora = LoraConfig(
        r=t.r, lora_alpha=t.alpha, lora_dropout=t.dropout, target_modules=t.targets, task_type="CAUSAL_LM"
    )
    return get_peft_model(model, lora)


def plain_trainer(recipe: Recipe, rows: TokenRows, tokenizer, place: str, packing: bool):
    """TRL as its documentation shows it, on rows that are tokenised already."""
    cuda, t = torch.cuda.is_available(), recipe.train
    wide = ROWS_PER_STEP * sum(rows.lengths) // len(rows.lengths) * 17 // 16 if packing else None  # bfd fills 95 %
    config = SFTConfig(
        output_dir=place, num_train_epochs=1, per_device_train_batch_size=1,
        gradient_accumulation_steps=1 if packing else ROWS_PER_STEP, learning_rate=1e-4,
        lr_scheduler_type="linear", warmup_steps=1, max_grad_norm=t.max_grad_norm, weight_decay=0.0, bf16=cuda,
        packing=packing, max_length=wide, train_sampling_strategy="sequential", gradient_checkpointing=False,
        logging_steps=1, save_strategy="no", report_to=[], disable_tqdm=True, use_cpu=not cuda, log_level="error",
        dataloader_pin_memory=cuda, optim="adamw_torch_fused" if cuda else "adamw_torch", seed=SEED,
        dataset_kwargs=None if packing else {"skip_prepare_dataset": True},
    )  # fmt: skip
    model = with_lora(base_model(recipe.model.id, torch.bfloat16 if cuda else torch.float32), recipe)
    return SFTTrainer(model=model, args=config, train_dataset=as_dataset(rows), processing_class=tokenizer)


def our_trainer(recipe: Recipe, rows: TokenRows, tokenizer, place: str):
    """What `mnatune train` builds."""
    setting = decide(recipe, rows, TokenRows([], []))
    config = trl_config(recipe, setting, Path(place), [], evaluate=False)
    config.save_strategy, config.logging_steps = "no", 1
    big = recipe.model.id == BIG
    model = base_model(BIG, torch.bfloat16) if big else load_base("starter", dtype="bf16")
    model.config.use_cache = False
    model = with_lora(model, recipe)
    if not torch.cuda.is_available():
        cheapen_dropout(model)
    if setting.attention:
        model.get_base_model().set_attn_implementation(setting.attention)
    return AnswerTrainer(
        model=model, args=config, train_dataset=as_dataset(rows), processing_class=tokenizer,
        data_collator=collator(tokenizer, setting), prefix=setting.prefix,
    )  # fmt: skip


def measure(variant: str, model_id: str, found: list[Example], threads: int) -> dict[str, float]:
    """One training of one variant."""
    from peft.helpers import disable_input_dtype_casting

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(threads)
    recipe, tokenizer = make_recipe(model_id), load_tokenizer("starter")
    rows = TokenRows(found, [""] * len(found))
    order = step_order(rows.lengths, ROWS_PER_STEP, 1, SEED)
    rows = TokenRows([found[i] for i in order], [""] * len(order))
    set_seed(SEED)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with tempfile.TemporaryDirectory() as place:
        ours = variant == "mnatune"
        made = our_trainer(recipe, rows, tokenizer, place) if ours else plain_trainer(
            recipe, rows, tokenizer, place, variant == "packing"
        )  # fmt: skip
        clock = Clock()
        made.add_callback(clock)
        made.remove_callback(PrinterCallback)
        with disable_input_dtype_casting(made.model, active=ours):  # as run_trainer does
            made.train()
    lines = [line for line in made.state.log_history if "loss" in line]
    steps = made.state.max_steps
    share = (steps - WARM_UP) / steps
    tokens = sum(rows.lengths) * share
    result = {
        "seconds": clock.wall, "cpu_seconds": clock.cpu, "tokens": tokens, "steps": steps,
        "tokens_per_second": tokens / clock.wall, "tokens_per_cpu_second": tokens / clock.cpu,
        "samples_per_second": len(found) * share / clock.wall,
        "mean_loss": statistics.mean(line["loss"] for line in lines),
        "grad_norm": statistics.mean(line["grad_norm"] for line in lines),
        "peak_gb": (
            torch.cuda.max_memory_allocated() if torch.cuda.is_available()
            else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        ) / 2**30,
    }  # fmt: skip
    if ours:
        result["micro_batch"], result["shared_prefix"] = made.args.per_device_train_batch_size, made.prefix
    if torch.cuda.is_available():
        plan = make_plan(recipe, rows.lengths)
        peak = next((v for name, v in PEAK_TFLOPS.items() if name in torch.cuda.get_device_name()), None)
        tflops = plan.flop / plan.tokens * result["tokens_per_second"] / 1e12
        result |= {"model_tflops": tflops, "mfu": tflops / peak if peak else float("nan")}
    return result


def in_process(variant: str, *args) -> dict[str, float]:
    """On a CPU in a forked process, so that memory is its own; on CUDA here, which cannot fork."""
    if torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()
        return measure(variant, *args)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(measure, (variant, *args))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few steps")
    parser.add_argument("--steps", type=int, help="optimizer steps after the warm-up")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of every variant")
    parser.add_argument("--run", type=Path, help="a run whose composed rows are trained")
    args = parser.parse_args()
    cuda = torch.cuda.is_available()
    model_id = BIG if cuda else "starter"
    steps = args.steps or (5 if args.quick else 20)
    torch.set_num_threads(1)  # nothing is computed in this process where it forks
    tokenizer, count = load_tokenizer("starter"), ROWS_PER_STEP * (steps + WARM_UP)
    if cuda:
        rows = made_up_rows(shape_of(BIG).vocabulary, count)
    elif args.run:
        rows = load_rows(args.run / "5-compose" / "train.jsonl", tokenizer, 384).examples[:count]
    else:
        rows = pack_rows(tokenizer, count)
    lengths = [len(row) for row in rows]
    print(f"{len(rows)} rows, {sum(lengths) / len(rows):.1f} tokens in the mean, {model_id}, {args.threads} thread(s)")
    runs: dict[str, list[dict[str, float]]] = {variant: [] for variant in VARIANTS}
    for _ in range(args.repeat):
        for variant in VARIANTS:
            runs[variant].append(in_process(variant, model_id, rows, args.threads))
            print(f"  {variant:<8}", "  ".join(f"{k} {v:.4g}" for k, v in runs[variant][-1].items()), flush=True)
    middle = {v: {k: statistics.median(run[k] for run in found) for k in found[0]} for v, found in runs.items()}
    rate = "tokens_per_second" if cuda else "tokens_per_cpu_second"
    ratio = {v: round(middle["mnatune"][rate] / middle[v][rate], 3) for v in ("seed", "packing")}
    ratio |= {
        f"{v}_wall": round(middle["mnatune"]["tokens_per_second"] / middle[v]["tokens_per_second"], 3) for v in ratio
    }
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout
    device = torch.cuda.get_device_name() if cuda else f"{platform.machine()} CPU, {args.threads} thread(s)"
    report = {
        "bench": "train", "commit": commit.strip(), "device": device, "ratio": ratio,
        "ours": {k: round(v, 4) for k, v in middle["mnatune"].items()},
        "baseline": {v: {k: round(x, 4) for k, x in middle[v].items()} for v in ("seed", "packing")},
    }  # fmt: skip
    print(json.dumps(report))


if __name__ == "__main__":
    main()
