"""Why a trade is in its state, and what comes next: the record and the rules in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import assert_never

from dtms_service.domain import broker_events, ownership, policy, signals, transitions
from dtms_service.domain.control import Control, Standing
from dtms_service.domain.hedging import HANDED_OVER
from dtms_service.domain.orders import ClosePosition, ModifyStops, OpenHedge, Order
from dtms_service.domain.parameters import Parameters
from dtms_service.domain.plan import Instead, Plan, Refuse, Satisfied, Send, Wait, breakeven_price, plan, stop_floor
from dtms_service.domain.policy import Scene
from dtms_service.domain.reasons import REASONS, Answer, with_numbers
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import Frozen, Mode, Obligation, ObligationKind, ObligationStatus, Score, Trade
from dtms_service.domain.transitions import TABLE
from dtms_service.domain.values import Tick, Timeframe
from dtms_service.domain.view import MarketView, StructureReading, VwapReading
from dtms_service.engine.authority import Explanation
from dtms_service.engine.foretelling import Outlook, clock, foretold, open_market


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What is known beside the record of a trade. ``now`` is the engine clock.

    ``scene`` is what a decision would look at, None where nothing may be decided; ``view`` and ``tick`` are None while
    the market was never read.
    """

    now: float
    mode: Mode
    standing: Standing
    scene: Scene | None = None
    view: MarketView | None = None
    tick: Tick | None = None
    may_trade: bool = True

    @property
    def digits(self) -> int:
        """Decimals of a price; 5 where the symbol's are not at hand."""
        return self.scene.spec.digits if self.scene is not None else 5


def explain(trade: Trade, sight: Sight, parameters: Parameters) -> Explanation:
    """The explanation of ``trade`` from its record and what was seen last."""
    view = sight.view
    score = signals.judged(trade.score, trade.coverage, trade.components, parameters) if trade.components else None
    return Explanation(
        trade=trade,
        score=score,
        thresholds={name: getattr(parameters, name) for name in _THRESHOLDS},
        regime={}
        if view is None
        else {
            "volatility": view.volatility.value,
            "structure": view.structure_regime.value,
            "session": view.session.value,
            "known": view.regime_known,
        },
        rule=trade.rule,
        fired=_fired(trade, parameters),
        missing=tuple(_missing(trade, score, parameters)),
        next=tuple(_next(trade, score, sight, parameters)),
    )


_THRESHOLDS = (
    "l1_score",
    "l2_score",
    "hedge_score",
    "hedge_now_score",
    "l1_exit_score",
    "l2_exit_score",
    "hedged_exit_score",
    "recovered_score",
)

_OTHER_RULES: Mapping[str, str] = {
    "registered": "it was registered",
    "verified": "the terminal showed its position",
    "never_appeared": "the terminal never showed its ticket",
    HANDED_OVER: "DTMS got it from another manager",
}
"""Rules that no table has."""


def _fired(trade: Trade, parameters: Parameters) -> str:
    """The rule that led to the present state, when, and its condition."""
    words = _OTHER_RULES.get(trade.rule, trade.rule)
    for row in transitions.TABLE:
        if (row.rule, row.next) == (trade.rule, trade.state):
            words = row.when
    for event in broker_events.TABLE:
        if (event.event.value, event.next) == (trade.rule, trade.state):
            words = event.when
    came_from = f" from {trade.previous_state.value}" if trade.previous_state is not None else ""
    end = f" ({trade.closed_reason})" if trade.closed_reason is not None else ""
    return f"{trade.rule} at {clock(trade.state_since)}{came_from}{end}: {with_numbers(words, parameters)}"


def _missing(trade: Trade, score: Score | None, p: Parameters) -> Iterator[str]:
    """Readings that are not there, and what the score may not decide without them."""
    for c in trade.components:
        if not c.available:
            shared = "" if c.configured else "; not configured, so its weight is shared by the others"
            yield f"{c.name}: {c.reason}{shared}"
    if score is None:
        yield "the score: it was never computed"
        return
    for may, least, what in (
        (score.may_escalate, p.min_coverage_escalate, "worse"),
        (score.may_relax, p.min_coverage_relax, "better"),
    ):
        if not may:
            full = f"{least:.0%} are needed"
            full += " with structure, VWAP and momentum among them" if what == "better" else ""
            yield f"coverage {score.coverage:.0%}: {full} before the score makes a state {what}"


