"""How much one caller may ask: a token bucket per token or address (R42). Time comes in from outside."""

from __future__ import annotations

import math
from collections.abc import Callable

_MOST = 4096
"""Callers remembered at most; one that was forgotten starts with a full bucket, as a new one does."""

_ROUNDING = 1e-6
"""Requests; moments are sums of binary fractions, so that the last request of a burst may seem to be over it."""

EXEMPT = ("/health", "/dtms/health", "/metrics", "/dtms/metrics", "/simulator/")

ORDERS = "/dtms/control/"
"""What begins so has a bucket of its own per caller: without tokens all programs of a machine are one caller, and the
loop of one of them must not keep an operator from halting."""


class RateLimit:
    """``rate`` requests per second, bursts of ``burst``, per caller. ``monotonic`` gives seconds of process time."""

    def __init__(self, monotonic: Callable[[], float], rate: float = 50.0, burst: float = 200.0) -> None:
        self._monotonic = monotonic
        self._rate = rate
        self._burst = burst
        self._full_at: dict[str, float] = {}
        """caller -> the moment its bucket is full again; a caller not in here has a full one."""

    def wait(self, caller: str, path: str = "") -> int:
        """Take one request from the caller's bucket: 0, or the whole seconds to wait when it is empty."""
        caller = f"{ORDERS} {caller}" if path.startswith(ORDERS) else caller
        now = self._monotonic()
        full_at = max(self._full_at.get(caller, now), now)
        over = (full_at - now) * self._rate + 1.0 - self._burst
        if over > _ROUNDING:
            return max(1, math.ceil((over - _ROUNDING) / self._rate))
        if len(self._full_at) >= _MOST and caller not in self._full_at:
            self._forget(now)
        self._full_at[caller] = full_at + 1.0 / self._rate
        return 0

    def _forget(self, now: float) -> None:
        """Drop full buckets; when all are in use, the half that is fullest."""
        waiting = sorted((at, caller) for caller, at in self._full_at.items() if at > now)
        self._full_at = {caller: at for at, caller in waiting[-_MOST // 2 :]}
