"""Another login at the terminal: what it shows is nobody's trades, and no order goes to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from engine_world import World, open_world

from dtms_service.domain.outcome import Done, Outcome
from dtms_service.domain.states import TradeState
from dtms_service.terminal.frames import Rows
from dtms_service.terminal.link import Call, Reply

DAY = 86_400


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    opened = await open_world(tmp_path)
    yield opened
    await opened.close()


@dataclass
class Elsewhere:
    """While ``true`` of an exchange, the terminal shows another login in it, whose account is empty."""

    true: Callable[[Sequence[Call]], bool]
    empty: bool = True
    sends: int = 0

    def of(self, world: World) -> Elsewhere:
        ask = world.link.ask

        async def asked(calls: Sequence[Call], deadline: float, *, urgent: bool = False) -> Outcome[Reply]:
            self.sends += sum(call.name == "order_send" for call in calls)
            answer = await ask(calls, deadline, urgent=urgent)
            if not isinstance(answer, Done) or not self.true(calls):
                return answer
            results = list(answer.value.results)
            for n, call in enumerate(calls):
                if call.name == "account_info":
                    results[n] = replace(results[n], value={**results[n].value, "login": 99})
                elif call.name == "positions_get" and self.empty:
                    results[n] = replace(results[n], value=Rows((), ()))
            return Done(replace(answer.value, results=tuple(results)))

        world.link.ask = asked  # type: ignore[method-assign]  # the other login of this test
        return self


async def test_a_snapshot_of_another_login_is_never_acted_upon(world: World) -> None:
    trades = await world.protect(3)
    away = Elsewhere(lambda _: True).of(world)
    world.forget_counts()
    await world.advance(1800)  # an absent position would be closed without proof after 600 s
    assert [reason.code for reason in world.dtms.report().reasons] == ["account_mismatch", "cycle_too_old"]
    assert [world.trade(trade.ticket) for trade in trades] == trades
    stored = [alert.code for batch in world.ledger.batches for alert in batch.alerts]
    assert stored == ["account_mismatch", "not_watching", "not_watching_long"]
    assert all(not batch.trades and not batch.intents for batch in world.ledger.batches)
    assert away.sends == 0
    away.true = lambda _: False
    await world.advance(60)
    assert world.dtms.report().ready
    assert {world.trade(trade.ticket).frozen for trade in trades} == {None}


@dataclass
class Ahead:
    """A clock on which every snapshot is two seconds old when it is looked at, so that it is read again."""

    world: World

    def now(self) -> float:
        return self.world.clock.now() + 2

    def renew(self) -> None:
        return None

    async def sleep_until(self, time: float) -> None:
        raise NotImplementedError


async def test_a_login_that_changed_between_look_and_order_gets_no_order(world: World) -> None:
    tickets = [
        await world.open(symbol=symbol, side=side) for symbol in ("EURUSD", "XAUUSD") for side in ("BUY", "SELL")
    ]
    await world.register(*tickets)

    def read_again(calls: Sequence[Call]) -> bool:
        """The look right before an order asks for one symbol; that of a cycle asks for two."""
        return [call.name for call in calls].count("symbol_info_tick") == 1

    away = Elsewhere(read_again, empty=False).of(world)
    world.dtms._cycle._actor._clock = Ahead(world)
    for _ in range(96):
        await world.advance(900)
        if any(world.trade(ticket).state not in {TradeState.HEALTHY, TradeState.CLOSED} for ticket in tickets):
            break
    await world.advance(120)
    assert any(world.trade(ticket).obligations for ticket in tickets)
    assert away.sends == 0
    away.true = lambda _: False
    await world.advance(3600)
    assert away.sends > 0
