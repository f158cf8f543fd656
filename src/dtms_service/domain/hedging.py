"""A trade's own opposite positions, brought in line with what the terminal shows. Pure.

Invariants C-5 to C-7: never more than the trade's volume, never two, never one without its position.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from dtms_service.domain import levels
from dtms_service.domain.broker_events import BrokerEvent, happened, transition_event
from dtms_service.domain.parameters import Parameters
from dtms_service.domain.policy import owe
from dtms_service.domain.reconcile import Reconciled, alert, all_closed, close_reason, last_closing
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import Event, HedgeLink, Mode, Obligation, ObligationKind, Owner, Trade
from dtms_service.domain.values import Deal, Position, SymbolSpec

DUPLICATE, ORPHAN, TOO_LARGE = "duplicate_hedge", "orphan_hedge", "hedge_exceeds_position"
HANDED_OVER = "handed_over"
HEDGE_COMMENT = "DTH"
_VOLUME_NOISE = 1e-9


def shown(trade: Trade, position: Position, now: float) -> Reconciled:
    """The hedge is there: adopt its ticket, volume, price and stop, and say what others changed."""
    link = trade.hedge
    seen = HedgeLink(
        ticket=position.ticket,
        identifier=position.identifier,
        side=position.side,
        volume=position.volume,
        price_open=position.price_open,
        stop_loss=position.stop_loss,
    )
    if link is None or seen == link:
        return Reconciled(trade)
    changed = replace(trade, hedge=seen)
    events = []
    if abs(seen.volume - link.volume) > _VOLUME_NOISE:
        facts = {"before": link.volume, "after": seen.volume}
        events.append(_event(changed, now, "external_change", what="hedge_volume", **facts))
    if seen.stop_loss is None and link.stop_loss is not None:
        events.append(alert(changed, now, "hedge_stop_removed", "the stop of the hedge was removed by someone else"))
    return Reconciled(changed, tuple(events))


def absent(trade: Trade, deals: Sequence[Deal] | None, now: float, parameters: Parameters) -> Reconciled:
    """The hedge is not in a good read. It is gone when its deals say so, or after R6's long absence.

    ``deals`` are all deals of its identifier, None when they could not be read.
    """
    link = trade.hedge
    if link is None or deals is None:
        return Reconciled(trade)
    if all_closed(deals):
        last = last_closing(deals)
        return _gone(trade, close_reason(last), now, parameters)
    if link.missing_since is None:
        missing = replace(trade, hedge=replace(link, missing_since=now))
        detail = "the hedge is missing from the terminal and no closing deal explains it"
        return Reconciled(missing, (alert(missing, now, "hedge_missing", detail),))
    if now - link.missing_since < parameters.verify_absence_s:
        return Reconciled(trade)
    return _gone(trade, "UNVERIFIED", now, parameters)


def _gone(trade: Trade, reason: str, now: float, parameters: Parameters) -> Reconciled:
    """The hedge was closed without an order of ours that we know of: by its stop, by hand, by a stop-out."""
    without = replace(trade, hedge=None)
    event = BrokerEvent.HEDGE_STOPPED_OUT if reason == "STOP_OUT" else BrokerEvent.HEDGE_GONE
    if reason == "DTMS":
        event = BrokerEvent.HEDGE_CLOSED  # an order of ours that came through after its settle window
    after = happened(without, event, now, parameters)
    if event is BrokerEvent.HEDGE_STOPPED_OUT and after.state is not trade.state:
        after = replace(after, flags=after.flags | {"hedge_unavailable"})
    detail = f"the hedge was closed: {reason}"
    events = (
        _event(after, now, "hedge_gone", reason=reason),
        *transition_event(trade, after, now),
        *(() if reason == "DTMS" else (alert(after, now, "hedge_gone", detail),)),
    )
    return Reconciled(after, events)


def covered(position: Position) -> int | None:
    """Identifier of the position that a hedge of ours covers, as its comment says; None when it says nothing."""
    digits = position.comment.removeprefix(HEDGE_COMMENT)
    if digits == position.comment or not digits.isascii() or not digits.isalnum():
        return None
    return int(digits, 36)


def found(trade: Trade, position: Position, now: float, parameters: Parameters) -> Reconciled:
    """A hedge that this ledger never opened, of a trade it was registered for again: it is the trade's (D5)."""
    link = HedgeLink(
        ticket=position.ticket,
        identifier=position.identifier,
        side=position.side,
        volume=position.volume,
        price_open=position.price_open,
        stop_loss=position.stop_loss,
    )
    linked = replace(trade, hedge=link, hedge_magics=(*trade.hedge_magics, position.magic))
    after = happened(linked, BrokerEvent.HEDGE_FOUND, now, parameters)
    detail = "an opposite position that an earlier ledger opened for it is open; it is taken as its hedge"
    return Reconciled(after, (*transition_event(trade, after, now), alert(after, now, "hedge_found", detail)))


