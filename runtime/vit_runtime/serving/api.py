"""The project's own API: `/v1/classify`, `/v1/embed`, `/v1/attend` and `/v1/similar`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from vit_runtime.artifact import Output
from vit_runtime.errors import ImageError
from vit_runtime.searching.folders import Folders
from vit_runtime.serving.answers import Asked, Wanted, answer_all
from vit_runtime.serving.bodies import body_of, parsed
from vit_runtime.serving.overlays import overlay
from vit_runtime.serving.pictures import Picture, pictures_in
from vit_runtime.serving.queries import also_of, number_of
from vit_runtime.serving.refusals import Refusal, no_picture, one_printable_line
from vit_runtime.serving.replies import Json, plain
from vit_runtime.serving.service import Service
from vit_runtime.serving.shelf import Place
from vit_runtime.serving.thumbnails import ADDRESS, is_ours, thumbnail

_MOST_LISTED: Final = 1000
"""Most classes or pictures that can be asked for."""
_WITHOUT: Final[dict[Output, str]] = {
    "logits": "has no classes",
    "embedding": "gives no embeddings",
    "rollout": "gives no attention maps; export it with --attention",
}


class Api:
    """The addresses under `/v1`."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def routes(self) -> list[Route]:
        """The addresses and what answers there."""
        wanted = {
            "classify": Wanted(predictions=True),
            "embed": Wanted(embedding=True),
            "attend": Wanted(map=True),
            "similar": Wanted(nearest=True),
        }
        routes = [
            Route(f"/v1/{name}", self._endpoint(each), methods=["POST"], name=name) for name, each in wanted.items()
        ]
        return [*routes, Route("/v1/models", self.models), Route(ADDRESS, self.thumbnail)]

    async def models(self, _: Request) -> Response:
        """Lists the models."""
        return Json({"models": [_facts(place) for place in self._service.shelf]})

    async def thumbnail(self, request: Request) -> Response:
        """Gives a small picture of one that was named as near."""
        picture, model, signature = (request.query_params.get(key, "") for key in ("picture", "model", "signature"))
        place = self._service.shelf.place(model)
        if place.index is None or not is_ours(picture, model, signature):
            raise Refusal(HTTPStatus.NOT_FOUND, "no such picture here")
        path, limits = Folders(place.index.path).path(picture), place.picture_limits
        with self._service.gate.admit(1):
            try:
                content = await asyncio.to_thread(thumbnail, path, limits)
            except ImageError as error:
                raise Refusal(HTTPStatus.NOT_FOUND, "the picture cannot be read any more") from error
        return plain(content, "image/jpeg", {"Cache-Control": "private, max-age=3600"})

    def _endpoint(self, wanted: Wanted) -> Callable[[Request], Awaitable[Response]]:
        return partial(self._answer, wanted)

    async def _answer(self, wanted: Wanted, request: Request) -> Response:
        begun, service = time.monotonic(), self._service
        place = service.shelf.place(request.query_params.get("model"))
        wanted = _with_options(wanted, request)
        _check_outputs(place, wanted)
        async with body_of(request, service.limits, service.gate) as body:
            kind = request.headers.get("content-type", "")
            pictures = await parsed(pictures_in, body, kind, service.limits.pictures)
            with service.gate.admit(len(pictures)):
                if wanted.outputs == ("rollout",) and _wants_png(request):
                    return await self._overlay(place, pictures)
                records = await self._records(place, wanted, pictures)
        spent = round(1000 * (time.monotonic() - begun), 2)
        return Json({"model": place.name, "engine": place.engine, "results": records, "milliseconds": spent})

    async def _records(self, place: Place, wanted: Wanted, pictures: list[Picture]) -> list[dict[str, Any]]:
        metrics = self._service.metrics
        async with place.open() as (vit, desk):
            asked = Asked(model_name=place.name, vit=vit, desk=desk, wanted=wanted, index=place.index)
            try:
                records = await answer_all(asked, pictures)
            except Refusal:
                metrics.count_pictures(place.name, answered=0, failed=len(pictures))
                raise
        failed = sum("error" in record for record in records)
        metrics.count_pictures(place.name, answered=len(records) - failed, failed=failed)
        return records

    async def _overlay(self, place: Place, pictures: list[Picture]) -> Response:
        if len(pictures) > 1:
            raise Refusal(HTTPStatus.NOT_ACCEPTABLE, "a PNG shows one picture; ask for application/json for several")
        async with place.open() as (vit, desk):
            content = await desk.answer(overlay(vit, pictures[0]), pictures[0].name)
        failed = isinstance(content, ImageError)
        self._service.metrics.count_pictures(place.name, answered=int(not failed), failed=int(failed))
        if isinstance(content, ImageError):
            raise no_picture(one_printable_line(str(content)))
        return plain(content, "image/png")


def _wants_png(request: Request) -> bool:
    accepted = request.headers.get("accept", "")
    return "image/png" in accepted and "application/json" not in accepted


def _with_options(wanted: Wanted, request: Request) -> Wanted:
    """Adds what the address asks for: `also`, `top` and `nearest`."""
    query = request.query_params
    return replace(
        wanted,
        **dict.fromkeys(also_of(query), True),
        top=number_of(query, "top", wanted.top, most=_MOST_LISTED),
        most_nearest=number_of(query, "nearest", wanted.most_nearest, most=_MOST_LISTED),
    )


def _check_outputs(place: Place, wanted: Wanted) -> None:
    for output in wanted.outputs:
        if output not in place.artifact.outputs:
            raise Refusal(HTTPStatus.BAD_REQUEST, f"model '{place.name}' {_WITHOUT[output]}")
    if wanted.nearest and place.index is None:
        told = f"model '{place.name}' has no pictures to compare with; start the service with --index"
        raise Refusal(HTTPStatus.BAD_REQUEST, told)


def _facts(place: Place) -> dict[str, Any]:
    artifact = place.artifact
    notes = [note for note in (place.failure and f"cannot be loaded: {place.failure}", place.note) if note]
    if artifact.source.is_random:
        notes.append("random weights: it was never trained, and its answers mean nothing")
    return {
        "name": place.name,
        "model": artifact.model,
        "precision": artifact.precision,
        "file": place.path.name,
        "engine": place.engine,
        "threads": place.threads,
        "outputs": list(artifact.outputs),
        "classes": artifact.architecture.classes,
        "kind": None if artifact.head is None else artifact.head.probabilities,
        "image_size": artifact.architecture.image_size,
        "index": None if place.index is None else {"pictures": len(place.index)},
        "notes": notes,
    }
