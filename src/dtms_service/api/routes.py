"""Trades: register, list, look at one, ask why, read its history. Hot paths read bytes and answer bytes."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from dtms_client.wire import (
    TICKET_MAX,
    TRADES,
    BatchItemIn,
    BatchOut,
    RegistrationIn,
    RegistrationOut,
    TradeList,
    TradeOut,
)
from dtms_service.api import convert, examples
from dtms_service.api.describe import operation, with_body, with_ticket
from dtms_service.api.errors import REQUEST_ID, MethodNotAllowed, invalid, problem, row_of
from dtms_service.api.exchange import BATCH_MAX, Ticket, answer, parse, raised, read, ticket_of
from dtms_service.api.health import why_not
from dtms_service.api.security import Scope
from dtms_service.domain.admission import Registration
from dtms_service.domain.errors import (
    DtmsError,
    Invalid,
    NotAccepting,
    RegistrationConflict,
    StorageBusy,
    StorageFailed,
    TradeNotFound,
)
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import Owner, Trade
from dtms_service.engine.authority import Authority
from dtms_service.engine.registrar import Registered

REGISTERING: tuple[type[DtmsError], ...] = (RegistrationConflict, NotAccepting, StorageBusy, StorageFailed, Invalid)
FINDING: tuple[type[DtmsError], ...] = (TradeNotFound, NotAccepting)
"""What `find` raises."""
BATCH_TRADES = 1000


class BatchIn(BaseModel):
    """Body of ``POST /dtms/trades/batch``; every item stands alone, so items are looked at one by one."""

    trades: list[Any] = Field(max_length=BATCH_TRADES)


class _GoodBatch(BaseModel):
    """The same body when every item is right, which the parser checks in one go."""

    trades: list[BatchItemIn] = Field(max_length=BATCH_TRADES)


_ONE = TypeAdapter(RegistrationIn)
_ITEM = TypeAdapter(BatchItemIn)
_MANY = TypeAdapter(BatchIn)
_GOOD = TypeAdapter(_GoodBatch)


def find(authority: Authority, ticket: int, **facts: Any) -> Trade:
    """The trade a caller means (R29). Raises `TradeNotFound`, carrying ``facts``.

    As long as the ledger is not open nobody can know that: `NotAccepting`, because a caller who hears "not here" goes
    on to move the stop of a trade that DTMS may be defending.
    """
    trade = authority.book.find(ticket)
    if trade is None and not authority.report().accepting:
        raise NotAccepting(why_not(authority.report()), **facts)
    if trade is None:
        message = f"no trade with ticket {ticket} is registered here; PUT {TRADES}/{ticket} registers it"
        raise TradeNotFound(message, ticket=ticket, **facts)
    return trade


def shown(authority: Authority, trade: Trade) -> dict[str, Any]:
    """The trade as JSON, priced by the last snapshot."""
    return convert.trade_out(
        trade,
        authority.book,
        authority.now(),
        protected=authority.protected(trade),
        next_cycle_at=authority.counts.next_cycle_at,
    )


def _items(body: bytes) -> list[BatchItemIn | DtmsError]:
    """Every item of a batch, or what is wrong with it; raises `Invalid` when the body is no batch at all."""
    try:
        return list(_GOOD.validate_json(body, strict=True).trades)
    except ValidationError:
        return [_item(raw) for raw in parse(_MANY, body).trades]


def _item(raw: Any) -> BatchItemIn | DtmsError:
    try:
        return _ITEM.validate_python(raw, strict=True)
    except ValidationError as error:
        found = invalid(error)
        ticket = raw.get("ticket") if isinstance(raw, dict) else None
        good = type(ticket) is int and 0 < ticket <= TICKET_MAX
        return Invalid(found.detail, ticket=ticket if good else None, errors=found.facts["errors"])


def _wish(item: BatchItemIn | DtmsError) -> Registration | DtmsError:
    if isinstance(item, DtmsError):
        return item
    try:
        return convert.registration(item.ticket, item)
    except DtmsError as error:
        return type(error)(error.detail, **{**error.facts, "ticket": item.ticket})


def _result(ticket: int | None, result: Registered | DtmsError, request: Request) -> dict[str, Any]:
    if isinstance(result, DtmsError):
        body = problem(result, request.url.path, str(request.scope.get(REQUEST_ID, "")))
        status = row_of(type(result)).status
        return {"ticket": ticket, "status": status, "outcome": None, "protected": False, "error": body}
    return {
        "ticket": ticket,
        "status": convert.status_of(result),
        "outcome": result.outcome,
        "protected": result.protected,
        "error": None,
    }


_REGISTER_DOC = with_ticket(
    with_body(
        operation(
            "Register a position",
            Scope.REGISTER,
            examples.PROTECTED,
            answers={
                201: "Protected, first time",
                200: "Known already, observed or closed",
                202: "Stored; the terminal has not shown the position yet",
            },
            model=RegistrationOut,
            raises=(*REGISTERING, MethodNotAllowed),
        ),
        examples.REGISTRATION,
        model=RegistrationIn,
        required=False,
    )
)
_REGISTER_BATCH_DOC = with_body(
    operation(
        "Register many positions",
        Scope.REGISTER,
        examples.BATCH,
        answers={200: "Every item has its own status"},
        model=BatchOut,
        raises=(NotAccepting, StorageBusy, StorageFailed, Invalid),
    ),
    {"trades": [{"ticket": 123456, **examples.REGISTRATION}]},
    model=BatchIn,
)


def registration_routes(authority: Authority, kind: str) -> APIRouter:
    """``PUT /dtms/trades/{ticket}`` and the batch. ``kind`` is the terminal's (R39)."""
    router = APIRouter(tags=["registration"])

    @router.put(TRADES + "/{ticket}", **_REGISTER_DOC)
    async def register(request: Request) -> Response:
        """The ticket is enough: the terminal is the truth, and what the body claims is held against it."""
        wish = convert.registration(ticket_of(request), parse(_ONE, await read(request)))
        registered = raised((await authority.register([wish]))[0])
        body = {
            "outcome": registered.outcome,
            "protected": registered.protected,
            "replayed": registered.replayed,
            "trade": shown(authority, registered.trade),
            "kind": kind,
        }
        headers = {"Idempotency-Replayed": "true"} if registered.replayed else None
        return answer(body, convert.status_of(registered), headers)

    @router.post(TRADES + "/batch", **_REGISTER_BATCH_DOC)
    async def register_batch(request: Request) -> Response:
        """Up to 1,000 registrations, one read of the terminal, one transaction; a wrong item hurts no other."""
        wishes = [_wish(item) for item in _items(await read(request, BATCH_MAX))]
        good = [wish for wish in wishes if isinstance(wish, Registration)]
        answers = iter(await authority.register(good) if good else [])
        results = []
        for wish in wishes:
            if isinstance(wish, DtmsError):
                results.append(_result(wish.facts.get("ticket"), wish, request))
                continue
            results.append(_result(wish.ticket, next(answers), request))
        rejected = sum(1 for result in results if result["error"] is not None)
        return answer({"results": results, "accepted": len(results) - rejected, "rejected": rejected})

    return router


