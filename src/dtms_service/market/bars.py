"""Bars as arrays: the one form in which prices travel from the terminal to the indicators. numpy only.

Reading bar files and building longer bars from shorter ones live here too, because both the simulated terminal and replay need them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Bars:
    """Bars of one symbol and timeframe, oldest first, one row per bar.

    ``time`` int64 opening times in seconds UTC, strictly increasing; prices and ``tick_volume`` float64; ``spread`` int64 in points.
    The newest row may be a bar that is still forming.
    """

    time: NDArray[np.int64]
    open: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]
    tick_volume: NDArray[np.float64]
    spread: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.time)
