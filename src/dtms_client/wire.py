"""What travels over HTTP: its one description, read by the client and by the service's ``api`` room, by nobody else.

Times are ISO 8601 UTC with ``Z``; volumes in lots; prices in symbol units; absent levels are null, never 0.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

SERVICE = "dtms"

HEALTH_LIVE = "/health/live"
HEALTH_READY = "/health/ready"
TRADES = "/dtms/trades"
STATUS = "/dtms/status"
ACTIONS = "/dtms/actions"
EVENTS = "/dtms/events"

RegistrationOutcome = Literal["protected", "already_protected", "observed", "pending_verification", "already_closed"]
TICKET_MAX = 2**63 - 1


class Wire(BaseModel):
    """Base of every message: unknown fields of a newer peer are ignored, values are immutable.

    Validators are built on first use: a program that imports the client pays only for what it sends and reads.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)


class RegistrationIn(Wire):
    """Body of ``PUT /dtms/trades/{ticket}``; all optional, because the terminal is the truth."""

    symbol: str | None = Field(default=None, min_length=1, max_length=32)
    side: Literal["BUY", "SELL"] | None = None
    entry_price: FiniteFloat | None = Field(default=None, gt=0)
    volume: FiniteFloat | None = Field(default=None, gt=0)
    stop_loss: FiniteFloat | None = Field(default=None, gt=0)
    take_profit: FiniteFloat | None = Field(default=None, gt=0)
    strategy_type: str | None = Field(default=None, max_length=64)
    managed_by: str | None = Field(default=None, max_length=64)
    source: str | None = Field(default=None, max_length=64)


class HedgeOut(Wire):
    """Our own opposite position that covers part of a trade."""

    ticket: int
    identifier: int
    side: str
    volume: float
    price_open: float | None
    """None until the terminal has shown the position."""
    stop_loss: float | None


class ObligationOut(Wire):
    """One effect owed to a trade, and where it stands."""

    kind: str
    status: str
    reason: str
    attempts: int
    next_try_at: str | None


class TradeOut(Wire):
    """A trade as INTERFACE 3.2 fixes it."""

    ticket: int
    identifier: int | None
    symbol: str
    side: str | None
    volume: float
    initial_volume: float
    closed_volume: float
    entry_price: float | None
    stop_loss: float | None
    take_profit: float | None
    initial_stop_loss: float | None
    risk: float | None
    r_now: float | None
    price_current: float | None
    profit: float | None
    state: str
    state_since: str
    previous_state: str | None
    score: float | None
    score_at: str | None
    coverage: float
    owner: str
    protected: bool
    armed: bool
    flags: list[str]
    frozen: str | None
    hedge: HedgeOut | None
    deadlines: dict[str, str | None]
    obligations: list[ObligationOut]
    next_check_at: str | None
    registered_at: str
    source: str | None
    strategy_type: str | None
    closed_at: str | None
    closed_reason: str | None


class RegistrationOut(Wire):
    """Answer to a registration. ``kind`` is the terminal's, so that nobody mistakes a simulator for money (R39)."""

    outcome: RegistrationOutcome
    protected: bool
    replayed: bool = False
    trade: TradeOut | None = None
    kind: str = "mt5"


class BatchItemIn(RegistrationIn):
    """One registration of ``POST /dtms/trades/batch``; built at import, or the first trade would wait 8 ms for it."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=False)

    ticket: int = Field(gt=0, le=TICKET_MAX)


class AnnouncementIn(Wire):
    """An order that may go out now, said on disk before it does; it travels in a file only.

    ``process``: the announcing program's id; ``unique``: tells two announcements of one program apart.
    """

    symbol: str = Field(min_length=1, max_length=32)
    magic: int = Field(gt=0, le=TICKET_MAX)
    strategy_type: str | None = Field(default=None, max_length=64)
    managed_by: str | None = Field(default=None, max_length=64)
    source: str | None = Field(default=None, max_length=64)
    process: int
    unique: str = Field(max_length=64)


class BatchItemOut(Wire):
    """Answer to one item of a batch; ``status`` is the HTTP status it would have had alone."""

    ticket: int | None
    status: int
    outcome: RegistrationOutcome | None = None
    protected: bool = False
    error: dict[str, Any] | None = None


class BatchOut(Wire):
    """Answer to a batch."""

    results: list[BatchItemOut]
    accepted: int
    rejected: int


class HandedOverOut(Wire):
    """Answer to a release or a hand-over. ``unwinding``: our hedge of the trade is being closed."""

    trade: TradeOut
    unwinding: bool


class MayModifyOut(Wire):
    """Answer of ``GET /dtms/trades/{ticket}/may-modify``; it holds for now only (R25)."""

    allowed: bool
    reason: str
    owner: str
    state: str
    defensive: bool


class TradeList(Wire):
    """Answer of ``GET /dtms/trades``."""

    trades: list[TradeOut]
    count: int
    next_cursor: str | None
    as_of: str


class Problem(Wire):
    """RFC 9457 problem document. ``definite``: the server decided; ``retryable``: it may succeed later."""

    model_config = ConfigDict(frozen=True, extra="allow", defer_build=True)

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    instance: str | None = None
    code: str
    request_id: str | None = None
    definite: bool = True
    retryable: bool = False


class Live(Wire):
    """Answer of ``GET /health/live``."""

    status: Literal["live"]
    service: Literal["dtms"]
    instance_id: str
    version: str


class Reason(Wire):
    """Why the service is not ready."""

    code: str
    detail: str


class Ready(Wire):
    """Answer of ``GET /health/ready``, with 200 or 503."""

    status: Literal["ready", "not_ready"]
    service: Literal["dtms"]
    instance_id: str
    version: str
    phase: str
    accepting: bool
    mode: str
    account: dict[str, Any] | None = None
    reasons: list[Reason] = Field(default_factory=list)
    checks: dict[str, Any] = Field(default_factory=dict)
