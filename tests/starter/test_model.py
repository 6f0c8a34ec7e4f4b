"""The bundled starter: template, tokenizer and weights.

`tests/data/qwen3_dialogues.jsonl` holds 80 dialogues of our own with the text that Qwen/Qwen3-8B's own chat template
(revision of 2025, Apache-2.0) renders for them.
"""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from mnatune.recipe import bundled

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
