"""Errors as OpenAI's clients expect them: {"error": {"message", "type", "param", "code"}} with a fitting status."""

from collections.abc import Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError

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


def what_is_wrong(error: RequestValidationError) -> tuple[str | None, str]:
    """The request's field at fault and what is wrong with it, in the words of the request, not of our types.

    Where a field may be of several kinds, each kind has its complaint; one that took the value's kind and missed
    something inside says more than one that wants another kind.
    """
    found = error.errors()
    top = found[0]["loc"][1:2]
    same = [one for one in found if one["loc"][1:2] == top]
    told = next((one for one in same if not one["type"].endswith("_type")), same[0])
    message = str(told["msg"]).removeprefix("Value error, ")
    return ".".join(map(str, _place(told["loc"][1:], error.body))) or None, message


def _place(parts: Sequence[str | int], body: Any) -> list[str | int]:
    """The parts of a location that lead through the body; the others name kinds of our schema."""
    place: list[str | int] = []
    part: Any
    for part in parts:
        if (isinstance(body, dict) and part in body) or (
            isinstance(body, list) and isinstance(part, int) and part < len(body)
        ):
            body = body[part]
        elif not (isinstance(body, dict) and isinstance(part, str) and part.isidentifier() and part == parts[-1]):
            continue
        place.append(part)
    return place or list(parts[:1])
