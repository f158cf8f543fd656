from __future__ import annotations

import itertools

import pytest

from dtms_service.domain import regime
from dtms_service.domain.parameters import Parameters
from dtms_service.domain.view import Session, Structure, Volatility

P = Parameters()
COMPONENTS = ("structure", "vwap_volume", "momentum", "ema", "delta", "candle")


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [
        (0.69, Volatility.LOW),
        (0.71, Volatility.NORMAL),
        (1.0, Volatility.NORMAL),
        (1.29, Volatility.NORMAL),
        (1.31, Volatility.HIGH),
    ],
)
def test_volatility_is_atr_against_its_daily_mean(ratio, expected):
    assert regime.volatility(ratio * 0.004, 0.004, P) is expected


def test_a_band_narrower_than_three_atr_is_a_range():
    assert regime.structure(0.74, 1.0, P) is Structure.RANGE
    assert regime.structure(0.75, 1.0, P) is Structure.TREND
    assert regime.structure(1.529928511, 1.115746081, P) is Structure.TREND, "engine.md B9: 5.48 ATR"


@pytest.mark.parametrize(
    ("volatility", "structure", "session", "expected"),
    [
        # engine.md A1.3, in the order of COMPONENTS.
        (Volatility.NORMAL, Structure.TREND, Session.LONDON, (1, 1, 1, 1, 1, 1)),
        (Volatility.LOW, Structure.TREND, Session.OVERLAP, (1, 1, 1, 1, 1, 1)),
        (Volatility.NORMAL, Structure.RANGE, Session.NEW_YORK, (0.7, 1.3, 1.0, 0.8, 1.2, 1.1)),
        (Volatility.HIGH, Structure.TREND, Session.LONDON, (1.2, 0.9, 0.8, 1.0, 1.1, 0.9)),
        (Volatility.NORMAL, Structure.TREND, Session.ASIAN, (0.8,) * 6),
        (Volatility.NORMAL, Structure.TREND, Session.OFF, (0.8,) * 6),
        (Volatility.HIGH, Structure.RANGE, Session.LONDON, (0.84, 1.17, 0.8, 0.8, 1.32, 0.99)),
    ],
)
def test_weights_are_multiplied_by_the_factors_that_apply(volatility, structure, session, expected):
    found = [regime.weight_multiplier(name, volatility, structure, session) for name in COMPONENTS]
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(
    ("volatility", "structure", "session", "expected"),
    [
        (Volatility.NORMAL, Structure.TREND, Session.LONDON, 1.0),
        (Volatility.NORMAL, Structure.TREND, Session.OVERLAP, 0.7),
        (Volatility.HIGH, Structure.TREND, Session.NEW_YORK, 0.64),
        (Volatility.HIGH, Structure.RANGE, Session.OFF, 1.56),
        (Volatility.LOW, Structure.RANGE, Session.ASIAN, 1.8),  # 2.73, bounded
    ],
)
def test_the_vwap_threshold_follows_session_volatility_and_structure(volatility, structure, session, expected):
    assert regime.threshold_multiplier(volatility, structure, session) == pytest.approx(expected)


def test_every_market_has_a_multiplier_between_the_bounds():
    for market in itertools.product(Volatility, Structure, Session):
        assert 0.5 <= regime.threshold_multiplier(*market) <= 1.8
        for name in COMPONENTS:
            assert 0.5 <= regime.weight_multiplier(name, *market) <= 1.8
