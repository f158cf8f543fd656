"""What each row of the transition table still lacks, in words: a score, evidence, a price, a count or a time.

A row lacks nothing exactly when its guard holds; a property test holds the two together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from dtms_service.domain.parameters import Parameters
from dtms_service.domain.reasons import with_numbers
from dtms_service.domain.signals import NEEDED_TO_RELAX
from dtms_service.domain.trade import Trade
from dtms_service.domain.transitions import Evaluation, Row
from dtms_service.domain.view import MarketView, Missing, StructureReading


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """A trade, its market and the evaluation that the table would read. ``now`` is the engine clock."""

    trade: Trade
    view: MarketView
    seen: Evaluation
    now: float
    digits: int
    """Decimals of the symbol's prices."""
    parameters: Parameters


def foretold(row: Row, of: Outlook) -> str:
    """One line about ``row``: where it leads, what it owes, and what it lacks."""
    owes = ", ".join(kind.value for kind in row.owes)
    goes = owes if row.next is row.state else f"{row.next.value}{' with ' + owes if owes else ''}"
    lacking = lacks(row, of)
    needs = f"needs {'; '.join(lacking)}" if lacking else "holds, and is decided by the next evaluation"
    return f"{goes} ({row.rule}) {needs}"


def lacks(row: Row, of: Outlook) -> tuple[str, ...]:
    """What must come before ``row`` fires; nothing when its guard holds."""
    return tuple(_LACKS[row.rule](of))


def _worse(of: Outlook, name: str) -> Iterator[str]:
    yield from _evidence_to_escalate(of)
    if of.seen.score is None or of.seen.score > getattr(of.parameters, name):
        yield _score(of, "<=", name)


def _better(of: Outlook, name: str) -> Iterator[str]:
    yield from _evidence_to_relax(of)
    if of.seen.score is None or of.seen.score < getattr(of.parameters, name):
        yield _score(of, ">=", name)
    left = of.parameters.min_dwell_s - of.seen.dwell_s
    if left > 0:
        yield f"{open_market(left, of.now)} in this state"


def _hedge(of: Outlook) -> Iterator[str]:
    e, p = of.seen, of.parameters
    if e.hedge_settled:
        had = of.trade.hedges >= p.max_hedges
        yield "another trade: this one had its hedge" if had else "another state: a hedge was owed in this one already"
    yield from _evidence_to_escalate(of)
    if e.score is None:
        yield _score(of, "<=", "hedge_now_score")
    elif e.score > p.hedge_now_score and e.confirmations < p.hedge_confirmations:
        yield (
            f"{_score(of, '<=', 'hedge_now_score')}, or {with_numbers('S <= hedge_score', p)} (flip and volume both "
            f"against it: {with_numbers('l2_score', p)}) at {p.hedge_confirmations} M5 closes in a row, "
            f"{e.confirmations} so far"
        )


def _choch_against(of: Outlook) -> Iterator[str]:
    if of.seen.choch_against:
        return
    structure = of.view.structure
    if isinstance(structure, Missing):
        yield f"a change of character against it, and structure cannot be read ({structure.reason})"
    elif structure.trend != of.trade.sign:
        yield "a change of character against it: a break with it comes first, then one against it"
    else:
        yield f"a change of character against it: {_break(structure, -of.trade.sign, of)}"


def _resume(of: Outlook) -> Iterator[str]:
    e, p = of.seen, of.parameters
    if e.resuming:
        yield "nothing: closing the hedge is owed already"
    if e.break_with or (e.may_relax and e.calm_evaluations >= p.calm_evaluations):
        return
    structure = of.view.structure
    broken = "a break with it" if isinstance(structure, Missing) else _break(structure, of.trade.sign, of)
    yield f"{broken}, or {_calm(of, 'hedged_exit_score')}"


def _recovered(of: Outlook) -> Iterator[str]:
    e, p = of.seen, of.parameters
    yield from _evidence_to_relax(of)
    if e.score is None or e.score < p.recovered_score:
        yield _score(of, ">=", "recovered_score")
    if not e.recovery_over and e.calm_evaluations < p.calm_evaluations:
        yield f"{_calm(of, 'recovered_score')}, or {_timer(of, of.trade.recovery_left_s)}"


def _not_recovered(of: Outlook) -> Iterator[str]:
    if not of.seen.recovery_over:
        yield _timer(of, of.trade.recovery_left_s)
    yield from _evidence_to_escalate(of)
    if of.seen.score is None or of.seen.score >= of.parameters.recovered_score:
        yield _score(of, "<", "recovered_score")


def _flat_over(of: Outlook) -> Iterator[str]:
    if not of.seen.flat_over:
        yield _timer(of, of.trade.flat_left_s)


_LACKS: Mapping[str, Callable[[Outlook], Iterator[str]]] = {
    "score_warns": lambda of: _worse(of, "l1_score"),
    "score_worsens": lambda of: _worse(of, "l2_score"),
    "score_calms": lambda of: _better(of, "l1_exit_score"),
    "score_eases": lambda of: _better(of, "l2_exit_score"),
    "score_demands_hedge": _hedge,
    "choch_against": _choch_against,
    "flat_timer": _flat_over,
    "market_resumes": _resume,
    "not_recovered": _not_recovered,
    "recovered": _recovered,
}


def _score(of: Outlook, sign: str, name: str) -> str:
    score, threshold = of.seen.score, getattr(of.parameters, name)
    is_now = "there is none now" if score is None else f"now {score:.2f}, {abs(score - threshold):.2f} away"
    return f"S {sign} {threshold:g} ({name}; {is_now})"


def _evidence_to_escalate(of: Outlook) -> Iterator[str]:
    if not of.seen.may_escalate:
        yield f"coverage of {of.parameters.min_coverage_escalate:.0%}, now {of.trade.coverage:.0%}"


def _evidence_to_relax(of: Outlook) -> Iterator[str]:
    if of.seen.may_relax:
        return
    blind = [c.name for c in of.trade.components if c.configured and not c.available and c.name in NEEDED_TO_RELAX]
    short = f"coverage of {of.parameters.min_coverage_relax:.0%}, now {of.trade.coverage:.0%}"
    yield f"a reading of {' and '.join(blind)}" if blind else short


def _calm(of: Outlook, name: str) -> str:
    p = of.parameters
    return (
        f"{with_numbers(f'S >= {name}', p)} at {p.calm_evaluations} M15 closes in a row, {of.seen.calm_evaluations} so "
        "far"
    )


def _break(structure: StructureReading, direction: int, of: Outlook) -> str:
    """The M15 close that breaks the next swing in ``direction``."""
    level = structure.swing_high if direction > 0 else structure.swing_low
    where = "above" if direction > 0 else "below"
    if level is None or not isinstance(of.view.atr, float):
        return f"an M15 close {where} the next swing, which no bar has confirmed yet"
    beyond = level + direction * of.parameters.break_beta_atr * of.view.atr
    return f"an M15 close {where} {beyond:.{of.digits}f}"


def _timer(of: Outlook, whole: float | None) -> str:
    return open_market((whole or 0.0) - of.seen.dwell_s, of.now)


def open_market(seconds: float, now: float) -> str:
    """A time left in an open market, and when that is if it stays open from ``now`` on (R40)."""
    left = max(0.0, seconds)
    return f"{left:.0f} s more of open market (not before {clock(now + left)})"


def clock(time: float) -> str:
    """UTC, to the second."""
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%dT%H:%M:%SZ}"
