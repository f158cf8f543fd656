"""What a trade needs now: arming, when to evaluate, the score's verdict, and the transition it causes. Pure.

`decide` answers the same for the same values however often it is called: the memory that makes a repeated cycle a no-op
(newest evaluated bar, price and flip of that moment) is part of the `Trade` it returns. Rules: ``engine.md`` B5 to B7,
E.1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from dtms_service.domain import signals
from dtms_service.domain.parameters import Parameters
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import (
    Event,
    Frozen,
    Mode,
    Obligation,
    ObligationKind,
    ObligationStatus,
    Owner,
    Score,
    Trade,
)
from dtms_service.domain.transitions import Evaluation, Row, next_row
from dtms_service.domain.values import Position, SymbolSpec, Tick, Timeframe
from dtms_service.domain.view import MarketView, Missing, StructureReading, VwapReading


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Everything outside the trade that a decision may look at, read together. ``now`` is market time."""

    now: float
    position: Position
    tick: Tick
    spec: SymbolSpec
    view: MarketView | Missing


@dataclass(frozen=True, slots=True)
class Decision:
    """The trade after deciding, and what is worth recording. The same trade object when nothing changed."""

    trade: Trade
    events: tuple[Event, ...] = ()
    evaluated: bool = False


def r_now(trade: Trade, tick: Tick) -> float | None:
    """Open profit in R at the closing price; None while R is not known."""
    if trade.risk is None or trade.entry_price is None or trade.side is None:
        return None
    return trade.sign * (tick.closing_price(trade.side) - trade.entry_price) / trade.risk


def tick_is_fresh(scene: Scene, parameters: Parameters) -> bool:
    """A quote young enough to act on.

    An old one means a closed market or a frozen feed, and nothing is planned on it.
    """
    return scene.now - scene.tick.time <= parameters.tick_stale_s


def bars_are_fresh(view: MarketView, now: float, parameters: Parameters) -> bool:
    """The newest closed M5 bar ended recently enough to judge the market by (``engine.md`` B1)."""
    return now - (view.m5_time + Timeframe.M5.seconds) <= parameters.m5_stale_s


def decide(trade: Trade, scene: Scene, mode: Mode, parameters: Parameters) -> Decision:
    """One look at a verified, open trade. At most one evaluation and one transition."""
    if not tick_is_fresh(scene, parameters) or isinstance(scene.view, Missing):
        return Decision(trade)
    view = scene.view
    events: list[Event] = []
    now_armed = _with_risk(trade, scene, view, parameters)
    if not now_armed.armed and _arms(now_armed, scene, view, parameters):
        now_armed = replace(now_armed, armed=True)
        events.append(_event(now_armed, scene.now, "armed", r_now=r_now(now_armed, scene.tick)))
    reason = evaluation_reason(now_armed, scene, view, parameters)
    if reason is None or not bars_are_fresh(view, scene.now, parameters):
        return Decision(now_armed, tuple(events))
    evaluated, score = _evaluated(now_armed, scene, view, reason, parameters)
    if not evaluated.armed or evaluated.frozen is Frozen.VERIFY:
        return Decision(evaluated, tuple(events), evaluated=True)
    row = next_row(evaluated.state, _evaluation(evaluated, scene, view, score, parameters), parameters)
    if row is None:
        return Decision(evaluated, tuple(events), evaluated=True)
    moved = _moved(evaluated, row, scene, mode, parameters)
    events.append(_transition_event(evaluated, moved, row, scene, view, score))
    return Decision(moved, tuple(events), evaluated=True)


