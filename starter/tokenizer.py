"""Train the starter's tokenizer: byte-level BPE on Korean legal text, with Qwen3's special tokens and roles.

    python starter/tokenizer.py --corpus corpus.jsonl.zst --out starter/model

The corpus is JSON Lines with a `text` field (plain or .zst). Written: tokenizer.json, tokenizer_config.json and
chat_template.jinja, so that `AutoTokenizer.from_pretrained(out)` works offline.
"""

import argparse
import random
from pathlib import Path

from corpus import is_held_out, read_corpus
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

# Roles and order as in Qwen/Qwen3-8B's tokenizer_config.json; the last twelve are plain added tokens there too.
SPECIAL = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
]
ADDED = [
    "<tool_call>",
    "</tool_call>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
    "<tool_response>",
    "</tool_response>",
    "<think>",
    "</think>",
]

# Contractions aside, the same idea as Qwen's: letters with one leading blank, single digits, punctuation runs, blanks.
SPLIT = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def train(corpus: Path, entries: int, characters: int, seed: int) -> Tokenizer:
    """A BPE tokenizer of `entries` entries from a random `characters`-long sample of the training side of the corpus."""
    texts = [row["text"] for row in read_corpus(corpus) if not is_held_out(row["id"])]
    random.Random(seed).shuffle(texts)
    sample, taken = [], 0
    for text in texts:
        sample.append(text[:20_000])  # one long statute must not outweigh a thousand holdings
        taken += len(sample[-1])
        if taken >= characters:
            break
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=entries,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=True,
    )
    tokenizer.train_from_iterator(sample, trainer, length=len(sample))
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in SPECIAL])
    tokenizer.add_tokens([AddedToken(t, normalized=False, special=False) for t in ADDED])
    return tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("starter/model"))
    parser.add_argument("--entries", type=int, default=12_000, help="BPE entries before the 26 added tokens")
    parser.add_argument("--characters", type=int, default=30_000_000)
    parser.add_argument("--seed", type=int, default=71748)
    args = parser.parse_args()

    from transformers import PreTrainedTokenizerFast

    tokenizer = train(args.corpus, args.entries, args.characters, args.seed)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        model_max_length=2048,
        clean_up_tokenization_spaces=False,
        chat_template=(Path(__file__).parent / "chat_template.jinja").read_text(encoding="utf-8"),
    )
    fast.save_pretrained(args.out)
    print(f"{len(fast)} entries written to {args.out}")


if __name__ == "__main__":
    main()
