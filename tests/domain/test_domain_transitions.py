from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from domain_values import P
from hypothesis import given
from hypothesis import strategies as st

from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import ObligationKind
from dtms_service.domain.transitions import TABLE, Evaluation, Row, next_row

H, L1, L2 = TradeState.HEALTHY, TradeState.WARNING_L1, TradeState.WARNING_L2
HEDGED, RECOVERING = TradeState.HEDGED, TradeState.RECOVERING
K = ObligationKind

QUIET = Evaluation(
    score=-1.0,
    may_escalate=True,
    may_relax=True,
    dwell_s=10_000.0,
    confirmations=0,
    hedge_settled=False,
    choch_against=False,
    break_with=False,
    calm_evaluations=0,
    flat_over=False,
    recovery_over=False,
    closing=False,
    resuming=False,
)
"""A full, settled evaluation between all thresholds."""

EVALUATIONS = st.builds(
    Evaluation,
    score=st.none() | st.floats(-20, 20),
    may_escalate=st.booleans(),
    may_relax=st.booleans(),
    dwell_s=st.floats(0, 20_000),
    confirmations=st.integers(0, 5),
    hedge_settled=st.booleans(),
    choch_against=st.booleans(),
    break_with=st.booleans(),
    calm_evaluations=st.integers(0, 5),
    flat_over=st.booleans(),
    recovery_over=st.booleans(),
    closing=st.booleans(),
    resuming=st.booleans(),
)


def row(state: TradeState, **seen: object) -> Row | None:
    return next_row(state, replace(QUIET, **seen), P)


def rule(state: TradeState, **seen: object) -> str | None:
    found = row(state, **seen)
    return None if found is None else found.rule


def test_the_table_is_that_of_the_specification():
    # engine.md E.1, read by hand: state, rule, next, what is owed. Where next equals the state the broker decides.
    assert [(r.state, r.rule, r.next, r.owes) for r in TABLE] == [
        (H, "score_warns", L1, (K.TIGHTEN_STOP,)),
        (L1, "score_worsens", L2, (K.PARTIAL_CLOSE, K.BREAKEVEN)),
        (L1, "score_calms", H, ()),
        (L2, "score_demands_hedge", L2, (K.HEDGE,)),
        (L2, "score_eases", L1, ()),
        (HEDGED, "choch_against", HEDGED, (K.CLOSE_ALL,)),
        (HEDGED, "flat_timer", HEDGED, (K.CLOSE_ALL,)),
        (HEDGED, "market_resumes", HEDGED, (K.CLOSE_HEDGE,)),
        (RECOVERING, "choch_against", RECOVERING, (K.CLOSE_ALL,)),
        (RECOVERING, "not_recovered", RECOVERING, (K.CLOSE_ALL,)),  # timer beats score
        (RECOVERING, "score_worsens", L2, (K.TIGHTEN_STOP, K.BREAKEVEN)),
        (RECOVERING, "recovered", H, ()),
    ]


@pytest.mark.parametrize(
    ("state", "score", "expected"),
    [
        (H, 0.0, None),
        (H, -1.99, None),
        (H, -2.0, "score_warns"),
        (H, -9.0, "score_warns"),  # one level per evaluation
        (L1, -4.0, "score_worsens"),
        (L1, -3.99, None),
        (L1, -0.01, None),
        (L1, 0.0, "score_calms"),
        (L2, -7.99, None),
        (L2, -8.0, "score_demands_hedge"),
        (L2, -2.01, None),
        (L2, -2.0, "score_eases"),
        (L2, 10.0, "score_eases"),  # never to HEALTHY directly
        (RECOVERING, -4.0, "score_worsens"),
        (RECOVERING, -3.99, None),
        (RECOVERING, 10.0, None),  # one evaluation is not enough
    ],
)
def test_scores_move_a_trade_at_their_thresholds(state, score, expected):
    assert rule(state, score=score) == expected


def test_a_hedge_is_asked_for_on_the_second_confirmation_and_only_once():
    assert rule(L2, score=-6.0, confirmations=1) is None
    assert rule(L2, score=-6.0, confirmations=2) == "score_demands_hedge"
    assert rule(L2, score=-9.0, confirmations=2, hedge_settled=True) is None


@pytest.mark.parametrize("state", [H, L1, L2, RECOVERING])
def test_too_little_coverage_never_escalates(state):
    assert rule(state, score=-10.0, may_escalate=False, confirmations=5) is None


@pytest.mark.parametrize(("state", "score"), [(L1, 3.0), (L2, 3.0), (RECOVERING, 3.0)])
def test_missing_data_never_stands_the_guard_down(state, score):
    assert rule(state, score=score, may_relax=False, calm_evaluations=2) is None


@pytest.mark.parametrize(("state", "score"), [(L1, 3.0), (L2, -1.0)])
def test_a_state_lasts_one_m15_bar_of_open_market_before_it_eases(state, score):
    assert rule(state, score=score, dwell_s=899.0) is None
    assert rule(state, score=score, dwell_s=900.0) is not None


