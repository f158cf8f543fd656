"""Every row of the tables that change a state: it fires, it does not a hair beside, and of two the right one wins."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
from domain_values import EURUSD, T0, P, market, owed, position, scene, trade
from hypothesis import given
from test_domain_transitions import EVALUATIONS, QUIET

from dtms_service.domain import broker_events, transitions
from dtms_service.domain.broker_events import BrokerEvent, happened, transition_event
from dtms_service.domain.parameters import Parameters
from dtms_service.domain.plan import Instead, Plan, Refuse, Satisfied, Wait, plan
from dtms_service.domain.policy import STOP_REMOVED, Scene
from dtms_service.domain.reasons import REASONS, Answer, with_numbers
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import HedgeLink, Obligation, ObligationKind, ObligationStatus, Trade
from dtms_service.domain.transitions import Row, next_row
from dtms_service.domain.values import Side, TradeMode
from dtms_service.domain.view import Missing

H, L1, L2 = TradeState.HEALTHY, TradeState.WARNING_L1, TradeState.WARNING_L2
HEDGED, RECOVERING, CLOSED = TradeState.HEDGED, TradeState.RECOVERING, TradeState.CLOSED
K, S, B = ObligationKind, ObligationStatus, BrokerEvent
NOW = T0 + 3605.0

Seen = dict[str, Any]

# engine.md E.1, read by hand. By state and rule: evaluations at the edge that fire it, and neighbours that do not.
EDGES: dict[tuple[TradeState, str], tuple[list[Seen], list[Seen]]] = {
    (H, "score_warns"): (
        [{"score": -2.0}],
        [{"score": -1.99}, {"score": -2.0, "may_escalate": False}, {"score": None}],
    ),
    (L1, "score_worsens"): (
        [{"score": -4.0}],
        [{"score": -3.99}, {"score": -4.0, "may_escalate": False}, {"score": None}],
    ),
    (L1, "score_calms"): (
        [{"score": 0.0, "dwell_s": 900.0}],
        [
            {"score": -0.01, "dwell_s": 900.0},
            {"score": 0.0, "dwell_s": 899.0},
            {"score": 0.0, "dwell_s": 900.0, "may_relax": False},
            {"score": None, "dwell_s": 900.0},
        ],
    ),
    (L2, "score_demands_hedge"): (
        [{"score": -8.0}, {"score": -6.0, "confirmations": 2}],
        [
            {"score": -7.99, "confirmations": 1},
            {"score": -8.0, "may_escalate": False},
            {"score": -8.0, "hedge_settled": True},
            {"score": -6.0, "confirmations": 2, "may_escalate": False},
            {"score": -6.0, "confirmations": 2, "hedge_settled": True},
            {"score": None, "confirmations": 2},
        ],
    ),
    (L2, "score_eases"): (
        [{"score": -2.0, "dwell_s": 900.0}],
        [
            {"score": -2.01, "dwell_s": 900.0},
            {"score": -2.0, "dwell_s": 899.0},
            {"score": -2.0, "dwell_s": 900.0, "may_relax": False},
            {"score": None, "dwell_s": 900.0},
        ],
    ),
    (HEDGED, "choch_against"): ([{"choch_against": True}], [{}]),
    (HEDGED, "flat_timer"): ([{"flat_over": True}, {"flat_over": True, "score": None}], [{}]),
    (HEDGED, "market_resumes"): (
        [{"break_with": True}, {"break_with": True, "may_relax": False}, {"calm_evaluations": 2}],
        [
            {"calm_evaluations": 1},
            {"calm_evaluations": 2, "may_relax": False},
            {"calm_evaluations": 2, "resuming": True},
            {"break_with": True, "resuming": True},
        ],
    ),
    (RECOVERING, "choch_against"): ([{"choch_against": True}], [{}]),
    (RECOVERING, "not_recovered"): (
        [{"recovery_over": True, "score": 0.99}],
        [
            {"recovery_over": True, "score": 1.0},
            {"recovery_over": False, "score": 0.99},
            {"recovery_over": True, "score": 0.99, "may_escalate": False},
            {"recovery_over": True, "score": None},  # R7
        ],
    ),
    (RECOVERING, "score_worsens"): (
        [{"score": -4.0}],
        [{"score": -3.99}, {"score": -4.0, "may_escalate": False}, {"score": None}],
    ),
    (RECOVERING, "recovered"): (
        [{"score": 1.0, "calm_evaluations": 2}, {"score": 1.0, "recovery_over": True}],
        [
            {"score": 0.99, "calm_evaluations": 2},
            {"score": 1.0, "calm_evaluations": 1},
            {"score": 1.0, "calm_evaluations": 2, "may_relax": False},
            {"score": 1.0, "recovery_over": True, "may_relax": False},
            {"score": None, "calm_evaluations": 2},
        ],
    ),
}

# Two rows of one state that hold at once, and which of them wins: E.1 "CHOCH beats timer", "timer beats score".
WINS: dict[tuple[TradeState, str, str], Seen] = {
    (L2, "score_demands_hedge", "score_eases"): {"score": -2.0, "confirmations": 2},  # what gets worse comes first
    (HEDGED, "choch_against", "flat_timer"): {"choch_against": True, "flat_over": True},
    (HEDGED, "choch_against", "market_resumes"): {"choch_against": True, "break_with": True},
    (HEDGED, "flat_timer", "market_resumes"): {"flat_over": True, "calm_evaluations": 2},
    (RECOVERING, "choch_against", "not_recovered"): {"choch_against": True, "recovery_over": True, "score": 0.5},
    (RECOVERING, "choch_against", "score_worsens"): {"choch_against": True, "score": -5.0},
    (RECOVERING, "choch_against", "recovered"): {"choch_against": True, "score": 5.0, "calm_evaluations": 2},
    (RECOVERING, "not_recovered", "score_worsens"): {"recovery_over": True, "score": -5.0},
}
NEVER_AT_ONCE = {
    (L1, "score_worsens", "score_calms"),
    (RECOVERING, "not_recovered", "recovered"),
    (RECOVERING, "score_worsens", "recovered"),
}


def rule(state: TradeState, seen: Seen) -> str | None:
    found = next_row(state, replace(QUIET, **seen), P)
    return None if found is None else found.rule


def row_of(state: TradeState, name: str) -> Row:
    (found,) = [row for row in transitions.TABLE if (row.state, row.rule) == (state, name)]
    return found


@pytest.mark.parametrize(("state", "name"), EDGES)
def test_a_row_fires_at_the_edge_of_its_guard_and_not_beside_it(state: TradeState, name: str) -> None:
    fires, beside = EDGES[state, name]
    assert [rule(state, seen) for seen in fires] == [name] * len(fires)
    assert name not in [rule(state, seen) for seen in beside]
    assert [rule(state, {**seen, "closing": True}) for seen in fires] == [None] * len(fires)


def test_every_row_has_its_edges_and_every_pair_of_a_state_its_winner() -> None:
    assert list(EDGES) == [(row.state, row.rule) for row in transitions.TABLE]
    pairs = [(a.state, a.rule, b.rule) for a, b in combinations(transitions.TABLE, 2) if a.state is b.state]
    assert set(WINS) | NEVER_AT_ONCE == set(pairs)


@pytest.mark.parametrize(("state", "first", "second"), WINS)
def test_of_two_rows_that_hold_the_first_of_the_table_fires(state: TradeState, first: str, second: str) -> None:
    seen = WINS[state, first, second]
    assert row_of(state, first).guard(replace(QUIET, **seen), P)
    assert row_of(state, second).guard(replace(QUIET, **seen), P)
    assert rule(state, seen) == first


@given(seen=EVALUATIONS)
def test_rows_that_exclude_each_other_never_hold_at_once(seen: transitions.Evaluation) -> None:
    for state, first, second in NEVER_AT_ONCE:
        assert not (row_of(state, first).guard(seen, P) and row_of(state, second).guard(seen, P))


# engine.md E.2, read by hand: what is seen, of what kind of trade, from which state to which. Everything else: nothing.
Moves = dict[TradeState, TradeState]
TO_CLOSE = (owed(K.CLOSE_HEDGE),)
ALL_OPEN = (H, L1, L2, HEDGED, RECOVERING)
MOVES: dict[str, tuple[BrokerEvent, Seen, Moves]] = {
    "a hedge fills": (B.HEDGE_FILLED, {}, dict.fromkeys((H, L1, L2, RECOVERING), HEDGED)),
    "a hedge of another ledger": (B.HEDGE_FOUND, {}, dict.fromkeys((H, L1, L2, RECOVERING), HEDGED)),
    "a part closed instead": (B.REDUCED, {}, {L2: HEDGED}),
    "the hedge is closed": (B.HEDGE_CLOSED, {}, {HEDGED: RECOVERING}),
    "others close what was to be closed": (B.HEDGE_GONE, {"obligations": TO_CLOSE}, {HEDGED: RECOVERING}),
    "others close it, S above -4": (B.HEDGE_GONE, {"score": -3.99}, {HEDGED: L1}),
    "others close it, S at -4": (B.HEDGE_GONE, {"score": -4.0}, {HEDGED: L2}),
    "others close it, no score": (B.HEDGE_GONE, {"score": None}, {HEDGED: L2}),
    "a refused order is no wish": (
        B.HEDGE_GONE,
        {"score": None, "obligations": (owed(K.CLOSE_HEDGE, status=S.REFUSED),)},
        {HEDGED: L2},
    ),
    "a stray to be closed is no wish": (
        B.HEDGE_GONE,
        {"score": None, "obligations": (owed(K.CLOSE_HEDGE, position=2003),)},
        {HEDGED: L2},
    ),
    "the account is stopped out": (B.HEDGE_STOPPED_OUT, {"score": 5.0}, {HEDGED: L2}),
    "the position closes": (B.POSITION_CLOSED, {}, dict.fromkeys(ALL_OPEN, CLOSED)),
    "a closed one is open": (B.SEEN_OPEN_AGAIN, {}, {CLOSED: H}),
}
ENDS: dict[BrokerEvent, set[ObligationKind]] = {
    B.HEDGE_FILLED: {K.PARTIAL_CLOSE},
    B.HEDGE_FOUND: {K.PARTIAL_CLOSE, K.HEDGE},
    B.REDUCED: {K.PARTIAL_CLOSE},
    B.HEDGE_CLOSED: {K.CLOSE_HEDGE},
    B.HEDGE_GONE: {K.CLOSE_HEDGE},
    B.HEDGE_STOPPED_OUT: {K.CLOSE_HEDGE},
    B.POSITION_CLOSED: set(K),
    B.SEEN_OPEN_AGAIN: set(),
}
"""What is due ends with these; what was sent settles by itself, except of a position that is gone."""


def before(state: TradeState, **changes: Any) -> Trade:
    values = {"score": -7.0, "confirmations": 1, "calm_evaluations": 1, "evaluate_again": True}
    values |= {"flat_left_s": 10.0, "recovery_left_s": 10.0}
    return trade(state=state, episode=4, flags=frozenset({"hedge_unavailable"}), **{**values, **changes})


@pytest.mark.parametrize("case", MOVES)
@pytest.mark.parametrize("state", list(TradeState))
def test_what_the_broker_did_leads_where_the_table_says_and_nowhere_else(case: str, state: TradeState) -> None:
    event, changes, moves = MOVES[case]
    of = before(state, **changes)
    after = happened(of, event, NOW, P)
    if state not in moves:
        assert after is of
        assert transition_event(of, after, NOW) == ()
        return
    assert (after.state, after.previous_state, after.rule) == (moves[state], state, event.value)
    (told,) = transition_event(of, after, NOW)
    assert (told.body["from"], told.body["to"], told.body["rule"]) == (state, moves[state], event)


def test_every_row_has_a_case() -> None:
    cased = {(event, after) for event, _, moves in MOVES.values() for after in moves.values()}
    assert cased == {(row.event, row.next) for row in broker_events.TABLE}
    states = {(event, state) for event, _, moves in MOVES.values() for state in moves}
    assert states == {(row.event, state) for row in broker_events.TABLE for state in row.states}


@pytest.mark.parametrize("case", MOVES)
def test_a_state_begins_with_its_own_timer_and_counters(case: str) -> None:
    event, changes, moves = MOVES[case]
    timers = {HEDGED: (4500.0, None, 1), RECOVERING: (None, 1800.0, 0)}
    for state, reached in moves.items():
        after = happened(before(state, **changes), event, NOW, P)
        assert (after.state_since, after.episode, after.flags) == (NOW, 5, frozenset())
        assert (after.confirmations, after.calm_evaluations, after.evaluate_again) == (0, 0, False)
        assert (after.flat_left_s, after.recovery_left_s, after.hedges) == timers.get(reached, (None, None, 0))


@pytest.mark.parametrize("event", list(B))
def test_what_lost_its_object_ends_and_what_was_sent_settles_by_itself(event: BrokerEvent) -> None:
    (_, _, moves) = next(case for case in MOVES.values() if case[0] is event)
    kinds = [K.TIGHTEN_STOP, K.PARTIAL_CLOSE, K.BREAKEVEN, K.HEDGE, K.CLOSE_HEDGE, K.CLOSE_ALL]
    for state in moves:
        kept = kinds if state is not HEDGED or event is B.POSITION_CLOSED else kinds[:-1]  # else it changes no state
        due = happened(before(state, obligations=tuple(owed(kind) for kind in kept)), event, NOW, P)
        assert {o.kind for o in due.obligations if o.status is S.SUPERSEDED} == ENDS[event] & set(kept)
        sent = before(state, obligations=tuple(owed(kind, status=S.SENT) for kind in kept))
        over = {o.kind for o in happened(sent, event, NOW, P).obligations if o.status is not S.SENT}
        assert over == (set(kept) if event is B.POSITION_CLOSED else set())
        done = before(state, obligations=(owed(K.PARTIAL_CLOSE, status=S.DONE),))
        assert happened(done, event, NOW, P).obligations == done.obligations


@pytest.mark.parametrize("event", [B.HEDGE_CLOSED, B.HEDGE_GONE, B.HEDGE_STOPPED_OUT])
def test_while_everything_is_closed_the_end_of_the_hedge_changes_no_state(event: BrokerEvent) -> None:
    closing = before(HEDGED, obligations=(owed(K.CLOSE_ALL),))
    assert happened(closing, event, NOW, P) is closing
    assert happened(closing, B.POSITION_CLOSED, NOW, P).state is CLOSED
    over = before(HEDGED, obligations=(owed(K.CLOSE_ALL, status=S.REFUSED),))
    assert happened(over, event, NOW, P).state is not HEDGED


HELD = position(stop_loss=1.09)
"""A BUY of one lot at 1.1 with its stop ten ATRs away; spread 0.0001, R 0.005."""
LINK = HedgeLink(ticket=2, identifier=2, side=Side.SELL, volume=0.5, price_open=1.1, stop_loss=1.1015)
SMALL = position(stop_loss=1.09, volume=0.01)
KIND_OF = {Wait: Answer.WAITS, Satisfied: Answer.DONE, Instead: Answer.INSTEAD, Refuse: Answer.GIVEN_UP}

# For every reason of a plan: what is owed, the trade's and the market's facts, and the answer that they lead to.
Owed = tuple[ObligationKind, Seen, Seen, Scene]
WHY: dict[tuple[str, Answer], Owed] = {
    ("quote_is_old", Answer.WAITS): (K.TIGHTEN_STOP, {}, {}, scene(HELD, 1.1, tick_age=61.0)),
    ("bars_are_old", Answer.WAITS): (K.TIGHTEN_STOP, {}, {}, scene(HELD, 1.1, view=market(NOW - 900))),
    ("no_atr", Answer.WAITS): (K.TIGHTEN_STOP, {}, {}, scene(HELD, 1.1, view=market(atr=Missing("warming up")))),
    ("hedge_not_seen", Answer.WAITS): (K.CLOSE_HEDGE, {}, {"hedge": LINK}, scene(HELD, 1.1)),
    ("other_hedge_closes", Answer.WAITS): (K.HEDGE, {}, {}, replace(scene(HELD, 1.1), own={2: position(ticket=2)})),
    ("trading_disabled_on_symbol", Answer.WAITS): (
        K.CLOSE_ALL,
        {},
        {},
        scene(HELD, 1.1, spec=replace(EURUSD, trade_mode=TradeMode.DISABLED)),
    ),
    ("inside_freeze_level", Answer.WAITS): (
        K.CLOSE_ALL,
        {},
        {},
        scene(HELD, 1.0903, spec=replace(EURUSD, freeze_level=30)),
    ),
    ("spread_too_wide", Answer.WAITS): (K.PARTIAL_CLOSE, {"created_at": NOW}, {}, scene(HELD, 1.1, spread=0.00021)),
    ("news_are_due", Answer.WAITS): (K.PARTIAL_CLOSE, {}, {}, replace(scene(HELD, 1.1), news=True)),
    ("older_position_closes_first", Answer.WAITS): (K.CLOSE_ALL, {}, {}, replace(scene(HELD, 1.1), fifo_blocked=True)),
    ("older_position_closes_first", Answer.INSTEAD): (
        K.PARTIAL_CLOSE,
        {},
        {},
        replace(scene(HELD, 1.1), fifo_blocked=True),
    ),
    # 0.3 R of 0.005 below 1.1 is 1.0985; 0.05 R less is not worth an order.
    ("stop_is_tight_enough", Answer.DONE): (K.TIGHTEN_STOP, {}, {}, scene(replace(HELD, stop_loss=1.09826), 1.1)),
    ("stop_was_set_again", Answer.DONE): (K.TIGHTEN_STOP, {"reason": STOP_REMOVED}, {}, scene(HELD, 1.1)),
    ("stop_is_at_breakeven", Answer.DONE): (K.BREAKEVEN, {}, {}, scene(replace(HELD, stop_loss=1.1001), 1.11)),
    ("partial_close_done_before", Answer.DONE): (K.PARTIAL_CLOSE, {}, {"partials": 1}, scene(HELD, 1.1)),
    ("volume_is_reduced_already", Answer.DONE): (K.PARTIAL_CLOSE, {"target": 0.995}, {}, scene(HELD, 1.1)),
    ("hedge_is_open", Answer.DONE): (K.HEDGE, {}, {"hedge": LINK}, scene(HELD, 1.1)),
    ("stop_near", Answer.DONE): (K.HEDGE, {}, {}, scene(HELD, 1.09099)),
    ("no_hedge_is_open", Answer.DONE): (K.CLOSE_HEDGE, {}, {}, scene(HELD, 1.1)),
    ("it_is_closed", Answer.DONE): (K.CLOSE_HEDGE, {"position": 9}, {}, scene(HELD, 1.1)),
    ("closed_already", Answer.DONE): (K.CLOSE_ALL, {}, {"closed_by_us": 1.0}, scene(HELD, 1.1)),
    # Breakeven is 1.1001; half an ATR and the spread beyond it is 1.1007.
    ("breakeven_out_of_reach", Answer.INSTEAD): (K.BREAKEVEN, {}, {}, scene(HELD, 1.10069)),
    ("too_small_for_a_partial_close", Answer.INSTEAD): (K.PARTIAL_CLOSE, {}, {}, scene(SMALL, 1.1)),
    ("too_small_for_a_hedge", Answer.INSTEAD): (K.HEDGE, {}, {}, scene(SMALL, 1.1)),
    ("no_opposite_position_here", Answer.INSTEAD): (K.HEDGE, {}, {}, replace(scene(HELD, 1.1), opposite=False)),
    ("no_price_below_zero", Answer.GIVEN_UP): (K.TIGHTEN_STOP, {}, {}, scene(position(), 0.0005)),
}
# One step beside: the same with this instead, and the reason is not given.
BESIDE: dict[tuple[str, Answer], Owed] = {
    ("quote_is_old", Answer.WAITS): (K.TIGHTEN_STOP, {}, {}, scene(HELD, 1.1, tick_age=60.0)),
    ("bars_are_old", Answer.WAITS): (K.CLOSE_ALL, {}, {}, scene(HELD, 1.1, view=market(NOW - 900))),
    ("inside_freeze_level", Answer.WAITS): (
        K.CLOSE_ALL,
        {},
        {},
        scene(HELD, 1.09031, spec=replace(EURUSD, freeze_level=30)),
    ),
    ("spread_too_wide", Answer.WAITS): (
        K.PARTIAL_CLOSE,
        {"created_at": NOW - 300},
        {},
        scene(HELD, 1.1, spread=0.00021),
    ),
    ("news_are_due", Answer.WAITS): (K.TIGHTEN_STOP, {}, {}, replace(scene(HELD, 1.1), news=True)),
    ("stop_is_tight_enough", Answer.DONE): (K.TIGHTEN_STOP, {}, {}, scene(replace(HELD, stop_loss=1.09824), 1.1)),
    ("stop_was_set_again", Answer.DONE): (K.TIGHTEN_STOP, {}, {}, scene(HELD, 1.1)),
    ("stop_near", Answer.DONE): (K.HEDGE, {}, {}, scene(HELD, 1.09101)),
    ("breakeven_out_of_reach", Answer.INSTEAD): (K.BREAKEVEN, {}, {}, scene(HELD, 1.10071)),
}


def answered(owes: Owed, parameters: Parameters) -> tuple[str, Answer] | None:
    kind, of_obligation, of_trade, where = owes
    due: Obligation = owed(kind, **of_obligation)
    of = trade(where.position, risk=0.005, obligations=(due,), **of_trade)
    found: Plan = plan(of, due, where, 1, parameters)
    return None if type(found) not in KIND_OF else (found.reason, KIND_OF[type(found)])  # type: ignore[union-attr]


@pytest.mark.parametrize("why", WHY, ids="-".join)
def test_every_reason_of_a_plan_is_given_where_it_holds_and_not_beside_it(why: tuple[str, Answer]) -> None:
    style = replace(P, hedge_style="opposite") if why[0] == "no_opposite_position_here" else P
    assert answered(WHY[why], style) == why
    if why in BESIDE:
        assert answered(BESIDE[why], style) != why


def test_every_reason_has_its_scene() -> None:
    told = {(reason, answer) for reason, why in REASONS.items() for answer in why.answers}
    assert set(WHY) | {("send_paused", Answer.WAITS)} == told  # the pace of the account is no matter of a plan


def test_a_reason_is_told_with_the_numbers_of_its_settings() -> None:
    assert with_numbers(REASONS["quote_is_old"].words, P) == "the newest quote is older than tick_stale_s (60)"
    assert with_numbers("by hedge_style, in retry_backoff_s.", P) == (
        "by hedge_style (auto), in retry_backoff_s ((5.0, 15.0, 45.0, 135.0))."
    )
