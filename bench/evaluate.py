"""Questions answered per second: batches of like length with ended rows leaving, against the notebook's one by one.

    python bench/evaluate.py [--quick] [--recipe quickstart] [--questions 40] [--run runs/quickstart]

The baseline is the seed's `generate_answer`: one prompt, `model.generate` with a key-value cache, greedy here so that
answers can be compared. Both sides use the recipe's model, repetition penalty and length limit, as `mnatune evaluate`
does. The questions are the pack's; with `--run` they are the run's held-out ones, and its tuned model answers them too.
Both run in turn, three pairs, the median counts; how many answers are equal, token by token, is printed and reported.
"""

import argparse
import json
import statistics
import subprocess
import time
from pathlib import Path

import torch

from mnatune.model.engine.local import LocalEngine, open_engine
from mnatune.model.engine.protocol import Answer, Sampling, Task
from mnatune.model.prompt import Message, dialogue, prompt_ids
from mnatune.pack import Pack
from mnatune.runs.recipe import GenerationSection, load_recipe
from mnatune.runs.workspace import Run, read_jsonl
from mnatune.stages.evaluate.answers import Question, plan


def one_by_one(
    engine: LocalEngine, asked: list[list[Message]], greedy: GenerationSection, model: str
) -> list[list[int]]:
    """The notebook's loop: encode, generate, cut the prompt off."""
    answers = []
    with engine.variant(model) as loaded, torch.inference_mode():
        for messages in asked:
            prompt = prompt_ids(loaded.tokenizer, messages)
            ids = torch.tensor([prompt], device=loaded.device)
            out = loaded.causal.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=greedy.max_new_tokens,
                repetition_penalty=greedy.repetition_penalty,
                do_sample=False,
                temperature=None,
                top_p=None,
                top_k=None,
                eos_token_id=sorted(loaded.ends),
                pad_token_id=loaded.pad,
            )
            answers.append(out[0, len(prompt) :].tolist())
    return answers


def ours(engine: LocalEngine, asked: list[list[Message]], greedy: GenerationSection, model: str) -> list[list[int]]:
    """What `mnatune evaluate` does."""
    asks = [Question(str(at), messages) for at, messages in enumerate(asked)]
    lengths = {ask.id: len(prompt_ids(engine.loaded.tokenizer, ask.messages)) for ask in asks}
    found: dict[str, list[int]] = {}
    for batch in plan(lengths, asks, greedy.max_new_tokens):
        given = engine.answers([Task(model, Sampling.of(greedy, greedy=True), ask.messages) for ask in batch])
        found |= {ask.id: one.ids for ask, one in zip(batch, given, strict=True) if isinstance(one, Answer)}
    return [found[ask.id] for ask in asks]


def dialogues(pack: Pack, run: Run | None, count: int) -> list[list[Message]]:
    """So many questions, spread over the pack's rows or the run's test split."""
    if run:
        asked = [row["messages"][:-1] for row in read_jsonl(run.require("compose", "test.jsonl"))]
    else:
        rows = read_jsonl(pack.path("qa.jsonl"))
        asked = [dialogue(str(row["question"]), pack.system_prompt) for row in rows]
    return asked[:: max(1, len(asked) // count)][:count]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer questions and shorter answers")
    parser.add_argument("--recipe", default="quickstart")
    parser.add_argument("--questions", type=int, default=40)
    parser.add_argument("--run", type=Path, help="a trained run of that recipe: its questions, base and tuned")
    args = parser.parse_args()
    recipe, run = load_recipe(args.recipe), Run(args.run) if args.run else None
    pack = Pack.load(recipe.pack)
    adapters = {"tuned": run.require("train", "adapter")} if run else {}
    engine = open_engine(recipe.model.id, adapters, revision=recipe.model.revision, quantize=recipe.train.quantize)
    prompts = dialogues(pack, run, 24 if args.quick else args.questions)
    limit = min(48, recipe.generation.max_new_tokens) if args.quick else recipe.generation.max_new_tokens
    greedy = recipe.generation.model_copy(update={"temperature": 0.0, "max_new_tokens": limit})
    variants = ("base", *adapters)
    count = len(prompts) * len(variants)
    brief = greedy.model_copy(update={"max_new_tokens": 4})
    ours(engine, prompts[:4], brief, "base")
    one_by_one(engine, prompts[:1], brief, "base")

    seconds: dict[str, list[float]] = {"ours": [], "baseline": []}
    same = tokens = 0
    for _ in range(3):
        started = time.perf_counter()
        expected = [answer for model in variants for answer in one_by_one(engine, prompts, greedy, model)]
        middle = time.perf_counter()
        found = [answer for model in variants for answer in ours(engine, prompts, greedy, model)]
        seconds["baseline"].append(middle - started)
        seconds["ours"].append(time.perf_counter() - middle)
        same = sum(a == b for a, b in zip(expected, found, strict=True))
        tokens = sum(map(len, found))
        print(f"one by one {seconds['baseline'][-1]:.1f} s, ours {seconds['ours'][-1]:.1f} s, {same}/{count} equal")
    rate = {name: count / statistics.median(values) for name, values in seconds.items()}
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    result = {
        "bench": "evaluate",
        "commit": commit.stdout.strip(),
        "device": device,
        "ratio": {"seed": round(rate["ours"] / rate["baseline"], 2)},
        "ours": {"questions_per_s": round(rate["ours"], 3), "equal_answers": same, "questions": count},
        "baseline": {
            "questions_per_s": round(rate["baseline"], 3),
            "tokens": tokens,
            "limit": limit,
            "model": recipe.model.id,
        },
    }
    print(json.dumps(result, ensure_ascii=False))


if __name__ == "__main__":
    main()
