"""The built-in market: seeded, unbounded in time, and with random access (R36).

Every price is a function of (seed, symbol, instant). Nothing is drawn from a generator's position: a 64-bit mixing
function turns (seed, symbol, purpose, number) into a uniform number, so any week can be made at any time and comes
out the same.

* A *week* runs from Sunday 22:00 UTC; currencies and metals trade its first 120 hours, crypto all 168.
* The price at the start of a week is a sum of nine waves of random heights (2 weeks to 10 years), so that it wanders
  like a random walk over months but neither explodes nor reaches zero over decades.
* Inside a week the minutes form a Brownian bridge between two such anchors. Their volatility follows the sessions of
  the day and a regime drawn for every four hours: calm, normal, lively with a drift, violent with a drift.
* The spread is the catalogue's, wider in violent hours and around the rollover at 22:00 UTC.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dtms_service.market.bars import Bars
from dtms_service.terminal.simulated.catalogue import Contract

WEEK = 604_800
DEFAULT_START = 1_736_150_400
"""Where the synthetic market starts unless told otherwise: Monday 2025-01-06 08:00:00 UTC, London's open."""

_FIRST_SUNDAY = 338_400  # 1970-01-04 22:00 UTC
_FX_MINUTES = 120 * 60
_ALL_MINUTES = WEEK // 60
_WAVES = 9
_REGIME_MINUTES = 240
# Volatility factor and drift (in standard deviations of the block) of calm, normal, lively, violent; drawn with
# these odds.
_REGIME_ODDS = np.array([0.25, 0.70, 0.90])
_REGIME_VOLATILITY = np.array([0.5, 1.0, 1.6, 3.0])
_REGIME_DRIFT = np.array([0.0, 0.3, 1.2, 1.6])
# Activity by hour of the day, UTC: quiet Asia, London from 7, New York from 13, a lull before the rollover.
_HOURS = np.array(
    [
        0.6,
        0.6,
        0.6,
        0.6,
        0.6,
        0.7,
        0.9,
        1.3,
        1.5,
        1.4,
        1.2,
        1.1,
        1.3,
        1.7,
        1.8,
        1.6,
        1.4,
        1.1,
        0.9,
        0.8,
        0.7,
        0.6,
        0.5,
        0.5,
    ]
)


@dataclass(frozen=True, slots=True)
class Style:
    """Level and temper of a symbol; ``volatility`` is the deviation of a normal minute, as a fraction.

    At the default start the price is near ``base``.
    """

    base: float
    volatility: float
    around_the_clock: bool = False


STYLES = {
    "EURUSD": Style(1.085, 0.00012),
    "GBPUSD": Style(1.265, 0.00014),
    "USDJPY": Style(150.0, 0.00014),
    "AUDUSD": Style(0.655, 0.00016),
    "XAUUSD": Style(2350.0, 0.00025),
    "BTCUSD": Style(60_000.0, 0.00060, around_the_clock=True),
}


