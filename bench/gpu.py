"""Everything that wants measuring on a GPU, in one run of about eight minutes; what is done already is not done again.

    python bench/gpu.py --out gpu.json             on the card
    python bench/gpu.py --out gpu.json --tiny      on any machine: the same parts on a tiny model, to see that they run

Parts, each a process of its own, whose peak memory is recorded:

* train-bf16, train-nf4: Qwen3-8B of random weights through the product's own trainer at the seed's row lengths: real
  tokens/s, MFU, peak memory against the plan;
* answer-bf16, answer-nf4: the same model answers and scores as `evaluate` and `serve` do, against their plan;
* journey: a 0.6B model of random weights from archive to evaluation and report, by `mnatune run`;
* export: `mnatune export merged`, which compares the merged model's answers;
* serve: the journey's model behind the API, 16 clients;
* resume: `mnatune train --prove-resume`.

MFU: (6 x matmul parameters + causal attention) x (2 + lora/frozen) / 3 FLOP per token over the card's dense bf16 peak.
Public bars for LoRA of 7-8B on one H100: 8,429 tokens/s (Megatron-Bridge), 12,473-14,110 (NeMo Automodel). The last
line is JSON. A part that fails keeps its error and is tried again by the next run.
"""

import argparse
import asyncio
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIMIT = 480.0  # seconds after which no further part is begun
CLIENTS = 16
Found = dict[str, object]


def save_model(folder: Path, name: str, *, tiny: bool) -> None:
    """Random bf16 weights of a Qwen3 with the starter's tokenizer; kept, since writing 16 GB takes a while."""
    if (folder / "tokenizer_config.json").is_file():  # written last
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
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        torch.set_default_dtype(torch.bfloat16)
        Qwen3ForCausalLM(config).save_pretrained(folder)
        torch.set_default_dtype(torch.float32)
    tokenizer.save_pretrained(folder)


