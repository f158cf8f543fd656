"""May this call be repeated, and when? Pure: the caller does the waiting.

The server's word comes first (``retryable`` in its problem document), then its ``Retry-After`` (bounded), then full
jitter. A call ends at its number of attempts or at its total deadline, whichever comes first, and only calls that are
safe to repeat are repeated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tenacity import RetryCallState

from dtms_client.clock import Clock
from dtms_client.errors import DtmsClientError, NotDtms, NotReady, Unreachable
from dtms_client.places import RETRY_COUNT, TIMEOUT_S

BASE_S = 0.1
CAP_S = 2.0
CONNECT_S = 1.0
"""Longest wait for a connection (contract: connecting takes at most 1 s)."""
BUDGET = 100
TIMEOUT_COST = 10
ERROR_COST = 5
"""Retry budget of one service, as in the AWS SDKs: repeats cost, successes refund 1; an outage is not amplified."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Bounds of one call."""

    attempts: int = RETRY_COUNT
    total_s: float = TIMEOUT_S


class Budget:
    """How many repeats one service may still be burdened with. Races of threads are harmless: it is only a damper."""

    def __init__(self, tokens: int = BUDGET) -> None:
        self.tokens = tokens

    def take(self, error: BaseException) -> bool:
        """Pay for one repeat, if there is enough."""
        cost = ERROR_COST if isinstance(error, NotReady) else TIMEOUT_COST
        if self.tokens < cost:
            return False
        self.tokens -= cost
        return True

    def refund(self) -> None:
        """One call succeeded."""
        self.tokens = min(BUDGET, self.tokens + 1)


def worth_repeating(error: BaseException | None) -> bool:
    """May the same request succeed a moment later? A refused connection may, but not within one call (R48)."""
    if isinstance(error, NotDtms):
        return False
    if isinstance(error, Unreachable):
        return error.connected
    return isinstance(error, NotReady) and (error.problem is None or error.problem.retryable)


def pause(error: BaseException | None, attempt: int, uniform: Callable[[float, float], float]) -> float:
    """Seconds to wait after ``attempt`` (from 1): the server's wish, else full jitter that doubles from 0.1 to 2 s."""
    if isinstance(error, DtmsClientError) and error.retry_after is not None:
        return error.retry_after
    return uniform(0.0, min(CAP_S, BASE_S * 2.0**attempt))


class Attempts:
    """The attempts of one call: tells tenacity, synchronous or not, whether and when to go on."""

    def __init__(self, policy: Policy, budget: Budget, clock: Clock, *, repeatable: bool) -> None:
        self._policy = policy
        self._budget = budget
        self._clock = clock
        self._repeatable = repeatable
        self._deadline = clock.monotonic() + policy.total_s

    @property
    def left_s(self) -> float:
        """Seconds left for the next attempt."""
        return max(0.001, self._deadline - self._clock.monotonic())

    def options(self) -> dict[str, Any]:
        """Return what ``tenacity.Retrying`` and ``AsyncRetrying`` take."""
        return {"retry": self._again, "wait": self._wait, "stop": self._stop, "reraise": True}

    def _again(self, state: RetryCallState) -> bool:
        error = _error(state)
        if error is None:
            self._budget.refund()
            return False
        return self._repeatable and worth_repeating(error)

    def _wait(self, state: RetryCallState) -> float:
        return pause(_error(state), state.attempt_number, self._clock.uniform)

    def _stop(self, state: RetryCallState) -> bool:
        error = _error(state)
        return (
            state.attempt_number >= self._policy.attempts
            or self._clock.monotonic() + state.upcoming_sleep >= self._deadline
            or error is None
            or not self._budget.take(error)
        )


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome is not None else None
