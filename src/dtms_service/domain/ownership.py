"""Who may change a position, and what a caller's words about it mean (R21 to R24, R30). Pure."""

from __future__ import annotations

from dtms_service.domain.trade import Mode, Owner, Trade

OWNER_NAMES: dict[str, Owner] = {
    "": Owner.DTMS,
    "dtms": Owner.DTMS,
    "dtms_manager": Owner.DTMS,
    "universal_manager": Owner.UNIVERSAL_MANAGER,
    "universal_sl_tp_manager": Owner.UNIVERSAL_MANAGER,
    "intelligent_exits": Owner.INTELLIGENT_EXITS,
    "intelligent_exit_manager": Owner.INTELLIGENT_EXITS,
    "legacy_exit_manager": Owner.INTELLIGENT_EXITS,
    "manual": Owner.MANUAL,
}
"""Every spelling a caller may use, old and new (R30)."""

OLD_NAMES: dict[Owner, str] = {
    Owner.DTMS: "dtms_manager",
    Owner.UNIVERSAL_MANAGER: "universal_sl_tp_manager",
    Owner.INTELLIGENT_EXITS: "intelligent_exit_manager",
    Owner.MANUAL: "manual",
}
"""What ``GET /trade-registry/{ticket}`` answers."""

DTMS_STRATEGIES = ("breakout_bos", "trend_continuation_bos", "mean_reversion_vwap_fade", "micro_scalp")
"""The strategy types that the Universal Manager refuses, so that DTMS protects them (R23)."""


def owner_of(managed_by: Owner | None, strategy_type: str | None, dtms_strategies: tuple[str, ...]) -> Owner:
    """The owner that a registration asks for: its own word first, else its strategy decides (R23)."""
    if managed_by is not None:
        return managed_by
    if strategy_type and strategy_type not in dtms_strategies:
        return Owner.UNIVERSAL_MANAGER
    return Owner.DTMS


def may_act(trade: Trade, mode: Mode) -> bool:
    """R24: orders are sent for our own, managed trades in protect mode only; everything else is recorded."""
    return mode is Mode.PROTECT and trade.owner is Owner.DTMS and trade.managed


def protected(trade: Trade, mode: Mode) -> bool:
    """R21: verified, still open, and DTMS may act on it."""
    return trade.verified_at is not None and not trade.state.final and may_act(trade, mode)
