"""What costs a trader money: orders doubled across an outage, levels of others undone, outcomes lost, silence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from engine_world import DIGITS, World, open_world

from dtms_service.domain import magic
from dtms_service.domain.errors import StorageBusy, StorageFailed
from dtms_service.domain.orders import ClosePosition, Fill, Order
from dtms_service.domain.outcome import Done, Outcome, Unknown
from dtms_service.domain.parameters import Parameters
from dtms_service.domain.record import Batch
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import IntentState
from dtms_service.engine.watching import Watches
from dtms_service.market.snapshot import Snapshot
from dtms_service.terminal.link import Call, Reply

DAY = 86_400


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    opened = await open_world(tmp_path)
    yield opened
    await opened.close()


async def both_sides_of_all(world: World, **body: Any) -> list[int]:
    tickets = [await world.open(symbol=symbol, side=side, **body) for symbol in DIGITS for side in ("BUY", "SELL")]
    await world.register(*tickets)
    return tickets


async def advance_until(world: World, true: Callable[[], Any], step: float = 30, limit: float = DAY) -> None:
    for _ in range(int(limit / step)):
        if true():
            return
        await world.advance(step)
    pytest.fail("it did not happen within the limit")


def sends(world: World) -> int:
    return sum(names.count("order_send") for names in world.link.asked)


async def test_time_without_connection_does_not_settle_an_order(world: World) -> None:
    await both_sides_of_all(world)
    await world.simulator.set_fault({"kind": "reply_lost_not_executed"})
    await advance_until(world, lambda: world.dtms.book.intents)
    (intent,) = world.dtms.book.intents.values()
    await world.advance(10)
    await world.simulator.set_fault({"kind": "disconnected", "seconds": 300})
    await world.advance(300)
    await world.simulator.clear_faults()
    # 10 to 40 s watched before the outage and 16 after it do not make the 60 of the settle window.
    await world.advance(16)
    assert intent.magic in world.dtms.book.intents
    await world.advance(64)
    assert intent.magic not in world.dtms.book.intents


def test_a_watch_counts_the_time_between_two_good_looks_only() -> None:
    watches = Watches(60.0)
    assert watches.look(1, 100.0).connected_s == 0
    assert watches.look(1, 130.0).connected_s == 30
    watches.lose_all()
    assert watches.look(1, 500.0).connected_s == 30
    seen = watches.look(1, 510.0)
    assert (seen.connected_s, seen.good_reads) == (40, 4)
    watches.keep({2})
    assert watches.look(1, 600.0).connected_s == 0


def test_of_a_night_between_two_looks_a_watch_counts_one_look() -> None:
    watches = Watches(10.0)
    watches.look(1, 100.0)
    assert watches.look(1, 102.0).connected_s == 2
    assert watches.look(1, 30_000.0).connected_s == 12
    assert watches.look(1, 20_000.0).connected_s == 12  # set back


def refusing(world: World, state: IntentState) -> None:
    """A ledger that is busy, once, for the transaction that brings an intent to ``state``."""
    commit = world.ledger.commit

    async def busy_once(batch: Batch) -> int:
        if any(intent.state is state for intent in batch.intents):
            world.ledger.commit = commit  # type: ignore[method-assign]  # the double of one test
            raise StorageBusy
        return await commit(batch)

    world.ledger.commit = busy_once  # type: ignore[method-assign]  # the double of one test


async def test_an_order_whose_intent_could_not_be_stored_is_not_sent(world: World) -> None:
    await both_sides_of_all(world)
    refusing(world, IntentState.SENDING)
    with pytest.raises(StorageBusy):
        await world.advance(DAY)
    assert sends(world) == 0
    assert not world.dtms.book.intents


async def test_a_reply_that_a_busy_ledger_did_not_take_is_stored_by_the_next_cycle(world: World) -> None:
    await both_sides_of_all(world)
    await world.simulator.set_fault({"kind": "retcode", "retcode": 10016})
    refusing(world, IntentState.REJECTED)
    with pytest.raises(StorageBusy):
        await world.advance(DAY)
    (intent,) = world.dtms.book.intents.values()
    sent = sends(world)
    world.dtms._wake_up()
    await world.advance(0)
    told = await world.dtms.actions(ticket=None, since=0, limit=10)
    mine = [event.body for event in told if event.body["details"].get("magic") == intent.magic]
    assert [(body["outcome"], body["retcode"]) for body in mine] == [("refused", 10016)]
    assert intent.magic not in world.dtms.book.intents
    owed = world.dtms.book.trades[intent.trade_id].obligations
    assert [(o.too_near, o.attempts) for o in owed if o.kind is intent.kind] == [(1, 1)]
    assert sends(world) - sent <= 1, "another trade may have been due, this one waits"


@dataclass
class Ahead:
    """A clock on which every snapshot is two seconds old when it is looked at."""

    world: World

    def now(self) -> float:
        return self.world.clock.now() + 2

    def renew(self) -> None:
        return None

    async def sleep_until(self, time: float) -> None:
        raise NotImplementedError


async def test_a_level_moved_after_the_snapshot_is_never_undone(world: World) -> None:
    tickets = await both_sides_of_all(world)
    settler = world.dtms._cycle.settler
    settle = settler.settle
    moved: dict[int, tuple[float, float]] = {}

    async def meanwhile(snapshot: Snapshot, specs: Any) -> list[int]:
        """Hands move both levels of everything a little between the engine's look and its order."""
        failed = await settle(snapshot, specs)
        for p in (await world.simulator.view("positions"))["positions"]:
            sign, digits = (1 if p["type"] == 0 else -1), DIGITS[p["symbol"]]
            stop = round(p["sl"] + sign * 10**-digits, digits)
            away = 0.05 + world.dtms.counts.cycles % 7 / 1000
            target = round(p["price_open"] * (1 + sign * away), digits)
            await world.simulator.change_position(p["ticket"], {"stop_loss": stop, "take_profit": target})
            moved[p["ticket"]] = (stop, target)
        return failed

    settler.settle = meanwhile  # type: ignore[method-assign]  # the hand of this test
    world.dtms._cycle._actor._clock = Ahead(world)
    await advance_until(world, lambda: any(world.trade(t).state is not TradeState.HEALTHY for t in tickets))
    await world.advance(900)
    for p in (await world.simulator.view("positions"))["positions"]:
        assert (p["sl"], p["tp"]) == moved[p["ticket"]]
    assert sends(world) == 0
    settler.settle = settle  # type: ignore[method-assign]  # the hand rests
    await advance_until(world, lambda: sends(world), step=900)


