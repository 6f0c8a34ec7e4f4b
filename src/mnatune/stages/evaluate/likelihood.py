"""Likelihood of given answers: held-out loss and token accuracy, in batched forward passes.

Logits are taken only where an answer token is predicted, so that a vocabulary of 150,000 costs little memory.
torch is imported inside the functions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...model.load import ChatModel
from ...model.prompt import Example

LOGIT_ROWS = 1024  # rows of logits held at once


@dataclass(frozen=True, slots=True)
class Scored:
    """An answer under a model: `nll` in nats over its tokens, and how many of them were the model's first choice."""

    nll: float
    tokens: int
    hits: int


def score_completions(
    chat: ChatModel, examples: Sequence[Example], *, tuned: bool, batch_tokens: int = 8192
) -> list[Scored]:
    """Negative log-likelihood and first-choice hits of each completion after its prompt, in the given order."""
    order = sorted(range(len(examples)), key=lambda i: len(examples[i]), reverse=True)
    scored: dict[int, Scored] = {}
    with chat.variant(tuned):
        while order:
            size = max(1, batch_tokens // len(examples[order[0]]))
            batch, order = order[:size], order[size:]
            for i, row in zip(batch, _score_batch(chat, [examples[i] for i in batch]), strict=True):
                scored[i] = row
    return [scored[i] for i in range(len(examples))]


def _score_batch(chat: ChatModel, batch: Sequence[Example]) -> list[Scored]:
    import torch

    with torch.inference_mode():
        hidden = _hidden(chat, [[*e.prompt, *e.completion] for e in batch])
        rows: list[int] = []
        columns: list[int] = []
        targets: list[int] = []
        for row, example in enumerate(batch):
            start = len(example.prompt) - 1
            rows += [row] * len(example.completion)
            columns += range(start, start + len(example.completion))
            targets += example.completion
        wanted = hidden[torch.tensor(rows, device=hidden.device), torch.tensor(columns, device=hidden.device)]
        goal = torch.tensor(targets, device=hidden.device)
        losses: list[float] = []
        hits: list[int] = []
        for start in range(0, len(goal), LOGIT_ROWS):
            logits = head(chat)(wanted[start : start + LOGIT_ROWS]).float()
            aim = goal[start : start + LOGIT_ROWS]
            losses += torch.nn.functional.cross_entropy(logits, aim, reduction="none").double().tolist()
            hits += (logits.argmax(-1) == aim).long().tolist()
    found, at = [], 0
    for example in batch:
        end = at + len(example.completion)
        found.append(Scored(sum(losses[at:end]), len(example.completion), sum(hits[at:end])))
        at = end
    return found


def _hidden(chat: ChatModel, rows: Sequence[list[int]]) -> Any:
    """Last hidden states (rows, width, size) of right-padded token rows."""
    import torch

    width = max(map(len, rows))
    pad = chat.tokenizer.pad_token_id
    device = chat.model.device
    ids = torch.tensor([row + [pad] * (width - len(row)) for row in rows], device=device)
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=device)
    return causal(chat).base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state


def head(chat: ChatModel) -> Any:
    """The output layer: hidden states to logits."""
    return causal(chat).get_output_embeddings()


def causal(chat: ChatModel) -> Any:
    """The causal language model itself, under PEFT's wrapping if there is one."""
    return chat.model.get_base_model() if chat.adapter else chat.model
