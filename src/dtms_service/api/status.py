"""What the whole system is doing: status and actions, in the old envelopes with the new fields beside them."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import Response

from dtms_client.wire import ACTIONS, STATUS, TICKET_MAX
from dtms_service.api import convert, examples
from dtms_service.api.describe import operation
from dtms_service.api.exchange import answer
from dtms_service.api.health import watching, why_not
from dtms_service.api.security import Scope
from dtms_service.domain import magic
from dtms_service.domain.control import Control
from dtms_service.domain.errors import Invalid, StorageFailed
from dtms_service.domain.runbook import Severity
from dtms_service.domain.values import Position
from dtms_service.engine.authority import Authority, Counts
from dtms_service.engine.unmanaged import unmanaged


def clock_text(seconds: float) -> str:
    """A duration as ``H:MM:SS``, hours unbounded, as the old pages print it."""
    whole = max(0, int(seconds))
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def _performance(counts: Counts, uptime: float) -> dict[str, Any]:
    hours = uptime / 3600
    return {
        "fast_checks_total": counts.cycles,
        "deep_checks_total": counts.deep_checks,
        "actions_executed": counts.actions,
        "state_transitions": counts.transitions,
        "fast_checks_per_hour": round(counts.cycles / hours, 1) if hours > 0 else 0.0,
        "deep_checks_per_hour": round(counts.deep_checks / hours, 1) if hours > 0 else 0.0,
    }


def _attention(authority: Authority) -> list[str]:
    """What somebody should know who reads one line only."""
    standing = authority.standing
    found = []
    if standing.control is not Control.RUNNING:
        found.append(f"{standing.control.value} by {standing.by or 'somebody'}: {standing.reason or '-'}")
    critical = [a for a in authority.alerting.open.values() if a.severity is Severity.CRITICAL and a.over_at is None]
    if critical:
        codes = ", ".join(sorted({alert.code for alert in critical}))
        found.append(f"{len(critical)} critical alerts ({codes})")
    return found


def status_body(authority: Authority, version: str, instance_id: str) -> dict[str, Any]:
    """The body of ``GET /dtms/status``; one pass over the trades, no terminal, no disk."""
    book, counts, report, now = authority.book, authority.counts, authority.report(), authority.now()
    watched = [trade for trade in book.trades.values() if not trade.state.final]
    protected = sum(1 for trade in watched if authority.protected(trade))
    uptime = max(0.0, now - counts.started_at)
    last = convert.iso_or_none(counts.last_cycle_at)
    error = why_not(report)
    return {
        "success": True,
        "summary": "; ".join(
            [f"{report.phase.value}: {len(watched)} trades watched, {protected} protected", *_attention(authority)]
            + ([error] if error else [])
        ),
        "dtms_status": {
            "system_active": watching(report),
            "monitoring_active": watching(report),
            "uptime": clock_text(uptime),
            "uptime_s": uptime,
            "active_trades": len(watched),
            "trades_by_state": dict(Counter(trade.state.value for trade in watched)),
            "performance": _performance(counts, uptime),
            "last_check": None if last is None else last[11:19],
            "last_check_at": last,
        },
        "error": error,
        "phase": report.phase.value,
        "mode": authority.mode.value,
        "control": authority.standing.control.value,
        "account": convert.account_out(report.account),
        "instance_id": instance_id,
        "version": version,
        "counts": {
            "trades": len(watched),
            "protected": protected,
            "unmanaged": len(unmanaged(book)),
            "alerts": len(authority.alerting.open),
        },
        "alerts": {
            "open": len(authority.alerting.open),
            "channels": {
                name: {"owed": len(authority.alerting.owed_to(name)), "trouble": trouble}
                for name, trouble in authority.alerting.channels.items()
            },
        },
        "as_of": convert.iso_or_none(book.as_of),
    }


def status_routes(authority: Authority, version: str, instance_id: str) -> APIRouter:
    """``/dtms/status``, ``/dtms/actions`` and its old name."""
    router = APIRouter(tags=["system"])

    @router.get(STATUS, **operation("What the system is doing", Scope.READ, examples.STATUS))
    async def status() -> Response:
        """200 in every phase, because it answers what the phase is; ``/health/ready`` says whether to trust it."""
        return answer(status_body(authority, version, instance_id))

    async def actions(
        ticket: Annotated[
            int | None, Query(gt=0, le=TICKET_MAX, description="Only this trade's.", examples=[123456])
        ] = None,
        limit: Annotated[int, Query(ge=1, le=1000, description="Actions at most.", examples=[50])] = 50,
        since: Annotated[
            int | None,
            Query(ge=0, le=TICKET_MAX, description="Only actions after this sequence, the first ones.", examples=[17]),
        ] = None,
    ) -> Response:
        """What was done, refused or left without an answer, oldest first: the newest ``limit``.

        With ``since`` the first ``limit`` after it, so that whoever asks on from the last ``sequence`` misses none.
        """
        events = await authority.actions(ticket=ticket, since=since, limit=limit)
        trade = authority.book.find(ticket) if ticket is not None else None
        mine = trade.trade_id if trade is not None else None
        known = sum(1 for event in authority.book.actions if ticket is None or event.trade_id == mine)
        shown = [convert.action_out(event) for event in events]
        body = {
            "success": True,
            "summary": f"{len(shown)} action{'' if len(shown) == 1 else 's'}",
            "action_history": shown,
            "total_actions": max(known, len(shown)),
            "error": None,
        }
        return answer(body)

    described = operation("What was done", Scope.READ, examples.ACTIONS, raises=(Invalid, StorageFailed))
    router.get(ACTIONS, **described)(actions)
    router.get("/dtms/action-history", **described, name="action_history")(actions)

    @router.get("/dtms/unmanaged", **operation("Positions that nobody registered", Scope.READ, examples.UNMANAGED))
    async def positions() -> Response:
        """Open at the terminal by the last good look, and of no trade here (R49); ``policy`` says what is done."""
        found = [_position_out(p, authority.unmanaged.since(p)) for p in unmanaged(authority.book)]
        policy, as_of = authority.unmanaged.policy.value, convert.iso_or_none(authority.book.as_of)
        return answer({"positions": found, "count": len(found), "policy": policy, "as_of": as_of})

    return router


def _position_out(position: Position, seen: float | None) -> dict[str, Any]:
    return {
        "ticket": position.ticket,
        "identifier": position.identifier,
        "symbol": position.symbol,
        "side": position.side.value,
        "volume": position.volume,
        "entry_price": position.price_open,
        "stop_loss": position.stop_loss,
        "take_profit": position.take_profit,
        "profit": position.profit,
        "magic": position.magic,
        "comment": position.comment,
        "opened_at": convert.iso(position.time),
        "seen_at": convert.iso_or_none(seen),
        "own": magic.ours(position.magic),
    }
