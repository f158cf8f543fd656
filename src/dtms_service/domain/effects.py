"""What an order's outcome does to a trade and its obligation. Pure.

The same functions serve the reply of a send and the evidence found after a lost one, so that both end in the same
trade.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

from dtms_service.domain import levels
from dtms_service.domain.orders import ClosePosition, Fill, ModifyStops
from dtms_service.domain.outcome import Done, Outcome, Refused, Unknown
from dtms_service.domain.parameters import Parameters
from dtms_service.domain.trade import (
    STOP_KINDS,
    Event,
    Frozen,
    Intent,
    IntentState,
    Obligation,
    ObligationKind,
    ObligationStatus,
    Trade,
)
from dtms_service.domain.values import Timeframe

_PACE = frozenset({"refused: too_many_requests", "refused: send_paused", "refused: order_in_flight"})
"""Resolutions that say nothing about the order: too many of them went out (10024)."""
_PACE_S = 1.0
"""Wait after those; the terminal's own pause doubles for the whole account."""
_INVALID_STOPS = 10016
"""TRADE_RETCODE_INVALID_STOPS: the stop is too near the price."""


def leg_of(trade: Trade, obligation: Obligation) -> int:
    """Number of the next intent of this kind in the episode of its obligation, from 1."""
    same = [o for o in trade.obligations if (o.kind, o.episode) == (obligation.kind, obligation.episode)]
    return 1 + sum(o.attempts for o in same)


def sent(
    trade: Trade, obligation: Obligation, order: ModifyStops | ClosePosition, target: float, now: float
) -> tuple[Trade, Obligation, Intent]:
    """The trade, its obligation and the intent as they are committed before the order goes out."""
    intent = Intent(
        magic=order.magic,
        trade_id=trade.trade_id,
        kind=obligation.kind,
        episode=obligation.episode,
        leg=leg_of(trade, obligation),
        state=IntentState.SENDING,
        plan={**asdict(order), "target": target},
        before={"volume": trade.volume, "stop_loss": trade.stop_loss, "take_profit": trade.take_profit},
        reason=obligation.reason,
        created_at=now,
        sending_at=now,
    )
    out = replace(obligation, status=ObligationStatus.SENT, target=target, attempts=obligation.attempts + 1)
    return with_obligation(trade, obligation, out), out, intent


def with_obligation(trade: Trade, old: Obligation, new: Obligation) -> Trade:
    """The trade with one obligation replaced (matched by kind, episode and creation order)."""
    obligations = list(trade.obligations)
    obligations[obligations.index(old)] = new
    return replace(trade, obligations=tuple(obligations))


def replied(intent: Intent, outcome: Outcome[Fill], now: float) -> Intent:
    """The intent after the reply to its order.

    ``UNKNOWN``, and ``ACKED`` (placed, nothing filled yet), stay open until the broker's records speak.
    """
    match outcome:
        case Done(fill):
            state = _state_of(intent, fill)
            return replace(
                intent,
                state=state,
                resolved_at=None if state.open else now,
                retcode=fill.retcode,
                order=fill.order or None,
                deal=fill.deal or None,
                resolution="reply",
            )
        case Refused(code=code, retcode=retcode):
            return replace(
                intent, state=IntentState.REJECTED, resolved_at=now, retcode=retcode, resolution=f"refused: {code}"
            )
        case Unknown(code=code, retcode=retcode, order=order):
            return replace(
                intent, state=IntentState.UNKNOWN, retcode=retcode, order=order, resolution=f"unknown: {code}"
            )


def _state_of(intent: Intent, fill: Fill) -> IntentState:
    if intent.kind in STOP_KINDS:
        return IntentState.CONFIRMED
    if fill.volume <= 0:
        return IntentState.ACKED
    return IntentState.PARTIAL if fill.volume < float(intent.plan["volume"]) - 1e-9 else IntentState.CONFIRMED


