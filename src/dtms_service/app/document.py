"""What would a service with these settings say about its API? Nothing is opened, nobody listens."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from dtms_service.api.app import make_app
from dtms_service.app.build import access_of, build, lag_shown
from dtms_service.app.lag import LoopLag
from dtms_service.settings.tree import Settings


def document(settings: Settings) -> dict[str, Any]:
    """The OpenAPI document, equal to ``GET /openapi.json`` of a service with the same settings."""
    parts = build(settings)
    return make_app(
        parts.engine,
        simulator=parts.simulator,
        version=version("dtms"),
        instance_id="document",
        access=access_of(settings),
        lag=lag_shown(settings, LoopLag()),
    ).openapi()
