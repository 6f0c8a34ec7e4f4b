"""Model and adapter folders that could run code, or that belong elsewhere, are refused."""

import json
import shutil
from pathlib import Path

import pytest

from mnatune.model.load import attach_adapter, base_fingerprint, load_base, model_path, refuse_unsafe
from mnatune.runs.errors import DataError, UsageError


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return make_base(tmp_path_factory.mktemp("base"), seed=0)


def make_base(folder: Path, seed: int) -> Path:
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, tie_word_embeddings=True,
    )  # fmt: skip
    Qwen3ForCausalLM(config).save_pretrained(str(folder))
    return folder


@pytest.fixture
def adapter(base, tmp_path) -> Path:
    from peft import LoraConfig, get_peft_model

    folder = tmp_path / "adapter"
    get_peft_model(load_base(str(base)), LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(str(folder))
    (folder / "mnatune.json").write_text(json.dumps({"base_sha256": base_fingerprint(str(base))}))
    return folder


def test_a_good_adapter_is_attached_frozen_or_trainable(base, adapter) -> None:
    for trainable in (False, True):
        model = attach_adapter(load_base(str(base)), adapter, str(base), trainable=trainable)
        assert any(p.requires_grad for p in model.parameters()) is trainable


@pytest.mark.parametrize("name", ["adapter_model.bin", "pytorch_model.bin", "x.pt", "y.pth", "z.ckpt", "w.pkl"])
def test_pickled_weights_are_refused(base, adapter, name) -> None:
    (adapter / name).write_bytes(b"\x80\x04.")
    with pytest.raises(DataError, match="pickled weights"):
        attach_adapter(load_base(str(base)), adapter, str(base))


@pytest.mark.parametrize("text", ['{"auto_map": {"AutoModel": "evil.Model"}}', '{"a": [{"\\u0061uto_map": 1}]}'])
@pytest.mark.parametrize("name", ["config.json", "adapter_config.json", "tokenizer_config.json"])
def test_a_configuration_that_names_code_is_refused(tmp_path, name, text) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match="would run code"):
        refuse_unsafe(tmp_path)


def test_a_configuration_that_is_no_json_is_refused(tmp_path) -> None:
    for text in ("{", "[" * 100_000):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(DataError, match="not a JSON file"):
            refuse_unsafe(tmp_path)


def test_an_adapter_of_another_base_is_refused_even_of_the_same_shape(adapter, tmp_path) -> None:
    other = make_base(tmp_path / "other", seed=1)
    with pytest.raises(DataError, match="made for another base"):
        attach_adapter(load_base(str(other)), adapter, str(other))


def test_an_adapter_whose_shape_does_not_fit_is_refused(base, adapter) -> None:
    (adapter / "mnatune.json").unlink()
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps({**config, "r": 4}))
    with pytest.raises(DataError, match="does not fit"):
        attach_adapter(load_base(str(base)), adapter, str(base))


def test_an_adapter_trained_on_the_hubs_copy_fits_a_local_one(base, adapter) -> None:
    (adapter / "mnatune.json").write_text(json.dumps({"base_sha256": "hub:Qwen/Qwen3-8B"}))
    assert attach_adapter(load_base(str(base)), adapter, str(base))


@pytest.mark.parametrize("left", [0, 7, 40, 0.5, 0.999])
def test_torn_weights_are_named_not_traced(base, adapter, tmp_path, left) -> None:
    torn = shutil.copytree(base, tmp_path / "torn")
    weights = (torn / "model.safetensors", adapter / "adapter_model.safetensors")
    for file in weights:
        whole = file.read_bytes()
        file.write_bytes(whole[: left if left in (0, 7, 40) else int(left * len(whole))])
    with pytest.raises(DataError, match="the model's weights are damaged or cut off"):
        load_base(str(torn))
    with pytest.raises(DataError, match="the adapter's weights are damaged or cut off"):
        attach_adapter(load_base(str(base)), adapter, str(base))


def test_a_folder_that_is_no_adapter_is_refused(base, tmp_path) -> None:
    with pytest.raises(DataError, match="not an adapter folder"):
        attach_adapter(load_base(str(base)), tmp_path, str(base))


@pytest.mark.parametrize("name", ["../model", "Qwen/../../etc", "runs/../x", "/models/../etc"])
def test_a_path_that_climbs_is_refused(name) -> None:
    with pytest.raises(UsageError, match=r"'\.\.' is refused"):
        model_path(name)


def test_the_fingerprint_is_of_the_weights(base, tmp_path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(base, copy)
    assert base_fingerprint(str(copy)) == base_fingerprint(str(base))
    weights = copy / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    assert base_fingerprint(str(copy)) != base_fingerprint(str(base))


def test_an_adapter_of_another_pinned_revision_is_refused(base, adapter) -> None:
    hub = "Qwen/Qwen3-8B"
    assert base_fingerprint(hub, "one") != base_fingerprint(hub, "two") != base_fingerprint(hub)
    (adapter / "mnatune.json").write_text(json.dumps({"base_sha256": base_fingerprint(hub, "one")}))
    with pytest.raises(DataError, match="made for another base"):
        attach_adapter(load_base(str(base)), adapter, hub, revision="two")
    for revision in ("one", None):  # what is not pinned cannot be told apart
        assert attach_adapter(load_base(str(base)), adapter, hub, revision=revision)
    with pytest.raises(DataError, match="made for another base"):
        attach_adapter(load_base(str(base)), adapter, "Qwen/Qwen3-4B")
