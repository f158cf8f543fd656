"""From a market view to the score of a trade. Readings are market-relative; the side enters once, as a sign.

Every component is a number in [-1, +1], its weight the most points it can give. What is missing abstains and lowers
the coverage; it is never counted as zero risk. ``engine.md`` B4 and B5.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from dtms_service.domain import regime
from dtms_service.domain.parameters import Parameters
from dtms_service.domain.trade import ComponentScore, Score
from dtms_service.domain.values import Side
from dtms_service.domain.view import (
    CandleReading,
    EmaReading,
    MarketView,
    Missing,
    MomentumReading,
    StructureReading,
    Volatility,
    VwapReading,
)

SCALE = 10.5
"""Points of a full score: the sum of the default weights, on every symbol whatever it is configured for."""

Value: TypeAlias = float | Missing


def structure_value(reading: StructureReading, parameters: Parameters) -> float:
    """Direction of the last break, fading to nothing in `structure_decay` bars."""
    return reading.trend * max(0.0, 1 - reading.age / parameters.structure_decay)


def vwap_volume_value(reading: VwapReading, parameters: Parameters) -> float:
    """Three parts the flip, fading in `flip_decay` bars, one part the side the volume is on."""
    faded = reading.flip * max(0.0, 1 - reading.flip_age / parameters.flip_decay)
    return 0.75 * faded + 0.25 * reading.volume_flip


def momentum_value(reading: MomentumReading, volatility: Volatility, parameters: Parameters) -> float:
    """Two parts RSI beyond its dead zone, halved unless it moves that way; one part MACD histogram growing its way."""
    dead = parameters.rsi_dead_low if volatility is Volatility.LOW else parameters.rsi_dead
    beyond = (abs(reading.rsi - 50) - dead) / (parameters.rsi_full - dead)
    x = _sign(reading.rsi - 50) * min(1.0, max(0.0, beyond))
    if _sign(reading.rsi - reading.rsi_before) != _sign(x):
        x /= 2
    first, second, third = reading.histogram
    growing = int(first < second < third and third > 0) - int(first > second > third and third < 0)
    return (2 * x + growing) / 3


def ema_value(reading: EmaReading, parameters: Parameters) -> float:
    """Half the slope of EMA50, a quarter that of EMA200, a quarter which of them is above."""
    fast = _sign(reading.slope_50, parameters.ema_dead_50)
    slow = _sign(reading.slope_200, parameters.ema_dead_200)
    return 0.5 * fast + 0.25 * slow + 0.25 * _sign(reading.gap)


def candle_value(reading: CandleReading) -> float:
    """A strong bar through VWAP counts whole, another half."""
    return reading.sign * (1.0 if reading.crosses_vwap else 0.5)


@dataclass(frozen=True, slots=True)
class _Component:
    name: str
    weight: Callable[[Parameters], float]
    read: Callable[[MarketView, Parameters], Value]


def _structure(view: MarketView, p: Parameters) -> Value:
    return view.structure if isinstance(view.structure, Missing) else structure_value(view.structure, p)


def _vwap_volume(view: MarketView, p: Parameters) -> Value:
    return view.vwap if isinstance(view.vwap, Missing) else vwap_volume_value(view.vwap, p)


def _momentum(view: MarketView, p: Parameters) -> Value:
    return view.momentum if isinstance(view.momentum, Missing) else momentum_value(view.momentum, view.volatility, p)


def _ema(view: MarketView, p: Parameters) -> Value:
    return view.ema if isinstance(view.ema, Missing) else ema_value(view.ema, p)


def _delta(view: MarketView, _: Parameters) -> Value:
    return view.delta


def _candle(view: MarketView, _: Parameters) -> Value:
    return view.candle if isinstance(view.candle, Missing) else candle_value(view.candle)


_COMPONENTS = (
    _Component("structure", lambda p: p.weight_structure, _structure),
    _Component("vwap_volume", lambda p: p.weight_vwap_volume, _vwap_volume),
    _Component("momentum", lambda p: p.weight_momentum, _momentum),
    _Component("ema", lambda p: p.weight_ema, _ema),
    _Component("delta", lambda p: p.weight_delta, _delta),
    _Component("candle", lambda p: p.weight_candle, _candle),
)

NEEDED_TO_RELAX = ("structure", "vwap_volume", "momentum")


def score(view: MarketView, side: Side, parameters: Parameters) -> Score:
    """The score of a trade of ``side``. S(BUY) = -S(SELL) exactly; None when no component could be read."""
    values = [(c.name, c.weight(parameters), c.read(view, parameters)) for c in _COMPONENTS]
    configured = sum(weight for _, weight, value in values if not isinstance(value, Missing) or value.configured)
    present = sum(weight for _, weight, value in values if not isinstance(value, Missing))
    scale = SCALE / configured if configured else 0.0
    components = tuple(_scored(name, weight, value, view, scale * side.sign) for name, weight, value in values)
    coverage = present / configured if configured else 0.0
    return judged(sum(c.points for c in components) if present else None, coverage, components, parameters)


def judged(
    value: float | None, coverage: float, components: tuple[ComponentScore, ...], parameters: Parameters
) -> Score:
    """The score with what it may decide (B5)."""
    blind = any(c.configured and not c.available for c in components if c.name in NEEDED_TO_RELAX)
    return Score(
        value=value,
        coverage=coverage,
        components=components,
        may_escalate=coverage >= parameters.min_coverage_escalate,
        may_relax=coverage >= parameters.min_coverage_relax and not blind,
    )


def _scored(name: str, weight: float, value: Value, view: MarketView, signed_scale: float) -> ComponentScore:
    multiplier = regime.weight_multiplier(name, view.volatility, view.structure_regime, view.session)
    missing = value if isinstance(value, Missing) else None
    # Adding 0.0 turns a negative zero into zero, which people read better.
    number = None if isinstance(value, Missing) else value + 0.0
    return ComponentScore(
        name=name,
        weight=weight,
        multiplier=multiplier,
        value=number,
        points=0.0 if number is None else signed_scale * weight * multiplier * number + 0.0,
        available=missing is None,
        configured=missing is None or missing.configured,
        reason=missing.reason if missing is not None else None,
    )


def adverse_flip(view: MarketView, sign: int, parameters: Parameters) -> bool:
    """VF: the market flipped to the side of VWAP against a trade of ``sign``, and not long ago."""
    reading = view.vwap
    return isinstance(reading, VwapReading) and reading.flip == -sign and reading.flip_age <= parameters.flip_decay


def adverse_volume(view: MarketView, sign: int) -> bool:
    """QF: the volume of the newest M5 bars is against a trade of ``sign``."""
    return isinstance(view.vwap, VwapReading) and view.vwap.volume_flip == -sign


def _sign(value: float, dead: float = 0.0) -> int:
    if abs(value) < dead:
        return 0
    return (value > 0) - (value < 0)
