"""The old paths: old envelopes, true status codes. They translate, then take the same way as ``routes``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import parse_qsl

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from dtms_client.wire import TICKET_MAX
from dtms_service.api import convert, examples
from dtms_service.api.aliases import registrations
from dtms_service.api.describe import operation, with_body
from dtms_service.api.errors import REQUEST_ID, MethodNotAllowed, invalid_fields, problem, row_of
from dtms_service.api.exchange import FORM, JSON, Ticket, answer, media_type, parse, read
from dtms_service.api.health import active, watching, why_not
from dtms_service.api.routes import FINDING, REGISTERING, find
from dtms_service.api.security import Scope
from dtms_service.domain.errors import DtmsError, Invalid, NotAccepting
from dtms_service.domain.ownership import OLD_NAMES
from dtms_service.domain.trade import Trade
from dtms_service.engine.authority import Authority
from dtms_service.engine.registrar import Registered

_BODY: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Any])
_FIELDS_MAX = 100


class EnableIn(BaseModel):
    """Body of ``POST /dtms/trade/enable``: the result of an order call as it came.

    The commonest names are shown; the aliases of each, ``details`` and the ``parts`` of a split order are understood.
    """

    model_config = ConfigDict(extra="allow")

    ticket: Annotated[int, Field(ge=1, le=TICKET_MAX)] | Annotated[str, Field(pattern="^[1-9][0-9]{0,17}$")] = Field(
        description="Ticket of the position; all else is read from the terminal."
    )
    symbol: Any = None
    direction: Any = Field(default=None, description="BUY or SELL in any spelling, also as side or type.")
    entry: Any = Field(default=None, description="Price; also entry_price or price. 0 means none.")
    volume: Any = Field(default=None, description="Lots; also lot.")
    stop_loss: Any = Field(default=None, description="Also sl. 0 means none.")
    take_profit: Any = Field(default=None, description="Also tp. 0 means none.")
    strategy_type: Any = None
    action: Any = None


_SAID = {
    "protected": "is protected",
    "already_protected": "is protected already",
    "observed": "is recorded and observed; DTMS sends no orders for it",
    "already_closed": "is closed already; there is nothing to protect",
    "pending_verification": "is stored, but the terminal has not shown the position yet; ask again",
}


async def _body(request: Request) -> Mapping[str, Any]:
    raw = await read(request, kinds=(JSON, FORM))
    if media_type(request) == FORM:
        try:
            return dict(parse_qsl(raw.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=_FIELDS_MAX))
        except ValueError as error:
            raise invalid_fields([{"field": "body", "expected": f"at most {_FIELDS_MAX} fields"}]) from error
    return parse(_BODY, raw)


def _name(trade: Trade) -> str:
    return " ".join(part for part in (trade.symbol, trade.side and trade.side.value, str(trade.ticket)) if part)


def _enabled(registered: Registered, kind: str) -> tuple[int, dict[str, Any]]:
    """Status and envelope of one accepted registration: exactly 200, or 202 while it is not verified (R27)."""
    trade, pending = registered.trade, registered.outcome == "pending_verification"
    summary = f"{_name(trade)} {_SAID[registered.outcome]}"
    body = {
        "success": not pending,
        "summary": summary,
        "trade_info": {
            "ticket": trade.ticket,
            "symbol": trade.symbol,
            "direction": None if trade.side is None else trade.side.value,
            "entry_price": trade.entry_price,
            "volume": trade.volume,
            "stop_loss": trade.stop_loss,
            "take_profit": trade.take_profit,
            "state": trade.state.value,
        },
        "already_registered": registered.replayed,
        "error": summary if pending else None,
        "outcome": registered.outcome,
        "protected": registered.protected,
        "kind": kind,
    }
    return (202 if pending else 200), body


def _trade_info(trade: Trade, authority: Authority) -> dict[str, Any]:
    price, profit = convert.price_and_profit(trade, authority.book)
    actions = [convert.action_out(event) for event in authority.book.actions if event.trade_id == trade.trade_id]
    return {
        "ticket": trade.ticket,
        "symbol": trade.symbol,
        "state": trade.state.value,
        "current_score": trade.score,
        "state_entry_time": convert.iso(trade.state_since)[11:19],
        "state_entry_at": convert.iso(trade.state_since),
        "warnings": dict.fromkeys(sorted(trade.flags), True),
        "actions_taken": actions,
        "performance": {"score_history": 0 if trade.score is None else 1, "warning_count": len(trade.flags)},
        "type": None if trade.side is None else trade.side.value,
        "volume": trade.volume,
        "open_price": trade.entry_price,
        "current_price": price,
        "profit": profit,
        "sl": trade.stop_loss or 0.0,  # MetaTrader's own word for "none", which these callers print
        "tp": trade.take_profit or 0.0,
        "protection_active": authority.protected(trade),
        "intelligent_exits": {},
    }


def _breakeven(trade: Trade) -> bool:
    """Has the stop reached the entry? Then the position can lose no more than the spread."""
    if trade.stop_loss is None or trade.entry_price is None or trade.side is None:
        return False
    return (trade.stop_loss - trade.entry_price) * trade.sign >= 0


_ENABLE_DOC = with_body(
    operation(
        "Register a position, old form",
        Scope.REGISTER,
        examples.ENABLED,
        answers={200: "Registered", 202: "Stored, not verified yet: success is false, ask again"},
        raises=REGISTERING,
    ),
    examples.ENABLE,
    model=EnableIn,
    form={"ticket": "123456"},
)
_INITIALIZE_DOC = operation(
    "Nothing to do: the service starts itself",
    Scope.REGISTER,
    {"success": True, "summary": "DTMS is running (ready); nothing to do", "ready": True, "error": None},
    raises=(NotAccepting,),
)


def enable_routes(authority: Authority, kind: str) -> APIRouter:
    """``POST /dtms/trade/enable`` and ``POST /dtms/initialize``."""
    router = APIRouter(tags=["old paths"])

    @router.post("/dtms/trade/enable", **_ENABLE_DOC)
    async def enable(request: Request) -> Response:
        """JSON or form, every old spelling; the ticket alone is enough. A split order registers each of its parts."""
        wishes = registrations(await _body(request))
        results = await authority.register(wishes)
        if len(results) == 1 and isinstance(results[0], DtmsError):
            raise results[0]
        shown = [
            _enabled(result, kind) if isinstance(result, Registered) else _failed(result, request) for result in results
        ]
        status, body = max(shown, key=lambda pair: pair[0])
        if len(shown) > 1:
            body = body | {"results": [each for _, each in shown]}
        return answer(body, status)

    @router.post("/dtms/initialize", **_INITIALIZE_DOC)
    async def initialize() -> Response:
        """Kept for old scripts. It changes nothing and drops no trade; 200 once registrations are accepted."""
        report = authority.report()
        if not report.accepting:
            raise NotAccepting(why_not(report))
        summary = f"DTMS is running ({report.phase.value}); nothing to do"
        return answer({"success": True, "summary": summary, "ready": report.ready, "error": None})

    return router


def _failed(error: DtmsError, request: Request) -> tuple[int, dict[str, Any]]:
    return row_of(type(error)).status, problem(error, request.url.path, str(request.scope.get(REQUEST_ID, "")))


_TRADE_INFO_DOC = operation(
    "One trade, old envelope", Scope.READ, examples.TRADE_INFO, raises=(*FINDING, Invalid, MethodNotAllowed)
)
_ENGINE_DOC = operation("When each trade was last checked", Scope.READ, examples.ENGINE)
_REGISTRY_DOC = operation(
    "Who manages a trade, in the old names",
    Scope.READ,
    {
        "ticket": 123456,
        "managed_by": "dtms_manager",
        "breakeven_triggered": False,
        "symbol": "EURUSD",
        "direction": "BUY",
        "strategy_type": None,
    },
    raises=(Invalid,),
)


def old_reading_routes(authority: Authority) -> APIRouter:
    """``/dtms/trade/{ticket}``, ``/dtms/engine`` and ``/trade-registry/{ticket}``."""
    router = APIRouter(tags=["old paths"])

    @router.get("/dtms/trade/{ticket}", **_TRADE_INFO_DOC)
    async def trade_info(ticket: Ticket) -> Response:
        """``state`` and ``ticket`` stand at the top as well as inside; an unknown ticket is 404."""
        trade = find(authority, ticket, trade_info=None)
        body = {
            "success": True,
            "summary": f"{_name(trade)} is {trade.state.value}",
            "ticket": trade.ticket,
            "state": trade.state.value,
            "trade_info": _trade_info(trade, authority),
            "error": None,
        }
        return answer(body)

    @router.get("/dtms/engine", **_ENGINE_DOC)
    async def engine() -> Response:
        """Maps of ticket to seconds since the epoch; old pages list the trades by the keys of ``last_fast_check``."""
        counts, watched = authority.counts, active(authority)
        seen = {
            str(trade.ticket): counts.last_fast.get(trade.ticket, trade.verified_at)
            for trade in authority.book.trades.values()
            if not trade.state.final
        }
        info = {
            "monitoring_active": watching(authority.report()),
            "active_trades_count": watched,
            "last_fast_check": {ticket: at for ticket, at in seen.items() if at is not None},
            "last_deep_check": {str(ticket): at for ticket, at in counts.last_deep.items() if str(ticket) in seen},
        }
        return answer({"success": True, "summary": f"{watched} trades watched", "engine_info": info, "error": None})

    @router.get("/trade-registry/{ticket}", **_REGISTRY_DOC)
    async def registry(ticket: Ticket) -> Response:
        """``managed_by`` is empty for a ticket that nobody registered here."""
        trade = authority.book.find(ticket)
        if trade is None:
            nothing = {"symbol": None, "direction": None, "strategy_type": None}
            return answer({"ticket": ticket, "managed_by": "", "breakeven_triggered": False, **nothing})
        body = {
            "ticket": trade.ticket,
            "managed_by": OLD_NAMES[trade.owner],
            "breakeven_triggered": _breakeven(trade),
            "symbol": trade.symbol,
            "direction": None if trade.side is None else trade.side.value,
            "strategy_type": trade.strategy_type,
        }
        return answer(body)

    return router
