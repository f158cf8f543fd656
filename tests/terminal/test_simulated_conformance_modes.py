"""The conformance list by its numbers: execution modes, limits, switches, nights and other kinds of account.

Prices are written by hand; expected money is worked out in the comments.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from simulated_kit import START, deals, flat, later, market_order, opened, positions, write_bars

from dtms_service.terminal.simulated.backend import SimulatedTerminal

LIMIT_BUY, LIMIT_SELL, STOP_BUY, STOP_SELL, STOP_LIMIT_BUY = 2, 3, 4, 5, 6
PENDING, SLTP, MODIFY, REMOVE, CLOSE_BY = 5, 6, 7, 8, 10
RETURN = 2


def flat_market(folder: Path, minutes: int = 600, **changes: Any) -> SimulatedTerminal:
    """EURUSD, bid 1.10000 and ask 1.10010, for ``minutes``; stops level 10 points."""
    write_bars(folder / "bars", flat(1.1, minutes))
    terminal = opened(folder, folder / "bars", **changes)
    terminal.symbol_select("EURUSD", True)
    return terminal


def stairs(folder: Path, *closes: float, **changes: Any) -> SimulatedTerminal:
    """EURUSD: five minutes at 1.10000, then one bar at each price, each beginning with a jump; spread 10 points."""
    write_bars(folder / "bars", [*flat(1.1, 5), *((price,) * 4 for price in closes)])
    terminal = opened(folder, folder / "bars", **changes)
    terminal.symbol_select("EURUSD", True)
    return terminal


def euro(**changes: Any) -> list[dict[str, Any]]:
    return [{"name": "EURUSD", **changes}]


def pending(terminal: SimulatedTerminal, kind: int, price: float, volume: float = 0.1, **more: Any) -> Any:
    request = {"action": PENDING, "symbol": "EURUSD", "type": kind, "volume": volume, "price": price}
    return terminal.order_send(**(request | {"type_filling": RETURN} | more))


def test_every_number_of_the_list_has_a_test() -> None:
    named = "".join(path.read_text("utf-8") for path in Path(__file__).parent.glob("test_simulated_*.py"))
    tested = {int(number) for number in re.findall(r"^def test_c(\d\d)_", named, re.MULTILINE)}
    assert tested == set(range(1, 61))


def test_c17_a_symbol_just_selected_shows_zeros_until_its_first_quote(tmp_path: Path) -> None:
    write_bars(tmp_path / "bars", flat(1.1, 600))
    terminal = opened(tmp_path, tmp_path / "bars", broker={"first_tick_s": 2.0})
    terminal.symbol_select("EURUSD", True)
    tick = terminal.symbol_info_tick("EURUSD")
    assert (tick.time, tick.bid, tick.ask) == (0, 0.0, 0.0)
    later(terminal, 1.9)
    assert terminal.symbol_info_tick("EURUSD").bid == 0.0
    later(terminal, 0.2)
    assert terminal.symbol_info_tick("EURUSD").bid == 1.1


def test_c20_the_first_question_for_bars_fails_while_they_load(tmp_path: Path) -> None:
    terminal = flat_market(tmp_path, broker={"history_load_s": 5.0})
    later(terminal, 300)
    assert terminal.copy_rates_from_pos("EURUSD", terminal.TIMEFRAME_M1, 0, 3) is None
    assert terminal.last_error() == (-1, "Terminal: Call failed")
    later(terminal, 5)
    assert len(terminal.copy_rates_from_pos("EURUSD", terminal.TIMEFRAME_M1, 0, 3)) == 3
    assert terminal.copy_rates_from_pos("EURUSD", terminal.TIMEFRAME_M5, 0, 1) is None, "each timeframe loads itself"


@pytest.mark.parametrize("mode", ["netting", "exchange"])
def test_c32_on_a_netting_account_an_opposite_order_reduces_or_turns_around(tmp_path: Path, mode: str) -> None:
    terminal = flat_market(tmp_path, account={"margin_mode": mode})
    first = market_order(terminal, "BUY", 0.3).order
    market_order(terminal, "SELL", 0.1)
    (row,) = positions(terminal)
    assert (row["ticket"], row["type"], row["volume"]) == (first, 0, 0.2)
    turned = market_order(terminal, "SELL", 0.5).order
    (row,) = positions(terminal)
    assert (row["ticket"], row["identifier"], row["type"], row["volume"]) == (turned, first, 1, 0.3)
    assert [deal["entry"] for deal in deals(terminal)[1:]] == [0, 1, 2]


def test_c34_a_gone_position_may_be_an_invalid_request_instead(tmp_path: Path) -> None:
    terminal = flat_market(tmp_path, broker={"missing_position": "invalid"})
    answer = market_order(terminal, "SELL", 0.1, position=5)
    assert (answer.retcode, answer.request_id) == (10013, 0)
    assert terminal.order_send(action=SLTP, position=5, sl=1.0).retcode == 10013


def test_c38_a_broker_may_want_more_distance_than_it_says(tmp_path: Path) -> None:
    terminal = flat_market(tmp_path, symbols=euro(stops_level=0, least_stop_level=20))
    assert terminal.symbol_info("EURUSD").trade_stops_level == 0
    ticket = market_order(terminal, "BUY", 0.1).order
    assert terminal.order_send(action=SLTP, position=ticket, sl=1.09981, tp=0.0).retcode == 10016
    assert terminal.order_send(action=SLTP, position=ticket, sl=1.09980, tp=0.0).retcode == 10009


@pytest.mark.parametrize(("sl", "tp"), [(1.0999, 0.0), (0.0, 1.1001)])
def test_c39_near_its_levels_a_position_is_frozen(tmp_path: Path, sl: float, tp: float) -> None:
    terminal = flat_market(tmp_path, symbols=euro(freeze_level=10))
    assert terminal.symbol_info("EURUSD").trade_freeze_level == 10
    ticket = market_order(terminal, "BUY", 0.1, sl=sl, tp=tp).order  # 10 points from the bid: just within
    assert terminal.order_send(action=SLTP, position=ticket, sl=1.09, tp=1.2).retcode == 10029
    assert market_order(terminal, "SELL", 0.1, position=ticket).retcode == 10029
    free = market_order(terminal, "BUY", 0.1, sl=1.0998, tp=1.1002).order
    assert terminal.order_send(action=SLTP, position=free, sl=1.09, tp=1.2).retcode == 10009


@pytest.mark.parametrize(
    ("execution", "filling", "answers"),
    [
        # FOK, IOC, RETURN, BOC by mt5.md 2.3; 10015 is past the filling check: instant execution misses a price.
        ("request", "none", [10015, 10015, 10015, 10030]),
        ("instant", "none", [10015, 10015, 10015, 10030]),
        ("market", "none", [10030, 10030, 10030, 10030]),
        ("market", "fok", [10009, 10030, 10030, 10030]),
        ("market", "ioc", [10030, 10009, 10030, 10030]),
        ("market", "both", [10009, 10009, 10030, 10030]),
        ("exchange", "none", [10030, 10030, 10009, 10030]),
        ("exchange", "fok", [10009, 10030, 10009, 10030]),
        ("exchange", "both", [10009, 10009, 10009, 10030]),
    ],
)
def test_c40_filling_by_execution_mode_and_bits(
    tmp_path: Path, execution: str, filling: str, answers: list[int]
) -> None:
    terminal = flat_market(tmp_path, symbols=euro(execution=execution, filling=filling))
    assert [market_order(terminal, "BUY", 0.1, type_filling=mode).retcode for mode in range(4)] == answers


def test_c41_a_direction_has_a_largest_volume(tmp_path: Path) -> None:
    terminal = flat_market(tmp_path, symbols=euro(volume_limit=1.0))
    assert terminal.symbol_info("EURUSD").volume_limit == 1.0
    ticket = market_order(terminal, "BUY", 0.6).order
    assert pending(terminal, LIMIT_BUY, 1.09, 0.3).retcode == 10009
    assert market_order(terminal, "BUY", 0.2).retcode == 10034
    assert pending(terminal, STOP_BUY, 1.2, 0.2).retcode == 10034
    assert market_order(terminal, "BUY", 0.1).retcode == 10009
    assert market_order(terminal, "SELL", 1.0).retcode == 10009, "the other direction has its own"
    assert market_order(terminal, "SELL", 0.6, position=ticket).retcode == 10009, "closing is never limited"


@pytest.mark.parametrize(
    ("mode", "buy", "sell"),
    [
        ("disabled", 10017, 10017),
        ("long_only", 10009, 10042),
        ("short_only", 10043, 10009),
        ("close_only", 10044, 10044),
    ],
)
def test_a_trade_mode_bars_opening_but_not_closing(tmp_path: Path, mode: str, buy: int, sell: int) -> None:
    terminal = flat_market(tmp_path)
    ticket = market_order(terminal, "BUY", 0.1).order
    terminal.close()
    terminal = opened(tmp_path, tmp_path / "bars", symbols=euro(trade_mode=mode))
    assert market_order(terminal, "BUY", 0.1).retcode == buy
    assert market_order(terminal, "SELL", 0.1).retcode == sell
    assert market_order(terminal, "SELL", 0.1, position=ticket).retcode == 10009


def test_c43_the_switches_for_programs(tmp_path: Path) -> None:
    terminal = flat_market(tmp_path)

    def switched(kind: str) -> None:
        terminal.simulator_clear_faults()
        terminal.simulator_set_fault({"kind": kind, "seconds": 60})

    switched("autotrading_off")
    assert terminal.terminal_info().trade_allowed is False
    button = market_order(terminal, "BUY", 0.1)
    assert (button.retcode, button.comment, button.request_id) == (10027, "AutoTrading disabled by client", 0)

    switched("api_off")
    assert terminal.terminal_info().tradeapi_disabled is True
    assert market_order(terminal, "BUY", 0.1) is None
    assert terminal.last_error() == (-8, "Auto-Trading using Python API disabled in Terminal")

    switched("experts_off")
    assert terminal.account_info().trade_expert is False
    server = market_order(terminal, "BUY", 0.1)
    assert server.retcode == 10026
    assert server.request_id > 0
    assert terminal.positions_get() == ()
    assert terminal.symbol_info_tick("EURUSD").bid == 1.1

    terminal.simulator_clear_faults()
    info, account = terminal.terminal_info(), terminal.account_info()
    assert (info.trade_allowed, info.tradeapi_disabled, account.trade_expert) == (True, False, True)
    assert market_order(terminal, "BUY", 0.1).retcode == 10009


def test_c43_the_python_switch_may_answer_with_a_return_code(tmp_path: Path) -> None:
    terminal = flat_market(tmp_path, broker={"api_off": "retcode"})
    terminal.simulator_set_fault({"kind": "api_off", "seconds": 60})
    answer = market_order(terminal, "BUY", 0.1)
    assert (answer.retcode, answer.request_id) == (10027, 0)


@pytest.mark.parametrize("execution", ["instant", "request"])
def test_c45_instant_execution_wants_a_price_within_the_deviation(tmp_path: Path, execution: str) -> None:
    terminal = flat_market(tmp_path, symbols=euro(execution=execution))
    assert market_order(terminal, "BUY", 0.1, price=1.1001).price == 1.1001
    assert market_order(terminal, "BUY", 0.1, price=1.10005, deviation=5).price == 1.1001
    moved = market_order(terminal, "BUY", 0.1, price=1.10005, deviation=4)
    assert (moved.retcode, moved.bid, moved.ask, moved.deal) == (10004, 1.1, 1.1001, 0)
    assert moved.request_id > 0
    assert market_order(terminal, "SELL", 0.1, price=1.1001, deviation=9).retcode == 10004, "a SELL is sold at the bid"
    assert market_order(terminal, "SELL", 0.1, price=1.1001, deviation=10).price == 1.1


def test_c45_a_hand_trades_at_the_price_it_sees(tmp_path: Path) -> None:
    terminal = flat_market(tmp_path, symbols=euro(execution="instant"))
    ticket = terminal.simulator_open_position({"symbol": "EURUSD", "side": "BUY", "volume": 0.1})["ticket"]
    assert terminal.simulator_close_position(ticket)["price"] == 1.1


def test_c45_market_execution_ignores_price_and_deviation(tmp_path: Path) -> None:
    terminal = flat_market(tmp_path)
    assert market_order(terminal, "BUY", 0.1, price=5.0, deviation=0).price == 1.1001


def test_c46_an_ioc_order_takes_what_there_is_and_a_fok_order_all_or_nothing(tmp_path: Path) -> None:
    terminal = flat_market(tmp_path, symbols=euro(liquidity=0.25))
    assert market_order(terminal, "BUY", 1.0).retcode == 10006
    assert terminal.positions_get() == ()
    partial = market_order(terminal, "BUY", 1.0, type_filling=1)
    assert (partial.retcode, partial.volume) == (10010, 0.25)
    assert [row["volume"] for row in positions(terminal)] == [0.25]
    (order,) = terminal.history_orders_get(ticket=partial.order)
    assert (order.volume_initial, order.volume_current, order.state) == (1.0, 0.75, terminal.ORDER_STATE_FILLED)
    assert terminal.orders_get() == (), "the rest is cancelled"
    assert market_order(terminal, "BUY", 0.25).retcode == 10009


def test_c46_with_return_the_rest_stays_and_is_filled_tick_by_tick(tmp_path: Path) -> None:
    terminal = flat_market(tmp_path, symbols=euro(execution="exchange", liquidity=0.4))
    first = market_order(terminal, "BUY", 1.0, type_filling=RETURN)
    assert (first.retcode, first.volume) == (10010, 0.4)
    (waiting,) = terminal.orders_get()
    assert (waiting.ticket, waiting.volume_current, waiting.state) == (first.order, 0.6, terminal.ORDER_STATE_PARTIAL)
    later(terminal, 15)
    assert [row["volume"] for row in positions(terminal)] == [0.8]
    later(terminal, 15)
    assert [(row["ticket"], row["volume"]) for row in positions(terminal)] == [(first.order, 1.0)]
    assert terminal.orders_get() == ()
    assert [deal["volume"] for deal in deals(terminal)[1:]] == [0.4, 0.4, 0.2]


def test_c47_a_burst_over_the_limit_is_too_many_requests(tmp_path: Path) -> None:
    terminal = flat_market(tmp_path, broker={"requests_per_s": 3})
    assert [market_order(terminal, "BUY", 0.1).retcode for _ in range(5)] == [10009] * 3 + [10024] * 2
    later(terminal, 1)
    assert market_order(terminal, "BUY", 0.1).retcode == 10009


def test_c49_a_killed_terminal_breaks_one_call_and_is_gone_until_initialize(tmp_path: Path) -> None:
    terminal = flat_market(tmp_path)
    terminal.simulator_set_fault({"kind": "terminal_killed"})
    assert market_order(terminal, "BUY", 0.1) is None
    assert terminal.last_error() == (-10001, "IPC send failed")
    for _ in range(2):
        assert terminal.positions_get() is None
        assert terminal.last_error() == (-10004, "No IPC connection")
    assert terminal.initialize() is True
    assert terminal.positions_get() == (), "the order never left"


def test_c51_a_call_that_hangs_never_did_its_work(tmp_path: Path) -> None:
    terminal = flat_market(tmp_path)
    terminal.simulator_set_fault({"kind": "hang", "call": "order_send", "seconds": 60})
    assert market_order(terminal, "BUY", 0.1) is None
    assert terminal.took() == 60.0, "counted while stepped; on a running clock it is waited for, in the child"
    assert terminal.positions_get() == ()


def test_c52_stops_are_the_servers_and_a_gap_makes_them_worse(tmp_path: Path) -> None:
    terminal = stairs(tmp_path, 1.102, 1.09)
    market_order(terminal, "BUY", 0.1, sl=1.0995, tp=1.1015)
    market_order(terminal, "BUY", 0.1, sl=1.0995)
    terminal.shutdown()
    terminal.simulator_advance(START + 400)
    by_target, by_stop = deals(terminal)[-2:]
    assert (by_target["reason"], by_target["price"]) == (5, 1.1015)
    assert (by_stop["reason"], by_stop["price"]) == (4, 1.09), "the market jumped over 1.0995"


def test_c53_two_opposite_positions_close_each_other(tmp_path: Path) -> None:
    terminal = stairs(tmp_path, 1.102)
    buy = market_order(terminal, "BUY", 0.3).order  # at 1.1001
    later(terminal, 310)
    sell = market_order(terminal, "SELL", 0.1).order  # at 1.1020
    assert terminal.order_send(action=CLOSE_BY, position=buy, position_by=buy).retcode == 10013
    result = terminal.order_send(action=CLOSE_BY, position=buy, position_by=sell, magic=9)
    assert (result.retcode, result.volume, result.price) == (10009, 0.1, 1.102)
    (rest,) = positions(terminal)
    assert (rest["ticket"], rest["type"], rest["volume"], rest["price_open"]) == (buy, 0, 0.2, 1.1001)
    mine, other = deals(terminal)[-2:]
    assert [mine["entry"], other["entry"]] == [3, 3]
    assert [mine["position_id"], other["position_id"]] == [buy, sell]
    assert [mine["price"], other["price"]] == [1.102, 1.102]
    # (1.1020 - 1.1001) * 100,000 * 0.1 = 19.00, all of it on the position that was named first.
    assert [mine["profit"], other["profit"]] == [19.0, 0.0]
    (order,) = terminal.history_orders_get(ticket=result.order)
    assert (order.type, order.position_id, order.position_by_id) == (8, buy, sell)


def test_c53_the_larger_one_stays_whichever_is_named(tmp_path: Path) -> None:
    terminal = flat_market(tmp_path)
    buy, sell = market_order(terminal, "BUY", 0.1).order, market_order(terminal, "SELL", 0.4).order
    assert terminal.order_send(action=CLOSE_BY, position=buy, position_by=sell).retcode == 10009
    (rest,) = positions(terminal)
    assert (rest["ticket"], rest["type"], rest["volume"]) == (sell, 1, 0.3)


def test_c53_where_it_is_not_offered_it_is_an_invalid_order(tmp_path: Path) -> None:
    terminal = flat_market(tmp_path, symbols=euro(close_by=False))
    buy, sell = market_order(terminal, "BUY", 0.1).order, market_order(terminal, "SELL", 0.1).order
    assert not terminal.symbol_info("EURUSD").order_mode & 64
    assert terminal.order_send(action=CLOSE_BY, position=buy, position_by=sell).retcode == 10035
    assert terminal.order_send(action=99).retcode == 10013


@pytest.mark.parametrize(("mode", "price"), [("reopen_current", 1.1001), ("reopen_bid", 1.1)])
def test_c54_a_swap_by_reopening_changes_the_ticket_and_not_the_identifier(
    tmp_path: Path, mode: str, price: float
) -> None:
    # A Tuesday at 08:00; the server's midnight is 16 hours later. The SELL pays 2 points a night.
    terminal = flat_market(tmp_path, 1500, symbols=euro(swap_mode=mode, swap_short=-2.0))
    ticket = market_order(terminal, "SELL", 0.1, sl=1.2, magic=7).order
    later(terminal, 17 * 3600)
    (row,) = positions(terminal)
    assert row["ticket"] != ticket
    assert (row["identifier"], row["volume"], row["sl"], row["magic"]) == (ticket, 0.1, 1.2, 7)
    assert row["price_open"] == pytest.approx(price - 0.00002), "a SELL two points lower is two points worse"
    out, again = deals(terminal)[-2:]
    assert [(out["entry"], out["reason"]), (again["entry"], again["reason"])] == [(1, 7), (0, 7)]
    assert {out["position_id"], again["position_id"]} == {ticket}
    assert out["price"] == price


def test_swap_in_points_is_counted_every_night_and_three_times_on_one(tmp_path: Path) -> None:
    # From Tuesday 08:00: the night to Wednesday counts once, the one to Thursday three times, the next one once.
    terminal = flat_market(tmp_path, 4 * 1440, symbols=euro(swap_mode="points", swap_long=-6.5, swap_short=1.0))
    ticket = market_order(terminal, "BUY", 0.2).order
    for nights in (1, 4, 5):
        later(terminal, 86_400)
        # 6.5 points * 0.00001 * 100,000 * 0.2 lots = 1.30 a night.
        assert positions(terminal)[0]["swap"] == pytest.approx(-1.3 * nights)
    equity = terminal.account_info().equity
    assert equity == pytest.approx(100_000 - 2.0 - 6.5), "spread 10 points on 0.2 lots, and the swap"
    market_order(terminal, "SELL", 0.05, position=ticket)
    assert (deals(terminal)[-1]["swap"], positions(terminal)[0]["swap"]) == (-1.63, -4.87), (
        "a quarter goes with it, half a cent upwards"
    )
    market_order(terminal, "SELL", 0.15, position=ticket)
    assert deals(terminal)[-1]["swap"] == -4.87
    assert terminal.account_info().balance == pytest.approx(equity)


def test_commission_is_taken_from_every_deal_but_a_close_by(tmp_path: Path) -> None:
    terminal = flat_market(tmp_path, account={"commission": 3.5})
    buy, sell = market_order(terminal, "BUY", 0.2).order, market_order(terminal, "SELL", 0.1).order
    assert terminal.account_info().balance == 100_000 - 0.7 - 0.35
    terminal.order_send(action=CLOSE_BY, position=buy, position_by=sell)
    market_order(terminal, "SELL", 0.1, position=buy)
    assert [deal["commission"] for deal in deals(terminal)[1:]] == [-0.7, -0.35, 0.0, 0.0, -0.35]


def test_c55_the_servers_clock_follows_new_yorks_summer(tmp_path: Path) -> None:
    # New York's clocks change on 2024-03-10 at 07:00 UTC: the server's from UTC+2 to UTC+3.
    change = int(datetime(2024, 3, 10, 7, tzinfo=UTC).timestamp())
    path = write_bars(tmp_path, flat(1.1, 120), start=change - 3600)
    account = {"server_utc_offset": 2, "server_summer_time": True}
    terminal = opened(tmp_path, path, account=account, start="2024-03-10T06:30:00Z")
    terminal.symbol_select("EURUSD", True)
    before = market_order(terminal, "BUY", 0.1).order
    later(terminal, 3600)
    after = market_order(terminal, "BUY", 0.1).order
    times = {row.ticket: row.time for row in terminal.positions_get()}
    assert times[before] == change - 1800 + 2 * 3600
    assert times[after] == change + 1800 + 3 * 3600
    rates = terminal.copy_rates_from_pos("EURUSD", terminal.TIMEFRAME_M1, 0, 60)
    assert np.diff(rates["time"]).tolist().count(3660) == 1, "an hour is missing on the server's clock"
    assert terminal.history_deals_total(change + 1800 + 3 * 3600, change + 1800 + 3 * 3600) == 1


def test_c56_an_account_that_prohibits_hedging(tmp_path: Path) -> None:
    terminal = flat_market(tmp_path, account={"hedge_prohibited": True})
    first, second = market_order(terminal, "BUY", 0.1).order, market_order(terminal, "BUY", 0.1).order
    assert market_order(terminal, "SELL", 0.1).retcode == 10046
    assert market_order(terminal, "SELL", 0.1, position=second).retcode == 10009, "in any order"
    assert market_order(terminal, "SELL", 0.1, position=first).retcode == 10009


def test_c57_the_records_may_lag_behind_the_answer(tmp_path: Path) -> None:
    terminal = flat_market(tmp_path, broker={"visibility_lag_s": 0.5})
    ticket = market_order(terminal, "BUY", 0.1).order
    assert terminal.positions_get() == ()
    assert terminal.history_deals_get(position=ticket) == ()
    later(terminal, 0.5)
    assert [row.ticket for row in terminal.positions_get()] == [ticket]
    assert len(terminal.history_deals_get(position=ticket)) == 1
    market_order(terminal, "SELL", 0.1, position=ticket)
    assert [row.ticket for row in terminal.positions_get()] == [ticket], "closed, and still shown"
    later(terminal, 0.5)
    assert terminal.positions_get() == ()


def test_c57_a_fault_can_hide_the_history_alone(tmp_path: Path) -> None:
    terminal = flat_market(tmp_path)
    terminal.simulator_set_fault({"kind": "visible_late", "call": "history_deals_get", "seconds": 2})
    ticket = market_order(terminal, "BUY", 0.1).order
    assert len(terminal.positions_get()) == 1
    assert terminal.history_deals_get(position=ticket) == ()
    assert len(terminal.history_deals_get(position=ticket)) == 1, "the fault is used up"


def test_c59_an_unreachable_server_times_out(tmp_path: Path) -> None:
    terminal = flat_market(tmp_path)
    terminal.simulator_set_fault({"kind": "unreachable", "count": 2})
    assert terminal.initialize() is False
    assert terminal.last_error() == (-10005, "IPC timeout")
    assert terminal.account_info() is None, "a failed initialize leaves no connection"
    assert terminal.initialize() is False
    assert terminal.initialize() is True


# --- pending orders ---


def test_a_limit_order_waits_and_is_filled_at_its_price(tmp_path: Path) -> None:
    write_bars(tmp_path / "bars", [*flat(1.1, 5), (1.1, 1.1, 1.097, 1.098), *flat(1.098, 5)])
    terminal = opened(tmp_path, tmp_path / "bars")
    placed = pending(terminal, LIMIT_BUY, 1.098, sl=1.09, tp=1.11, magic=5, comment="dip")
    assert (placed.retcode, placed.deal, placed.price) == (10009, 0, 0.0)
    assert (placed.bid, placed.ask) == (1.1, 1.1001)
    (order,) = terminal.orders_get()
    assert (order.ticket, order.type, order.state, order.price_open) == (placed.order, 2, 1, 1.098)
    assert terminal.orders_total() == 1
    later(terminal, 400)
    assert terminal.orders_get() == ()
    (row,) = positions(terminal)
    assert (row["ticket"], row["price_open"], row["sl"], row["tp"], row["magic"]) == (
        placed.order,
        1.098,
        1.09,
        1.11,
        5,
    )
    (done,) = terminal.history_orders_get(ticket=placed.order)
    assert (done.state, done.type) == (terminal.ORDER_STATE_FILLED, 2)


@pytest.mark.parametrize(
    ("kind", "price", "jump", "filled"),
    [
        (LIMIT_BUY, 1.098, 1.095, 1.0951),  # a jump below the limit is the buyer's gain: ask 1.0951
        (LIMIT_SELL, 1.102, 1.105, 1.105),
        (STOP_BUY, 1.102, 1.105, 1.1051),  # over a stop it is his loss
        (STOP_SELL, 1.098, 1.095, 1.095),
    ],
)
def test_a_jump_fills_a_pending_order_at_the_price_it_brought(
    tmp_path: Path, kind: int, price: float, jump: float, filled: float
) -> None:
    terminal = stairs(tmp_path, jump)
    pending(terminal, kind, price)
    later(terminal, 360)
    assert [(row["type"], row["price_open"]) for row in positions(terminal)] == [(kind % 2, filled)]


@pytest.mark.parametrize(
    ("kind", "price", "more", "retcode"),
    [
        (LIMIT_BUY, 1.1001, {}, 10015),  # stops level 10 points below the ask 1.1001
        (LIMIT_BUY, 1.1, {}, 10009),
        (LIMIT_SELL, 1.09, {}, 10015),
        (STOP_BUY, 1.1, {}, 10015),
        (STOP_SELL, 1.2, {}, 10015),
        (LIMIT_BUY, 1.098, {"sl": 1.0985}, 10016),  # stops are measured from the order's own price
        (LIMIT_BUY, 1.098, {"sl": 1.0979}, 10009),
        (LIMIT_BUY, 1.098, {"volume": 0.001}, 10014),
        (LIMIT_BUY, 1.098, {"symbol": "NOPE"}, 10013),
        (STOP_LIMIT_BUY, 1.2, {"stoplimit": 1.1}, 10035),
        (8, 1.098, {}, 10013),
        (LIMIT_BUY, 1.098, {"type_time": 2, "expiration": START - 1}, 10022),
        (LIMIT_BUY, 0.0, {}, 10015),
    ],
)
def test_a_pending_order_that_cannot_be(
    tmp_path: Path, kind: int, price: float, more: dict[str, Any], retcode: int
) -> None:
    assert pending(flat_market(tmp_path), kind, price, **more).retcode == retcode


def test_a_pending_order_is_changed_and_removed(tmp_path: Path) -> None:
    terminal = flat_market(tmp_path)
    ticket = pending(terminal, LIMIT_BUY, 1.098).order
    same = {"action": MODIFY, "order": ticket, "price": 1.098, "sl": 0.0, "tp": 0.0}
    assert terminal.order_send(**same).retcode == 10025
    assert terminal.order_send(**(same | {"price": 1.097, "sl": 1.09})).retcode == 10009
    assert (terminal.orders_get()[0].price_open, terminal.orders_get()[0].sl) == (1.097, 1.09)
    assert terminal.order_send(**(same | {"order": 5})).retcode == 10013
    assert terminal.order_send(action=REMOVE, order=ticket).retcode == 10009
    assert terminal.orders_get() == ()
    assert terminal.order_send(action=REMOVE, order=ticket).retcode == 10013
    assert terminal.history_orders_get(ticket=ticket)[0].state == terminal.ORDER_STATE_CANCELED


def test_a_pending_order_near_the_price_is_frozen(tmp_path: Path) -> None:
    terminal = flat_market(tmp_path, symbols=euro(freeze_level=30))
    ticket = pending(terminal, LIMIT_BUY, 1.0999).order
    assert terminal.order_send(action=REMOVE, order=ticket).retcode == 10029
    assert terminal.order_send(action=MODIFY, order=ticket, price=1.09).retcode == 10029


@pytest.mark.parametrize(
    ("more", "end"),
    [
        ({"type_time": 1}, 16 * 3600),  # the day of 08:00 UTC ends at midnight
        ({"type_time": 2, "expiration": START + 3600}, 3600),
        ({"type_time": 3, "expiration": START + 86_400}, 40 * 3600),
    ],
)
def test_a_pending_order_ends_at_its_expiration(tmp_path: Path, more: dict[str, int], end: int) -> None:
    terminal = flat_market(tmp_path, 3 * 1440)
    ticket = pending(terminal, LIMIT_BUY, 1.09, **more).order
    later(terminal, end - 1)
    assert terminal.orders_total() == 1
    later(terminal, 1)
    assert terminal.orders_total() == 0
    done = terminal.history_orders_get(ticket=ticket)[0]
    assert (done.state, done.time_done) == (terminal.ORDER_STATE_EXPIRED, START + end)


def test_a_pending_order_without_money_is_rejected_at_its_price(tmp_path: Path) -> None:
    terminal = stairs(tmp_path, 1.105)
    ticket = pending(terminal, STOP_BUY, 1.102, 95.0).order  # 95 lots need about 104,500
    later(terminal, 360)
    assert positions(terminal) == []
    assert terminal.history_orders_get(ticket=ticket)[0].state == terminal.ORDER_STATE_REJECTED


def test_a_pending_order_survives_the_death_of_the_child(tmp_path: Path) -> None:
    terminal = stairs(tmp_path, 1.105)
    ticket = pending(terminal, STOP_BUY, 1.102).order
    terminal.close()
    terminal = opened(tmp_path, tmp_path / "bars")
    later(terminal, 360)
    assert [row["ticket"] for row in positions(terminal)] == [ticket]


# --- what brokers do besides ---


def test_a_placed_order_is_filled_some_seconds_later(tmp_path: Path) -> None:
    terminal = flat_market(tmp_path)
    ticket = market_order(terminal, "BUY", 0.3).order
    terminal.simulator_set_fault({"kind": "placed", "seconds": 3})
    answer = market_order(terminal, "SELL", 0.1, position=ticket, magic=5)
    assert (answer.retcode, answer.deal, answer.price) == (10008, 0, 0.0)
    assert [(row.ticket, row.position_id) for row in terminal.orders_get()] == [(answer.order, ticket)]
    assert positions(terminal)[0]["volume"] == 0.3
    later(terminal, 3)
    assert terminal.orders_get() == ()
    assert positions(terminal)[0]["volume"] == 0.2
    assert (deals(terminal)[-1]["order"], deals(terminal)[-1]["magic"]) == (answer.order, 5)


def test_a_placed_close_of_a_position_that_is_gone_by_then_is_cancelled(tmp_path: Path) -> None:
    terminal = flat_market(tmp_path)
    ticket = market_order(terminal, "BUY", 0.3).order
    terminal.simulator_set_fault({"kind": "placed", "seconds": 3})
    answer = market_order(terminal, "SELL", 0.1, position=ticket)
    terminal.simulator_close_position(ticket)
    later(terminal, 3)
    assert terminal.history_orders_get(ticket=answer.order)[0].state == terminal.ORDER_STATE_CANCELED


def test_a_stop_that_is_hit_between_look_and_order_closes_first(tmp_path: Path) -> None:
    terminal = flat_market(tmp_path)
    ticket = market_order(terminal, "BUY", 0.1, sl=1.09).order
    terminal.simulator_set_fault({"kind": "stopped_first"})
    assert market_order(terminal, "SELL", 0.1, position=ticket).retcode == 10036
    assert (deals(terminal)[-1]["reason"], deals(terminal)[-1]["price"]) == (4, 1.09)


def test_a_broker_may_rewrite_the_comment(tmp_path: Path) -> None:
    terminal = flat_market(tmp_path)
    terminal.simulator_set_fault({"kind": "comment_rewritten"})
    market_order(terminal, "BUY", 0.1, comment="D7K2Q9", magic=5)
    assert (positions(terminal)[0]["comment"], positions(terminal)[0]["magic"]) == ("by the broker", 5)


def test_slippage_is_against_the_trader_and_a_function_of_the_seed(tmp_path: Path) -> None:
    def prices(folder: Path, seed: int) -> list[float]:
        terminal = flat_market(folder, seed=seed, broker={"slippage_points": 3.0})
        return [market_order(terminal, "BUY" if n % 2 else "SELL", 0.01).price for n in range(200)]

    first = prices(tmp_path / "a", 1)
    points = [round((price - 1.1001) * 1e5 if n % 2 else (1.1 - price) * 1e5) for n, price in enumerate(first)]
    assert min(points) == 0
    # The mean of the whole points below an exponential of mean 3 is 1 / (e^(1/3) - 1) = 2.53.
    assert sum(points) / len(points) == pytest.approx(2.53, abs=0.6)
    assert prices(tmp_path / "b", 1) == first
    assert prices(tmp_path / "c", 2) != first


def test_latency_follows_the_measured_distributions(tmp_path: Path) -> None:
    terminal = flat_market(tmp_path, broker={"latency": "typical"})

    def took(call: Any) -> float:
        call()
        return terminal.took()

    reads = sorted(took(terminal.positions_get) for _ in range(2000))
    assert reads[1000] == pytest.approx(0.001, rel=0.15)
    assert reads[1980] == pytest.approx(0.015, rel=0.5)
    sends = sorted(took(lambda: market_order(terminal, "BUY", 0.0)) for _ in range(500))
    assert sends[250] == pytest.approx(0.120, rel=0.15)


def test_covered_lots_take_the_hedged_margin(tmp_path: Path) -> None:
    def margin(folder: Path, **hedged: Any) -> float:
        terminal = flat_market(folder, symbols=euro(**hedged))
        market_order(terminal, "BUY", 0.3)
        market_order(terminal, "SELL", 0.1)
        found: float = terminal.account_info().margin
        return found

    # A lot of 100,000 EUR at leverage 100 and 1.1 is 1,100 USD: 0.2 open lots are 220, 0.1 covered ones 110.
    assert margin(tmp_path / "usual") == 330.0
    assert margin(tmp_path / "free", margin_hedged=0.0) == 220.0
    assert margin(tmp_path / "half", margin_hedged=50_000.0) == 275.0
    assert margin(tmp_path / "leg", margin_hedged=0.0, margin_hedged_use_leg=True) == 330.0


def test_a_fixed_margin_replaces_the_formulas_size(tmp_path: Path) -> None:
    terminal = flat_market(tmp_path, symbols=euro(margin_initial=50_000.0))
    # 50,000 EUR / 100 * 1.1 for a lot.
    assert terminal.order_calc_margin(0, "EURUSD", 1.0, 1.1) == 550.0


def test_ticks_of_the_past_are_those_that_were_shown(tmp_path: Path) -> None:
    terminal = flat_market(tmp_path)
    later(terminal, 60)
    ticks = terminal.copy_ticks_range("EURUSD", START + 15, START + 60, terminal.COPY_TICKS_ALL)
    assert ticks.dtype.itemsize == 60
    assert ticks["time"].tolist() == [START + 15, START + 30, START + 45, START + 60]
    assert (ticks["bid"][0], ticks["ask"][0], ticks["time_msc"][0]) == (1.1, 1.1001, (START + 15) * 1000)
    assert len(terminal.copy_ticks_from("EURUSD", START, 3, terminal.COPY_TICKS_INFO)) == 3
    assert len(terminal.copy_ticks_range("EURUSD", START, START + 60, terminal.COPY_TICKS_TRADE)) == 0
    assert len(terminal.copy_ticks_range("EURUSD", START, START + 86_400, -1)) == 5, "nothing of the future"
    assert terminal.copy_ticks_from("EURUSD", START, 0, -1) is None
    with pytest.raises(SystemError):
        terminal.copy_ticks_from("EURUSD", START, 1.5, -1)  # type: ignore[arg-type]


def test_market_depth_shows_the_liquidity_after_a_subscription(tmp_path: Path) -> None:
    terminal = flat_market(tmp_path, symbols=euro(liquidity=25.0))
    assert terminal.market_book_get("EURUSD") is None
    assert terminal.market_book_add("EURUSD") is True
    asked, bid = terminal.market_book_get("EURUSD")
    assert (asked.type, asked.price, bid.type, bid.price, bid.volume, bid.volume_dbl) == (1, 1.1001, 2, 1.1, 25, 25.0)
    assert terminal.market_book_release("EURUSD") is True
    assert terminal.market_book_release("EURUSD") is False
    assert terminal.market_book_add("NOPE") is False


def test_habits_that_the_documentation_leaves_open(tmp_path: Path) -> None:
    usual = flat_market(tmp_path / "usual")
    usual.symbol_select("EURUSD", False)
    result = market_order(usual, "BUY", 0.1)
    assert usual.positions_get(symbol="NOPE") == ()
    assert len(usual.history_deals_get(ticket=result.order)) == 1
    other = flat_market(
        tmp_path / "other",
        broker={"unselected_tick": "none", "positions_of_unknown_symbol": "none", "deals_by_ticket": "none"},
    )
    other.symbol_select("EURUSD", False)
    assert other.symbol_info_tick("EURUSD") is None
    assert other.positions_get(symbol="NOPE") is None
    assert other.positions_get(symbol="EURUSD") == ()
    assert other.history_deals_get(ticket=5) is None
    assert other.last_error() == (-2, "Terminal: Invalid params")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"symbols": euro(execution="quick")}, "simulator.symbols.EURUSD.execution is 'quick'; it must be one of"),
        ({"symbols": [{"name": "NOPE"}]}, "simulator.symbols: unknown symbol 'NOPE'; this market has EURUSD"),
        ({"symbols": [*euro(), *euro()]}, "each entry names another symbol"),
        ({"symbols": euro(volume_min=5.0, volume_max=1.0)}, "volume_min 5.0 is above volume_max"),
        ({"symbols": euro(spead=1)}, "there is no field 'spead'"),
        ({"broker": {"latency": 1}}, "simulator.broker.latency is 1; it must be one of none, typical"),
        ({"broker": {"first_tick_s": -1}}, "simulator.broker.first_tick_s is -1; it must be a number from 0 to 3600"),
        ({"account": {"hedge_prohibited": 1}}, "simulator.account.hedge_prohibited is 1; it must be true or false"),
    ],
)
def test_an_unusable_option_is_refused_in_one_sentence(tmp_path: Path, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        flat_market(tmp_path, **options)
