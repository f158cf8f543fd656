"""Why a trade is in its state, and what comes next: the record in words."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from dtms_service.domain.parameters import Parameters
from dtms_service.domain.trade import Frozen, Obligation, Score, Trade
from dtms_service.domain.transitions import TABLE, Row
from dtms_service.domain.values import Tick, Timeframe
from dtms_service.domain.view import MarketView
from dtms_service.engine.authority import Explanation


def explain(
    trade: Trade, view: MarketView | None, tick: Tick | None, now: float, parameters: Parameters
) -> Explanation:
    """The explanation of ``trade`` from what is recorded.

    ``view`` and ``tick`` are its market now, None while it was never read; ``now`` is the engine clock.
    """
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
        next=_next(trade, view, tick, now, parameters),
    )


def next_check_at(trade: Trade, view: MarketView | None, parameters: Parameters) -> float | None:
    """When the score is computed next at the latest: at the next closed M15 bar; None for a trade that is over."""
    if trade.state.final or trade.verified_at is None or view is None:
        return None
    return view.m15_time + 2 * Timeframe.M15.seconds + parameters.bar_delay_s


def _next(
    trade: Trade, view: MarketView | None, tick: Tick | None, now: float, parameters: Parameters
) -> tuple[str, ...]:
    """What can happen to the trade, by which score, price or time; the nearest first."""
    owed = tuple(_owed(o) for o in trade.obligations if o.status.live)
    if trade.state.final:
        return owed
    if trade.verified_at is None:
        return ("the position must appear at the terminal", *owed)
    lines = [*_stopped(trade, view, tick, now, parameters), *owed, *_evaluated(trade, view, parameters)]
    if not trade.armed:
        lines.append(_arming(trade, parameters))
    lines += [_row(row, trade, parameters) for row in TABLE if row.state is trade.state]
    lines += _timers(trade, view)
    return tuple(lines)


def _stopped(
    trade: Trade, view: MarketView | None, tick: Tick | None, now: float, parameters: Parameters
) -> Iterator[str]:
    """Why nothing is planned at the moment."""
    match trade.frozen:
        case Frozen.INTENT:
            yield "nothing until the broker's records show what became of an order without an answer"
        case Frozen.VERIFY:
            yield "nothing until the position, or a deal that closes it, is seen at the terminal"
        case None:
            pass
    if tick is not None and now - tick.time > parameters.tick_stale_s:
        yield f"nothing until a new quote arrives; the newest is {now - tick.time:.0f} s old"
    if view is not None and now - (view.m5_time + Timeframe.M5.seconds) > parameters.m5_stale_s:
        yield "no evaluation until the first M5 bar of an open market has closed"


def _owed(o: Obligation) -> str:
    why = o.waiting or o.reason
    when = f", next at {_clock(o.next_try_at)}" if o.next_try_at else ""
    tried = f", {o.attempts} sent so far" if o.attempts else ""
    return f"{o.kind.value}: {o.status.value}, {why}{tried}{when}"


def _evaluated(trade: Trade, view: MarketView | None, parameters: Parameters) -> Iterator[str]:
    at = next_check_at(trade, view, parameters)
    if at is not None:
        yield f"scored at {_clock(at)} at the latest, when its M15 bar has closed"
    if view is None or not isinstance(view.atr, float) or trade.deep_price is None:
        return
    against = trade.deep_price - trade.sign * parameters.adverse_move_atr * view.atr
    yield f"scored at the next M5 close once the price reaches {_price(against, trade)}"


def _arming(trade: Trade, parameters: Parameters) -> str:
    gained, lost, age = parameters.arm_profit_r, parameters.arm_loss_r, parameters.arm_age_s
    words = f"armed at {gained:+}R, {lost:+}R or after {age:.0f} s of open market"
    if trade.risk is None or trade.entry_price is None:
        return words
    levels = [trade.entry_price + trade.sign * r * trade.risk for r in (gained, lost)]
    return f"{words}: {_price(levels[0], trade)}, {_price(levels[1], trade)}"


def _row(row: Row, trade: Trade, parameters: Parameters) -> str:
    """A row of the table with the numbers of its condition, and how far the score is from them."""
    named = {name: getattr(parameters, name) for name in Parameters.__dataclass_fields__ if name in row.when.split()}
    words = " ".join(f"{word} ({named[word]:g})" if word in named else word for word in row.when.split())
    thresholds = [value for name, value in named.items() if name.endswith("_score")]
    away = ""
    if thresholds and trade.score is not None:
        met = trade.score <= thresholds[0] if "<=" in row.when else trade.score >= thresholds[0]
        away = f"; S is {trade.score:.2f}, " + ("past it" if met else f"{abs(trade.score - thresholds[0]):.2f} away")
    goes = "then" if row.next is row.state else row.next.value
    owes = ", ".join(kind.value for kind in row.owes)
    return f"{goes}{' ' + owes if owes else ''} ({row.rule}) when {words}{away}"


def _timers(trade: Trade, view: MarketView | None) -> Iterator[str]:
    for name, whole in (("flat", trade.flat_left_s), ("recovery", trade.recovery_left_s)):
        if whole is not None:
            passed = view.open_seconds_since(trade.state_since) if view is not None else 0.0
            yield f"the {name} timer has {max(0.0, whole - passed):.0f} s of open market left"


def _clock(time: float) -> str:
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _price(value: float, trade: Trade) -> str:
    """With the decimals that the trade's own prices have."""
    digits = max(
        (len(f"{p:.10f}".rstrip("0").partition(".")[2]) for p in (trade.entry_price, trade.stop_loss) if p), default=5
    )
    return f"{value:.{digits}f}"