@pytest.mark.parametrize("state", [H, L1, L2, RECOVERING])
@pytest.mark.parametrize("recovery_over", [False, True])
def test_without_a_score_nothing_moves_and_nothing_is_closed(state, recovery_over):
    # B5: no score is never 0.0; R7: no score, no close.
    unread = {"score": None, "confirmations": 5, "calm_evaluations": 0, "recovery_over": recovery_over}
    assert rule(state, **unread) is None


def test_a_hedged_trade_closes_on_a_change_of_character_or_its_timer_and_resumes_on_a_break_with_it():
    assert rule(HEDGED, choch_against=True, flat_over=True, break_with=True) == "choch_against"
    assert rule(HEDGED, flat_over=True, break_with=True) == "flat_timer"
    assert rule(HEDGED, break_with=True) == "market_resumes"
    assert rule(HEDGED, score=0.0, calm_evaluations=2) == "market_resumes"
    assert rule(HEDGED, score=0.0, calm_evaluations=2, may_relax=False) is None
    assert rule(HEDGED, score=-9.0, confirmations=5) is None


def test_a_hedged_trade_needs_no_score_to_end_by_its_timer():
    assert rule(HEDGED, score=None, flat_over=True) == "flat_timer"


@pytest.mark.parametrize(
    ("score", "expected"),
    [(1.0, "recovered"), (5.0, "recovered"), (0.99, "not_recovered"), (-3.0, "not_recovered"), (-5.0, "not_recovered")],
)
def test_the_deadline_of_a_recovering_trade_decides_by_its_score(score, expected):
    assert rule(RECOVERING, recovery_over=True, score=score) == expected


def test_a_recovering_trade_recovers_early_on_two_good_evaluations():
    assert rule(RECOVERING, score=1.0, calm_evaluations=1) is None
    assert rule(RECOVERING, score=1.0, calm_evaluations=2) == "recovered"


def test_a_recovering_trade_with_a_good_but_thin_score_is_not_closed_at_its_deadline():
    # E.1 closes at S < +1 only; B5: thin evidence stands no guard down either. So it stays.
    assert rule(RECOVERING, recovery_over=True, score=5.0, may_relax=False) is None


def test_a_recovering_trade_is_not_closed_on_a_score_that_may_not_spend_money():
    # E.1 "any: insufficient coverage: same"; C-18: no closing order because data is missing.
    assert rule(RECOVERING, recovery_over=True, score=-5.0, may_escalate=False, may_relax=False) is None


def test_a_change_of_character_ends_a_recovering_trade_before_its_timer_does():
    assert rule(RECOVERING, choch_against=True, recovery_over=True, score=5.0) == "choch_against"


@given(state=st.sampled_from([HEDGED, RECOVERING]), seen=EVALUATIONS)
def test_a_trade_that_is_closing_is_not_evaluated_any_more(state, seen):
    assert next_row(state, replace(seen, closing=True), P) is None


@given(seen=EVALUATIONS)
def test_a_hedge_that_is_being_closed_is_not_closed_twice(seen):
    found = next_row(HEDGED, replace(seen, resuming=True), P)
    assert found is None or found.owes == (K.CLOSE_ALL,)


@pytest.mark.parametrize("state", [TradeState.PENDING, TradeState.CLOSED, TradeState.REJECTED])
@given(seen=EVALUATIONS)
def test_a_trade_that_is_not_open_never_moves(state, seen):
    assert next_row(state, seen, P) is None


@given(state=st.sampled_from(TradeState), seen=EVALUATIONS)
def test_an_evaluation_fires_at_most_one_row_and_it_is_the_first_that_holds(state, seen):
    found = next_row(state, seen, P)
    holding = [r for r in TABLE if r.state is state and r.guard(seen, P)]
    if found is not None:
        assert found is holding[0]
        assert found.state is state


LEVEL = {H: 0, L1: 1, L2: 2, HEDGED: 3}


@given(state=st.sampled_from([H, L1, L2]), seen=EVALUATIONS)
def test_one_evaluation_moves_a_trade_by_one_level_at_most(state, seen):
    found = next_row(state, seen, P)
    if found is not None:
        assert abs(LEVEL[found.next] - LEVEL[state]) <= 1


@given(seen=EVALUATIONS, state=st.sampled_from([H, L1]), worse=st.floats(0, 10))
def test_a_worse_score_never_leads_to_a_better_state(seen, state, worse):
    if seen.score is None:
        return
    before = next_row(state, seen, P)
    after = next_row(state, replace(seen, score=seen.score - worse), P)
    reached = [LEVEL[r.next] if r is not None else LEVEL[state] for r in (before, after)]
    assert all(a <= b for a, b in pairwise(reached))


def test_easing_cancels_what_engine_md_says_and_nothing_else():
    cancelled = {(r.state, r.rule): r.cancels for r in TABLE if r.cancels}
    assert cancelled == {
        (L1, "score_calms"): frozenset(K),  # "cancel unsent obligations; SL stays"
        (L2, "score_eases"): frozenset({K.HEDGE, K.PARTIAL_CLOSE}),  # "cancel unsent hedge/partial"
        (RECOVERING, "recovered"): frozenset(K) - {K.BREAKEVEN},  # HEALTHY retries breakeven
    }
