"""What should somebody look at? The alerts, and taking one on."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from dtms_client.wire import TICKET_MAX
from dtms_service.api import convert, examples
from dtms_service.api.describe import operation, with_body
from dtms_service.api.exchange import answer, parse, printable, read
from dtms_service.api.security import Scope
from dtms_service.domain.alerts import Alert, Wanted
from dtms_service.domain.errors import AlertNotFound, Invalid, NotAccepting, StorageBusy, StorageFailed
from dtms_service.domain.runbook import entry
from dtms_service.engine.authority import Authority


class AckIn(BaseModel):
    """Body of ``POST /dtms/alerts/{id}/ack``: who takes it on, and why or how."""

    model_config = ConfigDict(extra="forbid")

    by: str = Field(min_length=1, max_length=64)
    reason: str = Field(default="", max_length=500)


_ACK = TypeAdapter(AckIn)


def alert_out(alert: Alert, notice_id: str) -> dict[str, Any]:
    """An alert as JSON, with the sentences of the runbook."""
    known = entry(alert.code)
    return {
        "id": alert.alert_id,
        "code": alert.code,
        "severity": alert.severity.value,
        "ticket": alert.ticket,
        "about": alert.about,
        "detail": alert.detail,
        "first_at": convert.iso(alert.first_at),
        "last_at": convert.iso(alert.last_at),
        "count": alert.count,
        "over_at": convert.iso_or_none(alert.over_at),
        "open": alert.open,
        "acknowledged_at": convert.iso_or_none(alert.acknowledged_at),
        "acknowledged_by": alert.acknowledged_by,
        "acknowledgement": alert.acknowledgement,
        "notice": {"id": notice_id, "number": alert.notice, "at": convert.iso(alert.noticed_at)},
        "delivered": {
            channel: {"notice": taken.notice, "at": convert.iso(taken.at)} for channel, taken in alert.delivered.items()
        },
        "happened": known.happened,
        "means": known.means,
        "do": known.do,
    }


_LIST_DOC = operation(
    "What somebody should look at",
    Scope.READ,
    examples.ALERTS,
    raises=(NotAccepting, StorageBusy, StorageFailed, Invalid),
)
_ACK_DOC = with_body(
    operation(
        "Acknowledge an alert",
        Scope.CONTROL,
        {
            **examples.ALERT,
            "open": False,
            "acknowledged_at": "2026-01-05T08:05:00.000Z",
            "acknowledged_by": "anna",
            "acknowledgement": "stop is set",
        },
        answers={200: "Acknowledged, now or before; the first one stays"},
        raises=(AlertNotFound, NotAccepting, StorageBusy, StorageFailed, Invalid),
    ),
    {"by": "anna", "reason": "stop is set"},
    model=AckIn,
)


def alert_routes(authority: Authority) -> APIRouter:
    """``/dtms/alerts``."""
    router = APIRouter(tags=["alerts"])

    def shown(alert: Alert) -> dict[str, Any]:
        return alert_out(alert, authority.alerting.notice_id(alert))

    @router.get("/dtms/alerts", **_LIST_DOC)
    async def alerts(
        open: Annotated[bool | None, Query(description="Not acknowledged yet.", examples=[True])] = None,  # noqa: A002 - the name on the wire
        code: Annotated[
            str | None, Query(max_length=64, description="Only this cause.", examples=["unmanaged_position"])
        ] = None,
        ticket: Annotated[
            int | None, Query(gt=0, le=TICKET_MAX, description="Only about this position.", examples=[123456])
        ] = None,
        limit: Annotated[int, Query(ge=1, le=1000, description="Alerts on one page.", examples=[100])] = 100,
        cursor: Annotated[
            int | None, Query(gt=0, le=TICKET_MAX, description="next_cursor of the page before.", examples=[12])
        ] = None,
    ) -> Response:
        """Newest first. The same cause counts up in one alert until somebody acknowledges it."""
        wanted = Wanted(open=open, code=code, ticket=ticket, before=cursor, limit=limit + 1)
        found = await authority.alerting.list(wanted)
        page = found[:limit]
        body = {
            "alerts": [shown(alert) for alert in page],
            "count": len(page),
            "open": len(authority.alerting.open),
            "next_cursor": str(page[-1].alert_id) if len(found) > limit else None,
        }
        return answer(body)

    @router.post("/dtms/alerts/{alert_id}/ack", **_ACK_DOC)
    async def acknowledge(
        alert_id: Annotated[int, Path(gt=0, le=TICKET_MAX, description="``id`` of the alert.", examples=[12])],
        request: Request,
    ) -> Response:
        """It is not told to anybody any more; the next occurrence makes a new alert. Acknowledging twice is fine."""
        wanted = parse(_ACK, await read(request))
        by, reason = printable("by", wanted.by), printable("reason", wanted.reason)
        return answer(shown(await authority.alerting.acknowledge(alert_id, by=by, reason=reason)))

    return router
