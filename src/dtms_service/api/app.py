"""The HTTP application, put together from values: no lifespan, no state, no globals. Others start and stop it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from dtms_client.wire import Problem
from dtms_service.api.alerts import alert_routes
from dtms_service.api.control import control_routes, ownership_routes
from dtms_service.api.doors import Access, Door, Gate
from dtms_service.api.errors import HANDLERS
from dtms_service.api.events import Streams, event_routes
from dtms_service.api.health import health_routes
from dtms_service.api.legacy import enable_routes, old_reading_routes
from dtms_service.api.metrics import Sight, metric_routes
from dtms_service.api.routes import registration_routes, trade_routes
from dtms_service.api.security import scopes_of
from dtms_service.api.simulator import advance_routes, hand_routes, view_routes
from dtms_service.api.status import status_routes
from dtms_service.engine.authority import Authority
from dtms_service.engine.ports import SimulatedMarket

_METHODS = ["GET", "PUT", "POST", "PATCH", "DELETE"]
_HEADERS = ["Authorization", "Content-Type", "Idempotency-Key", "X-Request-ID"]


class _Documented(FastAPI):
    """FastAPI whose document holds the schema of every error, and examples with their nulls (FastAPI drops them)."""

    def __init__(self, routers: Sequence[APIRouter], **settings: Any) -> None:
        super().__init__(**settings)
        self._routers = routers
        for router in routers:
            self.include_router(router)

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document, made once."""
        if self.openapi_schema is not None:
            return self.openapi_schema
        schema = super().openapi()
        schema.setdefault("components", {}).setdefault("schemas", {})["Problem"] = Problem.model_json_schema()
        for router in self._routers:
            for route in router.routes:
                if isinstance(route, APIRoute):
                    _with_examples(schema["paths"][route.path], route)
        return schema


def _with_examples(path: dict[str, Any], route: APIRoute) -> None:
    for method in route.methods or ():
        for status, given in route.responses.items():
            for kind, content in given.get("content", {}).items():
                shown = path[method.lower()]["responses"][str(status)]["content"][kind]
                shown.update({key: content[key] for key in ("example", "examples") if key in content})


def _routers(
    authority: Authority,
    simulator: SimulatedMarket | None,
    version: str,
    instance_id: str,
    lag: Callable[[], float] | None,
) -> list[APIRouter]:
    streams = Streams()
    kind = "mt5" if simulator is None else "simulated"
    routers = [
        registration_routes(authority, kind),  # first, because routes are tried in order and this one is hot
        health_routes(authority, version, instance_id),
        trade_routes(authority),
        status_routes(authority, version, instance_id),
        event_routes(authority, streams),
        enable_routes(authority, kind),
        old_reading_routes(authority),
        control_routes(authority),
        alert_routes(authority),
        ownership_routes(authority),
    ]
    if lag is not None:
        routers.append(metric_routes(Sight(authority, streams, lag, version)))
    if simulator is not None:
        routers += [view_routes(simulator), hand_routes(simulator), advance_routes(authority)]
    return routers


def make_app(
    authority: Authority,
    *,
    simulator: SimulatedMarket | None,
    version: str,
    instance_id: str,
    access: Access,
    lag: Callable[[], float] | None = None,
) -> FastAPI:
    """The whole API over one authority. ``simulator`` is None on a real terminal, and its paths do not exist then.

    ``lag`` says how many seconds late the event loop was; None: no metrics are shown.

    Raises ValueError when a route declares no scope.
    """
    routers = _routers(authority, simulator, version, instance_id, lag)
    scopes = scopes_of(route for router in routers for route in router.routes)
    cross_origin = Middleware(
        CORSMiddleware, allow_origins=sorted(access.origins), allow_methods=_METHODS, allow_headers=_HEADERS
    )
    return _Documented(
        routers,
        title="DTMS",
        summary="The one authority that watches MetaTrader 5 positions and reduces their risk.",
        version=version,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        redirect_slashes=False,
        exception_handlers=HANDLERS,
        middleware=[
            Middleware(Door, access=access),
            *([cross_origin] if access.origins else []),
            Middleware(Gate, access=access, routes=scopes),
        ],
    )
