"""Connections that take their time, or more work than their bytes are worth: uvicorn bears with them, this does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

HEAD_SECONDS: Final = 10.0
"""Longest that a request's first line and headers may take to arrive, once the connection is there."""
TAKING_SECONDS: Final = 20.0
"""Longest that a client may take none of an answer which does not fit into the system's buffers."""
_ENDING_SECONDS: Final = 3.0
"""How long clients have, once the service ends, to send the rest of a body, and to take what is left of an answer."""
_MOST_HEAD_BYTES: Final = 64 << 10
_MOST_HEAD_LINES: Final = 256
_FREE_CHUNKS: Final = 256
_LEAST_CHUNK: Final = 256
"""Bytes of a chunk, on average, in a body of more than 256 of them. h11 takes 20 microseconds for each, and all other
requests wait meanwhile: a quarter of a megabyte in chunks of one byte is a second."""


class _Connection(h11.Connection):
    """Refuses heads of very many lines, and bodies of very many tiny chunks."""

    _chunks = _bytes = 0

    def next_event(self) -> Any:
        """As its base."""
        if self.their_state is h11.IDLE:
            self._check_head()
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._chunks = self._bytes = 0
        elif isinstance(event, h11.Data):
            self._chunks += event.chunk_start
            self._bytes += len(event.data)
            if self._chunks > _FREE_CHUNKS + self._bytes // _LEAST_CHUNK:
                raise h11.RemoteProtocolError("chunks that are too small")
        return event

    def _check_head(self) -> None:
        """h11 looks at the size of a head only while it is not whole."""
        received = self.trailing_data[0]
        end = received.find(b"\n\r\n")
        end = len(received) if end < 0 else end
        if end > _MOST_HEAD_BYTES or received.count(b"\n", 0, end) > _MOST_HEAD_LINES:
            raise h11.RemoteProtocolError("a head that is too large")


class _Timer:
    """A call that comes later, or never."""

    _handle: asyncio.TimerHandle | None = None

    def start(self, loop: asyncio.AbstractEventLoop, seconds: float, call: Callable[[], None]) -> None:
        if self._handle is None:
            self._handle = loop.call_later(seconds, call)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


class CarefulProtocol(H11Protocol):
    """HTTP/1.1 whose clients have to send a request's head, and to take their answers, in time.

    uvicorn's own time limit holds between requests, and ends with the first byte of the next one.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.conn = _Connection(h11.SERVER, _MOST_HEAD_BYTES)
        self._head, self._taking = _Timer(), _Timer()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Starts the time for the first request's head."""
        super().connection_made(transport)
        self._head.start(self.loop, HEAD_SECONDS, self._give_up)

    def data_received(self, data: bytes) -> None:
        """Ends that time with the head; what begins another head starts it again."""
        super().data_received(data)
        if self._is_waiting_for_head():
            self._head.start(self.loop, HEAD_SECONDS, self._give_up)
        else:
            self._head.stop()

    def pause_writing(self) -> None:
        """Starts the time to take an answer."""
        super().pause_writing()
        self._taking.start(self.loop, TAKING_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Ends it: the client has taken some."""
        self._taking.stop()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """Closes a connection that is not used, even if its client has not taken the last answer."""
        super().timeout_keep_alive_handler()
        self.loop.call_later(_ENDING_SECONDS, self.transport.abort)

    def shutdown(self) -> None:
        """Lets a request that has arrived be answered when the service ends, and one that arrives slowly be lost."""
        super().shutdown()
        self.loop.call_later(_ENDING_SECONDS, self._end)

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends all times with the connection."""
        self._head.stop()
        self._taking.stop()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's own words, which say less
        """Answers what is no HTTP as the service's other errors."""
        body = b'{"error":"no valid HTTP request, more than 64 kB or 256 lines of headers, or tiny chunks"}'
        headers = [("content-type", "application/json"), ("content-length", str(len(body))), ("connection", "close")]
        if self.cycle is not None:  # what was begun is over, and says no more
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            events: tuple[Any, ...] = (
                h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
                h11.Data(data=body),
                h11.EndOfMessage(),
            )
            for event in events:
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _is_waiting_for_head(self) -> bool:
        return self.conn.their_state is h11.IDLE and not self.transport.is_closing()

    def _give_up(self) -> None:
        self._head.stop()
        if self._is_waiting_for_head():
            self.transport.abort()

    def _end(self) -> None:
        if self.transport.is_closing() or self.conn.their_state is h11.SEND_BODY:
            self.transport.abort()
