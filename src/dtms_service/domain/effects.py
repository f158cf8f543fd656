"""What an order's outcome does to a trade and its obligation. Pure.

The same functions serve the reply of a send and the evidence found after a lost one, so that both end in the same
trade.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

from dtms_service.domain import levels
from dtms_service.domain.broker_events import BrokerEvent, happened
from dtms_service.domain.orders import Fill, OpenHedge, Order
from dtms_service.domain.outcome import Done, Outcome, Refused, Unknown
from dtms_service.domain.parameters import Parameters
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import (
    STOP_KINDS,
    Event,
    Frozen,
    HedgeLink,
    Intent,
    IntentState,
    Obligation,
    ObligationKind,
    ObligationStatus,
    Trade,
)
from dtms_service.domain.values import Side, Timeframe

_PACE = frozenset({"refused: too_many_requests", "refused: send_paused", "refused: order_in_flight"})
"""Resolutions that say nothing about the order: too many of them went out (10024)."""
_PACE_S = 1.0
"""Wait after those; the terminal's own pause doubles for the whole account."""
_VOLUME_NOISE = 1e-9
_FIXED_TARGET = frozenset({ObligationKind.PARTIAL_CLOSE, ObligationKind.CLOSE_HEDGE})
_DID_SOMETHING = frozenset({IntentState.CONFIRMED, IntentState.PARTIAL})
_INVALID_STOPS = 10016
"""TRADE_RETCODE_INVALID_STOPS: the stop is too near the price."""
_NO_SECOND_POSITION = frozenset({10019, 10034, 10040, 10042, 10043, 10044, 10046})
"""Refusals of an opposite position that another attempt does not change: no money, limits of volume or number, one
side or closing only, hedging prohibited."""


def leg_of(trade: Trade, obligation: Obligation) -> int:
    """Number of the next intent of this kind in the episode of its obligation, from 1."""
    same = [o for o in trade.obligations if (o.kind, o.episode) == (obligation.kind, obligation.episode)]
    return 1 + sum(o.attempts for o in same)


def sent(
    trade: Trade, obligation: Obligation, order: Order, target: float, now: float
) -> tuple[Trade, Obligation, Intent]:
    """The trade, its obligation and the intent as they are committed before the order goes out."""
    intent = Intent(
        magic=order.magic,
        trade_id=trade.trade_id,
        kind=obligation.kind,
        episode=obligation.episode,
        leg=leg_of(trade, obligation),
        state=IntentState.SENDING,
        plan={"order": type(order).__name__, **asdict(order), "target": target},
        before=_before(trade, obligation, order),
        reason=obligation.reason,
        created_at=now,
        sending_at=now,
    )
    out = replace(obligation, status=ObligationStatus.SENT, target=target, attempts=obligation.attempts + 1)
    if isinstance(order, OpenHedge):
        trade = replace(trade, hedge_magics=(*trade.hedge_magics, order.magic))
    return with_obligation(trade, obligation, out), out, intent


def _before(trade: Trade, obligation: Obligation, order: Order) -> dict[str, Any]:
    """The position that ``order`` is about, as it was; its identifier is where the deals of a lost reply are found."""
    if isinstance(order, OpenHedge):
        return {"identifier": None, "volume": 0.0, "stop_loss": None, "take_profit": None}
    hedge = trade.hedge
    if hedge is not None and order.ticket == hedge.ticket:
        facts = {"identifier": hedge.identifier, "volume": hedge.volume, "stop_loss": hedge.stop_loss}
        return {**facts, "take_profit": None}
    if obligation.position is not None and order.ticket != trade.ticket:
        volume = getattr(order, "volume", 0.0)
        return {"identifier": obligation.position, "volume": volume, "stop_loss": None, "take_profit": None}
    facts = {"identifier": trade.identifier, "volume": trade.volume, "stop_loss": trade.stop_loss}
    return {**facts, "take_profit": trade.take_profit}


def opens(intent: Intent) -> bool:
    """True for an order that opens a hedge; every other one changes a position that exists."""
    return intent.plan.get("order") == OpenHedge.__name__


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
    if fill.volume <= 0 or (opens(intent) and not fill.order):
        return IntentState.ACKED  # a hedge without a number cannot be told from others
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
            trade, status = _reduced(trade, intent, _done(intent, done_volume)), ObligationStatus.DUE
        case IntentState.CONFIRMED if intent.kind is ObligationKind.CLOSE_ALL and _about_hedge(trade, intent):
            trade, status = _reduced(trade, intent, _done(intent, done_volume)), ObligationStatus.DUE
        case IntentState.CONFIRMED:
            trade, status = _confirmed(trade, intent, done_volume, now, parameters), ObligationStatus.DONE
        case IntentState.PARTIAL if intent.kind is ObligationKind.HEDGE:
            # What was filled is the hedge (R3): the rest would be a second one.
            trade, status = _confirmed(trade, intent, done_volume, now, parameters), ObligationStatus.DONE
        case IntentState.PARTIAL:
            trade, status = _reduced(trade, intent, done_volume or 0.0), ObligationStatus.DUE
        case IntentState.NOT_EXECUTED if done_volume and not opens(intent):
            trade, status = _reduced(trade, intent, done_volume), ObligationStatus.DUE  # perhaps ours: C-9 counts it
        case IntentState.MANUAL_REVIEW:
            # Perhaps it is there: a second one would be one too many. A person decides.
            trade, status = replace(trade, hedges=trade.hedges + 1), ObligationStatus.REFUSED
        case _:
            status = ObligationStatus.DUE
    frozen = None if trade.frozen is Frozen.INTENT else trade.frozen
    trade = replace(trade, frozen=frozen, confirmed_at=now if intent.state in _DID_SOMETHING else trade.confirmed_at)
    if obligation is None:
        return trade
    return with_obligation(trade, obligation, _after(obligation, intent, status, now, parameters))


