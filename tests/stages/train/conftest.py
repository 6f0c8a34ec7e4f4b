"""A tiny Qwen3 with the starter's tokenizer."""

import pytest
from tiny_run import adapter_bytes, compose, curve, make_recipe, train_job

from mnatune.runs.recipe import bundled


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """Folder of a random Qwen3 of two layers with the starter's tokenizer."""
    import torch
    from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

    folder = tmp_path_factory.mktemp("tiny") / "model"
    tokenizer = AutoTokenizer.from_pretrained(str(bundled("starter") / "model"))
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=32, max_position_embeddings=1024, tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id, bos_token_id=None,
    )  # fmt: skip
    Qwen3ForCausalLM(config).to(torch.bfloat16).save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    return folder


@pytest.fixture
def recipe(tiny_model):
    """Six steps of eight rows, logged and saved every two."""
    return make_recipe(tiny_model)


@pytest.fixture(scope="session")
def whole(tiny_model, tmp_path_factory):
    """(run, adapter's bytes, curve) of a training that nothing interrupted; it is not to be changed."""
    from mnatune.stages.train import train

    run = compose(tmp_path_factory.mktemp("whole"))
    train(train_job(make_recipe(tiny_model), run))
    return run, adapter_bytes(run), curve(run)
