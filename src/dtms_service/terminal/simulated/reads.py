"""What the simulated terminal says about the account, the symbols and their prices."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtms_service.market.bars import Bars
from dtms_service.terminal.simulated import answers
from dtms_service.terminal.simulated.arguments import (
    BAD_PARAMS,
    CALL_FAILED,
    Failed,
    c_types,
    in_group,
    moment_of,
    timeframe_seconds,
)
from dtms_service.terminal.simulated.calls import Acting, Calls
from dtms_service.terminal.simulated.constants import Constants
from dtms_service.terminal.simulated.structs import Struct, Tick


class Reads(Calls):
    """Account, symbols, ticks and bars."""

    def terminal_info(self) -> Struct | None:
        """The terminal."""
        return self._run("terminal_info", None, lambda acting: answers.terminal(connected=not self._link_down(acting)))

    def _link_down(self, acting: Acting) -> bool:
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

    def _tick(self, symbol: str, acting: Acting) -> Struct:
        desk, offset = self._desk, self._desk.broker.terms.offset
        name = self._series(symbol).facts.name
        if name not in desk.selected:
            return answers.tick(None, offset)
        frozen = acting["stale_ticks"].armed_at if "stale_ticks" in acting else None
        tick = answers.tick(desk.quote(name, frozen), offset)
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
            until = moment_of(date_from) - self._desk.broker.terms.offset
            bars = self._bars_since(symbol, timeframe, until, count)
            end = int(np.searchsorted(bars.time, until, side="right"))
            return self._rates(bars.rows(max(0, end - count), end))

        return self._run("copy_rates_from", None, copy, (symbol,))

    def copy_rates_range(self, symbol: str, timeframe: int, date_from: Any, date_to: Any, /) -> NDArray[np.void] | None:
        """Bars that open between two server times, both included."""
        c_types("copy_rates_range", (symbol, str), (timeframe, int))

        def copy(_: Acting) -> NDArray[np.void]:
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


def _spoiled(tick: Struct, seen: int) -> Struct:
    """A bad tick: no prices, then bid over ask, then a lost decimal point, in turn (all seen in real feeds)."""
    values = tick._asdict()
    bid, ask = {1: (0.0, 0.0), 2: (tick.ask, tick.bid)}.get(seen % 3, (tick.bid / 1000, tick.ask / 1000))
    return Tick((values | {"bid": bid, "ask": ask}).values())
