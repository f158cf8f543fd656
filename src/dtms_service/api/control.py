"""What people and managers order: pause, halt, flatten, announced news, and who owns a trade."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from dtms_client.wire import TRADES
from dtms_service.api import convert, examples
from dtms_service.api.describe import operation, with_body
from dtms_service.api.errors import MethodNotAllowed, invalid_fields
from dtms_service.api.exchange import BATCH_MAX, Ticket, answer, parse, printable, read
from dtms_service.api.routes import FINDING, find, shown
from dtms_service.api.security import Scope
from dtms_service.domain.control import News, Standing, Verb
from dtms_service.domain.errors import (
    DtmsError,
    Invalid,
    NotAccepting,
    NotInThisMode,
    RegistrationConflict,
    StorageBusy,
    StorageFailed,
    TradeNotFound,
)
from dtms_service.engine.authority import Authority
from dtms_service.engine.operating import HandedOver

_STORING: tuple[type[DtmsError], ...] = (NotAccepting, StorageBusy, StorageFailed, Invalid)
_NEWS_MAX = 1000


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class OrderIn(_Body):
    """Body of ``POST /dtms/control/{verb}``. ``force``: flatten also what others share (R15)."""

    reason: str = Field(default="", max_length=500)
    by: str = Field(default="", max_length=64)
    force: bool = False


class NewsIn(_Body):
    """Announced news: nothing is opened or reduced while they are due. No symbols: all of them."""

    begins: AwareDatetime
    ends: AwareDatetime
    title: str = Field(min_length=1, max_length=200)
    symbols: list[str] = Field(default_factory=list, max_length=200)


class NewsListIn(_Body):
    """Body of ``PUT /dtms/news``: it replaces what was announced before."""

    news: list[NewsIn] = Field(max_length=_NEWS_MAX)
    by: str = Field(default="", max_length=64)


class OwnerIn(_Body):
    """Body of ``PUT /dtms/trades/{ticket}/owner``; ``owner`` in any spelling (R30)."""

    owner: str = Field(min_length=1, max_length=64, json_schema_extra=convert.NAMED_OWNERS)
    reason: str = Field(default="", max_length=500)
    by: str = Field(default="", max_length=64)


_ORDER = TypeAdapter(OrderIn)
_NEWS_LIST = TypeAdapter(NewsListIn)
_OWNER = TypeAdapter(OwnerIn)


def standing_out(standing: Standing) -> dict[str, Any]:
    """The orders in force as JSON."""
    return {
        "control": standing.control.value,
        "reason": standing.reason,
        "by": standing.by,
        "since": convert.iso_or_none(standing.since),
        "news": [
            {
                "begins": convert.iso(news.begins),
                "ends": convert.iso(news.ends),
                "title": news.title,
                "symbols": list(news.symbols),
            }
            for news in standing.news
        ],
    }


def _news(given: NewsIn, number: int) -> News:
    begins, ends = _utc(given.begins, f"news.{number}.begins"), _utc(given.ends, f"news.{number}.ends")
    if ends <= begins:
        raise invalid_fields([{"field": f"news.{number}.ends", "expected": "a time after begins"}])
    symbols = tuple(printable(f"news.{number}.symbols", symbol) for symbol in given.symbols)
    title = printable(f"news.{number}.title", given.title)
    return News(begins=_seconds(begins), ends=_seconds(ends), title=title, symbols=symbols)


def _utc(time: datetime, field: str) -> datetime:
    try:
        return time.astimezone(UTC)
    except OverflowError as error:
        raise invalid_fields([{"field": field, "expected": "a time between the years 1 and 9999 in UTC"}]) from error


def _seconds(time: datetime) -> float:
    return time.timestamp()


_STANDING_DOC = operation("What an operator has ordered", Scope.READ, examples.STANDING)
_CONTROL_DOC = with_body(
    operation(
        "Pause, resume, halt, reset or flatten",
        Scope.CONTROL,
        {**examples.STANDING, "tickets": [], "refused": []},
        answers={200: "In force and stored; for flatten: closing has begun"},
        raises=(NotInThisMode, *_STORING),
    ),
    {"reason": "the broker changes its servers tonight", "by": "anna"},
    model=OrderIn,
    required=False,
)
_NEWS_DOC = with_body(
    operation("Announce news", Scope.CONTROL, examples.STANDING, raises=_STORING),
    {"news": examples.STANDING["news"], "by": "anna"},
    model=NewsListIn,
)


def control_routes(authority: Authority) -> APIRouter:
    """``/dtms/control`` and ``/dtms/news``."""
    router = APIRouter(tags=["control"])

    @router.get("/dtms/control", **_STANDING_DOC)
    async def standing() -> Response:
        """Whether DTMS acts, who ordered it and why, and the announced news."""
        return answer(standing_out(authority.standing))

    @router.post("/dtms/control/{verb}", **_CONTROL_DOC)
    async def order(
        verb: Annotated[Verb, Path(description="What to do.", examples=["pause"])], request: Request
    ) -> Response:
        """Pause and halt stop everything but reconciliation and the closing of our own orphan hedges (R47).

        ``resume`` ends a pause, only ``reset`` ends a halt; ``flatten`` closes what DTMS protects, also while paused.
        """
        wanted = parse(_ORDER, await read(request))
        reason, by = printable("reason", wanted.reason), printable("by", wanted.by)
        done = await authority.order(verb, reason=reason, by=by, force=wanted.force)
        refused = [{"ticket": ticket, "reason": why} for ticket, why in done.refused]
        return answer({**standing_out(done.standing), "tickets": list(done.tickets), "refused": refused})

    @router.put("/dtms/news", **_NEWS_DOC)
    async def announce(request: Request) -> Response:
        """No hedge and no partial close while news are due; stops still move, and closing everything still happens."""
        wanted = parse(_NEWS_LIST, await read(request, BATCH_MAX))
        news = [_news(given, number) for number, given in enumerate(wanted.news)]
        return answer(standing_out(await authority.announce(news, by=printable("by", wanted.by))))

    return router


_MAY = {
    "allowed": False,
    "reason": "DTMS is defending this position",
    "owner": "universal_manager",
    "state": "WARNING_L2",
    "defensive": True,
}
_OWNER_DOC = with_body(
    operation(
        "Hand a trade over",
        Scope.CONTROL,
        {"trade": examples.TRADE, "unwinding": False},
        answers={200: "Stored", 202: "Stored; our hedge is being closed"},
        raises=(TradeNotFound, RegistrationConflict, *_STORING),
    ),
    {"owner": "universal_manager", "reason": "its strategy takes over", "by": "universal manager"},
    model=OwnerIn,
)
_RELEASE_DOC = operation(
    "Release a trade for good",
    Scope.CONTROL,
    {"trade": examples.TRADE, "unwinding": False},
    answers={200: "Released", 202: "Released; our hedge is being closed"},
    raises=(MethodNotAllowed, TradeNotFound, RegistrationConflict, *_STORING),
)
_MAY_DOC = operation("May a manager change this position now?", Scope.READ, _MAY, raises=(*FINDING, Invalid))


def ownership_routes(authority: Authority) -> APIRouter:
    """Hand-over, release, and the question every manager asks before it changes a stop."""
    router = APIRouter(tags=["ownership"])

    def handed(done: HandedOver) -> Response:
        body = {"trade": shown(authority, done.trade), "unwinding": done.unwinding}
        return answer(body, 202 if done.unwinding else 200)

    @router.put(TRADES + "/{ticket}/owner", **_OWNER_DOC)
    async def owner(ticket: Ticket, request: Request) -> Response:
        """Between ``dtms``, ``universal_manager``, ``intelligent_exits`` and ``manual``; journalled."""
        wanted = parse(_OWNER, await read(request))
        to = convert.named_owner(wanted.owner, "owner")
        reason, by = printable("reason", wanted.reason), printable("by", wanted.by)
        return handed(await authority.hand_over(find(authority, ticket), to, reason=reason, by=by))

    @router.delete(TRADES + "/{ticket}", **_RELEASE_DOC)
    async def release(
        ticket: Ticket,
        reason: Annotated[str, Query(max_length=500, description="For the record.", examples=["closed by hand"])] = "",
        by: Annotated[str, Query(max_length=64, description="Who releases it.", examples=["anna"])] = "",
    ) -> Response:
        """Hand it to ``manual`` for good; a later registration of it answers ``observed`` (R28)."""
        said = {"reason": printable("reason", reason), "by": printable("by", by)}
        return handed(await authority.release(find(authority, ticket), **said))

    @router.get(TRADES + "/{ticket}/may-modify", **_MAY_DOC)
    async def may_modify(
        ticket: Ticket,
        manager: Annotated[
            str,
            Query(
                min_length=1,
                max_length=64,
                description="Who asks, in any spelling.",
                examples=["universal_manager"],
                json_schema_extra=convert.NAMED_OWNERS,
            ),
        ],
        action: Annotated[str, Query(max_length=64, description="What it wants to do.", examples=["trail_stop"])] = "",
    ) -> Response:
        """Asked right before each change: the answer holds for now only (R25)."""
        del action  # every change of a position has the same rule today
        trade = find(authority, ticket)
        asking = convert.named_owner(manager, "manager")
        allowed, why, defensive = authority.may_modify(trade, asking)
        body = {"allowed": allowed, "reason": why, "owner": trade.owner.value, "state": trade.state.value}
        return answer({**body, "defensive": defensive})

    return router