def _is_one_piece_of_more(intent: Intent) -> bool:
    """A close above the largest volume goes out in pieces with one target (C-13); True for all but the last."""
    if intent.kind in STOP_KINDS or opens(intent):
        return False
    after = levels.volume_minus(float(intent.before["volume"]), float(intent.plan["volume"]))
    return after > float(intent.plan["target"]) + 1e-9


def _done(intent: Intent, done_volume: float | None) -> float:
    return done_volume if done_volume is not None else float(intent.plan["volume"])


def _about_hedge(trade: Trade, intent: Intent) -> bool:
    return trade.hedge is not None and intent.before.get("identifier") == trade.hedge.identifier


def _confirmed(trade: Trade, intent: Intent, done_volume: float | None, now: float, parameters: Parameters) -> Trade:
    if intent.kind in STOP_KINDS:
        flags = trade.flags - {"unprotected_if_down"}
        if intent.kind is ObligationKind.BREAKEVEN:
            flags -= {"be_pending"}
        return replace(trade, stop_loss=float(intent.plan["stop_loss"]), stop_set_by=intent.magic, flags=flags)
    if opens(intent):
        return happened(_linked(trade, intent, done_volume), BrokerEvent.HEDGE_FILLED, now, parameters)
    reduced = _reduced(trade, intent, _done(intent, done_volume))
    if intent.kind is ObligationKind.PARTIAL_CLOSE:
        return replace(reduced, partials=reduced.partials + 1)
    if intent.kind is ObligationKind.HEDGE:
        return happened(reduced, BrokerEvent.REDUCED, now, parameters)
    if intent.kind is ObligationKind.CLOSE_HEDGE and trade.hedge is not None and reduced.hedge is None:
        return happened(reduced, BrokerEvent.HEDGE_CLOSED, now, parameters)
    return reduced


def _linked(trade: Trade, intent: Intent, done_volume: float | None) -> Trade:
    """The trade with its hedge. On a hedging account a position's identifier is the ticket of its opening order."""
    if intent.order is None:
        message = f"the hedge of order {intent.magic} has no number"
        raise ValueError(message)
    link = HedgeLink(
        ticket=intent.order,
        identifier=intent.order,
        side=Side(intent.plan["side"]),
        volume=_done(intent, done_volume),
        price_open=None,
        stop_loss=float(intent.plan["stop_loss"]),
    )
    return replace(trade, hedge=link)


def _reduced(trade: Trade, intent: Intent, by: float) -> Trade:
    """The trade after ``by`` lots of the position that the order was about are closed."""
    if _about_hedge(trade, intent) and trade.hedge is not None:
        left = levels.volume_minus(trade.hedge.volume, by)
        return replace(trade, hedge=replace(trade.hedge, volume=left) if left > _VOLUME_NOISE else None)
    if intent.before.get("identifier", trade.identifier) != trade.identifier:
        return trade  # a stray position of ours
    left = 0.0 if trade.state is TradeState.CLOSED else max(0.0, levels.volume_minus(trade.volume, by))
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
        target=obligation.target if intent.kind in _FIXED_TARGET else None,
        reduce=obligation.reduce or _no_second_position(intent),
        uncounted=obligation.uncounted + (of_pace(intent) or intent.state in _DID_SOMETHING),
        too_near=obligation.too_near + (intent.retcode == _INVALID_STOPS),
        next_try_at=now + _wait(obligation, intent, parameters),
    )


def _wait(obligation: Obligation, intent: Intent, parameters: Parameters) -> float:
    """The back-off after a failure; after the last step the pace of scheduled evaluations (``engine.md`` B7.0)."""
    if intent.state is IntentState.CONFIRMED or _no_second_position(intent):
        return 0.0
    if opens(intent) and intent.state is IntentState.NOT_EXECUTED:
        return Timeframe.M5.seconds  # what adds a position waits for another bar (D4)
    if of_pace(intent):
        return _PACE_S
    waits, failed = parameters.retry_backoff_s, obligation.attempts - obligation.uncounted
    return waits[failed - 1] if failed <= len(waits) else Timeframe.M15.seconds


def _no_second_position(intent: Intent) -> bool:
    return opens(intent) and intent.retcode in _NO_SECOND_POSITION


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

_SAY: Mapping[str, Callable[[Intent], str]] = {
    "ModifyStops": lambda i: f"from {i.before['stop_loss']} to {i.plan['stop_loss']}",
    "ClosePosition": lambda i: f"{i.plan['volume']} of {i.before['volume']} lots",
    "OpenHedge": lambda i: f"with {i.plan['side']} {i.plan['volume']} lots, stop {i.plan['stop_loss']}",
}


def describe(intent: Intent, trade: Trade) -> str:
    """One line for people: what was asked of the broker and what became of it."""
    what = _SAY[str(intent.plan["order"])](intent)
    code = "" if intent.retcode is None or intent.state in _DID_SOMETHING else f" (retcode {intent.retcode})"
    return f"{_WORDS[intent.kind]} of {trade.symbol} {trade.ticket} {what}: {intent.state.value.lower()}{code}"
