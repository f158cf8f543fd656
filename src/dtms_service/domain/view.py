"""The market view: every reading the rules need about one symbol, taken from closed bars only.

All readings are market-relative (+ is bullish); the side of a trade enters in ``domain.signals``. A reading that is not
there is a `Missing` with its reason: ``configured=False`` means that this symbol can never have it (its weight is
renormalised away), ``configured=True`` that it is absent for now (it abstains and lowers the coverage). Sources:
``engine.md`` B2 to B5.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from enum import StrEnum


class Volatility(StrEnum):
    """ATR14 against its own mean over 96 M15 bars."""

    LOW = "LOW"
    NORMAL = "NORMAL"
    HIGH = "HIGH"


class Structure(StrEnum):
    """Width of the Bollinger band in ATRs."""

    RANGE = "RANGE"
    TREND = "TREND"


class Session(StrEnum):
    """Trading session by local clocks of the bar's time."""

    ASIAN = "ASIAN"
    LONDON = "LONDON"
    NEW_YORK = "NEW_YORK"
    OVERLAP = "OVERLAP"
    OFF = "OFF"


@dataclass(frozen=True, slots=True)
class Missing:
    """A reading that is not there, and why."""

    reason: str
    configured: bool = True


@dataclass(frozen=True, slots=True)
class StructureReading:
    """Market structure on M15. ``trend`` in {-1, 0, +1}; ``age`` in closed M15 bars since the last break."""

    trend: int
    age: int
    kind: str
    """BOS or CHOCH; NONE, with ``trend`` 0, while the bars hold no break."""
    event_time: float
    """When the bar of the break CLOSED, because only then was it known; 0.0 without a break."""
    swing_high: float | None
    swing_low: float | None


@dataclass(frozen=True, slots=True)
class VwapReading:
    """Session VWAP on M5.

    ``flip`` and ``volume_flip`` in {-1, 0, +1}; ``flip_age`` in closed M5 bars since the flip.
    """

    vwap: float
    flip: int
    flip_age: int
    volume_flip: int


@dataclass(frozen=True, slots=True)
class MomentumReading:
    """RSI14 now and two M15 bars before; the last three MACD histogram values, oldest first."""

    rsi: float
    rsi_before: float
    histogram: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class EmaReading:
    """EMA slopes over 10 M15 bars divided by ATR14, and EMA50 minus EMA200 in price units."""

    slope_50: float
    slope_200: float
    gap: float


@dataclass(frozen=True, slots=True)
class CandleReading:
    """Newest qualifying M5 candle of the last three.

    ``sign`` of its body, and whether open and close lie on opposite sides of VWAP.
    """

    sign: int
    crosses_vwap: bool


@dataclass(frozen=True, slots=True)
class MarketView:
    """Everything the rules know about a symbol at one moment. Times are bar OPEN times unless said otherwise."""

    symbol: str
    m15_time: float
    m5_time: float
    m5_close: float
    m5_closed_at: tuple[float, ...]
    """Closing times of the closed M5 bars in the window, oldest first; their count measures open-market time (R40)."""
    atr: float | Missing
    volatility: Volatility
    structure_regime: Structure
    regime_known: bool
    session: Session
    median_spread: float | None
    structure: StructureReading | Missing
    vwap: VwapReading | Missing
    momentum: MomentumReading | Missing
    ema: EmaReading | Missing
    delta: Missing
    candle: CandleReading | Missing

    def open_seconds_since(self, time: float) -> float:
        """Seconds of open market since ``time``: 300 for every M5 bar that has closed after it (R40)."""
        return 300.0 * (len(self.m5_closed_at) - bisect_right(self.m5_closed_at, time))
