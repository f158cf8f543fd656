"""The engine's face, as a protocol: what the API, the commands and the spool may ask of the one authority."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from dtms_service.domain.admission import Registration
from dtms_service.domain.control import News, Standing, Verb
from dtms_service.domain.errors import DtmsError
from dtms_service.domain.trade import Event, Mode, Owner, Score, Trade
from dtms_service.engine.alerting import Alerting
from dtms_service.engine.book import Book
from dtms_service.engine.feed import Feed
from dtms_service.engine.meters import Meters
from dtms_service.engine.operating import HandedOver, Ordered
from dtms_service.engine.readiness import Report
from dtms_service.engine.registrar import Registered
from dtms_service.engine.unmanaged import Unmanaged


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a trade is in its state (INTERFACE 3.2 ``explain``)."""

    trade: Trade
    score: Score | None
    thresholds: Mapping[str, float]
    regime: Mapping[str, Any]
    rule: str
    fired: str
    """What led to the state: rule, time and condition."""
    missing: tuple[str, ...]
    next: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Counts:
    """Totals since the process started."""

    cycles: int = 0
    deep_checks: int = 0
    actions: int = 0
    transitions: int = 0
    last_cycle_at: float | None = None
    next_cycle_at: float | None = None
    """When the next cycle is due, engine clock."""
    started_at: float = 0.0
    last_fast: Mapping[int, float] = field(default_factory=dict)
    """ticket -> engine time of the newest price check."""
    last_deep: Mapping[int, float] = field(default_factory=dict)


class Authority(Protocol):
    """The one authority, as the ``api`` room sees it."""

    mode: Mode

    @property
    def book(self) -> Book:
        """All trades and what the last snapshot showed of them."""

    @property
    def counts(self) -> Counts:
        """Totals since the process started."""

    @property
    def unmanaged(self) -> Unmanaged:
        """Positions that nobody registered."""

    @property
    def alerting(self) -> Alerting:
        """The alerts."""

    def now(self) -> float:
        """The engine clock: UTC seconds."""

    def report(self) -> Report:
        """Readiness now."""

    def protected(self, trade: Trade) -> bool:
        """R21: verified, owned by DTMS, mode protect, managed, not halted."""

    async def register(self, registrations: Sequence[Registration]) -> list[Registered | DtmsError]:
        """Register each; one read and one transaction for all. An item that fails is its ``DtmsError``, in place.

        Raises ``NotAccepting`` when the ledger is not open yet, ``StorageBusy`` and ``StorageFailed`` from the ledger.
        """

    def explain(self, trade: Trade) -> Explanation:
        """Why the trade is where it is and what comes next."""

    async def history(self, trade: Trade) -> tuple[Event, ...]:
        """Every event of the trade, oldest first."""

    async def actions(self, *, ticket: int | None, since: int | None, limit: int) -> tuple[Event, ...]:
        """Events of kind ``action``, oldest first: the newest ``limit``, or the first ``limit`` after ``since``.

        Body keys as INTERFACE 3.3.
        """

    @property
    def feed(self) -> Feed:
        """The newest stored events, for those who follow them."""

    async def events_since(self, position: int, limit: int) -> tuple[Event, ...]:
        """The first ``limit`` events after ``position`` out of the ledger, oldest first. Raises ``Storage…``."""

    @property
    def meters(self) -> Meters:
        """What was counted since the process started."""

    @property
    def standing(self) -> Standing:
        """What an operator has ordered."""

    async def order(self, verb: Verb, *, reason: str, by: str, force: bool = False) -> Ordered:
        """Pause, resume, halt, reset or flatten (R47). Raises ``NotInThisMode``, ``NotAccepting``, ``Storage…``."""

    async def announce(self, news: Sequence[News], *, by: str) -> Standing:
        """Replace the announced news by these. Raises ``NotAccepting``, ``Storage…``."""

    async def hand_over(self, trade: Trade, owner: Owner, *, reason: str, by: str) -> HandedOver:
        """Give a trade to ``owner``. Raises ``RegistrationConflict``, ``Storage…``."""

    async def release(self, trade: Trade, *, reason: str, by: str) -> HandedOver:
        """Let go of a trade for good (R28). Raises as ``hand_over``."""

    def may_modify(self, trade: Trade, manager: Owner) -> tuple[bool, str, bool]:
        """(allowed, why, defensive) for ``manager`` now (R25)."""

    async def advance(self, *, seconds: float | None, until: float | None) -> Mapping[str, Any]:
        """Step the simulated market (R37) -> ``{now, cycles}``. Raises ``NotInThisMode`` on another clock."""
