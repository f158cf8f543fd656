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

from dtms_service.domain.orders import ClosePosition, Fill, ModifyStops, Order
from dtms_service.domain.outcome import Done, Outcome, Refused
from dtms_service.domain.values import Account, Deal, Position, SymbolSpec, Tick, Timeframe, WorkingOrder
from dtms_service.market.bars import Bars
from dtms_service.market.snapshot import Needs, Snapshot
from dtms_service.terminal import convert, offset, results, retcodes
from dtms_service.terminal.legality import illegal
from dtms_service.terminal.link import Call, Link, Result, call
from dtms_service.terminal.pacing import TOO_MANY_REQUESTS, Pacing
from dtms_service.terminal.requests import needs_price, request_of
from dtms_service.terminal.results import Row
from dtms_service.terminal.symbols import Symbols

T = TypeVar("T")

READ_S, ORDER_S, INITIALIZE_S = 5.0, 20.0, 120.0
"""Deadlines of one exchange with the child process (R19), real seconds."""
LIST_S = 20.0
"""Deadline of a list of every symbol: brokers have thousands, of 96 fields each."""
_TIMEFRAMES = {Timeframe.M1: 1, Timeframe.M5: 5, Timeframe.M15: 15}
_INVALID_FILLING = 10030
_DAY = 86_400
_FIRST_SYMBOLS = 8
"""Symbols that are put into an empty Market Watch, the first that the broker lists: those are the common ones."""
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
        self._clock = offset.BrokerClock(now, broker_offset)
        self._pacing = Pacing(now)
        self._pause = pause
        self._started = False
        self._attached: int | None = None
        self._symbols = Symbols(self._ask, self._list_all, now)
        self._in_flight: set[int] = set()

    @property
    def broker_offset(self) -> float | None:
        """Seconds by which the broker's clock is ahead of UTC, as measured; None where it was not."""
        return self._clock.measured

    @property
    def broker_moves(self) -> Sequence[offset.Move]:
        """Until when the broker's clock was seen how far ahead before it was moved (``offset.Move``), oldest first."""
        return self._clock.moves

    def assume_offset(self, ahead: float, moves: Sequence[offset.Move] = (), right_at: float | None = None) -> None:
        """Use an offset and moves of an earlier life until quotes can tell; they overrule nothing measured."""
        self._clock.assume(ahead, moves, right_at)

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
        account = self._account(*read.value)
        if isinstance(account, Done) and self._clock.questionable:
            measured = await self._measure()
            if not isinstance(measured, Done) and not self._clock.known:
                return measured
        return account

    async def snapshot(self, needs: Needs) -> Outcome[Snapshot]:
        """One round trip for everything.

        A failed tick or bar read leaves its symbol out; any other makes all of it Unknown.
        """
        calls = [call("account_info"), call("terminal_info"), call("positions_get")]
        calls += [call("symbol_info_tick", self._symbols.name(symbol)) for symbol in needs.symbols]
        calls += [
            call("copy_rates_from_pos", self._symbols.name(s), _TIMEFRAMES[frame], 0, count)
            for s, frame, count in needs.bars
        ]
        read = await self._ask(calls)
        if not isinstance(read, Done):
            return read
        info, terminal, held, *rest = read.value
        ahead = self._clock.ahead
        account = self._account(info, terminal)
        positions = results.structures("positions_get", held, lambda row: convert.position(row, self._then(row)))
        if not isinstance(account, Done):
            return account
        if not isinstance(positions, Done):
            return positions
        quotes = self._ticks(needs.symbols, rest[: len(needs.symbols)])
        moved = self._clock.moved(quotes)
        if moved is None and self._clock.may_confirm(quotes):
            measured = await self._measure()
            if isinstance(measured, Done) and measured.value != ahead:
                moved = self._clock.doubt(
                    f"the broker's clock is {measured.value:.0f} s ahead, not {ahead:.0f} as stored"
                )
        if moved is not None:
            return moved
        return Done(
            Snapshot(
                time=self._now(),
                account=account.value,
                connected=bool(terminal.value["connected"]),
                positions=positions.value,
                ticks=quotes,
                bars=_bars(needs, rest[len(needs.symbols) :], self._clock),
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
        first = max(0, int(time + self._clock.ahead))
        last = int(self._now() + self._clock.ahead) + _DAY
        return _in_order(await self._all(call("history_deals_get", first, last), convert.deal))

    async def specs(self, symbols: Sequence[str]) -> Outcome[Mapping[str, SymbolSpec]]:
        """Select the symbols, wait for their first quote, read their contract facts; unknown ones are left out.

        A symbol that the terminal does not have is looked for under another name (``names.match``); its facts and its
        prices then answer to the name that was asked for.
        """
        found = await self._symbols.learn(symbols)
        if isinstance(found, Done) and found.value:
            await self._first_ticks(tuple(found.value))
        return found

    def wait_of(self, order: Order) -> float:
        """Seconds until ``order`` may be sent, 0.0 when it may now: five a second, and pauses after a 10024 (R9)."""
        return self._pacing.wait(closing=isinstance(order, ClosePosition))

    async def send(self, order: Order) -> Outcome[Fill]:
        """Send one order, ahead of every waiting read.

        Refused without being sent: ``order_in_flight``, ``send_paused``, ``symbol_unknown``, ``illegal_price``,
        ``illegal_volume``, ``no_price``. One more attempt with the next filling mode after 10030, never another.
        """
        if order.ticket in self._in_flight:
            return Refused("order_in_flight", f"another order for position {order.ticket} has not been answered yet")
        wait = self.wait_of(order)
        if wait > 0:
            return Refused("send_paused", f"orders go out again in {wait:.1f} s")
        self._in_flight.add(order.ticket)
        try:
            return await self._send(order)
        finally:
            self._in_flight.discard(order.ticket)

    async def close(self) -> None:
        """End the child process."""
        if self._started:
            await self._link.close()

    async def _send(self, order: Order) -> Outcome[Fill]:
        info = self._symbols.facts(order.symbol)
        if info is None:
            return Refused(
                "symbol_unknown", f"nothing is known about {order.symbol}; its contract facts were never read"
            )
        refused = illegal(order, convert.spec(info))
        if refused is not None:
            return refused
        tick = None
        if not isinstance(order, ModifyStops) and needs_price(info):
            read = await self._ask([call("symbol_info_tick", info["name"])], urgent=True)
            tick = self._ticks([order.symbol], read.value).get(order.symbol) if isinstance(read, Done) else None
            if tick is None:
                return Refused("no_price", f"{order.symbol} has no quote, and its dealer wants a price")
        modes = self._symbols.fillings(info)
        outcome = await self._sent(request_of(order, info, modes, tick))
        if isinstance(outcome, Refused) and outcome.retcode == _INVALID_FILLING and len(modes) > 1:
            outcome = await self._sent(request_of(order, info, self._symbols.drop_filling(info), tick))
        return outcome

    async def _sent(self, request: Mapping[str, Any]) -> Outcome[Fill]:
        """Always with keywords: ``order_send(request)`` breaks under wrappers that pass empty ones (mt5.md 0.3)."""
        started = time.perf_counter()
        self._pacing.sent()
        read = await self._ask([call("order_send", **request)], ORDER_S, urgent=True)
        latency = (time.perf_counter() - started) * 1000
        if not isinstance(read, Done):
            return read
        outcome = retcodes.outcome_of(read.value[0], latency)
        if isinstance(outcome, Done):
            self._pacing.done()
        elif outcome.retcode == TOO_MANY_REQUESTS:
            log.warning("sends_paused", extra={"seconds": self._pacing.complained()})
        return outcome

    async def _ask(
        self, calls: Sequence[Call], deadline: float = READ_S, *, urgent: bool = False
    ) -> Outcome[tuple[Result, ...]]:
        """One exchange, attached first where the child is new or the connection was lost."""
        if self._attached != self._link.generation:
            attached = await self._attach()
            if attached is not None:
                return attached
        answer = await self._link.ask(calls, deadline, urgent=urgent)
        if not isinstance(answer, Done):
            return answer
        if any(result.code in results.LINK_LOST for result in answer.value.results):
            self._attached = None
        return Done(answer.value.results)

    async def _attach(self) -> Refused | None:
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

    async def _all(self, asked: Call, as_value: Callable[[Row, float], T | None]) -> Outcome[tuple[T, ...]]:
        read = await self._ask([asked])
        if not isinstance(read, Done):
            return read
        return results.structures(asked.name, read.value[0], lambda row: as_value(row, self._then(row)))

    def _then(self, row: Row) -> float:
        """How far the broker's clock was ahead when it wrote this position, order or deal."""
        written = row["time_setup"] if "time_setup" in row else row["time"]
        return self._clock.ahead_then(written)

    def _account(self, info: Result, terminal: Result) -> Outcome[Account]:
        account, switches = results.structure("account_info", info), results.structure("terminal_info", terminal)
        if not isinstance(account, Done):
            return account
        if not isinstance(switches, Done):
            return switches
        return results.understood("account_info", convert.account, account.value, switches.value, self._kind)

    def _ticks(self, symbols: Sequence[str], read: Sequence[Result]) -> dict[str, Tick]:
        ticks = {}
        for symbol, result in zip(symbols, read, strict=True):
            shown = results.structure("symbol_info_tick", result)
            if isinstance(shown, Done):
                tick = results.understood("symbol_info_tick", convert.tick, shown.value, self._clock.ahead)
                if isinstance(tick, Done) and tick.value is not None:
                    ticks[symbol] = tick.value
        return ticks

    async def _first_ticks(self, symbols: Sequence[str]) -> None:
        for _ in range(_FIRST_TICKS):
            read = await self._ask([call("symbol_info_tick", self._symbols.name(symbol)) for symbol in symbols])
            if not isinstance(read, Done) or len(self._ticks(symbols, read.value)) == len(symbols):
                return
            if self._pause is not None:
                await self._pause()

    async def _list_all(self) -> Outcome[tuple[Result, ...]]:
        return await self._ask([call("symbols_get")], LIST_S)

    async def _measure(self) -> Outcome[float]:
        read = await self._list_all()
        if not isinstance(read, Done):
            return read
        listed = results.structures("symbols_get", read.value[0], lambda row: (row["name"], row["time"], row["select"]))
        if not isinstance(listed, Done):
            return listed
        watched = [float(time) for _, time, selected in listed.value if selected]
        measured = self._clock.read([time for time in watched if time > 0])
        if measured is None:
            if len(watched) < offset.AGREEING:  # an empty Market Watch has no quotes: fill it for the next attempt
                await self._ask([call("symbol_select", name) for name, _, _ in listed.value[:_FIRST_SYMBOLS]])
            return Refused(
                "offset_unmeasured", "no two fresh quotes agree on the broker's clock; is the market closed?"
            )
        return Done(measured)


def _bars(needs: Needs, read: Sequence[Result], clock: offset.BrokerClock) -> dict[tuple[str, Timeframe], Bars]:
    """The bars that were answered; a window that failed or cannot be understood is left out."""
    bars = {}
    for (symbol, frame, _), result in zip(needs.bars, read, strict=True):
        if result.value is not None:
            made = results.understood("copy_rates_from_pos", convert.bars, result.value, clock.aheads_then)
            if isinstance(made, Done):
                bars[symbol, frame] = made.value
    return bars


def _in_order(read: Outcome[tuple[Deal, ...]]) -> Outcome[tuple[Deal, ...]]:
    if not isinstance(read, Done):
        return read
    return Done(tuple(sorted(read.value, key=lambda deal: (deal.time, deal.ticket))))