def settled(trade: Trade, intent: Intent, done_volume: float | None, now: float, parameters: Parameters) -> Trade:
    """The trade after its intent was replied to or settled.

    ``done_volume`` in lots, where it is known (closing orders).
    """
    owner = (intent.kind, intent.episode, ObligationStatus.SENT)
    obligation = next((o for o in trade.obligations if (o.kind, o.episode, o.status) == owner), None)
    if intent.state.open:
        return replace(trade, frozen=Frozen.INTENT)
    match intent.state:
        case IntentState.CONFIRMED if _is_one_piece_of_more(intent):
            trade, status = _reduced(trade, _done(intent, done_volume)), ObligationStatus.DUE
        case IntentState.CONFIRMED:
            trade, status = _confirmed(trade, intent, done_volume), ObligationStatus.DONE
        case IntentState.PARTIAL:
            trade, status = _reduced(trade, done_volume or 0.0), ObligationStatus.DUE
        case _:
            status = ObligationStatus.DUE
    frozen = None if trade.frozen is Frozen.INTENT else trade.frozen
    trade = replace(trade, frozen=frozen)
    if obligation is None:
        return trade
    return with_obligation(trade, obligation, _after(obligation, intent, status, now, parameters))


def _is_one_piece_of_more(intent: Intent) -> bool:
    """A close above the largest volume goes out in pieces with one target (C-13); True for all but the last."""
    if intent.kind in STOP_KINDS:
        return False
    after = levels.volume_minus(float(intent.before["volume"]), float(intent.plan["volume"]))
    return after > float(intent.plan["target"]) + 1e-9


def _done(intent: Intent, done_volume: float | None) -> float:
    return done_volume if done_volume is not None else float(intent.plan["volume"])


def _confirmed(trade: Trade, intent: Intent, done_volume: float | None) -> Trade:
    if intent.kind in STOP_KINDS:
        flags = trade.flags - {"unprotected_if_down"}
        if intent.kind is ObligationKind.BREAKEVEN:
            flags -= {"be_pending"}
        return replace(trade, stop_loss=float(intent.plan["stop_loss"]), stop_set_by=intent.magic, flags=flags)
    reduced = _reduced(trade, _done(intent, done_volume))
    return replace(reduced, partials=reduced.partials + 1) if intent.kind is ObligationKind.PARTIAL_CLOSE else reduced


def _reduced(trade: Trade, by: float) -> Trade:
    left = max(0.0, levels.volume_minus(trade.volume, by))
    return replace(trade, volume=left, closed_by_us=float(f"{trade.closed_by_us + by:.8f}"))


def _after(
    obligation: Obligation, intent: Intent, status: ObligationStatus, now: float, parameters: Parameters
) -> Obligation:
    if status is not ObligationStatus.DUE:
        return replace(obligation, status=status)
    # A volume target stays fixed once sent, so that a repeat can never close more; a stop that did not take effect is
    # planned anew from the price of then (R3, R16).
    return replace(
        obligation,
        status=status,
        target=None if intent.kind in STOP_KINDS else obligation.target,
        uncounted=obligation.uncounted + of_pace(intent),
        too_near=obligation.too_near + (intent.retcode == _INVALID_STOPS),
        next_try_at=now + _wait(obligation, intent, parameters),
    )


def _wait(obligation: Obligation, intent: Intent, parameters: Parameters) -> float:
    """The back-off after a failure; after the last step the pace of scheduled evaluations (``engine.md`` B7.0)."""
    if intent.state is IntentState.CONFIRMED:
        return 0.0
    if of_pace(intent):
        return _PACE_S
    waits, failed = parameters.retry_backoff_s, obligation.attempts - obligation.uncounted
    return waits[failed - 1] if failed <= len(waits) else Timeframe.M15.seconds


def of_pace(intent: Intent) -> bool:
    """True when the order was refused for the account's pace alone, which is no failure of its obligation."""
    return intent.resolution in _PACE


