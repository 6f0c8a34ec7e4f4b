"""A tiny random Qwen3 with the starter's tokenizer, and servers on real sockets."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from fastapi import FastAPI
from served_app import Live, live


@pytest.fixture
def serve_live() -> Iterator[Callable[[FastAPI], Live]]:
    """Starts servers that end with the test."""
    with ExitStack() as stack:
        yield lambda app: stack.enter_context(live(app))
