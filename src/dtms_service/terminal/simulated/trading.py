"""Orders on the simulated terminal: parsed as the package does, judged and filled by the broker."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from dataclasses import astuple, replace
from typing import Any

from dtms_service.terminal.simulated.arguments import (
    API_OFF,
    NO_LINK,
    REPLY_LOST,
    BadArgument,
    Failed,
    NegativeNumber,
    c_types,
    parse_request,
    pending,
)
from dtms_service.terminal.simulated.broker import Filled
from dtms_service.terminal.simulated.calls import Acting, Calls
from dtms_service.terminal.simulated.constants import Constants
from dtms_service.terminal.simulated.desk import Desk
from dtms_service.terminal.simulated.rows import FaultRow, LateRow
from dtms_service.terminal.simulated.rules import BUY, LOTS, Deal, Judged, No
from dtms_service.terminal.simulated.series import Quote
from dtms_service.terminal.simulated.structs import OrderCheckResult, OrderSendResult, Struct

_DONE = "Request executed"
_TEXTS = {
    10004: "Requote",
    10006: "Rejected",
    10007: "Canceled",
    10011: "Common error",
    10012: "Timeout",
    10013: "Invalid request",
    10014: "Invalid volume",
    10015: "Invalid price",
    10016: "Invalid stops",
    10017: "Trade disabled",
    10018: "Market closed",
    10019: "No money",
    10020: "Price changed",
    10021: "Off quotes",
    10024: "Too many requests",
    10025: "No changes",
    10026: "AutoTrading disabled by server",
    10027: "AutoTrading disabled by client",
    10028: "Locked",
    10029: "Frozen",
    10030: "Unsupported filling mode",
    10031: "No connection",
    10036: "Position closed",
    10022: "Invalid expiration",
    10034: "Volume limit reached",
    10035: "Invalid order",
    10038: "Invalid close volume",
    10042: "Only long positions are allowed",
    10043: "Only short positions are allowed",
    10044: "Only position closing is allowed",
    10045: "FIFO close only",
    10046: "Hedge prohibited",
}


_SERVER_SAYS = {
    "experts_off": Constants.TRADE_RETCODE_SERVER_DISABLES_AT,
    "disconnected": Constants.TRADE_RETCODE_CONNECTION,
    "market_closed": Constants.TRADE_RETCODE_MARKET_CLOSED,
    "retcode": 0,
}
"""Faults that answer an order, with the return code they answer."""


class Trading(Calls):
    """Orders and their arithmetic."""

    def __init__(self, desk: Desk, sleep: Callable[[float], None]) -> None:
        super().__init__(desk, sleep)
        self._requests = 0
        self._sent: deque[float] = deque()

    def order_check(self, *args: Any, **kwargs: Any) -> Struct | None:
        """What an order would do to the money; retcode 0 and ``Done`` when nothing speaks against it (C26)."""
        request = self._request("order_check", args, kwargs)
        if request is None:
            return None

        def check(_: Acting) -> Struct:
            broker, books, now = self._desk.broker, self._desk.broker.books, self._desk.now
            judged = broker.check(request, now)
            after = books.margin(now, judged if isinstance(judged, Deal) and _opens(judged) else None)
            equity = books.equity(now)
            level = round(100.0 * equity / after, 2) if after else 0.0
            retcode, text = (judged.retcode, _text(judged)) if isinstance(judged, No) else (0, "Done")
            money = (broker.state.balance, equity, books.floating(now), after, round(equity - after, 2), level)
            return OrderCheckResult((retcode, *money, text, request))

        return self._run("order_check", None, check, (self._symbol_of(request),))

    def order_send(self, *args: Any, **kwargs: Any) -> Struct | None:
        """Send an order: ``order_send(dict)`` or ``order_send(**dict)``, never both (C25)."""
        request = self._request("order_send", args, kwargs)
        if request is None:
            return None
        deal = request.action == Constants.TRADE_ACTION_DEAL
        return self._run(
            "order_send", None, lambda acting: self._send(request, acting), self._symbol_of(request), deal=deal
        )

    def order_calc_margin(self, action: int, symbol: str, volume: float, price: float, /) -> float | None:
        """Margin of a new position in the account's currency."""
        c_types("order_calc_margin", (action, int), (symbol, str), (volume, float), (price, float))
        money = self._desk.broker.books.money
        return self._run(
            "order_calc_margin",
            None,
            lambda _: round(money.margin(self._series(symbol).facts, volume, price, self._desk.now), 2),
            (symbol,),
        )

    def order_calc_profit(
        self, action: int, symbol: str, volume: float, price_open: float, price_close: float, /
    ) -> float | None:
        """Profit of a position between two prices in the account's currency."""
        c_types(
            "order_calc_profit",
            (action, int),
            (symbol, str),
            (volume, float),
            (price_open, float),
            (price_close, float),
        )
        sign, moved, money = (1 if action == BUY else -1), price_close - price_open, self._desk.broker.books.money
        return self._run(
            "order_calc_profit",
            None,
            lambda _: money.difference(self._series(symbol).facts, sign, volume, moved, self._desk.now),
            (symbol,),
        )

    def _request(self, call: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Struct | None:
        """The parsed request; None with ``last_error`` set where the package refuses the call."""
        self._begin()
        if not self._connected:
            self._error = NO_LINK
            return None
        if args and kwargs:
            self._error = (Constants.RES_E_INVALID_PARAMS, "Unnamed arguments not allowed")
            return None
        values = kwargs or (args[0] if len(args) == 1 else None)
        if not isinstance(values, dict):
            self._error = (Constants.RES_E_INVALID_PARAMS, "Invalid arguments")
            return None
        try:
            return parse_request(values)
        except BadArgument as error:
            self._error = (Constants.RES_E_INVALID_PARAMS, str(error))
            return None
        except NegativeNumber as error:
            raise pending(call) from error

    def _symbol_of(self, request: Struct) -> str:
        state = self._desk.state
        named = state.positions.get(request.position) or state.orders.get(request.order)
        return str(request.symbol) or ("" if named is None else named.symbol)

    def _send(self, request: Struct, acting: Acting) -> Struct:
        forced = self._forced(request, acting)
        if forced is not None:
            return forced
        if "reply_lost_not_executed" in acting:
            raise Failed(REPLY_LOST)
        if "executed_late" in acting:
            self._delay_order(request, acting["executed_late"])
            raise Failed(REPLY_LOST)
        if "stopped_first" in acting:
            self._desk.stop_first(request.position)
        judged = self._desk.broker.check(request, self._desk.now)
        if isinstance(judged, No):
            result = self._answer(
                request, judged.retcode, sent=not judged.local, text=_text(judged), quote=judged.quote
            )
        else:
            result = self._execute(request, judged, acting)
        if "reply_lost_executed" in acting:
            raise Failed(REPLY_LOST)
        return result

    def _forced(self, request: Struct, acting: Acting) -> Struct | None:
        """The answer of a switch, a fault or the limit of requests, before anybody looks at the order (C43, C47)."""
        if "api_off" in acting and self._desk.broker.habits.api_off == "error":
            raise Failed(API_OFF)
        if "api_off" in acting or "autotrading_off" in acting:
            return self._answer(request, Constants.TRADE_RETCODE_CLIENT_DISABLES_AT, sent=False)
        for kind, retcode in _SERVER_SAYS.items():
            if kind in acting:
                return self._answer(request, acting[kind].retcode or retcode, sent=True)
        most, now = self._desk.broker.habits.requests_per_s, self._desk.now
        if not most:
            return None
        while self._sent and self._sent[0] <= now - 1.0:
            self._sent.popleft()
        if len(self._sent) >= most:
            return self._answer(request, Constants.TRADE_RETCODE_TOO_MANY_REQUESTS, sent=True)
        self._sent.append(now)
        return None

    def _execute(self, request: Struct, judged: Judged, acting: Acting) -> Struct:
        desk = self._desk
        retcode = Constants.TRADE_RETCODE_DONE
        quote = desk.market.of(self._symbol_of(request)).quote(desk.now)  # asked before the position is gone
        if isinstance(judged, Deal):
            judged = _altered(judged, acting)
            if "placed" in acting:
                filled = desk.broker.place(judged, desk.now + (acting["placed"].seconds or 0.0), desk.now)
                desk.save()
                return self._answer(
                    request, Constants.TRADE_RETCODE_PLACED, sent=True, text=_DONE, filled=filled, quote=quote
                )
            retcode = Constants.TRADE_RETCODE_DONE_PARTIAL if judged.rest else retcode
        done = desk.execute(judged)
        desk.save()
        shown = None if done is None else quote
        return self._answer(request, retcode, sent=True, text=_DONE, filled=done, quote=shown)

    def _delay_order(self, request: Struct, fault: FaultRow) -> None:
        state = self._desk.state
        state.put(LateRow(state.ticket(), self._desk.now + (fault.seconds or 0.0), json.dumps(request._asdict())))
        self._desk.save()

    def _answer(
        self,
        request: Struct,
        retcode: int,
        *,
        sent: bool,
        text: str | None = None,
        filled: Filled | None = None,
        quote: Quote | None = None,
    ) -> Struct:
        """A result. Only an order carries numbers (C35); what never left has no ``request_id`` (C33).

        ``quote`` is the price of now, which goes with an execution and with a requote.
        """
        self._requests += sent
        number = self._requests if sent else 0
        comment = _TEXTS.get(retcode, f"Retcode {retcode}") if text is None else text
        bid, ask = (0.0, 0.0) if quote is None else (quote.bid, quote.ask)
        order, deal, volume, price = (0, 0, 0.0, 0.0) if filled is None else astuple(filled)
        return OrderSendResult((retcode, deal, order, volume, price, bid, ask, comment, number, 0, request))


def _altered(deal: Deal, acting: Acting) -> Deal:
    """What faults make of an accepted market order."""
    if "magic_zeroed" in acting:
        deal = replace(deal, magic=0)
    if "comment_rewritten" in acting:
        deal = replace(deal, comment="by the broker")
    if "partial_fill" in acting:
        half = _half(deal)
        deal = replace(deal, volume=half, rest=round(deal.rest + deal.volume - half, LOTS))
    return deal


def _half(deal: Deal) -> float:
    """Half of the volume in whole steps; all of it when half is less than the smallest volume."""
    facts = deal.series.facts
    half = round(int(deal.volume / 2 / facts.volume_step + 1e-9) * facts.volume_step, LOTS)
    return half if half >= facts.volume_min else deal.volume


def _opens(deal: Deal) -> bool:
    return deal.position is None or deal.position.type == deal.type


def _text(no: No) -> str:
    return _TEXTS.get(no.retcode, f"Retcode {no.retcode}")
