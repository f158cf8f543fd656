"""From an obligation to an order: planned anew from every snapshot, and only ever risk-reducing.

`plan` answers one of five values. An obligation ends with its first effect, and a target that took effect in part stays
fixed (R3): tightening is not a trailing stop. Formulas: ``engine.md`` B7.1 and B7.2; distances R2; deferral R10.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from dtms_service.domain import levels
from dtms_service.domain.orders import ClosePosition, ModifyStops, OpenHedge, Order
from dtms_service.domain.parameters import Parameters
from dtms_service.domain.policy import STOP_REMOVED, Scene, bars_are_fresh, tick_is_fresh
from dtms_service.domain.trade import Obligation, ObligationKind, Trade
from dtms_service.domain.values import Position, Side, TradeMode
from dtms_service.domain.view import Missing


@dataclass(frozen=True, slots=True)
class Send:
    """Send this; ``target`` is the absolute goal: the new stop, or the volume that must remain or be there."""

    order: Order
    target: float


@dataclass(frozen=True, slots=True)
class Satisfied:
    """The goal is true already; nothing is sent."""

    reason: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Not now; ask again next cycle. ``flag`` marks the trade while it waits."""

    reason: str
    flag: str | None = None


@dataclass(frozen=True, slots=True)
class Instead:
    """Cannot be done on this trade; tighten instead (``hard``: at the closer distance).

    ``keep``: the obligation stays due.
    """

    reason: str
    hard: bool
    keep: bool = False
    flag: str | None = None


@dataclass(frozen=True, slots=True)
class Refuse:
    """Cannot be done, and nothing takes its place."""

    reason: str


Plan: TypeAlias = Send | Satisfied | Wait | Instead | Refuse


def plan(trade: Trade, obligation: Obligation, scene: Scene, magic: int, parameters: Parameters) -> Plan:
    """What to do about ``obligation`` now. ``magic`` is the number the order would carry."""
    old = _too_old(trade, obligation, scene, parameters)
    if old is not None:
        return Wait(old)
    return _PLANS[obligation.kind](trade, obligation, scene, magic, parameters)


_WITHOUT_BARS = frozenset({ObligationKind.BREAKEVEN, ObligationKind.CLOSE_HEDGE, ObligationKind.CLOSE_ALL})


def _too_old(trade: Trade, obligation: Obligation, scene: Scene, parameters: Parameters) -> str | None:
    """Why what is known of the market is too old to plan on (C-18).

    After a night or weekend the first M5 bar closes first, except for what needs no bars: breakeven, a level of the
    trade itself, and closing what is ours. A hedge without its position is closed at any time (``engine.md`` E.3).
    """
    if obligation.kind is ObligationKind.CLOSE_HEDGE and _at_once(trade, obligation):
        return None
    if not tick_is_fresh(scene, parameters):
        return "quote_is_old"
    if isinstance(scene.view, Missing) or obligation.kind in _WITHOUT_BARS:
        return None
    return None if bars_are_fresh(scene.view, scene.now, parameters) else "bars_are_old"


def stop_floor(scene: Scene, obligation: Obligation, parameters: Parameters) -> float | None:
    """The least distance between price and a stop of ours: broker's minimum or noise floor (R2), None without an ATR.

    Every refusal for a stop too near (10016) widens it by one spread, `widen_spreads` times at most (B7.1).
    """
    view = scene.view
    if isinstance(view, Missing) or not isinstance(view.atr, float):
        return None
    noise = parameters.noise_floor_atr * view.atr + scene.tick.spread
    wider = min(obligation.too_near, parameters.widen_spreads) * scene.tick.spread
    return max(levels.broker_distance(scene.spec), noise) + wider


def breakeven_price(trade: Trade, scene: Scene) -> float:
    """Entry plus what the trade costs per unit (``engine.md`` B7.1): spread, swap paid so far, commission both ways.

    A broker that takes the whole commission at the opening makes this a little more than even.
    """
    spec, position = scene.spec, scene.position
    per_price_unit = spec.tick_value / spec.tick_size
    swap = max(0.0, -position.swap) / position.volume
    costs = (swap + 2 * (trade.commission or 0.0)) / per_price_unit if per_price_unit > 0 else 0.0
    return position.price_open + trade.sign * (scene.tick.spread + costs)