class SyntheticSource:
    """Weeks of one-minute bars of one symbol. Satisfies ``series.Source``."""

    seconds = 60
    first: int | None = None
    last: int | None = None

    def __init__(self, seed: int, facts: Contract) -> None:
        self._facts = facts
        self._style = STYLES[facts.name]
        digest = hashlib.blake2b(f"{seed}|{facts.name}".encode(), digest_size=8).digest()
        self._key = np.uint64(int.from_bytes(digest, "little"))
        self._level = 0.0
        self._level = self._anchor(self.index(DEFAULT_START))

    def index(self, time: float) -> int:
        """Number of the week since the first Sunday of 1970."""
        return int((time - _FIRST_SUNDAY) // WEEK)

    def bars(self, index: int) -> Bars:
        """The week as bars."""
        style, digits = self._style, self._facts.digits
        minutes = _ALL_MINUTES if style.around_the_clock else _FX_MINUTES
        start = _FIRST_SUNDAY + index * WEEK
        time = start + 60 * np.arange(minutes, dtype=np.int64)
        number = time // 60
        regime = np.searchsorted(_REGIME_ODDS, self._uniform("regime", number // _REGIME_MINUTES))
        volatility = style.volatility * _REGIME_VOLATILITY[regime] * _HOURS[(time // 3600 % 24).astype(np.int64)]
        close = np.round(style.base * np.exp(self._logs(index, number, regime, volatility)), digits)
        gap = 0.0 if style.around_the_clock else 30 * style.volatility * float(self._normal("gap", number[:1])[0])
        first = np.round(style.base * np.exp(self._anchor(index) + gap), digits)
        opening = np.concatenate(([first], close[:-1]))
        reach = close * volatility * 0.6
        high = np.maximum(opening, close) + reach * np.abs(self._normal("high", number))
        low = np.minimum(opening, close) - reach * np.abs(self._normal("low", number))
        busy = volatility / style.volatility
        volume = np.floor(40 * busy * (0.5 + self._uniform("volume", number))) + 4
        return Bars(
            time, opening, np.round(high, digits), np.round(low, digits), close, volume, self._spread(time, regime)
        )

    def _logs(
        self, index: int, number: NDArray[np.int64], regime: NDArray[np.int64], volatility: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Logarithm of the closes over the base: drifting steps, bent so that the week ends at the next anchor."""
        block = number // _REGIME_MINUTES
        drift = _REGIME_DRIFT[regime] * np.where(self._uniform("side", block) < 0.5, -1.0, 1.0)
        # One minute in 500 is a jump of six standard deviations: prices of real feeds have such tails.
        jump = np.where(self._uniform("jump", number) < 0.002, 6.0, 1.0)
        steps = volatility * (jump * self._normal("step", number) + drift / np.sqrt(_REGIME_MINUTES))
        walked = np.cumsum(steps)
        share = np.cumsum(volatility**2)
        begin, end = self._anchor(index), self._anchor(index + 1)
        logs: NDArray[np.float64] = begin + walked + (end - begin - walked[-1]) * share / share[-1]
        return logs

    def _anchor(self, index: int) -> float:
        """Logarithm of the price at the start of week ``index``, over the base."""
        total = 0.0
        weekly = self._style.volatility * np.sqrt(_FX_MINUTES)
        for wave in range(1, _WAVES + 1):
            length = 2**wave
            cell, rest = divmod(index, length)
            left, right = self._normal(f"wave{wave}", np.array([cell, cell + 1], dtype=np.int64))
            share = rest / length
            total += float(left + (right - left) * share) * weekly * np.sqrt(length) / 3.0
        return total - self._level

    def _spread(self, time: NDArray[np.int64], regime: NDArray[np.int64]) -> NDArray[np.int64]:
        usual = self._facts.spread * (0.8 + 0.4 * self._uniform("spread", time // 60))
        rollover = (time + 300) % 86_400 - 79_200  # seconds since 21:55 UTC
        wide = np.where((rollover >= 0) & (rollover < 2_100) & (not self._style.around_the_clock), 6.0, 1.0)
        return np.maximum(1, np.round(usual * wide * np.where(regime == 3, 2.0, 1.0))).astype(np.int64)

    def _uniform(self, purpose: str, number: NDArray[np.int64]) -> NDArray[np.float64]:
        """Uniform in (0, 1) for each number; splitmix64 (Steele, Lea, Flood 2014) over key, purpose and number."""
        digest = hashlib.blake2b(purpose.encode(), digest_size=8).digest()
        salt = self._key ^ np.uint64(int.from_bytes(digest, "little"))
        with np.errstate(over="ignore"):
            mixed = number.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + salt
            mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            mixed ^= mixed >> np.uint64(31)
        unit: NDArray[np.float64] = ((mixed >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
        return unit

    def _normal(self, purpose: str, number: NDArray[np.int64]) -> NDArray[np.float64]:
        """Standard normal for each number (Box and Muller 1958)."""
        radius: NDArray[np.float64] = np.sqrt(-2.0 * np.log(self._uniform(f"{purpose}.radius", number)))
        angle = 2.0 * np.pi * self._uniform(f"{purpose}.angle", number)
        normal: NDArray[np.float64] = radius * np.cos(angle)
        return normal
