"""How an engine says no: a request that it cannot take, or an answer that it could not finish."""


class Refusal(Exception):
    """A refusal or failure that goes to whoever asked.

    Args:
        status: HTTP status under which a server passes it on.
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


def bad_request(message: str, *, param: str | None = None, code: str | None = None) -> Refusal:
    """400."""
    return Refusal(400, message, param=param, code=code)


def busy(retry_after: float = 1.0) -> Refusal:
    """429: the engine's queue is full."""
    return Refusal(429, "the server's queue is full; try again shortly", code="queue_full", retry_after=retry_after)


def engine_down(message: str) -> Refusal:
    """503: the engine cannot answer now."""
    return Refusal(503, message, code="engine_unavailable", retry_after=5.0)


def overdue() -> Refusal:
    """504: the request's deadline passed."""
    return Refusal(504, "the request took longer than the server allows", code="deadline_exceeded")
