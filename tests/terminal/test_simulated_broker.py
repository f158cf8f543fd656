from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from market_data import bar_file
from simulated_kit import START, Ohlc, deals, flat, later, market_order, opened, positions, write_bars

from dtms_service.market.bars import read_bar_file
from dtms_service.terminal.simulated.backend import SimulatedTerminal


def walk(*prices: float) -> list[Ohlc]:
    """Bars that go straight from one price to the next, without a jump between them."""
    return [(begin, max(begin, end), min(begin, end), end) for begin, end in pairwise(prices)]


def last_deal(terminal: SimulatedTerminal) -> dict[str, Any]:
    return deals(terminal)[-1]


# --- stops ---


def test_a_stop_loss_of_a_buy_closes_at_its_level_when_the_bid_reaches_it(tmp_path: Path) -> None:
    terminal = opened(tmp_path, write_bars(tmp_path, [*flat(1.1, 2), *walk(1.1, 1.098), *flat(1.098, 5)]))
    ticket = market_order(terminal, "BUY", 0.1, sl=1.099, magic=77).order
    terminal.simulator_advance(START + 120 + 14)
    assert positions(terminal)
    terminal.simulator_advance(START + 120 + 30)
    assert not positions(terminal)
    deal = last_deal(terminal)
    assert (deal["reason"], deal["price"], deal["position_id"]) == (4, 1.099, ticket)
    assert (deal["comment"], deal["entry"], deal["magic"], deal["type"]) == ("[sl 1.09900]", 1, 77, 1)
    # Opened at the ask 1.1001, closed at 1.099: 110 points of 0.1 lot are 11.00 USD.
    assert deal["profit"] == -11.0
    assert terminal.simulator_view("orders")["orders"][-1]["reason"] == 4


def test_a_stop_loss_of_a_sell_watches_the_ask(tmp_path: Path) -> None:
    path = write_bars(tmp_path, [*flat(1.1, 2), *walk(1.1, 1.10085), *flat(1.10085, 2), *walk(1.10085, 1.1009, 1.1009)])
    terminal = opened(tmp_path, path)
    market_order(terminal, "SELL", 0.1, sl=1.101)
    terminal.simulator_advance(START + 290)
    assert positions(terminal), "the ask is 1.10095"
    terminal.simulator_advance(START + 400)
    assert (last_deal(terminal)["reason"], last_deal(terminal)["price"]) == (4, 1.101)


def test_a_gap_over_the_stop_closes_at_the_first_price_behind_it(tmp_path: Path) -> None:
    terminal = opened(tmp_path, write_bars(tmp_path, [*flat(1.1, 2), *flat(1.09, 3)]))
    market_order(terminal, "BUY", 0.1, sl=1.099)
    later(terminal, 180)
    deal = last_deal(terminal)
    assert (deal["reason"], deal["price"], deal["time"]) == (4, 1.09, START + 120)
    assert deal["comment"] == "[sl 1.09900]"


def test_a_sells_stop_behind_a_gap_closes_at_the_ask(tmp_path: Path) -> None:
    terminal = opened(tmp_path, write_bars(tmp_path, [*flat(1.1, 2), *flat(1.11, 3)]))
    market_order(terminal, "SELL", 0.1, sl=1.101)
    later(terminal, 180)
    assert last_deal(terminal)["price"] == 1.1101


@pytest.mark.parametrize(("side", "target", "after"), [("BUY", 1.101, 1.102), ("SELL", 1.099, 1.098)])
def test_a_take_profit_closes_at_its_level_and_never_better(
    tmp_path: Path, side: str, target: float, after: float
) -> None:
    terminal = opened(tmp_path, write_bars(tmp_path, [*flat(1.1, 2), *flat(after, 3)]))
    market_order(terminal, side, 0.1, tp=target)
    later(terminal, 180)
    deal = last_deal(terminal)
    assert (deal["reason"], deal["price"], deal["comment"]) == (5, target, f"[tp {target:.5f}]")
    assert deal["profit"] > 0


def test_a_wider_spread_alone_can_reach_the_stop_of_a_sell(tmp_path: Path) -> None:
    path = write_bars(tmp_path, flat(1.1, 4))
    lines = path.read_text().splitlines()
    lines[3] = lines[3].removesuffix(",10") + ",150"
    path.write_text("\n".join(lines) + "\n")
    terminal = opened(tmp_path, path)
    market_order(terminal, "SELL", 0.1, sl=1.101)
    later(terminal, 200)
    assert (last_deal(terminal)["reason"], last_deal(terminal)["price"]) == (4, 1.1015)


