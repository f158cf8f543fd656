"""What leaves the gateway, and what never does: one order per position, the mode that works, no check before it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from gateway_kit import CLOSE, STOP, SYMBOL, TICK, Terminal, answered, scripted, simulated

from dtms_service.domain.orders import ClosePosition, ModifyStops, Order
from dtms_service.domain.outcome import Done, Refused, Unknown
from dtms_service.domain.values import Side
from dtms_service.terminal.requests import FOK, IOC


@pytest.fixture
async def terminal(tmp_path: Path) -> AsyncIterator[Terminal]:
    found = await simulated(tmp_path)
    yield found
    await found.gateway.close()


async def test_a_second_order_for_a_position_is_not_sent_while_the_first_is_on_its_way() -> None:
    scene = await scripted()
    scene.link.gate = asyncio.Event()
    first = asyncio.create_task(scene.gateway.send(STOP))
    await asyncio.sleep(0)
    second = await asyncio.wait_for(scene.gateway.send(CLOSE), 2)  # without the rule it would wait at the gate
    assert isinstance(second, Refused)
    assert second.code == "order_in_flight"
    other = asyncio.create_task(scene.gateway.send(replace(CLOSE, ticket=1002)))
    await asyncio.sleep(0)
    assert scene.sends == 2
    scene.link.gate.set()
    assert isinstance(await first, Done)
    assert isinstance(await other, Done)
    assert isinstance(await scene.gateway.send(CLOSE), Done)


@pytest.mark.parametrize(
    "answer", [answered(10012), {"raises": "exception set"}, {"value": None, "error": (-10002, "")}]
)
async def test_an_order_that_was_answered_badly_is_not_in_flight_any_more(answer: dict[str, object]) -> None:
    scene = await scripted({"order_send": [answer, answered(10009)]})
    assert isinstance(await scene.gateway.send(CLOSE), Unknown)
    assert isinstance(await scene.gateway.send(CLOSE), Done)


async def test_a_filling_mode_that_is_refused_is_replaced_once_and_for_good() -> None:
    scene = await scripted({"order_send": [answered(10030), answered(10009)]})
    assert isinstance(await scene.gateway.send(CLOSE), Done)
    assert isinstance(await scene.gateway.send(CLOSE), Done)
    modes = [call.kwargs["type_filling"] for call in scene.link.calls if call.name == "order_send"]
    assert modes == [FOK, IOC, IOC]


async def test_no_third_attempt_follows_two_refused_filling_modes() -> None:
    scene = await scripted({"order_send": [answered(10030)]})
    outcome = await scene.gateway.send(CLOSE)
    assert isinstance(outcome, Refused)
    assert (outcome.code, scene.sends) == ("invalid_filling", 2)


async def test_facts_that_allow_other_filling_modes_begin_anew() -> None:
    other = {"struct": {**SYMBOL, "filling_mode": 1}}
    scene = await scripted(
        {"order_send": [answered(10030), answered(10009)], "symbol_info": [{"struct": SYMBOL}, other]}
    )
    await scene.gateway.send(CLOSE)
    await scene.gateway.specs(["EURUSD"])
    scene.link.calls.clear()
    await scene.gateway.send(CLOSE)
    assert [call.kwargs["type_filling"] for call in scene.link.calls] == [FOK]


@pytest.mark.parametrize("order", [STOP, CLOSE])
async def test_an_order_that_reduces_risk_is_never_checked_first(order: Order) -> None:
    scene = await scripted({"order_check": [{"value": None, "error": (-1, "Terminal: Call failed")}]})
    assert isinstance(await scene.gateway.send(order), Done)
    assert [call.name for call in scene.link.calls] == ["order_send"]


async def test_a_placed_order_is_unknown_and_carries_its_number(terminal: Terminal) -> None:
    ticket = await terminal.opened()
    await terminal.simulator.set_fault({"kind": "magic_zeroed"})
    await terminal.simulator.set_fault({"kind": "placed", "seconds": 5})
    outcome = await terminal.gateway.send(ClosePosition(ticket, "EURUSD", Side.BUY, 0.04, 445400000000005, "DTPabc"))
    assert isinstance(outcome, Unknown)
    assert (outcome.code, outcome.retcode) == ("placed", 10008)
    working = await terminal.gateway.orders()
    assert isinstance(working, Done)
    assert [(order.ticket, order.magic) for order in working.value] == [(outcome.order, 0)]


@pytest.mark.parametrize("order", [0, 70])
async def test_an_unknown_order_without_a_number_has_none(order: int) -> None:
    scene = await scripted({"order_send": [answered(10012, order=order)]})
    outcome = await scene.gateway.send(CLOSE)
    assert isinstance(outcome, Unknown)
    assert outcome.order == (order or None)


@pytest.mark.parametrize(
    ("order", "code"),
    [
        (replace(CLOSE, volume=0.1 + 0.2), "illegal_volume"),  # 0.30000000000000004
        (replace(CLOSE, volume=0.015), "illegal_volume"),
        (replace(CLOSE, volume=0.0), "illegal_volume"),
        (replace(CLOSE, volume=-0.04), "illegal_volume"),
        (replace(CLOSE, volume=50.01), "illegal_volume"),
        (replace(CLOSE, volume=float("nan")), "illegal_volume"),
        (replace(CLOSE, volume=float("inf")), "illegal_volume"),
        (replace(STOP, stop_loss=1.1 + 2.2), "illegal_price"),  # 3.3000000000000003
        (replace(STOP, stop_loss=1.095005), "illegal_price"),
        (replace(STOP, stop_loss=0.0), "illegal_price"),
        (replace(STOP, stop_loss=float("nan")), "illegal_price"),
        (replace(STOP, take_profit=float("-inf")), "illegal_price"),
        (replace(STOP, symbol="GBPUSD"), "symbol_unknown"),
    ],
)
async def test_an_illegal_order_is_refused_and_nothing_is_sent(order: Order, code: str) -> None:
    scene = await scripted()
    outcome = await scene.gateway.send(order)
    assert isinstance(outcome, Refused)
    assert (outcome.code, outcome.retcode) == (code, None)
    assert scene.link.calls == []


@pytest.mark.parametrize(
    "order",
    [
        replace(CLOSE, volume=0.3),
        replace(CLOSE, volume=0.01),
        replace(CLOSE, volume=50.0),
        replace(STOP, stop_loss=None),
        replace(STOP, take_profit=None),
        replace(STOP, take_profit=1.123456),  # somebody's level between two ticks stays what it is
    ],
)
async def test_a_legal_order_is_sent_as_it_is(order: Order) -> None:
    scene = await scripted()
    assert isinstance(await scene.gateway.send(order), Done)
    (call,) = scene.link.calls
    if isinstance(order, ModifyStops):
        assert (call.kwargs["sl"], call.kwargs["tp"]) == (order.stop_loss or 0.0, order.take_profit or 0.0)
    else:
        assert call.kwargs["volume"] == order.volume


async def test_a_dealers_price_has_the_decimals_of_the_symbol() -> None:
    quote = {**TICK, "bid": 3 * 1.1, "ask": 3.3002}  # 3.3000000000000003
    instant = {"struct": {**SYMBOL, "trade_exemode": 1}}
    scene = await scripted({"symbol_info": [instant], "symbol_info_tick": [{"struct": quote}]})
    assert isinstance(await scene.gateway.send(CLOSE), Done)
    assert scene.link.calls[-1].kwargs["price"] == 3.3


async def test_a_dealer_without_a_quote_is_not_asked() -> None:
    instant = {"struct": {**SYMBOL, "trade_exemode": 0}}
    scene = await scripted({"symbol_info": [instant], "symbol_info_tick": [{"struct": {**TICK, "bid": 0.0}}]})
    outcome = await scene.gateway.send(CLOSE)
    assert isinstance(outcome, Refused)
    assert (outcome.code, scene.sends) == ("no_price", 0)


async def test_a_symbol_without_a_volume_step_counts_in_least_volumes() -> None:
    scene = await scripted({"symbol_info": [{"struct": {**SYMBOL, "volume_step": 0.0, "volume_min": 0.1}}]})
    assert isinstance(await scene.gateway.send(replace(CLOSE, volume=0.2)), Done)
    assert isinstance(await scene.gateway.send(replace(CLOSE, volume=0.25)), Refused)
