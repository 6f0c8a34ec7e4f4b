"""Things that several tests share: small models, runs and recipes, all made on the spot."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

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
