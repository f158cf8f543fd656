"""What became of an order whose answer is missing: the broker's own records decide, never a guess. Pure.

``engine.md`` D4. An order of ours is recognised by its magic on deals, or by its absolute target being true. "It did
not happen" may be said only after the settle window (R16): with executions that come later than a lost reply, shorter
windows doubled orders in 163 to 235 of 960 model-checked cases, the full window in none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from dtms_service.domain import levels
from dtms_service.domain.effects import opens
from dtms_service.domain.parameters import Parameters
from dtms_service.domain.reconcile import all_closed
from dtms_service.domain.trade import STOP_KINDS, Intent, IntentState
from dtms_service.domain.values import Deal, DealEntry, DealReason, Execution, Position, Side, SymbolSpec, WorkingOrder

CLOCKS_APART_S = 5.0
"""How much earlier than its order a deal may be dated (``engine.md`` D1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """What good reads since the order was sent have shown, and for how long a connected terminal was watched.

    ``position`` is the one that the order is about; where it opens a hedge, the one that carries its magic.
    """

    position: Position | None
    orders: Sequence[WorkingOrder]
    deals: Sequence[Deal]
    """All deals of the position's identifier; where the order opens a hedge, all of the account since it was sent."""
    connected_s: float
    good_reads: int
    claimed: frozenset[int] = frozenset()
    """Identifiers of positions that belong to a trade, as its position or as its hedge."""


def settle(intent: Intent, sighting: Sighting, spec: SymbolSpec, now: float, parameters: Parameters) -> Intent:
    """The intent with its outcome, or unchanged while nothing can be said yet."""
    found = _found(intent, sighting, spec)
    if found is not None:
        return _final(found.intent, found.state, now, found.words)
    if _working(intent, sighting):
        return intent
    if sighting.good_reads < parameters.settle_reads or sighting.connected_s < settle_window(spec, parameters):
        return intent
    if _alike(intent, sighting, spec):
        words = "a deal without our magic and comment opened as much: it may be this order's, or somebody else's"
        return _final(intent, IntentState.MANUAL_REVIEW, now, words)
    return _final(intent, IntentState.NOT_EXECUTED, now, "no trace at the broker after the settle window")


class _Found(NamedTuple):
    intent: Intent
    state: IntentState
    words: str


def _found(intent: Intent, sighting: Sighting, spec: SymbolSpec) -> _Found | None:
    """What the broker's records show of the order; None while they show nothing, or not all of it."""
    own = _own(intent, sighting)
    working = _working(intent, sighting)
    if own:
        done, wanted = sum(deal.volume for deal in own), float(intent.plan.get("volume", 0.0))
        full = done >= wanted - spec.volume_step / 2
        if not full and working:
            return None
        last = own[-1]
        named = replace(intent, deal=last.ticket, order=last.position_id if opens(intent) else last.order)
        words = f"deals with our magic: {done} of {wanted} lots"
        return _Found(named, IntentState.CONFIRMED if full else IntentState.PARTIAL, words)
    if working:
        return None
    if opens(intent):
        return _opened(intent, sighting, spec)
    if all_closed(sighting.deals):
        return _Found(intent, IntentState.ABANDONED, "others closed the position")
    effect = _effect(intent, sighting.position, spec)
    return _Found(intent, IntentState.CONFIRMED, effect) if effect is not None else None


def _opened(intent: Intent, sighting: Sighting, spec: SymbolSpec) -> _Found | None:
    """The position that the order opened, where no deal carries its magic."""
    if sighting.position is not None:
        named = replace(intent, order=sighting.position.identifier)
        return _Found(named, IntentState.CONFIRMED, "a position with our magic")
    signed = [deal for deal in _alike(intent, sighting, spec, whole=False) if deal.comment == intent.plan["comment"]]
    if len({deal.position_id for deal in signed}) != 1:
        return None
    full = sum(deal.volume for deal in signed) >= float(intent.plan["volume"]) - spec.volume_step / 2
    named = replace(intent, deal=signed[-1].ticket, order=signed[-1].position_id)
    return _Found(
        named, IntentState.CONFIRMED if full else IntentState.PARTIAL, "a deal with our comment, whose magic was lost"
    )


def _effect(intent: Intent, position: Position | None, spec: SymbolSpec) -> str | None:
    """The absolute target being true, in words (``engine.md`` D4), also where a bridge lost our magic; None if not."""
    if position is None:
        return None
    if intent.kind in STOP_KINDS:
        target = float(intent.plan["stop_loss"])
        reached = levels.at_least_as_tight(position.stop_loss, target, position.side, spec.tick_size)
        return "the stop loss is at its target or closer" if reached else None
    left = levels.volume_minus(float(intent.before["volume"]), float(intent.plan["volume"]))
    return "the volume is at its target or below" if position.volume <= left + spec.volume_step / 2 else None


def done_volume(intent: Intent, sighting: Sighting) -> float | None:
    """Lots that the order closed or opened by its deals, else by the position that it opened; None where unknown."""
    done = sum(deal.volume for deal in _own(intent, sighting))
    if not done and opens(intent) and sighting.position is not None:
        return sighting.position.volume
    return done or None


def _own(intent: Intent, sighting: Sighting) -> list[Deal]:
    """Deals of the order. One that closes a hedge at its stop carries the magic of the order that opened it."""
    own = [deal for deal in sighting.deals if _is_ours(deal.magic, deal.order, intent)]
    return [deal for deal in own if deal.entry is DealEntry.IN] if opens(intent) else own


def _alike(intent: Intent, sighting: Sighting, spec: SymbolSpec, *, whole: bool = True) -> list[Deal]:
    """Deals that opened what the order was to open, without a magic, and whose position nobody claims (D1.5).

    ``whole``: all of its volume. Bridges that lose a magic show 0.
    """
    if not opens(intent):
        return []
    wanted = float(intent.plan["volume"])
    least = wanted - spec.volume_step / 2 if whole else 0.0
    return [
        deal
        for deal in sighting.deals
        if (deal.entry, deal.magic, deal.reason) == (DealEntry.IN, 0, DealReason.EXPERT)
        and (deal.symbol, deal.side) == (intent.plan["symbol"], Side(intent.plan["side"]))
        and least < deal.volume <= wanted + spec.volume_step / 2
        and deal.time >= intent.sending_at - CLOCKS_APART_S
        and deal.position_id not in sighting.claimed
    ]


def settle_window(spec: SymbolSpec, parameters: Parameters) -> float:
    """Seconds to wait for a late execution (R16): 60 at market and exchange execution, 180 at instant and request."""
    late = spec.execution in {Execution.INSTANT, Execution.REQUEST}
    return parameters.settle_request_s if late else parameters.settle_market_s


def _working(intent: Intent, sighting: Sighting) -> bool:
    return any(_is_ours(order.magic, order.ticket, intent) for order in sighting.orders)


def _is_ours(magic: int, order: int, intent: Intent) -> bool:
    """By the magic, else by the order ticket that the reply named (``engine.md`` D1)."""
    return magic == intent.magic or (intent.order is not None and order == intent.order)


def _final(intent: Intent, state: IntentState, now: float, resolution: str) -> Intent:
    return replace(intent, state=state, resolved_at=now, resolution=resolution)