def _tighten(trade: Trade, obligation: Obligation, scene: Scene, magic: int, p: Parameters) -> Plan:
    position = scene.position
    if obligation.reason == STOP_REMOVED and position.stop_loss is not None:
        return Satisfied("stop_was_set_again")
    floor = stop_floor(scene, obligation, p)
    if floor is None or trade.risk is None or obligation.r_multiple is None:
        return Wait("no_atr")
    away = trade.sign * max(obligation.r_multiple * trade.risk, floor)
    price = scene.tick.closing_price(position.side)
    target = levels.stop_away_from_price(price - away, position.side, scene.spec)
    return _stop_at(trade, obligation, target, scene, magic, p)


def _stop_at(trade: Trade, obligation: Obligation, target: float, scene: Scene, magic: int, p: Parameters) -> Plan:
    """An order for ``target``, which keeps `stop_floor` from the price."""
    position, spec, sign = scene.position, scene.spec, trade.sign
    current = position.stop_loss
    if target <= 0:
        return Refuse("no_price_below_zero")
    least = max(spec.tick_size, p.least_gain_r * (trade.risk or 0.0))
    if current is not None and sign * (target - current) < least:
        return Satisfied("stop_is_tight_enough")
    room = sign * (scene.tick.closing_price(position.side) - target)
    # A stop outside two spreads is safe to move in a wide market (R10).
    blocked = _blocked(scene, position, obligation, p, can_wait=room < 2 * scene.tick.spread)
    if blocked is not None:
        return Wait(blocked)
    comment = _comment(obligation.kind, trade)
    return Send(ModifyStops(position.ticket, position.symbol, target, position.take_profit, magic, comment), target)


def _breakeven(trade: Trade, obligation: Obligation, scene: Scene, magic: int, p: Parameters) -> Plan:
    side, sign = scene.position.side, trade.sign
    target = levels.stop_away_from_price(breakeven_price(trade, scene), side, scene.spec)
    if levels.at_least_as_tight(scene.position.stop_loss, target, side, scene.spec.tick_size):
        return Satisfied("stop_is_at_breakeven")
    floor = stop_floor(scene, obligation, p)
    if floor is None:
        return Wait("no_atr")
    if sign * (scene.tick.closing_price(side) - target) < floor:
        return Instead("breakeven_out_of_reach", hard=False, keep=True, flag="be_pending")
    return _stop_at(trade, obligation, target, scene, magic, p)


def _partial(trade: Trade, obligation: Obligation, scene: Scene, magic: int, p: Parameters) -> Plan:
    position, spec, target = scene.position, scene.spec, obligation.target
    # C-9: never more than half of what was registered, whatever others add and in however many pieces (R15).
    left = levels.volume_minus(p.partial_fraction * trade.initial_volume, trade.closed_by_us)
    if target is None:
        part = levels.volume_down(min(p.partial_fraction * position.volume, left), spec)
        target = levels.volume_minus(position.volume, part)
        if trade.partials >= p.max_partials or (part < spec.volume_min and trade.closed_by_us > 0):
            return Satisfied("partial_close_done_before")
        if part < spec.volume_min or target < spec.volume_min:
            return Instead("too_small_for_a_partial_close", hard=True)
    part = levels.volume_down(min(levels.volume_minus(position.volume, target), left, spec.volume_max), spec)
    if part < spec.volume_min:
        return Satisfied("volume_is_reduced_already")
    if scene.fifo_blocked:
        return Instead("older_position_closes_first", hard=True)  # C-16, 10045
    blocked = _blocked(scene, position, obligation, p, can_wait=True)
    if blocked is not None:
        return Wait(blocked)
    comment = _comment(obligation.kind, trade)
    return Send(ClosePosition(position.ticket, position.symbol, position.side, part, magic, comment), target)


