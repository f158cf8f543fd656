"""What kind of market it is, and how much each reading and the VWAP threshold count in it. Tables and arithmetic only.

Rules and shares of time: ``engine.md`` B3; factors: A1.2 and A1.3. They change sensitivity on purpose and are not
renormalised.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from dtms_service.domain.parameters import Parameters
from dtms_service.domain.view import Session, Structure, Volatility

_LEAST, _MOST = 0.5, 1.8

_QUIET_HOURS = frozenset({Session.ASIAN, Session.OFF})

IN_RANGE: Mapping[str, float] = MappingProxyType(
    {"structure": 0.7, "vwap_volume": 1.3, "momentum": 1.0, "ema": 0.8, "delta": 1.2, "candle": 1.1}
)
"""Breaks mean less in a range, the distance from VWAP means more."""

IN_HIGH_VOLATILITY: Mapping[str, float] = MappingProxyType(
    {"structure": 1.2, "vwap_volume": 0.9, "momentum": 0.8, "ema": 1.0, "delta": 1.1, "candle": 0.9}
)
"""Breaks mean more in a violent market, oscillators are noise."""

IN_QUIET_HOURS = 0.8
"""Everything means less in the Asian session and outside all sessions."""

THRESHOLD_BY_SESSION: Mapping[Session, float] = MappingProxyType(
    {Session.ASIAN: 1.5, Session.LONDON: 1.0, Session.NEW_YORK: 0.8, Session.OVERLAP: 0.7, Session.OFF: 1.5}
)
THRESHOLD_BY_VOLATILITY: Mapping[Volatility, float] = MappingProxyType(
    {Volatility.LOW: 1.4, Volatility.NORMAL: 1.0, Volatility.HIGH: 0.8}
)
THRESHOLD_BY_STRUCTURE: Mapping[Structure, float] = MappingProxyType({Structure.RANGE: 1.3, Structure.TREND: 1.0})


def volatility(atr: float, mean_atr: float, parameters: Parameters) -> Volatility:
    """ATR14 against its mean over one day; both in price units, the mean above 0."""
    ratio = atr / mean_atr
    if ratio < parameters.volatility_low:
        return Volatility.LOW
    return Volatility.HIGH if ratio > parameters.volatility_high else Volatility.NORMAL


def structure(deviation: float, atr: float, parameters: Parameters) -> Structure:
    """Width of the Bollinger band (four standard deviations of 20 closes) in ATRs; ``atr`` above 0."""
    return Structure.RANGE if 4 * deviation / atr < parameters.range_width_atr else Structure.TREND


def weight_multiplier(component: str, volatility: Volatility, structure: Structure, session: Session) -> float:
    """How much a component counts in this market: the product of the factors that apply, between 0.5 and 1.8."""
    product = 1.0
    if structure is Structure.RANGE:
        product *= IN_RANGE[component]
    if volatility is Volatility.HIGH:
        product *= IN_HIGH_VOLATILITY[component]
    if session in _QUIET_HOURS:
        product *= IN_QUIET_HOURS
    return min(_MOST, max(_LEAST, product))


def threshold_multiplier(volatility: Volatility, structure: Structure, session: Session) -> float:
    """How far from VWAP a flip must be in this market, as a multiple of the base, between 0.5 and 1.8."""
    product = THRESHOLD_BY_SESSION[session] * THRESHOLD_BY_VOLATILITY[volatility] * THRESHOLD_BY_STRUCTURE[structure]
    return min(_MOST, max(_LEAST, product))
