"""Between the wire and the engine's values. Pure: no engine call, no clock.

Answers are plain dicts of JSON values with exactly the fields of the wire models (a test compares with `TradeOut`):
building the models costs three times as much, and a list of a thousand trades is asked for every few seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from pydantic.config import JsonDict

from dtms_client.wire import RegistrationIn
from dtms_service.api.exchange import printable
from dtms_service.domain.admission import Registration
from dtms_service.domain.errors import Invalid
from dtms_service.domain.ownership import OWNER_NAMES
from dtms_service.domain.trade import Event, HedgeLink, Obligation, Owner, Trade
from dtms_service.domain.values import Account, Side
from dtms_service.engine.authority import Explanation
from dtms_service.engine.book import Book
from dtms_service.engine.readiness import Report
from dtms_service.engine.registrar import Registered


@lru_cache(maxsize=4_096)
def iso(time: float) -> str:
    """Seconds since the epoch as ISO 8601 UTC with milliseconds and ``Z``; remembered: trades repeat their times."""
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def iso_or_none(time: float | None) -> str | None:
    """As `iso`; None stays None."""
    return None if time is None else iso(time)


OWNERS: JsonDict = {"enum": [*sorted(OWNER_NAMES)]}
"""Every spelling of an owner, for the API's document; the empty one claims nothing."""
NAMED_OWNERS: JsonDict = {"enum": [*sorted(filter(None, OWNER_NAMES))]}
"""The same where somebody must be named: nobody is handed a trade, or asks for one, by leaving the name out."""


def owner(name: str | None) -> Owner | None:
    """The owner a caller names in any spelling of R30; ``""`` and None claim nothing. Raises `Invalid` for others."""
    return named_owner(name, "managed_by") if name else None


def named_owner(name: str, field: str) -> Owner:
    """The owner that ``field`` names in any spelling of R30. Raises `Invalid` for others, and for an empty name."""
    known = OWNER_NAMES.get(name) if name else None
    if known is None:
        expected = "one of " + ", ".join(sorted(n for n in OWNER_NAMES if n))
        raise Invalid(f"{field}: {expected}", errors=[{"field": field, "expected": expected}])
    return known


def registration(ticket: int, body: RegistrationIn) -> Registration:
    """A registration out of its wire form. Raises `Invalid` for unknown owners and unprintable text."""
    for name in ("symbol", "strategy_type", "source"):
        printable(name, getattr(body, name) or "")
    return Registration(
        ticket=ticket,
        symbol=body.symbol,
        side=None if body.side is None else Side(body.side),
        entry_price=body.entry_price,
        volume=body.volume,
        stop_loss=body.stop_loss,
        take_profit=body.take_profit,
        strategy_type=body.strategy_type or None,
        managed_by=owner(body.managed_by),
        source=body.source or None,
    )


def status_of(registered: Registered) -> int:
    """201 for a first protection, 202 while the terminal has not shown the position, 200 for everything else."""
    if registered.outcome == "pending_verification":
        return 202
    return 201 if registered.created and registered.outcome == "protected" else 200


def price_and_profit(trade: Trade, book: Book) -> tuple[float | None, float | None]:
    """What the position is worth now: by the last snapshot, else the newest tick; (None, None) once it is over."""
    position = book.positions.get(trade.identifier) if trade.identifier is not None else None
    if position is not None:
        return position.price_current, position.profit
    tick = book.ticks.get(trade.symbol)
    if tick is None or trade.side is None or trade.state.final:
        return None, None
    return tick.closing_price(trade.side), None


def _r_now(trade: Trade, price: float | None) -> float | None:
    if price is None or trade.entry_price is None or not trade.risk or trade.side is None:
        return None
    return round((price - trade.entry_price) * trade.sign / trade.risk, 4)


def _hedge(hedge: HedgeLink | None) -> dict[str, Any] | None:
    if hedge is None:
        return None
    return {
        "ticket": hedge.ticket,
        "identifier": hedge.identifier,
        "side": hedge.side.value,
        "volume": hedge.volume,
        "price_open": hedge.price_open,
        "stop_loss": hedge.stop_loss,
    }


def _deadline(whole: float | None, trade: Trade, book: Book, now: float) -> str | None:
    if whole is None:
        return None
    view = book.views.get(trade.symbol)
    passed = view.open_seconds_since(trade.state_since) if view is not None else 0.0
    return iso(now + max(0.0, whole - passed))


def _obligation(owed: Obligation) -> dict[str, Any]:
    return {
        "kind": owed.kind.value,
        "status": owed.status.value,
        "reason": owed.reason,
        "attempts": owed.attempts,
        "next_try_at": iso(owed.next_try_at) if owed.status.live and owed.next_try_at else None,
    }