def _wanted(
    trade: Trade, states: frozenset[TradeState], symbol: str | None, owner: Owner | None, *, closed: bool
) -> bool:
    return (
        (trade.state in states if states else closed or not trade.state.final)
        and (symbol is None or trade.symbol.upper() == symbol)
        and (owner is None or trade.owner is owner)
    )


_TRADES_DOC = operation(
    "List trades",
    Scope.READ,
    {"trades": [examples.TRADE], "count": 1, "next_cursor": None, "as_of": "2026-01-05T08:15:30.000Z"},
    answers={200: "In order of registration, oldest first"},
    model=TradeList,
    raises=(Invalid,),
)
_TRADE_DOC = operation(
    "One trade", Scope.READ, examples.TRADE, model=TradeOut, raises=(*FINDING, Invalid, MethodNotAllowed)
)
_EXPLAIN_DOC = operation("Why a trade is in its state", Scope.READ, examples.EXPLANATION, raises=(*FINDING, Invalid))
_HISTORY_DOC = operation(
    "Every event of a trade", Scope.READ, examples.HISTORY, raises=(*FINDING, Invalid, StorageFailed)
)


def trade_routes(authority: Authority) -> APIRouter:
    """Reading trades: list, one, explain, history."""
    router = APIRouter(tags=["trades"])

    @router.get(TRADES, **_TRADES_DOC)
    async def trades(
        state: Annotated[
            list[TradeState] | None,
            Query(description="Only these states; CLOSED may be asked for.", examples=[["WARNING_L2", "HEDGED"]]),
        ] = None,
        symbol: Annotated[
            str | None,
            Query(max_length=32, description="Only this symbol, as the broker spells it.", examples=["EURUSD"]),
        ] = None,
        owner: Annotated[
            str | None,
            Query(
                max_length=64,
                description="Only this owner's, in any spelling.",
                examples=["dtms"],
                json_schema_extra=convert.OWNERS,
            ),
        ] = None,
        include_closed: Annotated[bool, Query(description="Also those that are over.", examples=[True])] = False,  # noqa: FBT002 - a query parameter, named by its caller
        limit: Annotated[int, Query(ge=1, le=1000, description="Trades on one page.", examples=[100])] = 100,
        cursor: Annotated[
            int, Query(ge=0, le=TICKET_MAX, description="next_cursor of the page before.", examples=[100])
        ] = 0,
    ) -> Response:
        """Trades watched now; ``include_closed`` adds those that are over. ``count`` is the length of this page."""
        book, states, name, who = (
            authority.book,
            frozenset(state or ()),
            symbol and symbol.upper(),
            convert.owner(owner),
        )
        page: list[Trade] = []
        more = False
        for trade_id in sorted(number for number in book.trades if number > cursor):
            trade = book.trades[trade_id]
            if not _wanted(trade, states, name, who, closed=include_closed):
                continue
            if len(page) == limit:
                more = True
                break
            page.append(trade)
        return answer(
            {
                "trades": [shown(authority, trade) for trade in page],
                "count": len(page),
                "next_cursor": str(page[-1].trade_id) if more else None,
                "as_of": convert.iso(authority.now() if book.as_of is None else book.as_of),
            }
        )

    @router.get(TRADES + "/{ticket}", **_TRADE_DOC)
    async def trade(ticket: Ticket) -> Response:
        """By ticket, identifier or a former ticket."""
        return answer(shown(authority, find(authority, ticket)))

    @router.get(TRADES + "/{ticket}/explain", **_EXPLAIN_DOC)
    async def explain(ticket: Ticket) -> Response:
        """Score line by line, thresholds, regime, the rule that led here, what is missing, what would come next."""
        return answer(convert.explanation_out(authority.explain(find(authority, ticket))))

    @router.get(TRADES + "/{ticket}/history", **_HISTORY_DOC)
    async def history(ticket: Ticket) -> Response:
        """What the ledger holds of the trade, oldest first."""
        found = find(authority, ticket)
        events = [convert.event_out(event) for event in await authority.history(found)]
        return answer({"ticket": found.ticket, "events": events, "count": len(events)})

    return router
