"""The FastAPI application: routes, pages, health, metrics, and errors in OpenAI's shape."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException

from .. import __version__
from ..model.engine.protocol import Engine
from ..model.engine.refusals import Refusal
from ..runs.errors import MnatuneError
from . import admin_api, api, page_api, rating_api
from .envelope import error_body, error_headers, what_is_wrong
from .evidence import LawEvidence
from .feedback.sink import FeedbackSink
from .gate import KeyGate
from .gauges import CONTENT_TYPE
from .keys import KeyStore
from .marking import Checker
from .service import Service, Settings

log = logging.getLogger(__name__)

PAGE = Path(__file__).parent / "page"
ASSETS = {path.name: path for path in sorted(PAGE.glob("*.*"))}


def create_app(
    engine: Engine,
    feedback: FeedbackSink,
    keys: KeyStore | None = None,
    settings: Settings | None = None,
    checker: Checker | None = None,
    law: LawEvidence | None = None,
) -> FastAPI:
    """The server as an ASGI application; `app.state.service` holds its parts.

    Args:
        keys: needed by every request to /v1 and /api; None serves without keys (loopback only).
        checker: marks statute citations in the page; None leaves them unmarked.
        law: what answers with evidence rest on; None answers without.
    """
    service = Service(engine, feedback, settings or Settings(), checker, law, keys)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            await engine.start()
        except MnatuneError as error:  # `serve` ends with it; any other ASGI server goes on, not ready
            app.state.failure = error
            log.error("the engine did not start: %s", error)
        await service.law.warm()  # here, not later: loading the analyser holds the event loop, in a thread too
        yield
        await service.settle()
        await engine.stop()
        engine.close()
        feedback.close()

    app = FastAPI(title="mnatune", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.service = service
    app.state.failure = None
    # The gate checks the keys; this only has the OpenAPI document say where one is needed.
    guard = [Depends(HTTPBearer(auto_error=False))] if keys else []
    app.include_router(api.router, dependencies=guard)
    app.include_router(page_api.router, dependencies=guard)
    app.include_router(rating_api.router, dependencies=guard)
    app.include_router(admin_api.router, dependencies=guard)
    app.include_router(page_api.entry)
    _add_health(app, service)
    _add_pages(app)
    _add_errors(app)
    app.add_middleware(KeyGate, service=service, keys=keys)
    schema = app.openapi

    def without_422() -> dict[str, Any]:
        """The OpenAPI document; wrong requests are answered 400, never FastAPI's own 422."""
        document = schema()
        for path in document["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
        return document

    app.openapi = without_422  # type: ignore[method-assign]
    return app


def _add_health(app: FastAPI, service: Service) -> None:
    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """The process lives."""
        return {"status": "ok"}

    @app.get("/readyz", responses={503: {"description": "Not ready"}})
    async def readyz() -> Response:
        """The engine answers and the server is not shutting down."""
        why = "draining" if service.draining else service.engine.fault()
        return JSONResponse({"status": why or "ready"}, 503 if why else 200)

    @app.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Prometheus metrics."""
        return Response(service.metrics.render(), media_type=CONTENT_TYPE)


def _add_pages(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return FileResponse(ASSETS["chat.html"])

    @app.get("/admin", include_in_schema=False)
    async def admin() -> Response:
        return FileResponse(ASSETS["admin.html"])

    @app.get("/rate", include_in_schema=False)
    async def rate() -> Response:
        return FileResponse(ASSETS["rate.html"])

    @app.get("/page/{name}", include_in_schema=False)
    async def asset(name: str) -> Response:
        if name not in ASSETS:
            raise HTTPException(404)
        return FileResponse(ASSETS[name])


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(Refusal)
    async def refused(_: Request, error: Refusal) -> Response:
        return JSONResponse(error_body(error), error.status, error_headers(error))

    @app.exception_handler(RequestValidationError)
    async def wrong(_: Request, error: RequestValidationError) -> Response:
        place, message = what_is_wrong(error)
        refusal = Refusal(400, f"{place or 'body'}: {message}", param=place)
        return JSONResponse(_printable(error_body(refusal)), 400)

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> Response:
        return JSONResponse(error_body(Refusal(error.status_code, str(error.detail))), error.status_code, error.headers)


def _printable(value: Any) -> Any:
    """The error body without lone surrogates, which no response can carry."""
    if isinstance(value, dict):
        return {key: _printable(item) for key, item in value.items()}
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
