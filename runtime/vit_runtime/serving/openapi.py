"""The API described for programs, as OpenAPI 3.1."""

from __future__ import annotations

from typing import Any, Final

from vit_runtime import __version__
from vit_runtime.serving.limits import ServiceLimits

_ERROR: Final = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
_NUMBERS: Final = {"type": "array", "items": {"type": "number"}}
_PREDICTION: Final = {
    "type": "object",
    "required": ["index", "label", "probability", "kind"],
    "properties": {
        "index": {"type": "integer"},
        "label": {"type": "string"},
        "probability": {"type": "number", "minimum": 0, "maximum": 1},
        "kind": {"enum": ["softmax", "sigmoid"]},
    },
}
_NEAREST: Final = {
    "type": "object",
    "required": ["picture", "cosine", "thumbnail"],
    "properties": {
        "picture": {"type": "string"},
        "cosine": {"type": "number"},
        "thumbnail": {"type": "string", "description": "Address of a small JPEG, good until the service ends."},
    },
}
_MAP: Final = {
    "type": "object",
    "required": ["values", "box"],
    "properties": {
        "values": {"type": "array", "items": _NUMBERS, "description": "Each patch's share, row by row."},
        "box": {**_NUMBERS, "description": "The part that the model saw: left, top, right, bottom in pixels."},
    },
}
_RESULT: Final = {
    "type": "object",
    "required": ["picture"],
    "properties": {
        "picture": {"type": "string"},
        "error": {"type": "string", "description": "In place of all else, where other pictures could be read."},
        "size": {"type": "array", "items": {"type": "integer"}, "description": "Width and height, upright."},
        "predictions": {"type": "array", "items": _PREDICTION},
        "embedding": _NUMBERS,
        "map": _MAP,
        "nearest": {"type": "array", "items": _NEAREST},
        "milliseconds": {"type": "object", "additionalProperties": {"type": "number"}},
    },
}
_ANSWER: Final = {
    "type": "object",
    "required": ["model", "engine", "results", "milliseconds"],
    "properties": {
        "model": {"type": "string"},
        "engine": {"type": "string"},
        "results": {"type": "array", "items": _RESULT},
        "milliseconds": {"type": "number"},
    },
}
_ENTRY: Final = {
    "anyOf": [
        {"type": "string", "contentEncoding": "base64"},
        {
            "type": "object",
            "required": ["data"],
            "properties": {"name": {"type": "string"}, "data": {"type": "string", "contentEncoding": "base64"}},
        },
    ]
}
_SUMMARIES: Final = {
    "classify": "The likeliest classes of pictures",
    "embed": "The embeddings of pictures",
    "attend": "Where the model looked in pictures; as PNG where only image/png is accepted",
    "similar": "The pictures of the index that are most like pictures",
}
_BINARY: Final = {"schema": {"type": "string", "format": "binary"}}


def openapi_document(limits: ServiceLimits) -> dict[str, Any]:
    """The description of the API of a service with these limits."""
    paths: dict[str, Any] = {f"/v1/{name}": {"post": _answering(name, limits)} for name in _SUMMARIES}
    paths["/v1/models"] = {"get": _getting("The models of this service", "application/json", {"type": "object"})}
    paths["/v1/thumbnails"] = {
        "get": {
            **_getting("A small picture of one that was named as near", "image/jpeg", {"type": "string"}),
            "parameters": [
                {"name": name, "in": "query", "required": True, "schema": {"type": "string"}}
                for name in ("picture", "model", "signature")
            ],
        }
    }
    paths["/healthz"] = {"get": _getting("Whether the service is alive", "application/json", {"type": "object"})}
    paths["/readyz"] = {"get": _getting("Whether all models can be asked", "application/json", {"type": "object"})}
    paths["/metrics"] = {"get": _getting("Numbers for Prometheus", "text/plain", {"type": "string"})}
    return {
        "openapi": "3.1.0",
        "info": {"title": "vit-edge", "version": __version__},
        "paths": paths,
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{"token": []}, {}],
    }


def _answering(name: str, limits: ServiceLimits) -> dict[str, Any]:
    pictures = {"type": "array", "items": _ENTRY, "minItems": 1, "maxItems": limits.pictures}
    json_body = {"type": "object", "required": ["pictures"], "properties": {"pictures": pictures}}
    files = {"type": "object", "additionalProperties": {"type": "string", "format": "binary"}}
    content: dict[str, Any] = {"application/json": {"schema": _ANSWER}}
    if name == "attend":
        content["image/png"] = _BINARY
    return {
        "summary": _SUMMARIES[name],
        "operationId": name,
        "parameters": _options(),
        "requestBody": {
            "required": True,
            "content": {
                "image/*": _BINARY,
                "application/octet-stream": _BINARY,
                "multipart/form-data": {"schema": files},
                "application/json": {"schema": json_body},
            },
        },
        "responses": {"200": {"description": "A result for each picture, in order", "content": content}, **_errors()},
    }


def _options() -> list[dict[str, Any]]:
    count = {"type": "integer", "minimum": 1, "maximum": 1000}
    options = {
        "model": ({"type": "string"}, "Name of the model; the first one where none is given"),
        "top": ({**count, "default": 5}, "Classes to name"),
        "nearest": ({**count, "default": 6}, "Nearest pictures to name"),
        "also": (
            {"type": "string"},
            "More of the same pass, with commas: classes, embedding, map, nearest",
        ),
    }
    return [
        {"name": name, "in": "query", "schema": schema, "description": told} for name, (schema, told) in options.items()
    ]


def _getting(summary: str, content_type: str, schema: dict[str, Any]) -> dict[str, Any]:
    content = {content_type: {"schema": schema}}
    return {"summary": summary, "responses": {"200": {"description": summary, "content": content}, **_errors()}}


def _errors() -> dict[str, Any]:
    content = {"application/json": {"schema": _ERROR}}
    refused = "The request cannot be answered; 429 says by Retry-After when to ask again"
    return {
        "4XX": {
            "description": refused,
            "content": content,
        },
        "503": {"description": "A model cannot be loaded, or the service ends", "content": content},
    }
