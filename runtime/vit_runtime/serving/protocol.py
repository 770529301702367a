"""The open inference protocol, version 2, which KServe and Triton's clients speak: pixels in, the outputs' numbers out.

Its text and its extension for binary tensors: github.com/kserve/open-inference-protocol.
"""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from vit_runtime import __version__
from vit_runtime.arrays import FloatArray, UInt8Array
from vit_runtime.artifact import Output
from vit_runtime.errors import ImageError
from vit_runtime.serving.bodies import body_of, parsed
from vit_runtime.serving.desk import Desk
from vit_runtime.serving.pictures import parse_json
from vit_runtime.serving.refusals import Refusal, no_picture
from vit_runtime.serving.replies import Json
from vit_runtime.serving.service import Service
from vit_runtime.serving.shelf import Place
from vit_runtime.serving.tensors import Shape, described, flag, pixels_of, stacked
from vit_runtime.workers.works import Prepared

_HEAD_LENGTH: Final = "inference-header-content-length"
_VERSION: Final = "1"
_MORE_VALUES: Final = 1000
_MOST_VALUES: Final = 1_000_000
"""In JSON, unless one picture has more: half a second's work, for which all others wait. As bytes there may be more."""


class Protocol:
    """The addresses under `/v2`."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def routes(self) -> list[Route]:
        """The addresses and what answers there."""
        routes = [
            Route("/v2", self.server),
            Route("/v2/health/live", self.live),
            Route("/v2/health/ready", self.ready),
        ]
        for model in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
            routes += [
                Route(model, self.model),
                Route(f"{model}/ready", self.model_ready),
                Route(f"{model}/infer", self.infer, methods=["POST"]),
            ]
        return routes

    async def server(self, _: Request) -> Response:
        """Says what this is."""
        return Json({"name": "vit-edge", "version": __version__, "extensions": ["binary_tensor_data"]})

    async def live(self, _: Request) -> Response:
        """Says that the service is alive."""
        return Json({"live": True})

    async def ready(self, _: Request) -> Response:
        """Says whether all models can be asked."""
        is_ready = not self._service.failures()
        return Json({"ready": is_ready}, status_code=200 if is_ready else HTTPStatus.SERVICE_UNAVAILABLE)

    async def model(self, request: Request) -> Response:
        """Describes a model's input and outputs."""
        place = self._place(request)
        artifact, (height, width) = place.artifact, place.artifact.preprocessing.crop_hw
        return Json(
            {
                "name": place.name,
                "versions": [_VERSION],
                "platform": "onnxruntime_onnx",
                "inputs": [{"name": "pixels", "datatype": "UINT8", "shape": [-1, height, width, 3]}],
                "outputs": [
                    {"name": output, "datatype": "FP32", "shape": [-1, *artifact.shape(output)]}
                    for output in artifact.outputs
                ],
            }
        )

    async def model_ready(self, request: Request) -> Response:
        """Says whether a model can be asked."""
        place = self._place(request)
        status = HTTPStatus.SERVICE_UNAVAILABLE if place.failure else HTTPStatus.OK
        return Json({"name": place.name, "ready": not place.failure}, status_code=status)

    async def infer(self, request: Request) -> Response:
        """Answers pixels, uint8 (N, H, W, 3), which are prepared already."""
        place, service = self._place(request), self._service
        height, width = place.artifact.preprocessing.crop_hw
        shape = Shape(height, width, service.limits.pictures)
        async with body_of(request, service.limits, service.gate) as body:
            head, pixels = await parsed(_head_and_pixels, body, request.headers.get(_HEAD_LENGTH), shape)
            wanted = _wanted(head, place)
            with service.gate.admit(len(pixels)):
                rows = await _computed(place, pixels, tuple(output for output, _ in wanted))
        service.metrics.count_pictures(place.name, answered=len(rows), failed=0)
        parts = [described(output, stacked(rows, at), binary=binary) for at, (output, binary) in enumerate(wanted)]
        reply: dict[str, Any] = {"model_name": place.name, "model_version": _VERSION}
        if isinstance(identity := head.get("id"), str):
            reply["id"] = identity
        reply["outputs"] = [tensor for tensor, _ in parts]
        return _reply(reply, b"".join(content for _, content in parts))

    def _place(self, request: Request) -> Place:
        version = request.path_params.get("version", _VERSION)
        if version != _VERSION:
            raise Refusal(HTTPStatus.NOT_FOUND, f"no version {version[:40]!r} here; there is {_VERSION}")
        return self._service.shelf.place(request.path_params["name"])


