"""What the service sends: JSON, and errors in one line of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from vit_runtime.serving.refusals import Refusal


class Json(Response):
    """JSON in ASCII: names of files may hold bytes that are no UTF-8."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Encodes a document."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


def error(refusal: Refusal) -> Response:
    """The answer to a request that is refused."""
    return Json({"error": refusal.line}, status_code=refusal.status, headers=refusal.headers)


def plain(text: str | bytes, content_type: str, headers: Mapping[str, str] | None = None) -> Response:
    """Text or bytes, as they are."""
    return Response(text, media_type=content_type, headers=dict(headers or {}))
