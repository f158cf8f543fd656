"""Why a trade is in its state, and what comes next: the record in words."""

from __future__ import annotations

from dtms_service.domain.parameters import Parameters
from dtms_service.domain.trade import Score, Trade
from dtms_service.domain.transitions import TABLE
from dtms_service.domain.values import Timeframe
from dtms_service.domain.view import MarketView
from dtms_service.engine.authority import Explanation


def explain(trade: Trade, view: MarketView | None, parameters: Parameters) -> Explanation:
    """The explanation of ``trade`` from what is recorded; ``view`` is its market now, None while it was never read."""
    score = None
    if trade.components:
        present = {c.name for c in trade.components if c.available}
        configured = {c.name for c in trade.components if c.configured}
        needed = {"structure", "momentum"} | ({"vwap_volume"} & configured)
        score = Score(
            value=trade.score,
            coverage=trade.coverage,
            components=trade.components,
            may_escalate=trade.coverage >= parameters.min_coverage_escalate,
            may_relax=trade.coverage >= parameters.min_coverage_relax and needed <= present,
        )
    return Explanation(
        trade=trade,
        score=score,
        thresholds={
            "l1_score": parameters.l1_score,
            "l2_score": parameters.l2_score,
            "hedge_score": parameters.hedge_score,
            "hedge_now_score": parameters.hedge_now_score,
            "l1_exit_score": parameters.l1_exit_score,
            "l2_exit_score": parameters.l2_exit_score,
        },
        regime={}
        if view is None
        else {
            "volatility": view.volatility.value,
            "structure": view.structure_regime.value,
            "session": view.session.value,
            "known": view.regime_known,
        },
        rule=trade.rule,
        missing=tuple(f"{c.name}: {c.reason}" for c in trade.components if not c.available),
        next=_next(trade, view, parameters),
    )


def next_check_at(trade: Trade, view: MarketView | None, parameters: Parameters) -> float | None:
    """When the score is computed next at the latest: at the next closed M15 bar; None for a trade that is over."""
    if trade.state.final or trade.verified_at is None or view is None:
        return None
    return view.m15_time + 2 * Timeframe.M15.seconds + parameters.bar_delay_s


def _next(trade: Trade, view: MarketView | None, parameters: Parameters) -> tuple[str, ...]:
    if trade.state.final:
        return ()
    lines = []
    if trade.verified_at is None:
        lines.append("the position must appear at the terminal")
    elif not trade.armed:
        gained, lost, age = parameters.arm_profit_r, parameters.arm_loss_r, parameters.arm_age_s
        lines.append(f"armed at {gained:+}R, {lost:+}R or after {age:.0f} s of open market")
    lines += [f"{row.next.value} ({row.rule}) when {row.when}" for row in TABLE if row.state is trade.state]
    lines += [f"{o.kind.value}: {o.status.value}, {o.waiting or o.reason}" for o in trade.obligations if o.status.live]
    return tuple(lines)
