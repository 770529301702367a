"""Reads a request's body into memory, and never onto the disk: within its bytes, its time, and what others hold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final, TypeVar

from anyio import fail_after
from starlette.requests import Request

from vit_runtime.serving.limits import Gate, ServiceLimits
from vit_runtime.serving.refusals import Refusal

_Result = TypeVar("_Result")

_LARGE: Final = 1 << 20
"""Bytes from which a body is parsed in a thread; below that the way there takes longer than the parsing."""


@asynccontextmanager
async def body_of(request: Request, limits: ServiceLimits, gate: Gate) -> AsyncIterator[bytes]:
    """Gives a request's body, which counts as held until the block ends.

    Raises:
        Refusal: it is too large, compressed, or too slow; or bodies take too much memory already.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        told = f"a body in content-encoding {encoding} is not read; send it as it is"
        raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, told)
    length = request.headers.get("content-length")
    if length is not None and length.isdecimal() and int(length) > limits.body_bytes:
        raise _too_large(limits)
    held = 0
    try:
        pieces: list[bytes] = []
        try:
            with fail_after(limits.body_seconds):
                async for piece in request.stream():
                    if held + len(piece) > limits.body_bytes:
                        raise _too_large(limits)
                    gate.hold(len(piece))
                    held += len(piece)
                    pieces.append(piece)
        except TimeoutError:
            told = f"the body did not arrive within {limits.body_seconds:g} s"
            raise Refusal(HTTPStatus.REQUEST_TIMEOUT, told) from None
        body = b"".join(pieces)
        del pieces
        yield body
    finally:
        gate.release(held)


async def parsed(parse: Callable[..., _Result], body: bytes, *arguments: object) -> _Result:
    """Parses a body, a large one in a thread. Others are answered meanwhile, though not while JSON is parsed."""
    if len(body) < _LARGE:
        return parse(body, *arguments)
    return await asyncio.to_thread(parse, body, *arguments)


def _too_large(limits: ServiceLimits) -> Refusal:
    told = f"the body is larger than {limits.body_bytes:,} bytes; send fewer or smaller pictures"
    return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, told)
