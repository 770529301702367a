"""Finds the pictures in a body: raw bytes, multipart/form-data, or JSON with base64."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import PurePosixPath
from typing import Any, Final, NamedTuple

from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from vit_runtime.serving.refusals import Refusal, one_printable_line

RAW_TYPES: Final = ("application/octet-stream", "application/x-www-form-urlencoded", "")
"""Types of a body that is one picture, beside image/*. The second is what curl says of `--data-binary` by itself."""
_PIECE: Final = 1 << 20
_LONGEST_NAME: Final = 200
_VALUES_PER_PICTURE: Final = 16
"""Most separators of JSON for each picture that is allowed; a name and a picture need four."""


class Picture(NamedTuple):
    """A picture as it was sent."""

    name: str
    content: bytes


def pictures_in(body: bytes, content_type: str, most: int) -> list[Picture]:
    """Gives the pictures of a body, at least one.

    Args:
        body: the body.
        content_type: what the request says that it is.
        most: most pictures that are allowed.

    Raises:
        Refusal: the body is broken, of another type, without a picture, or with too many of them.
    """
    kind, options = parse_options_header(content_type)
    kind = kind.strip().lower()
    if kind == "multipart/form-data":
        found = list(_of_form(body, options.get("boundary", ""), most))
    elif kind == "application/json":
        found = _of_json(body, most)
    elif kind.startswith("image/") or kind in RAW_TYPES:
        found = [Picture("picture", body)] if body else []
    else:
        told = f"a body of type {kind} is not read; send image/*, multipart/form-data or application/json"
        raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, told)
    if not found:
        raise Refusal(HTTPStatus.BAD_REQUEST, "no picture in the request; send at least one")
    return found


def _of_form(body: bytes, boundary: str, most: int) -> Iterator[Picture]:
    try:
        parser = PushMultipartParser(boundary, max_segment_count=most + 1, max_segment_size=len(body), strict=True)
        with parser:
            name, count = "", 0
            pieces: list[bytes] = []
            for start in range(0, len(body) or 1, _PIECE):
                for event in parser.parse(body[start : start + _PIECE]):
                    if isinstance(event, MultipartSegment):
                        name, count = _file_name(event), count + 1
                        if count > most:
                            raise _too_many(most)
                    elif event is not None:
                        pieces.append(bytes(event))
                    else:
                        yield Picture(name, b"".join(pieces))
                        pieces = []
    except MultipartError as error:
        told = f"the multipart body is broken ({error}); send it as browsers and curl -F do"
        raise Refusal(HTTPStatus.BAD_REQUEST, told) from error


def _file_name(segment: MultipartSegment) -> str:
    if segment.filename is None and not (segment.content_type or "").startswith("image/"):
        told = f"field '{(segment.name or '')[:40]}' is no file; options go into the address, as ?top=5"
        raise Refusal(HTTPStatus.BAD_REQUEST, told)
    return _shown_name(segment.filename)


def _of_json(body: bytes, most: int) -> list[Picture]:
    document = parse_json(body, values=_VALUES_PER_PICTURE * (most + 1))
    listed = document.get("pictures") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        told = 'JSON should be {"pictures": ["<base64>", ...]}'
        raise Refusal(HTTPStatus.BAD_REQUEST, told)
    if len(listed) > most:
        raise _too_many(most)
    return [_of_entry(entry, number) for number, entry in enumerate(listed, 1)]


def _of_entry(entry: Any, number: int) -> Picture:
    name = None
    if isinstance(entry, dict):
        name, entry = entry.get("name"), entry.get("data")
    if not isinstance(entry, str) or not (name is None or isinstance(name, str)):
        told = f'picture {number} should be base64, or {{"name": "x.jpg", "data": "<base64>"}}'
        raise Refusal(HTTPStatus.BAD_REQUEST, told)
    try:
        content = base64.b64decode(entry, validate=True)
    except (binascii.Error, ValueError) as error:
        told = f"picture {number} is no base64 ({error})"
        raise Refusal(HTTPStatus.BAD_REQUEST, told) from error
    return Picture(_shown_name(name) if name else f"picture {number}", content)


def parse_json(body: bytes, *, values: int) -> Any:
    """Parses JSON whose values, keys and brackets are bounded before it is parsed: each takes many times its bytes.

    All others wait meanwhile. A number with a fraction stays text: none is of use here, and they take the longest.

    Raises:
        Refusal: it is no JSON, or holds more values.
    """
    if sum(map(body.count, (b",", b"[", b"{"))) > values:
        raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"JSON with more than {values:,} values is not read")
    try:
        return json.loads(body, parse_constant=_refuse_constant, parse_float=str)
    except (ValueError, RecursionError) as error:
        raise Refusal(HTTPStatus.BAD_REQUEST, f"the body is no JSON ({error})") from error


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is no number of JSON")


def _shown_name(name: str | None) -> str:
    """A file's name without folders, as it can be shown."""
    shown = one_printable_line(PurePosixPath((name or "").replace("\\", "/")).name)
    return shown[:_LONGEST_NAME] or "picture"


def _too_many(most: int) -> Refusal:
    return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {most} pictures in a request; send fewer at a time")
