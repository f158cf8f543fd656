"""May the service be trusted right now? The only thing that health answers read.

``Readiness`` is a small mutable record owned by the event loop; ``report`` turns it into a value. Ages are on the
engine clock, so that a stepped simulation that nobody steps does not look dead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from dtms_service.domain.values import Account

INTERVALS = 3
"""Periods of the cadence in force after which the last completed cycle is too old (INTERFACE 3.1, R41)."""


class Phase(StrEnum):
    """Where the service is in its life."""

    STARTING = "starting"
    CONNECTING = "connecting"
    RECONCILING = "reconciling"
    READY = "ready"
    DEGRADED = "degraded"
    STOPPING = "stopping"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why the service is not ready: a stable code and a sentence."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Check:
    """State of one part: ``ledger``, ``terminal``, ``engine`` or ``monitor``.

    ``age_s`` since it was last seen working.
    """

    ok: bool
    detail: str
    age_s: float | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """Readiness at one moment."""

    ready: bool
    phase: Phase
    accepting: bool
    account: Account | None
    reasons: tuple[Reason, ...]
    checks: Mapping[str, Check] = field(default_factory=dict)


class Readiness:
    """What is known about the service's own parts. Every setter is a fact that somebody saw."""

    def __init__(self) -> None:
        self.phase = Phase.STARTING
        self.account: Account | None = None
        self._ledger: Reason | None = Reason("ledger_closed", "the ledger is not open yet")
        self._writing: Reason | None = None
        self._terminal: Reason | None = Reason("terminal_not_connected", "the terminal is not connected yet")
        self._trading: Reason | None = None
        self._engine: Reason | None = Reason("not_reconciled", "no cycle has been completed since the start")
        self._monitor: Reason | None = None
        self._completed_at: float | None = None

    @property
    def accepting(self) -> bool:
        """True when registrations can be stored: the ledger alone decides, so a dead terminal still takes them in."""
        return self._ledger is None and self.phase not in {Phase.STOPPING, Phase.FAILED}

    @property
    def connected(self) -> bool:
        """True when the terminal answered the last time it was asked."""
        return self._terminal is None

    def ledger(self, reason: Reason | None) -> None:
        """The ledger works (None) or why not."""
        self._ledger = reason

    def writing(self, reason: Reason | None) -> None:
        """The last commit was taken (None), or why not; registrations are tried all the same."""
        self._writing = reason

    @property
    def terminal_reason(self) -> Reason:
        """Why the terminal is not connected; asked only while it is not."""
        return self._terminal or Reason("terminal_not_connected", "the terminal is not connected yet")

    def terminal(self, reason: Reason | None) -> None:
        """The terminal answers and is the expected account (None), or why not."""
        self._terminal = reason

    def trading(self, reason: Reason | None) -> None:
        """Programs may trade at the terminal (None), or why not; it can be read all the same."""
        self._trading = reason

    def monitor(self, reason: Reason | None) -> None:
        """The monitor runs (None), or how it failed."""
        self._monitor = reason

    def completed(self, now: float, trouble: Reason | None) -> None:
        """A cycle was completed: the heartbeat. ``trouble`` names trades that could not be looked at."""
        self._completed_at = now
        self._engine = trouble
        if self.phase not in {Phase.STOPPING, Phase.FAILED}:
            self.phase = Phase.READY if trouble is None else Phase.DEGRADED

    def watching(self, now: float, period: float) -> bool:
        """True while the terminal answers and the last completed cycle is young enough to be believed (R41)."""
        return self.connected and self._completed_at is not None and now - self._completed_at <= INTERVALS * period

    def report(self, now: float, period: float) -> Report:
        """Readiness at engine time ``now`` with the cadence's ``period`` in force."""
        age = None if self._completed_at is None else max(0.0, now - self._completed_at)
        stale = age is not None and age > INTERVALS * period
        heartbeat = Reason("cycle_too_old", f"the last completed cycle is {age:.0f} s old") if stale else None
        parts = {
            "ledger": self._ledger or self._writing,
            "terminal": self._terminal or self._trading,
            "engine": self._engine,
            "monitor": self._monitor or heartbeat,
        }
        reasons = [reason for reason in parts.values() if reason is not None]
        if self.phase in {Phase.STOPPING, Phase.FAILED}:
            reasons.insert(0, Reason(self.phase.value, f"the service is {self.phase.value}"))
        phase = self.phase
        if phase is Phase.READY and reasons:
            phase = Phase.DEGRADED
        checks = {
            name: Check(reason is None, "ok" if reason is None else reason.detail, age if name == "monitor" else None)
            for name, reason in parts.items()
        }
        return Report(not reasons, phase, self.accepting, self.account, tuple(reasons), checks)