def trade_out(trade: Trade, book: Book, now: float, *, protected: bool, next_cycle_at: float | None) -> dict[str, Any]:
    """A trade as INTERFACE 3.2 fixes it.

    ``deadlines`` are projections: what is left in open market, as if all time from ``now`` on were open (R40).
    """
    price, profit = price_and_profit(trade, book)
    return {
        "ticket": trade.ticket,
        "identifier": trade.identifier,
        "symbol": trade.symbol,
        "side": None if trade.side is None else trade.side.value,
        "volume": trade.volume,
        "initial_volume": trade.initial_volume,
        "closed_volume": max(0.0, round(trade.initial_volume - trade.volume, 8)),
        "entry_price": trade.entry_price,
        "stop_loss": trade.stop_loss,
        "take_profit": trade.take_profit,
        "initial_stop_loss": trade.initial_stop_loss,
        "risk": trade.risk,
        "r_now": _r_now(trade, price),
        "price_current": price,
        "profit": profit,
        "state": trade.state.value,
        "state_since": iso(trade.state_since),
        "previous_state": None if trade.previous_state is None else trade.previous_state.value,
        "score": trade.score,
        "score_at": iso_or_none(trade.score_at),
        "coverage": trade.coverage,
        "owner": trade.owner.value,
        "protected": protected,
        "armed": trade.armed,
        "flags": sorted(trade.flags),
        "frozen": None if trade.frozen is None else trade.frozen.value,
        "hedge": _hedge(trade.hedge),
        "deadlines": {
            "flat": _deadline(trade.flat_left_s, trade, book, now),
            "recovery": _deadline(trade.recovery_left_s, trade, book, now),
        },
        "obligations": [_obligation(owed) for owed in trade.obligations],
        "next_check_at": None if trade.state.final else iso_or_none(next_cycle_at),
        "registered_at": iso(trade.registered_at),
        "source": trade.source,
        "strategy_type": trade.strategy_type,
        "closed_at": iso_or_none(trade.closed_at),
        "closed_reason": trade.closed_reason,
    }


def explanation_out(why: Explanation) -> dict[str, Any]:
    """An explanation as INTERFACE 3.2 fixes it, with the trade's ticket and state."""
    components = why.score.components if why.score is not None else why.trade.components
    return {
        "ticket": why.trade.ticket,
        "state": why.trade.state.value,
        "state_since": iso(why.trade.state_since),
        "score": why.trade.score if why.score is None else why.score.value,
        "coverage": why.trade.coverage if why.score is None else why.score.coverage,
        "components": [
            {
                "name": line.name,
                "weight": line.weight,
                "multiplier": line.multiplier,
                "value": line.value,
                "points": line.points,
                "available": line.available,
                "reason": line.reason,
            }
            for line in components
        ],
        "thresholds": dict(why.thresholds),
        "regime": dict(why.regime),
        "rule": why.rule,
        "fired": why.fired,
        "missing": list(why.missing),
        "next": list(why.next),
    }


def event_out(event: Event) -> dict[str, Any]:
    """A ledger event."""
    return {
        "sequence": event.sequence,
        "time": iso(event.time),
        "kind": event.kind,
        "ticket": event.ticket,
        "body": dict(event.body),
    }


_ACTION_KEYS = (
    "symbol",
    "action_type",
    "outcome",
    "success",
    "reason",
    "retcode",
    "retcode_text",
    "requested",
    "result",
    "latency_ms",
    "description",
    "status",
    "details",
)


def action_out(event: Event) -> dict[str, Any]:
    """An event of kind ``action`` as INTERFACE 3.3 fixes it; what the engine did not say is null."""
    head = {"sequence": event.sequence, "timestamp": iso(event.time), "ticket": event.ticket}
    return head | {key: event.body.get(key) for key in _ACTION_KEYS}


def account_out(account: Account | None) -> dict[str, Any] | None:
    """Which account this is: the terminal's, or None before it was read."""
    if account is None:
        return None
    return {
        "login": account.login,
        "server": account.server,
        "currency": account.currency,
        "margin_mode": account.margin_mode.value,
        "kind": account.kind,
    }


def checks_out(report: Report) -> Mapping[str, dict[str, Any]]:
    """The checks behind readiness: ``{name: {ok, detail, age_s}}``."""
    return {
        name: {"ok": check.ok, "detail": check.detail, "age_s": check.age_s} for name, check in report.checks.items()
    }


def reasons_out(report: Report) -> list[dict[str, str]]:
    """Why the service is not ready."""
    return [{"code": reason.code, "detail": reason.detail} for reason in report.reasons]
