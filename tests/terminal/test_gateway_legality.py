"""Nothing illegal passes the last look and nothing legal is held back, by the test's own exact decimal arithmetic."""

from __future__ import annotations

import math
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from dtms_service.domain import levels
from dtms_service.domain.orders import ClosePosition, ModifyStops
from dtms_service.domain.values import Execution, Side, SymbolSpec, TradeMode
from dtms_service.terminal.legality import at_digits, illegal

TICKS = st.sampled_from([1e-05, 0.001, 0.01, 0.1, 0.25, 0.5, 1.0, 5.0])
STEPS = st.sampled_from([0.001, 0.01, 0.1, 0.25, 1.0, 10.0])
NUMBERS = st.floats(allow_nan=True, allow_infinity=True)
NOISE = st.integers(-3, 3)


def spec(tick: float = 1e-05, step: float = 0.01, most: int = 1000) -> SymbolSpec:
    return SymbolSpec(
        name="X",
        digits=5,
        point=1e-05,
        tick_size=tick,
        tick_value=1.0,
        contract_size=1.0,
        volume_min=step,
        volume_max=float(Decimal(str(step)) * most),
        volume_step=step,
        stops_level=0,
        freeze_level=0,
        trade_mode=TradeMode.FULL,
        execution=Execution.MARKET,
    )


def nudged(value: float, noise: int) -> float:
    """``value``, some neighbouring floats away."""
    for _ in range(abs(noise)):
        value = math.nextafter(value, math.copysign(math.inf, noise))
    return value


def stop_at(price: float) -> ModifyStops:
    return ModifyStops(1, "X", price, None, 7, "")


def close_of(volume: float) -> ClosePosition:
    return ClosePosition(1, "X", Side.BUY, volume, 7, "")


@given(tick=TICKS, count=st.integers(1, 10**6), noise=NOISE)
def test_a_stop_passes_exactly_when_its_shortest_decimal_is_a_multiple_of_the_tick(
    tick: float, count: int, noise: int
) -> None:
    price = nudged(float(count * Decimal(str(tick))), noise)
    assert (illegal(stop_at(price), spec(tick=tick)) is None) == (Decimal(repr(price)) % Decimal(repr(tick)) == 0)
    assert (noise == 0) == (illegal(stop_at(price), spec(tick=tick)) is None)


@given(step=STEPS, count=st.integers(0, 2000), noise=NOISE)
def test_a_volume_passes_exactly_when_its_shortest_decimal_is_a_multiple_of_the_step_within_bounds(
    step: float, count: int, noise: int
) -> None:
    volume = nudged(float(count * Decimal(str(step))), noise)
    legal = Decimal(repr(volume)) % Decimal(repr(step)) == 0 and 1 <= count <= 1000
    assert (illegal(close_of(volume), spec(step=step)) is None) == legal


@settings(max_examples=300)
@given(number=NUMBERS, tick=TICKS, step=STEPS)
def test_whatever_passes_is_finite_and_on_its_grid(number: float, tick: float, step: float) -> None:
    facts = spec(tick, step)
    for order, unit in ((stop_at(number), tick), (close_of(number), step)):
        if illegal(order, facts) is None:
            assert math.isfinite(number)
            assert number > 0
            assert Decimal(repr(number)) % Decimal(repr(unit)) == 0


@given(price=st.floats(1.0, 1e5), side=st.sampled_from(Side), tick=TICKS)
def test_every_stop_that_the_rules_round_passes(price: float, side: Side, tick: float) -> None:
    stop = levels.stop_away_from_price(price, side, spec(tick=tick))
    if stop > 0:
        assert illegal(stop_at(stop), spec(tick=tick)) is None


@given(volume=st.floats(0.0, 1e3), step=STEPS)
def test_every_volume_that_the_rules_round_passes(volume: float, step: float) -> None:
    facts = spec(step=step, most=10**7)
    lots = levels.volume_down(volume, facts)
    if lots >= facts.volume_min:
        assert illegal(close_of(lots), facts) is None


@given(price=st.floats(1e-3, 1e6), digits=st.integers(0, 8))
def test_a_price_at_its_digits_is_the_nearest_such_decimal(price: float, digits: int) -> None:
    shown = Decimal(repr(at_digits(price, digits)))
    assert -shown.normalize().as_tuple().exponent <= digits  # type: ignore[operator]  # finite, so a number
    assert abs(shown - Decimal(repr(price))) <= Decimal("0.5000001") * Decimal(10) ** -digits
