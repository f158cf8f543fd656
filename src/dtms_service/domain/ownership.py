"""Who may change a position, and what a caller's words about it mean (R21 to R24, R30). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

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


def protected(trade: Trade, mode: Mode, *, halted: bool) -> bool:
    """R21: verified, still open, DTMS may act on it, and no operator has halted it."""
    return trade.verified_at is not None and not trade.state.final and may_act(trade, mode) and not halted


class May(StrEnum):
    """When a manager may change a position; the words are the reason it is told."""

    ALWAYS = "it owns this position"
    UNLESS_DEFENSIVE = "as long as DTMS is not defending it"
    UNTIL_BREAKEVEN = "until its stop is at breakeven, and as long as DTMS is not defending it"
    NEVER = "another manager owns this position"


MAY_MODIFY: Mapping[Owner, Mapping[Owner, May]] = {
    Owner.DTMS: {
        Owner.DTMS: May.ALWAYS,
        Owner.UNIVERSAL_MANAGER: May.NEVER,
        Owner.INTELLIGENT_EXITS: May.UNLESS_DEFENSIVE,
        Owner.MANUAL: May.ALWAYS,
    },
    Owner.UNIVERSAL_MANAGER: {
        Owner.DTMS: May.NEVER,
        Owner.UNIVERSAL_MANAGER: May.UNLESS_DEFENSIVE,
        Owner.INTELLIGENT_EXITS: May.UNTIL_BREAKEVEN,
        Owner.MANUAL: May.ALWAYS,
    },
    Owner.INTELLIGENT_EXITS: {
        Owner.DTMS: May.NEVER,
        Owner.UNIVERSAL_MANAGER: May.NEVER,
        Owner.INTELLIGENT_EXITS: May.UNLESS_DEFENSIVE,
        Owner.MANUAL: May.ALWAYS,
    },
    Owner.MANUAL: {
        Owner.DTMS: May.NEVER,
        Owner.UNIVERSAL_MANAGER: May.NEVER,
        Owner.INTELLIGENT_EXITS: May.NEVER,
        Owner.MANUAL: May.ALWAYS,
    },
}
"""By the owner of a position: what each manager may do with it (``contract.md`` 4, R25). A person always may."""


def may_modify(trade: Trade, manager: Owner, *, defensive: bool) -> tuple[bool, str]:
    """Whether ``manager`` may change the position now, and why or why not. Nobody changes what is closed."""
    if trade.state.final:
        return False, "the position is closed"
    may = MAY_MODIFY[trade.owner][manager]
    if may is May.NEVER:
        return False, f"{trade.owner.value} owns this position"
    if may is May.ALWAYS:
        return True, may.value if manager is trade.owner else "a person may always"
    if defensive:
        return False, "DTMS is defending this position"
    if may is May.UNTIL_BREAKEVEN and _at_breakeven(trade):
        return False, "its stop is at breakeven: the Universal Manager goes on alone"
    return True, may.value


def _at_breakeven(trade: Trade) -> bool:
    if trade.stop_loss is None or trade.entry_price is None or trade.side is None:
        return False
    return trade.sign * (trade.stop_loss - trade.entry_price) >= 0
