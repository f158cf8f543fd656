from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import replace

import pytest
from ledger_values import INSTANCE, a_trade, an_alert, an_event, an_intent
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from dtms_service.domain import magic
from dtms_service.domain.alerts import Wanted
from dtms_service.domain.errors import Invalid, StorageBusy, StorageFailed
from dtms_service.domain.record import Batch
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import IntentState
from dtms_service.engine.ports import Ledger
from dtms_service.ledger import store
from dtms_service.ledger.store import SqlLedger


@pytest.fixture(params=[False, True], ids=["thread", "inline"])
async def either(url: str, request: pytest.FixtureRequest):
    opened: Ledger = await SqlLedger.open(url, draw=lambda _: INSTANCE, inline=request.param)
    yield opened
    await opened.close()


async def test_an_empty_ledger_knows_its_instance_and_nothing_else(either: Ledger) -> None:
    recorded = await either.load()
    assert (recorded.instance, recorded.trades, recorded.open_intents, recorded.actions) == (INSTANCE, (), (), ())
    assert (recorded.last_trade_id, recorded.last_magic_sequence, recorded.last_event_sequence) == (0, 0, 0)
    assert recorded.facts == {}


async def test_everything_of_a_batch_is_there_after_reopening(url: str) -> None:
    first = await SqlLedger.open(url, draw=lambda _: INSTANCE)
    trade, intent, action = a_trade(7, flags=frozenset({"late", "r_estimated"})), an_intent(12), an_event(kind="action")
    assert await first.commit(Batch((action,), (trade,), (intent,), {"account": "5012345@Broker-Demo"})) == 1
    await first.close()

    second = await SqlLedger.open(url, draw=lambda _: 0)
    recorded = await second.load()
    await second.close()
    assert recorded.trades == (trade,)
    assert recorded.open_intents == (intent,)
    assert recorded.actions == (replace(action, sequence=1),)
    assert (recorded.last_trade_id, recorded.last_magic_sequence, recorded.last_event_sequence) == (7, 12, 1)
    assert recorded.facts == {"account": "5012345@Broker-Demo"}
    assert recorded.instance == INSTANCE


async def test_the_newest_value_of_a_trade_an_intent_and_a_fact_replaces_the_older(either: Ledger) -> None:
    await either.commit(Batch((), (a_trade(),), (an_intent(),), {"offset": "0"}))
    warned = a_trade(state=TradeState.WARNING_L1, stop_loss=2005.0)
    await either.commit(Batch((), (warned,), (an_intent(state=IntentState.ACKED),), {"offset": "7200"}))
    recorded = await either.load()
    assert recorded.trades == (warned,)
    assert recorded.open_intents == (an_intent(state=IntentState.ACKED),)
    assert recorded.facts == {"offset": "7200"}


async def test_settled_intents_are_not_loaded_but_their_magic_is_never_used_again(either: Ledger) -> None:
    foreign = an_intent(3, magic=magic.make(INSTANCE + 1, 90_000_000), episode=99)
    await either.commit(Batch(intents=(an_intent(41, state=IntentState.CONFIRMED), an_intent(8), foreign)))
    recorded = await either.load()
    assert recorded.open_intents == (an_intent(8), foreign)
    assert recorded.last_magic_sequence == 41


async def test_of_the_trades_that_are_over_only_the_last_to_end_are_loaded(
    either: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "ENDED_TRADES", 2)
    closed = [a_trade(n, state=TradeState.CLOSED, closed_at=1_800_000_000.0 - n) for n in (1, 2, 3)]
    await either.commit(Batch(trades=(*closed, a_trade(4))))
    recorded = await either.load()
    assert [trade.trade_id for trade in recorded.trades] == [1, 2, 4]
    assert recorded.last_trade_id == 4


async def test_only_the_newest_actions_are_loaded_oldest_first(either: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "RECENT_ACTIONS", 3)
    kinds = ["action", "action", "other", "action", "action", "other"]
    await either.commit(Batch(events=tuple(an_event(kind=kind) for kind in kinds)))
    assert [event.sequence for event in (await either.load()).actions] == [2, 4, 5]


