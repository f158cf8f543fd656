"""The book shows a cycle what it has to look at, however many trades have ended before."""

from __future__ import annotations

from pathlib import Path

import pytest
from engine_world import open_world

from dtms_service.engine import book


async def test_a_trade_that_is_over_is_watched_no_longer(tmp_path: Path) -> None:
    world = await open_world(tmp_path)
    gone, stays = [await world.open(side=side) for side in ("BUY", "SELL")]
    await world.register(gone, stays)
    await world.advance(0)
    assert {trade.ticket for trade in world.dtms.book.watched.values()} == {gone, stays}
    await world.simulator.close_position(gone, None)
    await world.advance(30)
    assert world.trade(gone).state.final
    assert {trade.ticket for trade in world.dtms.book.watched.values()} == {stays}
    assert set(world.dtms.counts.last_fast) == {stays}
    assert set(world.dtms.counts.last_deep) == {stays}
    await world.close()
    world = await open_world(tmp_path)
    assert {trade.ticket for trade in world.dtms.book.watched.values()} == {stays}
    await world.close()


async def test_of_trades_that_are_over_the_book_keeps_the_newest_and_the_ledger_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(book, "ENDED_KEPT", 2)
    world = await open_world(tmp_path)
    stays, *gone = [await world.open(side=("BUY", "SELL")[n % 2]) for n in range(5)]
    await world.register(stays, *gone)
    await world.advance(0)
    for ticket in gone:
        await world.simulator.close_position(ticket, None)
        await world.advance(30)
    found = world.dtms.book
    assert {trade.ticket for trade in found.trades.values()} == {stays, *gone[-2:]}
    assert set(found.by_ticket) == set(found.by_identifier) == {stays, *gone[-2:]}
    assert found.find(gone[0]) is None
    (again,) = await world.register(gone[0])  # as after a start: the broker's deals say that it is over
    await world.advance(0)
    assert world.trade(gone[0]).closed_reason == "HAND", again
    await world.close()
