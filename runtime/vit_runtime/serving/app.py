"""The service as an ASGI application: which address answers what."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import TypeAlias

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Lifespan

from vit_runtime.errors import VitEdgeError
from vit_runtime.serving import page
from vit_runtime.serving.api import Api
from vit_runtime.serving.guards import Guards, Rules
from vit_runtime.serving.metrics import CONTENT_TYPE
from vit_runtime.serving.openapi import openapi_document
from vit_runtime.serving.protocol import Protocol
from vit_runtime.serving.refusals import Refusal, one_printable_line
from vit_runtime.serving.replies import Json, error, plain
from vit_runtime.serving.service import Service

_Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]


def application(service: Service, rules: Rules) -> Starlette:
    """Builds the application of a service, guarded by rules."""
    html = page.load()

    async def index(_: Request) -> Response:
        return plain(html.content, "text/html; charset=utf-8", {"Content-Security-Policy": html.policy})

    async def alive(_: Request) -> Response:
        return Json({"status": "alive"})

    async def ready(_: Request) -> Response:
        if service.failures():  # this answers without a token: which model, and why, is told by /v1/models
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "a model cannot be loaded; see the notes of /v1/models")
        return Json({"status": "ready"})

    async def metrics(_: Request) -> Response:
        return plain(service.metrics.text(), CONTENT_TYPE)

    async def described(_: Request) -> Response:
        return Json(openapi_document(service.limits))

    routes = [
        Route("/", index),
        Route("/healthz", alive),
        Route("/readyz", ready),
        Route("/metrics", metrics),
        Route("/openapi.json", described),
        *Api(service).routes(),
        *Protocol(service).routes(),
    ]
    middleware = [Middleware(Guards, rules=rules, metrics=service.metrics)]
    if rules.origins:
        allowed = {"allow_origins": sorted(rules.origins), "allow_methods": ["GET", "POST"], "allow_headers": ["*"]}
        middleware.insert(0, Middleware(CORSMiddleware, **allowed))  # type: ignore[arg-type]  # its own keywords
    app = Starlette(
        routes=routes,
        middleware=middleware,
        lifespan=_lifespan(service),
        exception_handlers={
            Refusal: _refused,
            HTTPException: _by_starlette,
            ClientDisconnect: _gone,
            VitEdgeError: _failed,
            Exception: _unforeseen,
        },
    )
    app.router.redirect_slashes = False  # an address has one spelling, and no answer is built from a Host header
    return app


def _lifespan(service: Service) -> Lifespan[Starlette]:
    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        seconds = service.idle_seconds
        chores = [asyncio.create_task(service.tidy())]
        if seconds is not None:
            chores.append(asyncio.create_task(service.shelf.unload_idle(seconds)))
        try:
            yield
        finally:
            for chore in chores:
                chore.cancel()
            for chore in chores:
                with suppress(asyncio.CancelledError):
                    await chore
            await asyncio.to_thread(service.shelf.close)

    return lifespan


async def _refused(_: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, Refusal)  # noqa: S101 - Starlette hands over what it was registered for
    return error(refusal)


async def _by_starlette(request: Request, found: Exception) -> Response:
    assert isinstance(found, HTTPException)  # noqa: S101 - as above
    status, path = HTTPStatus(found.status_code), request.scope["path"]
    lines = {
        HTTPStatus.NOT_FOUND: f"nothing is at {path}; see /openapi.json",
        HTTPStatus.METHOD_NOT_ALLOWED: f"{path} does not answer {request.method}",
    }
    return error(Refusal(status, lines.get(status, str(found.detail)), found.headers))


async def _gone(_: Request, __: Exception) -> Response:
    """Nobody reads this: the client left before its body was there."""
    return error(Refusal(HTTPStatus.BAD_REQUEST, "the body was cut off"))


async def _failed(_: Request, found: Exception) -> Response:
    """A model or an index that cannot answer, whatever is asked."""
    return error(Refusal(HTTPStatus.SERVICE_UNAVAILABLE, one_printable_line(str(found))))


async def _unforeseen(_: Request, __: Exception) -> Response:
    return error(Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "an error inside the service; its log says more"))
