"""HTTP bodies in and out: bytes are counted while they arrive, checked before they are parsed, and written once.

The framework's own body handling is not used: it accepts NaN and fails with 500 on deep nesting.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from fastapi import Path
from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from dtms_client.wire import TICKET_MAX
from dtms_service.api.errors import PayloadTooLarge, UnsupportedMediaType, invalid, invalid_fields
from dtms_service.domain.errors import DtmsError, Invalid

T = TypeVar("T")

BODY_MAX = 64 * 1024
BATCH_MAX = 1024 * 1024
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


_TICKET = f"a whole number from 1 to {TICKET_MAX}"


def _digits(text: object) -> object:
    if isinstance(text, str) and not (text.isascii() and text.isdigit() and len(text) <= 19):
        raise ValueError(_TICKET)
    return text


Ticket = Annotated[
    int,
    Field(gt=0, le=TICKET_MAX),  # before the validator: behind it they would not be in the document
    BeforeValidator(_digits),
    Path(description="Ticket or identifier.", examples=[123456]),
]
"""A ticket in a path: digits only, 1 to 2^63-1; anything else is 422."""


def ticket_of(request: Request) -> int:
    """The same for the hot route, without the framework's parameter handling (a quarter of its request)."""
    text = request.path_params["ticket"]
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and 0 < int(text) <= TICKET_MAX):
        raise invalid_fields([{"field": "ticket", "expected": _TICKET}])
    return int(text)


def media_type(request: Request) -> str:
    """The media type of the body, lower case and without parameters; empty when none was sent."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read(request: Request, limit: int = BODY_MAX, kinds: tuple[str, ...] = (JSON,)) -> bytes:
    """The body, at most ``limit`` bytes. Raises `PayloadTooLarge`, `UnsupportedMediaType`; no body needs no type."""
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared[:12]) > limit:
        raise _too_large(limit)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise _too_large(limit)
    if body and media_type(request) not in kinds:
        message = f"Content-Type must be {' or '.join(kinds)}, not {media_type(request) or 'missing'}"
        raise UnsupportedMediaType(message)
    return bytes(body)


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"the body is longer than {limit} bytes", limit_bytes=limit)


def parse(adapter: TypeAdapter[T], body: bytes, *, strict: bool = True) -> T:
    """The body as a value; an empty body is ``{}``. Raises `Invalid` naming each wrong field.

    ``strict``: a number is a number; ``true`` is no price of 1, and ``"0.1"`` is text.
    """
    try:
        return adapter.validate_json(body or b"{}", strict=strict)
    except ValidationError as error:
        raise invalid(error) from error


def answer(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON bytes as an answer; a number that is not finite is null, because JSON has no other word for it."""
    return Response(to_json(body, inf_nan_mode="null"), status, headers, JSON)


def printable(field: str, text: str) -> str:
    """``text`` unchanged; raises `Invalid` when it holds control characters (NUL among them)."""
    if not text.isprintable():
        raise Invalid(
            f"{field}: printable characters only", errors=[{"field": field, "expected": "printable characters"}]
        )
    return text


def raised(result: T | DtmsError) -> T:
    """The result, or the error that stands in its place, raised."""
    if isinstance(result, DtmsError):
        raise result
    return result
