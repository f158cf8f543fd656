"""Every error that can reach a caller, as one table: class -> status, title, and whether asking again may help.

The answer is always an RFC 9457 problem document; old paths get ``success``, ``error`` and ``summary`` beside it,
because their callers read those. The table feeds the handlers and the OpenAPI document alike.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Scope

from dtms_service.domain.errors import (
    AlertNotFound,
    DtmsError,
    Invalid,
    NoAnswer,
    NotAccepting,
    NotInThisMode,
    RegistrationConflict,
    StorageBusy,
    StorageFailed,
    TradeNotFound,
)

_log = logging.getLogger(__name__)

OLD_PATHS = (
    "/dtms/trade/",
    "/dtms/status",
    "/dtms/actions",
    "/dtms/action-history",
    "/dtms/engine",
    "/dtms/initialize",
    "/trade-registry/",
)
"""Paths whose callers existed before this service; they read ``success``, ``error`` and ``summary``."""

REQUEST_ID = "dtms.request_id"
"""Key in the ASGI scope under which the request id travels."""

CALLER = "dtms.caller"
"""Key in the ASGI scope under which the name of the caller's token travels, or the address of one without."""


class NotFound(DtmsError):
    """There is nothing at this path. GET /openapi.json lists what there is."""

    code = "not_found"


class MethodNotAllowed(DtmsError):
    """This path exists, but not with this method; the Allow header names the ones it has."""

    code = "method_not_allowed"


class PayloadTooLarge(DtmsError):
    """The body is longer than this path takes. Send fewer trades per batch."""

    code = "payload_too_large"


class UnsupportedMediaType(DtmsError):
    """The body must be JSON with the header Content-Type: application/json."""

    code = "unsupported_media_type"


class Unauthorized(DtmsError):
    """A valid token is needed: send the header Authorization: Bearer <token>."""

    code = "unauthorized"


class Forbidden(DtmsError):
    """The token is valid, but its scopes do not cover this request."""

    code = "forbidden"


class HostNotAllowed(DtmsError):
    """The Host header names a host that this service does not answer for. Add it to api.allowed_hosts if it should."""

    code = "host_not_allowed"


class OriginNotAllowed(DtmsError):
    """A web page of another origin sent this request. Add the origin to api.allowed_origins if it may."""

    code = "origin_not_allowed"


class RateLimited(DtmsError):
    """Too many requests from this token or address. Wait as Retry-After says; many trades fit in one batch."""

    code = "rate_limited"


@dataclass(frozen=True, slots=True)
class Row:
    """How an error class is answered. ``retry_after`` in seconds; ``definite``: decided, nothing happened."""

    status: int
    title: str
    definite: bool = True
    retryable: bool = False
    retry_after: int | None = None


TABLE: Mapping[type[DtmsError], Row] = {
    Invalid: Row(422, "The request is not valid"),
    TradeNotFound: Row(404, "Trade not found"),
    AlertNotFound: Row(404, "Alert not found"),
    RegistrationConflict: Row(409, "The registration contradicts the terminal"),
    NotInThisMode: Row(409, "Not available in this mode"),
    NotAccepting: Row(503, "Not accepting registrations yet", retryable=True, retry_after=2),
    NoAnswer: Row(503, "No answer from the terminal", definite=False, retry_after=2),
    StorageBusy: Row(503, "Storage is busy", retryable=True, retry_after=1),
    StorageFailed: Row(500, "Storage failed", definite=False, retryable=True),
    NotFound: Row(404, "Not found"),
    MethodNotAllowed: Row(405, "Method not allowed"),
    PayloadTooLarge: Row(413, "The body is too large"),
    UnsupportedMediaType: Row(415, "Unsupported media type"),
    Unauthorized: Row(401, "Unauthorized"),
    Forbidden: Row(403, "Forbidden"),
    HostNotAllowed: Row(421, "Host not allowed"),
    OriginNotAllowed: Row(403, "Origin not allowed"),
    RateLimited: Row(429, "Too many requests", retryable=True, retry_after=1),
    DtmsError: Row(500, "Internal error", definite=False, retryable=True),
}


def row_of(error: type[DtmsError]) -> Row:
    """The row of ``error`` or of its nearest ancestor that has one; `DtmsError` itself always has."""
    return next(TABLE[cls] for cls in error.__mro__ if cls in TABLE)


