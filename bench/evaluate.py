"""Questions answered per second: batches of like length with ended rows leaving, against the notebook's one by one.

    python bench/evaluate.py [--quick] [--questions 40] [--new-tokens 128] [--model starter]

The baseline is the seed's `generate_answer`: one prompt, `model.generate` with a key-value cache, greedy here so that
answers can be compared. Both run in turn, three pairs, the median counts; answers must be equal, token by token.
"""

import argparse
import json
import statistics
import subprocess
import time

import torch

from mnatune.models.hf import GREEDY, ChatModel, generation_options
from mnatune.models.prompt import dialogue, prompt_ids
from mnatune.pack import Pack
from mnatune.stages.evaluate.answers import Ask, plan
from mnatune.stages.evaluate.decoding import decode
from mnatune.workspace import read_jsonl


def one_by_one(chat: ChatModel, prompts: list[list[int]], new_tokens: int) -> list[list[int]]:
    """The notebook's loop: encode, generate, cut the prompt off."""
    options = generation_options(GREEDY.model_copy(update={"max_new_tokens": new_tokens}))
    answers = []
    for prompt in prompts:
        ids = torch.tensor([prompt], device=chat.model.device)
        with torch.inference_mode():
            out = chat.model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), **options, **chat.special_ids()
            )
        answers.append(out[0, len(prompt) :].tolist())
    return answers


def ours(chat: ChatModel, prompts: list[list[int]], new_tokens: int) -> list[list[int]]:
    """What `mnatune evaluate` does."""
    asks = [Ask(str(at), []) for at in range(len(prompts))]
    generation = GREEDY.model_copy(update={"max_new_tokens": new_tokens})
    found: dict[str, list[int]] = {}
    for batch in plan({str(at): len(prompt) for at, prompt in enumerate(prompts)}, asks, new_tokens):
        given = decode(chat, [prompts[int(ask.id)] for ask in batch], generation, tuned=False)
        found |= {ask.id: one.answer.ids for ask, one in zip(batch, given, strict=True)}
    return [found[ask.id] for ask in asks]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer questions and shorter answers")
    parser.add_argument("--questions", type=int, default=40)
    parser.add_argument("--new-tokens", type=int, default=128)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--pack", default="mna_ko")
    args = parser.parse_args()
    count, new_tokens = (24, 48) if args.quick else (args.questions, args.new_tokens)

    pack, chat = Pack.load(args.pack), ChatModel(args.model)
    rows = read_jsonl(pack.path("mna_qa.jsonl"))
    questions = [str(row["question"]) for row in rows[:: max(1, len(rows) // count)]][:count]
    prompts = [prompt_ids(chat.tokenizer, dialogue(question, pack.system_prompt)) for question in questions]
    ours(chat, prompts[:4], 4)
    one_by_one(chat, prompts[:1], 4)

    seconds: dict[str, list[float]] = {"ours": [], "baseline": []}
    same = 0
    for _ in range(3):
        started = time.perf_counter()
        expected = one_by_one(chat, prompts, new_tokens)
        middle = time.perf_counter()
        found = ours(chat, prompts, new_tokens)
        seconds["baseline"].append(middle - started)
        seconds["ours"].append(time.perf_counter() - middle)
        same = sum(a == b for a, b in zip(expected, found, strict=True))
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
        "baseline": {"questions_per_s": round(rate["baseline"], 3), "new_tokens": new_tokens, "model": args.model},
    }
    print(json.dumps(result, ensure_ascii=False))


if __name__ == "__main__":
    main()
