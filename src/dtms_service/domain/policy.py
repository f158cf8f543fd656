"""What a trade needs now: arming, when to evaluate, the score's verdict, and the transition it causes. Pure.

`decide` answers the same for the same values however often it is called: the memory that makes a repeated cycle a no-op
(newest evaluated bar, price and flip of that moment) is part of the `Trade` it returns. Rules: ``engine.md`` B5 to B7,
E.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dtms_service.domain import ownership, signals
from dtms_service.domain.parameters import Parameters
from dtms_service.domain.reconcile import alert
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import (
    STOP_KINDS,
    Event,
    Mode,
    Obligation,
    ObligationKind,
    ObligationStatus,
    Score,
    Trade,
)
from dtms_service.domain.transitions import Evaluation, Row, next_row
from dtms_service.domain.values import Position, SymbolSpec, Tick, Timeframe
from dtms_service.domain.view import MarketView, Missing, StructureReading, VwapReading

STOP_REMOVED = "stop_removed"
"""Reason of a stop that is owed because a hand removed the last one (R14)."""

UNSCORED = "recovery_unscored"
"""Flag and alert of a trade whose deadline could not be decided (R7)."""

_RESTORED_IN = frozenset({TradeState.WARNING_L1, TradeState.WARNING_L2, TradeState.HEDGED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Everything outside the trade that a decision may look at, read together. ``now`` is market time."""

    now: float
    position: Position
    tick: Tick
    spec: SymbolSpec
    view: MarketView | Missing
    may_trade: bool = True
    """Programs may trade now: switches of terminal, account and expert. While not, a trade is scored and not moved."""
    own: Mapping[int, Position] = field(default_factory=dict)
    """Positions that DTMS itself opened for the trade, by identifier: its hedge, and strays."""
    opposite: bool = True
    """The account can hold positions on both sides of a symbol: hedging margin mode, not closing by FIFO."""
    fifo_blocked: bool = False
    """The account closes by FIFO, and an older position on this side of the symbol is open (10045)."""
    margin_level: float | None = None
    """Equity over margin; None while no margin is used."""
    held_back: bool = False
    """An operator has paused or halted DTMS: trades are scored and not moved (R47)."""
    news: bool = False
    """An operator announced news for this symbol and this time: nothing is opened or reduced (``engine.md`` B7.7)."""


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

    An old one means a closed market or a frozen feed, one from the future a broker's clock that was moved by an hour:
    nothing is planned on either.
    """
    return abs(scene.now - scene.tick.time) <= parameters.tick_stale_s


def bars_are_fresh(view: MarketView, now: float, parameters: Parameters) -> bool:
    """The newest closed M5 bar ended recently enough to judge the market by (``engine.md`` B1)."""
    return now - (view.m5_time + Timeframe.M5.seconds) <= parameters.m5_stale_s


def decide(trade: Trade, scene: Scene, mode: Mode, parameters: Parameters) -> Decision:
    """One look at a verified, open trade. At most one evaluation and one transition.

    What is owed but may not be done (handed over since, or started in observe mode) becomes ``would_have`` first,
    whatever the market shows (R24). A frozen trade is scored and not moved, and looked at again at the next M5 bar
    (E.1).
    """
    trade = _only_ours(trade, mode)
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
    if evaluated.frozen is not None or not scene.may_trade or scene.held_back:
        return Decision(replace(evaluated, evaluate_again=True), tuple(events), evaluated=True)
    seen = evaluation(evaluated, view, score, parameters)
    row = next_row(evaluated.state, seen, parameters) if evaluated.armed else None
    if row is None:
        evaluated, told = _undecided(evaluated, seen, scene.now)
        return Decision(evaluated, (*events, *told), evaluated=True)
    moved = _moved(evaluated, row, scene, mode, parameters)
    events.append(_transition_event(evaluated, moved, row, scene, view, score))
    return Decision(moved, tuple(events), evaluated=True)


def _undecided(trade: Trade, seen: Evaluation, now: float) -> tuple[Trade, tuple[Event, ...]]:
    """R7: a recovery that is over without a score to decide by is told, once."""
    decidable = seen.score is not None and seen.may_escalate
    if trade.state is not TradeState.RECOVERING or not seen.recovery_over or decidable or UNSCORED in trade.flags:
        return trade, ()
    flagged = replace(trade, flags=trade.flags | {UNSCORED})
    detail = "its time to recover is over, and there is no score to decide by; it keeps its stop and stays open"
    return flagged, (alert(flagged, now, UNSCORED, detail),)


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
    return _price_event(trade, scene, view, parameters)


def _price_event(trade: Trade, scene: Scene, view: MarketView, parameters: Parameters) -> str | None:
    """What happened against the trade since its last evaluation; silent for `event_cooldown_s` after the last one."""
    if trade.event_deep_at is not None and scene.now - trade.event_deep_at < parameters.event_cooldown_s:
        return None
    sign = trade.sign
    if isinstance(view.vwap, VwapReading) and view.vwap.flip == -sign and trade.flip_seen != -sign:
        return "vwap_flipped"
    if isinstance(view.atr, float) and trade.deep_price is not None:
        against = sign * (trade.deep_price - scene.tick.closing_price(scene.position.side))
        if against >= parameters.adverse_move_atr * view.atr:
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
            return replace(trade, risk=round(trade.sign * (entry - stop), 10))  # without the noise of float arithmetic
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
    # Only evidence that may decide counts towards a decision, and one M5 bar counts once (B5, B6).
    demands = score.may_escalate and _demands_hedge(score.value, view, trade.sign, parameters)
    confirmed = trade.confirmations + (view.m5_time != trade.deep_m5)
    calm_above = parameters.hedged_exit_score if trade.state is TradeState.HEDGED else parameters.recovered_score
    calm = score.may_relax and score.value is not None and score.value >= calm_above
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
        confirmations=confirmed if demands else 0,
        calm_evaluations=(trade.calm_evaluations + (reason == "m15_closed")) if calm else 0,
    )
    return evaluated, score


def _demands_hedge(score: float | None, view: MarketView, sign: int, parameters: Parameters) -> bool:
    if score is None or score > parameters.l2_score:
        return False
    confluence = signals.adverse_flip(view, sign, parameters) and signals.adverse_volume(view, sign)
    return confluence or score <= parameters.hedge_score


def evaluation(trade: Trade, view: MarketView, score: Score, parameters: Parameters) -> Evaluation:
    """What the rows of the table may look at: ``score`` of an evaluated trade, and how its state stands by ``view``."""
    structure = view.structure if isinstance(view.structure, StructureReading) else None
    news = structure if structure is not None and structure.event_time > trade.state_since else None
    here = {o.kind for o in trade.obligations if o.episode == trade.episode}
    pending = {
        o.kind for o in trade.obligations if o.episode == trade.episode and o.status is not ObligationStatus.SUPERSEDED
    }
    return Evaluation(
        score=score.value,
        may_escalate=score.may_escalate,
        may_relax=score.may_relax,
        dwell_s=view.open_seconds_since(trade.state_since),
        confirmations=trade.confirmations,
        hedge_settled=ObligationKind.HEDGE in here or trade.hedges >= parameters.max_hedges,
        choch_against=news is not None and news.kind == "CHOCH" and news.trend == -trade.sign,
        break_with=news is not None and news.trend == trade.sign,
        calm_evaluations=trade.calm_evaluations,
        flat_over=trade.flat_left_s is not None and view.open_seconds_since(trade.state_since) >= trade.flat_left_s,
        recovery_over=trade.recovery_left_s is not None
        and view.open_seconds_since(trade.state_since) >= trade.recovery_left_s,
        closing=ObligationKind.CLOSE_ALL in pending,
        resuming=ObligationKind.CLOSE_HEDGE in pending,
    )


def _moved(trade: Trade, row: Row, scene: Scene, mode: Mode, parameters: Parameters) -> Trade:
    """The trade after ``row`` fired: new state and episode, what it cancels or repeats superseded, new ones owed."""
    kept = trade.obligations
    if row.next is not trade.state:
        ended = row.cancels | set(row.owes)
        kept = tuple(_superseded(o) if o.kind in ended else o for o in kept)
        # Ended ones stay while their episode lives: the number of an order counts all that were sent in its episode.
        lives = {o.episode for o in kept if o.status.live} | {trade.episode}
        kept = tuple(o for o in kept if o.episode in lives)
        waits = any(o.kind is ObligationKind.BREAKEVEN and o.status.live for o in kept)
        gone = {"hedge_unavailable", UNSCORED} if waits else {"hedge_unavailable", UNSCORED, "be_pending"}
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
            flags=trade.flags - gone,
            flat_left_s=None,
            recovery_left_s=None,
        )
    owed = tuple(owe(trade, kind, row.rule, scene.now, mode, parameters) for kind in row.owes)
    return replace(trade, obligations=kept + owed)


def _past_next_threshold(state: TradeState, score: float | None, parameters: Parameters) -> bool:
    following = {TradeState.WARNING_L1: parameters.l2_score, TradeState.WARNING_L2: parameters.hedge_score}
    return score is not None and state in following and score <= following[state]


def _superseded(obligation: Obligation) -> Obligation:
    if obligation.status is not ObligationStatus.DUE:
        return obligation
    return replace(obligation, status=ObligationStatus.SUPERSEDED)


def _only_ours(trade: Trade, mode: Mode) -> Trade:
    """R24: nothing stays due on a trade that DTMS may not act on."""
    if ownership.may_act(trade, mode) or not any(o.status is ObligationStatus.DUE for o in trade.obligations):
        return trade
    recorded = tuple(
        replace(o, status=ObligationStatus.WOULD_HAVE)
        if o.status is ObligationStatus.DUE and not (mode is Mode.PROTECT and _of_our_own(o))
        else o
        for o in trade.obligations
    )
    return trade if recorded == trade.obligations else replace(trade, obligations=recorded)


def _of_our_own(obligation: Obligation) -> bool:
    """Closing a position that DTMS itself opened; it stays ours whoever owns the trade (C-8)."""
    return obligation.kind is ObligationKind.CLOSE_HEDGE and obligation.position is not None


def after_removed_stop(before: Trade, trade: Trade, now: float, mode: Mode, parameters: Parameters) -> Trade:
    """R14: what a stop that somebody else removed since ``before`` makes DTMS owe; the same ``trade`` when nothing.

    In L1, L2 and HEDGED a fresh stop, planned from the price of then, not before `stop_removed_wait_s` have passed;
    a stop that was owed already waits as long. A hand that places a stop meanwhile is respected by the plan.
    """
    if before.stop_loss is None or trade.stop_loss is not None or trade.state not in _RESTORED_IN:
        return trade
    then = now + parameters.stop_removed_wait_s
    waiting = tuple(
        replace(o, next_try_at=max(o.next_try_at, then))
        if o.kind in STOP_KINDS and o.status is ObligationStatus.DUE
        else o
        for o in trade.obligations
    )
    if not any(o.kind is ObligationKind.TIGHTEN_STOP and o.status.live for o in waiting):
        fresh = owe(trade, ObligationKind.TIGHTEN_STOP, STOP_REMOVED, now, mode, parameters)
        waiting += (replace(fresh, next_try_at=then),)
    return replace(trade, obligations=waiting)


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
    acts = ownership.may_act(trade, mode)
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
