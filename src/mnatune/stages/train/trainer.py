"""Supervised fine-tuning with TRL's SFTTrainer, and a loss that does no needless work.

Two things are added to TRL by subclassing, both exact:

* the LM head is applied to answer tokens only (TRL does so on Triton devices; here it holds on CPU too);
* **shared prefix**: every row begins with the same system turn. It is run once per micro-batch with a batch of one,
  its keys and values, gradients and all, are expanded over the rows, and only what differs is run per row. Without
  LoRA dropout the gradients are those of the unshared computation up to the order of float additions; with dropout
  the rows of a micro-batch share the masks of their common tokens.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from trl import SFTTrainer

from ...model.engine.opening import expanded, read_opening
from ...model.load import cache_argument
from .token_rows import IGNORED

HEAD_CHUNK_ELEMENTS = 1 << 26  # logits held at once by the head; a larger product is done in recomputed chunks


class LossTally:
    """Sums since the last log line, kept on the device (no synchronisation per micro-batch) in double precision.

    They go into each checkpoint, so that a line whose steps were interrupted is the line of the uninterrupted run.

    Attributes:
        since: step of the last log line.
    """

    def __init__(self) -> None:
        self._loss = torch.zeros((), dtype=torch.float64)
        self._correct = torch.zeros((), dtype=torch.int64)
        self._scored, self.since = 0, 0

    def add(self, loss: torch.Tensor, correct: torch.Tensor, scored: int) -> None:
        """Count a micro-batch."""
        self._loss = self._loss.to(loss.device) + loss.detach().double()
        self._correct = self._correct.to(correct.device) + correct
        self._scored += scored

    def clear(self, step: int) -> None:
        """Begin a new line after `step`."""
        self._loss, self._correct = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.int64)
        self._scored, self.since = 0, step

    @property
    def loss(self) -> float:
        """Sum of the losses."""
        return float(self._loss)

    @property
    def scored(self) -> int:
        """Answer tokens counted."""
        return self._scored

    @property
    def accuracy(self) -> float:
        """Share of the answer tokens that were predicted right."""
        return int(self._correct) / max(1, self._scored)

    def state(self) -> dict[str, float]:
        """The sums as plain values."""
        return {"loss": self.loss, "correct": int(self._correct), "scored": self._scored, "since": self.since}

    def restore(self, state: dict[str, float]) -> None:
        """Take up the sums of a checkpoint."""
        self._loss = torch.tensor(state["loss"], dtype=torch.float64)
        self._correct = torch.tensor(int(state["correct"]))
        self._scored, self.since = int(state["scored"]), int(state["since"])


class AnswerTrainer(SFTTrainer):  # type: ignore[misc]
    """SFTTrainer that scores answer tokens only and can share the rows' common prefix.

    Args:
        prefix: number of leading tokens that all rows share and that are computed once; 0 shares nothing.
        own_loss: False hands the loss to TRL, whose forward goes through the wrapper of DDP or torch.compile.
        tokens_by_step: real tokens seen after each step (token_rows.tokens_by_step).
    """

    def __init__(
        self, *args: Any, prefix: int = 0, own_loss: bool = True, tokens_by_step: Sequence[int] = (0,), **kwargs: Any
    ) -> None:
        with precise_adapter(kwargs["model"]):
            super().__init__(*args, **kwargs)
        self.prefix = prefix
        self.own_loss = own_loss
        self.tokens_by_step = tokens_by_step
        self.tally = {"train": LossTally(), "eval": LossTally()}
        self.processing_class = None  # else each checkpoint would hold the tokenizer, 11 MB for Qwen3

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean negative log-likelihood of the answer tokens (over the whole accumulated step)."""
        if not self.own_loss or return_outputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        with self.accelerator.autocast():  # the Trainer puts it around model.forward, which is not called here
            total, correct, scored = self.summed_loss(model, inputs)
        count = scored if num_items_in_batch is None else num_items_in_batch
        loss = total / torch.as_tensor(count, device=total.device).clamp(min=1)
        # in training the mean over the step's rows, in evaluation the sum over all tokens, is what gets averaged
        side = "train" if model.training else "eval"
        self.tally[side].add(loss if model.training else total, correct, scored)
        return loss

    def summed_loss(self, model: Any, inputs: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor, int]:
        """Summed loss of a micro-batch, answer tokens predicted right, and answer tokens."""
        hidden, labels = answer_states(model, inputs, self.prefix)
        total, correct = head_loss(model.get_output_embeddings(), hidden, labels)
        return total, correct, len(labels)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Put in loss and token accuracy from the tallies, and the tokens seen (padding not counted)."""
        train, evaluation = self.tally["train"], self.tally["eval"]
        step = self.state.global_step
        if "loss" in logs and train.scored:
            logs["loss"] = train.loss / (step - train.since)
            logs["mean_token_accuracy"] = train.accuracy
            train.clear(step)
        if "eval_loss" in logs and evaluation.scored:
            logs["eval_loss"] = evaluation.loss / evaluation.scored
            logs["eval_mean_token_accuracy"] = evaluation.accuracy
            evaluation.clear(step)
        logs["num_tokens"] = float(self.tokens_by_step[min(step, len(self.tokens_by_step) - 1)])
        super().log(logs, start_time)


@contextmanager
def precise_adapter(model: Any) -> Iterator[Any]:
    """Put the trainable weights back to fp32, unrounded, after the block has built a TRL trainer with the model.

    TRL makes them bf16 on a quantised base: small updates would round to nothing, and a policy that starts from an
    adapter would differ from its reference, which TRL copies before.
    """
    kept = [(p, p.detach().to(torch.float32, copy=True)) for p in model.parameters() if p.requires_grad]
    yield model
    for parameter, value in kept:
        parameter.data = value.to(parameter.device)


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
        opening = read_opening(backbone, inputs["input_ids"][:1, :prefix])
        hidden = backbone(
            input_ids=inputs["input_ids"][:, prefix:],
            attention_mask=inputs["attention_mask"],
            **{cache_argument(): expanded(opening, len(labels))},
            use_cache=True,
        ).last_hidden_state
        labels = labels[:, prefix:]
    targets = labels[:, 1:]
    scored = targets != IGNORED
    return hidden[:, :-1][scored], targets[scored]


def head_loss(head: Any, hidden: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Summed cross-entropy in fp32 and the number of tokens predicted right."""

    def score(states: torch.Tensor, wanted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = head(states).float()
        return functional.cross_entropy(logits, wanted, reduction="sum"), (logits.argmax(-1) == wanted).sum()

    return in_chunks(score, head, hidden, labels)


def in_chunks(
    score: Callable[..., tuple[torch.Tensor, torch.Tensor]], head: Any, *columns: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The sums of a score (loss, tokens right) over rows of tensors.

    A head product above 2^26 logits is computed in chunks that are recomputed in the backward pass, so that a
    vocabulary of 151,936 never needs all its logits at once.
    """
    rows = max(1, HEAD_CHUNK_ELEMENTS // head.weight.shape[0])
    if len(columns[0]) <= rows:
        return score(*columns)
    parts = [
        checkpoint(score, *chunk, use_reentrant=False)
        for chunk in zip(*(torch.split(column, rows) for column in columns), strict=True)
    ]
    return torch.stack([loss for loss, _ in parts]).sum(), torch.stack([right for _, right in parts]).sum()


def _varlen(inputs: dict[str, Any]) -> dict[str, Any]:
    """Sequence boundaries for FlashAttention; on other attentions the positions alone keep rows apart."""
    names = ("cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k")
    return {name: inputs[name] for name in names if name in inputs}
