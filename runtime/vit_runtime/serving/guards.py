"""Stands in front of all addresses: who may ask, from which page, and what every answer says to browsers."""

from __future__ import annotations

import hmac
import time
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from anyio import move_on_after
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vit_runtime.serving.metrics import Metrics
from vit_runtime.serving.refusals import Refusal
from vit_runtime.serving.replies import error

_OPEN: Final = frozenset({"/", "/healthz", "/readyz", "/openapi.json", "/v2/health/live", "/v2/health/ready"})
"""What answers without a token: it tells nothing about pictures or models."""
_VERSIONS: Final = ("1.0", "1.1")
_DRAINED_BYTES: Final = 128 << 20
_DRAIN_SECONDS: Final = 5.0
"""How much of a refused body is read, so that a client that is still sending comes to read the answer: what is closed
while bytes are on their way takes the answer with it."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Who may ask the service."""

    token: str | None = None
    """What requests have to carry as "Authorization: Bearer ..."; None for anyone."""
    origins: frozenset[str] = frozenset()
    """Other sites whose pages may ask, as browsers spell them: "https://example.org"."""
    hosts: frozenset[str] | None = None
    """Names that requests may call this service by; None for any. A page that makes its own name point to this machine
    cannot ask then (DNS rebinding)."""


class Guards:
    """The outermost layer: rules, counting, and headers."""

    def __init__(self, app: ASGIApp, rules: Rules, metrics: Metrics) -> None:
        self._app, self._rules, self._metrics = app, rules, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or refuses it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, watched = time.monotonic(), _Watched(scope, receive, send)
        refusal = self._refusal(scope)
        try:
            if refusal is None:
                await self._app(scope, watched.receive, watched.send)
            else:
                await error(refusal)(scope, watched.receive, watched.send)
        finally:
            route = scope.get("route")
            path = getattr(route, "path", "other")
            self._metrics.count_request(path, watched.status, time.monotonic() - begun)

    def _refusal(self, scope: Scope) -> Refusal | None:
        headers, rules = Headers(scope=scope), self._rules
        if scope["http_version"] not in _VERSIONS:
            return Refusal(
                HTTPStatus.BAD_REQUEST, f"HTTP/{scope['http_version']} is not spoken here; there is HTTP/1.1"
            )
        if "content-length" in headers and "transfer-encoding" in headers:  # proxies in front may take the other one
            return Refusal(HTTPStatus.BAD_REQUEST, "a body has either Content-Length or Transfer-Encoding, not both")
        host = headers.get("host", "")
        if rules.hosts is not None and _name_of(host) not in rules.hosts:
            told = f"this service is not called {host[:80]!r}; name it by --allow-host"
            return Refusal(HTTPStatus.MISDIRECTED_REQUEST, told)
        origin = headers.get("origin")
        if origin is not None and not _is_same(origin, host) and origin not in rules.origins:
            return Refusal(HTTPStatus.FORBIDDEN, f"pages of {origin[:80]!r} may not ask; see --allow-origin")
        if rules.token is not None and scope["path"] not in _OPEN and not _carries(headers, rules.token):
            told = "a token is needed, as 'Authorization: Bearer TOKEN'"
            return Refusal(HTTPStatus.UNAUTHORIZED, told, {"WWW-Authenticate": "Bearer"})
        return None


class _Watched:
    """A request on its way: its status, and whether its body was read to the end."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        self._receive, self._send = receive, send
        self._more = "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
        self._drains = False
        self.status = 0
        """Of the answer; 0 until there is one."""

    async def receive(self) -> Message:
        message = await self._receive()
        self._more = self._more and bool(message.get("more_body", False))
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Content-Type-Options"] = "nosniff"
            headers["Referrer-Policy"] = "no-referrer"
            headers["Cross-Origin-Resource-Policy"] = "same-origin"
            headers.setdefault("Cache-Control", "no-store")
            if self._more:
                self._drains = True
                headers["Connection"] = "close"
        elif self._drains and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            await self._drain()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

    async def _drain(self) -> None:
        """Reads some of a body that nobody wants, once its client has the answer."""
        count = 0
        with move_on_after(_DRAIN_SECONDS):
            while self._more and count < _DRAINED_BYTES:
                message = await self.receive()
                count += len(message.get("body", b""))


def loopback_names(host: str, further: Iterable[str]) -> frozenset[str]:
    """What a service on the loopback address may be called."""
    return frozenset({"localhost", "127.0.0.1", "::1", host.lower(), *(name.lower() for name in further)})


def _name_of(host: str) -> str:
    """The name in a Host header, without port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _is_same(origin: str, host: str) -> bool:
    _, is_site, netloc = origin.partition("://")
    return bool(is_site) and netloc.lower() == host.lower()


def _carries(headers: Headers, token: str) -> bool:
    kind, _, given = headers.get("authorization", "").partition(" ")
    return kind.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode())
