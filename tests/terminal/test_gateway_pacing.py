"""How often orders go out: five a second, closes always, and nothing at all for a while after a 10024 (R9)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from gateway_kit import CLOSE, NOW, STOP, Scene, Terminal, answered, scripted, simulated
from hypothesis import given
from hypothesis import strategies as st

from dtms_service.domain.orders import ClosePosition, ModifyStops
from dtms_service.domain.outcome import Done, Outcome, Refused
from dtms_service.domain.values import Side
from dtms_service.terminal.pacing import Pacing

TOO_OFTEN, YES, TOO_NEAR = answered(10024), answered(10009), answered(10016)


async def burst(scene: Scene, count: int) -> list[Outcome[object]]:
    """Stops of as many positions at one instant."""
    return [await scene.gateway.send(replace(STOP, ticket=n)) for n in range(count)]


async def test_the_sixth_stop_within_a_second_is_not_sent() -> None:
    scene = await scripted()
    outcomes = await burst(scene, 7)
    assert [type(outcome) for outcome in outcomes] == [Done] * 5 + [Refused] * 2
    refused = outcomes[-1]
    assert isinstance(refused, Refused)
    assert (refused.code, refused.detail) == ("send_paused", "orders go out again in 1.0 s")
    assert scene.sends == 5
    scene.now += 0.9
    assert scene.gateway.wait_of(STOP) == pytest.approx(0.1)
    scene.now += 0.1
    assert scene.gateway.wait_of(STOP) == 0.0
    assert isinstance(await scene.gateway.send(STOP), Done)


async def test_a_close_is_never_held_back_by_the_cap() -> None:
    scene = await scripted()
    await burst(scene, 6)
    assert isinstance(await scene.gateway.send(CLOSE), Done)


async def test_a_close_counts_towards_the_cap_of_the_others() -> None:
    scene = await scripted()
    for n in range(5):
        assert isinstance(await scene.gateway.send(replace(CLOSE, ticket=n)), Done)
    assert isinstance(await scene.gateway.send(STOP), Refused)


@given(st.lists(st.floats(0.0, 0.7), max_size=80))
def test_no_second_holds_more_than_five_stops_and_none_waits_longer_than_one(gaps: list[float]) -> None:
    now = NOW
    pacing, sent = Pacing(lambda: now), []
    for gap in gaps:
        now += gap
        wait = pacing.wait(closing=False)
        assert 0.0 <= wait <= 1.0
        if wait == 0.0:
            pacing.sent()
            sent.append(now)
        else:
            assert len([time for time in sent if time > now - 1.0]) == 5
            now += wait
            assert pacing.wait(closing=False) == 0.0
    assert all(later - earlier >= 1.0 for earlier, later in zip(sent, sent[5:], strict=False))


async def test_after_too_many_requests_the_whole_account_pauses_closes_included() -> None:
    scene = await scripted({"order_send": [TOO_OFTEN, YES]})
    first = await scene.gateway.send(STOP)
    assert isinstance(first, Refused)
    assert (first.code, first.retcode) == ("too_many_requests", 10024)
    scene.now += 0.4
    for order in (replace(STOP, ticket=2), replace(CLOSE, ticket=3)):
        held = await scene.gateway.send(order)
        assert isinstance(held, Refused)
        assert (held.code, held.detail) == ("send_paused", "orders go out again in 0.6 s")
    assert scene.sends == 1
    scene.now += 0.6
    assert isinstance(await scene.gateway.send(CLOSE), Done)


async def test_the_pause_doubles_up_to_eight_seconds_and_an_order_that_is_done_ends_it() -> None:
    scene = await scripted({"order_send": [*[TOO_OFTEN] * 6, TOO_NEAR, TOO_OFTEN, YES, TOO_OFTEN]})
    pauses = []
    for _ in range(10):
        await scene.gateway.send(CLOSE)
        pauses.append(scene.gateway.wait_of(CLOSE))
        scene.now += pauses[-1]
    # a stop too near is no sign that the server is patient again; an executed order is
    assert pauses == pytest.approx([1, 2, 4, 8, 8, 8, 0, 8, 0, 1])


async def test_a_clock_that_is_set_back_does_not_prolong_a_pause() -> None:
    scene = await scripted({"order_send": [TOO_OFTEN, YES]})
    await scene.gateway.send(STOP)
    scene.now -= 3600
    assert scene.gateway.wait_of(STOP) == 0.0


@pytest.fixture
async def strict(tmp_path: Path) -> AsyncIterator[Terminal]:
    """A broker that takes three orders in a second."""
    found = await simulated(tmp_path, broker={"requests_per_s": 3})
    yield found
    await found.gateway.close()


async def test_a_strict_server_complains_once_and_gets_everything_in_the_end(strict: Terminal) -> None:
    tickets = [await strict.opened(stop_loss=1.0) for _ in range(8)]
    left = [ModifyStops(ticket, "EURUSD", 1.01, None, 445400000000001, "DTT") for ticket in tickets]
    complaints = 0
    for _ in range(30):
        for order in list(left):
            if strict.gateway.wait_of(order) > 0:
                continue
            outcome = await strict.gateway.send(order)
            if isinstance(outcome, Done):
                left.remove(order)
            else:
                assert isinstance(outcome, Refused)
                assert outcome.code == "too_many_requests"
                complaints += 1
        await strict.wait(1)
    assert left == []
    assert complaints <= 3
    assert len(strict.sent) == 8 + complaints


async def test_a_partial_close_goes_out_while_stops_wait(tmp_path: Path) -> None:
    terminal = await simulated(tmp_path)
    tickets = [await terminal.opened(stop_loss=1.0) for _ in range(6)]
    stops = [
        await terminal.gateway.send(ModifyStops(ticket, "EURUSD", 1.01, None, 445400000000001, "DTT"))
        for ticket in tickets
    ]
    assert isinstance(stops[-1], Refused)
    close = ClosePosition(tickets[-1], "EURUSD", Side.BUY, 0.04, 445400000000002, "DTP")
    assert isinstance(await terminal.gateway.send(close), Done)
    await terminal.gateway.close()
