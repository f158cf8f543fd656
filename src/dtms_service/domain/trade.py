"""A trade: the unit we protect, with all of its state. What is not in here does not survive a restart.

Times are seconds since the epoch in UTC on the market's or the engine's clock; ``None`` means "not yet" or "unknown".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from dtms_service.domain.states import TradeState
from dtms_service.domain.values import Side


class Owner(StrEnum):
    """Who may change the position (R30)."""

    DTMS = "dtms"
    UNIVERSAL_MANAGER = "universal_manager"
    INTELLIGENT_EXITS = "intelligent_exits"
    MANUAL = "manual"


class Mode(StrEnum):
    """``observe`` decides and records but sends nothing; ``protect`` acts."""

    OBSERVE = "observe"
    PROTECT = "protect"


class Frozen(StrEnum):
    """Why nothing may be planned for a trade at the moment."""

    VERIFY = "verify"
    """The position is missing from the terminal and no closing deal explains it (R6)."""
    INTENT = "intent"
    """An order of ours has no answer yet; only tightening the stop is allowed (``engine.md`` D4)."""


class ObligationKind(StrEnum):
    """What a transition owes the trade."""

    TIGHTEN_STOP = "tighten_stop"
    PARTIAL_CLOSE = "partial_close"
    BREAKEVEN = "move_stop_to_breakeven"
    HEDGE = "open_hedge"
    CLOSE_HEDGE = "close_hedge"
    CLOSE_ALL = "close_all"


STOP_KINDS = frozenset({ObligationKind.TIGHTEN_STOP, ObligationKind.BREAKEVEN})
"""What changes a level; the other kinds change volume."""


class ObligationStatus(StrEnum):
    """DUE is the only live status; an obligation ends with its first confirmed effect (R3)."""

    DUE = "due"
    SENT = "sent"
    DONE = "done"
    SATISFIED = "satisfied"
    SUPERSEDED = "superseded"
    REFUSED = "refused"
    WOULD_HAVE = "would_have"

    @property
    def live(self) -> bool:
        """True while something may still be sent or is on its way."""
        return self in {ObligationStatus.DUE, ObligationStatus.SENT}


@dataclass(frozen=True, slots=True, kw_only=True)
class Obligation:
    """One effect owed.

    ``r_multiple`` is the distance of a tightened stop in R; ``target`` the absolute goal once it was sent.
    """

    kind: ObligationKind
    episode: int
    status: ObligationStatus
    reason: str
    created_at: float
    r_multiple: float | None = None
    target: float | None = None
    attempts: int = 0
    """Orders sent for it so far."""
    uncounted: int = 0
    """Attempts that are no failures: refused for the account's pace alone, or one piece of more that was done.

    They bring no longer wait and no alert.
    """
    too_near: int = 0
    """Refusals for a stop too near the price (10016); each moves the next one a spread further away."""
    next_try_at: float = 0.0
    waiting: str | None = None
    """Why nothing was sent at the last look."""
    position: int | None = None
    """Identifier of the position of ours that is to be closed, where it is not the trade's hedge: a stray one."""
    reduce: bool = False
    """The broker refused an opposite position for good: close a part instead (``engine.md`` B7.4)."""


