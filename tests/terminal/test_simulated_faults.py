"""What each fault kind does (INTERFACE 3.6), and that it is counted down before it acts."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from simulated_kit import START, deals, later, market_order, opened, options, positions, write_bars

from dtms_service.terminal.simulated.backend import SimulatedTerminal, open_backend
from dtms_service.terminal.simulated.faults import KINDS

LOST = (-10002, "IPC recv failed")


@pytest.fixture
def bars(tmp_path: Path) -> Path:
    for symbol in ("EURUSD", "GBPUSD"):
        rows = [(1.1 + n / 1e4, 1.1 + n / 1e4, 1.1 + n / 1e4, 1.1 + n / 1e4) for n in range(300)]
        write_bars(tmp_path / "bars", rows, symbol=symbol)
    return tmp_path / "bars"


@pytest.fixture
def terminal(tmp_path: Path, bars: Path) -> SimulatedTerminal:
    found = opened(tmp_path, bars)
    found.symbol_select("EURUSD", True)
    return found


def reopened(terminal: SimulatedTerminal, tmp_path: Path, bars: Path) -> SimulatedTerminal:
    """As after the death of the child process."""
    terminal.close()
    return opened(tmp_path, bars)


def armed(terminal: SimulatedTerminal, kind: str, **more: Any) -> dict[str, Any]:
    answer: dict[str, Any] = terminal.simulator_set_fault({"kind": kind, **more})
    return answer


def test_every_kind_of_the_interface_and_of_the_fault_matrix_exists() -> None:
    interface = {
        "reply_lost_executed", "reply_lost_not_executed", "executed_late", "partial_fill", "read_none",
        "read_omits_ticket", "hang", "slow", "disconnected", "retcode", "magic_zeroed", "ticket_changed", "stale_ticks",
        "bad_tick", "market_closed",
    }  # fmt: skip
    matrix = {"placed", "visible_late", "comment_rewritten", "stopped_first"}
    switches = {"terminal_killed", "unreachable", "autotrading_off", "api_off", "experts_off"}
    assert set(KINDS) == interface | matrix | switches


def test_c50_a_lost_reply_of_an_executed_order(terminal: SimulatedTerminal) -> None:
    assert armed(terminal, "reply_lost_executed")["count"] == 1
    assert market_order(terminal, "BUY", 0.1, magic=5) is None
    assert terminal.last_error() == LOST
    assert [row["magic"] for row in positions(terminal)] == [5]
    assert market_order(terminal, "BUY", 0.1).retcode == 10009, "the fault is used up"


def test_a_lost_reply_of_an_order_that_never_executed(terminal: SimulatedTerminal) -> None:
    armed(terminal, "reply_lost_not_executed", count=2)
    for _ in range(2):
        assert market_order(terminal, "BUY", 0.1) is None
        assert terminal.last_error() == LOST
    assert positions(terminal) == []
    assert market_order(terminal, "BUY", 0.1).retcode == 10009


def test_a_late_order_executes_after_its_delay_at_the_price_of_then(terminal: SimulatedTerminal) -> None:
    armed(terminal, "executed_late", seconds=90)
    assert market_order(terminal, "BUY", 0.1, magic=5) is None
    assert terminal.last_error() == LOST
    later(terminal, 89)
    assert positions(terminal) == []
    later(terminal, 31)
    (position,) = positions(terminal)
    assert (position["magic"], position["time"], position["price_open"]) == (5, START + 90, 1.1002)
    later(terminal, 600)
    assert len(positions(terminal)) == 1, "it executes once"


def test_a_late_order_arrives_also_at_another_child_and_after_all_faults_are_off(
    terminal: SimulatedTerminal, tmp_path: Path, bars: Path
) -> None:
    ticket = market_order(terminal, "BUY", 0.2).order
    armed(terminal, "executed_late", seconds=90)
    market_order(terminal, "SELL", 0.1, position=ticket)
    terminal.simulator_clear_faults()
    again = reopened(terminal, tmp_path, bars)
    later(again, 120)
    assert [row["volume"] for row in positions(again)] == [0.1]


def test_a_late_order_that_is_impossible_by_then_comes_to_nothing(terminal: SimulatedTerminal) -> None:
    ticket = market_order(terminal, "BUY", 0.1).order
    armed(terminal, "executed_late", seconds=90)
    market_order(terminal, "SELL", 0.1, position=ticket)
    market_order(terminal, "SELL", 0.1, position=ticket)
    later(terminal, 120)
    assert positions(terminal) == []
    assert len([deal for deal in deals(terminal) if deal["entry"] == 1]) == 1


def test_a_partial_fill_of_a_deal(terminal: SimulatedTerminal) -> None:
    ticket = market_order(terminal, "BUY", 0.05).order
    armed(terminal, "partial_fill")
    assert terminal.order_send(action=6, position=ticket, sl=1.05, tp=0.0).retcode == 10009, "not for levels"
    result = market_order(terminal, "SELL", 0.05, position=ticket)
    assert (result.retcode, result.volume) == (10010, 0.02)
    assert [row["volume"] for row in positions(terminal)] == [0.03]
    assert market_order(terminal, "SELL", 0.03, position=ticket).retcode == 10009


def test_a_failed_read(terminal: SimulatedTerminal) -> None:
    armed(terminal, "read_none", count=2)
    assert terminal.positions_get() is None
    assert terminal.last_error() == (-1, "Terminal: Call failed")
    assert terminal.copy_rates_from_pos("EURUSD", 1, 0, 5) is None
    assert terminal.positions_get() == ()


def test_a_failed_read_of_one_function(terminal: SimulatedTerminal) -> None:
    armed(terminal, "read_none", call="positions_get")
    assert terminal.account_info() is not None
    assert terminal.positions_get() is None


def test_a_read_that_omits_a_ticket(terminal: SimulatedTerminal) -> None:
    armed(terminal, "read_omits_ticket")
    assert terminal.positions_get() == (), "without a position it waits"
    first, second = (market_order(terminal, "BUY", 0.1, symbol).order for symbol in ("EURUSD", "GBPUSD"))
    assert [row.ticket for row in terminal.positions_get()] == [second]
    assert [row.ticket for row in terminal.positions_get()] == [first, second]
    armed(terminal, "read_omits_ticket", symbol="GBPUSD")
    assert [row.ticket for row in terminal.positions_get()] == [first]
    armed(terminal, "read_omits_ticket", ticket=second)
    assert [row.ticket for row in terminal.positions_get()] == [first]
    assert terminal.last_error() == (1, "Success")


def test_a_hang_is_virtual_while_stepped(terminal: SimulatedTerminal) -> None:
    armed(terminal, "hang")
    assert market_order(terminal, "BUY", 0.1) is None
    assert terminal.took() == 3600.0
    assert positions(terminal) == []
    assert terminal.account_info() is not None
    assert terminal.took() == 0.0


def test_a_slow_call_succeeds_and_says_what_it_took(terminal: SimulatedTerminal) -> None:
    armed(terminal, "slow")
    assert market_order(terminal, "BUY", 0.1).retcode == 10009
    assert terminal.took() == 2.0
    armed(terminal, "slow", seconds=30, call="symbol_info_tick")
    assert terminal.account_info() is not None
    assert terminal.took() == 0.0
    assert terminal.symbol_info_tick("EURUSD") is not None
    assert terminal.took() == 30.0


def test_on_a_running_clock_a_delay_is_waited_for_in_market_seconds(tmp_path: Path, bars: Path) -> None:
    slept: list[float] = []
    wanted = options(tmp_path, bars, clock="60")
    running = open_backend(wanted, wall=lambda: 1000.0, sleep=slept.append)
    running.initialize()
    running.simulator_set_fault({"kind": "slow", "seconds": 120})
    assert running.account_info() is not None
    assert slept == [2.0]
    assert running.took() == 0.0


def test_c48_a_broken_link_to_the_broker(terminal: SimulatedTerminal) -> None:
    armed(terminal, "disconnected", count=2)
    assert terminal.terminal_info().connected is False
    result = market_order(terminal, "BUY", 0.1)
    assert (result.retcode, result.request_id > 0) == (10031, True)
    assert positions(terminal) == []
    assert terminal.terminal_info().connected is True


def test_a_link_that_is_down_for_a_while_shows_old_prices(terminal: SimulatedTerminal) -> None:
    armed(terminal, "disconnected", seconds=300)
    later(terminal, 240)
    for _ in range(3):
        assert terminal.terminal_info().connected is False
    assert terminal.symbol_info_tick("EURUSD").time == START
    assert terminal.symbol_info("EURUSD").time == START
    later(terminal, 120)
    assert terminal.terminal_info().connected is True
    assert terminal.symbol_info_tick("EURUSD").time == START + 360


def test_a_retcode(terminal: SimulatedTerminal) -> None:
    armed(terminal, "retcode", retcode=10012)
    result = market_order(terminal, "BUY", 0.1)
    assert (result.retcode, result.deal, result.comment) == (10012, 0, "Timeout")
    assert positions(terminal) == []
    armed(terminal, "retcode")
    assert market_order(terminal, "BUY", 0.1).retcode == 10004


def test_a_zeroed_magic(terminal: SimulatedTerminal) -> None:
    armed(terminal, "magic_zeroed")
    result = market_order(terminal, "BUY", 0.1, magic=5)
    assert result.request.magic == 5
    assert positions(terminal)[0]["magic"] == 0
    assert deals(terminal)[-1]["magic"] == 0


def test_c54_a_changed_ticket_keeps_the_identifier(terminal: SimulatedTerminal, tmp_path: Path, bars: Path) -> None:
    ticket = market_order(terminal, "BUY", 0.1, sl=1.05).order
    armed(terminal, "ticket_changed")
    (position,) = terminal.positions_get()
    assert position.ticket != ticket
    assert (position.identifier, position.sl) == (ticket, 1.05)
    again = reopened(terminal, tmp_path, bars)
    assert [row.ticket for row in again.positions_get()] == [position.ticket]
    assert market_order(again, "SELL", 0.1, position=ticket).retcode == 10036
    assert market_order(again, "SELL", 0.1, position=position.ticket).retcode == 10009


def test_stale_ticks_by_count_and_by_time(terminal: SimulatedTerminal) -> None:
    armed(terminal, "stale_ticks", count=1, symbol="EURUSD")
    later(terminal, 600)
    assert terminal.symbol_info_tick("EURUSD").time == START
    assert terminal.symbol_info_tick("EURUSD").time == START + 600
    armed(terminal, "stale_ticks", seconds=300)
    later(terminal, 290)
    assert [terminal.symbol_info_tick("EURUSD").time for _ in range(3)] == [START + 600] * 3
    later(terminal, 20)
    assert terminal.symbol_info_tick("EURUSD").time == START + 900


def test_bad_ticks_are_unusable_in_turn(terminal: SimulatedTerminal) -> None:
    armed(terminal, "bad_tick", count=3)
    empty, crossed, shifted = (terminal.symbol_info_tick("EURUSD") for _ in range(3))
    assert (empty.bid, empty.ask) == (0.0, 0.0)
    assert crossed.bid > crossed.ask
    assert shifted.bid == pytest.approx(0.0011)
    assert terminal.symbol_info_tick("EURUSD").bid == 1.1


def test_a_closed_market_by_count_and_by_time(terminal: SimulatedTerminal) -> None:
    armed(terminal, "market_closed")
    assert market_order(terminal, "BUY", 0.1).retcode == 10018
    assert market_order(terminal, "BUY", 0.1).retcode == 10009
    armed(terminal, "market_closed", seconds=600)
    later(terminal, 300)
    assert [market_order(terminal, "BUY", 0.1).retcode for _ in range(2)] == [10018, 10018]
    assert terminal.symbol_info_tick("EURUSD").time == START
    later(terminal, 301)
    assert market_order(terminal, "BUY", 0.1).retcode == 10009


# --- counting ---


def test_a_fault_is_counted_down_on_disk_before_it_acts(
    terminal: SimulatedTerminal, tmp_path: Path, bars: Path
) -> None:
    armed(terminal, "hang", count=2)
    terminal.account_info()
    again = reopened(terminal, tmp_path, bars)
    again.account_info()
    assert again.took() == 3600.0
    third = reopened(again, tmp_path, bars)
    third.account_info()
    assert third.took() == 0.0


def test_simulator_functions_meet_no_fault_and_use_none_up(terminal: SimulatedTerminal) -> None:
    armed(terminal, "read_none")
    armed(terminal, "retcode")
    armed(terminal, "hang", call="positions_get")
    terminal.simulator_open_position({"symbol": "EURUSD", "side": "BUY", "volume": 0.1})
    assert len(positions(terminal)) == 1
    later(terminal, 60)
    assert terminal.account_info() is None
    assert market_order(terminal, "BUY", 0.1).retcode == 10004


def test_a_fault_of_one_symbol_leaves_the_others_alone(terminal: SimulatedTerminal) -> None:
    armed(terminal, "retcode", symbol="GBPUSD")
    assert market_order(terminal, "BUY", 0.1).retcode == 10009
    assert market_order(terminal, "BUY", 0.1, "GBPUSD").retcode == 10004


def test_only_one_fault_decides_how_an_order_ends(terminal: SimulatedTerminal) -> None:
    armed(terminal, "reply_lost_executed")
    armed(terminal, "reply_lost_not_executed")
    market_order(terminal, "BUY", 0.1)
    assert len(positions(terminal)) == 1
    market_order(terminal, "BUY", 0.1)
    assert len(positions(terminal)) == 1
    assert market_order(terminal, "BUY", 0.1).retcode == 10009


def test_a_probability_is_drawn_from_the_seed_and_goes_on_after_a_restart(tmp_path: Path, bars: Path) -> None:
    def hits(folder: Path, restart_after: int, seed: int) -> list[bool]:
        terminal = opened(folder, bars)
        armed(terminal, "read_none", probability=0.5, count=1000, seed=seed)
        found = []
        for n in range(60):
            if n == restart_after:
                terminal = reopened(terminal, folder, bars)
            found.append(terminal.positions_get() is None)
        return found

    one = hits(tmp_path / "a", 1000, 3)
    assert hits(tmp_path / "b", 30, 3) == one
    assert hits(tmp_path / "c", 1000, 4) != one
    assert 15 < sum(one) < 45


def test_clearing_takes_all_faults_off(terminal: SimulatedTerminal) -> None:
    armed(terminal, "read_none", count=5)
    armed(terminal, "hang")
    assert terminal.simulator_clear_faults() == {"cleared": 2}
    assert terminal.positions_get() == ()
    assert terminal.took() == 0.0


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({}, "unknown fault kind None"),
        ({"kind": "explode"}, "unknown fault kind 'explode'; the kinds are reply_lost_executed"),
        ({"kind": "hang", "count": 0}, "count is 0"),
        ({"kind": "hang", "count": 1.5}, "count is 1.5"),
        ({"kind": "hang", "count": True}, "count is True"),
        ({"kind": "hang", "probability": 2}, "probability is 2"),
        ({"kind": "hang", "probability": "0.5"}, "probability is '0.5'"),
        ({"kind": "hang", "seconds": math.nan}, "seconds is nan"),
        ({"kind": "hang", "seconds": -1}, "seconds is -1"),
        ({"kind": "hang", "symbol": "NOPE"}, "unknown symbol 'NOPE'; this market has EURUSD, GBPUSD"),
        ({"kind": "hang", "call": "initialize"}, "hang cannot hit 'initialize'"),
        ({"kind": "retcode", "retcode": 10009}, "retcode 10009 is no rejection"),
        ({"kind": "retcode", "retcode": "10004"}, "retcode is '10004'"),
        ({"kind": "hang", "times": 3}, "a fault has no field 'times'"),
    ],
)
def test_an_unusable_fault_is_refused_in_one_sentence(
    terminal: SimulatedTerminal, body: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        terminal.simulator_set_fault(body)
    assert sentence in str(refused.value)
    assert terminal.simulator_clear_faults() == {"cleared": 0}