async def test_a_ticket_registered_again_after_its_rejection_has_its_minute_again(world: World) -> None:
    await world.register(424242)
    await advance_until(world, lambda: world.trade(424242).state is TradeState.REJECTED, step=1)
    await world.register(424242)
    await world.advance(31)
    assert world.trade(424242).state is TradeState.PENDING
    await world.advance(120)
    assert world.trade(424242).state is TradeState.REJECTED


async def test_an_outage_does_not_use_up_the_minute_of_a_pending_ticket(world: World) -> None:
    await world.register(424242)
    await world.advance(1)
    await world.simulator.set_fault({"kind": "disconnected", "seconds": 300})
    await world.advance(330)
    assert world.trade(424242).state is TradeState.PENDING


def switched_off(world: World) -> list[bool]:
    """The AutoTrading button of the terminal; set the one element to True to press it again."""
    allowed = [False]
    ask = world.link.ask

    async def asked(calls: Sequence[Call], deadline: float, *, urgent: bool = False) -> Outcome[Reply]:
        answer = await ask(calls, deadline, urgent=urgent)
        if not isinstance(answer, Done):
            return answer
        results = tuple(
            replace(result, value={**result.value, "trade_allowed": allowed[0]})
            if call.name == "terminal_info" and result.value is not None
            else result
            for call, result in zip(calls, answer.value.results, strict=True)
        )
        return Done(replace(answer.value, results=results))

    world.link.ask = asked  # type: ignore[method-assign]  # the button of this test
    return allowed


async def test_while_programs_may_not_trade_scores_go_on_and_the_operator_is_told_once(world: World) -> None:
    allowed = switched_off(world)
    tickets = await both_sides_of_all(world)
    await world.advance(DAY / 2)
    assert sends(world) == 0
    assert {world.trade(t).state for t in tickets} <= {TradeState.HEALTHY, TradeState.CLOSED}
    live = [world.trade(t) for t in tickets if not world.trade(t).state.final]
    assert live
    assert all(trade.score_at is not None and trade.score_at > world.clock.now() - 1800 for trade in live)
    assert [reason.code for reason in world.dtms.report().reasons] == ["trade_disabled"]
    told = [event for batch in world.ledger.batches for event in batch.events if event.kind == "alert"]
    assert [event.body["code"] for event in told if event.body["code"].startswith("trade_")] == ["trade_disabled"]
    # The terminal can be read all the same: a registration is verified at once.
    (answer,) = await world.register(await world.open())
    assert answer.trade.verified_at is not None
    allowed[0] = True
    await advance_until(world, lambda: sends(world), step=900)
    assert world.dtms.report().ready


