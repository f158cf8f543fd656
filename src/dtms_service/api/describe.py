"""What a route says about itself: summary, scope, examples and possible errors, as arguments of its decorator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from dtms_client.wire import TICKET_MAX
from dtms_service.api import errors
from dtms_service.api.security import SCOPE_KEY, Scope
from dtms_service.domain.errors import DtmsError, Invalid

_EVERYWHERE: tuple[type[DtmsError], ...] = (
    errors.Unauthorized,
    errors.Forbidden,
    errors.HostNotAllowed,
    errors.OriginNotAllowed,
    errors.RateLimited,
    DtmsError,
)


def _shape(example: Mapping[str, Any] | str) -> dict[str, Any]:
    """What an answer without a model promises: an object with the members that its example shows."""
    if isinstance(example, str):
        return {}
    return {"type": "object", "required": sorted(example), "properties": {name: {} for name in example}}


def operation(
    summary: str,
    scope: Scope,
    example: Mapping[str, Any] | str,
    *,
    answers: Mapping[int, str] | None = None,
    model: type[BaseModel] | None = None,
    media: str = "application/json",
    raises: tuple[type[DtmsError], ...] = (),
) -> dict[str, Any]:
    """Arguments for a route's decorator. ``answers``: status -> when; ``example``, of type ``media``, shows each."""
    shown = example if isinstance(example, str) else dict(example)
    statuses = answers or {200: "Done"}
    responses: dict[int | str, dict[str, Any]] = {}
    for status, when in statuses.items():
        responses[status] = {"description": when, "content": {media: {"example": shown}}}
        if model is not None:
            responses[status]["model"] = model
        else:
            responses[status]["content"][media]["schema"] = _shape(example)
    documented = errors.documented((*raises, *_EVERYWHERE))
    responses |= {status: entry for status, entry in documented.items() if status not in responses}
    return {
        "summary": summary,
        "responses": responses,
        "openapi_extra": {SCOPE_KEY: scope.value},
        "response_model": None,
    }


def with_ticket(described: dict[str, Any]) -> dict[str, Any]:
    """The same arguments for a route that reads ``{ticket}`` from its path itself."""
    schema = {"type": "integer", "minimum": 1, "maximum": TICKET_MAX}
    parameter = {
        "name": "ticket",
        "in": "path",
        "description": "Ticket or identifier.",
        "required": True,
        "schema": schema,
        "example": 123456,
    }
    return described | {"openapi_extra": described["openapi_extra"] | {"parameters": [parameter]}}


def _shown(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with its parts in place: the document has no component for a model that only a body uses."""
    parts = schema.pop("$defs", {})

    def inlined(node: Any) -> Any:
        if isinstance(node, list):
            return [inlined(item) for item in node]
        if not isinstance(node, dict):
            return node
        name = str(node.get("$ref", "")).rpartition("/")[2]
        return inlined(parts[name]) if name in parts else {key: inlined(value) for key, value in node.items()}

    return dict(inlined(schema))


def with_body(
    described: dict[str, Any],
    example: Mapping[str, Any],
    *,
    model: type[BaseModel],
    form: Mapping[str, Any] | None = None,
    required: bool = True,
) -> dict[str, Any]:
    """The same arguments with a request body, which the route reads itself as bytes; ``form``: one also as a form."""
    schema = _shown(model.model_json_schema(ref_template="#/components/schemas/{model}"))
    content: dict[str, Any] = {"application/json": {"schema": schema, "example": dict(example)}}
    if form is not None:
        content["application/x-www-form-urlencoded"] = {"schema": schema, "example": dict(form)}
    body = {"required": required, "content": content}
    reading = errors.documented((Invalid, errors.PayloadTooLarge, errors.UnsupportedMediaType))
    return described | {
        "openapi_extra": described["openapi_extra"] | {"requestBody": body},
        "responses": reading | described["responses"],
    }
