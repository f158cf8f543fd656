"""The gateway: what MetaTrader says as domain values and outcomes; a failed read is never an empty one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from gateway_kit import Terminal, simulated

from dtms_service.domain.orders import ClosePosition, ModifyStops
from dtms_service.domain.outcome import Done, Refused, Unknown
from dtms_service.domain.values import DealEntry, DealReason, Side, Timeframe
from dtms_service.market.snapshot import Needs
from dtms_service.terminal import offset, retcodes
from dtms_service.terminal.requests import FOK, IOC, RETURN, fillings


@pytest.fixture
async def terminal(tmp_path: Path) -> AsyncIterator[Terminal]:
    found = await simulated(tmp_path)
    yield found
    await found.gateway.close()


async def test_a_snapshot_is_one_request_and_its_times_are_utc(terminal: Terminal) -> None:
    await terminal.opened(stop_loss=1.0)
    terminal.link.requests.clear()
    read = await terminal.gateway.snapshot(Needs(("EURUSD",), (("EURUSD", Timeframe.M15, 20),)))
    assert len(terminal.link.requests) == 1
    assert isinstance(read, Done)
    snapshot = read.value
    (position,) = snapshot.positions
    assert (position.side, position.stop_loss, position.take_profit) == (Side.BUY, 1.0, None)
    assert position.time == terminal.now
    assert snapshot.ticks["EURUSD"].time <= terminal.now
    bars = snapshot.bars["EURUSD", Timeframe.M15]
    assert len(bars) == 20
    assert bars.time[-1] <= terminal.now < bars.time[-1] + 900


@pytest.mark.parametrize("kind", ["read_none", "disconnected"])
async def test_a_failed_read_is_unknown_or_marked_and_never_empty(terminal: Terminal, kind: str) -> None:
    await terminal.opened()
    await terminal.simulator.set_fault({"kind": kind, "count": 100, "seconds": 60})
    read = await terminal.gateway.snapshot(Needs())
    assert isinstance(read, Unknown) or (isinstance(read, Done) and not read.value.connected)
    await terminal.simulator.clear_faults()
    read = await terminal.gateway.snapshot(Needs())
    assert isinstance(read, Done)
    assert len(read.value.positions) == 1


async def test_no_positions_is_an_empty_answer_not_a_failure(terminal: Terminal) -> None:
    assert await terminal.gateway.positions() == Done(())


async def test_stops_are_sent_with_both_levels_and_keywords(terminal: Terminal) -> None:
    ticket = await terminal.opened(stop_loss=1.0, take_profit=1.5)
    terminal.link.requests.clear()
    outcome = await terminal.gateway.send(ModifyStops(ticket, "EURUSD", 1.01, 1.5, 445400000000001, "DTTabc"))
    assert isinstance(outcome, Done)
    (sent,) = terminal.link.requests[-1]
    assert (sent.name, sent.args) == ("order_send", ())
    assert (sent.kwargs["sl"], sent.kwargs["tp"]) == (1.01, 1.5)
    assert {type(sent.kwargs[name]) for name in ("sl", "tp")} == {float}
    assert {type(sent.kwargs[name]) for name in ("position", "magic", "action")} == {int}


async def test_a_partial_close_is_a_deal_against_the_position_with_our_magic(terminal: Terminal) -> None:
    ticket = await terminal.opened(side="SELL")
    outcome = await terminal.gateway.send(ClosePosition(ticket, "EURUSD", Side.SELL, 0.04, 445400000000002, "DTPabc"))
    assert isinstance(outcome, Done)
    assert outcome.value.volume == 0.04
    deals = await terminal.gateway.deals_of(ticket)
    assert isinstance(deals, Done)
    out = deals.value[-1]
    assert (out.entry, out.volume, out.magic, out.reason) == (DealEntry.OUT, 0.04, 445400000000002, DealReason.EXPERT)
    assert [deal.side for deal in deals.value] == [Side.SELL, Side.BUY]


async def test_a_lost_reply_is_unknown_whether_it_was_executed_or_not(terminal: Terminal) -> None:
    for kind, left in (("reply_lost_executed", 0.06), ("reply_lost_not_executed", 0.1)):
        ticket = await terminal.opened()
        await terminal.simulator.set_fault({"kind": kind})
        order = ClosePosition(ticket, "EURUSD", Side.BUY, 0.04, 445400000000003, "DTPabc")
        assert isinstance(await terminal.gateway.send(order), Unknown)
        read = await terminal.gateway.positions()
        assert isinstance(read, Done)
        assert next(p.volume for p in read.value if p.ticket == ticket) == left


@pytest.mark.parametrize(("retcode", "kind"), [(10016, Refused), (10018, Refused), (10012, Unknown), (10031, Unknown)])
async def test_a_return_code_decides_the_outcome(terminal: Terminal, retcode: int, kind: type) -> None:
    ticket = await terminal.opened()
    await terminal.simulator.set_fault({"kind": "retcode", "retcode": retcode})
    order = ClosePosition(ticket, "EURUSD", Side.BUY, 0.04, 445400000000004, "DTPabc")
    outcome = await terminal.gateway.send(order)
    assert isinstance(outcome, kind)
    assert outcome.retcode == retcode


async def test_a_symbol_the_terminal_does_not_know_is_left_out(terminal: Terminal) -> None:
    read = await terminal.gateway.specs(["EURUSD", "NOPE"])
    assert isinstance(read, Done)
    assert set(read.value) == {"EURUSD"}


def test_every_return_code_of_the_package_has_a_meaning() -> None:
    # TRADE_RETCODE_* of MetaTrader5 5.0.6231, and 10046, which its constants lack (mt5.md 1.3)
    known = {10004, *range(10006, 10037), *range(10038, 10047)}
    assert set(retcodes.MEANINGS) == known


@pytest.mark.parametrize(
    ("code", "kind"), [(-2, Refused), (-8, Refused), (-10004, Refused), (-1, Unknown), (-10002, Unknown), (1, Unknown)]
)
def test_an_order_without_an_answer_is_refused_only_where_it_was_certainly_not_sent(code: int, kind: type) -> None:
    assert isinstance(retcodes.no_answer(code, "text"), kind)


def test_an_answer_that_never_left_the_terminal_is_refused_whatever_its_code() -> None:
    for retcode in (10011, 10012, 10031, 99999):
        assert isinstance(retcodes.judge(retcode, "", 0), Refused)
        assert isinstance(retcodes.judge(retcode, "", 7), Unknown)
    assert retcodes.judge(10009, "Request executed", 7) is None
    assert retcodes.judge(10025, "No changes", 7) is None


@pytest.mark.parametrize(
    ("execution", "bits", "modes"),
    [
        (0, 0, (FOK, IOC, RETURN)),
        (1, 0, (FOK, IOC, RETURN)),
        (2, 3, (FOK, IOC)),
        (2, 1, (FOK,)),
        (2, 2, (IOC,)),
        (3, 0, (RETURN,)),
        (3, 1, (FOK, RETURN)),
    ],
)
def test_the_filling_follows_execution_mode_and_bits(execution: int, bits: int, modes: tuple[int, ...]) -> None:
    info: Mapping[str, Any] = {"trade_exemode": execution, "filling_mode": bits}
    assert fillings(info) == modes


@pytest.mark.parametrize("hours", [-5, 0, 2, 3, 5.75])
def test_the_offset_is_what_fresh_quotes_of_two_symbols_agree_on(hours: float) -> None:
    now, ahead = 1_700_000_000.0, hours * 3600
    assert offset.measure([now + ahead - 1, now + ahead - 20, now + ahead - 5 * 86_400 - 333], now) == ahead


def test_one_symbol_or_stale_quotes_say_nothing_about_the_offset() -> None:
    now = 1_700_000_000.0
    assert offset.measure([now + 7200], now) is None
    assert offset.measure([now + 7200 - 400, now + 7200 - 411], now) is None
    assert offset.measure([], now) is None
