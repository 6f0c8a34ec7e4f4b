"""A tiny Qwen3 with the starter's tokenizer and a LoRA adapter that changes its answers."""

import pytest

from mnatune.model.export import Subject
from mnatune.runs.recipe import bundled, load_recipe


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """(base folder, adapter folder)."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

    root = tmp_path_factory.mktemp("tiny")
    tokenizer = AutoTokenizer.from_pretrained(str(bundled("starter/model")))
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, max_position_embeddings=2048, tie_word_embeddings=True,
    )  # fmt: skip
    model = Qwen3ForCausalLM(config)
    model.save_pretrained(str(root / "base"))
    tokenizer.save_pretrained(str(root / "base"))
    targets = ["q_proj", "v_proj", "down_proj"]
    tuned = get_peft_model(model, LoraConfig(r=4, lora_alpha=32, target_modules=targets, init_lora_weights=False))
    tuned.save_pretrained(str(root / "adapter"))
    (root / "adapter" / "README.md").write_text("---\nlibrary_name: peft\n---\n\n# 시험\n", encoding="utf-8")
    return root / "base", root / "adapter"


@pytest.fixture(scope="session")
def subject(tiny, tmp_path_factory):
    """The tiny model as something to export."""
    base, adapter = tiny
    recipe = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    recipe.write_text(f"name: tiny\nmodel: {{id: {base}}}\n", encoding="utf-8")
    return Subject("tiny-tuned", adapter, load_recipe(recipe))