def too_large(trade: Trade, spec: SymbolSpec, now: float, mode: Mode, parameters: Parameters) -> Reconciled:
    """C-5: a hand made the position smaller than its hedge; the hedge goes down to half of it, or to nothing."""
    link = trade.hedge
    if link is None or trade.state.final or link.volume <= trade.volume + _VOLUME_NOISE or _owes_close(trade, None):
        return Reconciled(trade)
    target = levels.volume_down(parameters.hedge_fraction * trade.volume, spec)
    if target < spec.volume_min:
        target = 0.0
    wanted = replace(
        owe(_ours(trade), ObligationKind.CLOSE_HEDGE, TOO_LARGE, now, mode, parameters),
        target=target,
        position=link.identifier,
    )
    changed = replace(trade, obligations=(*trade.obligations, wanted))
    detail = f"the hedge of {link.volume} lots is larger than the position of {trade.volume}"
    return Reconciled(changed, (alert(changed, now, TOO_LARGE, detail),))


def strays(trade: Trade, own: Mapping[int, Position], now: float, mode: Mode, parameters: Parameters) -> Reconciled:
    """C-6, R13: positions that an order of ours opened beside the hedge are closed; ``own`` by identifier."""
    linked = trade.hedge.identifier if trade.hedge is not None else None
    changed, events = trade, []
    for identifier in sorted(own):
        if identifier == linked or _owes_close(changed, identifier):
            continue
        wanted = replace(
            owe(_ours(changed), ObligationKind.CLOSE_HEDGE, DUPLICATE, now, mode, parameters), position=identifier
        )
        changed = replace(changed, obligations=(*changed.obligations, wanted))
        detail = f"position {identifier} of {own[identifier].volume} lots is ours, and not the hedge of this trade"
        events.append(alert(changed, now, DUPLICATE, detail))
    return Reconciled(changed, tuple(events))


def orphan(trade: Trade, now: float, mode: Mode, parameters: Parameters) -> Reconciled:
    """C-7: the hedge of a closed position is closed, in the same cycle; never of one that is only missing (R6)."""
    if not trade.state.final or trade.hedge is None or _owes_close(trade, None):
        return Reconciled(trade)
    if trade.closed_reason == "UNVERIFIED":
        if "hedge_left_open" in trade.flags:
            return Reconciled(trade)
        left = replace(trade, flags=trade.flags | {"hedge_left_open"})
        detail = "the position is gone without proof; its hedge is left as it is, close it by hand if it is not needed"
        return Reconciled(left, (alert(left, now, "hedge_left_open", detail),))
    wanted = owe(_ours(trade), ObligationKind.CLOSE_HEDGE, ORPHAN, now, mode, parameters)
    changed = replace(trade, obligations=(*trade.obligations, wanted))
    return Reconciled(changed, (alert(changed, now, ORPHAN, "the position is closed; its hedge is being closed too"),))


def closing_of_hedge(trade: Trade, now: float, mode: Mode, parameters: Parameters) -> Obligation:
    """The hedge of a trade that is given away is closed: it is ours, whoever owns the position (R28)."""
    wanted = owe(_ours(trade), ObligationKind.CLOSE_HEDGE, HANDED_OVER, now, mode, parameters)
    return replace(wanted, position=trade.hedge.identifier if trade.hedge is not None else None)


def _ours(trade: Trade) -> Trade:
    """The trade as far as positions of our own are concerned: they are ours to close whoever owns it (C-8)."""
    return replace(trade, owner=Owner.DTMS, managed=True)


def _owes_close(trade: Trade, position: int | None) -> bool:
    """True when closing that position, or the hedge where it is None, is owed already or was recorded."""
    own = trade.hedge.identifier if trade.hedge is not None else None
    asked = own if position is None else position
    return any(_object(o, own) == asked and not _over(o, trade) for o in trade.obligations)


def _object(obligation: Obligation, own: int | None) -> int | None:
    if obligation.kind is not ObligationKind.CLOSE_HEDGE:
        return None
    return obligation.position if obligation.position is not None else own


def _over(obligation: Obligation, trade: Trade) -> bool:
    """Ended without effect, or in observe mode recorded before this state: it does not stand for a new one."""
    if obligation.status.live:
        return False
    return obligation.status.value != "would_have" or obligation.created_at < trade.state_since


def _event(trade: Trade, now: float, kind: str, **body: object) -> Event:
    return Event(time=now, kind=kind, trade_id=trade.trade_id, ticket=trade.ticket, body=body)


def begun_anew(trade: Trade, now: float) -> Trade:
    """DTMS begins anew with a trade that it gets from another manager."""
    return replace(
        trade,
        state=TradeState.HEALTHY,
        previous_state=trade.state,
        state_since=now,
        rule=HANDED_OVER,
        episode=trade.episode + 1,
        evaluate_again=True,
        confirmations=0,
        calm_evaluations=0,
        flat_left_s=None,
        recovery_left_s=None,
    )
