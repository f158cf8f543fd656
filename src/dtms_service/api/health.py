"""Is the service alive, and may it be trusted right now? Reads readiness and nothing else: no terminal, no disk."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from dtms_client.wire import HEALTH_LIVE, HEALTH_READY, SERVICE, Live, Ready
from dtms_service.api.convert import account_out, checks_out, iso, reasons_out
from dtms_service.api.describe import operation
from dtms_service.api.doors import SCOPES
from dtms_service.api.exchange import answer
from dtms_service.api.security import Scope
from dtms_service.engine.authority import Authority
from dtms_service.engine.readiness import Phase, Report

_RETRY = {"Retry-After": "2"}
_EXAMPLE_ID = {"service": SERVICE, "instance_id": "7f3a", "version": "0.1.0"}
_READY_EXAMPLE = {
    "status": "ready",
    **_EXAMPLE_ID,
    "phase": "ready",
    "accepting": True,
    "account": {
        "login": 5001234,
        "server": "Simulated",
        "currency": "USD",
        "margin_mode": "hedging",
        "kind": "simulated",
    },
    "mode": "protect",
    "reasons": [],
    "checks": {"terminal": {"ok": True, "detail": "connected", "age_s": 1.2}},
}


def watching(report: Report) -> bool:
    """Are cycles being completed? At least one was since the start, and the newest is not too old."""
    return report.phase in {Phase.READY, Phase.DEGRADED} and all(
        check.ok for name, check in report.checks.items() if name == "monitor"
    )


def why_not(report: Report) -> str | None:
    """One line for people, None when ready."""
    if report.ready:
        return None
    return "; ".join(reason.detail for reason in report.reasons) or f"phase {report.phase.value}"


def active(authority: Authority) -> int:
    """Number of trades that are watched."""
    return sum(1 for trade in authority.book.trades.values() if not trade.state.final)


_LIVE_DOC = operation(
    "The event loop turns", Scope.OPEN, {"status": "live", **_EXAMPLE_ID}, answers={200: "Alive"}, model=Live
)
_READY_DOC = operation(
    "May the service be trusted now",
    Scope.OPEN,
    _READY_EXAMPLE,
    answers={200: "Ready", 503: "Not ready; reasons say why"},
    model=Ready,
)
_OLD_HEALTH_DOC = operation(
    "Health, old shape",
    Scope.READ,
    {
        "status": "healthy",
        "dtms_initialized": True,
        "dtms_available": True,
        "error": None,
        "timestamp": "2026-01-05T08:00:00.000Z",
    },
    answers={200: "Ready", 503: "Not ready"},
)
_OLD_DTMS_HEALTH_DOC = operation(
    "DTMS health, old shape",
    Scope.READ,
    {
        "dtms_initialized": True,
        "monitoring_active": True,
        "active_trades": 3,
        "ready": True,
        "error": None,
        "timestamp": "2026-01-05T08:00:00.000Z",
    },
    answers={200: "Ready", 503: "Not ready"},
)


def health_routes(authority: Authority, version: str, instance_id: str) -> APIRouter:
    """``/health/live``, ``/health/ready`` and the two old health paths."""
    router = APIRouter(tags=["health"])
    who = {"service": SERVICE, "instance_id": instance_id, "version": version}

    @router.get(HEALTH_LIVE, **_LIVE_DOC)
    async def live() -> Response:
        """200 for as long as the event loop turns; depends on nothing else."""
        return answer({"status": "live", **who})

    @router.get(HEALTH_READY, **_READY_DOC)
    async def ready(request: Request) -> Response:
        """Lock held, ledger writable, terminal on the expected account, everything reconciled, cycles on time."""
        report = authority.report()
        visible = Scope.READ in request.scope.get(SCOPES, ())
        body: dict[str, Any] = {
            "status": "ready" if report.ready else "not_ready",
            **who,
            "phase": report.phase.value,
            "accepting": report.accepting,
            "account": account_out(report.account) if visible else None,
            "mode": authority.mode.value,
            "reasons": reasons_out(report),
            "checks": checks_out(report),
        }
        return answer(body) if report.ready else answer(body, 503, _RETRY)

    @router.get("/health", **_OLD_HEALTH_DOC)
    async def old_health() -> Response:
        """200 only when ready, as ``/health/ready``, in the words of the old service."""
        report = authority.report()
        body = {
            "status": "healthy" if report.ready else "unhealthy",
            "dtms_initialized": report.ready,
            "dtms_available": report.ready,
            "error": why_not(report),
            "timestamp": iso(authority.now()),
        }
        return answer(body) if report.ready else answer(body, 503, _RETRY)

    @router.get("/dtms/health", **_OLD_DTMS_HEALTH_DOC)
    async def old_dtms_health() -> Response:
        """200 only when ready, with the members that old pages read."""
        report = authority.report()
        body = {
            "dtms_initialized": report.ready,
            "monitoring_active": watching(report),
            "active_trades": active(authority),
            "ready": report.ready,
            "error": why_not(report),
            "timestamp": iso(authority.now()),
        }
        return answer(body) if report.ready else answer(body, 503, _RETRY)

    return router
