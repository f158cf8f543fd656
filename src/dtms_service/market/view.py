"""From two windows of closed bars to a market view. A pure function of the bars: no clock, no memory between calls.

The M15 and the M5 part are separate values, so that an M5 close recomputes only what it changed. What is known at bar
t never depends on a later bar: every threshold in ATRs takes the ATR of the bar it judges. Formulas: ``engine.md`` B1
to B4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dtms_service.domain import regime
from dtms_service.domain.parameters import Parameters
from dtms_service.domain.values import SymbolSpec, Timeframe
from dtms_service.domain.view import (
    CandleReading,
    EmaReading,
    MarketView,
    Missing,
    MomentumReading,
    Session,
    Structure,
    StructureReading,
    Volatility,
    VwapReading,
)
from dtms_service.market import indicators, sessions, structure, vwap
from dtms_service.market.bars import Bars
from dtms_service.market.indicators import Series
from dtms_service.market.window import Window

_DELTA = Missing("no order-flow provider", configured=False)
_THETA_BARS = 100
"""M15 bars with a VWAP threshold: a session has at most 96, and its first M5 bars are judged by the bar before."""
_STILL = 1e-12
"""ATR as a share of the price at which prices do not move at all."""


@dataclass(frozen=True, slots=True, eq=False)
class M15Readings:
    """What the M15 window says. ``theta``: VWAP threshold in price units, from each time in ``closed_at`` on."""

    time: float
    atr: float | Missing
    volatility: Volatility
    structure_regime: Structure
    regime_known: bool
    session: Session
    structure: StructureReading | Missing
    momentum: MomentumReading | Missing
    ema: EmaReading | Missing
    closed_at: NDArray[np.int64]
    theta: Series


@dataclass(frozen=True, slots=True)
class M5Readings:
    """What the M5 window says, given the M15 readings of the same moment."""

    time: float
    close: float
    closed_at: tuple[float, ...]
    median_spread: float | None
    vwap: VwapReading | Missing
    candle: CandleReading | Missing


@dataclass(frozen=True, slots=True, eq=False)
class _Regimes:
    """ATR14, its daily mean and the deviation of 20 closes, bar by bar; NaN where one is not usable yet."""

    atr: Series
    mean_atr: Series
    deviation: Series

    def at(self, row: int, parameters: Parameters) -> tuple[Volatility, Structure, bool]:
        """Volatility, structure, and whether they are known; what is not known counts as ordinary."""
        atr, mean, deviation = float(self.atr[row]), float(self.mean_atr[row]), float(self.deviation[row])
        if not (atr > 0 and mean > 0):
            return Volatility.NORMAL, Structure.TREND, False
        return regime.volatility(atr, mean, parameters), regime.structure(deviation, atr, parameters), True


def build(spec: SymbolSpec, m15: Window, m5: Window, parameters: Parameters) -> MarketView | Missing:
    """The whole view of a symbol, or why there is none."""
    slow = read_m15(spec.name, m15, parameters)
    if isinstance(slow, Missing):
        return slow
    fast = read_m5(spec, m5, slow, parameters)
    return fast if isinstance(fast, Missing) else combined(spec.name, slow, fast)


def combined(symbol: str, m15: M15Readings, m5: M5Readings) -> MarketView:
    """The view made of its two parts."""
    return MarketView(
        symbol=symbol,
        m15_time=m15.time,
        m5_time=m5.time,
        m5_close=m5.close,
        m5_closed_at=m5.closed_at,
        atr=m15.atr,
        volatility=m15.volatility,
        structure_regime=m15.structure_regime,
        regime_known=m15.regime_known,
        session=m15.session,
        median_spread=m5.median_spread,
        structure=m15.structure,
        vwap=m5.vwap,
        momentum=m15.momentum,
        ema=m15.ema,
        delta=_DELTA,
        candle=m5.candle,
    )


def read_m15(symbol: str, window: Window, parameters: Parameters) -> M15Readings | Missing:
    """Everything that changes only when an M15 bar closes. Missing without a single closed bar."""
    bars = window.bars
    if len(bars) == 0:
        return Missing("no closed M15 bar")
    regimes = _regimes(bars, parameters)
    volatility, structure_regime, known = regimes.at(-1, parameters)
    atr = _atr(bars, regimes.atr)
    gap = _gap(symbol, bars, parameters)
    return M15Readings(
        time=float(bars.time[-1]),
        atr=atr,
        volatility=volatility,
        structure_regime=structure_regime,
        regime_known=known,
        session=sessions.session(int(bars.time[-1])),
        structure=gap or _structure(bars, regimes.atr, atr, parameters),
        momentum=gap or _momentum(bars),
        ema=_ema(bars, atr, parameters),
        closed_at=bars.time[-_THETA_BARS:] + Timeframe.M15.seconds,
        theta=_theta(bars, regimes, parameters),
    )


def read_m5(spec: SymbolSpec, window: Window, m15: M15Readings, parameters: Parameters) -> M5Readings | Missing:
    """Everything that changes when an M5 bar closes. Missing without a single closed bar."""
    bars = window.bars
    if len(bars) == 0:
        return Missing("no closed M5 bar")
    line = vwap.session_line(spec.name, bars, parameters.vwap_valid_bars, whole=window.full)
    return M5Readings(
        time=float(bars.time[-1]),
        close=float(bars.close[-1]),
        closed_at=tuple((bars.time + float(Timeframe.M5.seconds)).tolist()),
        median_spread=_median_spread(bars, spec),
        vwap=line if isinstance(line, Missing) else _vwap(bars, line, m15, parameters),
        candle=_candle(bars, line, parameters),
    )


def _regimes(bars: Bars, parameters: Parameters) -> _Regimes:
    if len(bars) < indicators.ATR_BARS:
        unknown = np.full(len(bars), np.nan)
        return _Regimes(unknown, unknown, unknown)
    atr = indicators.atr(bars.high, bars.low, bars.close)
    _, deviation = indicators.bollinger(bars.close)
    mean_atr = indicators.mean(atr, parameters.volatility_bars)
    atr = np.where(atr > _STILL * bars.close, atr, np.nan)
    atr[: indicators.ATR_BARS - 1] = np.nan
    return _Regimes(atr, mean_atr, deviation)


def _atr(bars: Bars, atr: Series) -> float | Missing:
    if len(bars) < indicators.ATR_BARS:
        return _warming("ATR14", indicators.ATR_BARS, bars)
    newest = float(atr[-1])
    return newest if newest > 0 else Missing("prices do not move")


def _warming(what: str, needed: int, bars: Bars) -> Missing:
    return Missing(f"{what} needs {needed} closed bars, has {len(bars)}")


def _gap(symbol: str, bars: Bars, parameters: Parameters) -> Missing | None:
    """A hole in the record blinds what reads bars as neighbours until k + 1 new bars have closed."""
    needed = parameters.swing_k + 1
    since = sessions.bars_since_hole(symbol, bars.time, Timeframe.M15.seconds, needed - 1)
    return None if since is None else Missing(f"hole in the bars: {since} of {needed} new M15 bars closed since")


def _structure(bars: Bars, series: Series, atr: float | Missing, parameters: Parameters) -> StructureReading | Missing:
    if isinstance(atr, Missing):
        return atr
    found = structure.find(bars, series, parameters.swing_k, parameters.break_beta_atr)
    if not found.breaks:
        return StructureReading(0, 0, "NONE", 0.0, found.swing_high, found.swing_low)
    last = found.breaks[-1]
    return StructureReading(
        trend=last.direction,
        age=len(bars) - 1 - last.index,
        kind=last.kind,
        event_time=float(bars.time[last.index]) + Timeframe.M15.seconds,
        swing_high=found.swing_high,
        swing_low=found.swing_low,
    )


def _momentum(bars: Bars) -> MomentumReading | Missing:
    if len(bars) < indicators.MACD_BARS:
        return _warming("MACD", indicators.MACD_BARS, bars)
    rsi = indicators.rsi(bars.close)
    _, histogram = indicators.macd(bars.close)
    oldest, middle, newest = histogram[-3:].tolist()
    return MomentumReading(float(rsi[-1]), float(rsi[-3]), (oldest, middle, newest))


def _ema(bars: Bars, atr: float | Missing, parameters: Parameters) -> EmaReading | Missing:
    if len(bars) < indicators.EMA200_BARS:
        return _warming("EMA200", indicators.EMA200_BARS, bars)
    if isinstance(atr, Missing):
        return atr
    fast, slow = indicators.ema(bars.close, 50), indicators.ema(bars.close, 200)
    before = -1 - parameters.ema_slope_bars
    return EmaReading(
        slope_50=float(fast[-1] - fast[before]) / atr,
        slope_200=float(slow[-1] - slow[before]) / atr,
        gap=float(fast[-1] - slow[-1]),
    )


def _theta(bars: Bars, regimes: _Regimes, parameters: Parameters) -> Series:
    """Distance from VWAP that flips its side, as it was known at the close of each of the newest M15 bars."""
    rows = range(max(0, len(bars) - _THETA_BARS), len(bars))
    multipliers = []
    for row in rows:
        volatility, structure_regime, _ = regimes.at(row, parameters)
        session = sessions.session(int(bars.time[row]))
        multipliers.append(regime.threshold_multiplier(volatility, structure_regime, session))
    theta: Series = parameters.vwap_theta_atr * regimes.atr[-_THETA_BARS:] * np.array(multipliers)
    return theta


def _median_spread(bars: Bars, spec: SymbolSpec) -> float | None:
    """Median of the spreads the feed knows, in price units, at least one pip (R10): many feeds leave 0 in most bars."""
    known = bars.spread[bars.spread > 0]
    if len(known) == 0:
        return None
    pip = spec.point * (10 if spec.digits in {3, 5} else 1)
    return max(float(np.median(known)) * spec.point, pip)


def _vwap(bars: Bars, line: vwap.Line, m15: M15Readings, parameters: Parameters) -> VwapReading:
    closing = bars.time[line.start :] + Timeframe.M5.seconds
    place = np.searchsorted(m15.closed_at, closing, side="right") - 1
    theta = np.where(place >= 0, m15.theta[place], np.nan)
    side, age = vwap.flip(bars.close[line.start :], line.values, theta, parameters.vwap_valid_bars)
    return VwapReading(
        vwap=float(line.values[-1]),
        flip=side,
        flip_age=age,
        volume_flip=vwap.volume_flip(bars, parameters, low=m15.volatility is Volatility.LOW),
    )


def _candle(bars: Bars, line: vwap.Line | Missing, parameters: Parameters) -> CandleReading | Missing:
    """The newest strong bar of the last few, each judged by its own ATR and the VWAP of its own close."""
    if len(bars) < indicators.ATR_BARS:
        return _warming("ATR14 of M5", indicators.ATR_BARS, bars)
    atr = indicators.atr(bars.high, bars.low, bars.close)
    for row in range(len(bars) - 1, len(bars) - 1 - parameters.candle_bars, -1):
        opening, close = float(bars.open[row]), float(bars.close[row])
        width = float(bars.high[row] - bars.low[row])
        if width <= 0 or abs(close - opening) < parameters.candle_body * width:
            continue
        if width < parameters.candle_range_atr * float(atr[row]):
            continue
        crosses = False
        if isinstance(line, vwap.Line) and row >= line.start:
            value = float(line.values[row - line.start])
            crosses = (opening - value) * (close - value) < 0
        return CandleReading(1 if close > opening else -1, crosses)
    return CandleReading(0, crosses_vwap=False)