def _next(trade: Trade, score: Score | None, sight: Sight, parameters: Parameters) -> Iterator[str]:
    """What can happen to the trade, by which score, price or time; the nearest first."""
    owed = [_owed(o, trade, sight, parameters) for o in trade.obligations if o.status.live]
    if trade.state.final:
        yield from owed
        yield _OVER[trade.state]
        return
    if trade.verified_at is None:
        yield with_numbers(
            "the position must appear at the terminal; a ticket that is no working order is rejected after "
            "pending_reject_s connected seconds",
            parameters,
        )
        yield from owed
        return
    yield from _held(trade, sight, parameters)
    yield from owed
    yield from _scored(trade, sight, parameters)
    if not trade.armed:
        yield _arming(trade, sight, parameters)
    yield from _rows(trade, score, sight, parameters)


_OVER = {
    TradeState.CLOSED: "nothing more of the position, unless it is seen open again",
    TradeState.REJECTED: "nothing; the ticket may be registered again",
}


def _held(trade: Trade, sight: Sight, p: Parameters) -> Iterator[str]:
    """Why nothing is planned, moved or sent at the moment."""
    yield from _ordered(trade, sight)
    match trade.frozen:
        case Frozen.INTENT:
            yield with_numbers(
                "nothing until the broker's records show what became of an order without an answer, or no trace of it "
                "for settle_market_s connected seconds, with a dealer settle_request_s",
                p,
            )
        case Frozen.VERIFY:
            since = trade.missing_since if trade.missing_since is not None else sight.now
            yield (
                "nothing until the position, or a deal that closes it, is seen at the terminal; closed without proof "
                f"at {clock(since + p.verify_absence_s)} at the earliest, with {p.verify_absence_reads} good reads "
                f"({trade.missing_reads} so far)"
            )
        case None:
            pass
    if sight.tick is None or sight.view is None:
        yield "nothing until its market has been read"
    elif sight.now - sight.tick.time > p.tick_stale_s:
        quiet = "; the market was open at this time last week" if "feed_quiet" in trade.flags else ""
        yield f"nothing until a new quote arrives; the newest is {sight.now - sight.tick.time:.0f} s old{quiet}"
    if sight.view is not None and not policy.bars_are_fresh(sight.view, sight.now, p):
        yield "no evaluation until the first M5 bar of an open market has closed"


def _ordered(trade: Trade, sight: Sight) -> Iterator[str]:
    """What people have ordered: mode, owner, pause, news."""
    if sight.mode is Mode.OBSERVE:
        yield "DTMS only observes (mode = observe): what is owed is recorded and not sent"
    elif not ownership.may_act(trade, sight.mode):
        whose = f"it belongs to {trade.owner.value}" if trade.managed else "it was released"
        yield f"{whose}: what is owed is recorded and not sent"
    standing = sight.standing
    if standing.control is not Control.RUNNING:
        ends = "reset" if standing.halted else "resume"
        yield f"scored and not moved: DTMS is {standing.control.value} by {standing.by or 'somebody'}; {ends} ends it"
    if not sight.may_trade:
        yield "scored and not moved until programs may trade again at the terminal"
    due = [news for news in standing.news if news.covers(trade.symbol, sight.now)]
    if due:
        yield f"no hedge and no partial close until {clock(max(n.ends for n in due))}: {due[0].title}"


def _owed(o: Obligation, trade: Trade, sight: Sight, p: Parameters) -> str:
    """What becomes of an obligation, planned anew from what was seen last, and when."""
    tried = f", {o.attempts} sent so far" if o.attempts else ""
    owed = f"{o.kind.value} is owed ({o.reason}{tried})"
    if o.status is ObligationStatus.SENT:
        return f"{owed}: an order is on its way"
    when = f"not before {clock(o.next_try_at)}" if o.next_try_at > sight.now else "looked at in every cycle"
    if sight.scene is None:
        return f"{owed}: {_because(Answer.WAITS, o.waiting, p) + '; ' if o.waiting else ''}{when}"
    scene = replace(sight.scene, now=sight.now)
    return f"{owed}: {_planned(plan(trade, o, scene, 0, p), o, trade, scene, p)}; {when}"


def _planned(answer: Plan, o: Obligation, trade: Trade, scene: Scene, p: Parameters) -> str:
    match answer:
        case Send(order):
            return f"{_asked(order)} is asked for next"
        case Wait(reason):
            until = f" (until {clock(o.created_at + p.spread_defer_s)})" if reason == "spread_too_wide" else ""
            return _because(Answer.WAITS, reason, p) + until
        case Instead(reason):
            return _because(Answer.INSTEAD, reason, p) + _possible(o, trade, scene, p)
        case Satisfied(reason):
            return _because(Answer.DONE, reason, p)
        case Refuse(reason):
            return _because(Answer.GIVEN_UP, reason, p)
        case _:
            assert_never(answer)


