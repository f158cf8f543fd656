from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from domain_values import EURUSD, GRID, USDJPY, XAUUSD
from hypothesis import given
from hypothesis import strategies as st

from dtms_service.domain import levels
from dtms_service.domain.values import Side

QUARTERS = replace(XAUUSD, tick_size=0.25)
SPECS = st.sampled_from([EURUSD, XAUUSD, USDJPY, QUARTERS, GRID])
SIDES = st.sampled_from(Side)
PRICES = st.floats(min_value=0.01, max_value=100_000, allow_nan=False)
VOLUMES = st.floats(min_value=0.0, max_value=1000, allow_nan=False)


def times(value: float, step: float) -> Decimal:
    """How many steps ``value`` is, exactly."""
    return Decimal(str(value)) / Decimal(str(step))


@pytest.mark.parametrize(
    ("spec", "raw", "buy", "sell"),
    [
        (EURUSD, 1.095678, 1.09567, 1.09568),
        (XAUUSD, 2034.567, 2034.56, 2034.57),
        (USDJPY, 151.2345, 151.234, 151.235),
        (QUARTERS, 2034.567, 2034.5, 2034.75),
        (EURUSD, 1.0999999999999999, 1.1, 1.1),  # noise of float arithmetic is no tick
        (EURUSD, 1.09567, 1.09567, 1.09567),
    ],
)
def test_a_stop_is_rounded_to_a_tick_away_from_the_price(spec, raw, buy, sell):
    assert levels.stop_away_from_price(raw, Side.BUY, spec) == buy
    assert levels.stop_away_from_price(raw, Side.SELL, spec) == sell


@given(spec=SPECS, side=SIDES, raw=PRICES)
def test_a_rounded_stop_is_a_multiple_of_the_tick_on_the_far_side_and_less_than_a_tick_off(spec, side, raw):
    stop = levels.stop_away_from_price(raw, side, spec)
    assert times(stop, spec.tick_size) % 1 == 0
    away = side.sign * (Decimal(str(raw)) - Decimal(str(stop))) / Decimal(str(spec.tick_size))
    assert Decimal("-1e-9") <= away < 1


@pytest.mark.parametrize(
    ("spec", "raw", "legal"),
    [
        (EURUSD, 0.5 * 0.03, 0.01),
        (EURUSD, 0.1 + 0.2, 0.3),  # 0.30000000000000004
        (EURUSD, 0.29999999999999998, 0.3),
        (EURUSD, 0.009, 0.0),
        (XAUUSD, 0.25, 0.2),
        (XAUUSD, 0.1 * 3, 0.3),
        (USDJPY, 3.7, 3.0),
        (USDJPY, 0.99, 0.0),
    ],
)
def test_a_volume_is_rounded_down_to_a_step(spec, raw, legal):
    assert levels.volume_down(raw, spec) == legal


@given(spec=SPECS, raw=VOLUMES)
def test_a_legal_volume_is_a_multiple_of_the_step_and_never_rounded_up(spec, raw):
    legal = levels.volume_down(raw, spec)
    assert times(legal, spec.volume_step) % 1 == 0
    lost = (Decimal(str(raw)) - Decimal(str(legal))) / Decimal(str(spec.volume_step))
    assert Decimal("-1e-9") <= lost < 1


@given(whole=st.integers(0, 100_000), part=st.integers(0, 100_000))
def test_the_difference_of_two_volumes_is_exact(whole, part):
    assert levels.volume_minus(whole / 100, part / 100) == (whole - part) / 100


@pytest.mark.parametrize(
    ("spec", "stops", "freeze", "distance"),
    [
        (EURUSD, 0, 0, 0.00001),
        (EURUSD, 10, 5, 0.00011),
        (EURUSD, 5, 20, 0.00021),
        (XAUUSD, 50, 0, 0.51),
        (USDJPY, 15, 15, 0.016),
    ],
)
def test_the_broker_distance_is_the_larger_level_plus_one_tick(spec, stops, freeze, distance):
    assert levels.broker_distance(replace(spec, stops_level=stops, freeze_level=freeze)) == pytest.approx(distance)


def test_prices_are_the_same_within_half_a_tick_and_an_absent_level_equals_only_an_absent_one():
    assert levels.same_price(1.1, 1.100004, 0.00001)
    assert not levels.same_price(1.1, 1.100006, 0.00001)
    assert levels.same_price(None, None, 0.00001)
    assert not levels.same_price(None, 1.1, 0.00001)
    assert not levels.same_price(1.1, None, 0.00001)


@pytest.mark.parametrize(
    ("stop", "side", "tight"),
    [
        (1.09, Side.BUY, True),
        (1.0901, Side.BUY, True),
        (1.0899, Side.BUY, False),
        (1.0899, Side.SELL, True),
        (1.0901, Side.SELL, False),
        (1.089996, Side.BUY, True),  # within half a tick
        (None, Side.BUY, False),
    ],
)
def test_a_stop_is_at_least_as_tight_when_it_is_at_the_target_or_nearer_to_the_price(stop, side, tight):
    assert levels.at_least_as_tight(stop, 1.09, side, 0.00001) is tight
