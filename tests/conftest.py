"""Things that several tests share: small models, runs and recipes, all made on the spot."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from pathlib import Path

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
