"""Teach the pre-trained starter not to go round in circles: unlikelihood of what it repeats in its own continuations.

    python starter/unloop.py --work work/starter --model starter/model

So small a model, always taking the likeliest token, falls into loops. Sequence-level unlikelihood training (Welleck et al.,
"Neural Text Generation with Unlikelihood Training", 2020, arXiv 1908.04319, section 4.2): the model continues beginnings
of its training text greedily, and every token of a 4-gram that the continuation has had before is made less likely,
-log(1 - p). Steps of that kind and ordinary steps on the training windows take turns, so that nothing else is forgotten.
"""

import argparse
import json
from pathlib import Path

import torch
from pretrain import Windows, held_out_loss, loss_of
from torch.nn import functional
from transformers import AutoTokenizer, Qwen3ForCausalLM

NGRAM = 4
ROWS, BEGINNING, CONTINUATION = 24, 48, 96  # beginnings in a step, and tokens of them and of what follows
PENALTY = 1.2  # repetition penalty at which continuations are made, as they are when answers are generated
WEIGHT = 0.2  # of the unlikelihood beside the ordinary loss


def repeated(ids: list[int]) -> list[bool]:
    """For each token whether it belongs to an n-gram that stood before in the same text."""
    marks = [False] * len(ids)
    seen: set[tuple[int, ...]] = set()
    for end in range(NGRAM, len(ids) + 1):
        gram = tuple(ids[end - NGRAM : end])
        if gram in seen:
            marks[end - NGRAM : end] = [True] * NGRAM
        seen.add(gram)
    return marks


def continuations(model, beginnings: torch.Tensor, penalty: float, ends: list[int], pad: int) -> torch.Tensor:
    """Greedy continuations, shape (rows, tokens), padded after their end."""
    model.eval()
    with torch.inference_mode(), torch.autocast(beginnings.device.type, dtype=torch.bfloat16):
        out = model.generate(
            beginnings,
            attention_mask=torch.ones_like(beginnings),
            max_new_tokens=CONTINUATION,
            do_sample=False,
            repetition_penalty=penalty,
            eos_token_id=ends,
            pad_token_id=pad,
        )
    model.train()
    return out[:, beginnings.shape[1] :].clone()


def unlikelihood(model, beginnings: torch.Tensor, answers: torch.Tensor, marks: torch.Tensor) -> torch.Tensor:
    """Mean of -log(1 - p) over the marked tokens."""
    ids = torch.cat([beginnings, answers], dim=1)
    with torch.autocast(ids.device.type, dtype=torch.bfloat16):
        hidden = model.model(ids[:, :-1], use_cache=False).last_hidden_state[:, beginnings.shape[1] - 1 :][marks]
        logits = model.lm_head(hidden)
    logp = functional.log_softmax(logits.float(), dim=-1).gather(1, answers[marks][:, None])
    return -torch.log1p(-logp.exp().clamp(max=1 - 1e-4)).mean()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="the pre-training's folder, for its token files")
    parser.add_argument("--model", type=Path, default=Path("starter/model"))
    parser.add_argument("--out", type=Path, help="where the result goes; by default over --model")
    parser.add_argument("--steps", type=int, default=30, help="of each of the two kinds")
    parser.add_argument("--lr", type=float, default=2e-5)
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(args.seed)
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    model = Qwen3ForCausalLM.from_pretrained(args.model, dtype=torch.float32).to(device).train()
    windows = Windows(args.work, args.seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, betas=(0.9, 0.95), weight_decay=0.01)
    ends = [tokenizer.eos_token_id, tokenizer.pad_token_id]
    log = (args.work / "unloop.jsonl").open("a", encoding="utf-8")
    print(f"before: held-out {held_out_loss(model, windows, device)}", flush=True)
    for step in range(args.steps):
        for group in optimizer.param_groups:
            group["lr"] = args.lr * min(1.0, (step + 1) / 5, (args.steps - step) / (args.steps / 3))
        beginnings = windows.batch(2 * step, ROWS, BEGINNING - 1, chat_share=0.3).to(device)
        answers = continuations(model, beginnings, PENALTY, ends, tokenizer.pad_token_id)
        written = answers != tokenizer.pad_token_id
        marks = torch.tensor([repeated(row) for row in answers.tolist()], device=device) & written
        pieces = []
        if marks.any():
            loss = unlikelihood(model, beginnings, answers, marks)
            (WEIGHT * loss).backward()
            pieces.append(loss.item())
        text = windows.batch(2 * step + 1, 8, 512, chat_share=0.3).to(device)
        for part in text.split(4):
            loss = loss_of(model, part, device) / 2
            loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        share = (marks.sum() / written.sum()).item()
        entry = {
            "step": step + 1,
            "repeated": round(share, 4),
            "unlikelihood": pieces,
            "loss": round(2 * loss.item(), 4),
        }
        if (step + 1) % 20 == 0 or step + 1 == args.steps:
            entry["held_out"] = held_out_loss(model, windows, device)
            print(json.dumps(entry), flush=True)
        log.write(json.dumps(entry) + "\n")
        log.flush()
    model.to(torch.bfloat16).save_pretrained(args.out or args.model, safe_serialization=True)


if __name__ == "__main__":
    main()