def evaluation_reason(trade: Trade, scene: Scene, view: MarketView, parameters: Parameters) -> str | None:
    """Why the trade is due for an evaluation now, or None (``engine.md`` B6)."""
    if trade.deep_m15 is None or view.m15_time > trade.deep_m15:
        return "m15_closed"
    if view.m5_time == trade.deep_m5:
        return None
    if trade.evaluate_again:
        return "escalation_pending"
    now_r = r_now(trade, scene.tick)
    if now_r is not None and now_r <= parameters.arm_loss_r and not trade.below_half_r:
        return "half_r_lost"
    if trade.event_deep_at is not None and scene.now - trade.event_deep_at < parameters.event_cooldown_s:
        return None
    sign = trade.sign
    if isinstance(view.vwap, VwapReading) and view.vwap.flip == -sign and trade.flip_seen != -sign:
        return "vwap_flipped"
    price = scene.tick.closing_price(scene.position.side)
    if isinstance(view.atr, float) and trade.deep_price is not None:
        if sign * (trade.deep_price - price) >= parameters.adverse_move_atr * view.atr:
            return "adverse_move"
    return "swing_broken" if _beyond_swing(view, sign) else None


def _beyond_swing(view: MarketView, sign: int) -> bool:
    if not isinstance(view.structure, StructureReading):
        return False
    level = view.structure.swing_low if sign > 0 else view.structure.swing_high
    return level is not None and sign * (view.m5_close - level) < 0


def _with_risk(trade: Trade, scene: Scene, view: MarketView, parameters: Parameters) -> Trade:
    """Fix R once, at the first view with an ATR (R1)."""
    if trade.risk is not None or not isinstance(view.atr, float):
        return trade
    spread = view.median_spread or scene.tick.spread
    least = max(parameters.r_valid_atr * view.atr, parameters.r_valid_spreads * spread)
    entry = scene.position.price_open
    for stop in (trade.initial_stop_loss, trade.claims.get("stop_loss")):
        if stop is not None and trade.sign * (entry - stop) >= least:
            return replace(trade, risk=trade.sign * (entry - stop))
    return replace(trade, risk=parameters.r_estimate_atr * view.atr, flags=trade.flags | {"r_estimated"})


def _arms(trade: Trade, scene: Scene, view: MarketView, parameters: Parameters) -> bool:
    if view.open_seconds_since(trade.opened_at or trade.registered_at) >= parameters.arm_age_s:
        return True
    now_r = r_now(trade, scene.tick)
    return now_r is not None and (now_r >= parameters.arm_profit_r or now_r <= parameters.arm_loss_r)


def _evaluated(
    trade: Trade, scene: Scene, view: MarketView, reason: str, parameters: Parameters
) -> tuple[Trade, Score]:
    score = signals.score(view, scene.position.side, parameters)
    scheduled = reason in {"m15_closed", "escalation_pending"}
    now_r = r_now(trade, scene.tick)
    demands = score.value is not None and (
        score.value <= parameters.hedge_score
        or (score.value <= parameters.l2_score and _confluence(view, trade.sign, parameters))
    )
    calm_above = parameters.hedged_exit_score if trade.state is TradeState.HEDGED else parameters.recovered_score
    calm = score.value is not None and score.value >= calm_above
    evaluated = replace(
        trade,
        score=score.value,
        score_at=scene.now,
        coverage=score.coverage,
        components=score.components,
        deep_m15=view.m15_time,
        deep_m5=view.m5_time,
        deep_price=scene.tick.closing_price(scene.position.side),
        event_deep_at=trade.event_deep_at if scheduled else scene.now,
        flip_seen=view.vwap.flip if isinstance(view.vwap, VwapReading) else 0,
        below_half_r=now_r is not None and now_r <= parameters.arm_loss_r,
        evaluate_again=False,
        confirmations=trade.confirmations + 1 if demands else 0,
        calm_evaluations=(trade.calm_evaluations + (reason == "m15_closed")) if calm else 0,
    )
    return evaluated, score


def _confluence(view: MarketView, sign: int, parameters: Parameters) -> bool:
    return signals.adverse_flip(view, sign, parameters) and signals.adverse_volume(view, sign)


