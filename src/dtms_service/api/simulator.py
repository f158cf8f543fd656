"""Hands on the simulated terminal (INTERFACE 3.6): thin over its port, absent on a real one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, FiniteFloat, TypeAdapter, model_validator
from starlette.requests import Request
from starlette.responses import Response

from dtms_client.wire import TICKET_MAX
from dtms_service.api import convert
from dtms_service.api.describe import operation, with_body
from dtms_service.api.exchange import Ticket, answer, parse, printable, read
from dtms_service.api.security import Scope
from dtms_service.domain.errors import Invalid, NotInThisMode, TradeNotFound
from dtms_service.engine.authority import Authority
from dtms_service.engine.ports import SimulatedMarket

_YEAR_S = 366 * 86_400.0
_LAST = 253_402_300_799.0
"""End of the year 9999, the last instant ISO 8601 can name."""


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class OpenIn(_Body):
    """A position a trader's program opens; levels of 0 or null mean none."""

    symbol: str = Field(min_length=1, max_length=32)
    side: Literal["BUY", "SELL"]
    volume: FiniteFloat = Field(gt=0)
    stop_loss: FiniteFloat | None = Field(default=None, ge=0)
    take_profit: FiniteFloat | None = Field(default=None, ge=0)
    magic: int = Field(default=0, ge=0, le=TICKET_MAX)
    comment: str = Field(default="", max_length=29)


class ChangeIn(_Body):
    """Levels changed by hand; a level that is left out stays, 0 or null removes it."""

    stop_loss: FiniteFloat | None = Field(default=None, ge=0)
    take_profit: FiniteFloat | None = Field(default=None, ge=0)


