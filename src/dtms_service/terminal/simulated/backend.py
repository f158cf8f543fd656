"""The simulated terminal: functions, argument rules, structures and errors of the module MetaTrader5 5.0.6231.

Facts and their sources are in the conformance list C01 to C60; a comment names the entry where the behaviour looks
odd. Beyond MetaTrader5 it has ``simulator_*`` (control; INTERFACE 3.6) and ``took``. Not offered: pending orders,
close-by, ticks history, market depth; ``order_send`` answers 10013 to the first two.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from dtms_service.market.bars import Bars
from dtms_service.terminal.simulated import answers
from dtms_service.terminal.simulated.arguments import (
    AUTHORIZATION,
    BAD_ARGUMENTS,
    BAD_PARAMS,
    CALL_FAILED,
    NO_LINK,
    NOT_FOUND,
    OK,
    REPLY_LOST,
    BadArgument,
    Failed,
    NegativeNumber,
    c_types,
    history_filter,
    in_group,
    moment_of,
    parse_request,
    pending,
    position_filter,
    timeframe_seconds,
)
from dtms_service.terminal.simulated.broker import Filled
from dtms_service.terminal.simulated.constants import Constants
from dtms_service.terminal.simulated.control import Control
from dtms_service.terminal.simulated.desk import Desk, open_desk
from dtms_service.terminal.simulated.rows import FaultRow, LateRow, PositionRow
from dtms_service.terminal.simulated.rules import BUY, Deal, Levels, No
from dtms_service.terminal.simulated.series import Series
from dtms_service.terminal.simulated.structs import OrderCheckResult, OrderSendResult, Struct, Tick

_T = TypeVar("_T")
_Acting = Mapping[str, FaultRow]

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
    10038: "Invalid close volume",
    10045: "FIFO close only",
    10046: "Hedge prohibited",
}
_LONGEST_SYMBOL = 29


def open_backend(
    options: Mapping[str, Any],
    *,
    wall: Callable[[], float] | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> SimulatedTerminal:
    """Open the simulated terminal of a state folder, or create its account.

    ``options``: ``state_dir``; ``market`` (``synthetic``, a bar file or a folder of them); ``seed``; ``clock``
    (``live``, a factor, ``stepped``); ``start`` (ISO UTC or None; read only when the account is created); ``account``
    (``balance, currency, leverage, margin_mode, fifo_close, server_utc_offset``). ``wall`` gives the real time and is
    needed unless the clock is stepped.

    Raises ``ValueError`` with one sentence when an option cannot be used, a bar file is unreadable or wrong (file and
    line are named), or the account on disk belongs to another market or other terms.
    """
    return SimulatedTerminal(open_desk(options, wall), sleep)


class SimulatedTerminal(Constants):
    """Functions of MetaTrader5 as methods. ``last_error`` belongs to the latest call, as there."""

    def __init__(self, desk: Desk, sleep: Callable[[float], None]) -> None:
        self._desk = desk
        self._sleep = sleep
        self._connected = False
        self._error = OK
        self._took = 0.0
        self._requests = 0
        self._control = Control(desk)
        self.simulator_clock = self._control.clock
        self.simulator_advance = self._control.advance
        self.simulator_view = self._control.view
        self.simulator_open_position = self._control.open_position
        self.simulator_change_position = self._control.change_position
        self.simulator_close_position = self._control.close_position
        self.simulator_set_fault = self._control.set_fault
        self.simulator_clear_faults = self._control.clear_faults
        self.simulator_market = self._control.market

    # --- connection ---

    def initialize(self, *args: Any, **kwargs: Any) -> bool:
        """Attach; a second call is a reconnect. ``login=`` must be this account's."""
        self._begin()
        self._connected = False
        if len(args) > 1:
            self._error = (Constants.RES_E_INVALID_PARAMS, "Invalid number of arguments")
            return False
        self._connected = self._authorized(kwargs.get("login"))
        return self._connected

    def login(self, *args: Any, **kwargs: Any) -> bool:
        """Log in to this account; any other is refused and leaves the connection as it was."""
        self._begin()
        if not self._connected:
            self._error = NO_LINK
            return False
        return self._authorized(args[0] if args else kwargs.get("login"))

    def _authorized(self, login: Any) -> bool:
        if login is not None and not isinstance(login, int):
            self._error = (Constants.RES_E_INVALID_PARAMS, 'Invalid "login" argument')
        elif login not in {None, 0, self._desk.login}:
            self._error = AUTHORIZATION
        return self._error == OK

    def shutdown(self) -> bool:
        """Detach; always True (C03)."""
        self._begin()
        self._connected = False
        return True

    def version(self) -> tuple[int, int, str]:
        """``(500, build, date)``; zeros without a connection (C02)."""
        self._begin()
        if not self._connected:
            self._error = NO_LINK
            return (0, 0, "")
        return (500, answers.BUILD, "16 Sep 2026")

    def last_error(self) -> tuple[int, str]:
        """Code and text of the latest call."""
        return self._error

    def took(self) -> float:
        """Market seconds the latest call took by a fault; 0.0 unless the clock is stepped."""
        return self._took

    def close(self) -> None:
        """Let go of the account's file."""
        self._desk.state.close()

    # --- account and symbols ---

    def terminal_info(self) -> Struct | None:
        """The terminal."""
        return self._run("terminal_info", None, lambda acting: answers.terminal(connected=not self._link_down(acting)))

    def _link_down(self, acting: _Acting) -> bool:
        return "disconnected" in acting

    def account_info(self) -> Struct | None:
        """The account."""
        desk = self._desk
        return self._run("account_info", None, lambda _: answers.account(desk.broker, desk.login, desk.now))

    def symbols_total(self) -> int | None:
        """Number of symbols."""
        return self._run("symbols_total", None, lambda _: len(self._desk.market.series))

    def symbols_get(self, *args: Any, **kwargs: Any) -> tuple[Struct, ...] | bool | None:
        """Symbols, all or those of a ``group`` mask; False on bad arguments."""
        group = args[0] if args else kwargs.get("group", "*")
        if len(args) > 1 or not isinstance(group, str):
            self._begin()
            self._error = (Constants.RES_E_INVALID_PARAMS, "Invalid arguments")
            return False
        names = [name for name in self._desk.market.series if in_group(name, group)]
        return self._run("symbols_get", None, lambda _: tuple(self._symbol(name) for name in names))

    def symbol_info(self, symbol: str, /) -> Struct | None:
        """Facts of one symbol; unknown: None, -4 (C14)."""
        return self._run("symbol_info", None, lambda _: self._symbol(self._series(symbol).facts.name), (symbol,))

    def _symbol(self, name: str) -> Struct:
        desk = self._desk
        facts = desk.market.of(name).facts
        selected = name in desk.selected
        quote = desk.quote(name) if selected else None
        rate = desk.broker.money.rate(facts.profit, desk.now)
        return answers.symbol(facts, quote, rate, desk.broker.terms.offset, selected=selected)

    def symbol_info_tick(self, symbol: str, /) -> Struct | None:
        """The newest tick; all zero for a symbol that is not in Market Watch."""
        return self._run("symbol_info_tick", None, lambda acting: self._tick(symbol, acting), (symbol,))

    def _tick(self, symbol: str, acting: _Acting) -> Struct:
        desk, offset = self._desk, self._desk.broker.terms.offset
        name = self._series(symbol).facts.name
        if name not in desk.selected:
            return answers.tick(None, offset)
        frozen = acting["stale_ticks"].armed_at if "stale_ticks" in acting else None
        tick = answers.tick(desk.quote(name, frozen), offset)
        return _spoiled(tick, acting["bad_tick"].seen) if "bad_tick" in acting else tick

    def symbol_select(self, symbol: str, enable: Any = True, /) -> bool:  # noqa: FBT002 -- MetaTrader5's signature
        """Put into Market Watch or take out; False for an unknown symbol (C15) or one with a position (C16)."""

        def select(_: _Acting) -> bool:
            held = {row.symbol for row in self._desk.state.positions.values()}
            if symbol not in self._desk.market.series or (not enable and symbol in held):
                raise Failed(CALL_FAILED)
            self._desk.select(symbol, enable=bool(enable))
            self._desk.save()
            return True

        return self._run("symbol_select", failure=False, body=select, symbols=(symbol,))

    def _series(self, symbol: Any) -> Series:
        if not isinstance(symbol, str):
            raise Failed(BAD_ARGUMENTS)
        if len(symbol) > _LONGEST_SYMBOL:
            raise Failed((Constants.RES_E_INVALID_PARAMS, 'Invalid "symbol" argument'))
        series = self._desk.market.series.get(symbol)
        if series is None:
            raise Failed(NOT_FOUND)
        return series

    # --- bars ---

    def copy_rates_from_pos(
        self, symbol: str, timeframe: int, start_pos: int, count: int, /
    ) -> NDArray[np.void] | None:
        """The newest ``count`` bars before position ``start_pos``; position 0 is the forming bar (C18)."""
        c_types("copy_rates_from_pos", (symbol, str), (timeframe, int), (start_pos, int), (count, int))

        def copy(_: _Acting) -> NDArray[np.void]:
            bars = self._bars(symbol, timeframe, start_pos + count)
            return self._rates(bars.rows(max(0, len(bars) - start_pos - count), max(0, len(bars) - start_pos)))

        return self._run("copy_rates_from_pos", None, copy, (symbol,))

    def copy_rates_from(self, symbol: str, timeframe: int, date_from: Any, count: int, /) -> NDArray[np.void] | None:
        """The ``count`` bars up to the server time ``date_from``."""
        c_types("copy_rates_from", (symbol, str), (timeframe, int), (count, int))

        def copy(_: _Acting) -> NDArray[np.void]:
            until = moment_of(date_from) - self._desk.broker.terms.offset
            bars = self._bars_since(symbol, timeframe, until, count)
            end = int(np.searchsorted(bars.time, until, side="right"))
            return self._rates(bars.rows(max(0, end - count), end))

        return self._run("copy_rates_from", None, copy, (symbol,))

    def copy_rates_range(self, symbol: str, timeframe: int, date_from: Any, date_to: Any, /) -> NDArray[np.void] | None:
        """Bars that open between two server times, both included."""
        c_types("copy_rates_range", (symbol, str), (timeframe, int))

        def copy(_: _Acting) -> NDArray[np.void]:
            offset = self._desk.broker.terms.offset
            since = moment_of(date_from) - offset
            bars = self._bars_since(symbol, timeframe, since, 1)
            begin = int(np.searchsorted(bars.time, since))
            end = int(np.searchsorted(bars.time, moment_of(date_to) - offset, side="right"))
            return self._rates(bars.rows(begin, end))

        return self._run("copy_rates_range", None, copy, (symbol,))

    def _bars(self, symbol: str, timeframe: int, count: int) -> Bars:
        series = self._series(symbol)
        seconds = timeframe_seconds(timeframe)
        if seconds is None or count < 1 or count >= answers.MAX_BARS:
            raise Failed(BAD_PARAMS)
        return series.bars(seconds, self._desk.now, count, self._desk.broker.terms.offset)

    def _bars_since(self, symbol: str, timeframe: int, since: float, before: int) -> Bars:
        """Bars from ``before`` bars before ``since`` on, as far as the terminal keeps them."""
        seconds = timeframe_seconds(timeframe) or 1
        wanted = max(0, int((self._desk.now - since) / seconds)) + before + 1
        return self._bars(symbol, timeframe, min(wanted, answers.MAX_BARS - 1))

    def _rates(self, bars: Bars) -> NDArray[np.void]:
        return answers.rates(bars, self._desk.broker.terms.offset)

    # --- positions and history ---

    def positions_total(self) -> int | None:
        """Number of open positions."""
        return self._run("positions_total", None, lambda _: len(self._desk.state.positions))

    def positions_get(self, *args: Any, **kwargs: Any) -> tuple[Struct, ...] | None:
        """Open positions by ``ticket``, else ``symbol``, else ``group`` (C08); () when there is none."""

        def get(acting: _Acting) -> tuple[Struct, ...]:
            chosen = position_filter(args, kwargs)
            if "ticket_changed" in acting:
                self._change_ticket(acting["ticket_changed"])
            rows = list(self._desk.state.positions.values())
            if "read_omits_ticket" in acting:
                rows.remove(_meant(rows, acting["read_omits_ticket"]))
            desk, offset = self._desk, self._desk.broker.terms.offset
            return tuple(
                answers.position(desk.broker, row, desk.now, offset) for row in rows if chosen(row.ticket, row.symbol)
            )

        return self._run("positions_get", None, get, {row.symbol for row in self._desk.state.positions.values()})

    def _change_ticket(self, fault: FaultRow) -> None:
        """What a swap by re-opening does (C54): a new ticket, the same identifier."""
        row = _meant(list(self._desk.state.positions.values()), fault)
        self._desk.state.drop_position(row.ticket)
        self._desk.state.put(replace(row, ticket=self._desk.state.ticket()))
        self._desk.save()

    def orders_total(self) -> int | None:
        """Number of waiting orders: none, market orders are filled or refused at once."""
        return self._run("orders_total", None, lambda _: 0)

    def orders_get(self, *args: Any, **kwargs: Any) -> tuple[Struct, ...] | None:
        """Waiting orders: none ever waits here."""

        def get(_: _Acting) -> tuple[Struct, ...]:
            position_filter(args, kwargs)
            return ()

        return self._run("orders_get", None, get)

    def history_orders_get(self, *args: Any, **kwargs: Any) -> tuple[Struct, ...] | None:
        """Filled orders by two dates (and ``group=``), ``ticket=`` or ``position=``."""
        offset = self._desk.broker.terms.offset

        def get(_: _Acting) -> tuple[Struct, ...]:
            wanted = history_filter(args, kwargs)
            rows = self._desk.state.orders.values()
            found = (r for r in rows if wanted(r.ticket, r.position_id, r.time_msc // 1000 + offset, r.symbol))
            return tuple(answers.order(row, offset) for row in found)

        return self._run("history_orders_get", None, get)

    def history_deals_get(self, *args: Any, **kwargs: Any) -> tuple[Struct, ...] | None:
        """Deals by two dates (and ``group=``), ``ticket=`` (the order's; at most one) or ``position=`` (identifier)."""
        offset = self._desk.broker.terms.offset

        def get(_: _Acting) -> tuple[Struct, ...]:
            wanted = history_filter(args, kwargs)
            position = kwargs.get("position")
            state = self._desk.state
            rows = state.deals if args or position is None else state.deals_of.get(position, [])
            found = [r for r in rows if wanted(r.order_ticket, r.position_id, r.time_msc // 1000 + offset, r.symbol)]
            return tuple(answers.deal(row, offset) for row in (found[:1] if "ticket" in kwargs else found))

        return self._run("history_deals_get", None, get)

    def history_orders_total(self, date_from: Any, date_to: Any, /) -> int | None:
        """Number of filled orders between two server times."""
        found = self.history_orders_get(date_from, date_to)
        return None if found is None else len(found)

    def history_deals_total(self, date_from: Any, date_to: Any, /) -> int | None:
        """Number of deals between two server times."""
        found = self.history_deals_get(date_from, date_to)
        return None if found is None else len(found)

    # --- trading ---

    def order_check(self, *args: Any, **kwargs: Any) -> Struct | None:
        """What an order would do to the money; retcode 0 and ``Done`` when nothing speaks against it (C26)."""
        request = self._request("order_check", args, kwargs)
        if request is None:
            return None

        def check(_: _Acting) -> Struct:
            broker, now = self._desk.broker, self._desk.now
            judged = broker.check(request, now)
            after = broker.margin(now, judged if isinstance(judged, Deal) and _opens(judged) else None)
            equity = broker.equity(now)
            level = round(100.0 * equity / after, 2) if after else 0.0
            retcode, text = (judged.retcode, _text(judged)) if isinstance(judged, No) else (0, "Done")
            money = (broker.state.balance, equity, broker.floating(now), after, round(equity - after, 2), level)
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
        money = self._desk.broker.money
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
        sign, moved, money = (1 if action == BUY else -1), price_close - price_open, self._desk.broker.money
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
        position = self._desk.state.positions.get(request.position)
        return str(request.symbol) or ("" if position is None else position.symbol)

    def _send(self, request: Struct, acting: _Acting) -> Struct:
        forced = next((acting[kind] for kind in ("disconnected", "market_closed", "retcode") if kind in acting), None)
        if forced is not None:
            code = {
                "disconnected": Constants.TRADE_RETCODE_CONNECTION,
                "market_closed": Constants.TRADE_RETCODE_MARKET_CLOSED,
            }
            return self._answer(request, forced.retcode or code.get(forced.kind, 0), sent=True)
        if "reply_lost_not_executed" in acting:
            raise Failed(REPLY_LOST)
        if "executed_late" in acting:
            self._delay_order(request, acting["executed_late"])
            raise Failed(REPLY_LOST)
        judged = self._desk.broker.check(request, self._desk.now)
        if isinstance(judged, No):
            result = self._answer(request, judged.retcode, sent=not judged.local, text=_text(judged))
        else:
            result = self._execute(request, judged, acting)
        if "reply_lost_executed" in acting:
            raise Failed(REPLY_LOST)
        return result

    def _execute(self, request: Struct, judged: Deal | Levels, acting: _Acting) -> Struct:
        retcode = Constants.TRADE_RETCODE_DONE
        if isinstance(judged, Deal):
            if "magic_zeroed" in acting:
                judged = replace(judged, magic=0)
            whole = judged.volume
            if "partial_fill" in acting:
                judged = replace(judged, volume=_half(judged))
            retcode = retcode if judged.volume == whole else Constants.TRADE_RETCODE_DONE_PARTIAL
        filled = self._desk.execute(judged)
        self._desk.save()
        return self._answer(request, retcode, sent=True, text=_DONE, filled=filled)

    def _delay_order(self, request: Struct, fault: FaultRow) -> None:
        state = self._desk.state
        state.put(LateRow(state.ticket(), self._desk.now + (fault.seconds or 0.0), json.dumps(request._asdict())))
        self._desk.save()

    def _answer(
        self, request: Struct, retcode: int, *, sent: bool, text: str | None = None, filled: Filled | None = None
    ) -> Struct:
        """A result. Only a deal carries numbers (C35); what never left has no ``request_id`` (C33)."""
        self._requests += sent
        number = self._requests if sent else 0
        comment = _TEXTS.get(retcode, f"Retcode {retcode}") if text is None else text
        if filled is None:
            return OrderSendResult((retcode, 0, 0, 0.0, 0.0, 0.0, 0.0, comment, number, 0, request))
        quote = self._desk.market.of(self._symbol_of(request)).quote(self._desk.now)
        bid, ask = (0.0, 0.0) if quote is None else (quote.bid, quote.ask)
        order, deal, volume, price = filled.order, filled.deal, filled.volume, filled.price
        return OrderSendResult((retcode, deal, order, volume, price, bid, ask, comment, number, 0, request))

    # --- every call ---

    def _begin(self) -> None:
        self._error = OK
        self._took = 0.0

    def _run(
        self,
        call: str,
        failure: _T,
        body: Callable[[_Acting], _T],
        symbols: Collection[str] = (),
        *,
        deal: bool = False,
    ) -> _T:
        """One call: market brought up to now, faults met, then ``body``; ``failure`` when it fails."""
        self._begin()
        if not self._connected:
            self._error = NO_LINK
            return failure
        desk = self._desk
        desk.play()
        acting = desk.faults.meet(call, symbols, desk.now, deal=deal) if desk.state.faults else {}
        for kind in ("slow", "hang"):
            if kind in acting:
                self._delay(acting[kind].seconds or 0.0)
        if "hang" in acting or "read_none" in acting:
            # A hung call never did its work, whether its process is killed meanwhile or not.
            self._error = REPLY_LOST if "hang" in acting else CALL_FAILED
            return failure
        try:
            return body(acting)
        except Failed as failed:
            self._error = failed.error
            return failure
        except NegativeNumber as error:
            raise pending(call) from error

    def _delay(self, seconds: float) -> None:
        """Fault seconds are market seconds (R37): counted when the clock is stepped, waited for when it runs."""
        factor = self._desk.timeline.factor
        if factor is None:
            self._took += seconds
        else:
            self._sleep(seconds / factor)


def _meant(rows: list[PositionRow], fault: FaultRow) -> PositionRow:
    """The position a fault is about: its ``ticket``, else the oldest of its symbol, else the oldest."""
    of_symbol = [row for row in rows if fault.symbol in {None, row.symbol}]
    exact = [row for row in rows if row.ticket == fault.ticket]
    return (exact or sorted(of_symbol, key=lambda row: row.identifier))[0]


def _half(deal: Deal) -> float:
    """Half of the volume in whole steps; all of it when half is less than the smallest volume."""
    facts = deal.series.facts
    half = round(int(deal.volume / 2 / facts.volume_step + 1e-9) * facts.volume_step, 8)
    return half if half >= facts.volume_min else deal.volume


def _opens(deal: Deal) -> bool:
    return deal.position is None or deal.position.type == deal.type


def _text(no: No) -> str:
    if no.detail == "not supported by this simulator":
        return no.detail
    return _TEXTS.get(no.retcode, f"Retcode {no.retcode}")


def _spoiled(tick: Struct, seen: int) -> Struct:
    """A bad tick: no prices, then bid over ask, then a lost decimal point, in turn (all seen in real feeds)."""
    values = tick._asdict()
    bid, ask = {1: (0.0, 0.0), 2: (tick.ask, tick.bid)}.get(seen % 3, (tick.bid / 1000, tick.ask / 1000))
    return Tick((values | {"bid": bid, "ask": ask}).values())
