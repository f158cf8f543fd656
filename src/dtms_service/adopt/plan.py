"""What would happen to each position and each old record. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from dtms_service.adopt.records import OldTrade
from dtms_service.domain.ownership import OWNER_NAMES, owner_of
from dtms_service.domain.trade import Owner


class Verdict(StrEnum):
    """What becomes of one ticket; the words are what people read."""

    PROTECT = "would protect"
    OBSERVE = "would observe"
    REGISTERED = "already registered"
    ABSENT = "not at the terminal"


@dataclass(frozen=True, slots=True)
class Open:
    """A position that is open at the terminal and that nobody registered."""

    ticket: int
    symbol: str
    side: str
    volume: float
    magic: int = 0
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Rules:
    """What the service does with a registration now: its mode, and the strategies that are its own (R23)."""

    mode: str
    dtms_strategies: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One ticket and what would become of it. ``claims`` is what a registration would say; empty: none is sent."""

    ticket: int
    verdict: Verdict
    why: str
    symbol: str = ""
    side: str = ""
    volume: float | None = None
    found_in: str = "terminal"
    claims: Mapping[str, Any] = field(default_factory=dict)

    @property
    def registers(self) -> bool:
        """Whether ``--apply`` registers it."""
        return self.verdict in {Verdict.PROTECT, Verdict.OBSERVE}


def plan(
    unmanaged: Iterable[Open], registered: Mapping[int, str], old: Mapping[int, OldTrade], rules: Rules
) -> list[Candidate]:
    """One candidate per ticket, in their order. ``registered``: ticket -> state, closed ones too."""
    found = {position.ticket: _of_position(position, old.get(position.ticket), rules) for position in unmanaged}
    for ticket, row in old.items():
        if ticket not in found:
            found[ticket] = _of_record(row, registered.get(ticket))
    for ticket, state in registered.items():
        if ticket not in found and state != "CLOSED":
            found[ticket] = Candidate(ticket, Verdict.REGISTERED, f"it is {state}", found_in="DTMS")
    return [found[ticket] for ticket in sorted(found)]


def _of_position(position: Open, row: OldTrade | None, rules: Rules) -> Candidate:
    said = {} if row is None else {k: row.claims[k] for k in ("strategy_type", "managed_by") if k in row.claims}
    owner = owner_of(
        OWNER_NAMES.get(str(said.get("managed_by", "")).lower()) if said.get("managed_by") else None,
        said.get("strategy_type"),
        rules.dtms_strategies,
    )
    verdict, why = _verdict(owner, said, rules)
    return Candidate(
        position.ticket,
        verdict,
        why,
        position.symbol,
        position.side,
        position.volume,
        "terminal" if row is None else row.found_in,
        {"ticket": position.ticket, "symbol": position.symbol, "side": position.side, "source": "adopt", **said},
    )


def _verdict(owner: Owner, said: Mapping[str, Any], rules: Rules) -> tuple[Verdict, str]:
    if owner is Owner.UNIVERSAL_MANAGER:
        return Verdict.OBSERVE, f"managed by the Universal Manager ({said.get('strategy_type') or 'by its record'})"
    if owner is not Owner.DTMS:
        return Verdict.OBSERVE, f"managed by {owner.value}"
    if rules.mode != "protect":
        return Verdict.OBSERVE, f"the service is in mode {rules.mode}"
    return Verdict.PROTECT, "nobody manages it" if not said else f"strategy {said.get('strategy_type', 'of DTMS')}"


def _of_record(row: OldTrade, state: str | None) -> Candidate:
    symbol, side, volume = (row.claims.get(name) for name in ("symbol", "side", "volume"))
    shown = (str(symbol or ""), str(side or "").upper(), volume if isinstance(volume, float) else None)
    if state is not None:
        return Candidate(row.ticket, Verdict.REGISTERED, f"it is {state}", *shown, row.found_in)
    return Candidate(
        row.ticket,
        Verdict.ABSENT,
        "it is closed, on another account, or newer than the last cycle",
        *shown,
        row.found_in,
    )
