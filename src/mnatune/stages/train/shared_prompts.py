"""Log-probabilities of answers whose prompts are run once each, however many answers a prompt has.

TRL runs every answer with its whole prompt and, without Triton, puts every position through the LM head. With passages a
prompt is ten times as long as an answer, and eight answers would run it eight times. Here the answers to a prompt share its
keys and values, gradients and all, and the head sees answer tokens only. Without dropout the results are those of whole rows
up to the order of float additions.
"""

from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from ...model.engine.opening import chosen_rows, read_opening
from ...model.load import cache_argument
from .trainer import HEAD_CHUNK_ELEMENTS


def answer_logps(
    model: Any, ids: torch.Tensor, mask: torch.Tensor, width: int, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability and entropy of every answer token, shape (rows, answer tokens); 0 where a row has none.

    Args:
        model: the causal language model; adapters that are on work in it.
        ids, mask: prompts padded on the left and answers padded on the right, shape (rows, tokens).
        width: tokens of the prompts, padding included.
    """
    backbone, begun = model.base_model, width - 1  # the last prompt token predicts the answer's first
    prompts, row_of = torch.unique(ids[:, :width], dim=0, return_inverse=True)
    shared: dict[str, Any] = {"use_cache": False}
    if len(prompts) < len(ids) and begun:
        one_row = torch.stack([(row_of == at).nonzero()[0, 0] for at in range(len(prompts))])
        opening = read_opening(backbone, prompts[:, :begun], mask[one_row, :begun])
        shared = {"use_cache": True, cache_argument(): chosen_rows(opening, row_of)}
    start = begun if shared["use_cache"] else 0
    hidden = backbone(input_ids=ids[:, start:], attention_mask=mask, **shared).last_hidden_state
    answers, real = ids[:, width:], mask[:, width:].bool()
    found = _token_logps(model.get_output_embeddings(), hidden[:, begun - start : -1][real], answers[real], temperature)
    logps, entropy = (values.new_zeros(answers.shape).masked_scatter(real, values) for values in found)
    return logps, entropy


def _token_logps(
    head: Any, hidden: torch.Tensor, tokens: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability of each token after its hidden state, and the entropy there, in fp32; large products in chunks."""

    def score(states: torch.Tensor, wanted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        shares = (head(states).float() / temperature).log_softmax(-1)
        with torch.no_grad():
            entropy = -(shares.exp() * shares).sum(-1)
        return shares.gather(-1, wanted[:, None]).squeeze(-1), entropy

    rows = max(1, HEAD_CHUNK_ELEMENTS // head.weight.shape[0])
    if len(tokens) <= rows:
        return score(hidden, tokens)
    parts = [
        checkpoint(score, states, wanted, use_reentrant=False)
        for states, wanted in zip(torch.split(hidden, rows), torch.split(tokens, rows), strict=True)
    ]
    logps, entropy = (torch.cat(found) for found in zip(*parts, strict=True))
    return logps, entropy
