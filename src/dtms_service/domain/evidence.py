"""What became of an order whose answer is missing: the broker's own records decide, never a guess. Pure.

``engine.md`` D4. An order of ours is recognised by its magic on deals, by its absolute target being true, or, where a
bridge zeroes a magic, by its comment and at last by its signature (D1.5). "It did not happen" may be said only after
the settle window (R16): with executions that come later than a lost reply, shorter windows doubled orders in 163 to 235
of 960 model-checked cases, the full window in none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
    window = settle_window(spec, parameters)
    if sighting.good_reads < parameters.settle_reads or sighting.connected_s < window:
        return intent
    last = _opened_alike(intent, sighting, spec, window) if opens(intent) else _closed_alike(intent, sighting, spec)
    return _final(last.intent, last.state, now, last.words)


class _Found(NamedTuple):
    intent: Intent
    state: IntentState
    words: str


def _found(intent: Intent, sighting: Sighting, spec: SymbolSpec) -> _Found | None:
    """What the broker's records show of the order; None while they show nothing, or not all of it."""
    own = _own(intent, sighting)
    working = _working(intent, sighting)
    if own:
        done = sum(deal.volume for deal in own)
        state = _state_of(intent, done, spec)
        if state is IntentState.PARTIAL and working:
            return None
        last = own[-1]
        named = replace(intent, deal=last.ticket, order=last.position_id if opens(intent) else last.order)
        return _Found(named, state, f"deals with our magic: {done} of {_wanted(intent)} lots")
    if working:
        return None
    if opens(intent):
        return _opened(intent, sighting, spec)
    if all_closed(sighting.deals):
        by_us = _closed_alike(intent, sighting, spec)
        others = _Found(intent, IntentState.ABANDONED, "others closed the position")
        return by_us if by_us.state is IntentState.CONFIRMED else others
    effect = _effect(intent, sighting.position, spec)
    return _Found(intent, IntentState.CONFIRMED, effect) if effect is not None else None


def _opened(intent: Intent, sighting: Sighting, spec: SymbolSpec) -> _Found | None:
    """The position that the order opened, where no deal carries its magic."""
    if sighting.position is not None:
        named = replace(intent, order=sighting.position.identifier)
        return _Found(named, IntentState.CONFIRMED, "a position with our magic")
    signed = _by_position(d for d in _nameless(intent, sighting, spec) if d.comment == intent.plan["comment"])
    if len(signed) != 1:
        return None
    return _adopted(intent, signed, spec, "a deal with our comment, whose magic was lost")


def _opened_alike(intent: Intent, sighting: Sighting, spec: SymbolSpec, window: float) -> _Found:
    """After the settle window: the one position like it is the order's, more or other ones are for a person (D1.5)."""
    alike = _by_position(_nameless(intent, sighting, spec))
    if not alike:
        return _nothing(intent)
    deals = [deal for found in alike.values() for deal in found]
    exact = abs(_volume(deals) - _wanted(intent)) <= spec.volume_step / 2
    if len(alike) == 1 and exact and all(deal.time <= intent.sending_at + window for deal in deals):
        return _adopted(intent, alike, spec, "the only deal like the order, whose magic and comment were lost")
    words = f"deals without our magic and comment opened {len(alike)} like it: perhaps this order's, perhaps not"
    return _Found(intent, IntentState.MANUAL_REVIEW, words)


def _closed_alike(intent: Intent, sighting: Sighting, spec: SymbolSpec) -> _Found:
    """What nameless deals closed counts as ours: taken for others', it would let a second part pass the half (C-9)."""
    done = _closed_volume(intent, sighting, spec)
    if done < spec.volume_step / 2:
        return _nothing(intent)
    words = f"deals whose magic was lost: {done} of {_wanted(intent)} lots"
    return _Found(intent, _state_of(intent, done, spec), words)


def _adopted(intent: Intent, found: Mapping[int, Sequence[Deal]], spec: SymbolSpec, words: str) -> _Found:
    ((identifier, deals),) = found.items()
    named = replace(intent, deal=deals[-1].ticket, order=identifier)
    return _Found(named, _state_of(intent, _volume(deals), spec), words)


def _nothing(intent: Intent) -> _Found:
    return _Found(intent, IntentState.NOT_EXECUTED, "no trace at the broker after the settle window")