def test_stops_work_while_nobody_is_connected(tmp_path: Path) -> None:
    terminal = opened(tmp_path, write_bars(tmp_path, [*flat(1.1, 2), *flat(1.09, 3)]))
    market_order(terminal, "BUY", 0.1, sl=1.099)
    terminal.shutdown()
    later(terminal, 180)
    assert not positions(terminal)


@pytest.mark.market_data
@pytest.mark.parametrize(
    "name",
    [
        "EURUSD_M1_201405_oanda_bidask.csv.gz",
        "XAUUSD_M1_201405_oanda_bidask.csv.gz",
        "BTCUSD_M1_202201_ftx_perp.csv.gz",
        "EURUSD_M1_202208_202210_mt4_gappy.csv.gz",
    ],
)
def test_stops_on_real_bars_close_where_the_bars_say(tmp_path: Path, name: str) -> None:
    """A BUY is stopped on the bid, which the file holds: the first low at or under the stop tells minute and price."""
    path = bar_file(name)
    terminal = opened(tmp_path, path, start=None)
    file = read_bar_file(path)
    bars, start = file.bars, terminal.simulator_clock()["now"]
    now = int(np.flatnonzero(bars.time == start)[0])
    expected = {}
    for share in (0.0005, 0.001, 0.002, 0.004, 0.008):
        stop = round(float(bars.open[now]) * (1 - share), file.digits)
        ticket = terminal.simulator_open_position(
            {"symbol": file.symbol, "side": "BUY", "volume": 0.01, "stop_loss": stop}
        )["ticket"]
        hit = now + int(np.argmax(bars.low[now:] <= stop))
        price = float(bars.open[hit]) if bars.open[hit] <= stop else stop
        expected[ticket] = (price, int(bars.time[hit]))
    later(terminal, float(bars.time[-1] - start))
    found = {d["position_id"]: (d["price"], d["time"] // 60 * 60) for d in deals(terminal) if d["reason"] == 4}
    assert found == expected


# --- netting ---


@pytest.fixture
def netting(tmp_path: Path) -> SimulatedTerminal:
    path = write_bars(tmp_path, [*flat(1.1, 2), *flat(1.2, 60)])
    return opened(tmp_path, path, account={"margin_mode": "netting"})


def test_netting_adds_at_the_mean_price_under_the_same_ticket(netting: SimulatedTerminal) -> None:
    first = market_order(netting, "BUY", 0.1).order
    later(netting, 120)
    market_order(netting, "BUY", 0.3)
    (position,) = positions(netting)
    assert (position["ticket"], position["volume"]) == (first, 0.4)
    assert position["price_open"] == pytest.approx((1.1001 * 0.1 + 1.2001 * 0.3) / 0.4)
    assert last_deal(netting)["entry"] == 0


def test_netting_reduces_closes_and_turns_around(netting: SimulatedTerminal) -> None:
    first = market_order(netting, "BUY", 0.3).order
    assert market_order(netting, "SELL", 0.1).retcode == 10009
    assert [row["volume"] for row in positions(netting)] == [0.2]
    assert (last_deal(netting)["entry"], last_deal(netting)["profit"]) == (1, -1.0)
    turned = market_order(netting, "SELL", 0.5)
    (position,) = positions(netting)
    assert (position["type"], position["volume"], position["price_open"]) == (1, 0.3, 1.1)
    assert (position["ticket"], position["identifier"]) == (turned.order, first)
    deal = last_deal(netting)
    assert (deal["entry"], deal["volume"], deal["profit"], deal["position_id"]) == (2, 0.5, -2.0, first)
    assert market_order(netting, "BUY", 0.3).retcode == 10009
    assert positions(netting) == []


def test_netting_levels_may_be_changed_by_symbol(netting: SimulatedTerminal) -> None:
    market_order(netting, "BUY", 0.3)
    assert netting.order_send(action=6, symbol="EURUSD", sl=1.09, tp=0.0).retcode == 10009
    assert positions(netting)[0]["sl"] == 1.09


# --- money ---


def test_profit_in_another_currency_is_converted(tmp_path: Path) -> None:
    for symbol, price, digits in (("USDJPY", 150.0, 3), ("EURUSD", 1.1, 5), ("EURJPY", 165.0, 3)):
        bars = [*flat(price, 2), *flat(price * 1.01, 20)]
        write_bars(tmp_path / "bars", bars, symbol=symbol, digits=digits, spread=0)
    terminal = opened(tmp_path, tmp_path / "bars", account={"currency": "EUR"})
    market_order(terminal, "BUY", 1.0, "USDJPY")
    later(terminal, 180)
    # 1.5 JPY * 100,000 = 150,000 JPY; EURJPY is 166.65 then.
    assert positions(terminal)[0]["profit"] == round(150_000 / 166.65, 2)
    # 1,000 USD of margin; EURUSD is 1.111 then.
    assert terminal.simulator_view("account")["account"]["margin"] == round(1000 / 1.111, 2)


def test_a_currency_without_a_price_is_converted_at_the_reference_rate(tmp_path: Path) -> None:
    path = write_bars(tmp_path, [*flat(0.85, 2), *flat(0.86, 9)], symbol="EURGBP", spread=0)
    terminal = opened(tmp_path, path)
    market_order(terminal, "BUY", 1.0, "EURGBP")
    later(terminal, 180)
    assert positions(terminal)[0]["profit"] == 1270.0


def test_account_figures_belong_together(tmp_path: Path) -> None:
    terminal = opened(tmp_path, write_bars(tmp_path, [*flat(1.1, 2), *flat(1.105, 9)]))
    empty = terminal.account_info()
    assert (empty.margin, empty.margin_level, empty.equity) == (0.0, 0.0, 100_000.0)
    market_order(terminal, "BUY", 1.0)
    later(terminal, 180)
    info = terminal.account_info()
    assert info.profit == 490.0
    assert info.equity == info.balance + info.profit
    assert info.margin_free == round(info.equity - info.margin, 2)
    assert info.margin_level == round(100 * info.equity / info.margin, 2)


def test_c58_a_stop_out_closes_the_worst_position_first_and_stops_in_time(tmp_path: Path) -> None:
    path = write_bars(tmp_path, [*flat(1.1, 2), *walk(1.1, 1.095, 1.09, 1.085), *flat(1.085, 9)])
    terminal = opened(tmp_path, path, account={"balance": 10_000.0})
    small = market_order(terminal, "BUY", 1.0).order
    large = market_order(terminal, "BUY", 5.0).order
    later(terminal, 600)
    # At 1.085 six lots have lost 9,060 of 10,000 USD on a margin of 6,510 USD: 14 %. One lot keeps 940 on 1,085 USD.
    closed = [deal for deal in deals(terminal) if deal["reason"] == 6]
    assert [deal["position_id"] for deal in closed] == [large]
    assert closed[0]["comment"].startswith("[so 14")
    assert [row["ticket"] for row in positions(terminal)] == [small]
    info = terminal.account_info()
    assert info.margin_level >= 50.0


# --- steps ---


def script(terminal: SimulatedTerminal, steps: list[float]) -> list[dict[str, Any]]:
    for symbol in ("EURUSD", "BTCUSD", "XAUUSD"):
        digits = 5 if symbol == "EURUSD" else 2
        price = terminal.simulator_market(symbol, "M1", 1)["bars"][0]["close"]
        for share in (0.0015, 0.004, 0.01):
            for side, sign in (("BUY", 1), ("SELL", -1)):
                terminal.simulator_open_position({
                    "symbol": symbol,
                    "side": side,
                    "volume": 0.1,
                    "stop_loss": round(price * (1 - sign * share), digits),
                    "take_profit": round(price * (1 + 2 * sign * share), digits),
                })  # fmt: skip
    for step in steps:
        later(terminal, step)
    return deals(terminal)


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(1, 40_000), min_size=1, max_size=30))
def test_what_happens_does_not_depend_on_how_time_is_cut_into_steps(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int]
) -> None:
    total = 259_200
    steps: list[float] = []
    for cut in cuts:
        if sum(steps) + cut < total:
            steps.append(cut)
    steps.append(total - sum(steps))
    one = script(opened(tmp_path_factory.mktemp("one")), [total])
    many = script(opened(tmp_path_factory.mktemp("many")), steps)
    assert many == one
    assert sum(deal["reason"] in {4, 5} for deal in one) >= 6, "the market moves enough to test something"