def invalid(error: ValidationError | RequestValidationError, skip: int = 0) -> Invalid:
    """Name every offending field and what was expected; ``skip`` leading parts of a location are not the caller's."""
    fields = [
        {"field": ".".join(str(part) for part in item["loc"][skip:]) or "body", "expected": item["msg"]}
        for item in error.errors()
    ]
    return invalid_fields(fields)


def invalid_fields(fields: list[dict[str, str]]) -> Invalid:
    """`Invalid` with one line per field: ``[{field, expected}]``."""
    shown = "; ".join(f"{item['field']}: {item['expected']}" for item in fields[:10])
    return Invalid(shown, errors=fields[:100])


def problem(error: DtmsError, path: str, request_id: str) -> dict[str, Any]:
    """The problem document of ``error`` (RFC 9457), with the old envelope on old paths. Facts never hide a member."""
    row = row_of(type(error))
    inside = row is TABLE[DtmsError]
    detail = (
        "Something failed inside the service; its log has the cause under this request id." if inside else error.detail
    )
    body: dict[str, Any] = {} if inside else dict(error.facts)
    body |= {
        "type": f"urn:dtms:error:{error.code}",
        "title": row.title,
        "status": row.status,
        "detail": detail,
        "instance": path,
        "code": error.code,
        "request_id": request_id,
        "definite": row.definite,
        "retryable": row.retryable,
    }
    if path.startswith(OLD_PATHS):
        body |= {"success": False, "error": detail, "summary": f"{row.title}: {detail}"}
    return body


def respond(error: DtmsError, scope: Scope, headers: Mapping[str, str] | None = None) -> Response:
    """The whole answer for ``error``: problem document, status and the headers that belong to it."""
    row = row_of(type(error))
    request_id = str(scope.get(REQUEST_ID, ""))
    sent = dict(headers or {})
    if row.retry_after is not None:
        sent["Retry-After"] = str(error.facts.get("retry_after_s", row.retry_after))
    if isinstance(error, Unauthorized):
        sent["WWW-Authenticate"] = "Bearer"
    if isinstance(error, MethodNotAllowed) and "allow" in error.facts:
        sent["Allow"] = ", ".join(error.facts["allow"])
    if isinstance(error, PayloadTooLarge):
        sent["Connection"] = "close"  # the rest of the body is not worth reading
    body = problem(error, scope["path"], request_id)
    return Response(to_json(body, inf_nan_mode="null"), row.status, sent, "application/problem+json")


async def on_error(request: Request, error: Exception) -> Response:
    """Handler of everything that is not a bug: our own errors, the framework's, and callers that hang up."""
    if isinstance(error, DtmsError):
        if row_of(type(error)).status >= 500 and not row_of(type(error)).retry_after:
            named = {"request_id": str(request.scope.get(REQUEST_ID, ""))}
            _log.error("%s on %s", error.code, request.url.path, exc_info=error, extra=named)
        return respond(error, request.scope)
    if isinstance(error, RequestValidationError):
        return respond(invalid(error, skip=1), request.scope)
    if isinstance(error, ClientDisconnect):
        return respond(Invalid("the connection ended before the body was complete"), request.scope)
    if isinstance(error, HTTPException) and error.status_code == 405:
        return respond(MethodNotAllowed(), request.scope, error.headers)
    if isinstance(error, HTTPException) and error.status_code == 404:
        return respond(NotFound(), request.scope)
    return respond(Invalid(str(error)), request.scope)


async def on_bug(request: Request, error: Exception) -> Response:
    """Handler of the unexpected: the caller learns the request id, the log the rest (the server raises it again)."""
    request_id = str(request.scope.get(REQUEST_ID, ""))
    _log.error(
        "request %s on %s failed", request_id, request.url.path, exc_info=error, extra={"request_id": request_id}
    )
    return respond(DtmsError(), request.scope, {"X-Request-ID": request_id})


HANDLERS: dict[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]] = {
    DtmsError: on_error,
    HTTPException: on_error,
    RequestValidationError: on_error,
    ClientDisconnect: on_error,
    Exception: on_bug,
}


def documented(errors: Iterable[type[DtmsError]]) -> dict[int | str, dict[str, Any]]:
    """OpenAPI responses of the given error classes, grouped by status."""
    found: dict[int | str, dict[str, Any]] = {}
    for error in errors:
        row = row_of(error)
        sample = problem(error(), "/", "req-1")
        entry = found.setdefault(
            row.status,
            {
                "description": row.title,
                "content": {
                    "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": {}}
                },
            },
        )
        entry["content"]["application/problem+json"]["examples"][error.code] = {"value": sample}
    return found
