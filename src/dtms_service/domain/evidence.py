"""What became of an order whose answer is missing: the broker's own records decide, never a guess. Pure.

``engine.md`` D4. An order of ours is recognised by its magic on deals, by its absolute target being true, or, where a
bridge zeroes a magic, by its signature (D1.5). "It did not happen" may be said only after the settle window (R16): with
executions that come later than a lost reply, shorter windows doubled orders in 163 to 235 of 960 model-checked cases,
the full window in none.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from dtms_service.domain import levels
from dtms_service.domain.effects import opens
from dtms_service.domain.parameters import Parameters
from dtms_service.domain.reconcile import all_closed
from dtms_service.domain.sighting import (
    Nameless,
    Sighting,
    closed_perhaps,
    is_working,
    lots,
    nameless_deals,
    nameless_positions,
    own_deals,
    wanted,
)
from dtms_service.domain.trade import STOP_KINDS, Intent, IntentState
from dtms_service.domain.values import Execution, Position, SymbolSpec

_NO_TRACE = "no trace at the broker after the settle window"


def settle(intent: Intent, sighting: Sighting, spec: SymbolSpec, now: float, parameters: Parameters) -> Intent:
    """The intent with its outcome, or unchanged while nothing can be said yet."""
    found = _found(intent, sighting, spec)
    if found is not None:
        return _final(found, now)
    if is_working(intent, sighting):
        return intent
    window = settle_window(spec, parameters)
    if sighting.good_reads < parameters.settle_reads or sighting.connected_s < window:
        return intent
    if opens(intent):
        return _final(_opened_perhaps(intent, sighting, spec, window), now)
    return _final(_not_executed(intent, sighting, spec), now)


class _Found(NamedTuple):
    intent: Intent
    state: IntentState
    words: str


def _found(intent: Intent, sighting: Sighting, spec: SymbolSpec) -> _Found | None:
    """What the broker's records show of the order; None while they show nothing, or not all of it."""
    own = own_deals(intent, sighting)
    working = is_working(intent, sighting)
    if own:
        done = lots(own)
        state = _state_of(intent, done, spec)
        if state is IntentState.PARTIAL and working:
            return None
        last = own[-1]
        named = replace(intent, deal=last.ticket, order=last.position_id if opens(intent) else last.order)
        return _Found(named, state, f"deals with our magic: {done} of {wanted(intent)} lots")
    if working:
        return None
    return _opened(intent, sighting, spec) if opens(intent) else _changed(intent, sighting, spec)


def _changed(intent: Intent, sighting: Sighting, spec: SymbolSpec) -> _Found | None:
    """The effect of an order on a position that exists, where no deal carries its magic."""
    if not all_closed(sighting.deals):
        effect = _effect(intent, sighting.position, spec)
        return _Found(intent, IntentState.CONFIRMED, effect) if effect is not None else None
    nameless = lots(nameless_deals(intent, sighting, spec))
    if intent.kind in STOP_KINDS or nameless < wanted(intent) - spec.volume_step / 2:
        return _Found(intent, IntentState.ABANDONED, "others closed the position")
    return _Found(intent, IntentState.CONFIRMED, "a deal of a program closed the position; its magic was lost")


def _opened(intent: Intent, sighting: Sighting, spec: SymbolSpec) -> _Found | None:
    """The position that the order opened, where no deal carries its magic."""
    if sighting.position is not None:
        named = replace(intent, order=sighting.position.identifier)
        return _Found(named, IntentState.CONFIRMED, "a position with our magic")
    ours = [one for one in nameless_positions(intent, sighting, spec) if one.ours]
    if len(ours) != 1:
        return None
    return _adopted(intent, ours[0], spec, "a position whose magic was lost, with the comment or the stop of the order")


def _opened_perhaps(intent: Intent, sighting: Sighting, spec: SymbolSpec, window: float) -> _Found:
    """What is left after the settle window, where no position is the order's for sure.

    A stop other than the order's is a stranger's. Where a bridge took the stop as well, a person decides.
    """
    nameless = nameless_positions(intent, sighting, spec)
    exact = [one for one in nameless if one.volume >= wanted(intent) - spec.volume_step / 2]
    stopped = [one for one in exact if one.stopped_out]
    unclear = [one for one in exact if one.bare and one.at <= intent.sending_at + window]
    unclear += [one for one in nameless if one.ours]
    if len(stopped) == 1 and not unclear:
        return _adopted(intent, stopped[0], spec, "a position whose magic was lost, and which its stop has closed")
    if stopped or unclear:
        words = f"{len(stopped) + len(unclear)} positions without a magic may be this order's, or somebody else's"
        return _Found(intent, IntentState.MANUAL_REVIEW, words)
    return _Found(intent, IntentState.NOT_EXECUTED, _NO_TRACE)


def _adopted(intent: Intent, found: Nameless, spec: SymbolSpec, words: str) -> _Found:
    named = replace(intent, deal=found.deal, order=found.identifier)
    return _Found(named, _state_of(intent, found.volume, spec), words)


def _not_executed(intent: Intent, sighting: Sighting, spec: SymbolSpec) -> _Found:
    """A change that did not take effect; volume of a part that vanished without a name still counts for the half."""
    perhaps = closed_perhaps(intent, sighting, spec)
    words = f"; {perhaps} lots that a program closed without a magic count as ours" if perhaps else ""
    return _Found(intent, IntentState.NOT_EXECUTED, _NO_TRACE + words)


def _state_of(intent: Intent, done: float, spec: SymbolSpec) -> IntentState:
    return IntentState.CONFIRMED if done >= wanted(intent) - spec.volume_step / 2 else IntentState.PARTIAL


def _effect(intent: Intent, position: Position | None, spec: SymbolSpec) -> str | None:
    """The absolute target being true, in words (``engine.md`` D4), also where a bridge lost our magic; None if not."""
    if position is None:
        return None
    if intent.kind in STOP_KINDS:
        target = float(intent.plan["stop_loss"])
        reached = levels.at_least_as_tight(position.stop_loss, target, position.side, spec.tick_size)
        return "the stop loss is at its target or closer" if reached else None
    left = levels.volume_minus(float(intent.before["volume"]), wanted(intent))
    return "the volume is at its target or below" if position.volume <= left + spec.volume_step / 2 else None


def done_volume(intent: Intent, sighting: Sighting, spec: SymbolSpec) -> float | None:
    """Lots that a settled order closed or opened, by its deals or by the position it opened; None where unknown.

    Of an order that was not executed: what counts as closed by it all the same.
    """
    done = lots(own_deals(intent, sighting))
    if not done and opens(intent):
        there = sighting.position or sighting.open.get(intent.order or 0)
        return there.volume if there is not None else None
    if not done and intent.state is IntentState.NOT_EXECUTED:
        done = closed_perhaps(intent, sighting, spec)
    return done or None


def settle_window(spec: SymbolSpec, parameters: Parameters) -> float:
    """Seconds to wait for a late execution (R16): 60 at market and exchange execution, 180 at instant and request."""
    late = spec.execution in {Execution.INSTANT, Execution.REQUEST}
    return parameters.settle_request_s if late else parameters.settle_market_s


def _final(found: _Found, now: float) -> Intent:
    return replace(found.intent, state=found.state, resolved_at=now, resolution=found.words)