def _evaluation(trade: Trade, scene: Scene, view: MarketView, score: Score, parameters: Parameters) -> Evaluation:
    structure = view.structure if isinstance(view.structure, StructureReading) else None
    news = structure if structure is not None and structure.event_time > trade.state_since else None
    hedged_here = any(o.kind is ObligationKind.HEDGE and o.episode == trade.episode for o in trade.obligations)
    return Evaluation(
        score=score.value,
        may_escalate=score.may_escalate,
        may_relax=score.may_relax,
        dwell_s=view.open_seconds_since(trade.state_since),
        confirmations=trade.confirmations,
        hedge_settled=hedged_here or trade.hedges >= parameters.max_hedges,
        choch_against=news is not None and news.kind == "CHOCH" and news.trend == -trade.sign,
        break_with=news is not None and news.trend == trade.sign,
        calm_evaluations=trade.calm_evaluations,
        flat_over=trade.flat_left_s is not None and view.open_seconds_since(trade.state_since) >= trade.flat_left_s,
        recovery_over=trade.recovery_left_s is not None
        and view.open_seconds_since(trade.state_since) >= trade.recovery_left_s,
    )


def _moved(trade: Trade, row: Row, scene: Scene, mode: Mode, parameters: Parameters) -> Trade:
    """The trade after ``row`` fired: new state and episode, old unsent obligations superseded, new ones owed."""
    kept = trade.obligations
    if row.next is not trade.state:
        kept = tuple(_superseded(o) for o in kept)
        kept = tuple(o for o in kept if o.status.live or o.episode == trade.episode)
        trade = replace(
            trade,
            state=row.next,
            previous_state=trade.state,
            state_since=scene.now,
            episode=trade.episode + 1,
            rule=row.rule,
            confirmations=0,
            calm_evaluations=0,
            evaluate_again=_past_next_threshold(row.next, trade.score, parameters),
            flags=trade.flags - {"be_pending", "hedge_unavailable"},
        )
    owed = tuple(owe(trade, kind, row.rule, scene.now, mode, parameters) for kind in row.owes)
    return replace(trade, obligations=kept + owed)


def _past_next_threshold(state: TradeState, score: float | None, parameters: Parameters) -> bool:
    return state is TradeState.WARNING_L1 and score is not None and score <= parameters.l2_score


def _superseded(obligation: Obligation) -> Obligation:
    if obligation.status is not ObligationStatus.DUE:
        return obligation
    return replace(obligation, status=ObligationStatus.SUPERSEDED)


def owe(
    trade: Trade,
    kind: ObligationKind,
    reason: str,
    now: float,
    mode: Mode,
    parameters: Parameters,
    *,
    hard: bool = False,
) -> Obligation:
    """A new obligation of this episode; only recorded (``would_have``) where DTMS may not act (R24, R47).

    ``hard`` asks for the closer of the two tightening distances.
    """
    acts = mode is Mode.PROTECT and trade.owner is Owner.DTMS and trade.managed
    multiple = parameters.tighten_hard_r if hard else parameters.tighten_r
    return Obligation(
        kind=kind,
        episode=trade.episode,
        status=ObligationStatus.DUE if acts else ObligationStatus.WOULD_HAVE,
        reason=reason,
        created_at=now,
        r_multiple=multiple if kind is ObligationKind.TIGHTEN_STOP else None,
        next_try_at=now,
    )


def _event(trade: Trade, now: float, kind: str, **body: Any) -> Event:
    return Event(time=now, kind=kind, trade_id=trade.trade_id, ticket=trade.ticket, body=body)


def _transition_event(before: Trade, after: Trade, row: Row, scene: Scene, view: MarketView, score: Score) -> Event:
    new = after.obligations[len(after.obligations) - len(row.owes) :] if row.owes else ()
    return _event(
        after,
        scene.now,
        "transition",
        **{
            "from": before.state.value,
            "to": after.state.value,
            "rule": row.rule,
            "when": row.when,
            "score": score.value,
            "coverage": score.coverage,
            "components": {c.name: c.points if c.available else c.reason for c in score.components},
            "regime": {
                "volatility": view.volatility.value,
                "structure": view.structure_regime.value,
                "session": view.session.value,
            },
            "price": scene.tick.closing_price(scene.position.side),
            "r_now": r_now(after, scene.tick),
            "m15_time": view.m15_time,
            "obligations": [{"kind": o.kind.value, "status": o.status.value} for o in new],
        },
    )
