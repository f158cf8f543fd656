"""What becomes of an obligation that led to no order: satisfied, waiting, replaced, refused, or only observed. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from dtms_service.domain import reconcile
from dtms_service.domain.broker_events import BrokerEvent, happened, transition_event
from dtms_service.domain.effects import unsent_event, with_obligation
from dtms_service.domain.orders import ModifyStops, OpenHedge
from dtms_service.domain.parameters import Parameters
from dtms_service.domain.plan import Instead, Plan, Refuse, Satisfied, Send, Wait, plan
from dtms_service.domain.policy import Scene, owe
from dtms_service.domain.trade import Event, Mode, Obligation, ObligationKind, ObligationStatus, Trade


@dataclass(frozen=True, slots=True)
class Shelved:
    """The trade without an order, and what to record. The same trade object when nothing changed."""

    trade: Trade
    events: tuple[Event, ...] = ()


def shelve(
    trade: Trade, obligation: Obligation, answer: Plan, now: float, mode: Mode, parameters: Parameters
) -> Shelved:
    """Record the plan's answer, which must not be a `Send`."""
    match answer:
        case Satisfied(reason):
            done = replace(obligation, status=ObligationStatus.SATISFIED, waiting=reason)
            body = {"action_type": obligation.kind.value, "reason": reason, "owed_because": obligation.reason}
            event = Event(time=now, kind="satisfied", trade_id=trade.trade_id, ticket=trade.ticket, body=body)
            kept = _unflagged(with_obligation(trade, obligation, done), obligation)
            if obligation.kind is ObligationKind.CLOSE_HEDGE and trade.hedge is None:
                # The reduce style has no hedge to close: leaving it re-opens nothing (B7.4).
                kept = happened(kept, BrokerEvent.HEDGE_CLOSED, now, parameters)
            return Shelved(kept, (event, *transition_event(trade, kept, now)))
        case Wait(reason, flag):
            return Shelved(_waiting(trade, obligation, reason, flag))
        case Instead():
            return _instead(trade, obligation, answer, now, mode, parameters)
        case Refuse(reason):
            return _refused(trade, obligation, reason, now)
        case Send():
            message = "an order is sent, not shelved"
            raise ValueError(message)


def _waiting(trade: Trade, obligation: Obligation, reason: str, flag: str | None) -> Trade:
    if obligation.waiting != reason:
        trade = with_obligation(trade, obligation, replace(obligation, waiting=reason))
    if flag is not None and flag not in trade.flags:
        trade = replace(trade, flags=trade.flags | {flag})
    return trade


def _unflagged(trade: Trade, obligation: Obligation) -> Trade:
    if obligation.kind is ObligationKind.BREAKEVEN and "be_pending" in trade.flags:
        return replace(trade, flags=trade.flags - {"be_pending"})
    return trade


def _refused(trade: Trade, obligation: Obligation, reason: str, now: float) -> Shelved:
    refused = replace(obligation, status=ObligationStatus.REFUSED, waiting=reason)
    moved = with_obligation(trade, obligation, refused)
    event = unsent_event(moved, refused, "refused", reason, {}, now)
    words = f"{obligation.kind.value} is not possible: {reason}"
    return Shelved(moved, (event, reconcile.alert(moved, now, "obligation_refused", words)))


def _instead(
    trade: Trade, obligation: Obligation, answer: Instead, now: float, mode: Mode, parameters: Parameters
) -> Shelved:
    events: tuple[Event, ...] = ()
    if answer.keep:
        moved = _waiting(trade, obligation, answer.reason, answer.flag)
    else:
        shelved = _refused(trade, obligation, answer.reason, now)
        moved, events = shelved.trade, shelved.events
        if answer.flag is not None:
            moved = replace(moved, flags=moved.flags | {answer.flag})
    wanted = owe(moved, ObligationKind.TIGHTEN_STOP, answer.reason, now, mode, parameters, hard=answer.hard)
    # In the episode of what it stands in for: a market that eases must not owe another stop (R3).
    wanted = replace(wanted, episode=obligation.episode)
    if not _owed_already(moved, wanted):
        moved = replace(moved, obligations=(*moved.obligations, wanted))
    return Shelved(moved, events)


def _owed_already(trade: Trade, wanted: Obligation) -> bool:
    """True when a stop at least as near is owed still, or this episode had one."""
    return any(
        o.kind is wanted.kind
        and (o.status.live or (o.episode == wanted.episode and o.status is not ObligationStatus.SUPERSEDED))
        and (o.r_multiple or 0.0) <= (wanted.r_multiple or 0.0)
        for o in trade.obligations
    )


def observed(before: Trade, trade: Trade, scene: Scene, now: float, parameters: Parameters) -> tuple[Event, ...]:
    """``would_have`` actions for the obligations that appeared since ``before`` and that DTMS may only record (R47)."""
    new = [o for o in trade.obligations if o.status is ObligationStatus.WOULD_HAVE and o not in before.obligations]
    return tuple(
        unsent_event(trade, o, "would_have", o.reason, _requested(plan(trade, o, scene, 0, parameters)), now)
        for o in new
    )


def _requested(answer: Plan) -> Mapping[str, Any]:
    if not isinstance(answer, Send):
        return {"plan": type(answer).__name__.lower(), "reason": answer.reason}
    if isinstance(answer.order, ModifyStops):
        return {"stop_loss": answer.order.stop_loss, "take_profit": answer.order.take_profit}
    if isinstance(answer.order, OpenHedge):
        return {"volume": answer.order.volume, "side": answer.order.side.value, "stop_loss": answer.order.stop_loss}
    return {"volume": answer.order.volume}
