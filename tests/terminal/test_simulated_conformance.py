"""The conformance list of the MetaTrader5 reference by its numbers: calls, reads and everyday orders.

The other kinds of account, symbol and habit are in ``test_simulated_conformance_modes``.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from simulated_kit import START, flat, later, market_order, opened, options, write_bars

from dtms_service.terminal.simulated.backend import SimulatedTerminal, open_backend

OK = (1, "Success")
NO_LINK = (-10004, "No IPC connection")


@pytest.fixture
def terminal(tmp_path: Path) -> SimulatedTerminal:
    """EURUSD and GBPUSD, flat at 1.10000/1.10010 for ten hours, then up; both in Market Watch."""
    for symbol in ("EURUSD", "GBPUSD"):
        write_bars(tmp_path / "bars", [*flat(1.1, 600), *flat(1.2, 100)], symbol=symbol)
    found = opened(tmp_path, tmp_path / "bars")
    found.symbol_select("EURUSD", True)
    found.symbol_select("GBPUSD", True)
    later(found, 300)
    return found


def test_c01_every_call_before_initialize_fails_without_a_link(tmp_path: Path) -> None:
    terminal = open_backend(options(tmp_path))
    calls: list[tuple[Any, Any]] = [
        (terminal.account_info, None),
        (terminal.terminal_info, None),
        (terminal.positions_get, None),
        (terminal.positions_total, None),
        (terminal.orders_get, None),
        (terminal.symbols_total, None),
        (terminal.symbols_get, None),
        (lambda: terminal.symbol_info("EURUSD"), None),
        (lambda: terminal.symbol_select("EURUSD", True), False),
        (lambda: terminal.market_book_add("EURUSD"), False),
        (lambda: terminal.market_book_get("EURUSD"), None),
        (lambda: terminal.copy_rates_from_pos("EURUSD", 1, 0, 1), None),
        (lambda: terminal.copy_ticks_range("EURUSD", 0, 1, -1), None),
        (lambda: terminal.order_send({}), None),
        (lambda: terminal.order_check({}), None),
        (lambda: terminal.history_deals_get(0, 1), None),
        (terminal.login, False),
    ]
    for call, failure in calls:
        assert call() == failure
        assert terminal.last_error() == NO_LINK


def test_c02_the_version_before_initialize_is_zeros(tmp_path: Path) -> None:
    terminal = open_backend(options(tmp_path))
    assert terminal.version() == (0, 0, "")
    assert terminal.last_error() == NO_LINK


def test_c03_shutdown_is_always_true_and_cuts_the_link(terminal: SimulatedTerminal) -> None:
    assert terminal.shutdown() is True
    assert terminal.last_error() == OK
    assert terminal.shutdown() is True
    assert terminal.account_info() is None
    assert terminal.initialize() is True
    assert terminal.version()[:2] == (500, 6231)


def test_c04_a_success_resets_the_last_error(terminal: SimulatedTerminal) -> None:
    assert terminal.symbol_info("NOPE") is None
    assert terminal.last_error()[0] == -4
    assert terminal.positions_total() == 0
    assert terminal.last_error() == OK


def test_c05_no_positions_is_an_empty_tuple_not_none(terminal: SimulatedTerminal) -> None:
    assert terminal.positions_get() == ()
    assert terminal.last_error() == OK
    assert terminal.positions_total() == 0
    assert terminal.orders_get() == ()
    assert terminal.orders_total() == 0


def pair(terminal: SimulatedTerminal) -> tuple[int, int]:
    """Tickets of a position in EURUSD and one in GBPUSD."""
    return market_order(terminal, "BUY", 0.1).order, market_order(terminal, "SELL", 0.1, "GBPUSD").order


def tickets(terminal: SimulatedTerminal, **filters: Any) -> list[int]:
    return [row.ticket for row in terminal.positions_get(**filters)]


def test_c06_an_unknown_ticket_is_empty_and_no_error(terminal: SimulatedTerminal) -> None:
    pair(terminal)
    assert terminal.positions_get(ticket=999) == ()
    assert terminal.last_error() == OK


def test_c07_an_unnamed_argument_is_refused(terminal: SimulatedTerminal) -> None:
    assert terminal.positions_get("EURUSD") is None
    assert terminal.last_error() == (-2, "Unnamed arguments not allowed")


def test_c08_a_ticket_wins_over_a_symbol_and_a_symbol_over_a_group(terminal: SimulatedTerminal) -> None:
    euro, pound = pair(terminal)
    assert tickets(terminal, ticket=euro, symbol="GBPUSD") == [euro]
    assert tickets(terminal, symbol="GBPUSD", group="EUR*") == [pound]


def test_c09_an_unknown_keyword_is_ignored(terminal: SimulatedTerminal) -> None:
    both = list(pair(terminal))
    assert tickets(terminal, foo=1) == both
    assert tickets(terminal, magic=7) == both


def test_c10_a_ticket_is_a_python_int(terminal: SimulatedTerminal) -> None:
    for wrong in ("5", np.int64(5), 5.0):
        assert terminal.positions_get(ticket=wrong) is None
        assert terminal.last_error() == (-2, 'Invalid "ticket" argument')
    with pytest.raises(SystemError):
        terminal.positions_get(ticket=-1)


@pytest.mark.parametrize(
    ("group", "symbols"),
    [
        ("*USD*,!GBP*", ["EURUSD"]),
        ("!EUR*", []),
        ("eurusd", []),
        ("EUR", []),
        ("EUR*", ["EURUSD"]),
        ("*,!*GBP*", ["EURUSD"]),
        ("!EUR*,*", ["GBPUSD"]),
    ],
)
def test_c11_group_masks(terminal: SimulatedTerminal, group: str, symbols: list[str]) -> None:
    market_order(terminal, "BUY", 0.1)
    market_order(terminal, "BUY", 0.1, "GBPUSD")
    assert [row.symbol for row in terminal.positions_get(group=group)] == symbols


def test_c12_history_wants_two_dates_or_a_ticket_or_a_position(terminal: SimulatedTerminal) -> None:
    for call in (terminal.history_deals_get, terminal.history_orders_get):
        assert call() is None
        assert terminal.last_error() == (-2, "Invalid arguments")
        assert call(date_from=0, date_to=1) is None
        assert call(0) is None
        assert call(position="5") is None
        assert terminal.last_error() == (-2, 'Invalid "position" argument')
    result = market_order(terminal, "BUY", 0.1)
    now = START + 300
    assert [row.ticket for row in terminal.history_deals_get(0, now)][1:] == [result.deal]
    assert [row.ticket for row in terminal.history_deals_get(0, now, group="EUR*")] == [result.deal]
    assert terminal.history_deals_get(0, now - 1, group="EUR*") == ()
    assert [row.ticket for row in terminal.history_deals_get(ticket=result.order)] == [result.deal]
    assert [row.ticket for row in terminal.history_deals_get(position=result.order)] == [result.deal]
    assert [row.ticket for row in terminal.history_orders_get(position=result.order)] == [result.order]
    assert terminal.history_deals_total(0, now) == 2
    assert terminal.history_orders_total(0, now) == 1


def test_c13_a_naive_datetime_is_local_time(terminal: SimulatedTerminal) -> None:
    market_order(terminal, "BUY", 0.1)
    local = datetime.fromtimestamp(START + 300)  # noqa: DTZ006 -- the naive form is what is tested
    assert terminal.history_deals_total(local, local) == 1


def test_c14_an_unknown_symbol_has_no_facts(terminal: SimulatedTerminal) -> None:
    assert terminal.symbol_info("NOPE") is None
    assert terminal.last_error() == (-4, "Terminal: Not found")
    assert terminal.symbol_info_tick("NOPE") is None
    assert terminal.symbol_info("X" * 30) is None
    assert terminal.last_error() == (-2, 'Invalid "symbol" argument')


def test_c15_an_unknown_symbol_cannot_be_selected(terminal: SimulatedTerminal) -> None:
    assert terminal.symbol_select("NOPE", True) is False
    assert terminal.last_error() == (-1, "Terminal: Call failed")


def test_c16_a_symbol_with_a_position_stays_in_market_watch(terminal: SimulatedTerminal) -> None:
    market_order(terminal, "BUY", 0.1)
    assert terminal.symbol_select("EURUSD", False) is False
    assert terminal.symbol_select("GBPUSD", False) is True
    assert terminal.symbol_info("GBPUSD").select is False


def test_a_symbol_outside_market_watch_has_no_quote(terminal: SimulatedTerminal) -> None:
    terminal.symbol_select("GBPUSD", False)
    tick = terminal.symbol_info_tick("GBPUSD")
    assert (tick.time, tick.bid, tick.ask) == (0, 0.0, 0.0)
    terminal.symbol_select("GBPUSD", True)
    tick = terminal.symbol_info_tick("GBPUSD")
    assert (tick.time, tick.time_msc, tick.bid, tick.ask) == (START + 300, (START + 300) * 1000, 1.1, 1.1001)


def test_c18_rates_are_packed_ascending_and_end_with_the_forming_bar(terminal: SimulatedTerminal) -> None:
    rates = terminal.copy_rates_from_pos("EURUSD", terminal.TIMEFRAME_M1, 0, 3)
    assert rates.dtype.itemsize == 60
    assert rates.dtype.names == ("time", "open", "high", "low", "close", "tick_volume", "spread", "real_volume")
    assert rates["time"].tolist() == [START + 180, START + 240, START + 300]
    assert rates["close"][-1] == terminal.symbol_info_tick("EURUSD").bid
    shifted = terminal.copy_rates_from_pos("EURUSD", terminal.TIMEFRAME_M1, 1, 2)
    assert shifted["time"].tolist() == [START + 180, START + 240]
    assert terminal.copy_rates_from("EURUSD", terminal.TIMEFRAME_M1, START + 60, 5)["time"].tolist() == [
        START,
        START + 60,
    ]
    within = terminal.copy_rates_range("EURUSD", terminal.TIMEFRAME_M1, START + 60, START + 120)
    assert within["time"].tolist() == [START + 60, START + 120]
    assert len(terminal.copy_rates_from_pos("EURUSD", terminal.TIMEFRAME_M1, 1000, 5)) == 0


def test_c19_more_bars_than_the_terminal_keeps_fail_whole(terminal: SimulatedTerminal) -> None:
    most = terminal.terminal_info().maxbars
    assert terminal.copy_rates_from_pos("EURUSD", terminal.TIMEFRAME_M1, 0, most) is None
    assert terminal.last_error() == (-2, "Terminal: Invalid params")
    assert terminal.copy_rates_from_pos("EURUSD", terminal.TIMEFRAME_MN1, 0, 1) is None


def test_c21_rates_take_no_keywords_and_no_wrong_types(terminal: SimulatedTerminal) -> None:
    with pytest.raises(TypeError):
        terminal.copy_rates_from_pos(symbol="EURUSD", timeframe=1, start_pos=0, count=1)  # type: ignore[call-arg]
    with pytest.raises(SystemError):
        terminal.copy_rates_from_pos("EURUSD", "M1", 0, 1)  # type: ignore[arg-type]


def refused_argument(terminal: SimulatedTerminal, **field: Any) -> tuple[int, str]:
    """The error of an order that the package does not even send."""
    assert market_order(terminal, "BUY", 0.1, **field) is None
    error = terminal.last_error()
    assert terminal.positions_total() == 0
    return error


def test_c22_a_volume_is_a_float(terminal: SimulatedTerminal) -> None:
    assert refused_argument(terminal, volume=1) == (-2, 'Invalid "volume" argument')
    assert refused_argument(terminal, sl=np.float32(1.0)) == (-2, 'Invalid "sl" argument')
    assert market_order(terminal, "BUY", np.float64(0.1)).retcode == 10009


def test_c23_a_comment_has_at_most_29_characters(terminal: SimulatedTerminal) -> None:
    assert refused_argument(terminal, comment="x" * 30) == (-2, 'Invalid "comment" argument')
    assert refused_argument(terminal, comment=None) == (-2, 'Invalid "comment" argument')
    assert market_order(terminal, "BUY", 0.1, comment="x" * 29).retcode == 10009


def test_c24_a_request_is_a_dict_of_plain_numbers(terminal: SimulatedTerminal) -> None:
    assert refused_argument(terminal, position=np.int64(1)) == (-2, 'Invalid "position" argument')
    assert refused_argument(terminal, position="1") == (-2, 'Invalid "position" argument')
    assert refused_argument(terminal, magic=1.0) == (-2, 'Invalid "magic" argument')
    assert terminal.order_send([1]) is None
    assert terminal.last_error() == (-2, "Invalid arguments")
    with pytest.raises(SystemError):
        market_order(terminal, "BUY", 0.1, magic=-1)
    assert market_order(terminal, "BUY", 0.1, foo=1).retcode == 10009


def test_c25_a_request_is_a_dict_or_keywords_never_both(terminal: SimulatedTerminal) -> None:
    request = {"action": 1, "symbol": "EURUSD", "volume": 0.1, "type": 0}
    assert terminal.order_send(request, x=1) is None
    assert terminal.last_error() == (-2, "Unnamed arguments not allowed")
    assert terminal.order_send(request).retcode == 10009
    assert terminal.order_send(**request).retcode == 10009


def test_c26_order_check_projects_the_money_and_changes_nothing(terminal: SimulatedTerminal) -> None:
    checked = terminal.order_check(action=1, symbol="EURUSD", volume=1.0, type=0)
    # 1 lot of 100,000 EUR at leverage 100 is 1,000 EUR of margin; EURUSD is 1.10000.
    assert (checked.retcode, checked.comment, checked.balance) == (0, "Done", 100_000.0)
    assert (checked.margin, checked.margin_free, checked.margin_level) == (1100.0, 98_900.0, 9090.91)
    assert terminal.positions_total() == 0
    assert terminal.order_check(action=1, symbol="EURUSD", volume=0.001, type=0).retcode == 10014


def test_c27_an_opening_order(terminal: SimulatedTerminal) -> None:
    result = market_order(terminal, "BUY", 0.1, magic=445_401_700_000_123, comment="D7")
    assert (result.retcode, result.volume, result.price, result.bid, result.ask) == (10009, 0.1, 1.1001, 1.1, 1.1001)
    assert result.comment == "Request executed"
    assert result.deal not in {0, result.order}
    assert result.request_id > 0
    (position,) = terminal.positions_get()
    assert (position.ticket, position.identifier, position.reason) == (result.order, result.order, 3)
    assert (position.magic, position.comment, position.price_current) == (445_401_700_000_123, "D7", 1.1)
    (deal,) = terminal.history_deals_get(position=result.order)
    assert (deal.entry, deal.type, deal.reason, deal.order) == (0, 0, 3, result.order)
    assert market_order(terminal, "SELL", 0.1).price == 1.1


def test_c28_the_request_comes_back_with_all_its_fields(terminal: SimulatedTerminal) -> None:
    request = market_order(terminal, "BUY", 0.1, magic=445_401_700_000_123).request
    assert request._asdict() == {
        "action": 1, "magic": 445_401_700_000_123, "order": 0, "symbol": "EURUSD", "volume": 0.1, "price": 0.0,
        "stoplimit": 0.0, "sl": 0.0, "tp": 0.0, "deviation": 0, "type": 0, "type_filling": 0, "type_time": 0,
        "expiration": 0, "comment": "", "position": 0, "position_by": 0,
    }  # fmt: skip


def test_c29_a_full_close(terminal: SimulatedTerminal) -> None:
    opened_by = market_order(terminal, "BUY", 0.1)
    closed_by = market_order(terminal, "SELL", 0.1, position=opened_by.order, magic=5)
    assert closed_by.retcode == 10009
    assert closed_by.order != opened_by.order
    assert terminal.positions_get() == ()
    deal = terminal.history_deals_get(position=opened_by.order)[-1]
    # 10 points of spread on 0.1 lot: 0.0001 * 100,000 * 0.1 = 1.00 USD.
    assert (deal.entry, deal.profit, deal.magic, deal.order) == (1, -1.0, 5, closed_by.order)
    assert terminal.account_info().balance == 99_999.0


def test_c30_a_partial_close_keeps_ticket_and_identifier(terminal: SimulatedTerminal) -> None:
    ticket = market_order(terminal, "BUY", 0.3).order
    later(terminal, 30)
    assert market_order(terminal, "SELL", 0.1, position=ticket).retcode == 10009
    (position,) = terminal.positions_get(ticket=ticket)
    assert (position.identifier, position.volume) == (ticket, 0.2)
    assert (position.time, position.time_update) == (START + 300, START + 330)
    assert market_order(terminal, "SELL", 0.2, position=ticket).retcode == 10009
    assert terminal.positions_get() == ()


def test_c31_no_more_is_closed_than_there_is(terminal: SimulatedTerminal) -> None:
    ticket = market_order(terminal, "BUY", 0.1).order
    assert market_order(terminal, "SELL", 0.2, position=ticket).retcode == 10038
    assert terminal.positions_get()[0].volume == 0.1


def test_c32_without_position_an_opposite_order_opens_another_one(terminal: SimulatedTerminal) -> None:
    market_order(terminal, "BUY", 0.1)
    market_order(terminal, "SELL", 0.1)
    assert [row.type for row in terminal.positions_get()] == [0, 1]


def test_c33_a_close_of_the_same_direction_never_leaves(terminal: SimulatedTerminal) -> None:
    ticket = market_order(terminal, "BUY", 0.1).order
    same = market_order(terminal, "BUY", 0.1, position=ticket)
    assert (same.retcode, same.order, same.deal, same.price, same.request_id) == (10013, 0, 0, 0.0, 0)
    assert market_order(terminal, "SELL", 0.1, symbol="GBPUSD", position=ticket).retcode == 10013
    assert terminal.positions_total() == 1


def test_c34_a_position_that_is_gone(terminal: SimulatedTerminal) -> None:
    ticket = market_order(terminal, "BUY", 0.1).order
    market_order(terminal, "SELL", 0.1, position=ticket)
    assert market_order(terminal, "SELL", 0.1, position=ticket).retcode == 10036
    assert terminal.order_send(action=6, position=ticket, sl=1.0).retcode == 10036


def test_c35_a_change_of_levels_answers_with_zeros(terminal: SimulatedTerminal) -> None:
    ticket = market_order(terminal, "BUY", 0.1, sl=1.09, tp=1.12).order
    result = terminal.order_send(action=6, position=ticket, symbol="EURUSD", sl=1.095, tp=1.12)
    assert (result.retcode, result.comment) == (10009, "Request executed")
    assert tuple(result[1:7]) == (0, 0, 0.0, 0.0, 0.0, 0.0)
    assert result.request_id > 0


def test_c36_a_level_that_is_not_named_is_removed(terminal: SimulatedTerminal) -> None:
    ticket = market_order(terminal, "BUY", 0.1, sl=1.09, tp=1.12).order
    assert terminal.order_send(action=6, position=ticket, sl=1.096).retcode == 10009
    (position,) = terminal.positions_get()
    assert (position.sl, position.tp) == (1.096, 0.0)


def test_c37_levels_that_stay_change_nothing(terminal: SimulatedTerminal) -> None:
    ticket = market_order(terminal, "BUY", 0.1, sl=1.09, tp=1.12).order
    assert terminal.order_send(action=6, position=ticket, sl=1.09, tp=1.12).retcode == 10025


@pytest.mark.parametrize(
    ("side", "sl", "tp", "retcode"),
    [
        # stops level 10 points; bid 1.10000, ask 1.10010; BUY counts from the bid, SELL from the ask.
        ("BUY", 1.0999, 0.0, 10009),
        ("BUY", 1.09991, 0.0, 10016),
        ("BUY", 1.11, 0.0, 10016),
        ("BUY", 0.0, 1.1001, 10009),
        ("BUY", 0.0, 1.10009, 10016),
        ("BUY", 1.099005, 0.0, 10016),
        ("BUY", -1.0, 0.0, 10016),
        ("BUY", float("nan"), 0.0, 10016),
        ("SELL", 1.1002, 0.0, 10009),
        ("SELL", 1.10019, 0.0, 10016),
        ("SELL", 0.0, 1.1, 10009),
        ("SELL", 0.0, 1.10001, 10016),
    ],
)
def test_c38_levels_keep_their_side_and_distance(
    terminal: SimulatedTerminal, side: str, sl: float, tp: float, retcode: int
) -> None:
    assert market_order(terminal, side, 0.1, sl=sl, tp=tp).retcode == retcode
    ticket = market_order(terminal, side, 0.1).order
    assert terminal.order_send(action=6, position=ticket, sl=sl, tp=tp).retcode == retcode


def test_c40_filling_follows_the_symbols_bits(tmp_path: Path) -> None:
    write_bars(tmp_path / "bars", flat(40_000.0, 100), symbol="BTCUSD", digits=2)
    terminal = opened(tmp_path, tmp_path / "bars")
    assert terminal.symbol_info("BTCUSD").filling_mode == 1
    answers = [market_order(terminal, "BUY", 0.1, "BTCUSD", type_filling=mode).retcode for mode in (0, 1, 2, 3)]
    assert answers == [10009, 10030, 10030, 10030]
    assert terminal.order_send(action=1, symbol="BTCUSD", volume=0.1, type=0).retcode == 10009


@pytest.mark.parametrize("volume", [0.0, 0.001, 0.015, 100.01, -0.1, float("nan"), float("inf")])
def test_c41_volumes_keep_minimum_maximum_and_step(terminal: SimulatedTerminal, volume: float) -> None:
    assert market_order(terminal, "BUY", volume).retcode == 10014


def test_c41_a_partial_close_leaves_a_legal_volume(tmp_path: Path) -> None:
    write_bars(tmp_path / "bars", flat(100.0, 100), symbol="SPX500", digits=2)
    terminal = opened(tmp_path, tmp_path / "bars")
    ticket = market_order(terminal, "BUY", 0.3, "SPX500").order
    assert market_order(terminal, "SELL", 0.2, "SPX500", position=ticket).retcode == 10009
    assert terminal.positions_get()[0].volume == 0.1


def test_c42_an_order_needs_margin(terminal: SimulatedTerminal) -> None:
    # 91 lots at 1.1 and leverage 100 need 100,100 USD.
    assert market_order(terminal, "BUY", 91.0).retcode == 10019
    assert market_order(terminal, "BUY", 90.0).retcode == 10009
    assert market_order(terminal, "BUY", 1.0).retcode == 10019
    # The opposite side is covered: only the larger leg counts.
    assert market_order(terminal, "SELL", 90.0).retcode == 10009


def test_c44_a_closed_market(terminal: SimulatedTerminal) -> None:
    ticket = market_order(terminal, "BUY", 0.1).order
    terminal.simulator_advance(START + 700 * 60)
    last = terminal.symbol_info_tick("EURUSD")
    later(terminal, 3600)
    assert terminal.symbol_info_tick("EURUSD") == last
    assert terminal.symbol_info("EURUSD").trade_mode == terminal.SYMBOL_TRADE_MODE_FULL
    assert market_order(terminal, "BUY", 0.1).retcode == 10018
    assert market_order(terminal, "SELL", 0.1, position=ticket).retcode == 10018
    assert terminal.order_send(action=6, position=ticket, sl=1.0, tp=0.0).retcode == 10018


def test_c55_all_times_are_the_servers_wall_clock(tmp_path: Path) -> None:
    path = write_bars(tmp_path, flat(1.1, 600))
    terminal = opened(tmp_path, path, account={"server_utc_offset": 3})
    later(terminal, 60)
    terminal.symbol_select("EURUSD", True)
    server = START + 60 + 3 * 3600
    result = market_order(terminal, "BUY", 0.1)
    assert terminal.symbol_info_tick("EURUSD").time == server
    assert terminal.symbol_info("EURUSD").time == server
    assert terminal.positions_get()[0].time_msc == server * 1000
    assert terminal.history_deals_get(position=result.order)[0].time == server
    assert terminal.history_orders_get(position=result.order)[0].time_done == server
    assert terminal.copy_rates_from_pos("EURUSD", terminal.TIMEFRAME_M1, 0, 1)["time"][0] == server
    assert terminal.history_deals_total(server, server) == 1
    assert terminal.history_deals_total(START, START + 60) == 0
    assert terminal.simulator_clock()["now"] == START + 60
    assert terminal.simulator_view("deals")["deals"][-1]["time"] == START + 60


def test_c56_fifo_accounts(terminal: SimulatedTerminal, tmp_path: Path) -> None:
    write_bars(tmp_path / "other", flat(1.1, 100))
    fifo = opened(tmp_path / "fifo", tmp_path / "other", account={"fifo_close": True})
    assert fifo.account_info().fifo_close is True
    first, second = market_order(fifo, "BUY", 0.1).order, market_order(fifo, "BUY", 0.1).order
    assert market_order(fifo, "SELL", 0.1).retcode == 10046
    assert market_order(fifo, "SELL", 0.1, position=second).retcode == 10045
    assert market_order(fifo, "SELL", 0.1, position=first).retcode == 10009
    assert market_order(fifo, "SELL", 0.1, position=second).retcode == 10009


def test_c59_a_login_is_checked(terminal: SimulatedTerminal) -> None:
    login = terminal.account_info().login
    assert terminal.initialize(login="5") is False
    assert terminal.last_error() == (-2, 'Invalid "login" argument')
    assert terminal.initialize(login=login + 1) is False
    assert terminal.last_error()[0] == -6
    assert terminal.account_info() is None
    assert terminal.initialize(login=login, server="x") is True
    assert terminal.login(login + 1) is False
    assert terminal.login(login) is True


def test_c60_structures_are_tuples_with_named_fields(terminal: SimulatedTerminal) -> None:
    info = terminal.account_info()
    assert info[0] == info.login
    assert info._asdict()["login"] == info.login
    assert not hasattr(info, "_fields")
    assert not hasattr(info, "_replace")
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(info)
    result = market_order(terminal, "BUY", 0.1)
    assert result._asdict()["request"] is result.request
    lengths = {
        "AccountInfo": (len(info), 28),
        "TerminalInfo": (len(terminal.terminal_info()), 22),
        "SymbolInfo": (len(terminal.symbol_info("EURUSD")), 96),
        "Tick": (len(terminal.symbol_info_tick("EURUSD")), 8),
        "TradePosition": (len(terminal.positions_get()[0]), 19),
        "TradeDeal": (len(terminal.history_deals_get(position=result.order)[0]), 18),
        "TradeOrder": (len(terminal.history_orders_get(position=result.order)[0]), 24),
        "OrderSendResult": (len(result), 11),
    }
    assert all(length == wanted for length, wanted in lengths.values()), lengths


def test_margin_and_profit_by_the_published_formulas(terminal: SimulatedTerminal) -> None:
    assert terminal.order_calc_margin(0, "EURUSD", 0.5, 1.1) == 550.0
    assert terminal.order_calc_profit(0, "EURUSD", 0.5, 1.1, 1.1012) == 60.0
    assert terminal.order_calc_profit(1, "EURUSD", 0.5, 1.1, 1.1012) == -60.0
    assert terminal.order_calc_margin(0, "NOPE", 0.5, 1.1) is None
    info = terminal.symbol_info("EURUSD")
    assert (info.trade_tick_value, info.trade_tick_size, info.digits, info.trade_stops_level) == (1.0, 0.00001, 5, 10)
    assert info.spread == 10


def test_the_child_process_stays_light() -> None:
    heavy = ("pydantic", "sqlalchemy", "talib", "asyncio", "fastapi", "httpx", "structlog")
    code = f"import sys, dtms_service.terminal.simulated.backend; print([m for m in {heavy} if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