class IntentState(StrEnum):
    """Life of an intent (``engine.md`` D3). The first four are open, the rest final."""

    PLANNED = "PLANNED"
    SENDING = "SENDING"
    ACKED = "ACKED"
    UNKNOWN = "UNKNOWN"
    REJECTED = "REJECTED"
    CONFIRMED = "CONFIRMED"
    PARTIAL = "PARTIAL"
    NOT_EXECUTED = "NOT_EXECUTED"
    ABANDONED = "ABANDONED"
    MANUAL_REVIEW = "MANUAL_REVIEW"

    @property
    def open(self) -> bool:
        """True while the outcome at the broker is not settled."""
        return self in {IntentState.PLANNED, IntentState.SENDING, IntentState.ACKED, IntentState.UNKNOWN}


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """An order, committed before it is sent.

    ``plan`` is the order with its absolute target, ``before`` what the position looked like.
    """

    magic: int
    trade_id: int
    kind: ObligationKind
    episode: int
    leg: int
    state: IntentState
    plan: Mapping[str, Any]
    before: Mapping[str, Any]
    reason: str
    created_at: float
    sending_at: float
    resolved_at: float | None = None
    retcode: int | None = None
    order: int | None = None
    deal: int | None = None
    resolution: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A fact for the record. ``body`` holds JSON values only; ``sequence`` is given by the ledger when it is stored."""

    time: float
    kind: str
    trade_id: int | None
    ticket: int | None
    body: Mapping[str, Any]
    sequence: int | None = None


REVERSED = "REVERSED"
"""Why a trade is closed whose position a netting account turned round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HedgeLink:
    """Our own opposite position that covers part of a trade. ``missing_since``: no good read shows it since then."""

    ticket: int
    identifier: int
    side: Side
    volume: float
    price_open: float | None
    """None until a snapshot shows it."""
    stop_loss: float | None
    missing_since: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentScore:
    """One line of a score: ``points`` = K * weight * multiplier * value * side.

    ``reason`` says why it is not available.
    """

    name: str
    weight: float
    multiplier: float
    value: float | None
    points: float
    available: bool
    configured: bool
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """The trade score S in about [-10.5, +10.5], seen from the trade's side.

    ``value`` is None when nothing could be read.
    """

    value: float | None
    coverage: float
    components: tuple[ComponentScore, ...]
    may_escalate: bool
    """Coverage is at least 0.6 (``engine.md`` B5)."""
    may_relax: bool
    """Structure, VWAP (where configured) and momentum are there and coverage is at least 0.8."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """The whole state of a protected trade. Replaced as a value, never changed in place."""

    trade_id: int
    login: int
    server: str
    ticket: int
    identifier: int | None
    former_tickets: tuple[int, ...] = ()
    symbol: str
    side: Side | None
    """None only while PENDING, when the caller named a ticket alone and the terminal has not shown it yet."""

    volume: float
    initial_volume: float
    closed_by_us: float = 0.0
    entry_price: float | None
    stop_loss: float | None
    take_profit: float | None
    initial_stop_loss: float | None
    risk: float | None = None
    """R in price units: distance from the entry to the valid initial stop (R1)."""

    state: TradeState
    state_since: float
    previous_state: TradeState | None = None
    episode: int = 0
    """Number of transitions so far; obligations and intents belong to the episode that created them."""
    rule: str = "registered"
    """Name of the transition row that led here."""

    score: float | None = None
    score_at: float | None = None
    coverage: float = 0.0
    components: tuple[ComponentScore, ...] = ()
    deep_m15: float | None = None
    """Open time of the newest M15 bar that was evaluated: the memory that makes a repeated cycle a no-op."""
    deep_m5: float | None = None
    """Open time of the M5 bar at the newest evaluation: never two evaluations on one M5 bar."""
    deep_price: float | None = None
    event_deep_at: float | None = None
    flip_seen: int = 0
    """Last VWAP flip direction that was looked at, so that each new adverse flip triggers one evaluation."""
    below_half_r: bool = False
    evaluate_again: bool = False
    """The score is already past the next threshold: evaluate once more at the next closed M5 bar."""
    confirmations: int = 0
    """Evaluations in a row that asked for a hedge."""
    calm_evaluations: int = 0
    """M15 evaluations in a row above the score that ends HEDGED or RECOVERING."""

    armed: bool = False
    managed: bool = True
    flags: frozenset[str] = frozenset()
    frozen: Frozen | None = None
    missing_since: float | None = None
    missing_reads: int = 0
    obligations: tuple[Obligation, ...] = ()
    partials: int = 0
    hedges: int = 0
    hedge: HedgeLink | None = None
    hedge_magics: tuple[int, ...] = ()
    """Magics of all orders that opened a hedge or may have: how one that nobody expected is recognised."""
    flat_left_s: float | None = None
    recovery_left_s: float | None = None
    """Seconds of open market left on the two timers (R40)."""

    owner: Owner = Owner.DTMS
    source: str | None = None
    strategy_type: str | None = None
    commission: float | None = None
    """Money paid per lot when the position was opened, positive; None until it was read."""
    claims: Mapping[str, Any] = field(default_factory=dict)
    """What the caller said (levels, prices, volume), kept as a claim: the terminal is the truth."""
    registered_at: float
    opened_at: float | None = None
    """When the position was opened, market time; its age arms the trade."""
    verified_at: float | None = None
    closed_at: float | None = None
    closed_reason: str | None = None
    stop_moved_at: float | None = None
    """When others moved the stop last."""
    stop_set_by: int | None = None
    """Magic of the intent that placed the present stop, so that a close at that stop is explained too."""
    confirmed_at: float | None = None
    """When the broker last confirmed an order of ours for this trade; reads may lag behind it for a while."""

    @property
    def may_be_registered_again(self) -> bool:
        """True when its ticket may stand for a position that nobody watches: never seen, or turned round (netting)."""
        return self.state is TradeState.REJECTED or (self.state is TradeState.CLOSED and self.closed_reason == REVERSED)

    @property
    def sign(self) -> int:
        """+1 for BUY, -1 for SELL. Raises ValueError for a PENDING trade whose side is not known."""
        if self.side is None:
            message = f"trade {self.trade_id} has no side yet"
            raise ValueError(message)
        return self.side.sign
