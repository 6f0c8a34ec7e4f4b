"""Bits per character of a causal language model on any text file, beside an untrained twin and a character 3-gram.

    python starter/measure.py TEXT [--model starter/model]

TEXT is plain UTF-8, or JSON Lines with a `text` field. The 3-gram model (interpolated, trained on the first half)
and all models are measured on the second half, so that every figure is about the same characters.
"""

import argparse
import json
import math
from collections import Counter
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

WINDOW = 512


def read(path: Path, limit: int) -> str:
    """The file's text, JSON Lines joined by blank lines, at most `limit` characters."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".jsonl":
        text = "\n\n".join(json.loads(line)["text"] for line in text.splitlines())
    return text[:limit]


@torch.inference_mode()
def model_bits(model, tokenizer, text: str) -> float:
    """Total surprise in bits over windows of 512 tokens, divided by the number of characters they cover."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    bits = characters = 0.0
    for at in range(0, len(ids) - 1, WINDOW):
        window = torch.tensor([ids[at : at + WINDOW + 1]])
        logits = model(window[:, :-1]).logits.float()
        bits += torch.nn.functional.cross_entropy(logits[0], window[0, 1:], reduction="sum").item() / math.log(2)
        characters += len(tokenizer.decode(window[0, 1:]))
    return bits / characters


def trigram_bits(train: str, test: str) -> float:
    """An interpolated character 3-gram: weights 0.6, 0.3, 0.09, and 0.01 uniform over 12,000 characters."""
    tri, bi, uni = Counter(), Counter(), Counter(train)
    for i in range(2, len(train)):
        tri[train[i - 2 : i + 1]] += 1
    for i in range(1, len(train)):
        bi[train[i - 1 : i + 1]] += 1
    before_tri, before_bi, total = Counter(), Counter(), len(train)
    for key, n in tri.items():
        before_tri[key[:2]] += n
    for key, n in bi.items():
        before_bi[key[0]] += n
    bits = 0.0
    for i in range(2, len(test)):
        a, b, c = test[i - 2], test[i - 1], test[i]
        p = 0.01 / 12_000 + 0.09 * uni[c] / total
        p += 0.3 * bi[b + c] / before_bi[b] if before_bi[b] else 0.0
        p += 0.6 * tri[a + b + c] / before_tri[a + b] if before_tri[a + b] else 0.0
        bits -= math.log2(p)
    return bits / max(1, len(test) - 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("--model", default="starter/model")
    parser.add_argument("--limit", type=int, default=400_000, help="characters read")
    args = parser.parse_args()
    text = read(args.text, args.limit)
    half = len(text) // 2
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    model = AutoModelForCausalLM.from_pretrained(args.model).eval()
    torch.manual_seed(0)
    untrained = type(model)(model.config).eval()
    print(f"characters          {len(text) - half:>10,}")
    print(f"this model          {model_bits(model, tokenizer, text[half:]):10.3f} bits per character")
    print(f"untrained twin      {model_bits(untrained, tokenizer, text[half : half + 20_000]):10.3f}")
    print(f"character 3-gram    {trigram_bits(text[:half], text[half:]):10.3f}")


if __name__ == "__main__":
    main()
