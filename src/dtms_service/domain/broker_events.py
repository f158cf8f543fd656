"""What the broker's own doings mean for a trade's state, as a literal table: table E.2 of ``engine.md``.

An evaluation owes an effect (``transitions``); the states that hang on an effect are entered here, when the broker
confirmed it, and left here, when the broker took it away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from dtms_service.domain.parameters import Parameters
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import Event, Obligation, ObligationKind, ObligationStatus, Trade


class BrokerEvent(StrEnum):
    """What was seen at the broker. The values are the rules that a transition names."""

    HEDGE_FILLED = "hedge_filled"
    HEDGE_FOUND = "hedge_found"
    REDUCED = "reduced"
    HEDGE_CLOSED = "hedge_closed"
    HEDGE_GONE = "hedge_gone"
    HEDGE_STOPPED_OUT = "hedge_stopped_out"
    POSITION_CLOSED = "closed"
    SEEN_OPEN_AGAIN = "seen_open_again"


Guard = Callable[[Trade, Parameters], bool]


def _calmer(trade: Trade, p: Parameters) -> bool:
    return trade.score is not None and trade.score > p.l2_score


def _wanted(trade: Trade, _: Parameters) -> bool:
    """Closing the hedge was owed anyway: whoever closed it did what we wanted."""
    return any(o.kind is ObligationKind.CLOSE_HEDGE and o.status.live and o.position is None for o in trade.obligations)


@dataclass(frozen=True, slots=True)
class Row:
    """In ``states``, ``event`` leads to ``next`` where ``guard`` holds; ``when`` says all of it for people."""

    event: BrokerEvent
    states: frozenset[TradeState]
    when: str
    next: TradeState
    cancels: frozenset[ObligationKind] = frozenset()
    """Kinds whose unsent obligations have lost their object."""
    guard: Guard | None = None


_H, _L1, _L2 = TradeState.HEALTHY, TradeState.WARNING_L1, TradeState.WARNING_L2
_HEDGED, _RECOVERING, _CLOSED = TradeState.HEDGED, TradeState.RECOVERING, TradeState.CLOSED
_OPEN = frozenset({_H, _L1, _L2, _HEDGED, _RECOVERING})
_O = ObligationKind
_NO_HEDGE_LEFT = frozenset({_O.CLOSE_HEDGE})

CLOSES = Row(
    BrokerEvent.POSITION_CLOSED,
    _OPEN,
    "closing deals cover its volume, it turned its side, or it stayed away for verify_absence_s (R6)",
    _CLOSED,
    frozenset(ObligationKind),
)
OPENS_AGAIN = Row(
    BrokerEvent.SEEN_OPEN_AGAIN, frozenset({_CLOSED}), "a position recorded as closed is open at the terminal", _H
)

TABLE: tuple[Row, ...] = (
    Row(
        BrokerEvent.HEDGE_FILLED,
        _OPEN - {_HEDGED},  # ordered in WARNING_L2, and found later than a reply where that was lost
        "our opposite position is open, with its stop",
        _HEDGED,
        cancels=frozenset({_O.PARTIAL_CLOSE}),
    ),
    Row(
        BrokerEvent.HEDGE_FOUND,
        _OPEN - {_HEDGED},
        "an opposite position of an earlier ledger of ours is open",
        _HEDGED,
        cancels=frozenset({_O.PARTIAL_CLOSE, _O.HEDGE}),
    ),
    Row(
        BrokerEvent.REDUCED,
        frozenset({_L2}),
        "a part is closed in place of a hedge",
        _HEDGED,
        cancels=frozenset({_O.PARTIAL_CLOSE}),
    ),
    Row(BrokerEvent.HEDGE_CLOSED, frozenset({_HEDGED}), "the hedge is closed, as owed", _RECOVERING, _NO_HEDGE_LEFT),
    Row(
        BrokerEvent.HEDGE_GONE,
        frozenset({_HEDGED}),
        "others closed the hedge that was to be closed",
        _RECOVERING,
        _NO_HEDGE_LEFT,
        _wanted,
    ),
    Row(
        BrokerEvent.HEDGE_GONE,
        frozenset({_HEDGED}),
        "others closed the hedge, S > l2_score",
        _L1,
        _NO_HEDGE_LEFT,
        _calmer,
    ),
    Row(
        BrokerEvent.HEDGE_GONE,
        frozenset({_HEDGED}),
        "others closed the hedge, S <= l2_score or unknown",
        _L2,
        _NO_HEDGE_LEFT,
    ),
    Row(
        BrokerEvent.HEDGE_STOPPED_OUT,
        frozenset({_HEDGED}),
        "the account's stop-out closed the hedge",
        _L2,
        _NO_HEDGE_LEFT,
    ),
    CLOSES,
    OPENS_AGAIN,
)


def happened(trade: Trade, event: BrokerEvent, now: float, parameters: Parameters) -> Trade:
    """The trade after ``event``: the first row of its state whose guard holds; the same trade when there is none.

    While everything is being closed the end of a hedge changes no state: what is left to close is the position.
    """
    if trade.state is _HEDGED and event is not BrokerEvent.POSITION_CLOSED and _closing(trade):
        return trade
    for row in TABLE:
        if row.event is event and trade.state in row.states and (row.guard is None or row.guard(trade, parameters)):
            after = entered(trade, row, now)
            if after.state is _HEDGED:
                return replace(after, hedges=after.hedges + 1, flat_left_s=parameters.flat_s)
            return replace(after, recovery_left_s=parameters.recovery_s) if after.state is _RECOVERING else after
    return trade


def _closing(trade: Trade) -> bool:
    return any(o.kind is ObligationKind.CLOSE_ALL and o.status.live for o in trade.obligations)


def entered(trade: Trade, row: Row, now: float) -> Trade:
    """The trade in the state that ``row`` leads to; counters of evaluations and timers belong to a state."""
    return replace(
        trade,
        state=row.next,
        previous_state=trade.state,
        state_since=now,
        episode=trade.episode + 1,
        rule=row.event.value,
        confirmations=0,
        calm_evaluations=0,
        evaluate_again=False,
        flat_left_s=None,
        recovery_left_s=None,
        flags=trade.flags - {"hedge_unavailable", "recovery_unscored"},
        obligations=tuple(_cancelled(o, row) for o in trade.obligations),
    )


def _cancelled(obligation: Obligation, row: Row) -> Obligation:
    """An order on its way settles by itself, except of a position that is gone."""
    over = obligation.status.live if row.next is _CLOSED else obligation.status is ObligationStatus.DUE
    if not over or obligation.kind not in row.cancels:
        return obligation
    return replace(obligation, status=ObligationStatus.SUPERSEDED)


def transition_event(before: Trade, after: Trade, now: float) -> tuple[Event, ...]:
    """The transition between two values of one trade that the broker caused; nothing when the state is the same."""
    if before.state is after.state:
        return ()
    when = next((row.when for row in TABLE if row.event == after.rule and row.next is after.state), after.rule)
    body = {"from": before.state.value, "to": after.state.value, "rule": after.rule, "when": when, "score": after.score}
    return (Event(time=now, kind="transition", trade_id=after.trade_id, ticket=after.ticket, body=body),)