def _state_of(intent: Intent, done: float, spec: SymbolSpec) -> IntentState:
    return IntentState.CONFIRMED if done >= _wanted(intent) - spec.volume_step / 2 else IntentState.PARTIAL


def _effect(intent: Intent, position: Position | None, spec: SymbolSpec) -> str | None:
    """The absolute target being true, in words (``engine.md`` D4), also where a bridge lost our magic; None if not."""
    if position is None:
        return None
    if intent.kind in STOP_KINDS:
        target = float(intent.plan["stop_loss"])
        reached = levels.at_least_as_tight(position.stop_loss, target, position.side, spec.tick_size)
        return "the stop loss is at its target or closer" if reached else None
    left = levels.volume_minus(float(intent.before["volume"]), _wanted(intent))
    return "the volume is at its target or below" if position.volume <= left + spec.volume_step / 2 else None


def done_volume(intent: Intent, sighting: Sighting, spec: SymbolSpec) -> float | None:
    """Lots that a settled order closed or opened, by its deals or by the position it opened; None where unknown."""
    done = _volume(_own(intent, sighting))
    if not done and opens(intent):
        if sighting.position is not None:
            return sighting.position.volume
        done = _volume(d for d in _nameless(intent, sighting, spec) if d.position_id == intent.order)
    elif not done and intent.state is IntentState.PARTIAL:
        done = _closed_volume(intent, sighting, spec)
    return done or None


def _own(intent: Intent, sighting: Sighting) -> list[Deal]:
    """Deals of the order. One that closes a hedge at its stop carries the magic of the order that opened it."""
    own = [deal for deal in sighting.deals if _is_ours(deal.magic, deal.order, intent)]
    return [deal for deal in own if deal.entry is DealEntry.IN] if opens(intent) else own


def _nameless(intent: Intent, sighting: Sighting, spec: SymbolSpec) -> list[Deal]:
    """Deals of a program that may be the order's although they carry no magic, which a bridge zeroes (D1.5).

    Those of an opening order belong to positions that nobody claims.
    """
    if intent.kind in STOP_KINDS:
        return []
    side = Side(intent.plan["side"])
    entry = DealEntry.IN if opens(intent) else DealEntry.OUT
    return [
        deal
        for deal in sighting.deals
        if (deal.entry, deal.magic, deal.reason) == (entry, 0, DealReason.EXPERT)
        and deal.symbol == intent.plan["symbol"]
        and deal.side is (side if opens(intent) else side.opposite)
        and deal.volume <= _wanted(intent) + spec.volume_step / 2
        and deal.time >= intent.sending_at - CLOCKS_APART_S
        and not (opens(intent) and deal.position_id in sighting.claimed)
    ]


def may_have_opened(intent: Intent, position: Position) -> bool:
    """True while an order without an outcome may be what opened a position that carries no magic."""
    return (
        opens(intent)
        and (position.magic, position.symbol, position.side) == (0, intent.plan["symbol"], Side(intent.plan["side"]))
        and position.volume <= _wanted(intent)
        and position.time >= intent.sending_at - CLOCKS_APART_S
    )


def _closed_volume(intent: Intent, sighting: Sighting, spec: SymbolSpec) -> float:
    """Lots that nameless deals took from the position since the order: not more than are missing there."""
    since = intent.sending_at - CLOCKS_APART_S
    added = _volume(d for d in sighting.deals if d.entry is DealEntry.IN and d.time >= since)
    there = sighting.position.volume if sighting.position is not None else 0.0
    missing = float(intent.before["volume"]) + added - there
    alike = _volume(_nameless(intent, sighting, spec))
    return max(0.0, float(f"{min(alike, missing, _wanted(intent)):.8f}"))


def _by_position(deals: Iterable[Deal]) -> dict[int, list[Deal]]:
    found: dict[int, list[Deal]] = {}
    for deal in deals:
        found.setdefault(deal.position_id, []).append(deal)
    return found


def _volume(deals: Iterable[Deal]) -> float:
    return float(f"{sum(deal.volume for deal in deals):.8f}")


def _wanted(intent: Intent) -> float:
    return float(intent.plan.get("volume", 0.0))


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
