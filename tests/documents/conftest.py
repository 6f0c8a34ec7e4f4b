"""Reading bytes as a file of any name."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mnatune.documents import ReadFile, read_file


@pytest.fixture
def read_bytes(tmp_path: Path) -> Callable[[str, bytes], ReadFile]:
    """Read bytes as a file of that name."""

    def go(name: str, data: bytes) -> ReadFile:
        path = tmp_path / name
        path.write_bytes(data)
        return read_file(path, name)

    return go
