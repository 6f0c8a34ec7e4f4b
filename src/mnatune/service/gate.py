"""The gate before every route: request ids, who is calling, limits on size and rate, security headers, one log line.

Plain ASGI, so that a disconnect reaches the routes at once. A request without a valid key is refused before its body
is read. What is logged holds no prompt and no answer, also when a route fails.
"""

import asyncio
import json
import logging
import re
import time
import uuid
from urllib.parse import urlsplit

from fastapi import HTTPException
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..model.engine.refusals import Refusal
from ..runs.errors import log_failure
from .caller import Caller
from .envelope import error_body, error_headers
from .keys import KeyStore
from .service import Service

log = logging.getLogger("mnatune.access")

REQUEST_ID = re.compile(r"[\w.-]{1,64}\Z")
GUARDED = ("/v1/", "/api/")
ANSWERED = ("/v1/", "/api/compare")  # what a key's limits count
FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via")
OPTIONAL = "/api/page"  # answers without a key too, but says less
BODY_SECONDS = 60.0  # for the whole of a body
DRAIN_FACTOR = 8  # a body up to so many times too long is still read, so that the client gets to see the 413
SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


class KeyGate:
    """See the module's text. Nobody needs a key if `keys` is None, or, where the settings say so, while it is empty."""

    def __init__(self, app: ASGIApp, service: Service, keys: KeyStore | None) -> None:
        self._app = app
        self._service = service
        self._keys = keys
        self._settings = service.settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        visit = _Visit(scope, self._service)
        outgoing = visit.sender(send)
        try:
            caller = self._admit(scope, visit.headers)
            scope.setdefault("state", {})["caller"] = caller
            visit.rater = caller.rater if caller else "-"
            if self._declared(visit.headers) > self._settings.max_body:
                await _drain(receive, self._settings.max_body * DRAIN_FACTOR)
                raise _too_large(self._settings.max_body)
            await self._app(scope, _limited(receive, self._settings.max_body), outgoing)
        except Refusal as error:
            await _refuse(outgoing, error)
        except Exception as error:  # were it raised further, the server's log would get its text
            log_failure(log, f"request {visit.id} failed", error)
            if not visit.status:
                await _refuse(outgoing, Refusal(500, "the server failed; its log says where"))
        finally:
            visit.close()

    def _declared(self, headers: Headers) -> int:
        """The body's declared length; 0 if it is not declared or is no number."""
        value = headers.get("content-length", "")
        return int(value) if value.isdecimal() and len(value) < 20 else 0

    def _admit(self, scope: Scope, headers: Headers) -> Caller | None:
        """Who calls; raises `Refusal` 401, 403 or 429."""
        path = str(scope["path"])
        if self._keys is None or (self._settings.open_while_keyless and not self._keys.in_use()):
            self._same_origin(scope["method"], headers)
            return Caller()
        if not path.startswith(GUARDED):
            return None
        scheme, _, secret = headers.get("authorization", "").partition(" ")
        key = self._keys.find(secret.strip()) if scheme.lower() == "bearer" else None
        if key is None:
            if path == OPTIONAL:
                return None
            raise Refusal(401, "a valid API key is needed: Authorization: Bearer KEY", code="invalid_api_key")
        if path.startswith(ANSWERED):
            self._service.limiter.admit(key)
        else:
            self._service.limiter.admit_small(key)
        return Caller(f"key:{key.id}", key.admin, key)

    def _same_origin(self, method: str, headers: Headers) -> None:
        """While no key is needed, other sites that the user's browser shows must not be able to call us."""
        if any(name in headers for name in FORWARDED):  # behind a proxy everybody comes from this machine
            raise Refusal(
                403,
                "this server has no API key and answers no forwarded request: mnatune keys create NAME",
                code="keyless_behind_proxy",
            )
        host = headers.get("host", "")
        name = host.rpartition(":")[0] if re.search(r":\d+\Z", host) else host
        if self._settings.hosts and name not in self._settings.hosts:
            raise Refusal(403, "this host name is not served here", code="host_not_allowed")
        origin = headers.get("origin")
        if method not in ("GET", "HEAD", "OPTIONS") and origin is not None and urlsplit(origin).netloc != host:
            raise Refusal(403, "requests from other sites are not answered without a key", code="cross_origin")


class _Visit:
    """One request's id, status and time."""

    def __init__(self, scope: Scope, service: Service) -> None:
        self.headers = Headers(scope=scope)
        given = self.headers.get("x-request-id", "")
        self.id = given if REQUEST_ID.match(given) else uuid.uuid4().hex
        self.rater = "-"
        self.status = 0
        self._scope = scope
        self._service = service
        self._begun = time.monotonic()

    def sender(self, send: Send) -> Send:
        """`send` that adds our headers and notes the status."""

        async def outgoing(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.status = message["status"]
                headers = MutableHeaders(raw=list(message.get("headers", [])))
                headers["x-request-id"] = self.id
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                message = {**message, "headers": headers.raw}
            await send(message)

        return outgoing

    def close(self) -> None:
        """Count and log."""
        route = getattr(self._scope.get("route"), "path", None) or "other"
        self._service.metrics.requests.labels(route, str(self.status or 499)).inc()
        spent = (time.monotonic() - self._begun) * 1000
        method = self._scope["method"]
        log.info("%s %s %s %s %.0fms %s", self.id, method, route, self.status or 499, spent, self.rater)


def _too_large(limit: int) -> Refusal:
    return Refusal(413, f"the body is larger than {limit:,} bytes", code="body_too_large")


def _limited(receive: Receive, limit: int) -> Receive:
    """`receive` that refuses to go on after `limit` bytes, for bodies of undeclared length."""
    seen, whole, end = 0, False, time.monotonic() + BODY_SECONDS

    async def incoming() -> Message:
        nonlocal seen, whole
        try:
            message = await (receive() if whole else asyncio.wait_for(receive(), end - time.monotonic()))
        except TimeoutError:
            raise HTTPException(408, "the body did not come in time") from None
        whole = not message.get("more_body", False)
        seen += len(message.get("body", b""))
        if seen > limit:
            if message.get("more_body"):
                await _drain(receive, limit * DRAIN_FACTOR)
            raise HTTPException(413, f"the body is larger than {limit:,} bytes")
        return message

    return incoming


async def _drain(receive: Receive, limit: int) -> None:
    """Read and forget the rest of a body, up to `limit` bytes."""
    seen = 0
    while seen <= limit:
        message = await receive()
        seen += len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body"):
            return


async def _refuse(send: Send, error: Refusal) -> None:
    body = json.dumps(error_body(error)).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), **error_headers(error)}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
