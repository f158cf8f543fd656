"""Control over the simulated broker (INTERFACE 3.6): a hand at the terminal, the clock, the faults; all in true UTC.

Every function checks its input strictly (no text or truth value as a number, nothing that is not finite) and raises
``ValueError`` with one sentence; nothing has changed then.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from dtms_service.market.bars import TIMEFRAME_SECONDS
from dtms_service.terminal.simulated import answers
from dtms_service.terminal.simulated.arguments import parse_request
from dtms_service.terminal.simulated.constants import SYMBOL_FILLING_FOK, Constants
from dtms_service.terminal.simulated.desk import Desk
from dtms_service.terminal.simulated.faults import read_fault
from dtms_service.terminal.simulated.reading import known, read_number, read_whole
from dtms_service.terminal.simulated.rows import PositionRow
from dtms_service.terminal.simulated.rules import BUY, SELL, No
from dtms_service.terminal.simulated.server_clock import ServerClock

_POSITION_FIELDS = ("symbol", "side", "volume", "stop_loss", "take_profit", "magic", "comment")
_LEVEL_FIELDS = ("stop_loss", "take_profit")
_UTC = ServerClock(0)
_MOST_BARS = 50_000
_LONGEST_STEP = 366 * 86_400.0


class Control:
    """The ``simulator_*`` functions of the backend, without their prefix."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def clock(self) -> dict[str, Any]:
        """``{mode, now, factor}``; ``mode`` is ``live`` at any factor, ``factor`` is 0 when stepped."""
        self._desk.play()
        return self._desk.timeline.describe()

    def advance(self, until: float) -> float:
        """Step to ``until`` (UTC seconds) and return the market time; an earlier instant changes nothing."""
        if not self._desk.timeline.stepped:
            message = "the simulator's clock is not stepped; it runs by itself"
            raise ValueError(message)
        target = read_number({"until": until}, "until", None, 0.0, 1e11)
        if target is None:
            message = "until is missing; it is an instant in UTC seconds"
            raise ValueError(message)
        if target > self._desk.now + _LONGEST_STEP:
            message = f"until is {until!r}; one step is at most {_LONGEST_STEP:.0f} seconds (366 days) long"
            raise ValueError(message)
        return self._desk.advance(target)

    def view(self, what: str) -> dict[str, Any]:
        """``account``, ``positions``, ``orders`` (waiting and finished ones) or ``deals``, in MT5's field names."""
        desk = self._desk
        desk.play()
        match what:
            case "account":
                return {"account": answers.account(desk.broker.books, desk.login, desk.now)._asdict()}
            case "positions":
                rows = [
                    answers.position(desk.broker.books, row, desk.now, _UTC) for row in desk.state.positions.values()
                ]
            case "orders":
                rows = [answers.order(row, _UTC) for row in desk.state.orders.values()]
            case "deals":
                rows = [answers.deal(row, _UTC) for row in desk.state.deals]
            case _:
                message = f"there is no view {what!r}; there are account, positions, orders and deals"
                raise ValueError(message)
        return {what: [row._asdict() for row in rows]}

    def open_position(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Open a position as a trader's program would (reason EXPERT); ``{ticket, identifier, price_open}``."""
        known(body, _POSITION_FIELDS)
        desk = self._desk
        series = desk.market.of(_text(body, "symbol"))
        side = {"BUY": BUY, "SELL": SELL}.get(_text(body, "side").upper())
        if side is None:
            message = f"side is {body['side']!r}; it must be BUY or SELL"
            raise ValueError(message)
        volume = read_number(body, "volume", None, 0.0, 1e9)
        if volume is None:
            message = "volume is missing"
            raise ValueError(message)
        comment = _text(body, "comment", "")
        if len(comment) > 29:
            message = f"comment has {len(comment)} characters; at most 29 fit"
            raise ValueError(message)
        digits = series.facts.digits
        sl, tp = _level(body, "stop_loss", 0.0, digits), _level(body, "take_profit", 0.0, digits)
        magic = read_whole(body, "magic", 0, 0, 2**63 - 1) or 0
        fok = series.facts.filling & SYMBOL_FILLING_FOK
        filling = Constants.ORDER_FILLING_FOK if fok else Constants.ORDER_FILLING_IOC
        self._act(
            action=Constants.TRADE_ACTION_DEAL,
            symbol=series.facts.name,
            type=side,
            volume=volume,
            sl=sl,
            tp=tp,
            magic=magic,
            comment=comment,
            type_filling=filling,
            reason=Constants.DEAL_REASON_EXPERT,
        )
        deal = desk.state.deals[-1]
        return {"ticket": self._ticket_of(deal.position_id), "identifier": deal.position_id, "price_open": deal.price}

    def change_position(self, ticket: int, body: Mapping[str, Any]) -> dict[str, Any]:
        """Change levels by hand; a field that is absent stays, null removes the level. The position as it is then."""
        known(body, _LEVEL_FIELDS)
        position = self._position(ticket)
        digits = self._desk.market.of(position.symbol).facts.digits
        sl = _level(body, "stop_loss", 0.0, digits) if "stop_loss" in body else position.sl
        tp = _level(body, "take_profit", 0.0, digits) if "take_profit" in body else position.tp
        if (sl, tp) != (position.sl, position.tp):
            self._act(action=Constants.TRADE_ACTION_SLTP, position=ticket, sl=sl, tp=tp)
        return answers.position(
            self._desk.broker.books, self._desk.state.positions[ticket], self._desk.now, _UTC
        )._asdict()

    def close_position(self, ticket: int, volume: float | None = None) -> dict[str, Any]:
        """Close by hand (reason CLIENT), in part when ``volume`` is given; the deal."""
        position = self._position(ticket)
        wanted = read_number({"volume": volume}, "volume", position.volume, 0.0, 1e9)
        facts = self._desk.market.of(position.symbol).facts
        fok = facts.filling & SYMBOL_FILLING_FOK
        self._act(
            action=Constants.TRADE_ACTION_DEAL,
            position=ticket,
            symbol=position.symbol,
            type=SELL if position.type == BUY else BUY,
            volume=wanted,
            type_filling=Constants.ORDER_FILLING_FOK if fok else Constants.ORDER_FILLING_IOC,
            reason=Constants.DEAL_REASON_CLIENT,
        )
        return answers.deal(self._desk.state.deals[-1], _UTC)._asdict()

    def set_fault(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Arm a fault; it as armed."""
        desk = self._desk
        desk.play()
        fault = read_fault(body, int(desk.state.meta["ticket"]) + 1, desk.now, desk.market.series)
        desk.state.ticket()
        desk.state.put(fault)
        desk.save()
        return {
            name: getattr(fault, name)
            for name in ("id", "kind", "count", "probability", "seconds", "symbol", "retcode", "seed", "call", "ticket")
        }

    def clear_faults(self) -> dict[str, Any]:
        """Disarm everything; ``{cleared}``. Orders already on their way (``executed_late``) still arrive."""
        desk = self._desk
        cleared = len(desk.state.faults)
        desk.state.drop_faults(desk.state.faults)
        desk.save()
        return {"cleared": cleared}

    def market(self, symbol: str, timeframe: str, count: int) -> dict[str, Any]:
        """``{bars: [...]}`` closed and forming, newest last, with the fields of the bar files."""
        desk = self._desk
        desk.play()
        series = desk.market.of(symbol)
        if timeframe not in TIMEFRAME_SECONDS:
            message = f"unknown timeframe {timeframe!r}; there are {', '.join(TIMEFRAME_SECONDS)}"
            raise ValueError(message)
        wanted = read_whole({"count": count}, "count", None, 1, _MOST_BARS)
        if wanted is None:
            message = "count is missing"
            raise ValueError(message)
        bars = series.bars(TIMEFRAME_SECONDS[timeframe], desk.now, wanted, desk.broker.terms.clock.ahead(desk.now))
        rows = zip(
            bars.time.tolist(),
            bars.open.tolist(),
            bars.high.tolist(),
            bars.low.tolist(),
            bars.close.tolist(),
            bars.tick_volume.tolist(),
            bars.spread.tolist(),
            strict=True,
        )
        return {
            "bars": [
                {
                    "time_utc": f"{datetime.fromtimestamp(time, UTC):%Y-%m-%dT%H:%M:%SZ}",
                    "open": opening,
                    "high": high,
                    "low": low,
                    "close": close,
                    "tick_volume": int(volume),
                    "spread_points": spread,
                }
                for time, opening, high, low, close, volume, spread in rows
            ]
        }

    def _act(self, *, reason: int = Constants.DEAL_REASON_CLIENT, **request: Any) -> None:
        desk = self._desk
        desk.play()
        if request["action"] == Constants.TRADE_ACTION_DEAL:
            # A hand sees the price it trades at; instant execution wants to be told.
            quote = desk.market.of(request["symbol"]).quote(desk.now)
            if quote is not None:
                request["price"] = quote.ask if request["type"] == BUY else quote.bid
        judged = desk.broker.check(parse_request(request), desk.now)
        if isinstance(judged, No):
            raise ValueError(judged.detail)  # noqa: TRY004 -- unusable input is a ValueError by contract
        desk.execute(judged, reason)
        desk.save()

    def _position(self, ticket: int) -> PositionRow:
        self._desk.play()
        position = self._desk.state.positions.get(read_whole({"ticket": ticket}, "ticket", 0, 0, 2**63 - 1) or 0)
        if position is None:
            message = f"there is no open position {ticket}"
            raise ValueError(message)
        return position

    def _ticket_of(self, identifier: int) -> int:
        return next(
            (row.ticket for row in self._desk.state.positions.values() if row.identifier == identifier), identifier
        )


def _text(body: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = body.get(name)
    value = default if value is None else value
    if not isinstance(value, str):
        message = f"{name} is missing" if value is None else f"{name} is {value!r}; it must be text"
        raise ValueError(message)  # noqa: TRY004 -- unusable input is a ValueError by contract
    return value


def _level(body: Mapping[str, Any], name: str, default: float, digits: int) -> float:
    """A level as a hand would enter it: with as many digits as the symbol shows."""
    value = read_number(body, name, default, 0.0, 1e12)
    return default if value is None or not math.isfinite(value) else round(value, digits)
