"""The bundled starter: template, tokenizer and weights.

`tests/data/qwen3_dialogues.jsonl` holds 80 dialogues of our own with the text that Qwen/Qwen3-8B's own chat template
(revision of 2025, Apache-2.0) renders for them.
"""

import json
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from mnatune.runs.recipe import bundled

sys.path.insert(0, str(Path(__file__).parents[2] / "starter"))
import unloop

MODEL = bundled("starter") / "model"
DIALOGUES = [
    json.loads(line) for line in (Path(__file__).parents[1] / "data/qwen3_dialogues.jsonl").open(encoding="utf-8")
]
TOKENIZER = AutoTokenizer.from_pretrained(MODEL)


@pytest.mark.parametrize("number", range(len(DIALOGUES)))
def test_template_renders_as_qwen3s(number: int) -> None:
    dialogue = DIALOGUES[number]
    assert (
        TOKENIZER.apply_chat_template(dialogue["messages"], tokenize=False, **dialogue["options"]) == dialogue["text"]
    )


def test_roles_of_special_tokens() -> None:
    assert (TOKENIZER.eos_token, TOKENIZER.pad_token, TOKENIZER.bos_token) == ("<|im_end|>", "<|endoftext|>", None)
    for token in ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_call>"):
        assert len(TOKENIZER(token)["input_ids"]) == 1
    assert TOKENIZER.decode(TOKENIZER("<|im_start|>가<|im_end|>")["input_ids"], skip_special_tokens=True) == "가"


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=40))
def test_tokenizer_loses_nothing_but_normal_form(text: str) -> None:
    import unicodedata

    assert TOKENIZER.decode(TOKENIZER(text)["input_ids"]) == unicodedata.normalize("NFC", text)


def test_weights_load_and_fit_their_tokenizer() -> None:
    model = AutoModelForCausalLM.from_pretrained(MODEL)
    assert type(model).__name__ == "Qwen3ForCausalLM"
    assert 9_000_000 <= model.num_parameters() <= 20_000_000
    assert model.config.vocab_size >= len(TOKENIZER)
    assert model.config.max_position_embeddings >= 1024
    assert model.config.tie_word_embeddings
    assert (MODEL / "model.safetensors").stat().st_size <= 40 * 2**20


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 4), max_size=30))
def test_repeated_tokens_are_those_of_an_n_gram_that_stood_before(ids: list[int]) -> None:
    grams = [tuple(ids[at : at + unloop.NGRAM]) for at in range(len(ids) - unloop.NGRAM + 1)]
    again = [at for at, gram in enumerate(grams) if gram in grams[:at]]
    wanted = {token for at in again for token in range(at, at + unloop.NGRAM)}
    assert [at for at, mark in enumerate(unloop.repeated(ids)) if mark] == sorted(wanted)


def test_repeated_loss_falls_on_marked_tokens_alone() -> None:
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    beginnings, answers = torch.arange(100, 112).reshape(2, 6), torch.arange(200, 216).reshape(2, 8)
    marks = torch.zeros(2, 8, dtype=torch.bool)
    marks[1, 3] = True
    loss = unloop.unlikelihood(model, beginnings, answers, marks)
    with torch.no_grad():
        logits = model(torch.cat([beginnings, answers], dim=1)).logits[1, 6 + 3 - 1].float()
    assert loss.item() == pytest.approx(-torch.log1p(-logits.softmax(-1)[answers[1, 3]]).item(), rel=0.05)
