"""May the service be trusted right now? The only thing that health answers read.

``Readiness`` is a small mutable record owned by the event loop; ``report`` turns it into a value. Ages are on the engine clock, so
that a stepped simulation that nobody steps does not look dead.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from dtms_service.domain.values import Account


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
    """State of one part: ``ledger``, ``terminal``, ``engine`` or ``monitor``. ``age_s`` since it was last seen working."""

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
    checks: dict[str, Check] = field(default_factory=dict)
