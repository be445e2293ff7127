"""The OpenAPI document: what the framework derives from the handlers, with the error answers that all of them share."""

from __future__ import annotations

from typing import Any, cast

import msgspec
from litestar import Litestar
from litestar.openapi.config import OpenAPIConfig
from litestar.router import Router

from runicorn.version import API_VERSION

HIDDEN = "/.openapi"
"""Where the framework would serve its own pages; nothing below it is reachable."""

_METHODS = frozenset({"get", "post", "put", "patch", "delete"})
_ERRORS = {
    "400": "The request is wrong: a parameter, the body, or the `Host` header.",
    "403": "The request comes from a web page of another origin.",
    "404": "There is no such thing.",
    "405": "With these values the path is another one, which takes other methods.",
    "409": "The thing exists already, or its state forbids this.",
    "413": "The body is larger than allowed.",
    "429": "Too many requests: `retry_after` and the header `Retry-After` say how many seconds to wait.",
    "500": "A bug. The server's log has the details.",
    "503": "A needed dependency is not available.",
}
_FIELD_ERROR = {
    "type": "object",
    "required": ["field", "message"],
    "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
}
_ERROR = {
    "type": "object",
    "required": ["detail"],
    "properties": {
        "detail": {"type": "string", "description": "What went wrong, for people."},
        "errors": {
            "type": "array",
            "items": _FIELD_ERROR,
            "description": "Every wrong field, where there are several.",
        },
        "code": {"type": "string", "description": "A short constant, where programs need to tell errors apart."},
        "retry_after": {"type": "integer", "description": "Seconds."},
    },
}


def openapi_config() -> OpenAPIConfig:
    """What the framework needs to know to describe our routes."""
    return OpenAPIConfig(
        title="Runicorn",
        version=API_VERSION,
        description="Local-first experiment tracking. Nothing here needs a login; the server listens on this machine.",
        use_handler_docstrings=True,
        openapi_router=Router(HIDDEN, route_handlers=[], include_in_schema=False),
    )


def openapi_document(app: Litestar) -> bytes:
    """The document as JSON. Takes up to a second with many routes: call it in a thread."""
    document = cast(dict[str, Any], msgspec.to_builtins(app.openapi_schema.to_schema(), str_keys=True))
    components = document.setdefault("components", {})
    components.setdefault("schemas", {})["Error"] = _ERROR
    components["responses"] = {name: _response(text) for name, text in _ERRORS.items()}
    _allow_several(document)
    for path, item in document.get("paths", {}).items():
        for method, operation in item.items():
            if method in _METHODS:
                _add_errors(path, method, operation)
    return msgspec.json.encode(document)


def _allow_several(schema: object) -> None:
    """A value may fit several types of a union (1 is an integer and a number), which `oneOf` would forbid."""
    if isinstance(schema, dict):
        fields = cast(dict[str, object], schema)
        if "oneOf" in fields and "discriminator" not in fields:
            fields["anyOf"] = fields.pop("oneOf")
        for value in fields.values():
            _allow_several(value)
    elif isinstance(schema, list):
        for value in cast(list[object], schema):
            _allow_several(value)


def _add_errors(path: str, method: str, operation: dict[str, Any]) -> None:
    responses = operation.setdefault("responses", {})
    for status in _ERRORS:
        finds_something = "{" in path or "404" in responses
        is_bare_look = method == "get" and not finds_something
        if (status == "413" and method == "get") or (status in ("404", "409") and is_bare_look):
            continue
        if status == "405" and "{" not in path:
            continue
        # The framework documents its own body for 400, which is never sent.
        responses[status] = {"$ref": f"#/components/responses/{status}"}


def _response(text: str) -> dict[str, Any]:
    return {
        "description": text,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
