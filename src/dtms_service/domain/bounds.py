"""What the rules' numbers may be: least and most of each, and how some must lie to each other.

A number of a ruling that protects money (a noise floor, a settle window) is the least of its setting: operators may be
more careful than the rulings, never less. All other limits keep out what breaks a formula or switches a rule off
unseen. The settings are held to them at start; the rules themselves take any `Parameters`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from dtms_service.domain.parameters import Parameters


class Limits(NamedTuple):
    """Smallest and largest allowed value, both included; of a list, of each of its values."""

    least: float
    most: float


LIMITS: Mapping[str, Limits] = MappingProxyType(
    {
        # A reading that easing needs (B5) must count for something.
        "weight_structure": Limits(0.1, 10),
        "weight_vwap_volume": Limits(0.1, 10),
        "weight_momentum": Limits(0.1, 10),
        "weight_ema": Limits(0, 10),
        "weight_delta": Limits(0, 10),
        "weight_candle": Limits(0, 10),
        # Readings. Windows hold 1000 M15 and 600 M5 bars; nothing may look further back than they reach when warm.
        "swing_k": Limits(1, 20),
        "break_beta_atr": Limits(0, 5),
        "structure_decay": Limits(1, 1000),
        "vwap_theta_atr": Limits(0.01, 10),
        "vwap_valid_bars": Limits(1, 288),
        "flip_decay": Limits(1, 600),
        "volume_bars": Limits(1, 600),
        "volume_share": Limits(0.5, 1),
        "volume_share_low": Limits(0.5, 1),
        "rsi_dead": Limits(0, 49),
        "rsi_dead_low": Limits(0, 49),
        "rsi_full": Limits(1, 50),
        "ema_slope_bars": Limits(1, 400),
        "ema_dead_50": Limits(0, 10),
        "ema_dead_200": Limits(0, 10),
        "candle_bars": Limits(1, 50),
        "candle_body": Limits(0.01, 1),
        "candle_range_atr": Limits(0, 10),
        "volatility_bars": Limits(2, 500),
        "volatility_low": Limits(0, 1),
        "volatility_high": Limits(1, 10),
        "range_width_atr": Limits(0, 50),
        # What the score may decide. 10.5 points are a whole score in an ordinary market.
        "min_coverage_escalate": Limits(0.1, 1),
        "min_coverage_relax": Limits(0.1, 1),
        "l1_score": Limits(-10.5, -0.1),
        "l2_score": Limits(-10.5, -0.1),
        "hedge_score": Limits(-10.5, -0.1),
        "hedge_now_score": Limits(-10.5, -0.1),
        "l1_exit_score": Limits(-10.5, 10.5),
        "l2_exit_score": Limits(-10.5, 10.5),
        "hedged_exit_score": Limits(-10.5, 10.5),
        "recovered_score": Limits(-10.5, 10.5),
        "hedge_confirmations": Limits(1, 12),
        "calm_evaluations": Limits(1, 96),
        "min_dwell_s": Limits(0, 86_400),
        # When a trade is looked at. At -1 R the stop has been hit; an M5 bar lasts 300 s and the next may be late.
        "arm_profit_r": Limits(0, 10),
        "arm_age_s": Limits(0, 86_400),
        "arm_loss_r": Limits(-1, -0.01),
        "event_cooldown_s": Limits(0, 86_400),
        "adverse_move_atr": Limits(0.05, 10),
        "bar_delay_s": Limits(0, 60),
        "m5_stale_s": Limits(360, 3600),
        "tick_stale_s": Limits(1, 600),
        # R1.
        "r_valid_atr": Limits(0.5, 10),
        "r_valid_spreads": Limits(4, 100),
        "r_estimate_atr": Limits(0.5, 20),
        # What is done: R2, R5, R10, R14, C-9 (half of what was registered at most), B7.7 (five minutes at most).
        "tighten_r": Limits(0.05, 1),
        "tighten_hard_r": Limits(0.05, 1),
        "least_gain_r": Limits(0, 0.5),
        "widen_spreads": Limits(0, 10),
        "stop_removed_wait_s": Limits(60, 3600),
        "noise_floor_atr": Limits(0.5, 10),
        "partial_fraction": Limits(0.05, 0.5),
        "max_partials": Limits(0, 10),
        "max_hedges": Limits(0, 1),
        "hedge_fraction": Limits(0.05, 0.5),
        "hedge_room_atr": Limits(1, 20),
        "hedge_stop_atr": Limits(0.5, 20),
        "hedge_margin_level": Limits(1, 100),
        "flat_s": Limits(300, 86_400),
        "recovery_s": Limits(300, 86_400),
        "spread_wide": Limits(1, 100),
        "spread_wide_points": Limits(0, 10_000),
        "spread_defer_s": Limits(0, 300),
        # Orders and the broker's records: R6, R16, R27, D4.
        "retry_backoff_s": Limits(1, 3600),
        "settle_market_s": Limits(60, 3600),
        "settle_request_s": Limits(180, 3600),
        "settle_reads": Limits(3, 100),
        "verify_absence_s": Limits(600, 86_400),
        "verify_absence_reads": Limits(5, 1000),
        "pending_reject_s": Limits(60, 3600),
    }
)


@dataclass(frozen=True, slots=True)
class Order:
    """``lower`` is below ``upper``, or equal to it where ``equal`` allows; ``why`` completes "otherwise ..."."""

    lower: str
    upper: str
    equal: bool
    why: str

    @property
    def words(self) -> str:
        """Such as `l2_score < l1_score`."""
        return f"{self.lower} {'<=' if self.equal else '<'} {self.upper}"


ORDERS = (
    Order("l2_score", "l1_score", equal=False, why="a trade would be in the second state as soon as in the first"),
    Order("hedge_score", "l2_score", equal=True, why="a hedge would be asked for where nothing was closed yet"),
    Order("hedge_now_score", "hedge_score", equal=True, why="asking once would be easier than asking twice"),
    Order("l1_score", "l1_exit_score", equal=False, why="the same score would warn and calm"),
    Order("l2_score", "l2_exit_score", equal=False, why="the same score would worsen and ease"),
    Order("hedge_score", "hedged_exit_score", equal=False, why="the same score would open a hedge and end it"),
    Order("l2_score", "recovered_score", equal=False, why="the same score would be recovered and worse"),
    Order(
        "min_coverage_escalate",
        "min_coverage_relax",
        equal=True,
        why="missing data would stand the guard down before it stops it from acting",
    ),
    Order("rsi_dead", "rsi_dead_low", equal=True, why="a calm market would need less than a lively one"),
    Order("rsi_dead_low", "rsi_full", equal=False, why="RSI would have its full weight inside its dead zone"),
    Order("volume_share", "volume_share_low", equal=True, why="a calm market would need less than a lively one"),
    Order("volatility_low", "volatility_high", equal=False, why="a market would be calm and violent at once"),
    Order("tighten_hard_r", "tighten_r", equal=True, why="the harder stop would be further away"),
    Order("r_valid_atr", "r_estimate_atr", equal=True, why="an estimated R would not be a valid one"),
    Order("settle_market_s", "settle_request_s", equal=True, why="a dealer would be given less time than a machine"),
)
"""Checked in this order."""


@dataclass(frozen=True, slots=True)
class Broken:
    """The first rule that is broken: the parameters it is about, and a sentence without a full stop."""

    names: tuple[str, ...]
    sentence: str


def broken(parameters: Parameters) -> Broken | None:
    """What is wrong with these numbers; None when nothing is."""
    for name, (least, most) in LIMITS.items():
        value = getattr(parameters, name)
        for number in value if isinstance(value, tuple) else (value,):
            # Asked this way round because a NaN is neither below nor above anything.
            if not least <= number <= most:
                return Broken((name,), f"{number:g} is not between {least:g} and {most:g}")
    for order in ORDERS:
        lower, upper = getattr(parameters, order.lower), getattr(parameters, order.upper)
        if lower > upper or (lower == upper and not order.equal):
            sentence = f"{order.words} must hold, but they are {lower:g} and {upper:g}; otherwise {order.why}"
            return Broken((order.lower, order.upper), sentence)
    return None
