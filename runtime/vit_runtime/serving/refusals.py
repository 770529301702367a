"""`Refusal`: a request that is answered by an error of one line."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

_LONGEST: Final = 400


class Refusal(Exception):  # noqa: N818 - an answer, not a fault
    """A request that the service does not answer; its text goes to the client.

    Args:
        status: the HTTP status.
        line: what is wrong, and what to do, in one line.
        headers: further headers of the answer.
    """

    def __init__(self, status: HTTPStatus, line: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(line)
        self.status = status
        self.line = one_printable_line(line)
        self.headers = dict(headers or {})


def one_printable_line(text: str) -> str:
    """Puts a text that may hold anything into one line without control characters, of at most 400 characters."""
    line = " ".join(text.split())
    line = "".join(letter if letter.isprintable() else "\ufffd" for letter in line)
    return line if len(line) <= _LONGEST else line[: _LONGEST - 3] + "..."


def no_picture(line: str) -> Refusal:
    """The refusal of a picture that cannot be read: status 422, or 413 where it is too large."""
    too_large = "too large" in line
    return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE if too_large else HTTPStatus.UNPROCESSABLE_ENTITY, line)


def busy(line: str) -> Refusal:
    """The refusal of a request that comes when there is no room; a second later there may be."""
    return Refusal(HTTPStatus.TOO_MANY_REQUESTS, line, {"Retry-After": "1"})
