"""How long calls on a terminal take: lognormal, by class of call (medians and 99th percentiles of mt5.md 3)."""

from __future__ import annotations

import hashlib
import math
from statistics import NormalDist

_READ = (0.001, 0.015)
_RATES = (0.003, 0.040)
_SEND = (0.120, 0.800)
_NORMAL = NormalDist()
_Z99 = _NORMAL.inv_cdf(0.99)


class Latency:
    """Draws one duration after another; the same seed gives the same sequence."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._drawn = 0

    def draw(self, call: str) -> float:
        """Market seconds of the next call."""
        self._drawn += 1
        digest = hashlib.blake2b(f"{self._seed}|{call}|{self._drawn}".encode(), digest_size=8).digest()
        unit = (int.from_bytes(digest, "little") + 0.5) / 2.0**64
        median, slow = _SEND if call == "order_send" else _RATES if call.startswith("copy_") else _READ
        return median * math.exp(_NORMAL.inv_cdf(unit) * math.log(slow / median) / _Z99)
