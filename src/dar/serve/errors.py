"""Errors in the shape that OpenAI's clients read."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from dar.errors import DARError
from dar.serve.jobs import Draining, QueueFull

KINDS: Mapping[int, tuple[str, str]] = {
    400: ("invalid_request_error", "invalid_value"),
    401: ("authentication_error", "invalid_api_key"),
    404: ("invalid_request_error", "not_found"),
    405: ("invalid_request_error", "method_not_allowed"),
    408: ("invalid_request_error", "request_timeout"),
    413: ("invalid_request_error", "request_too_large"),
    429: ("rate_limit_error", "slow_down"),
    500: ("server_error", "internal_error"),
    501: ("invalid_request_error", "not_implemented"),
    503: ("service_unavailable_error", "server_is_overloaded"),
    504: ("server_error", "timeout"),
}
"""Type and code of an error, by its status."""


class APIError(Exception):
    """A request cannot be answered.

    Args:
        status: of HTTP.
        message: one sentence for people.
        param: the field that is wrong.
        code: for programs; by default that of the status.
        retry_after: seconds after which to try again.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message = status, _encodable(message)
        self.param = None if param is None else _encodable(param)
        self.kind, usual = KINDS.get(status, KINDS[400 if status < 500 else 500])
        self.code = code or usual
        self.headers = {} if retry_after is None else {"Retry-After": str(max(1, round(retry_after)))}

    def body(self) -> dict[str, Any]:
        """Make the answer's content."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}


def _encodable(text: str) -> str:
    """Escape halves of characters, which JSON may bring and no answer can hold."""
    return text.encode(errors="backslashreplace").decode()


@contextmanager
def about(param: str, code: str | None = None) -> Iterator[None]:
    """Turn what the package refuses into an error about a field.

    Raises:
        APIError: in place of a DARError, with status 400.
    """
    try:
        yield
    except DARError as error:
        raise APIError(400, str(error), param=param, code=code) from error


def refused(error: QueueFull | Draining) -> APIError:
    """Make the error of a request that the engine does not take."""
    return APIError(429 if isinstance(error, QueueFull) else 503, str(error), retry_after=error.retry_after)
