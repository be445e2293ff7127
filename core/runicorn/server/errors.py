"""Every exception of a request becomes `{"detail": "…"}` here, and nowhere else.

Texts of errors that users see are safe to show. Anything unexpected is answered with a fixed text; what happened goes to
the log, with an id that the log line and nothing else carries.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from typing import Any, cast

import msgspec
from litestar.connection import Request
from litestar.exceptions import HTTPException, InternalServerException, LitestarException, ValidationException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from litestar.response import Response

from runicorn.errors import BadInput, NotFound, RunicornError, TooLarge, Unavailable, shown
from runicorn.server.wrong_fields import REQUIRED, finding, wrong_fields

logger = logging.getLogger("runicorn.server")

NOT_A_JSON_OBJECT = "Request body must be a JSON object"

_MISSING_PARAMETER = re.compile(r"Missing required \w+ parameter '(.*)' for path")
_LEFT = "client disconnected prematurely"  # the framework's text for a client that left, or did not go on, in its body
_TEXTS = {401: "Unauthorized", 404: "Not Found", 405: "Method Not Allowed", 413: "Request body too large"}


class FieldError(msgspec.Struct, frozen=True):
    """What is wrong with one field."""

    field: str
    message: str


class ErrorBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of every error response."""

    detail: str
    errors: list[FieldError] = []
    """Every wrong field, where there are several."""
    code: str | None = None
    retry_after: int | None = None
    """Seconds."""
    column: int | None = None
    """Where in the parameter's value the mistake is, counted from 1."""


def error_body(error: RunicornError) -> ErrorBody:
    """What a client is told about an error."""
    fields: list[tuple[str, str]] = getattr(error, "errors", [])
    return ErrorBody(
        detail=str(error),
        errors=[FieldError(shown(field), shown(message)) for field, message in fields] if len(fields) > 1 else [],
        code=getattr(error, "code", None),
        retry_after=getattr(error, "retry_after", None),
        column=getattr(error, "column", None),
    )


def answer_exception(request: Request[Any, Any, Any], error: Exception) -> Response[ErrorBody]:
    """The response to a request whose handler raised `error`."""
    takes_body = request.method in ("POST", "PUT", "PATCH", "DELETE")
    fields = _wrong_fields(request) if takes_body and isinstance(error, ValidationException) else []
    translated = _all_wrong(fields) if fields else translate(error, takes_body=takes_body)
    if translated is None:
        report(error, f"{request.method} {request.scope.get('path_template') or request.scope['path']}")
        translated = RunicornError("Internal Server Error")
    headers: Mapping[str, str] = getattr(error, "headers", None) or {}
    body = error_body(translated)
    content = {**msgspec.to_builtins(body), **translated.extra} if translated.extra else body
    return Response(cast(ErrorBody, content), status_code=translated.status, headers=dict(headers))


def translate(error: Exception, *, takes_body: bool) -> RunicornError | None:
    """The error that users see in place of a framework's; None if it is a bug of ours."""
    if isinstance(error, RunicornError):
        return error
    if isinstance(error, RequestEntityTooLarge):
        return TooLarge()
    if isinstance(error, ValidationException):
        return _invalid(error)
    if isinstance(error, InternalServerException) and error.detail == _LEFT:
        return BadInput("The request has no end")  # nobody reads it, but it is not our bug
    if isinstance(error, RecursionError) and takes_body:
        return BadInput(NOT_A_JSON_OBJECT)  # nested deeper than the decoder goes
    if isinstance(error, HTTPException) and error.status_code < 500:
        if error.status_code == 400:
            return BadInput(NOT_A_JSON_OBJECT if takes_body else "Invalid request")
        refusal = NotFound(_TEXTS.get(error.status_code, "Invalid request"))
        refusal.status = 400 if error.status_code == 422 else error.status_code
        return refusal
    if isinstance(error, HTTPException) and error.status_code == 503:
        return Unavailable("Storage unavailable")
    return None


def report(error: BaseException, where: str) -> str:
    """Log an unexpected exception; the id under which it can be found there."""
    error_id = os.urandom(4).hex()
    logger.error("error %s in %s: %s", error_id, where, type(error).__name__, exc_info=error)
    return error_id


def _wrong_fields(request: Request[Any, Any, Any]) -> list[tuple[str, str]]:
    """Everything that is wrong with the body of a refused request; empty if it is something else, or no JSON object."""
    body = request.route_handler.parsed_fn_signature.parameters.get("data")
    wanted = None if body is None else body.annotation
    if not (isinstance(wanted, type) and issubclass(wanted, msgspec.Struct)):
        return []
    content = _parsed_body(request)
    if not isinstance(content, dict):
        return []
    return wrong_fields(wanted, cast("dict[str, object]", content), checks=request.route_handler.opt.get("checks", {}))


def _parsed_body(request: Request[Any, Any, Any]) -> object:
    parsing = request.json()
    try:
        parsing.send(None)  # what was refused has been read as a whole: there is nothing left to wait for
    except StopIteration as parsed:
        return parsed.value
    except (LitestarException, RecursionError):  # it is no JSON
        pass
    finally:
        parsing.close()
    return None


def _all_wrong(fields: list[tuple[str, str]]) -> BadInput:
    field, reason = fields[0]
    missing = reason == REQUIRED
    return BadInput(
        f"Missing required field: {shown(field)}" if missing else f"Invalid value for {shown(field)}: {reason}", fields
    )


def _invalid(error: ValidationException) -> BadInput:
    missing = _MISSING_PARAMETER.match(error.detail)
    if missing:
        return BadInput(f"Missing required parameter: {shown(missing[1])}")
    fields: list[tuple[str, str]] = []
    for entry in _entries(error.extra):
        field, message = str(entry.get("key", "")), str(entry.get("message", ""))
        is_body = str(getattr(entry.get("source"), "value", entry.get("source"))) == "body"
        is_whole = is_body and field in ("data", "")
        found = finding("" if is_whole else field, message)
        if is_whole and found[1] != REQUIRED:
            return BadInput(NOT_A_JSON_OBJECT)
        fields.append(found)
    return _all_wrong(fields) if fields else BadInput(NOT_A_JSON_OBJECT)


def _entries(extra: object) -> list[dict[str, Any]]:
    if not isinstance(extra, list):
        return []
    return [cast(dict[str, Any], entry) for entry in cast(list[object], extra) if isinstance(entry, dict)]
