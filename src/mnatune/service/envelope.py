"""Errors as OpenAI's clients expect them: {"error": {"message", "type", "param", "code"}} with a fitting status."""

from typing import Any

from ..model.engine.refusals import Refusal

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    405: "invalid_request_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
}


def error_body(refusal: Refusal) -> dict[str, Any]:
    """The JSON body."""
    kind = TYPES.get(refusal.status, "server_error" if refusal.status >= 500 else "invalid_request_error")
    return {"error": {"message": refusal.message, "type": kind, "param": refusal.param, "code": refusal.code}}


def error_headers(refusal: Refusal) -> dict[str, str]:
    """Retry-After in whole seconds where it applies; WWW-Authenticate for a missing key."""
    headers = {"retry-after": str(max(1, round(refusal.retry_after + 0.5)))} if refusal.retry_after > 0 else {}
    return headers | ({"www-authenticate": "Bearer"} if refusal.status == 401 else {})