def _because(answer: Answer, reason: str, p: Parameters) -> str:
    return f"it {answer.value}, because {with_numbers(REASONS[reason].words, p)} ({reason})"


def _possible(o: Obligation, trade: Trade, scene: Scene, p: Parameters) -> str:
    """From which price on breakeven can be set."""
    floor = stop_floor(scene, o, p)
    if o.kind is not ObligationKind.BREAKEVEN or floor is None:
        return ""
    from_here = breakeven_price(trade, scene) + trade.sign * floor
    return f"; possible once the price reaches {from_here:.{scene.spec.digits}f}"


def _asked(order: Order) -> str:
    match order:
        case ModifyStops():
            return f"stop {order.stop_loss}"
        case ClosePosition():
            return f"close {order.volume:g} lots of {order.ticket}"
        case OpenHedge():
            return f"{order.side.value} {order.volume:g} lots with stop {order.stop_loss}"
        case _:
            assert_never(order)


def _scored(trade: Trade, sight: Sight, p: Parameters) -> Iterator[str]:
    """When the score is computed next: by the clock at the latest, before that by the price."""
    view = sight.view
    if view is None:
        return
    at = view.m15_time + 2 * Timeframe.M15.seconds + p.bar_delay_s
    if at > sight.now:
        yield f"scored at {clock(at)} at the latest, when its M15 bar has closed"
    if trade.evaluate_again:
        due = view.m5_time + 2 * Timeframe.M5.seconds + p.bar_delay_s
        yield f"scored at {clock(due)}, when the next M5 bar has closed: its state is not settled yet"
    if trade.risk is not None and trade.entry_price is not None and not trade.below_half_r:
        lost = trade.entry_price + trade.sign * p.arm_loss_r * trade.risk
        yield f"scored at the next M5 close once the price reaches {lost:.{sight.digits}f} ({p.arm_loss_r:+}R)"
    events = list(_price_events(trade, view, sight.digits, p))
    if events:
        rests = (trade.event_deep_at or 0.0) + p.event_cooldown_s
        later = f", not before {clock(rests)}" if rests > sight.now else ""
        yield f"scored at the next M5 close once {', or '.join(events)}{later}"


def _price_events(trade: Trade, view: MarketView, digits: int, p: Parameters) -> Iterator[str]:
    if isinstance(view.atr, float) and trade.deep_price is not None:
        against = trade.deep_price - trade.sign * p.adverse_move_atr * view.atr
        yield f"the price reaches {against:.{digits}f}"
    if isinstance(view.structure, StructureReading):
        level = view.structure.swing_low if trade.sign > 0 else view.structure.swing_high
        if level is not None:
            yield f"an M5 bar closes {'below' if trade.sign > 0 else 'above'} {level:.{digits}f}"
    if isinstance(view.vwap, VwapReading) and view.vwap.flip != -trade.sign:
        yield f"VWAP ({view.vwap.vwap:.{digits}f}) flips against it"


def _arming(trade: Trade, sight: Sight, p: Parameters) -> str:
    words = f"scored and not moved until it is armed: at {p.arm_profit_r:+}R, {p.arm_loss_r:+}R"
    if trade.risk is not None and trade.entry_price is not None:
        levels = [trade.entry_price + trade.sign * r * trade.risk for r in (p.arm_profit_r, p.arm_loss_r)]
        words = f"{words} ({' and '.join(f'{level:.{sight.digits}f}' for level in levels)})"
    aged = sight.view.open_seconds_since(trade.opened_at or trade.registered_at) if sight.view is not None else 0.0
    return f"{words}, or after {open_market(p.arm_age_s - aged, sight.now)}"


def _rows(trade: Trade, score: Score | None, sight: Sight, p: Parameters) -> Iterator[str]:
    """The rows of the trade's state, with what each of them lacks."""
    if sight.view is None:
        for row in TABLE:
            if row.state is trade.state:
                yield f"{row.rule}: {with_numbers(row.when, p)}"
        return
    known = score or signals.judged(None, 0.0, (), p)
    seen = policy.evaluation(trade, sight.view, known, p)
    if seen.closing:
        yield "no score changes anything: closing everything is owed, or was found impossible"
        return
    outlook = Outlook(trade=trade, view=sight.view, seen=seen, now=sight.now, digits=sight.digits, parameters=p)
    yield from (foretold(row, outlook) for row in TABLE if row.state is trade.state)
