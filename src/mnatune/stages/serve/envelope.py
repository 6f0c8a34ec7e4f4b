"""Errors as OpenAI's clients expect them: {"error": {"message", "type", "param", "code"}} with a fitting status."""

from typing import Any

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    405: "invalid_request_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
}


class ApiError(Exception):
    """A refusal or failure that goes to the client.

    Args:
        status: HTTP status.
        message: one sentence for the developer at the other end; never contains prompt text.
        code: machine-readable cause, such as "model_not_found".
        param: the request's field at fault.
        retry_after: seconds after which it is worth trying again.
    """

    def __init__(
        self, status: int, message: str, *, code: str | None = None, param: str | None = None, retry_after: float = 0.0
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.retry_after = retry_after

    @property
    def body(self) -> dict[str, Any]:
        """The JSON body."""
        kind = TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    @property
    def headers(self) -> dict[str, str]:
        """Retry-After in whole seconds where it applies; WWW-Authenticate for a missing key."""
        headers = {"retry-after": str(max(1, round(self.retry_after + 0.5)))} if self.retry_after > 0 else {}
        return headers | ({"www-authenticate": "Bearer"} if self.status == 401 else {})


def bad_request(message: str, *, param: str | None = None, code: str | None = None) -> ApiError:
    """400."""
    return ApiError(400, message, param=param, code=code)


def busy(retry_after: float = 1.0) -> ApiError:
    """429: the engine's queue is full."""
    return ApiError(429, "the server's queue is full; try again shortly", code="queue_full", retry_after=retry_after)


def engine_down(message: str) -> ApiError:
    """503: the engine cannot answer now."""
    return ApiError(503, message, code="engine_unavailable", retry_after=5.0)


def overdue() -> ApiError:
    """504: the request's deadline passed."""
    return ApiError(504, "the request took longer than the server allows", code="deadline_exceeded")
