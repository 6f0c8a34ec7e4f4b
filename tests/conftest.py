"""Things that several tests share: small models, runs and recipes, all made on the spot."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MNATUNE_LANG", "en")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the workers share the cores

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest
from made_adapter import make_adapter

from mnatune.model.load import load_tokenizer
from mnatune.pack import Pack
from mnatune.runs.recipe import bundled


@pytest.fixture(scope="session")
def pack() -> Pack:
    """The bundled pack."""
    return Pack.load("mna_ko")


@pytest.fixture(scope="session")
def starter() -> Path:
    """Folder of the bundled starter model."""
    return bundled("starter") / "model"


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random two-layer Qwen3 whose answers depend on every token of the prompt."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = load_tokenizer(str(bundled("starter") / "model"))
    tokenizer.save_pretrained(folder)
    torch.manual_seed(5)
    config = Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, head_dim=32, max_position_embeddings=512,
        tie_word_embeddings=False,
    )  # fmt: skip
    model = Qwen3ForCausalLM(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(4)  # far from uniform, so that rounding decides no token
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_adapters(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two different adapters."""
    place = tmp_path_factory.mktemp("adapters")
    return make_adapter(tiny_model, place / "one", 1), make_adapter(tiny_model, place / "two", 2)


def bench_module(name: str) -> ModuleType:
    """A file of bench/ as a module; those that it imports are found beside it."""
    bench = Path(__file__).parents[1] / "bench"
    if str(bench) not in sys.path:
        sys.path.append(str(bench))
    return importlib.import_module(name)


@pytest.fixture(scope="session")
def office() -> ModuleType:
    """bench/office_files.py: office files whose words and cells are known."""
    return bench_module("office_files")


@pytest.fixture(scope="session")
def faults() -> ModuleType:
    """bench/document_faults.py: the same files broken."""
    return bench_module("document_faults")


@pytest.fixture(scope="session")
def metrics() -> ModuleType:
    """bench/metrics.py: cases planted for each metric, whose truth is known."""
    return bench_module("metrics")


@pytest.fixture(scope="session")
def gpu() -> ModuleType:
    """bench/gpu.py: the parts that are measured on a card."""
    return bench_module("gpu")
