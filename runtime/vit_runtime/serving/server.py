"""Listens, until SIGTERM or Ctrl-C, and then answers what it has taken on."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from vit_runtime.errors import UsageError, option

if TYPE_CHECKING:
    from starlette.applications import Starlette

_SECONDS_TO_END: Final = 20
"""How long requests that are being answered have when the service ends."""
_KEEP_ALIVE: Final = 15
_BACKLOG: Final = 1024


def listen(host: str, port: int) -> socket.socket:
    """Takes an address, so that whoever starts the service hears at once if it is taken.

    Raises:
        UsageError: the address is taken, not this machine's, or not allowed.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.socket(family)
        if hasattr(socket, "SO_REUSEADDR") and not hasattr(socket, "SO_EXCLUSIVEADDRUSE"):
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # at once again after a restart
        listening.bind((host, port))
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(option("port", port), f"cannot listen on {host} ({reason})", "choose another") from error
    return listening


def address_of(listening: socket.socket) -> str:
    """The address to type into a browser."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(app: Starlette, listening: socket.socket, when_ready: Callable[[], None]) -> None:
    """Serves until a signal ends it."""
    import uvicorn

    from vit_runtime.serving.connections import CarefulProtocol

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            when_ready()

    config = uvicorn.Config(
        app,
        http=CarefulProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="error",  # whoever sends what is no HTTP would else fill the log, a line each
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_SECONDS_TO_END,
        backlog=_BACKLOG,
    )
    with _signals_that_end_well():
        Server(config).run([listening])


@contextmanager
def _signals_that_end_well() -> Iterator[None]:
    """Uvicorn ends on a signal, and then raises it again, for whoever started it: here that is us, and all is done."""
    ours = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, lambda *_: None) for number in ours}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