def _hedge(trade: Trade, obligation: Obligation, scene: Scene, magic: int, p: Parameters) -> Plan:
    """Half of what is open covered by an opposite position, or closed where there can be none (B7.3, B7.4)."""
    position, spec = scene.position, scene.spec
    opposite = p.hedge_style != "reduce" and not obligation.reduce and _takes_opposite(trade, scene, p)
    part = levels.volume_down(min(p.hedge_fraction * _registered(trade, position), spec.volume_max), spec)
    left = levels.volume_minus(position.volume, part)
    impossible = _hedge_settled(trade, scene, p) or _no_hedge(scene, part, left, p, opposite=opposite)
    if impossible is not None:
        return impossible
    blocked = _blocked(scene, position, obligation, p, can_wait=True)
    if blocked is not None:
        return Wait(blocked)
    comment = _comment(obligation.kind, trade)
    if not opposite:
        return Send(ClosePosition(position.ticket, position.symbol, position.side, part, magic, comment), left)
    side = Side.SELL if position.side is Side.BUY else Side.BUY
    protective = _hedge_stop(trade, side, scene, p)
    if protective is None:
        return Refuse("no_price_below_zero")
    return Send(OpenHedge(position.ticket, position.symbol, side, part, protective, magic, comment), part)


def _hedge_settled(trade: Trade, scene: Scene, p: Parameters) -> Satisfied | Wait | None:
    """R4: a hedge only while the trade's own stop has room; a nearer one is the hedge already."""
    if trade.hedge is not None:
        return Satisfied("hedge_is_open")
    if scene.own:
        return Wait("other_hedge_closes")  # C-6: an order of ours that came through after its settle window
    if isinstance(scene.view, Missing) or not isinstance(scene.view.atr, float):
        return Wait("no_atr")
    stop, price = scene.position.stop_loss, scene.tick.closing_price(scene.position.side)
    if stop is not None and trade.sign * (price - stop) < p.hedge_room_atr * scene.view.atr:
        return Satisfied("stop_near")
    return None


def _no_hedge(scene: Scene, part: float, left: float, p: Parameters, *, opposite: bool) -> Instead | None:
    why = None
    if not opposite and p.hedge_style == "opposite":
        why = "no_opposite_position_here"
    elif part < scene.spec.volume_min or (not opposite and left < scene.spec.volume_min):
        why = "too_small_for_a_hedge"
    elif not opposite and scene.fifo_blocked:
        why = "older_position_closes_first"
    return Instead(why, hard=True, flag="hedge_unavailable") if why is not None else None


def _hedge_stop(trade: Trade, side: Side, scene: Scene, p: Parameters) -> float | None:
    """Where the hedge of ``side`` ends: on the far side of the price, in the trade's favour; None below zero."""
    if isinstance(scene.view, Missing) or not isinstance(scene.view.atr, float):
        return None
    away = max(p.hedge_stop_atr * scene.view.atr, levels.broker_distance(scene.spec) + scene.tick.spread)
    opened_at = scene.tick.closing_price(scene.position.side)
    stop = levels.stop_away_from_price(opened_at + trade.sign * away, side, scene.spec)
    return stop if stop > 0 else None


def _takes_opposite(trade: Trade, scene: Scene, p: Parameters) -> bool:
    """C-16, and enough margin that a second position brings no margin call near."""
    one_side = TradeMode.SHORT_ONLY if trade.sign > 0 else TradeMode.LONG_ONLY
    if not scene.opposite or scene.spec.trade_mode not in {TradeMode.FULL, one_side}:
        return False
    return scene.margin_level is None or scene.margin_level >= p.hedge_margin_level


def _registered(trade: Trade, position: Position) -> float:
    """What of the position is ours to act on: on netting accounts others may have added to it (R15)."""
    return min(position.volume, max(0.0, levels.volume_minus(trade.initial_volume, trade.closed_by_us)))


def _close_hedge(trade: Trade, obligation: Obligation, scene: Scene, magic: int, p: Parameters) -> Plan:
    identifier = obligation.position or (trade.hedge.identifier if trade.hedge is not None else None)
    if identifier is None:
        return Satisfied("no_hedge_is_open")
    position = scene.own.get(identifier)
    if position is None:
        return Wait("hedge_not_seen") if obligation.position is None else Satisfied("it_is_closed")
    return _close(trade, obligation, position, obligation.target or 0.0, scene, magic, p)


def _close_all(trade: Trade, obligation: Obligation, scene: Scene, magic: int, p: Parameters) -> Plan:
    """The hedge first, then the position: the net side never turns, and what is left last has its stop (B7.5)."""
    if trade.hedge is not None:
        hedge = scene.own.get(trade.hedge.identifier)
        if hedge is None:
            return Wait("hedge_not_seen")
        return _close(trade, obligation, hedge, 0.0, scene, magic, p)
    if scene.own:
        return Wait("other_hedge_closes")  # C-4: alone, a second one would turn the net side
    ours = _registered(trade, scene.position)
    if ours <= 0:
        return Satisfied("closed_already")
    if scene.fifo_blocked:
        return Wait("older_position_closes_first", flag="fifo_blocked")
    rest = levels.volume_minus(scene.position.volume, ours)
    return _close(trade, obligation, scene.position, rest, scene, magic, p)


