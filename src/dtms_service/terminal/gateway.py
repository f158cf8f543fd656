"""MetaTrader 5 as the engine sees it: questions in, outcomes out. Satisfies ``engine.ports.Terminal``.

The same gateway drives the real terminal and the simulated one, so the code that trades is the code the tests run.
Every read that fails is Unknown and never empty; every order ends as Done, Refused (it certainly did not happen) or
Unknown.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from dtms_service.domain.orders import ClosePosition, Fill, Order
from dtms_service.domain.outcome import Done, Outcome, Refused, Unknown
from dtms_service.domain.values import Account, Deal, Position, SymbolSpec, Tick, Timeframe, WorkingOrder
from dtms_service.market.bars import Bars
from dtms_service.market.snapshot import Needs, Snapshot
from dtms_service.terminal import convert, offset, retcodes
from dtms_service.terminal.link import Call, Link, Result, call
from dtms_service.terminal.requests import fillings, needs_price, request_of

T = TypeVar("T")

READ_S, ORDER_S, INITIALIZE_S = 5.0, 20.0, 120.0
"""Deadlines of one exchange with the child process (R19), real seconds."""
_TIMEFRAMES = {Timeframe.M1: 1, Timeframe.M5: 5, Timeframe.M15: 15}
_DISCONNECTED = frozenset({-10000, -10001, -10002, -10004})
"""``last_error`` codes that mean that the connection to the terminal is gone."""
_INVALID_FILLING = 10030
_DAY = 86_400
_FIRST_TICKS = 10
"""Looks at a symbol just selected until it quotes; real terminals show zeros for up to 2 s."""

log = logging.getLogger(__name__)


class Gateway:
    """One terminal behind one link."""

    def __init__(
        self,
        link: Link,
        *,
        kind: str,
        now: Callable[[], float],
        broker_offset: float | None = None,
        pause: Callable[[], Any] | None = None,
    ) -> None:
        """``kind`` is ``simulated`` or ``mt5``; ``now`` the engine clock; ``pause`` waits between looks for a tick.

        ``broker_offset``: seconds by which the broker's wall clock is ahead of UTC, None to measure it.
        """
        self._link = link
        self._kind = kind
        self._now = now
        self._offset = broker_offset
        self._configured = broker_offset is not None
        self._doubted = False
        self._seen: tuple[float, Mapping[str, Tick]] = (0.0, {})
        self._pause = pause
        self._started = False
        self._attached: int | None = None
        self._symbols: dict[str, Mapping[str, Any]] = {}
        self._fillings: dict[str, tuple[int, ...]] = {}

    async def connect(self) -> Outcome[Account]:
        """Start the child where needed, attach to the terminal, measure its clock.

        Raises ``Invalid`` for unusable options.
        """
        if not self._started:
            await self._link.start()
            self._started = True
        self._attached = None
        read = await self._ask([call("account_info"), call("terminal_info")])
        if not isinstance(read, Done):
            return read
        account, terminal = read.value
        if account.value is None or terminal.value is None:
            return _unread(account if account.value is None else terminal)
        if self._offset is None or self._doubted:
            measured = await self._measure()
            if isinstance(measured, Done):
                if self._offset != measured.value:
                    log.warning("broker_offset", extra={"seconds": measured.value, "before": self._offset})
                self._offset = measured.value
            elif self._offset is None:
                return measured
            self._doubted = False
        return Done(convert.account(account.value, terminal.value, self._kind))

    async def snapshot(self, needs: Needs) -> Outcome[Snapshot]:
        """One round trip for everything.

        A failed tick or bar read leaves its symbol out; any other makes all of it Unknown.
        """
        calls = [call("account_info"), call("terminal_info"), call("positions_get")]
        calls += [call("symbol_info_tick", symbol) for symbol in needs.symbols]
        calls += [call("copy_rates_from_pos", s, _TIMEFRAMES[frame], 0, count) for s, frame, count in needs.bars]
        read = await self._ask(calls)
        if not isinstance(read, Done):
            return read
        account, terminal, positions, *rest = read.value
        for result in (account, terminal, positions):
            if result.value is None:
                return _unread(result)
        ticks, rates = rest[: len(needs.symbols)], rest[len(needs.symbols) :]
        ahead, quotes = self._ahead, self._ticks(needs.symbols, ticks)
        moved = self._clock_moved(quotes)
        if moved is not None:
            return moved
        return Done(
            Snapshot(
                time=self._now(),
                account=convert.account(account.value, terminal.value, self._kind),
                connected=bool(terminal.value["connected"]),
                positions=tuple(convert.position(row, ahead) for row in convert.rows(positions.value)),
                ticks=quotes,
                bars=_bars(needs, rates, ahead),
            )
        )

    async def positions(self) -> Outcome[tuple[Position, ...]]:
        """All open positions."""
        return await self._all(call("positions_get"), convert.position)

    async def orders(self) -> Outcome[tuple[WorkingOrder, ...]]:
        """All working orders."""
        return await self._all(call("orders_get"), convert.order)

    async def deals_of(self, identifier: int) -> Outcome[tuple[Deal, ...]]:
        """Every deal of one position identifier, oldest first."""
        return _in_order(await self._all(call("history_deals_get", position=identifier), convert.deal))

    async def deals_since(self, time: float) -> Outcome[tuple[Deal, ...]]:
        """Every deal from ``time`` on and until a day ahead: a bound at now misses the newest."""
        first = max(0, int(time + self._ahead))
        last = int(self._now() + self._ahead) + _DAY
        return _in_order(await self._all(call("history_deals_get", first, last), convert.deal))

    async def specs(self, symbols: Sequence[str]) -> Outcome[Mapping[str, SymbolSpec]]:
        """Select the symbols, wait for their first quote, read their contract facts; unknown ones are left out."""
        calls = [each for s in symbols for each in (call("symbol_select", s), call("symbol_info", s))]
        read = await self._ask(calls)
        if not isinstance(read, Done):
            return read
        found = {}
        for symbol, info in zip(symbols, read.value[1::2], strict=True):
            if info.value is None:
                log.warning("symbol_unknown", extra={"symbol": symbol, "code": info.code, "detail": info.text})
                continue
            self._symbols[symbol] = info.value
            found[symbol] = convert.spec(info.value)
        await self._first_ticks(tuple(found))
        return Done(found)

    async def send(self, order: Order) -> Outcome[Fill]:
        """Send one order, ahead of every waiting read.

        One more attempt with the next filling mode after 10030, never another.
        """
        info = self._symbols.get(order.symbol)
        if info is None:
            return Refused(
                "symbol_unknown", f"nothing is known about {order.symbol}; its contract facts were never read"
            )
        tick = None
        if isinstance(order, ClosePosition) and needs_price(info):
            read = await self._ask([call("symbol_info_tick", order.symbol)], urgent=True)
            tick = (
                convert.tick(read.value[0].value, self._ahead)
                if isinstance(read, Done) and read.value[0].value
                else None
            )
            if tick is None:
                return Refused("no_price", f"{order.symbol} has no quote, and its dealer wants a price")
        modes = self._fillings.setdefault(order.symbol, fillings(info))
        outcome = await self._sent(request_of(order, info, modes, tick))
        if isinstance(outcome, Refused) and outcome.retcode == _INVALID_FILLING and len(modes) > 1:
            self._fillings[order.symbol] = modes[1:]
            outcome = await self._sent(request_of(order, info, modes[1:], tick))
        return outcome

    async def close(self) -> None:
        """End the child process."""
        if self._started:
            await self._link.close()

    async def _sent(self, request: Mapping[str, Any]) -> Outcome[Fill]:
        """Always with keywords: ``order_send(request)`` breaks under wrappers that pass empty ones (mt5.md 0.3)."""
        started = time.perf_counter()
        read = await self._ask([call("order_send", **request)], deadline=ORDER_S, urgent=True)
        latency = (time.perf_counter() - started) * 1000
        if not isinstance(read, Done):
            return read
        (result,) = read.value
        answer = result.value
        if answer is None:
            return retcodes.no_answer(result.code, result.text)
        verdict = retcodes.judge(answer["retcode"], answer["comment"], answer["request_id"])
        if verdict is not None:
            return verdict
        return Done(
            Fill(
                retcode=answer["retcode"],
                order=answer["order"],
                deal=answer["deal"],
                volume=answer["volume"],
                price=answer["price"],
                comment=answer["comment"],
                latency_ms=round(latency, 3),
            )
        )

    async def _ask(
        self, calls: Sequence[Call], *, deadline: float = READ_S, urgent: bool = False
    ) -> Outcome[tuple[Result, ...]]:
        """One exchange, attached first where the child is new or the connection was lost.

        An exception in a call is Unknown.
        """
        if self._attached != self._link.generation:
            attached = await self._attach()
            if attached is not None:
                return attached
        answer = await self._link.ask(calls, deadline, urgent=urgent)
        if not isinstance(answer, Done):
            return answer
        for asked, result in zip(calls, answer.value.results, strict=True):
            if result.raised is not None:
                return Unknown("terminal_raised", f"{asked.name} raised {result.raised}: {result.text}")
            if result.code in _DISCONNECTED:
                self._attached = None
        return Done(answer.value.results)

    async def _attach(self) -> Refused | Unknown | None:
        """None when attached; a refusal is definite, because nothing else was asked yet."""
        generation = self._link.generation
        answer = await self._link.ask([call("shutdown"), call("initialize")], INITIALIZE_S)
        if not isinstance(answer, Done):
            return Refused("not_sent", answer.detail)
        result = answer.value.results[1]
        if result.value is not True:
            return Refused("not_connected", f"the terminal could not be attached to ({result.code} {result.text})")
        self._attached = generation
        return None

    async def _all(self, asked: Call, as_value: Callable[[convert.Row, float], T | None]) -> Outcome[tuple[T, ...]]:
        read = await self._ask([asked])
        if not isinstance(read, Done):
            return read
        (result,) = read.value
        if result.value is None:
            return _unread(result)
        values = (as_value(row, self._ahead) for row in convert.rows(result.value))
        return Done(tuple(value for value in values if value is not None))

    @property
    def _ahead(self) -> float:
        """Seconds by which the broker's wall clock is ahead of UTC; 0 until it was measured."""
        return self._offset or 0.0

    def _ticks(self, symbols: Sequence[str], results: Sequence[Result]) -> dict[str, Tick]:
        ticks = {}
        for symbol, result in zip(symbols, results, strict=True):
            tick = convert.tick(result.value, self._ahead) if result.value is not None else None
            if tick is not None:
                ticks[symbol] = tick
        return ticks

    def _clock_moved(self, quotes: Mapping[str, Tick]) -> Unknown | None:
        """Unknown when a quote cannot be as old as it says: the broker's clock was moved, as for summer time.

        None of its times means anything then; the next `connect` measures it again.
        """
        now = self._now()
        before, known = self._seen
        self._seen = (now, quotes)
        if self._configured:
            return None
        for symbol, tick in quotes.items():
            new = symbol in known and tick.time > known[symbol].time
            # A quote that was not there at the last look came since then.
            if tick.time > now + offset.FRESH_S or (new and tick.time < before - offset.FRESH_S):
                self._doubted = True
                detail = f"a new quote of {symbol} is {now - tick.time:.0f} s old: the broker's clock was moved"
                return Unknown("clock_moved", detail)
        return None

    async def _first_ticks(self, symbols: Sequence[str]) -> None:
        for _ in range(_FIRST_TICKS):
            read = await self._ask([call("symbol_info_tick", symbol) for symbol in symbols])
            if not isinstance(read, Done) or len(self._ticks(symbols, read.value)) == len(symbols):
                return
            if self._pause is not None:
                await self._pause()

    async def _measure(self) -> Outcome[float]:
        read = await self._ask([call("symbols_get")], deadline=ORDER_S)
        if not isinstance(read, Done):
            return read
        if read.value[0].value is None:
            return _unread(read.value[0])
        times = [row["time"] for row in convert.rows(read.value[0].value) if row["select"] and row["time"]]
        measured = offset.measure(times, self._now())
        if measured is None:
            return Refused(
                "offset_unmeasured", "no two fresh quotes agree on the broker's clock; is the market closed?"
            )
        return Done(measured)


def _unread(result: Result) -> Unknown:
    return Unknown("unread", f"the terminal could not be read ({result.code} {result.text})")


def _bars(needs: Needs, results: Sequence[Result], ahead: float) -> dict[tuple[str, Timeframe], Bars]:
    pairs = zip(needs.bars, results, strict=True)
    return {
        (s, frame): convert.bars(result.value, ahead) for (s, frame, _), result in pairs if result.value is not None
    }


def _in_order(read: Outcome[tuple[Deal, ...]]) -> Outcome[tuple[Deal, ...]]:
    if not isinstance(read, Done):
        return read
    return Done(tuple(sorted(read.value, key=lambda deal: (deal.time, deal.ticket))))
