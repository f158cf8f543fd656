"""What an operator has ordered: whether DTMS acts, and when news are due. Pure.

Pause and halt leave reconciliation, scores and the closing of our own orphan hedges running (R47).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from dtms_service.domain.errors import NotInThisMode
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import Mode, Obligation, ObligationKind, Trade


class Verb(StrEnum):
    """What may be ordered."""

    PAUSE = "pause"
    RESUME = "resume"
    HALT = "halt"
    RESET = "reset"
    FLATTEN = "flatten"


class Control(StrEnum):
    """Whether DTMS acts. A halt is latched: nothing but ``reset`` ends it."""

    RUNNING = "running"
    PAUSED = "paused"
    HALTED = "halted"


_R, _P, _H = Control.RUNNING, Control.PAUSED, Control.HALTED

AFTER: Mapping[Verb, Mapping[Control, Control]] = {
    Verb.PAUSE: {_R: _P, _P: _P},
    Verb.RESUME: {_R: _R, _P: _R},
    Verb.HALT: {_R: _H, _P: _H, _H: _H},
    Verb.RESET: {_R: _R, _P: _R, _H: _R},
    Verb.FLATTEN: {_R: _R, _P: _P, _H: _H},
}
"""Where each order leads from where; a pair that is not here is refused."""

FLATTEN = "flatten"
"""Reason of a closing that an operator ordered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """A time in which no position is opened and none is reduced. ``symbols`` empty: all of them. UTC seconds."""

    begins: float
    ends: float
    title: str
    symbols: tuple[str, ...] = ()

    def covers(self, symbol: str, now: float) -> bool:
        """True while these news are due for ``symbol``."""
        return self.begins <= now < self.ends and (not self.symbols or symbol in self.symbols)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The orders in force; stored, so that a restart does not undo them."""

    control: Control = Control.RUNNING
    reason: str = ""
    by: str = ""
    since: float | None = None
    news: tuple[News, ...] = ()

    @property
    def halted(self) -> bool:
        """R21: nothing is protected while it is."""
        return self.control is Control.HALTED


def after(control: Control, verb: Verb, mode: Mode) -> Control:
    """The control after ``verb``. Raises ``NotInThisMode`` for what may not be ordered now."""
    if verb is Verb.FLATTEN and mode is Mode.OBSERVE:
        message = "DTMS only observes and sends nothing; set mode = protect to let it close positions"
        raise NotInThisMode(message)
    reached = AFTER[verb].get(control)
    if reached is None:
        message = f"DTMS is {control.value}, and {verb.value} does not end that; reset does"
        raise NotInThisMode(message)
    return reached


def goes_on(trade: Trade, obligation: Obligation) -> bool:
    """What is done while paused or halted: closing our own stray positions, and what ``flatten`` ordered (R47)."""
    if obligation.kind is ObligationKind.CLOSE_HEDGE:
        return trade.state.final or obligation.position is not None
    return obligation.kind is ObligationKind.CLOSE_ALL and obligation.reason == FLATTEN


def not_flattened(trade: Trade, *, force: bool) -> str | None:
    """Why an order to flatten leaves this trade alone; None when it is closed. Trades of others are never meant."""
    if trade.verified_at is None:
        return "the terminal has not shown this position yet"
    if "shared_net_position" in trade.flags and not force:
        return "others share this net position; force closes the part that was registered (R15)"
    return None


_DEFENSIVE = frozenset({TradeState.WARNING_L2, TradeState.HEDGED})


def defensive(trade: Trade, *, acts: bool, control: Control) -> bool:
    """R25: the trade is in danger, and DTMS may act on it now. ``acts``: mode and ownership allow it."""
    return trade.state in _DEFENSIVE and acts and control is Control.RUNNING and trade.frozen is None
