"""The other sides the engine talks to, as protocols.

Adapters satisfy them structurally; ``app.py`` puts them together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from dtms_service.domain.alerts import Alert, Wanted
from dtms_service.domain.orders import Fill, Order
from dtms_service.domain.outcome import Outcome
from dtms_service.domain.record import Batch, Recorded
from dtms_service.domain.trade import Event
from dtms_service.domain.values import (
    Account,
    Deal,
    Position,
    SymbolSpec,
    WorkingOrder,
)
from dtms_service.market.snapshot import Needs, Snapshot


class Terminal(Protocol):
    """MetaTrader 5, real or simulated, behind its gateway.

    No method raises for a terminal fault: the outcome says it.
    """

    async def connect(self) -> Outcome[Account]:
        """Attach to the terminal and measure its clock; idempotent. Select nothing yet."""

    @property
    def broker_offset(self) -> float | None:
        """Seconds by which the broker's clock is ahead of UTC, as its quotes of this life show; None until they do."""

    @property
    def broker_moves(self) -> Sequence[tuple[float, float]]:
        """Moves of the broker's clock, oldest first: until when (UTC seconds) it was seen how many seconds ahead."""

    def assume_offset(
        self, ahead: float, moves: Sequence[tuple[float, float]] = (), right_at: float | None = None
    ) -> None:
        """Use an offset that was measured in an earlier life, and its moves, until quotes can tell.

        ``right_at``: an instant (UTC seconds) at which that life still found it right.
        """

    async def snapshot(self, needs: Needs) -> Outcome[Snapshot]:
        """One round trip: account, positions, and what ``needs`` names.

        Any failed part that is not a bar makes the whole Unknown.
        """

    async def positions(self) -> Outcome[tuple[Position, ...]]:
        """All open positions of the account."""

    async def orders(self) -> Outcome[tuple[WorkingOrder, ...]]:
        """All working orders of the account."""

    async def deals_of(self, identifier: int) -> Outcome[tuple[Deal, ...]]:
        """Every deal of one position identifier, oldest first."""

    async def deals_since(self, time: float) -> Outcome[tuple[Deal, ...]]:
        """Every deal of the account from ``time`` (UTC) on, oldest first."""

    async def specs(self, symbols: Sequence[str]) -> Outcome[Mapping[str, SymbolSpec]]:
        """Contract facts; selects the symbols in Market Watch so that they get quotes.

        Unknown symbols are absent from the answer.
        """

    def wait_of(self, order: Order) -> float:
        """Seconds until the order may go out (R9): a cap, and a pause after the server's complaint; 0.0: it may now."""

    async def send(self, order: Order) -> Outcome[Fill]:
        """Send one order.

        Refused: it did not and will not happen. Unknown: it may have happened; never send it again blindly.
        """

    async def close(self) -> None:
        """End the child process; queued calls end as Refused(``not_sent``), the one in flight as Unknown."""


class Ledger(Protocol):
    """The durable record.

    Raises ``StorageFailed`` when the outcome of a commit is not known, ``StorageBusy`` when nothing was written.
    """

    async def load(self) -> Recorded:
        """The state to start from."""

    async def commit(self, batch: Batch) -> int:
        """Store all in one transaction; after the fsync, answer the sequence of the last event stored so far."""

    async def events(
        self,
        *,
        kind: str | None = None,
        trade_id: int | None = None,
        since: int = 0,
        limit: int = 100,
        newest: bool = False,
    ) -> tuple[Event, ...]:
        """Events with ``sequence > since``, oldest first; ``newest`` takes the last ``limit`` instead of the first."""

    async def alerts(self, wanted: Wanted) -> tuple[Alert, ...]:
        """Alerts, newest first."""

    async def close(self) -> None:
        """Finish what was handed over, then close."""


class Clock(Protocol):
    """The engine clock: cadence, settle windows, back-off, staleness.

    Real time on a real terminal, the simulator's date otherwise.
    """

    def now(self) -> float:
        """Seconds since the epoch, UTC."""

    def renew(self) -> None:
        """Take over corrections of the machine's clock that were left out; while nothing is being timed."""

    async def sleep_until(self, time: float) -> None:
        """Return when ``now() >= time``. A stepped clock returns only when it is stepped past ``time``."""


@runtime_checkable
class MovableClock(Clock, Protocol):
    """The clock of a simulated terminal, which shows the simulator's date (R35)."""

    @property
    def stepped(self) -> bool:
        """True when it stands still until it is moved."""

    def move(self, now: float) -> None:
        """The market is at ``now`` (UTC seconds)."""


class SimulatedMarket(Protocol):
    """Control over the simulated broker (INTERFACE 3.6).

    Bodies are MT5's own field names; unusable input raises ``Invalid``.
    """

    async def clock(self) -> Mapping[str, Any]:
        """``{mode, now, factor}``: ``mode`` is ``live`` (with its factor) or ``stepped``; ``now`` in UTC seconds."""

    async def advance(self, until: float) -> float:
        """Play the market up to ``until`` (UTC seconds; stepped clock only); returns the new market time."""

    async def view(self, what: str) -> Mapping[str, Any]:
        """``what`` in account, positions, orders, deals."""

    async def open_position(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Open a position as a trader's program would; returns ``{ticket, identifier, price_open}``."""

    async def change_position(self, ticket: int, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Change ``stop_loss`` and ``take_profit`` by hand (reason CLIENT)."""

    async def close_position(self, ticket: int, volume: float | None) -> Mapping[str, Any]:
        """Close by hand, in part when ``volume`` is given."""

    async def set_fault(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Arm a fault."""

    async def clear_faults(self) -> Mapping[str, Any]:
        """Disarm all faults."""

    async def market(self, symbol: str, timeframe: str, count: int) -> Mapping[str, Any]:
        """``{bars: [...]}``, newest last, fields as in the bar files."""