async def test_what_was_owed_already_waits_while_programs_may_not_trade(world: World) -> None:
    await both_sides_of_all(world)
    await world.simulator.set_fault({"kind": "retcode", "retcode": 10018, "count": 1000})
    await advance_until(world, lambda: sends(world))
    allowed = switched_off(world)
    before = sends(world)
    await world.advance(3600)
    assert sends(world) == before
    allowed[0] = True
    await world.advance(60)
    assert sends(world) > before


async def test_contract_facts_are_read_again(world: World) -> None:
    await world.protect(1)
    await world.advance(60)
    world.forget_counts()
    await world.advance(900)
    assert sum("symbol_info" in names for names in world.link.asked) == 1


async def test_contract_facts_that_cannot_be_read_again_stay_as_they_were(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.protect(1)
    facts = dict(world.dtms._cycle._specs)

    async def unread(symbols: Sequence[str]) -> Unknown:
        return Unknown("unread", f"{len(symbols)} symbols could not be read")

    monkeypatch.setattr(world.dtms._cycle._terminal, "specs", unread)
    await world.advance(1800)
    assert world.dtms._cycle._specs == facts
    assert world.dtms.report().ready


async def test_an_order_of_a_position_that_others_closed_is_settled_at_the_restart(tmp_path: Path) -> None:
    world = await open_world(tmp_path)
    await both_sides_of_all(world)
    world.ledger.dies_after_sending = True
    await world.simulator.set_fault({"kind": "reply_lost_not_executed"})
    with pytest.raises(StorageFailed):
        await world.advance(DAY)
    for position in (await world.simulator.view("positions"))["positions"]:
        await world.simulator.close_position(position["ticket"], None)
    await world.close()
    world = await open_world(tmp_path)
    assert all(trade.state.final for trade in world.dtms.book.trades.values())
    assert not world.dtms.book.intents, "all of the volume is accounted for: the order cannot happen any more"
    (told,) = await world.dtms.actions(ticket=None, since=0, limit=10)
    assert (told.body["status"], told.body["details"]["resolution"]) == ("ABANDONED", "others closed the position")
    await world.close()


@pytest.mark.parametrize("unread", [False, True])
async def test_a_new_ledger_never_gives_a_number_again_that_the_broker_has_seen(tmp_path: Path, unread: bool) -> None:
    world = await open_world(tmp_path)
    await both_sides_of_all(world, volume=0.1)
    mine = [0]

    async def partial() -> bool:
        mine[:] = [deal["magic"] for deal in await world.deals() if magic.ours(deal["magic"])]
        return bool(mine)

    while not await partial():
        await world.advance(900)
    if unread:
        await world.simulator.set_fault({"kind": "read_none", "call": "history_deals_get"})
    await world.close()
    for file in tmp_path.glob("dtms.db*"):
        file.unlink()
    again = await open_world(tmp_path)
    assert again.dtms._record.next_magic() > max(mine)
    await again.close()


async def test_an_error_of_our_own_stops_that_trade_until_its_order_is_settled_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await open_world(tmp_path, parameters=Parameters(l1_score=-0.5, l2_score=-1.0))
    tickets = await both_sides_of_all(world)
    gateway = world.dtms._cycle._terminal
    send = gateway.send
    broken: list[int] = []
    on_their_way: list[int] = []

    async def breaks_once_per_trade(order: Order) -> Outcome[Fill]:
        trade_id = world.trade(order.ticket).trade_id
        on_their_way.append(sum(intent.trade_id == trade_id for intent in world.dtms.book.intents.values()))
        if order.ticket not in broken and isinstance(order, ClosePosition):
            broken.append(order.ticket)
            message = "a mistake of ours"
            raise RuntimeError(message)
        return await send(order)

    monkeypatch.setattr(gateway, "send", breaks_once_per_trade)
    failed: set[str] = set()
    for _ in range(48):
        await world.advance(300)
        failed |= {reason.code for reason in world.dtms.report().reasons}
    assert len(broken) > 1
    assert set(on_their_way) == {1}
    assert failed <= {"trades_failed"}
    assert not world.dtms.book.intents
    assert {deal["position_id"] for deal in await world.deals() if magic.ours(deal["magic"])} & set(broken)
    assert {world.trade(t).frozen for t in tickets} == {None}
    await world.close()


async def test_a_start_in_an_outage_of_a_stepped_market_does_not_stop_its_time(tmp_path: Path) -> None:
    world = await open_world(tmp_path)
    await world.protect(1)
    await world.simulator.set_fault({"kind": "disconnected", "seconds": 90})
    await world.close()
    again = await open_world(tmp_path, start=False)
    starting = asyncio.create_task(again.dtms.start())
    async with asyncio.timeout(20):
        while not any(reason.code == "disconnected" for reason in again.dtms.report().reasons):
            await asyncio.sleep(0)
        assert not starting.done()
        await again.advance(120)
        await starting
    assert again.dtms.report().ready
    await again.close()