def train(place: Path, quantize: str, *, tiny: bool) -> Found:
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

    folder, steps, warm_up = place / "big", 2 if tiny else 12, 1 if tiny else 3
    save_model(folder, "Qwen/Qwen3-8B", tiny=tiny)
    recipe = Recipe.model_validate(
        {"name": "gpu", "model": {"id": str(folder)}, "train": {"quantize": quantize, "epochs": 1}}
    )
    draw = random.Random(1)
    lengths = [min(384, max(60, round(draw.gauss(205, 70)))) for _ in range(8 * steps)]  # the seed's: 205.2 in the mean
    ids = [draw.choices(range(1000, 10_000), k=n) for n in lengths]
    rows = TokenRows([Example(row[: len(row) // 2], row[len(row) // 2 :]) for row in ids], [""] * len(ids))
    setting, device, clock = decide(recipe, rows, TokenRows([], [])), find_device(), {}

    class Clock(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if device.cuda:
                torch.cuda.synchronize()
            clock[state.global_step] = time.perf_counter()

    with tempfile.TemporaryDirectory() as outputs:
        trainer = AnswerTrainer(
            model=adapted(recipe, setting), args=trl_config(recipe, setting, Path(outputs), [], evaluate=False),
            train_dataset=as_dataset(rows), processing_class=load_tokenizer("starter"),
            data_collator=collator(load_tokenizer("starter"), setting), callbacks=[Clock()], prefix=setting.prefix,
        )  # fmt: skip
        trainer.train()
    seconds = clock[steps] - clock[warm_up]
    speed = sum(lengths[8 * warm_up :]) / seconds
    flop = setting.plan.flop / setting.plan.tokens * speed
    found = {
        "tokens_per_second": round(speed, 1), "rows_at_once": setting.batch, "planned_gib": round(setting.plan.total_gb, 2),
        "model_tflops": round(flop / 1e12, 3), "attention": setting.attention or "default",
        "mean_loss": round(trainer.state.log_history[-1]["train_loss"], 4),
    }  # fmt: skip
    if device.peak_tflops:
        found["mfu"] = round(flop / 1e12 / device.peak_tflops, 4)
    return found


def answer(place: Path, quantize: str, *, tiny: bool) -> Found:
    """Answers and likelihoods of one engine, and the plan of the stages that need them."""
    from mnatune.model.engine.local import open_engine
    from mnatune.model.engine.protocol import Answer, Sampling, Task
    from mnatune.model.engine.scheduler import BatchLimits
    from mnatune.model.memory import BATCH_TOKENS, GIB, shape_of, stage_peaks
    from mnatune.model.prompt import Example

    folder, rows, limit = place / "big", 4 if tiny else 64, 4 if tiny else 128
    save_model(folder, "Qwen/Qwen3-8B", tiny=tiny)
    draw = random.Random(2)
    prompts = [draw.choices(range(1000, 10_000), k=100) for _ in range(rows)]
    sampling = Sampling(temperature=0.0, max_tokens=limit)
    with open_engine(str(folder), quantize=quantize, limits=BatchLimits(cache_tokens=BATCH_TOKENS)) as engine:
        began = time.perf_counter()
        made = engine.answers([Task("base", sampling, [], prompt=ids) for ids in prompts])
        seconds = time.perf_counter() - began
        engine.likelihoods("base", [Example(ids, ids) for ids in prompts])
    tokens = sum(len(one.ids) for one in made if isinstance(one, Answer))
    plan = stage_peaks(shape_of(str(folder)), quantize, 0)["evaluate"]
    return {"tokens_per_second": round(tokens / seconds, 1), "planned_gib": round(sum(plan.values()) / GIB, 2)}


def serve(place: Path) -> Found:
    """The journey's model behind the API."""
    import uvicorn
    from serve import body_of, free_port, load, question

    from mnatune.service.server import ServeOptions, build

    port = free_port()
    options = ServeOptions(run=place / "run", port=port, feedback="", keys=place / "keys.json")
    server = uvicorn.Server(uvicorn.Config(build(options), port=port, log_level="error", access_log=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.05)
    bodies = [body_of(question(number), 16) for number in range(2 * CLIENTS)]
    done = asyncio.run(load(port, CLIENTS, bodies)).figures()
    server.should_exit = True
    thread.join()
    if done["errors"]:
        raise SystemExit(f"{done['errors']} of {len(bodies)} requests failed")
    return done


def command(place: Path, name: str, *, tiny: bool) -> Found:
    """One of the product's own commands on a small model of random weights."""
    from mnatune.cli import app

    save_model(place / "small", "Qwen/Qwen3-0.6B", tiny=tiny)
    sets = [
        f"model.id={place / 'small'}",
        "train.learning_rate=1e-4",
        "evaluate.items=16",
        "generation.max_new_tokens=64",
    ]
    if tiny:
        sets += ["read.sources=[{kind: qa, path: 'pack:qa', licence: Apache-2.0}]", "judge.keep_above=0"]
        sets += ["compose.max_rows=45", "evaluate.items=2", "evaluate.exam=false", "generation.max_new_tokens=4"]
    options = [part for value in sets for part in ("--set", value)]
    run, trials = str(place / "run"), "1" if tiny else "3"
    line = {
        "journey": ["run", "quickstart", "--out", run, *options],
        "export": ["export", "merged", "--run", run, "--out", tempfile.mkdtemp(dir=place) + "/merged"],
        "resume": ["train", "quickstart", "--out", run, "--prove-resume", trials, *options],
    }[name]
    app(line, standalone_mode=False)
    return {"command": "mnatune " + " ".join(line)}


def parts(place: Path, *, tiny: bool) -> dict[str, Callable[[], Found]]:
    """What is measured, in this order."""
    return {
        "train-bf16": lambda: train(place, "none", tiny=tiny),
        "train-nf4": lambda: train(place, "nf4", tiny=tiny),
        "answer-bf16": lambda: answer(place, "none", tiny=tiny),
        "answer-nf4": lambda: answer(place, "nf4", tiny=tiny),
        "journey": lambda: command(place, "journey", tiny=tiny),
        "export": lambda: command(place, "export", tiny=tiny),
        "serve": lambda: serve(place),
        "resume": lambda: command(place, "resume", tiny=tiny),
    }


def machine() -> Found:
    """What this process computed on, and the most memory that it held: the card's, or on a CPU its own."""
    import torch

    if torch.cuda.is_available():
        return {"device": torch.cuda.get_device_name(), "peak_gib": round(torch.cuda.max_memory_reserved() / 2**30, 2)}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"device": f"{platform.machine()} CPU", "peak_gib": round(peak, 2)}


def in_own_process(name: str, place: Path, *, tiny: bool) -> Found:
    """One part in a process of its own; its last line of output is the result."""
    line = [sys.executable, __file__, "--part", name, "--place", str(place), *(["--tiny"] if tiny else [])]
    began = time.monotonic()
    told = subprocess.run(line, capture_output=True, text=True, cwd=ROOT)
    found: Found = {"seconds": round(time.monotonic() - began, 1)}
    if told.returncode:
        return found | {"error": (told.stderr or told.stdout)[-600:]}
    return found | json.loads(told.stdout.strip().splitlines()[-1])


def measure(out: Path, place: Path, *, tiny: bool) -> dict[str, object]:
    """Do every part that `out` has no result of, and write it after each; this process leaves the card alone."""
    began = time.monotonic()
    kept = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else {"device": "", "ours": {}}
    found = {name: part for name, part in kept["ours"].items() if "error" not in part}
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout
    report = {
        "bench": "gpu",
        "commit": commit.strip(),
        "device": kept["device"],
        "tiny": tiny,
        "ratio": {},
        "ours": found,
    }
    for name in parts(place, tiny=tiny):
        if name not in found and time.monotonic() - began < LIMIT:
            found[name] = in_own_process(name, place, tiny=tiny)
            report["device"] = found[name].pop("device", report["device"])
            print(f"{name:<11} {json.dumps(found[name], ensure_ascii=False)}", flush=True)
            out.write_text(json.dumps(report, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("gpu.json"), help="results; a later run takes them up")
    parser.add_argument("--place", type=Path, default=Path(tempfile.gettempdir()) / "mnatune-gpu")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.place.mkdir(parents=True, exist_ok=True)
    if args.part:
        found = parts(args.place, tiny=args.tiny)[args.part]()
        print(json.dumps(found | machine(), ensure_ascii=False))
        return
    report = measure(args.out, args.place, tiny=args.tiny)
    print(json.dumps(report, ensure_ascii=False))
    sys.exit(any("error" in part for part in report["ours"].values()))


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
