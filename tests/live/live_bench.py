"""One terminal under examination, real or simulated: only orders of this run, smallest volume, everything closed again.

The suite runs on both, so that it is known to work before a trader runs it. What it may not do: send anything before
the account has shown that it is a demo account, or touch a position that is not of this run.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest

from dtms_service.domain.orders import ClosePosition, ModifyStops, Order
from dtms_service.domain.outcome import Done, Outcome, Refused
from dtms_service.domain.values import Account, Deal, DealEntry, MarginMode, Position, Tick, TradeMode
from dtms_service.market.snapshot import Needs
from dtms_service.terminal.frames import Rows
from dtms_service.terminal.gateway import Gateway
from dtms_service.terminal.link import Call, Link, Result, call
from dtms_service.terminal.requests import DEAL, SLTP, deviation, fillings, needs_price

T = TypeVar("T")

PREFIX = 4499
"""First digits of every magic of this suite: as long as those of DTMS, and never taken for one of them (4454)."""
VISIBLE_S = 60.0
"""The shortest settle window of DTMS (R16): what takes longer to show would be taken for not executed."""
ASK_S = 20.0
LOOK_S = 0.01
COMMENT = "DTMS live test"
AWAY = 0.01
"""Levels are set this part of the price away: no broker wants more, and nothing reaches them within seconds."""
STALE_S = 60.0
DONE = 10009
_PLACED, _INVALID_FILLING = 10008, 10030
_TRIES = 5


class NotHere(Exception):
    """This account may not be examined; the message says why and what to do."""


@dataclass
class Bench:
    """``now`` and ``pause`` belong to the terminal's clock (UTC seconds): the machine's, or the simulator's."""

    gateway: Gateway
    link: Link
    symbol: str
    now: Callable[[], float]
    pause: Callable[[float], Awaitable[None]]
    info: Mapping[str, Any] = field(default_factory=dict)
    """``symbol_info`` of the symbol."""
    terminal: Mapping[str, Any] = field(default_factory=dict)
    """``terminal_info``."""
    magics: set[int] = field(default_factory=set)
    orders: set[int] = field(default_factory=set)
    """Numbers of our opening orders: a position is numbered after the order that opened it."""
    unanswered: bool = False
    """Was an opening order sent to which no answer came? It may show any time within the settle window."""

    async def begin(self, guard: Callable[[Account], object]) -> None:
        """Attach and make sure that this may go on; ``guard`` claims the account. Raises ``NotHere``; sends nothing."""
        account = _known(await self._connected(), "the terminal cannot be attached to")
        if not account.demo:
            raise NotHere("this is not a demo account: nothing was sent. Log the terminal in to a demo account")
        guard(account)
        if not account.trade_allowed:
            raise NotHere("programs may not trade here: switch on Algo Trading in the terminal")
        specs = _known(await self.gateway.specs([self.symbol]), f"{self.symbol} cannot be read")
        if self.symbol not in specs or specs[self.symbol].trade_mode is not TradeMode.FULL:
            raise NotHere(f"{self.symbol} cannot be traded here: name another symbol in DTMS_LIVE_SYMBOL")
        info, terminal = await self.ask(call("symbol_info", self.symbol), call("terminal_info"))
        if info.value is None or terminal.value is None:
            raise NotHere(
                f"{self.symbol} is spelled differently here: name it in DTMS_LIVE_SYMBOL as the terminal does"
            )
        self.info, self.terminal = info.value, terminal.value
        age = self.now() - (await self.tick()).time
        if age > STALE_S:
            raise NotHere(f"the newest quote of {self.symbol} is {age:.0f} s old: come back when its market is open")
        positions = await self.positions()
        left = [position.ticket for position in positions if position.magic // 10**11 == PREFIX]
        if left:
            raise NotHere(f"positions of an earlier run are open, close them by hand: {left}")
        if account.margin_mode is not MarginMode.HEDGING and any(p.symbol == self.symbol for p in positions):
            raise NotHere(f"this account nets positions and {self.symbol} has one: name another in DTMS_LIVE_SYMBOL")

    async def _connected(self) -> Outcome[Account]:
        """Attached; a Market Watch that was empty needs some seconds for its first quotes."""
        for _ in range(_TRIES):
            outcome = await self.gateway.connect()
            if isinstance(outcome, Done) or outcome.code != "offset_unmeasured":
                break
            await self.pause(2.0)
        return outcome

    def magic(self) -> int:
        """A new magic of this run, 15 digits."""
        for number in itertools.count(len(self.magics)):
            magic = PREFIX * 10**11 + int(self.now()) % 10**8 * 1000 + number
            if magic not in self.magics:
                self.magics.add(magic)
                return magic
        raise AssertionError

    async def ask(self, *calls: Call) -> tuple[Result, ...]:
        """Calls on the terminal as they are, through the gateway's own link."""
        answer = await self.link.ask(calls, ASK_S)
        if not isinstance(answer, Done):
            pytest.fail(f"{calls[0].name} was not answered: {answer.detail}")
        return answer.value.results

    async def order(self, **request: Any) -> Mapping[str, Any]:
        """One raw order and the terminal's answer to it."""
        (result,) = await self.ask(call("order_send", **request))
        if result.value is None:
            raise AssertionError(f"order_send was not answered: {result.code} {result.text}")
        answer: Mapping[str, Any] = result.value
        return answer

    async def send(self, order: Order) -> float:
        """An order as DTMS sends it, accepted; the time of its acknowledgement."""
        for _ in range(_TRIES):
            outcome = await self.gateway.send(order)
            if isinstance(outcome, Done):
                return self.now()
            if not isinstance(outcome, Refused) or outcome.code != "send_paused":
                break
            await self.pause(1.0)
        raise AssertionError(f"{type(order).__name__} was not done: {outcome}")

    async def open(self) -> tuple[Position, float]:
        """Buy the smallest volume under a new magic, without levels; the position and the time of the answer."""
        number = await self.buy()
        acknowledged = self.now()
        return await self.until(self.positions, lambda found: self._numbered(found, number)), acknowledged

    async def buy(self) -> int:
        """The order of ``open``; its number, which the position will have."""
        magic = self.magic()
        answer: Mapping[str, Any] = {}
        for mode in fillings(self.info):
            request = {
                "action": DEAL,
                "symbol": self.symbol,
                "volume": float(self.info["volume_min"]),
                "type": 0,
                "type_filling": mode,
                "magic": magic,
                "comment": COMMENT,
            }
            if needs_price(self.info):
                tick = await self.tick()
                request |= {"price": tick.ask, "deviation": deviation(tick, self.info["point"])}
            self.unanswered = True
            answer = await self.order(**request)
            self.unanswered = False
            if answer["retcode"] != _INVALID_FILLING:
                break
        assert answer["retcode"] in {DONE, _PLACED}, f"the position was not opened: {answer}"
        self.orders.add(answer["order"])
        return int(answer["order"])

    async def set_levels(self, position: Position) -> tuple[Position, float]:
        """Give it a stop and a target, 1 % away, as DTMS would; the position then, and the time of the answer."""
        stop, target = self.level(position.price_open, -AWAY), self.level(position.price_open, AWAY)
        acknowledged = await self.send(ModifyStops(position.ticket, self.symbol, stop, target, self.magic(), COMMENT))
        shown = await self.until(self.positions, lambda found: self._with_levels(found, position, stop, target))
        return shown, acknowledged

    async def close(self, position: Position, magic: int | None = None) -> float:
        """Close a position of this run, as DTMS would; the time of the answer."""
        assert self.is_ours(position), f"position {position.ticket} is not of this run"
        order = ClosePosition(
            position.ticket, position.symbol, position.side, position.volume, magic or self.magic(), COMMENT
        )
        return await self.send(order)

    async def leave(self) -> list[int]:
        """Close what this run has left open; numbers of positions that are not known to be closed in the end.

        Known is what a closing deal shows: a position that the terminal does not show yet is not closed.
        """
        begun, pending = self.now(), set(self.orders)
        while self.magics and self.now() - begun <= 2 * VISIBLE_S:
            for position in (found := await self.of_this_run()):
                # Its answer is no matter: what one position answers must not keep the others open.
                await self.gateway.send(
                    ClosePosition(
                        position.ticket, position.symbol, position.side, position.volume, self.magic(), COMMENT
                    )
                )
            pending = {number for number in pending if not await self.is_closed(number)}
            if not found and not pending and not (self.unanswered and self.now() - begun <= VISIBLE_S):
                return []
            await self.pause(max(1.0, (self.now() - begun) / 20))
        return sorted(pending)

    async def is_closed(self, identifier: int) -> bool:
        """True when deals have taken out of a position what they had put in."""
        deals = _known(await self.gateway.deals_of(identifier), "deals cannot be read")
        volumes = {entry: sum(deal.volume for deal in deals if deal.entry is entry) for entry in DealEntry}
        return 0 < volumes[DealEntry.IN] <= volumes[DealEntry.OUT] + 1e-9

    async def until(self, read: Callable[[], Awaitable[T]], seen: Callable[[T], Any]) -> Any:
        """Look again and again until ``seen`` finds something; what it found. Fails after the settle window."""
        begun = self.now()
        while self.now() - begun <= VISIBLE_S:
            found = seen(await read())
            if found:
                return found
            await self.pause(max(LOOK_S, (self.now() - begun) / 20))  # 5 % is near enough, and spares the terminal
        raise AssertionError(f"not visible within {VISIBLE_S:g} s: DTMS would take the order for not executed")

    async def positions(self) -> tuple[Position, ...]:
        """All open positions."""
        return _known(await self.gateway.positions(), "positions cannot be read")

    async def of_this_run(self) -> list[Position]:
        """Open positions of this run."""
        return [position for position in await self.positions() if self.is_ours(position)]

    def is_ours(self, position: Position) -> bool:
        """True for a magic of this run; or, where the broker has changed it, for the number of an order of this run."""
        return position.magic in self.magics or position.identifier in self.orders

    async def deals_since(self, time: float) -> tuple[Deal, ...]:
        """All deals of the account from ``time`` on."""
        return _known(await self.gateway.deals_since(time), "deals cannot be read")

    async def deals(self, position: Position) -> tuple[Deal, ...]:
        """All deals of a position."""
        return _known(await self.gateway.deals_of(position.identifier), "deals cannot be read")

    async def tick(self) -> Tick:
        """The newest quote."""
        snapshot = _known(await self.gateway.snapshot(Needs((self.symbol,))), "the terminal cannot be read")
        if not snapshot.connected:
            raise NotHere("the terminal has no link to its broker")
        if self.symbol not in snapshot.ticks:
            raise NotHere(f"{self.symbol} has no quote: come back when its market is open")
        return snapshot.ticks[self.symbol]

    def level(self, price: float, part: float) -> float:
        """A price that much away, on the symbol's grid."""
        tick = float(self.info["trade_tick_size"] or self.info["point"])
        return float(round(round(price * (1 + part) / tick) * tick, int(self.info["digits"])))

    def _numbered(self, found: Iterable[Position], order: int) -> Position | None:
        return next((position for position in found if position.identifier == order), None)

    def _with_levels(
        self, found: Iterable[Position], position: Position, stop: float, target: float
    ) -> Position | None:
        shown = self._numbered(found, position.identifier)
        return shown if shown and (shown.stop_loss, shown.take_profit) == (stop, target) else None


def rows(result: Result) -> list[dict[str, Any]] | None:
    """Structures of a raw answer; None when it is none."""
    if not isinstance(result.value, Rows):
        return None
    return [dict(zip(result.value.names, row, strict=True)) for row in result.value.rows]


def sltp(position: Position, symbol: str, magic: int, **levels: float) -> dict[str, Any]:
    """A raw change of levels that names only ``levels``."""
    return {"action": SLTP, "position": position.ticket, "symbol": symbol, "magic": magic, **levels}


def _known(outcome: Outcome[T], what: str) -> T:
    if not isinstance(outcome, Done):
        raise NotHere(f"{what}: {outcome.detail}")
    return outcome.value
