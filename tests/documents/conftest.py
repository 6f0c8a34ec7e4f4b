"""Office files written by `bench/office_files.py`, whose words and cells are known."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from mnatune.documents import ReadFile, read_file

BENCH = Path(__file__).parents[2] / "bench"


def bench_module(name: str) -> ModuleType:
    """A file of bench/ as a module."""
    if str(BENCH) not in sys.path:
        sys.path.append(str(BENCH))
    spec = importlib.util.spec_from_file_location(name, BENCH / f"{name}.py")
    assert spec
    assert spec.loader
    module = sys.modules.get(name) or importlib.util.module_from_spec(spec)
    if name not in sys.modules:
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def office() -> ModuleType:
    """bench/office_files.py."""
    return bench_module("office_files")


@pytest.fixture(scope="session")
def faults(office: ModuleType) -> ModuleType:
    """bench/document_faults.py."""
    return bench_module("document_faults")


@pytest.fixture
def read_bytes(tmp_path: Path) -> Callable[[str, bytes], ReadFile]:
    """Read bytes as a file of that name."""

    def go(name: str, data: bytes) -> ReadFile:
        path = tmp_path / name
        path.write_bytes(data)
        return read_file(path, name)

    return go
