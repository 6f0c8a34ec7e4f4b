"""Pre-train the starter model from scratch: a small Qwen3 on Korean legal text, in plain PyTorch, resumable.

    python starter/pretrain.py --corpus corpus.jsonl.zst --work work/starter --tokens 14e6

Reads top to bottom: encode the corpus once into uint16 token files, one per kind of text; draw random windows from
them by fixed shares; Muon on the matrices of the blocks and AdamW on the embedding and the norms; warm-up, stable,
decay; in the decay a share of windows is dialogue rendered through the chat template, so that the base model already
stops at <|im_end|>. Runs on two CPU cores with bf16 autocast, and unchanged on one GPU.

The state of a run lives in --work (tokens, checkpoint, log.jsonl). Started again with the same --work it continues
after the last checkpoint; --tokens may grow as long as the decay has not begun. A finished model learns on with
--start-from MODEL --seen TOKENS: a second warm-up, stable and decay over the tokens that are still to come.
"""

import argparse
import json
import math
import os
import time
from pathlib import Path

import numpy as np
import torch
from corpus import is_held_out, read_corpus
from torch.nn import functional
from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

SHARES = {"holding": 0.40, "decision": 0.35, "statute": 0.25}
CHAT_SHARE = 0.35  # of the windows in the decay
SYSTEM = "당신은 금융,법률 및 M&A 분야 전문가입니다.\n사용자 질문에 대해 반드시 한국어로만 답변하세요."


def shape(vocabulary: int, hidden: int, layers: int) -> Qwen3Config:
    """Qwen3-8B's proportions made small: tied embeddings, QK-norm, two queries per key, SwiGLU three times the width."""
    return Qwen3Config(
        vocab_size=math.ceil(vocabulary / 64) * 64,
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        num_key_value_heads=hidden // 128,
        head_dim=64,
        max_position_embeddings=2048,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        tie_word_embeddings=True,
        use_cache=True,
        attention_dropout=0.0,
    )


def as_dialogue(text: str, with_system: bool) -> list[dict]:
    """A `질문: … / 답변: …` holding as messages; the think switch stands where mnatune puts it."""
    question, _, answer = text.removeprefix("질문:").partition("\n답변:")
    messages = [{"role": "system", "content": SYSTEM}] if with_system else []
    return [
        *messages,
        {"role": "user", "content": question.strip() + " /no_think"},
        {"role": "assistant", "content": answer.strip()},
    ]


def encode(corpus: Path, work: Path, tokenizer) -> None:
    """Write <kind>.bin and <kind>.held.bin (uint16 ids, documents parted by <|endoftext|>), plus the dialogues' twin."""
    end = tokenizer.pad_token_id
    sinks: dict[str, list[np.ndarray]] = {}

    def flush(name: str, texts: list[str]) -> None:
        for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]:
            sinks.setdefault(name, []).append(np.array([*ids, end], dtype=np.uint16))
        texts.clear()

    waiting: dict[str, list[str]] = {}
    for number, row in enumerate(read_corpus(corpus)):
        side = ".held" if is_held_out(row["id"]) else ""
        items = [(row["kind"] + side, row["text"])]
        if row["kind"] == "holding" and len(row["text"]) < 900:
            dialogue = as_dialogue(row["text"], with_system=number % 2 == 0)
            items.append(("chat" + side, tokenizer.apply_chat_template(dialogue, tokenize=False)))
        for name, text in items:
            batch = waiting.setdefault(name, [])
            batch.append(text)
            if len(batch) == 256:
                flush(name, batch)
    for name, batch in waiting.items():
        flush(name, batch)
    for name, arrays in sinks.items():
        whole = np.concatenate(arrays)
        whole.tofile(work / f"{name}.bin")
        print(f"{name}: {len(whole):,} tokens", flush=True)
    (work / "encoded").touch()


class Windows:
    """Random windows of `length` tokens from the token files, drawn by share; the draw depends on the tokens seen alone."""

    def __init__(self, work: Path, seed: int) -> None:
        self.files = {p.stem: np.memmap(p, dtype=np.uint16, mode="r") for p in work.glob("*.bin")}
        self.seed = seed

    def batch(self, seen: int, rows: int, length: int, chat_share: float) -> torch.Tensor:
        draw = np.random.default_rng((self.seed, seen))
        kinds = [*SHARES, "chat"]
        shares = [*(s * (1 - chat_share) for s in SHARES.values()), chat_share]
        windows = []
        for kind in draw.choice(kinds, size=rows, p=shares):
            tokens = self.files[str(kind)]
            at = int(draw.integers(len(tokens) - length - 1))
            windows.append(torch.from_numpy(tokens[at : at + length + 1].astype(np.int64)))
        return torch.stack(windows)


def lr_factor(done: float, warmup: float, decay: float) -> float:
    """Warm-up, stable, then linear decay to 2 % over the last share `decay` of the run. `done` runs from 0 to 1."""
    if done < warmup:
        return max(done / warmup, 0.01)
    if done < 1 - decay:
        return 1.0
    return max((1 - done) / decay, 0.02)


def loss_of(model, batch: torch.Tensor, device: str) -> torch.Tensor:
    with torch.autocast(device, dtype=torch.bfloat16):
        logits = model(batch[:, :-1], use_cache=False).logits
    return functional.cross_entropy(logits.float().flatten(0, 1), batch[:, 1:].flatten())


