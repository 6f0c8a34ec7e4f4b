"""Answers scored after prompts that are run once: the same values and gradients as whole rows, and fewer tokens."""

import pytest
import torch
from torch.nn import functional
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

from mnatune.model.load import load_base
from mnatune.stages.train import shared_prompts
from mnatune.stages.train.shared_prompts import answer_logps

PAD, TEMPERATURE = 0, 0.7
PROMPTS = [[5, 6, 7, 8, 9], [5, 6, 11], [12]]
ANSWERS = [(0, [21, 22, 23]), (1, [31]), (0, [24]), (2, [41, 42]), (1, [32, 33, 34]), (0, [25, 26])]


@pytest.fixture(scope="module", params=["whole", "window"])
def model(request, tiny_model):
    """The tiny Qwen3, and a tiny Gemma 3 one of whose layers sees three tokens, fewer than any row has."""
    if request.param == "whole":
        return load_base(str(tiny_model), dtype="fp32").eval()
    torch.manual_seed(0)
    config = Gemma3TextConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, sliding_window=3, layer_types=["sliding_attention", "full_attention"],
    )  # fmt: skip
    return Gemma3ForCausalLM(config).eval()


@pytest.fixture(scope="module")
def batch():
    """(ids, mask, width of the prompts) of all answers, padded as TRL does."""
    width, longest = max(map(len, PROMPTS)), max(len(answer) for _, answer in ANSWERS)
    rows = [
        [PAD] * (width - len(PROMPTS[at])) + PROMPTS[at] + answer + [PAD] * (longest - len(answer))
        for at, answer in ANSWERS
    ]
    ids = torch.tensor(rows)
    return ids, (ids != PAD).long(), width


def alone(model, at, answer):
    """Log-probabilities and entropies of one answer, from a whole row without padding."""
    ids = torch.tensor([PROMPTS[at] + answer])
    logits = model(input_ids=ids).logits[0, len(PROMPTS[at]) - 1 : -1].float() / TEMPERATURE
    shares = logits.log_softmax(-1)
    return -functional.cross_entropy(logits, torch.tensor(answer), reduction="none"), -(shares.exp() * shares).sum(-1)


@pytest.mark.parametrize("chunk", [1 << 26, 1 << 14])
def test_every_answer_scores_as_a_row_of_its_own(model, batch, chunk, monkeypatch) -> None:
    monkeypatch.setattr(shared_prompts, "HEAD_CHUNK_ELEMENTS", chunk)
    logps, entropy = answer_logps(model, *batch, TEMPERATURE)
    for row, (at, answer) in enumerate(ANSWERS):
        wanted, spread = alone(model, at, answer)
        assert torch.allclose(logps[row, : len(answer)], wanted, atol=1e-4)
        assert torch.allclose(entropy[row, : len(answer)], spread, atol=1e-4)
        assert not logps[row, len(answer) :].any()


def test_gradients_flow_through_the_shared_prompts(model, batch) -> None:
    weight = model.base_model.layers[0].self_attn.k_proj.weight

    def gradient(total):
        return torch.autograd.grad(total, weight)[0]

    shared = gradient(answer_logps(model, *batch, TEMPERATURE)[0].sum())
    whole = gradient(sum(alone(model, at, answer)[0].sum() for at, answer in ANSWERS))
    assert torch.allclose(shared, whole, atol=1e-3 * float(whole.abs().max()))


def test_each_prompt_is_run_once(model, batch, monkeypatch) -> None:
    seen, forward = [], model.base_model.forward

    def counted(*args, **kwargs):
        seen.append(kwargs["input_ids"].numel())
        return forward(*args, **kwargs)

    monkeypatch.setattr(model.base_model, "forward", counted)
    ids, mask, width = batch
    answer_logps(model, ids, mask, width, TEMPERATURE)
    assert seen == [len(PROMPTS) * (width - 1), len(ANSWERS) * (ids.shape[1] - width + 1)]
