"""Supervised fine-tuning with TRL's SFTTrainer, and a loss that does no needless work.

Two things are added to TRL by subclassing, both exact:

* the LM head is applied to answer tokens only (TRL does so on Triton devices; here it holds on CPU too);
* **shared prefix**: every row begins with the same system turn. It is run once per micro-batch with a batch of one,
  its keys and values, gradients and all, are expanded over the rows, and only what differs is run per row. The
  gradients are those of the unshared computation up to the order of float additions.
"""

from collections import defaultdict
from typing import Any

import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers import DynamicCache
from trl import SFTTrainer

from .data import IGNORED

HEAD_CHUNK_ELEMENTS = 1 << 26  # logits held at once by the head; a larger product is done in recomputed chunks


class AnswerTrainer(SFTTrainer):  # type: ignore[misc]
    """SFTTrainer that scores answer tokens only and can share the rows' common prefix.

    Args:
        prefix: number of leading tokens that all rows share and that are computed once; 0 shares nothing.
        own_loss: False hands the loss to TRL (several processes, where the forward must go through the wrapper).
    """

    def __init__(self, *args: Any, prefix: int = 0, own_loss: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.prefix = prefix
        self.own_loss = own_loss
        self.sums: dict[str, dict[str, float]] = {"train": defaultdict(float), "eval": defaultdict(float)}
        self.tokens_seen = 0

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean negative log-likelihood of the answer tokens (over the whole accumulated step)."""
        side = "train" if model.training else "eval"
        tokens = _real_tokens(inputs)
        if side == "train":
            self.tokens_seen += int(self.accelerator.gather(tokens).sum()) if not self.own_loss else int(tokens)
        if not self.own_loss or return_outputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        hidden, labels = answer_states(model, inputs, self.prefix)
        total, correct = head_loss(model.get_output_embeddings(), hidden, labels)
        count = labels.numel() if num_items_in_batch is None else num_items_in_batch
        sums = self.sums[side]
        sums["correct"] += float(correct)
        sums["scored"] += labels.numel()
        return total / torch.as_tensor(count, device=total.device).clamp(min=1)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add token accuracy and the tokens seen (padding not counted) to what is logged."""
        for side, mark in (("train", ""), ("eval", "eval_")):
            sums = self.sums[side]
            if sums["scored"] and (f"{mark}loss" in logs):
                logs[f"{mark}mean_token_accuracy"] = sums["correct"] / sums["scored"]
                sums.clear()
        logs["num_tokens"] = float(self.tokens_seen)
        super().log(logs, start_time)


def answer_states(model: Any, inputs: dict[str, Any], prefix: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Final hidden states at the positions whose next token is scored, and those tokens.

    Returns:
        hidden, shape (scored, width), and labels, shape (scored,).
    """
    backbone = model.get_base_model().model if hasattr(model, "get_base_model") else model.model
    labels = inputs["labels"]
    if "position_ids" in inputs:  # rows laid end to end; restarted positions keep them apart
        hidden = backbone(
            input_ids=inputs["input_ids"], position_ids=inputs["position_ids"], use_cache=False, **_varlen(inputs)
        ).last_hidden_state
    elif prefix == 0:
        hidden = backbone(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False
        ).last_hidden_state
    else:
        rows = len(labels)
        cache = DynamicCache(config=backbone.config)
        backbone(input_ids=inputs["input_ids"][:1, :prefix], past_key_values=cache, use_cache=True)
        shared = DynamicCache(
            [(layer.keys.expand(rows, -1, -1, -1), layer.values.expand(rows, -1, -1, -1)) for layer in cache.layers],
            config=backbone.config,
        )
        hidden = backbone(
            input_ids=inputs["input_ids"][:, prefix:],
            attention_mask=inputs["attention_mask"],
            past_key_values=shared,
            use_cache=True,
        ).last_hidden_state
        labels = labels[:, prefix:]
    targets = labels[:, 1:]
    scored = targets != IGNORED
    return hidden[:, :-1][scored], targets[scored]


def head_loss(head: Any, hidden: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Summed cross-entropy in fp32 and the number of tokens predicted right.

    A head product above 2^26 logits is computed in chunks that are recomputed in the backward pass, so that a
    vocabulary of 151,936 never needs all its logits at once.
    """

    def score(states: torch.Tensor, wanted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = head(states).float()
        return functional.cross_entropy(logits, wanted, reduction="sum"), (logits.argmax(-1) == wanted).sum()

    rows = max(1, HEAD_CHUNK_ELEMENTS // head.weight.shape[0])
    if len(labels) <= rows:
        return score(hidden, labels)
    total, correct = hidden.new_zeros((), dtype=torch.float32), labels.new_zeros(())
    for states, wanted in zip(hidden.split(rows), labels.split(rows), strict=True):
        part, right = checkpoint(score, states, wanted, use_reentrant=False)
        total, correct = total + part, correct + right
    return total, correct


def _real_tokens(inputs: dict[str, Any]) -> torch.Tensor:
    if "attention_mask" in inputs:
        return inputs["attention_mask"].sum()
    return torch.tensor(inputs["input_ids"].numel(), device=inputs["input_ids"].device)


def _varlen(inputs: dict[str, Any]) -> dict[str, Any]:
    """Sequence boundaries for FlashAttention; on other attentions the positions alone keep rows apart."""
    names = ("cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k")
    return {name: inputs[name] for name in names if name in inputs}
