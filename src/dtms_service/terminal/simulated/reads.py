"""What the simulated terminal says about the account, the symbols and their prices."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtms_service.market.bars import Bars
from dtms_service.terminal.simulated import answers
from dtms_service.terminal.simulated.arguments import (
    BAD_PARAMS,
    CALL_FAILED,
    NOT_FOUND,
    Failed,
    c_types,
    in_group,
    moment_of,
    timeframe_seconds,
)
from dtms_service.terminal.simulated.calls import Acting, Calls
from dtms_service.terminal.simulated.constants import Constants
from dtms_service.terminal.simulated.desk import Desk
from dtms_service.terminal.simulated.series import TICK_SECONDS
from dtms_service.terminal.simulated.structs import Struct, Tick

_TICK_SPAN = 4 * 86_400.0
"""How far ``copy_ticks_from`` looks at least, so that it gets over a weekend."""


class Reads(Calls):
    """Account, symbols, ticks and bars."""

    def __init__(self, desk: Desk, sleep: Callable[[float], None]) -> None:
        super().__init__(desk, sleep)
        self._booked: set[str] = set()
        self._asked: dict[tuple[str, int], float] = {}

    def terminal_info(self) -> Struct | None:
        """The terminal."""

        def info(acting: Acting) -> Struct:
            return answers.terminal(
                connected="disconnected" not in acting,
                trading="autotrading_off" not in acting,
                api="api_off" not in acting,
            )

        return self._run("terminal_info", None, info)

    def account_info(self) -> Struct | None:
        """The account."""
        desk = self._desk

        def info(acting: Acting) -> Struct:
            return answers.account(desk.broker.books, desk.login, desk.now, experts="experts_off" not in acting)

        return self._run("account_info", None, info)

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
        rate = desk.broker.books.money.rate(facts.profit, desk.now)
        return answers.symbol(facts, quote, rate, desk.broker.terms.clock, selected=selected)

    def symbol_info_tick(self, symbol: str, /) -> Struct | None:
        """The newest tick; all zero for a symbol that is not in Market Watch."""
        return self._run("symbol_info_tick", None, lambda acting: self._tick(symbol, acting), (symbol,))

    def _tick(self, symbol: str, acting: Acting) -> Struct:
        desk, clock = self._desk, self._desk.broker.terms.clock
        name = self._series(symbol).facts.name
        if name not in desk.selected:
            if desk.broker.habits.unselected_tick == "none":
                raise Failed(NOT_FOUND)
            return answers.tick(None, clock)
        frozen = acting["stale_ticks"].armed_at if "stale_ticks" in acting else None
        tick = answers.tick(desk.quote(name, frozen), clock)
        return _spoiled(tick, acting["bad_tick"].seen) if "bad_tick" in acting else tick

    def symbol_select(self, symbol: str, enable: Any = True, /) -> bool:  # noqa: FBT002 -- MetaTrader5's signature
        """Put into Market Watch or take out; False for an unknown symbol (C15) or one with a position (C16)."""

        def select(_: Acting) -> bool:
            held = {row.symbol for row in self._desk.state.positions.values()}
            if symbol not in self._desk.market.series or (not enable and symbol in held):
                raise Failed(CALL_FAILED)
            self._desk.select(symbol, enable=bool(enable))
            self._desk.save()
            return True

        return self._run("symbol_select", failure=False, body=select, symbols=(symbol,))

    def copy_rates_from_pos(
        self, symbol: str, timeframe: int, start_pos: int, count: int, /
    ) -> NDArray[np.void] | None:
        """The newest ``count`` bars before position ``start_pos``; position 0 is the forming bar (C18)."""
        c_types("copy_rates_from_pos", (symbol, str), (timeframe, int), (start_pos, int), (count, int))

        def copy(_: Acting) -> NDArray[np.void]:
            bars = self._bars(symbol, timeframe, start_pos + count)
            return self._rates(bars.rows(max(0, len(bars) - start_pos - count), max(0, len(bars) - start_pos)))

        return self._run("copy_rates_from_pos", None, copy, (symbol,))

    def copy_rates_from(self, symbol: str, timeframe: int, date_from: Any, count: int, /) -> NDArray[np.void] | None:
        """The ``count`` bars up to the server time ``date_from``."""
        c_types("copy_rates_from", (symbol, str), (timeframe, int), (count, int))

        def copy(_: Acting) -> NDArray[np.void]:
            until = self._utc(date_from)
            bars = self._bars_since(symbol, timeframe, until, count)
            end = int(np.searchsorted(bars.time, until, side="right"))
            return self._rates(bars.rows(max(0, end - count), end))

        return self._run("copy_rates_from", None, copy, (symbol,))

    def copy_rates_range(self, symbol: str, timeframe: int, date_from: Any, date_to: Any, /) -> NDArray[np.void] | None:
        """Bars that open between two server times, both included."""
        c_types("copy_rates_range", (symbol, str), (timeframe, int))

        def copy(_: Acting) -> NDArray[np.void]:
            since = self._utc(date_from)
            bars = self._bars_since(symbol, timeframe, since, 1)
            begin = int(np.searchsorted(bars.time, since))
            end = int(np.searchsorted(bars.time, self._utc(date_to), side="right"))
            return self._rates(bars.rows(begin, end))

        return self._run("copy_rates_range", None, copy, (symbol,))

    def copy_ticks_from(self, symbol: str, date_from: Any, count: int, flags: int, /) -> NDArray[np.void] | None:
        """The first ``count`` ticks from the server time ``date_from`` on; COPY_TICKS_TRADE finds none here."""
        c_types("copy_ticks_from", (symbol, str), (count, int), (flags, int))

        def copy(_: Acting) -> NDArray[np.void]:
            if count < 1:
                raise Failed(BAD_PARAMS)
            begin = self._utc(date_from)
            span = max(_TICK_SPAN, count * TICK_SECONDS * 3.0)  # three times as long: markets rest at weekends
            return self._ticks(symbol, begin, min(self._desk.now, begin + span), flags, count)

        return self._run("copy_ticks_from", None, copy, (symbol,))

    def copy_ticks_range(self, symbol: str, date_from: Any, date_to: Any, flags: int, /) -> NDArray[np.void] | None:
        """Ticks between two server times, both included."""
        c_types("copy_ticks_range", (symbol, str), (flags, int))

        def copy(_: Acting) -> NDArray[np.void]:
            return self._ticks(symbol, self._utc(date_from), min(self._desk.now, self._utc(date_to)), flags, None)

        return self._run("copy_ticks_range", None, copy, (symbol,))

    def _ticks(self, symbol: str, begin: float, end: float, flags: int, count: int | None) -> NDArray[np.void]:
        series = self._series(symbol)
        trades = flags == Constants.COPY_TICKS_TRADE
        quotes = [] if trades or end < begin else series.ticks(math.nextafter(begin, -math.inf), end)
        return answers.ticks(quotes[:count], self._desk.broker.terms.clock)

    def market_book_add(self, symbol: str, /) -> bool:
        """Subscribe to the depth of a symbol; False for an unknown one."""

        def add(_: Acting) -> bool:
            self._booked.add(self._series(symbol).facts.name)
            return True

        return self._run("market_book_add", failure=False, body=add, symbols=(symbol,))

    def market_book_release(self, symbol: str, /) -> bool:
        """Cancel the subscription; False when there is none."""

        def release(_: Acting) -> bool:
            if symbol not in self._booked:
                raise Failed(CALL_FAILED)
            self._booked.discard(symbol)
            return True

        return self._run("market_book_release", failure=False, body=release, symbols=(symbol,))

    def market_book_get(self, symbol: str, /) -> tuple[Struct, ...] | None:
        """Depth of a subscribed symbol: one price a side where liquidity is limited, else ()."""

        def get(_: Acting) -> tuple[Struct, ...]:
            facts = self._series(symbol).facts
            if symbol not in self._booked:
                raise Failed(CALL_FAILED)
            quote = self._desk.quote(symbol)
            return () if quote is None else answers.book(quote, facts)

        return self._run("market_book_get", None, get, (symbol,))

    def _utc(self, date: Any) -> float:
        return self._desk.broker.terms.clock.utc(moment_of(date))

    def _bars(self, symbol: str, timeframe: int, count: int) -> Bars:
        series = self._series(symbol)
        seconds = timeframe_seconds(timeframe)
        if seconds is None or count < 1 or count >= answers.MAX_BARS:
            raise Failed(BAD_PARAMS)
        now = self._desk.now
        if now < self._asked.setdefault((symbol, seconds), now) + self._desk.broker.habits.history_load_s:
            raise Failed(CALL_FAILED)  # the first question starts the download (C20)
        return series.bars(seconds, now, count, self._desk.broker.terms.clock.ahead(now))

    def _bars_since(self, symbol: str, timeframe: int, since: float, before: int) -> Bars:
        """Bars from ``before`` bars before ``since`` on, as far as the terminal keeps them."""
        seconds = timeframe_seconds(timeframe) or 1
        wanted = max(0, int((self._desk.now - since) / seconds)) + before + 1
        return self._bars(symbol, timeframe, min(wanted, answers.MAX_BARS - 1))

    def _rates(self, bars: Bars) -> NDArray[np.void]:
        return answers.rates(bars, self._desk.broker.terms.clock)


def _spoiled(tick: Struct, seen: int) -> Struct:
    """A bad tick: no prices, then bid over ask, then a lost decimal point, in turn (all seen in real feeds)."""
    values = tick._asdict()
    bid, ask = {1: (0.0, 0.0), 2: (tick.ask, tick.bid)}.get(seen % 3, (tick.bid / 1000, tick.ask / 1000))
    return Tick((values | {"bid": bid, "ask": ask}).values())