class AdvanceIn(_Body):
    """How far to step: ``seconds`` from now, or ``until`` an instant (ISO 8601 with zone, or epoch seconds)."""

    seconds: FiniteFloat | None = Field(default=None, ge=0, le=_YEAR_S)
    until: AwareDatetime | Annotated[float, Field(ge=0, le=_LAST, allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> AdvanceIn:
        if (self.seconds is None) == (self.until is None):
            message = "give either seconds or until"
            raise ValueError(message)
        return self

    @property
    def until_epoch(self) -> float | None:
        """``until`` as seconds since the epoch."""
        if self.until is None or isinstance(self.until, float | int):
            return self.until
        return self.until.astimezone(UTC).timestamp()


class FaultIn(_Body):
    """A fault to arm; all but ``kind`` optional. ``call`` and ``ticket`` narrow it to one function, one position."""

    kind: str = Field(min_length=1, max_length=64)
    count: int | None = Field(default=None, ge=1, le=1_000_000)
    probability: FiniteFloat | None = Field(default=None, ge=0, le=1)
    seconds: FiniteFloat | None = Field(default=None, ge=0, le=_YEAR_S)
    symbol: str | None = Field(default=None, min_length=1, max_length=32)
    retcode: int | None = Field(default=None, ge=0, le=99_999)
    seed: int | None = Field(default=None, ge=0, le=TICKET_MAX)
    call: str | None = Field(default=None, min_length=1, max_length=64)
    ticket: int | None = Field(default=None, ge=1, le=TICKET_MAX)


_OPEN, _CHANGE = TypeAdapter(OpenIn), TypeAdapter(ChangeIn)
_ADVANCE, _FAULT = TypeAdapter(AdvanceIn), TypeAdapter(FaultIn)
_POSITION = {"ticket": 123456, "identifier": 123456, "price_open": 1.1002}
_VIEWS: dict[str, dict[str, Any]] = {
    "account": {"account": {"login": 5001234, "server": "Simulated", "balance": 100000.0, "equity": 100090.0}},
    "positions": {
        "positions": [{"ticket": 123456, "symbol": "EURUSD", "type": 0, "volume": 0.5, "sl": 1.0952, "tp": 0.0}]
    },
    "orders": {"orders": []},
    "deals": {
        "deals": [{"ticket": 1, "position_id": 123456, "symbol": "EURUSD", "type": 0, "volume": 0.5, "price": 1.1002}]
    },
}


def _given(body: BaseModel) -> dict[str, Any]:
    """Only what the caller said; text must be printable."""
    fields = body.model_dump(exclude_unset=True)
    for name, value in fields.items():
        if isinstance(value, str):
            printable(name, value)
    return fields


def view_routes(simulator: SimulatedMarket) -> APIRouter:
    """Looking at the simulated account and market."""
    router = APIRouter(prefix="/simulator", tags=["simulator"])

    def add(what: str, example: Mapping[str, Any]) -> None:
        async def view() -> Response:
            return answer(dict(await simulator.view(what)))

        view.__doc__ = f"The {what} as the broker has them, in MetaTrader 5's own names."
        described = operation(f"The simulated broker's {what}", Scope.READ, example)
        router.get(f"/{what}", **described, name=f"simulator_{what}")(view)

    for what, example in _VIEWS.items():
        add(what, example)

    @router.get(
        "/market",
        **operation(
            "Bars of a symbol, newest last",
            Scope.READ,
            {
                "bars": [
                    {
                        "time_utc": "2026-01-05T08:00:00Z",
                        "open": 1.1,
                        "high": 1.1006,
                        "low": 1.0998,
                        "close": 1.1002,
                        "tick_volume": 412,
                        "spread_points": 8,
                    }
                ]
            },
            raises=(Invalid,),
        ),
    )
    async def market(
        symbol: Annotated[
            str, Query(min_length=1, max_length=32, description="As the broker spells it.", examples=["EURUSD"])
        ],
        timeframe: Annotated[Literal["M1", "M5", "M15"], Query(description="Length of a bar.", examples=["M5"])] = "M1",
        count: Annotated[int, Query(ge=1, le=50_000, description="Bars at most.", examples=[100])] = 100,
    ) -> Response:
        """Fields as in the bar files."""
        return answer(dict(await simulator.market(symbol, timeframe, count)))

    return router


_OPEN_POSITION_DOC = with_body(
    operation("Open a position", Scope.CONTROL, _POSITION, raises=(Invalid,)),
    {"symbol": "EURUSD", "side": "BUY", "volume": 0.5, "stop_loss": 1.0952},
    model=OpenIn,
)
_CHANGE_POSITION_DOC = with_body(
    operation("Change levels by hand", Scope.CONTROL, _POSITION, raises=(Invalid, TradeNotFound)),
    {"stop_loss": 1.0962, "take_profit": None},
    model=ChangeIn,
    required=False,
)
_CLOSE_POSITION_DOC = operation("Close by hand", Scope.CONTROL, {"ticket": 123456}, raises=(Invalid, TradeNotFound))
_SET_FAULT_DOC = with_body(
    operation("Arm a fault", Scope.CONTROL, {"kind": "reply_lost_executed", "count": 1}, raises=(Invalid,)),
    {"kind": "reply_lost_executed", "count": 1, "symbol": "EURUSD"},
    model=FaultIn,
)
_CLEAR_FAULTS_DOC = operation("Disarm all faults", Scope.CONTROL, {"cleared": 1})


def hand_routes(simulator: SimulatedMarket) -> APIRouter:
    """Hands at the simulated terminal: open, change and close positions, arm and clear faults."""
    router = APIRouter(prefix="/simulator", tags=["simulator"])

    @router.post("/positions", **_OPEN_POSITION_DOC)
    async def open_position(request: Request) -> Response:
        """As a trader's program would; DTMS does not know it until it is registered."""
        return answer(dict(await simulator.open_position(_given(parse(_OPEN, await read(request))))))

    @router.patch("/positions/{ticket}", **_CHANGE_POSITION_DOC)
    async def change_position(ticket: Ticket, request: Request) -> Response:
        """A hand at the terminal: a level that is left out stays, 0 or null removes it."""
        return answer(dict(await simulator.change_position(ticket, _given(parse(_CHANGE, await read(request))))))

    @router.delete("/positions/{ticket}", **_CLOSE_POSITION_DOC)
    async def close_position(
        ticket: Ticket,
        volume: Annotated[
            FiniteFloat | None, Query(gt=0, description="Lots; all when left out.", examples=[0.1])
        ] = None,
    ) -> Response:
        """All of it, or ``volume`` lots."""
        return answer(dict(await simulator.close_position(ticket, volume)))

    @router.post("/faults", **_SET_FAULT_DOC)
    async def set_fault(request: Request) -> Response:
        """The broker's next calls go wrong as ``kind`` says."""
        return answer(dict(await simulator.set_fault(_given(parse(_FAULT, await read(request))))))

    @router.delete("/faults", **_CLEAR_FAULTS_DOC)
    async def clear_faults() -> Response:
        """Every armed fault is taken back; what it has done already stays."""
        return answer(dict(await simulator.clear_faults()))

    return router


_ADVANCE_DOC = with_body(
    operation(
        "Step the simulated market",
        Scope.CONTROL,
        {"now": "2026-01-05T09:00:00.000Z", "cycles": 120},
        raises=(Invalid, NotInThisMode),
    ),
    {"seconds": 3600},
    model=AdvanceIn,
)


def advance_routes(authority: Authority) -> APIRouter:
    """``POST /simulator/advance``: the engine steps, so that every cycle inside the step has run before the answer."""
    router = APIRouter(prefix="/simulator", tags=["simulator"])

    @router.post("/advance", **_ADVANCE_DOC)
    async def advance(request: Request) -> Response:
        """``until`` is idempotent; ``seconds: 0`` runs what is due. When the service stops, answers what was done."""
        step = parse(_ADVANCE, await read(request))
        done = dict(await authority.advance(seconds=step.seconds, until=step.until_epoch))
        now = done.get("now")
        return answer(done | {"now": convert.iso(now) if isinstance(now, int | float) else now})

    return router
