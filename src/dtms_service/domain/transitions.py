"""The state machine as a literal table: everything about evaluation transitions is here, and nothing else is.

Table E.1 of ``engine.md``. One evaluation makes at most one transition: the first row of the trade's state whose guard
holds. Rows read an `Evaluation` and nothing else, so the same table serves live cycles, replay and the documentation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dtms_service.domain.parameters import Parameters
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import ObligationKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What a row may look at. Scores are seen from the trade's side; times are seconds of open market (R40)."""

    score: float | None
    may_escalate: bool
    may_relax: bool
    dwell_s: float
    confirmations: int
    """Evaluations on different M5 closes in a row, this one included, that asked for a hedge."""
    hedge_settled: bool
    """A hedge was opened, refused or is on its way in this episode already, or the trade had its last one."""
    choch_against: bool
    """A change of character against the trade, newer than the state."""
    break_with: bool
    """A break of structure or change of character with the trade, newer than the state."""
    calm_evaluations: int
    """M15 evaluations in a row, this one included, above the score that ends the state."""
    flat_over: bool
    recovery_over: bool
    closing: bool
    """Closing everything is owed already, or was found impossible: no score changes that."""
    resuming: bool
    """The same of closing the hedge: only closing everything may still overtake it."""


Guard = Callable[[Evaluation, Parameters], bool]


def _worse_than(e: Evaluation, threshold: float) -> bool:
    return e.score is not None and e.may_escalate and e.score <= threshold


def _better_than(e: Evaluation, threshold: float, p: Parameters) -> bool:
    return e.score is not None and e.may_relax and e.score >= threshold and e.dwell_s >= p.min_dwell_s


def _warn(e: Evaluation, p: Parameters) -> bool:
    return _worse_than(e, p.l1_score)


def _worsen(e: Evaluation, p: Parameters) -> bool:
    return _worse_than(e, p.l2_score)


def _calm(e: Evaluation, p: Parameters) -> bool:
    return _better_than(e, p.l1_exit_score, p)


def _ease(e: Evaluation, p: Parameters) -> bool:
    return _better_than(e, p.l2_exit_score, p)


def _hedge(e: Evaluation, p: Parameters) -> bool:
    if e.hedge_settled or not e.may_escalate or e.score is None:
        return False
    return e.score <= p.hedge_now_score or e.confirmations >= p.hedge_confirmations


def _choch_against(e: Evaluation, _: Parameters) -> bool:
    return e.choch_against


def _flat_over(e: Evaluation, _: Parameters) -> bool:
    return e.flat_over


def _resume(e: Evaluation, p: Parameters) -> bool:
    if e.resuming:
        return False
    return e.break_with or (e.may_relax and e.calm_evaluations >= p.calm_evaluations)


def _recovered(e: Evaluation, p: Parameters) -> bool:
    if e.score is None or e.score < p.recovered_score or not e.may_relax:
        return False
    return e.recovery_over or e.calm_evaluations >= p.calm_evaluations


def _not_recovered(e: Evaluation, p: Parameters) -> bool:
    # R7: no score, no close; nor on evidence too thin to spend money on (B5).
    return e.recovery_over and e.score is not None and e.may_escalate and e.score < p.recovered_score


@dataclass(frozen=True, slots=True)
class Row:
    """One row: from ``state`` by ``rule`` when ``guard`` holds; ``when`` says the guard in words for people.

    ``next`` is entered at once; where it equals ``state`` the effect it ``owes`` must be confirmed by the broker first.
    """

    state: TradeState
    rule: str
    when: str
    guard: Guard
    next: TradeState
    owes: tuple[ObligationKind, ...] = ()
    cancels: frozenset[ObligationKind] = frozenset()
    """Kinds whose unsent obligations end here; what gets worse cancels nothing."""


_H, _L1, _L2 = TradeState.HEALTHY, TradeState.WARNING_L1, TradeState.WARNING_L2
_HEDGED, _RECOVERING = TradeState.HEDGED, TradeState.RECOVERING
_O = ObligationKind
_ALL = frozenset(ObligationKind)

TABLE: tuple[Row, ...] = (
    Row(_H, "score_warns", "S <= l1_score", _warn, _L1, (_O.TIGHTEN_STOP,)),
    Row(_L1, "score_worsens", "S <= l2_score", _worsen, _L2, (_O.PARTIAL_CLOSE, _O.BREAKEVEN)),
    Row(_L1, "score_calms", "S >= l1_exit_score after min_dwell_s", _calm, _H, cancels=_ALL),
    Row(_L2, "score_demands_hedge", "S <= hedge_now_score, or hedge asked for twice", _hedge, _L2, (_O.HEDGE,)),
    Row(
        _L2,
        "score_eases",
        "S >= l2_exit_score after min_dwell_s",
        _ease,
        _L1,
        cancels=frozenset({_O.HEDGE, _O.PARTIAL_CLOSE}),
    ),
    Row(_HEDGED, "choch_against", "change of character against the trade", _choch_against, _HEDGED, (_O.CLOSE_ALL,)),
    Row(_HEDGED, "flat_timer", "the flat timer is over", _flat_over, _HEDGED, (_O.CLOSE_ALL,)),
    Row(
        _HEDGED,
        "market_resumes",
        "a break with the trade, or two calm evaluations",
        _resume,
        _HEDGED,
        (_O.CLOSE_HEDGE,),
    ),
    Row(
        _RECOVERING,
        "choch_against",
        "change of character against the trade",
        _choch_against,
        _RECOVERING,
        (_O.CLOSE_ALL,),
    ),
    Row(  # before the scores: a timer beats a score in the same cycle
        _RECOVERING,
        "not_recovered",
        "the deadline passed below recovered_score",
        _not_recovered,
        _RECOVERING,
        (_O.CLOSE_ALL,),
    ),
    Row(_RECOVERING, "score_worsens", "S <= l2_score", _worsen, _L2, (_O.TIGHTEN_STOP, _O.BREAKEVEN)),
    Row(
        _RECOVERING,
        "recovered",
        "S >= recovered_score twice, or at the deadline",
        _recovered,
        _H,
        cancels=_ALL - {_O.BREAKEVEN},
    ),
)


def next_row(state: TradeState, evaluation: Evaluation, parameters: Parameters) -> Row | None:
    """The row that fires for a trade in ``state``, or None when nothing does."""
    if evaluation.closing:
        return None
    for row in TABLE:
        if row.state is state and row.guard(evaluation, parameters):
            return row
    return None
