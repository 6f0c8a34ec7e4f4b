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
from mnatune.stages.evaluate.decoding import decode

from mnatune.model.load import ChatModel, generation_options
from mnatune.model.prompt import Message, dialogue, prompt_ids
from mnatune.pack import Pack
from mnatune.runs.recipe import GenerationSection, load_recipe
from mnatune.runs.workspace import Run, read_jsonl
from mnatune.stages.evaluate.answers import Question, plan


def one_by_one(chat: ChatModel, prompts: list[list[int]], greedy: GenerationSection, tuned: bool) -> list[list[int]]:
    """The notebook's loop: encode, generate, cut the prompt off."""
    options = generation_options(greedy)
    answers = []
    with chat.variant(tuned) as model, torch.inference_mode():
        for prompt in prompts:
            ids = torch.tensor([prompt], device=model.device)
            out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **options, **chat.special_ids())
            answers.append(out[0, len(prompt) :].tolist())
    return answers


def ours(chat: ChatModel, prompts: list[list[int]], greedy: GenerationSection, tuned: bool) -> list[list[int]]:
    """What `mnatune evaluate` does."""
    asks = [Question(str(at), []) for at in range(len(prompts))]
    found: dict[str, list[int]] = {}
    for batch in plan({str(at): len(prompt) for at, prompt in enumerate(prompts)}, asks, greedy.max_new_tokens):
        given = decode(chat, [prompts[int(ask.id)] for ask in batch], greedy, tuned=tuned)
        found |= {ask.id: one.answer.ids for ask, one in zip(batch, given, strict=True)}
    return [found[ask.id] for ask in asks]


def dialogues(pack: Pack, run: Run | None, count: int) -> list[list[Message]]:
    """So many questions, spread over the pack's rows or the run's test split."""
    if run:
        asked = [row["messages"][:-1] for row in read_jsonl(run.require("compose", "test.jsonl"))]
    else:
        rows = read_jsonl(pack.path("mna_qa.jsonl"))
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
    chat = ChatModel(recipe.model.id, run.require("train", "adapter") if run else None, recipe.model.revision)
    prompts = [prompt_ids(chat.tokenizer, d) for d in dialogues(pack, run, 24 if args.quick else args.questions)]
    limit = min(48, recipe.generation.max_new_tokens) if args.quick else recipe.generation.max_new_tokens
    greedy = recipe.generation.model_copy(update={"temperature": 0.0, "max_new_tokens": limit})
    variants = (False, True) if run else (False,)
    count = len(prompts) * len(variants)
    brief = greedy.model_copy(update={"max_new_tokens": 4})
    ours(chat, prompts[:4], brief, False)
    one_by_one(chat, prompts[:1], brief, False)

    seconds: dict[str, list[float]] = {"ours": [], "baseline": []}
    same = tokens = 0
    for _ in range(3):
        started = time.perf_counter()
        expected = [answer for tuned in variants for answer in one_by_one(chat, prompts, greedy, tuned)]
        middle = time.perf_counter()
        found = [answer for tuned in variants for answer in ours(chat, prompts, greedy, tuned)]
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
