from __future__ import annotations

import csv

import numpy as np
import pytest
from market_data import market_file
from market_series import golden

from dtms_service.market import indicators

BARS = golden()

# engine.md B9, computed with TA-Lib 0.8.2 and checked by hand-made formulas there.
GOLDEN = {
    199: (1.117549099, 56.450914086, 102.021087992, 101.073794348, 0.681434322, 0.195978744),
    499: (1.113317257, 46.302624589, 104.380651055, 103.910333588, -0.532819060, -0.127362150),
    999: (1.115746081, 43.804103361, 109.533386193, 108.953713296, -0.544285606, -0.260203507),
}


@pytest.mark.parametrize("row", GOLDEN)
def test_the_golden_vectors_hold_to_nine_decimals(row):
    line, histogram = indicators.macd(BARS.close)
    found = (
        indicators.atr(BARS.high, BARS.low, BARS.close)[row],
        indicators.rsi(BARS.close)[row],
        indicators.ema(BARS.close, 50)[row],
        indicators.ema(BARS.close, 200)[row],
        line[row],
        histogram[row],
    )
    assert found == pytest.approx(GOLDEN[row], abs=6e-10, rel=0)


def test_the_golden_bollinger_band_uses_the_population_deviation():
    middle, deviation = indicators.bollinger(BARS.close)
    assert middle[999] == pytest.approx(109.945037275, abs=6e-10)
    assert deviation[999] == pytest.approx(1.529928511, abs=6e-10)
    atr = indicators.atr(BARS.high, BARS.low, BARS.close)
    assert 4 * deviation[999] / atr[999] == pytest.approx(5.484862683, abs=6e-10)


def test_another_librarys_daily_bars_give_the_same_values():
    with market_file("answers/golden/skender_default_daily.csv").open() as file:
        rows = list(csv.DictReader(file))

    def column(name):
        return np.array([float(row[name] or "nan") for row in rows])

    close = column("close")
    _, histogram = indicators.macd(close)
    middle, deviation = indicators.bollinger(close)
    atr = indicators.atr(column("high"), column("low"), close)
    for found, name, tolerance, start in (
        (indicators.rsi(close), "rsi14", 1e-9, 0),
        (atr, "atr14_wilder", 1e-9, 0),
        (indicators.ema(close, 20), "ema20", 1e-9, 0),
        (middle, "sma20", 1e-9, 0),
        (deviation, "bb20_stdev", 1e-9, 0),
        (histogram, "macd_hist", 1e-6, 133),  # their EMAs are seeded otherwise; equal after 100 bars
    ):
        expected = column(name)
        known = ~np.isnan(expected)
        known[:start] = False
        assert known.sum() > 300
        assert found[known] == pytest.approx(expected[known], abs=tolerance, rel=0), name


def test_rsi_of_prices_that_do_not_move_is_50():
    assert set(indicators.rsi(np.full(300, 1.1))[14:]) == {50.0}


def test_rsi_returns_to_50_when_a_market_has_been_silent_for_long():
    close = np.concatenate((np.linspace(2.0, 1.0, 100), np.full(700, 1.0)))
    rsi = indicators.rsi(close)
    assert rsi[99] == 0.0, "only losses, which is not silence"
    assert rsi[-1] == 50.0
    rising = indicators.rsi(3.0 - close)
    assert (rising[99], rising[-1]) == (100.0, 50.0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_one_value_that_is_not_finite_is_refused_by_every_indicator(bad):
    close = BARS.close.copy()
    close[500] = bad
    for ask in (
        lambda: indicators.rsi(close),
        lambda: indicators.ema(close, 50),
        lambda: indicators.macd(close),
        lambda: indicators.bollinger(close),
        lambda: indicators.atr(BARS.high, BARS.low, close),
    ):
        with pytest.raises(ValueError, match="not finite"):
            ask()


def test_a_moving_mean_starts_where_its_values_start():
    values = np.array([np.nan, np.nan, 1.0, 2.0, 3.0, 7.0])
    assert indicators.mean(values, 3).tolist()[4:] == pytest.approx([2.0, 4.0])
    assert np.isnan(indicators.mean(values, 3)[:4]).all()
    assert np.isnan(indicators.mean(values, 5)).all()
