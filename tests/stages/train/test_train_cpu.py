"""Dropout by sixteen bits: what torch's does, in less time."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from transformers import Qwen3ForCausalLM

from mnatune.stages.train.cpu import LEVELS, SixteenBitDropout, cheapen_dropout


@settings(max_examples=30, deadline=None)
@given(p=st.floats(0.0, 0.9), size=st.integers(1, 9), seed=st.integers(0, 1000))
def test_every_element_is_dropped_or_scaled(p, size, seed) -> None:
    torch.manual_seed(seed)
    x = torch.rand(size, 7) + 1
    got = SixteenBitDropout(p)(x)
    scaled = x * LEVELS / (LEVELS - round(p * LEVELS))
    assert ((got == 0) | torch.isclose(got, scaled)).all()


@pytest.mark.parametrize("p", [0.05, 0.1, 0.5])
def test_the_share_that_is_dropped_and_the_mean(p) -> None:
    torch.manual_seed(0)
    got = SixteenBitDropout(p)(torch.ones(1000, 1000))
    assert (got == 0).float().mean().item() == pytest.approx(p, abs=0.002)  # four standard deviations at 0.5
    assert got.mean().item() == pytest.approx(1, abs=0.005)


def test_nothing_happens_outside_training_or_without_probability() -> None:
    x = torch.rand(5)
    assert SixteenBitDropout(0.5).eval()(x) is x
    assert SixteenBitDropout(0.0)(x) is x


def test_the_gradient_has_the_mask_of_the_output() -> None:
    x = torch.ones(200, requires_grad=True)
    got = SixteenBitDropout(0.3)(x)
    got.sum().backward()
    assert torch.equal(x.grad, got.detach())


def test_every_adapter_of_a_model_gets_it(tiny_model) -> None:
    base = Qwen3ForCausalLM.from_pretrained(tiny_model)
    model = get_peft_model(base, LoraConfig(r=2, lora_dropout=0.1, target_modules=["q_proj", "down_proj"]))
    names = [name for name, module in model.named_modules() if type(module) is torch.nn.Dropout]
    assert names
    cheapen_dropout(model)
    modules = dict(model.named_modules())
    assert {type(modules[name]) for name in names} == {SixteenBitDropout}
    assert {modules[name].p for name in names} == {0.1}
