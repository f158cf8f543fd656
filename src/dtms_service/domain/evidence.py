"""What became of an order whose answer is missing: the broker's own records decide, never a guess. Pure.

``engine.md`` D4. An order of ours is recognised by its magic on deals, or by its absolute target being true. "It did
not happen" may be said only after the settle window (R16): with executions that come later than a lost reply, shorter
windows doubled orders in 163 to 235 of 960 model-checked cases, the full window in none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dtms_service.domain import levels
from dtms_service.domain.parameters import Parameters
from dtms_service.domain.trade import STOP_KINDS, Intent, IntentState, ObligationKind
from dtms_service.domain.values import Deal, Execution, Position, SymbolSpec, WorkingOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """What good reads since the order was sent have shown, and for how long a connected terminal was watched."""

    position: Position | None
    orders: Sequence[WorkingOrder]
    deals: Sequence[Deal]
    """All deals of the position's identifier."""
    connected_s: float
    good_reads: int


def settle(intent: Intent, sighting: Sighting, spec: SymbolSpec, now: float, parameters: Parameters) -> Intent:
    """The intent with its outcome, or unchanged while nothing can be said yet."""
    own = [deal for deal in sighting.deals if _is_ours(deal.magic, deal.order, intent)]
    done = sum(deal.volume for deal in own)
    wanted = float(intent.plan.get("volume", 0.0))
    if own:
        full = done >= wanted - spec.volume_step / 2
        state = IntentState.CONFIRMED if full else IntentState.PARTIAL
        if not full and _working(intent, sighting):
            return intent
        return _final(intent, state, now, f"deals with our magic: {done} of {wanted} lots", own[-1])
    if _working(intent, sighting):
        return intent
    effect = _effect(intent, sighting.position, spec)
    if effect is not None:
        return _final(intent, IntentState.CONFIRMED, now, effect)
    if sighting.good_reads >= parameters.settle_reads and sighting.connected_s >= settle_window(spec, parameters):
        return _final(intent, IntentState.NOT_EXECUTED, now, "no trace at the broker after the settle window")
    return intent


def _effect(intent: Intent, position: Position | None, spec: SymbolSpec) -> str | None:
    """The absolute target being true, in words (``engine.md`` D4), also where a bridge lost our magic; None if not."""
    if position is None:
        return None
    if intent.kind in STOP_KINDS:
        target = float(intent.plan["stop_loss"])
        reached = levels.at_least_as_tight(position.stop_loss, target, position.side, spec.tick_size)
        return "the stop loss is at its target or closer" if reached else None
    if intent.kind is ObligationKind.PARTIAL_CLOSE:
        left = levels.volume_minus(float(intent.before["volume"]), float(intent.plan["volume"]))
        return "the volume is at its target or below" if position.volume <= left + spec.volume_step / 2 else None
    return None


def settle_window(spec: SymbolSpec, parameters: Parameters) -> float:
    """Seconds to wait for a late execution (R16): 60 at market and exchange execution, 180 at instant and request."""
    late = spec.execution in {Execution.INSTANT, Execution.REQUEST}
    return parameters.settle_request_s if late else parameters.settle_market_s


def _working(intent: Intent, sighting: Sighting) -> bool:
    return any(_is_ours(order.magic, order.ticket, intent) for order in sighting.orders)


def _is_ours(magic: int, order: int, intent: Intent) -> bool:
    """By the magic, else by the order ticket that the reply named (``engine.md`` D1)."""
    return magic == intent.magic or (intent.order is not None and order == intent.order)


def _final(intent: Intent, state: IntentState, now: float, resolution: str, deal: Deal | None = None) -> Intent:
    return replace(
        intent,
        state=state,
        resolved_at=now,
        resolution=resolution,
        deal=deal.ticket if deal is not None else intent.deal,
        order=deal.order if deal is not None else intent.order,
    )
