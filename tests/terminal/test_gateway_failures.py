"""Every way an answer can be missing has its own code, and none of them is an empty answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from gateway_kit import ACCOUNT, CLOSE, HEALTHY, SYMBOL, answered, scripted, simulated

from dtms_service.domain.outcome import Done, Refused, Unknown
from dtms_service.domain.values import Timeframe
from dtms_service.market.snapshot import Needs
from dtms_service.terminal.gateway import Gateway

FAILURES = [
    # what MetaTrader does, the code that says so (texts: mt5.md 1.4)
    ({"value": None, "error": (-1, "Terminal: Call failed")}, "unread"),
    ({"value": None, "error": (-3, "Terminal: Out of memory")}, "unread"),
    ({"value": None, "error": (-2, "Terminal: Invalid params")}, "bad_request"),
    ({"value": False, "error": (-2, "Invalid arguments")}, "bad_request"),
    ({"value": False, "error": (1, "Success")}, "bad_request"),
    ({"value": None, "error": (-10000, "IPC call failed")}, "link_down"),
    ({"value": None, "error": (-10001, "IPC send failed")}, "link_down"),
    ({"value": None, "error": (-10002, "IPC recv failed")}, "link_down"),
    ({"value": None, "error": (-10004, "No IPC connection")}, "link_down"),
    ({"value": False, "error": (-10004, "No IPC connection")}, "link_down"),
    ({"raises": "returned a result with an exception set"}, "terminal_raised"),
    ({"value": 0}, "bad_answer"),
    ({"value": [1, 2]}, "bad_answer"),
    ({"structs": [{"of_another": "version"}]}, "bad_answer"),
]
READS: dict[str, tuple[str, Callable[[Gateway], Awaitable[Any]]]] = {
    "positions": ("positions_get", lambda gateway: gateway.positions()),
    "orders": ("orders_get", lambda gateway: gateway.orders()),
    "deals of one": ("history_deals_get", lambda gateway: gateway.deals_of(7)),
    "deals since": ("history_deals_get", lambda gateway: gateway.deals_since(0.0)),
    "snapshot, positions": ("positions_get", lambda gateway: gateway.snapshot(Needs())),
    "snapshot, account": ("account_info", lambda gateway: gateway.snapshot(Needs())),
    "snapshot, terminal": ("terminal_info", lambda gateway: gateway.snapshot(Needs())),
}


@pytest.mark.parametrize(("failure", "code"), FAILURES)
@pytest.mark.parametrize("read", READS)
async def test_every_failed_read_is_unknown_with_the_code_of_its_class(
    read: str, failure: dict[str, Any], code: str
) -> None:
    function, ask = READS[read]
    scene = await scripted({function: [*HEALTHY[function], failure]})
    await ask(scene.gateway)
    outcome = await ask(scene.gateway)
    assert isinstance(outcome, Unknown)
    assert outcome.code == code
    assert outcome.detail


@pytest.mark.parametrize("read", ["positions", "orders", "deals of one", "deals since"])
async def test_an_empty_tuple_is_an_answer(read: str) -> None:
    scene = await scripted()
    assert await READS[read][1](scene.gateway) == Done(())


@pytest.mark.parametrize(("failure", "code"), FAILURES)
async def test_a_clock_that_cannot_be_measured_says_why(failure: dict[str, Any], code: str) -> None:
    # symbols_get answers False where every other function answers None (mt5.md 1.2)
    scene = await scripted({"symbols_get": [failure]}, offset=None, learn=False)
    outcome = await scene.gateway.connect()
    assert isinstance(outcome, Unknown)
    assert outcome.code == code


@pytest.mark.parametrize(
    ("failure", "kind", "code"),
    [
        ({"value": None, "error": (-2, 'Invalid "comment" argument')}, Refused, "bad_request"),
        ({"value": False, "error": (-2, "Unnamed arguments not allowed")}, Refused, "bad_request"),
        ({"value": None, "error": (-8, "Auto-Trading using Python API disabled")}, Refused, "api_disabled"),
        ({"value": None, "error": (-10004, "No IPC connection")}, Refused, "not_sent"),
        ({"value": None, "error": (-10000, "IPC call failed")}, Unknown, "link_down"),
        ({"value": None, "error": (-10001, "IPC send failed")}, Unknown, "link_down"),
        ({"value": None, "error": (-10002, "IPC recv failed")}, Unknown, "link_down"),
        ({"value": None, "error": (-1, "Terminal: Call failed")}, Unknown, "no_reply"),
        ({"value": None, "error": (1, "Success")}, Unknown, "no_reply"),
        ({"raises": "returned a result with an exception set"}, Unknown, "terminal_raised"),
        ({"value": True}, Unknown, "bad_answer"),
        ({"struct": {"retcode": 10009}}, Unknown, "bad_answer"),
        (answered(10016), Refused, "invalid_stops"),
        (answered(10012), Unknown, "server_timeout"),
        (answered(10012, request_id=0), Refused, "server_timeout"),
        (answered(10099), Unknown, "retcode"),
    ],
)
async def test_every_order_without_a_clear_yes_says_whether_it_may_have_happened(
    failure: dict[str, Any], kind: type, code: str
) -> None:
    scene = await scripted({"order_send": [failure]})
    outcome = await scene.gateway.send(CLOSE)
    assert isinstance(outcome, kind)
    assert outcome.code == code


async def test_a_hang_is_a_timeout_and_later_questions_find_a_new_backend(tmp_path: Path) -> None:
    terminal = await simulated(tmp_path)
    await terminal.simulator.set_fault({"kind": "hang", "call": "positions_get"})
    outcome = await terminal.gateway.positions()
    assert isinstance(outcome, Unknown)
    assert outcome.code == "timeout"
    assert isinstance(await terminal.gateway.positions(), Done)
    await terminal.gateway.close()


async def test_after_the_end_nothing_was_sent(tmp_path: Path) -> None:
    terminal = await simulated(tmp_path)
    await terminal.gateway.close()
    for outcome in (await terminal.gateway.positions(), await terminal.gateway.send(CLOSE)):
        assert isinstance(outcome, Refused)
        assert outcome.code == "not_sent"


async def test_a_symbol_whose_reads_raise_leaves_the_others_alone() -> None:
    boom = {"raises": "returned a result with an exception set"}
    scene = await scripted({"symbol_info_tick X": [boom], "copy_rates_from_pos": [boom]})
    read = await scene.gateway.snapshot(Needs(("EURUSD", "X"), (("X", Timeframe.M5, 3),)))
    assert isinstance(read, Done)
    assert set(read.value.ticks) == {"EURUSD"}
    assert read.value.bars == {}


async def test_facts_that_cannot_be_read_now_are_not_an_unknown_symbol() -> None:
    scene = await scripted({"symbol_info": [{"value": None, "error": (-10001, "IPC send failed")}]}, learn=False)
    read = await scene.gateway.specs(["EURUSD"])
    assert isinstance(read, Unknown)
    assert read.code == "link_down"


async def test_one_symbol_that_cannot_be_told_leaves_the_others_alone() -> None:
    lost = {"value": None, "error": (-1, "Terminal: Call failed")}
    scene = await scripted({"symbol_info B": [lost], "symbol_info C": [{"struct": {**SYMBOL, "name": "C"}}]})
    read = await scene.gateway.specs(["EURUSD", "B", "C"])
    assert isinstance(read, Done)
    assert set(read.value) == {"EURUSD", "C"}


async def test_an_account_of_an_unheard_of_kind_is_no_exception() -> None:
    scene = await scripted({"account_info": [{"struct": {**ACCOUNT, "margin_mode": 9}}]}, learn=False)
    outcome = await scene.gateway.connect()
    assert isinstance(outcome, Unknown)
    assert outcome.code == "bad_answer"