_OUTCOMES: Mapping[IntentState, str] = {
    IntentState.CONFIRMED: "done",
    IntentState.PARTIAL: "done",
    IntentState.REJECTED: "refused",
    IntentState.NOT_EXECUTED: "refused",
    IntentState.ABANDONED: "refused",
    IntentState.UNKNOWN: "unknown",
    IntentState.ACKED: "unknown",
    IntentState.MANUAL_REVIEW: "unknown",
}


def action_event(trade: Trade, intent: Intent, outcome: Outcome[Fill] | None, now: float) -> Event:
    """The action as operators see it (INTERFACE 3.3). ``outcome`` is None when evidence settled the intent later."""
    fill = outcome.value if isinstance(outcome, Done) else None
    text = _words_of_the_broker(outcome) or intent.resolution
    requested = {name: value for name, value in intent.plan.items() if name in {"stop_loss", "take_profit", "volume"}}
    result: dict[str, Any] = {"order": intent.order, "deal": intent.deal}
    if fill is not None:
        result |= {"volume": fill.volume, "price": fill.price}
    name = _OUTCOMES[intent.state]
    return Event(
        time=now,
        kind="action",
        trade_id=trade.trade_id,
        ticket=trade.ticket,
        body={
            "action_type": intent.kind.value,
            "symbol": trade.symbol,
            "outcome": name,
            "success": name == "done",
            "reason": intent.reason,
            "retcode": intent.retcode,
            "retcode_text": text,
            "requested": requested,
            "result": result,
            "latency_ms": fill.latency_ms if fill is not None else None,
            "description": describe(intent, trade),
            "status": intent.state.value,
            "details": {
                "magic": intent.magic,
                "episode": intent.episode,
                "leg": intent.leg,
                "state": trade.state.value,
                "resolution": intent.resolution,
                "before": dict(intent.before),
            },
        },
    )


def _words_of_the_broker(outcome: Outcome[Fill] | None) -> str | None:
    match outcome:
        case None:
            return None
        case Done(fill):
            return fill.comment
        case Refused(detail=detail) | Unknown(detail=detail):
            return detail


def unsent_event(
    trade: Trade, obligation: Obligation, outcome: str, reason: str, requested: Mapping[str, Any], now: float
) -> Event:
    """An action that was not sent: ``refused`` with its reason, or ``would_have`` where DTMS only observes."""
    return Event(
        time=now,
        kind="action",
        trade_id=trade.trade_id,
        ticket=trade.ticket,
        body={
            "action_type": obligation.kind.value,
            "symbol": trade.symbol,
            "outcome": outcome,
            "success": False,
            "reason": reason,
            "retcode": None,
            "retcode_text": None,
            "requested": dict(requested),
            "result": {},
            "latency_ms": None,
            "description": f"{_WORDS[obligation.kind]} of {trade.symbol} {trade.ticket}: {reason}",
            "status": obligation.status.value,
            "details": {"episode": obligation.episode, "owed_because": obligation.reason, "state": trade.state.value},
        },
    )


_WORDS: Mapping[ObligationKind, str] = {
    ObligationKind.TIGHTEN_STOP: "tighten the stop",
    ObligationKind.BREAKEVEN: "move the stop to breakeven",
    ObligationKind.PARTIAL_CLOSE: "close a part",
    ObligationKind.HEDGE: "open a hedge",
    ObligationKind.CLOSE_HEDGE: "close the hedge",
    ObligationKind.CLOSE_ALL: "close everything",
}

_SAY: Mapping[bool, Callable[[Intent], str]] = {
    True: lambda i: f"from {i.before['stop_loss']} to {i.plan['stop_loss']}",
    False: lambda i: f"{i.plan.get('volume')} of {i.before['volume']} lots",
}


def describe(intent: Intent, trade: Trade) -> str:
    """One line for people: what was asked of the broker and what became of it."""
    what = _SAY[intent.kind in STOP_KINDS](intent)
    return f"{_WORDS[intent.kind]} of {trade.symbol} {trade.ticket} {what}: {intent.state.value.lower()}"
