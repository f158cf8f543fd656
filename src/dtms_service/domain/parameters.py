"""Every number the rules use, with its unit and the reason for its default.

Defaults are those of ``engine.md`` B8 and the rulings; B5 and B10 measured how selective they are, and nothing here was
tuned to make a series look better (R12). R is the distance from the entry to the valid first stop; ATR is that of M15.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """The trading rules' numbers. Immutable for the life of the engine."""

    # Weight of each component: the most points it can give, of 10.5 in all.

    weight_structure: float = 3.0
    """Points. Confirmed breaks carry the most information about where the market went."""
    weight_vwap_volume: float = 2.0
    """Points."""
    weight_momentum: float = 2.0
    """Points."""
    weight_ema: float = 1.5
    """Points. Slow, so it weighs less than the faster readings."""
    weight_delta: float = 1.0
    """Points. Renormalised away while no order-flow provider is configured."""
    weight_candle: float = 1.0
    """Points. One bar is weak evidence."""

    # Readings.

    swing_k: int = 3
    """Closed bars on each side that confirm a swing; a gap blinds structure and momentum for k + 1 bars."""
    break_beta_atr: float = 0.10
    """ATR. A close must pass a swing by this much: half a percent of price never happened, a wick happens daily."""
    structure_decay: float = 8.0
    """M15 bars until a break counts for nothing: two hours."""
    vwap_theta_atr: float = 0.5
    """ATR. Distance from VWAP that flips its side; one percentage would mean 0.7 ATR on gold and 2.2 on the yen."""
    vwap_valid_bars: int = 9
    """M5 bars after the anchor (45 minutes) before the session VWAP says anything."""
    flip_decay: float = 18.0
    """M5 bars until a VWAP flip counts for nothing: 90 minutes."""
    volume_bars: int = 6
    """M5 bars over which the share of rising volume is taken."""
    volume_share: float = 0.65
    """Share of volume on bars of one direction that makes a volume flip."""
    volume_share_low: float = 0.72
    """The same while volatility is LOW."""
    rsi_dead: float = 5.0
    """RSI points around 50 without meaning (45 to 55)."""
    rsi_dead_low: float = 10.0
    """The same while volatility is LOW (40 to 60)."""
    rsi_full: float = 25.0
    """RSI points from 50 at which RSI has its full weight (25 or 75)."""
    ema_slope_bars: int = 10
    """M15 bars over which the EMA slopes are taken."""
    ema_dead_50: float = 0.5
    """ATR per slope window that EMA50 must move to count."""
    ema_dead_200: float = 0.15
    """ATR per slope window that EMA200 must move to count."""
    candle_bars: int = 3
    """Newest M5 bars among which a strong candle is looked for."""
    candle_body: float = 0.65
    """Body as a share of the range of a strong candle."""
    candle_range_atr: float = 0.8
    """Range of a strong candle in ATR14 of M5, so that a dead minute is never strong."""

    # Regime.

    volatility_bars: int = 96
    """M15 bars of the mean ATR: one full day, which removes the time of day from the comparison."""
    volatility_low: float = 0.7
    """ATR over its daily mean below which volatility is LOW."""
    volatility_high: float = 1.3
    """ATR over its daily mean above which volatility is HIGH."""
    range_width_atr: float = 3.0
    """Width of the Bollinger band (4 sd) in ATR below which the market is in RANGE, equally often on all symbols."""

    # What the score may decide.

    min_coverage_escalate: float = 0.6
    """Share of configured weight that must be present before the score may cost money."""
    min_coverage_relax: float = 0.8
    """Share that must be present before the guard stands down: missing data never does that."""
    l1_score: float = -2.0
    """At or below: HEALTHY to WARNING_L1."""
    l2_score: float = -4.0
    """At or below: WARNING_L1 to WARNING_L2."""
    hedge_score: float = -6.0
    """At or below, on `hedge_confirmations` evaluations: a hedge is asked for."""
    hedge_now_score: float = -8.0
    """At or below: one evaluation is enough."""
    l1_exit_score: float = 0.0
    """At or above: WARNING_L1 to HEALTHY. Two points of hysteresis."""
    l2_exit_score: float = -2.0
    """At or above: WARNING_L2 to WARNING_L1."""
    hedged_exit_score: float = 0.0
    """At or above, on `calm_evaluations`: a hedge is not needed any more."""
    recovered_score: float = 1.0
    """At or above: a recovering trade is healthy again."""
    hedge_confirmations: int = 2
    """Evaluations on different M5 closes in a row that must ask for a hedge."""
    calm_evaluations: int = 2
    """M15 evaluations in a row that must be calm before HEDGED or RECOVERING ends early."""
    min_dwell_s: float = 900.0
    """Seconds of open market a state lasts before it may ease: one M15 bar."""

    # When a trade is looked at.

    arm_profit_r: float = 0.2
    """R gained that arms a trade; before that it is only observed."""
    arm_age_s: float = 900.0
    """Seconds of open market that arm a trade."""
    arm_loss_r: float = -0.5
    """R lost that arms a trade at once, and that asks for an evaluation when it is crossed."""
    event_cooldown_s: float = 600.0
    """Seconds between evaluations that a price event asked for; none for a crossed `arm_loss_r`."""
    adverse_move_atr: float = 0.5
    """ATR of movement against the trade since the last evaluation that asks for another one."""
    bar_delay_s: float = 5.0
    """Seconds after a bar's end before it is read: terminals deliver the last ticks late."""
    m5_stale_s: float = 600.0
    """Seconds after the end of the newest closed M5 bar at which bars are too old: the next one is a whole bar late."""
    tick_stale_s: float = 60.0
    """Seconds at which a quote is too old to act on."""

    # R: what the trade risks (R1).

    r_valid_atr: float = 0.5
    """ATR between entry and stop below which a stop does not define R: it was moved there, not chosen."""
    r_valid_spreads: float = 4.0
    """Median spreads between entry and stop below which a stop does not define R."""
    r_estimate_atr: float = 1.5
    """ATR that stand for R when no stop defines it (flag ``r_estimated``)."""

    # What is done.

    tighten_r: float = 0.3
    """R between price and a tightened stop."""
    tighten_hard_r: float = 0.15
    """The same when a partial close or a hedge was due and is not possible."""
    least_gain_r: float = 0.05
    """R by which a new stop must be better than the old one to be worth an order."""
    widen_spreads: int = 3
    """Spreads, one per refusal for a stop too near, by which a stop keeps further away at most."""
    stop_removed_wait_s: float = 60.0
    """Seconds before a stop that was removed by hand is set anew (R14): the hand may be about to place another."""
    noise_floor_atr: float = 0.5
    """ATR, plus the spread, that every stop of ours keeps from the price (R2): closer is inside the noise."""
    partial_fraction: float = 0.5
    """Share of the open volume that a partial close takes."""
    max_partials: int = 1
    """Partial closes per trade: an oscillating score must not bleed a position away."""
    max_hedges: int = 1
    """Hedges per trade (R5)."""
    hedge_style: Literal["auto", "opposite", "reduce"] = "auto"
    """``opposite`` opens a position against the trade, ``reduce`` closes a part; ``auto``: as the account allows."""
    hedge_fraction: float = 0.5
    """Share of the open volume that a hedge covers, or that is closed in place of one."""
    hedge_room_atr: float = 1.0
    """ATR the trade's own stop must be away for a hedge; nearer, the stop is the hedge (R4)."""
    hedge_stop_atr: float = 1.5
    """ATR between a hedge and its stop."""
    hedge_margin_level: float = 1.5
    """Equity over margin below which no second position is opened: half above a margin call at 1."""
    flat_s: float = 4500.0
    """Seconds of open market after which a hedged trade is closed."""
    recovery_s: float = 1800.0
    """Seconds of open market a trade has to recover once its hedge is closed."""
    spread_wide: float = 2.0
    """Median spreads above which the market is too wide for orders that can wait (R10)."""
    spread_wide_points: float = 3.0
    """Points the spread must also exceed, so that a median of one point defers nothing."""
    spread_defer_s: float = 300.0
    """Longest such postponement in seconds."""

    # Orders and the broker's records.

    retry_backoff_s: tuple[float, ...] = (5.0, 15.0, 45.0, 135.0)
    """Seconds before the next attempt after the first, second, ... failure; then at every scheduled evaluation."""
    settle_market_s: float = 60.0
    """Connected seconds after which an order without evidence counts as not executed (R16): market, exchange."""
    settle_request_s: float = 180.0
    """The same for instant and request execution, where a dealer may answer late."""
    settle_reads: int = 3
    """Good reads within the settle window that must show nothing of the order."""
    verify_absence_s: float = 600.0
    """Seconds a position may be missing without a closing deal before it counts as gone (R6)."""
    verify_absence_reads: int = 5
    """Good reads that must agree on it."""
    pending_reject_s: float = 60.0
    """Connected seconds after which a registered ticket that the terminal never showed is rejected (R27)."""
