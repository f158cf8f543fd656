"""The book shows a cycle what it has to look at, however many trades have ended before."""

from __future__ import annotations

from pathlib import Path

from engine_world import open_world


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