@torch.no_grad()
def held_out_loss(model, windows: Windows, device: str, length: int = 512, rows: int = 16) -> dict[str, float]:
    model.eval()
    losses = {}
    for kind in [*SHARES, "chat"]:
        tokens = windows.files[f"{kind}.held"]
        count = min(rows, (len(tokens) - 1) // length)
        ids = torch.from_numpy(tokens[: count * length + 1].astype(np.int64))
        batch = torch.stack([ids[i * length : (i + 1) * length + 1] for i in range(count)]).to(device)
        losses[kind] = round(sum(loss_of(model, b, device).item() for b in batch.split(4)) / len(batch.split(4)), 4)
    model.train()
    return losses


def save(path: Path, state: dict) -> None:
    """Whole or not at all: write beside, flush to disk, rename."""
    partial = path.with_suffix(".tmp")
    with partial.open("wb") as sink:
        torch.save(state, sink)
        sink.flush()
        os.fsync(sink.fileno())
    partial.replace(path)


def begin(args: argparse.Namespace, tokenizer, device: str) -> tuple[Qwen3ForCausalLM, list[torch.optim.Optimizer]]:
    """The model with fresh weights or those of --start-from, and its optimizers: Muon for matrices, AdamW for the rest."""
    if args.start_from:
        model = Qwen3ForCausalLM.from_pretrained(args.start_from, dtype=torch.float32)
    else:
        config = shape(len(tokenizer), args.hidden, args.layers)
        config.eos_token_id, config.pad_token_id, config.bos_token_id = (
            tokenizer.eos_token_id,
            tokenizer.pad_token_id,
            None,
        )
        model = Qwen3ForCausalLM(config)
    model = model.to(device).train()
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    return model, [
        torch.optim.Muon(matrices, lr=args.matrix_lr, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=args.other_lr, betas=(0.9, 0.95), weight_decay=0.01),
    ]


def update(model, optimizers, compiled_loss, batch: torch.Tensor, device: str) -> tuple[float, float]:
    """One step; (loss in nats per token, gradient norm). A CPU takes 2,048 tokens at a time."""
    total = 0.0
    parts = batch.split(2048 // (batch.shape[1] - 1)) if device == "cpu" else [batch]
    for part in parts:
        loss = compiled_loss(model, part, device) / len(parts)
        loss.backward()
        total += loss.item()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).item()
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return total, norm


def learn(args: argparse.Namespace, model, optimizers, windows: Windows, device: str) -> None:
    """Steps from the last checkpoint, if there is one, to the last token; each step stands in log.jsonl."""
    step, seen = 0, args.seen
    checkpoint = args.work / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        step, seen = state["step"], state["seen"]
        print(f"continuing after step {step}, {seen:,} tokens", flush=True)
    compiled_loss = torch.compile(loss_of, dynamic=False)
    started, seen_at_start = time.monotonic(), seen
    log = (args.work / "log.jsonl").open("a", encoding="utf-8")
    while seen < args.tokens:
        done = (seen - args.seen) / (args.tokens - args.seen)
        decaying = done >= 1 - args.decay
        rows, length = (args.rows // 2, args.length * 2) if decaying else (args.rows, args.length)
        batch = windows.batch(seen, rows, length, CHAT_SHARE if decaying else 0.0).to(device)
        for optimizer, base in zip(optimizers, (args.matrix_lr, args.other_lr), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = base * lr_factor(done, 0.03, args.decay)
        loss, norm = update(model, optimizers, compiled_loss, batch, device)
        step, seen = step + 1, seen + rows * length
        entry = {"step": step, "tokens": seen, "loss": round(loss, 4), "grad_norm": round(norm, 3)}
        if step % args.save_every == 0 or seen >= args.tokens:
            entry["held_out"] = held_out_loss(model, windows, device)
            entry["tokens_per_second"] = round((seen - seen_at_start) / (time.monotonic() - started))
            state = {"model": model.state_dict(), "optimizers": [o.state_dict() for o in optimizers]}
            save(checkpoint, {**state, "step": step, "seen": seen})
            print(json.dumps(entry), flush=True)
        log.write(json.dumps(entry) + "\n")
        log.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, default=Path("starter/model"))
    parser.add_argument("--work", type=Path, required=True, help="state of the run; started again, it continues")
    parser.add_argument("--out", type=Path, default=Path("starter/model"))
    parser.add_argument("--start-from", type=Path, help="a model that learns on, instead of fresh weights")
    parser.add_argument("--seen", type=int, default=0, help="tokens that the model of --start-from has seen")
    parser.add_argument("--tokens", type=float, default=14e6, help="tokens seen at the end, those of --seen included")
    parser.add_argument(
        "--decay", type=float, default=0.25, help="share of this run's tokens over which the rate falls"
    )
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--rows", type=int, default=16, help="windows in a step")
    parser.add_argument("--length", type=int, default=512, help="tokens in a window; doubled in the decay")
    parser.add_argument("--matrix-lr", type=float, default=4e-3)
    parser.add_argument("--other-lr", type=float, default=3e-3)
    parser.add_argument("--save-every", type=int, default=50)
    parser.add_argument("--seed", type=int, default=71748)
    args = parser.parse_args()

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(args.seed)
    args.work.mkdir(parents=True, exist_ok=True)
    tokenizer = AutoTokenizer.from_pretrained(args.tokenizer)
    if not (args.work / "encoded").exists():
        encode(args.corpus, args.work, tokenizer)
    model, optimizers = begin(args, tokenizer, device)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters on {device}", flush=True)
    learn(args, model, optimizers, Windows(args.work, args.seed), device)
    model.to(torch.bfloat16).save_pretrained(args.out, safe_serialization=True)
    print(f"model written to {args.out}", flush=True)


if __name__ == "__main__":
    main()
