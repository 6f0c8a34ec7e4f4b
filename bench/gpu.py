"""Everything that wants measuring on a GPU, in one run of about eight minutes; what is done already is not done again.

    python bench/gpu.py --out gpu.json             on the card
    python bench/gpu.py --out gpu.json --tiny      on any machine: the same parts on a tiny model, to see that they run

Parts, each a process of its own:

* train-bf16, train-nf4: Qwen3-8B of random weights through the product's own trainer at the seed's row lengths: real
  tokens/s, MFU, peak memory against the plan;
* journey: a 0.6B model of random weights from archive to evaluation and report, by `mnatune run`;
* export: `mnatune export merged`;
* resume: `mnatune train --prove-resume`.

MFU: (6 x matmul parameters + causal attention) x (2 + lora/frozen) / 3 FLOP per token over the card's dense bf16 peak.
Public bars for LoRA of 7-8B on one H100: 8,429 tokens/s (Megatron-Bridge), 12,473-14,110 (NeMo Automodel). The last
line is JSON. A part that fails keeps its error and is tried again by the next run.
"""

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIMIT = 480.0  # seconds after which no further part is begun
STEPS, WARM_UP = 12, 3
PARTS = ("train-bf16", "train-nf4", "journey", "export", "resume")


def save_model(folder: Path, name: str, *, tiny: bool) -> None:
    """Random bf16 weights of a Qwen3 with the starter's tokenizer; kept, since writing 16 GB takes a while."""
    if (folder / "config.json").is_file():
        return
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from mnatune.model.load import load_tokenizer
    from mnatune.model.memory import shape_of

    tokenizer, s = load_tokenizer("starter"), shape_of(name)
    sizes = (len(tokenizer), 64, 128, 2, 2, 1, 32, True) if tiny else (
        s.vocabulary, s.hidden, s.intermediate, s.layers, s.heads, s.kv_heads, s.head_dim, s.tied)  # fmt: skip
    vocabulary, hidden, intermediate, layers, heads, kv_heads, head_dim, tied = sizes
    config = Qwen3Config(
        vocab_size=vocabulary, hidden_size=hidden, intermediate_size=intermediate, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=kv_heads, head_dim=head_dim, tie_word_embeddings=tied,
        max_position_embeddings=4096, pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )  # fmt: skip
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        Qwen3ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def measure_training(folder: Path, quantize: str) -> dict[str, float]:
    """Speed and peak memory of the product's trainer on rows of the seed's lengths."""
    import torch
    from transformers import TrainerCallback

    from mnatune.model.device import find_device
    from mnatune.model.load import load_tokenizer
    from mnatune.model.prompt import Example
    from mnatune.runs.recipe import Recipe
    from mnatune.stages.train.loop import adapted, collator, trl_config
    from mnatune.stages.train.setting import decide
    from mnatune.stages.train.token_rows import TokenRows, as_dataset
    from mnatune.stages.train.trainer import AnswerTrainer

    recipe = Recipe.model_validate(
        {"name": "gpu", "model": {"id": str(folder)}, "train": {"quantize": quantize, "epochs": 1}}
    )
    draw = random.Random(1)
    lengths = [min(384, max(60, round(draw.gauss(205, 70)))) for _ in range(8 * STEPS)]  # the seed's: 205.2 in the mean
    ids = [draw.choices(range(1000, 10_000), k=n) for n in lengths]
    rows = TokenRows([Example(row[: len(row) // 2], row[len(row) // 2 :]) for row in ids], [""] * len(ids))
    setting, device, clock = decide(recipe, rows, TokenRows([], [])), find_device(), {}

    class Clock(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if device.cuda:
                torch.cuda.synchronize()
            clock[state.global_step] = time.perf_counter()

    with tempfile.TemporaryDirectory() as place:
        trainer = AnswerTrainer(
            model=adapted(recipe, setting), args=trl_config(recipe, setting, Path(place), [], evaluate=False),
            train_dataset=as_dataset(rows), processing_class=load_tokenizer("starter"),
            data_collator=collator(load_tokenizer("starter"), setting), callbacks=[Clock()], prefix=setting.prefix,
        )  # fmt: skip
        trainer.train()
    seconds = clock[STEPS] - clock[WARM_UP]
    speed = sum(lengths[8 * WARM_UP :]) / seconds
    flop = setting.plan.flop / setting.plan.tokens * speed
    found = {
        "tokens_per_second": round(speed, 1), "rows_at_once": setting.batch, "planned_gib": round(setting.plan.total_gb, 2),
        "model_tflops": round(flop / 1e12, 3), "attention": setting.attention or "default",
        "mean_loss": round(trainer.state.log_history[-1]["train_loss"], 4),
    }  # fmt: skip
    if device.cuda:
        found["peak_gib"] = round(torch.cuda.max_memory_reserved() / 2**30, 2)
        if device.peak_tflops:
            found["mfu"] = round(flop / 1e12 / device.peak_tflops, 4)
    return found


def commands(place: Path, *, tiny: bool) -> dict[str, list[str]]:
    """The command of each part that is one."""
    run, small = str(place / "run"), str(place / "small")
    sets = [f"model.id={small}", "evaluate.items=16", "generation.max_new_tokens=64"]
    sets += (
        ["train.epochs=0.2", "evaluate.items=2", "evaluate.exam=false", "generation.max_new_tokens=4"] if tiny else []
    )
    options = [part for value in sets for part in ("--set", value)]
    return {
        "journey": ["run", "quickstart", "--out", run, *options],
        "export": ["export", "merged", "--run", run, "--out", str(place / "merged")],
        "resume": ["train", "quickstart", "--out", run, "--prove-resume", "1" if tiny else "3", *options],
    }


def watch(peak: list[float], done: threading.Event) -> None:
    """Keep the highest memory in use on the card, by whatever process."""
    import torch

    while not done.wait(0.2):
        if torch.cuda.is_available():
            free, total = torch.cuda.mem_get_info()
            peak.append((total - free) / 2**30)


def do_part(name: str, place: Path, *, tiny: bool) -> dict[str, object]:
    """One part in a process of its own, watched."""
    command = commands(place, tiny=tiny).get(name)
    if command:
        line = [sys.executable, "-m", "mnatune", *command]
    else:
        line = [sys.executable, __file__, "--part", name, "--place", str(place), *(["--tiny"] if tiny else [])]
    peak, done, began = [0.0], threading.Event(), time.monotonic()
    watcher = threading.Thread(target=watch, args=(peak, done))
    watcher.start()
    told = subprocess.run(line, capture_output=True, text=True, cwd=ROOT)
    done.set()
    watcher.join()
    found: dict[str, object] = {"seconds": round(time.monotonic() - began, 1), "command": " ".join(line[1:])}
    if told.returncode:
        return found | {"error": (told.stderr or told.stdout)[-600:]}
    if not command:
        found |= json.loads(told.stdout.strip().splitlines()[-1])
    return found | ({"device_peak_gib": round(max(peak), 2)} if max(peak) else {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("gpu.json"), help="results; a later run takes them up")
    parser.add_argument("--place", type=Path, default=Path(tempfile.gettempdir()) / "mnatune-gpu")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    big, small = args.place / "big", args.place / "small"
    if args.part:
        save_model(big, "Qwen/Qwen3-8B", tiny=args.tiny)
        print(json.dumps(measure_training(big, "nf4" if args.part == "train-nf4" else "none")))
        return
    began = time.monotonic()
    kept = json.loads(args.out.read_text(encoding="utf-8"))["ours"] if args.out.is_file() else {}
    found = {name: part for name, part in kept.items() if "error" not in part}
    save_model(small, "Qwen/Qwen3-0.6B", tiny=args.tiny)
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{platform.machine()} CPU"
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout
    for name in PARTS:
        if name not in found and time.monotonic() - began < LIMIT:
            found[name] = do_part(name, args.place, tiny=args.tiny)
            print(f"{name:<11} {json.dumps(found[name], ensure_ascii=False)}", flush=True)
        report = {
            "bench": "gpu",
            "commit": commit.strip(),
            "device": device,
            "tiny": args.tiny,
            "ratio": {},
            "ours": found,
        }
        args.out.write_text(json.dumps(report, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report, ensure_ascii=False))
    sys.exit(any("error" in part for part in found.values()))


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
