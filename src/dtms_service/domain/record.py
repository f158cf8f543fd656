"""What the ledger takes and gives, as values, so that the engine and the ledger need not know each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dtms_service.domain.alerts import Alert
from dtms_service.domain.trade import Event, Intent, Trade


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction stores: facts, and the newest value of each changed trade, intent and alert."""

    events: tuple[Event, ...] = ()
    trades: tuple[Trade, ...] = ()
    intents: tuple[Intent, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    """Facts about the service itself (pinned account, measured broker offset), by name."""
    alerts: tuple[Alert, ...] = ()
    """Newest value of each alert that the events make or change, or that was delivered or acknowledged."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the ledger knows at the start. ``instance`` (0-999) was drawn when the database was created (R20)."""

    trades: tuple[Trade, ...]
    """All trades that are not final, and those that ended last (at most 1,000)."""
    open_intents: tuple[Intent, ...]
    actions: tuple[Event, ...]
    """The newest events of kind ``action``, oldest first, at most 500."""
    last_trade_id: int
    last_magic_sequence: int
    last_event_sequence: int
    instance: int
    facts: Mapping[str, str]
    alerts: tuple[Alert, ...] = ()
    """Every alert that nobody has acknowledged, and the newest of the others (at most 500)."""
    last_alert_id: int = 0