def _close(
    trade: Trade, obligation: Obligation, position: Position, target: float, scene: Scene, magic: int, p: Parameters
) -> Plan:
    """Close ``position`` down to ``target`` lots, in pieces where the broker has a largest volume (C-13)."""
    wanted = levels.volume_minus(position.volume, target)
    part = min(wanted, scene.spec.volume_max)
    whole = part >= position.volume
    if not whole:
        part = levels.volume_down(part, scene.spec)
    if part <= 0 or (not whole and part < scene.spec.volume_min):
        return Satisfied("volume_is_reduced_already")
    can_wait = obligation.kind is ObligationKind.CLOSE_HEDGE and not _at_once(trade, obligation)
    blocked = _blocked(scene, position, obligation, p, can_wait=can_wait)
    if blocked is not None:
        return Wait(blocked)
    comment = _comment(obligation.kind, trade)
    order = ClosePosition(position.ticket, position.symbol, position.side, part, magic, comment, whole=whole)
    return Send(order, target)


def _at_once(trade: Trade, obligation: Obligation) -> bool:
    """A hedge without its position, a second one or one that is too large adds risk while it waits."""
    return trade.state.final or obligation.position is not None


def _blocked(scene: Scene, position: Position, obligation: Obligation, p: Parameters, *, can_wait: bool) -> str | None:
    """Why nothing may be sent for ``position`` now; a wide spread only counts for what can wait, and only so long."""
    if scene.spec.trade_mode is TradeMode.DISABLED:
        return "trading_disabled_on_symbol"
    if _inside_freeze_level(scene, position):
        return "inside_freeze_level"
    if scene.news and obligation.kind in _NOT_IN_NEWS:
        return "news_are_due"
    if can_wait and _spread_is_wide(scene, p) and scene.now - obligation.created_at < p.spread_defer_s:
        return "spread_too_wide"
    return None


_NOT_IN_NEWS = frozenset({ObligationKind.PARTIAL_CLOSE, ObligationKind.HEDGE})


def _inside_freeze_level(scene: Scene, position: Position) -> bool:
    """C-14: the broker refuses changes and closes (10029) while the price is this near to a level of the position."""
    frozen = scene.spec.freeze_level * scene.spec.point
    price = scene.tick.closing_price(position.side)
    present = (position.stop_loss, position.take_profit)
    return any(level is not None and abs(price - level) <= frozen + scene.spec.tick_size / 2 for level in present)


def _spread_is_wide(scene: Scene, p: Parameters) -> bool:
    view = scene.view
    if isinstance(view, Missing) or view.median_spread is None:
        return False
    spread = scene.tick.spread
    return spread > p.spread_wide * view.median_spread and spread > p.spread_wide_points * scene.spec.point


_PLANS: Mapping[ObligationKind, Callable[[Trade, Obligation, Scene, int, Parameters], Plan]] = {
    ObligationKind.TIGHTEN_STOP: _tighten,
    ObligationKind.BREAKEVEN: _breakeven,
    ObligationKind.PARTIAL_CLOSE: _partial,
    ObligationKind.HEDGE: _hedge,
    ObligationKind.CLOSE_HEDGE: _close_hedge,
    ObligationKind.CLOSE_ALL: _close_all,
}

_LETTERS = {
    ObligationKind.TIGHTEN_STOP: "T",
    ObligationKind.BREAKEVEN: "B",
    ObligationKind.PARTIAL_CLOSE: "P",
    ObligationKind.HEDGE: "H",
    ObligationKind.CLOSE_HEDGE: "C",
    ObligationKind.CLOSE_ALL: "A",
}


def _comment(kind: ObligationKind, trade: Trade) -> str:
    """``DT`` + kind + identifier in base 36: at most 16 letters and digits, advisory only (``engine.md`` D1)."""
    digits, number = "", trade.identifier or trade.ticket
    while number:
        number, rest = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[rest] + digits
    return f"DT{_LETTERS[kind]}{digits}"[:16]