async def test_history_is_asked_by_kind_trade_start_and_number(either: Ledger) -> None:
    await either.commit(Batch(events=tuple(an_event(1 + n % 2, kind="ab"[n // 5]) for n in range(10))))

    async def found(**query: object) -> list[int | None]:
        return [event.sequence for event in await either.events(**query)]  # type: ignore[arg-type]

    assert await found() == list(range(1, 11))
    assert await found(kind="b") == [6, 7, 8, 9, 10]
    assert await found(trade_id=2) == [2, 4, 6, 8, 10]
    assert await found(kind="a", trade_id=1, since=1) == [3, 5]
    assert await found(limit=3) == [1, 2, 3]
    assert await found(limit=3, newest=True) == [8, 9, 10]
    assert await found(since=9, limit=3, newest=True) == [10]


async def test_a_batch_knows_the_numbers_of_its_own_events(either: Ledger) -> None:
    assert await either.commit(Batch(events=(an_event(1), an_event(2)))) == 2
    assert await either.commit(Batch(facts={"a": "b"})) == 2
    assert await either.commit(Batch(events=(an_event(3),))) == 3
    assert [event.body for event in await either.events(since=2)] == [{"n": 3}]


async def test_all_open_alerts_are_loaded_and_the_newest_of_the_acknowledged(
    either: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "RECENT_ALERTS", 1)
    trades = tuple(a_trade(n) for n in range(1, 6))
    taken = {n: an_alert(n, acknowledged_at=1_700_000_009.0, acknowledged_by="anna") for n in (2, 4)}
    await either.commit(Batch(trades=trades, alerts=tuple(an_alert(n) for n in range(1, 6))))
    await either.commit(Batch(alerts=tuple(taken.values())))
    recorded = await either.load()
    assert recorded.alerts == (an_alert(1), an_alert(3), taken[4], an_alert(5))
    assert recorded.last_alert_id == 5


async def test_alerts_are_asked_by_what_is_known_of_them(either: Ledger) -> None:
    changes: list[dict[str, object]] = [{}, {"code": "stop_removed"}, {"acknowledged_at": 1_700_000_009.0}, {}]
    stored = tuple(an_alert(n, **changed) for n, changed in enumerate(changes, 1))
    await either.commit(Batch(trades=tuple(a_trade(n) for n in range(1, 5)), alerts=stored))

    async def found(**query: object) -> list[int]:
        return [alert.alert_id for alert in await either.alerts(Wanted(**query))]  # type: ignore[arg-type]

    assert await found() == [4, 3, 2, 1]
    assert await found(open=True) == [4, 2, 1]
    assert await found(open=False) == [3]
    assert await found(code="stop_loosened") == [4, 3, 1]
    assert await found(ticket=1002) == [2]
    assert await found(before=4, limit=2) == [3, 2]
    assert await found(alert_id=2**63 - 1) == []


async def test_one_cause_cannot_have_two_open_alerts(either: Ledger) -> None:
    await either.commit(Batch(trades=(a_trade(1),), alerts=(an_alert(1),)))
    with pytest.raises(Invalid, match="nothing was written"):
        await either.commit(Batch(alerts=(an_alert(2, about="trade 1", trade_id=1),)))


async def test_one_open_position_cannot_be_two_trades(either: Ledger) -> None:
    await either.commit(Batch(trades=(a_trade(1),)))
    with pytest.raises(Invalid, match="nothing was written"):
        await either.commit(Batch((an_event(),), (a_trade(2, identifier=1001),)))
    assert (await either.load()).trades == (a_trade(1),)
    assert await either.events() == ()


async def test_a_position_may_be_registered_again_after_its_trade_ended(either: Ledger) -> None:
    ended = a_trade(1, state=TradeState.CLOSED, closed_at=1_700_000_100.0)
    pending = [a_trade(n, identifier=None, state=TradeState.PENDING) for n in (3, 4)]
    await either.commit(Batch(trades=(ended, a_trade(2, identifier=1001), *pending)))
    assert len((await either.load()).trades) == 4


async def test_a_leg_of_an_action_exists_once(either: Ledger) -> None:
    await either.commit(Batch(intents=(an_intent(1),)))
    with pytest.raises(Invalid):
        await either.commit(Batch(intents=(an_intent(2, episode=1),)))


async def test_a_number_too_large_for_a_column_is_refused_and_the_ledger_lives_on(either: Ledger) -> None:
    with pytest.raises(Invalid):
        await either.commit(Batch(trades=(a_trade(ticket=2**63),)))
    await either.commit(Batch(trades=(a_trade(),)))
    assert (await either.load()).trades == (a_trade(),)


async def test_a_damaged_row_stops_the_start_and_is_named(url: str, ledger: SqlLedger) -> None:
    await ledger.commit(Batch(trades=(a_trade(6),)))
    with sqlite3.connect(ledger.path) as other:
        other.execute("UPDATE trades SET body = replace(body, '2002.5', '1002.5')")
    other.close()
    with pytest.raises(StorageFailed, match=r"trade 6 .*damaged"):
        await ledger.load()


async def test_history_cannot_write(ledger: SqlLedger) -> None:
    await ledger.commit(Batch(events=(an_event(),)))
    assert len(await ledger.events()) == 1
    async with ledger._read_engine().connect() as connection:
        with pytest.raises(OperationalError, match="readonly"):
            await connection.execute(text("DELETE FROM events"))


async def test_closing_finishes_what_was_handed_over_and_takes_no_more(url: str) -> None:
    ledger = await SqlLedger.open(url, draw=lambda _: INSTANCE)
    tasks = [asyncio.ensure_future(ledger.commit(Batch(events=(an_event(n),)))) for n in range(5)]
    await asyncio.sleep(0)
    await ledger.close()
    assert [await task for task in tasks] == [1, 2, 3, 4, 5]
    with pytest.raises(StorageBusy, match="closed"):
        await ledger.commit(Batch(events=(an_event(),)))
    await ledger.close()
