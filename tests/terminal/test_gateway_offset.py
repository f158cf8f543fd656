"""The broker's clock over a weekend: an offset of an earlier life serves until quotes can tell, and never after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from gateway_kit import NOW, SYMBOL, TICK, Scene, scripted

from dtms_service.domain.outcome import Done, Refused, Unknown
from dtms_service.market.snapshot import Needs

HOUR = 3600.0
NEEDS = Needs(("EURUSD",), ())


def market(times: Sequence[float]) -> dict[str, Any]:
    """``symbols_get`` of two symbols in Market Watch whose newest quotes are these, in the broker's seconds."""
    return {"structs": [{**SYMBOL, "name": f"S{n}", "time": int(time)} for n, time in enumerate(times)]}


def quote(time: float) -> dict[str, Any]:
    return {"struct": {**TICK, "time": int(time), "time_msc": int(time * 1000)}}


CLOSED = market([NOW + 2 * HOUR - 40_000, NOW + 2 * HOUR - 40_007])
OPEN = market([NOW + 2 * HOUR + 600, NOW + 2 * HOUR + 598])
"""Both quotes arrive ten minutes after NOW at a broker two hours ahead of UTC."""


async def weekend(*answers: dict[str, Any], ticks: Sequence[dict[str, Any]] = (), stored: float | None = None) -> Scene:
    """A start at NOW in a closed market; ``answers`` of ``symbols_get`` and ``ticks`` from the second look on."""
    scene = await scripted(
        {"symbols_get": [CLOSED, CLOSED, *answers], "symbol_info_tick": [quote(NOW + 2 * HOUR - 40_000), *ticks]},
        offset=None,
        learn=False,
    )
    if stored is not None:
        scene.gateway.assume_offset(stored)
    return scene


async def test_without_a_stored_offset_a_closed_market_is_no_start() -> None:
    scene = await weekend()
    outcome = await scene.gateway.connect()
    assert isinstance(outcome, Refused)
    assert outcome.code == "offset_unmeasured"
    assert scene.gateway.broker_offset is None


async def test_a_stored_offset_serves_while_the_market_is_closed_and_is_not_called_measured() -> None:
    scene = await weekend(stored=2 * HOUR)
    assert isinstance(await scene.gateway.connect(), Done)
    read = await scene.gateway.snapshot(NEEDS)
    assert isinstance(read, Done)
    assert read.value.ticks["EURUSD"].time == NOW - 40_000
    assert scene.gateway.broker_offset is None


async def test_the_first_fresh_quotes_confirm_a_stored_offset() -> None:
    scene = await weekend(OPEN, ticks=[quote(NOW + 2 * HOUR + 600)], stored=2 * HOUR)
    await scene.gateway.connect()
    await scene.gateway.snapshot(NEEDS)
    scene.now += 600
    read = await scene.gateway.snapshot(NEEDS)
    assert isinstance(read, Done)
    assert read.value.ticks["EURUSD"].time == scene.now
    assert scene.gateway.broker_offset == 2 * HOUR
    asked = scene.link.count("symbols_get")
    await scene.gateway.snapshot(NEEDS)
    assert scene.link.count("symbols_get") == asked


async def test_an_offset_that_cannot_be_confirmed_is_asked_for_once_a_minute_only() -> None:
    scene = await weekend(ticks=[quote(NOW + 2 * HOUR + 30)], stored=2 * HOUR)
    await scene.gateway.connect()
    await scene.gateway.snapshot(NEEDS)
    scene.link.calls.clear()
    for _ in range(7):
        assert isinstance(await scene.gateway.snapshot(NEEDS), Done)
        scene.now += 10
    assert scene.link.count("symbols_get") == 2


@pytest.mark.parametrize("stored", [1 * HOUR, 3 * HOUR])
async def test_a_stored_offset_of_before_summer_time_changed_is_noticed_with_the_first_quotes(stored: float) -> None:
    later = [quote(NOW + 2 * HOUR + 600 + n * 30) for n in range(3)]
    scene = await weekend(OPEN, ticks=[quote(NOW + 2 * HOUR - 40_000), *later], stored=stored)
    await scene.gateway.connect()
    assert isinstance(await scene.gateway.snapshot(NEEDS), Done)
    scene.now += 600
    outcomes = [await scene.gateway.snapshot(NEEDS)]
    scene.now += 30
    outcomes.append(await scene.gateway.snapshot(NEEDS))
    assert any(isinstance(outcome, Unknown) and outcome.code == "clock_moved" for outcome in outcomes)
    assert isinstance(await scene.gateway.connect(), Done)
    assert scene.gateway.broker_offset == 2 * HOUR


async def test_an_old_quote_that_a_wrong_offset_makes_look_fresh_is_not_believed() -> None:
    scene = await weekend(OPEN, ticks=[quote(NOW + 2 * HOUR + 600 - HOUR)], stored=1 * HOUR)
    await scene.gateway.connect()
    assert isinstance(await scene.gateway.snapshot(NEEDS), Done)
    scene.now += 600
    for _ in range(2):
        read = await scene.gateway.snapshot(NEEDS)
        assert isinstance(read, Unknown)
        assert read.code == "clock_moved"
    assert isinstance(await scene.gateway.connect(), Done)
    read = await scene.gateway.snapshot(NEEDS)
    assert isinstance(read, Done)
    assert read.value.ticks["EURUSD"].time == scene.now - HOUR


async def test_a_stored_offset_never_overrules_a_measured_or_configured_one() -> None:
    measured = await scripted({"symbols_get": [market([NOW + 2 * HOUR, NOW + 2 * HOUR])]}, offset=None, learn=False)
    configured = await scripted(offset=2 * HOUR)
    for scene in (measured, configured):
        scene.gateway.assume_offset(5 * HOUR)
        scene.link._backend._script["symbol_info_tick"] = [quote(NOW + 2 * HOUR)]
        read = await scene.gateway.snapshot(NEEDS)
        assert isinstance(read, Done)
        assert read.value.ticks["EURUSD"].time == NOW
    assert (measured.gateway.broker_offset, configured.gateway.broker_offset) == (2 * HOUR, None)


async def test_a_moved_clock_stays_moved_until_it_is_measured() -> None:
    spring = [quote(NOW + 3 * HOUR), quote(NOW + 2 * HOUR)]
    start = market([NOW + 2 * HOUR, NOW + 2 * HOUR])
    scene = await scripted(
        {"symbols_get": [start, market([NOW + 3 * HOUR, NOW + 3 * HOUR])], "symbol_info_tick": spring},
        offset=None,
        learn=False,
    )
    for _ in range(2):  # the second quote is no witness any more
        read = await scene.gateway.snapshot(NEEDS)
        assert isinstance(read, Unknown)
        assert read.code == "clock_moved"
    assert isinstance(await scene.gateway.connect(), Done)
    assert scene.gateway.broker_offset == 3 * HOUR