async def _computed(place: Place, pixels: UInt8Array, wanted: tuple[Output, ...]) -> list[tuple[FloatArray, ...]]:
    """The outputs of each picture."""
    async with place.open() as (_, desk):
        found = await asyncio.gather(*(_row(desk, each, wanted) for each in pixels))
    rows: list[tuple[FloatArray, ...]] = []
    for row in found:
        if isinstance(row, ImageError):
            raise no_picture(str(row))
        rows.append(row)
    return rows


async def _row(desk: Desk, pixels: UInt8Array, wanted: tuple[Output, ...]) -> tuple[FloatArray, ...] | ImageError:
    def as_they_are() -> Prepared[tuple[FloatArray, ...]]:
        return Prepared(pixels, tuple, wanted)

    return await desk.answer(as_they_are, "pixels")


def _head_and_pixels(body: bytes, head_length: str | None, shape: Shape) -> tuple[dict[str, Any], UInt8Array]:
    """Gives what a request says, and the pixels that come with it."""
    head, binary = _parts(body, head_length, _most_values(shape))
    return head, pixels_of(_only_input(head), binary, shape)


def _parts(body: bytes, head_length: str | None, most_values: int) -> tuple[dict[str, Any], memoryview]:
    """Parts a body into its JSON and the bytes behind it."""
    length = len(body)
    if head_length is not None:
        if not head_length.isdecimal() or len(head_length) > len(str(length)) or int(head_length) > length:
            told = f"{_HEAD_LENGTH} {head_length[:40]} does not fit a body of {length:,} bytes"
            raise Refusal(HTTPStatus.BAD_REQUEST, told)
        length = int(head_length)
    head = parse_json(body[:length], values=most_values)
    if not isinstance(head, dict):
        raise Refusal(HTTPStatus.BAD_REQUEST, "the body should be an object with inputs")
    return head, memoryview(body)[length:]


def _only_input(head: dict[str, Any]) -> Any:
    inputs = head.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1:
        raise Refusal(HTTPStatus.BAD_REQUEST, "inputs should be a list of one, 'pixels'")
    return inputs[0]


def _wanted(head: dict[str, Any], place: Place) -> list[tuple[Output, bool]]:
    """The outputs that are asked for, all where none is named; and whether each comes as bytes."""
    known = place.artifact.outputs
    binary = flag(head, "binary_data_output") or False
    asked = head.get("outputs")
    if asked is None or asked == []:
        return [(output, binary) for output in known]
    if not isinstance(asked, list) or not all(isinstance(each, dict) for each in asked):
        raise Refusal(HTTPStatus.BAD_REQUEST, "outputs should be a list of objects with a name")
    wanted: list[tuple[Output, bool]] = []
    for each in asked:
        name = each.get("name")
        output = next((output for output in known if output == name), None)
        if output is None or any(output == before for before, _ in wanted):
            told = f"output {str(name)[:40]!r} is unknown or named twice; there is {', '.join(known)}"
            raise Refusal(HTTPStatus.BAD_REQUEST, told)
        own = flag(each, "binary_data")
        wanted.append((output, binary if own is None else own))
    return wanted


def _most_values(shape: Shape) -> int:
    """Separators in JSON for one picture at least, nested: one a number, and one a pixel and row."""
    return max(shape.height * (shape.width * 4 + 2), _MOST_VALUES) + _MORE_VALUES


def _reply(reply: dict[str, Any], content: bytes) -> Response:
    if not content:
        return Json(reply)
    head = json.dumps(reply).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    return Response(head + content, media_type="application/octet-stream", headers=headers)
