"""A tiny random Qwen3 with the starter's tokenizer, and servers on real sockets."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from served_app import Live, live


@pytest.fixture
def serve_live() -> Iterator[Callable[..., Live]]:
    """Starts servers that end with the test."""
    with ExitStack() as stack:
        yield lambda app, **options: stack.enter_context(live(app, **options))
