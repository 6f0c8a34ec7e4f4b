"""What GRPO spends on scoring the answers of a step, forward and backward: each prompt run once, against TRL's own way.

    python bench/grpo_step.py [--quick] [--model starter] [--prompts 90 400 800]

Four questions with eight answers of 80 tokens each, random tokens, one thread, a LoRA adapter of rank 16. TRL runs every
answer with its whole prompt and, without Triton, puts every position through the LM head. Both ways are timed in turn by the
process's CPU time (median of 3, `--quick` 1), and their log-probabilities are compared. `ratio`: TRL's seconds over ours at
the longest prompt.
"""

import argparse
import json
import platform
import random
import statistics
import subprocess
import time
from collections.abc import Callable
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from peft.helpers import disable_input_dtype_casting
from trl.trainer.utils import add_fused_lm_head

from mnatune.model.load import load_base
from mnatune.runs.recipe import TrainSection
from mnatune.stages.train.shared_prompts import answer_logps

QUESTIONS, GENERATIONS, ANSWER, TEMPERATURE = 4, 8, 80, 0.8


def adapted(model_id: str) -> Any:
    """A base with TRL's LM head and an adapter that has learnt nothing."""
    base = load_base(model_id, dtype="bf16")
    base.config.use_cache = False
    add_fused_lm_head(base, temperature=TEMPERATURE, outputs=("log_probs", "entropy"))
    targets = TrainSection().targets
    return get_peft_model(base, LoraConfig(r=16, lora_alpha=32, target_modules=targets, task_type="CAUSAL_LM"))


def drawn_rows(width: int) -> torch.Tensor:
    """Prompts of `width` random tokens, each with its answers."""
    dice = random.Random(width)

    def tokens(count: int) -> list[int]:
        return [dice.randrange(100, 10_000) for _ in range(count)]

    prompts = [tokens(width) for _ in range(QUESTIONS)]
    return torch.tensor([prompt + tokens(ANSWER) for prompt in prompts for _ in range(GENERATIONS)])


def by_trl(model: Any, ids: torch.Tensor, width: int) -> torch.Tensor:
    """Log-probabilities of the answers as TRL computes them."""
    labels = ids.clone()
    labels[:, :width] = -100
    found = model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels, fused_lm_head=True)
    return found.log_probs[:, -ANSWER:]


def by_us(model: Any, ids: torch.Tensor, width: int) -> torch.Tensor:
    """The same with each prompt run once."""
    return answer_logps(model.get_base_model(), ids, torch.ones_like(ids), width, TEMPERATURE)[0]


def seconds(model: Any, way: Callable[..., torch.Tensor], ids: torch.Tensor, width: int) -> tuple[float, torch.Tensor]:
    """CPU seconds of forward and backward, and the log-probabilities."""
    begun = time.process_time()
    with disable_input_dtype_casting(model), torch.autocast("cpu", torch.bfloat16):
        found = way(model, ids, width)
    found.sum().backward()
    return time.process_time() - begun, found.detach()


def main() -> None:
    """Time both ways, print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--prompts", type=int, nargs="+", default=[90, 400, 800])
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model, ours, trls, apart = adapted(args.model), {}, {}, {}
    for width in args.prompts[:2] if args.quick else args.prompts:
        ids, pairs = drawn_rows(width), []
        for _ in range(1 if args.quick else 3):
            pairs.append((seconds(model, by_trl, ids, width), seconds(model, by_us, ids, width)))
        trls[width] = round(statistics.median(trl[0] for trl, _ in pairs), 2)
        ours[width] = round(statistics.median(own[0] for _, own in pairs), 2)
        apart[width] = round(float((pairs[0][0][1] - pairs[0][1][1]).abs().mean()), 4)
        print(f"{width:>5} tokens  TRL {trls[width]:.2f} s  ours {ours[width]:.2f} s", flush=True)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    result = {
        "bench": "grpo_step",
        "commit": commit,
        "device": f"{platform.machine()}, one thread",
        "ratio": {"trl": round(trls[max(trls)] / ours[max(ours)], 2)},
        "ours": {"cpu_seconds": ours},
        "baseline": {"cpu_seconds": trls},
        "mean difference of a log-probability in bf16": apart,
    }
    print(json.dumps(result, ensure_ascii=False))


if __name__ == "__main__":
    main()
