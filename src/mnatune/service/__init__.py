"""Serving: an OpenAI-compatible API, a Korean chat page with feedback, and an admin page over one engine.

    engine.py    what an engine is; the echo engine          batch.py, lane.py, sampler.py, emitter.py   in process
    upstream.py  any OpenAI-compatible server                 gate.py, keys.py     who may, how much
    api.py       /v1                                          page_api.py, page/   the pages and their requests
    service.py   an answer from task to record                server.py            options to a running server

Does not: speak TLS (put a reverse proxy in front), run several processes, or render tools and images.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .app import create_app
    from .server import ServeOptions, serve

__all__ = ["ServeOptions", "create_app", "serve"]


def __getattr__(name: str) -> Any:
    """FastAPI is loaded when a server is wanted, not when the package is looked at."""
    if name == "create_app":
        from .app import create_app

        return create_app
    if name in ("ServeOptions", "serve"):
        from . import server

        return getattr(server, name)
    raise AttributeError(name)
