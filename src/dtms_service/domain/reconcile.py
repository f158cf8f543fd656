"""Bringing a trade in line with what the terminal shows. The terminal is the truth; a failed read is not a fact. Pure.

Table E.2 of ``engine.md``, with R6 (closing what is gone), R14 (stop removed by hand) and R27 (tickets that never
appear).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from dtms_service.domain import levels, magic
from dtms_service.domain.broker_events import CLOSES, OPENS_AGAIN, entered
from dtms_service.domain.parameters import Parameters
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import REVERSED, Event, Frozen, ObligationStatus, Trade
from dtms_service.domain.values import Deal, DealEntry, DealReason, Position

_CLOSING = frozenset({DealEntry.OUT, DealEntry.INOUT, DealEntry.OUT_BY})
_VOLUME_NOISE = 1e-9
LAG_S = 10.0
"""For so long a read may still show a position as it was before our last order. At terminals 0.5 s were seen
(``mt5.md`` C57); a hand that undoes our order meanwhile is seen that much later."""
_BY_HAND = frozenset({DealReason.CLIENT, DealReason.MOBILE, DealReason.WEB})


@dataclass(frozen=True, slots=True)
class Reconciled:
    """The trade as the terminal shows it, and what changed. The same trade object when nothing did."""

    trade: Trade
    events: tuple[Event, ...] = ()


def verified(trade: Trade, position: Position, account: tuple[int, str], now: float) -> Reconciled:
    """A PENDING or new trade whose position was seen: the terminal's values replace the caller's claims."""
    moved = replace(
        trade,
        login=account[0],
        server=account[1],
        ticket=position.ticket,
        identifier=position.identifier,
        former_tickets=_tickets(trade, position.ticket),
        symbol=position.symbol,
        side=position.side,
        volume=position.volume,
        initial_volume=position.volume,
        entry_price=position.price_open,
        stop_loss=position.stop_loss,
        take_profit=position.take_profit,
        initial_stop_loss=position.stop_loss,
        state=TradeState.HEALTHY,
        previous_state=trade.state if trade.verified_at is None and trade.state is TradeState.PENDING else None,
        state_since=now,
        opened_at=position.time,
        verified_at=now,
        rule="verified",
        flags=trade.flags | _protection_flags(position.stop_loss),
    )
    events = [_event(moved, now, "verified", symbol=position.symbol, side=position.side.value, volume=position.volume)]
    other_side = trade.side is not None and trade.side is not position.side
    if other_side or (trade.symbol and not same_symbol(trade.symbol, position.symbol)):
        detail = f"registered as {trade.side} {trade.symbol}, but the terminal shows {position.side} {position.symbol}"
        events.append(alert(moved, now, "claim_contradicted", detail))
    if position.stop_loss is None:
        events.append(alert(moved, now, "unprotected_if_down", "the position has no stop loss at the broker"))
    return Reconciled(moved, tuple(events))


def lags(trade: Trade, now: float) -> bool:
    """True while a read may still show what was before the last order of ours that the broker confirmed."""
    return trade.confirmed_at is not None and 0 <= now - trade.confirmed_at < LAG_S


def believed(trade: Trade, position: Position, now: float) -> Position:
    """The position as the broker confirmed it, where a read that may lag behind shows a looser stop or more volume.

    Taken for a change by others, it would have the next stop planned from the old one: looser than the real one.
    """
    if not lags(trade, now) or position.side is not trade.side:
        return position
    stop, volume = position.stop_loss, position.volume
    if trade.stop_set_by is not None and trade.stop_loss is not None:
        stop = trade.stop_loss if stop is None else trade.sign * max(trade.sign * stop, trade.sign * trade.stop_loss)
    if trade.volume > 0:
        volume = min(volume, trade.volume)
    if (stop, volume) == (position.stop_loss, position.volume):
        return position
    return replace(position, stop_loss=stop, volume=volume)


def present(trade: Trade, position: Position, now: float, tick_size: float) -> Reconciled:
    """A verified trade whose position is there: adopt ticket, volume and levels, and say what others changed."""
    if _unchanged(trade, position):
        return Reconciled(trade)
    if position.side is not trade.side:
        return _reversed(trade, now)
    changed, events = _back(trade, now)
    if position.ticket != trade.ticket:
        changed = replace(changed, ticket=position.ticket, former_tickets=_tickets(trade, position.ticket))
        events.append(_event(changed, now, "ticket_changed", before=trade.ticket, after=position.ticket))
    changed, about_volume = _volume(changed, position, now)
    changed, about_levels = _levels(changed, position, now, tick_size)
    return Reconciled(changed, (*events, *about_volume, *about_levels))


def _reversed(trade: Trade, now: float) -> Reconciled:
    """A netting account turned the position round: what we protected is gone, the new side needs a registration."""
    if trade.state is TradeState.CLOSED:
        return Reconciled(trade)
    ended = _ended(trade, now, REVERSED)
    detail = "the position changed its side; the trade is closed, and the new side is protected by nobody"
    return Reconciled(ended, (alert(ended, now, "position_reversed", detail),))


def _back(trade: Trade, now: float) -> tuple[Trade, list[Event]]:
    """The trade whose position is there after it was missing or recorded as closed; the same trade otherwise."""
    if trade.state is TradeState.CLOSED:
        changed = replace(entered(trade, OPENS_AGAIN, now), closed_at=None, closed_reason=None)
        return changed, [
            alert(changed, now, "seen_open_again", "a position recorded as closed is open at the terminal")
        ]
    if trade.missing_since is None:
        return trade, []
    # Back to what it was: an order without an answer still freezes it.
    sent = any(o.status is ObligationStatus.SENT for o in trade.obligations)
    changed = replace(trade, missing_since=None, missing_reads=0, frozen=Frozen.INTENT if sent else None)
    return changed, [_event(changed, now, "position_seen_again")]


def _volume(trade: Trade, position: Position, now: float) -> tuple[Trade, list[Event]]:
    if abs(position.volume - trade.volume) <= _VOLUME_NOISE and position.price_open == trade.entry_price:
        return trade, []
    facts = {"volume_before": trade.volume, "volume": position.volume, "price_open": position.price_open}
    grown = position.volume > max(trade.volume, trade.initial_volume) + _VOLUME_NOISE
    flags = trade.flags | {"shared_net_position"} if grown else trade.flags
    changed = replace(trade, volume=position.volume, entry_price=position.price_open, flags=flags)
    events = [_event(changed, now, "external_change", what="volume", **facts)]
    if grown:
        detail = "others added to the position; DTMS acts on the registered part only"
        events.append(alert(changed, now, "shared_net_position", detail))
    return changed, events


def _unchanged(trade: Trade, position: Position) -> bool:
    return (
        trade.ticket == position.ticket
        and trade.volume == position.volume
        and trade.stop_loss == position.stop_loss
        and trade.take_profit == position.take_profit
        and trade.entry_price == position.price_open
        and trade.missing_since is None
        and trade.state is not TradeState.CLOSED
    )


def _levels(trade: Trade, position: Position, now: float, tick_size: float) -> tuple[Trade, list[Event]]:
    events: list[Event] = []
    changed = trade
    if not levels.same_price(trade.take_profit, position.take_profit, tick_size):
        changed = replace(changed, take_profit=position.take_profit)
        facts = {"before": trade.take_profit, "after": position.take_profit}
        events.append(_event(changed, now, "external_change", what="take_profit", **facts))
    if not levels.same_price(trade.stop_loss, position.stop_loss, tick_size):
        direction = _direction(trade, position.stop_loss)
        changed = replace(
            changed,
            stop_loss=position.stop_loss,
            stop_set_by=None,
            stop_moved_at=now,
            flags=(changed.flags - {"unprotected_if_down"}) | _protection_flags(position.stop_loss),
        )
        facts = {"before": trade.stop_loss, "after": position.stop_loss}
        events.append(_event(changed, now, "external_change", what="stop_loss", direction=direction, **facts))
        if direction != "tightened":
            events.append(alert(changed, now, f"stop_{direction}", f"the stop loss was {direction} by someone else"))
    return changed, events


def _direction(trade: Trade, stop: float | None) -> str:
    if stop is None:
        return "removed"
    if trade.stop_loss is None:
        return "tightened"
    return "tightened" if trade.sign * (stop - trade.stop_loss) > 0 else "loosened"


def absent(trade: Trade, deals: Sequence[Deal] | None, now: float, parameters: Parameters) -> Reconciled:
    """A verified trade whose position is not in a good read. CLOSED needs closing deals, or R6's long absence.

    ``deals`` are all deals of the identifier, or None when they could not be read.
    """
    if deals is not None and all_closed(deals):
        return closed(trade, deals, now)
    reads = trade.missing_reads + (deals is not None)
    if trade.missing_since is None:
        missing = replace(trade, frozen=Frozen.VERIFY, missing_since=now, missing_reads=reads)
        detail = "the position is missing from the terminal and no closing deal explains it"
        return Reconciled(missing, (alert(missing, now, "position_missing", detail),))
    gone = now - trade.missing_since >= parameters.verify_absence_s and reads >= parameters.verify_absence_reads
    if not gone:
        return Reconciled(replace(trade, missing_reads=reads) if reads != trade.missing_reads else trade)
    ended = _ended(trade, now, "UNVERIFIED")
    detail = "the position stayed away without a closing deal; closed without proof"
    return Reconciled(ended, (alert(ended, now, "closed_unverified", detail),))


def same_symbol(a: str, b: str) -> bool:
    """True for one symbol under two brokers' names.

    XAUUSD, XAUUSDc and XAUUSD.raw are the same, GBPUSD and EURUSD are not.
    """
    short, long = sorted((_plain(a), _plain(b)), key=len)
    return len(short) >= 3 and long.startswith(short)


def _plain(symbol: str) -> str:
    return "".join(c for c in symbol.upper() if c.isalnum())


def all_closed(deals: Sequence[Deal]) -> bool:
    """True when the deals of an identifier show a position that was opened and fully closed."""
    opened = sum(d.volume for d in deals if d.entry is DealEntry.IN)
    out = sum(d.volume for d in deals if d.entry in _CLOSING)
    return opened > 0 and out >= opened - _VOLUME_NOISE


def closed(trade: Trade, deals: Sequence[Deal], now: float) -> Reconciled:
    """A trade that its deals prove closed; the last closing deal names the reason (``engine.md`` D6)."""
    last = last_closing(deals)
    ended = _ended(trade, now, close_reason(last), last.time)
    body = {
        "reason": ended.closed_reason,
        "price": last.price,
        "volume": last.volume,
        "deal": last.ticket,
        "magic": last.magic,
        "profit": round(sum(d.profit + d.swap + d.commission for d in deals), 8),
        "stop_set_by": trade.stop_set_by if last.reason is DealReason.STOP_LOSS else None,
    }
    return Reconciled(ended, (_event(ended, now, "closed", **body),))


def last_closing(deals: Sequence[Deal]) -> Deal:
    """The newest deal that closed volume. Raises ``ValueError`` when there is none."""
    return max((d for d in deals if d.entry in _CLOSING), key=lambda d: (d.time, d.ticket))


def paid_per_lot(deals: Sequence[Deal]) -> float | None:
    """Commission per lot of opening the position, in money, positive; None while no deal shows it."""
    opened = [d for d in deals if d.entry is DealEntry.IN]
    volume = sum(d.volume for d in opened)
    return max(0.0, -sum(d.commission for d in opened)) / volume if volume > 0 else None


def close_reason(deal: Deal) -> str:
    """Who closed it, by the closing deal: DTMS, STOP_LOSS, TAKE_PROFIT, STOP_OUT, REVERSED, HAND or OTHER_PROGRAM.

    The broker's own reasons first: a deal at a stop carries the magic of its position, and that of a hedge is ours.
    """
    if deal.reason in {DealReason.STOP_LOSS, DealReason.TAKE_PROFIT, DealReason.STOP_OUT}:
        return deal.reason.name
    if magic.ours(deal.magic):
        return "DTMS"
    if deal.entry is DealEntry.INOUT:
        return REVERSED
    return "HAND" if deal.reason in _BY_HAND else "OTHER_PROGRAM"


def _ended(trade: Trade, now: float, reason: str, at: float | None = None) -> Trade:
    return replace(
        entered(trade, CLOSES, now),
        volume=0.0,
        frozen=None,
        missing_since=None,
        missing_reads=0,
        closed_at=now if at is None else at,
        closed_reason=reason,
    )


def pending(
    trade: Trade,
    working: bool,  # noqa: FBT001 - a fact beside the others, not a switch
    connected_s: float,
    now: float,
    parameters: Parameters,
) -> Reconciled:
    """A PENDING trade whose ticket the terminal does not show as a position (R27).

    ``working``: the ticket is a working order.
    """
    if working or connected_s < parameters.pending_reject_s:
        return Reconciled(trade)
    rejected = replace(
        trade,
        state=TradeState.REJECTED,
        previous_state=trade.state,
        state_since=now,
        rule="never_appeared",
        closed_at=now,
    )
    detail = f"no position or order with ticket {trade.ticket} appeared at the terminal"
    return Reconciled(rejected, (alert(rejected, now, "never_appeared", detail),))


def duplicate(trade: Trade, of: int, now: float) -> Reconciled:
    """A PENDING trade whose position another trade, ``of``, watches already: registered under a newer ticket."""
    ended = replace(
        trade,
        state=TradeState.REJECTED,
        previous_state=trade.state,
        state_since=now,
        rule="watched_already",
        closed_at=now,
    )
    return Reconciled(ended, (_event(ended, now, "watched_already", by_trade=of),))


def alert(trade: Trade, now: float, code: str, detail: str) -> Event:
    """An event that somebody should look at."""
    return _event(trade, now, "alert", code=code, detail=detail)


def _event(trade: Trade, now: float, kind: str, **body: Any) -> Event:
    return Event(time=now, kind=kind, trade_id=trade.trade_id, ticket=trade.ticket, body=body)


def _tickets(trade: Trade, ticket: int) -> tuple[int, ...]:
    if ticket == trade.ticket or trade.ticket in trade.former_tickets:
        return trade.former_tickets
    return (*trade.former_tickets, trade.ticket)


def _protection_flags(stop_loss: float | None) -> frozenset[str]:
    return frozenset() if stop_loss is not None else frozenset({"unprotected_if_down"})
