"""What the broker remembers, one record per row of its file. Times in UTC ms; 0 is no level and no magic."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PositionRow:
    """An open position. ``type`` 0 is BUY and 1 is SELL; ``identifier`` stays for life, ``ticket`` may change."""

    ticket: int
    identifier: int
    symbol: str
    type: int
    volume: float
    price_open: float
    sl: float
    tp: float
    magic: int
    reason: int
    comment: str
    time_msc: int
    time_update_msc: int
    swap: float = 0.0

    @property
    def sign(self) -> int:
        """+1 for BUY, -1 for SELL."""
        return 1 - 2 * self.type


@dataclass(frozen=True, slots=True)
class OrderRow:
    """An order that waits, or one of the history.

    ``volume`` is what was asked for, ``rest`` what is not filled. ``due`` is when a market order that waits is filled
    (UTC seconds, 0 for a pending order), ``expiration`` when a pending one ends (UTC seconds, 0 never).
    """

    ticket: int
    position_id: int
    symbol: str
    type: int
    volume: float
    price: float
    sl: float
    tp: float
    filling: int
    magic: int
    reason: int
    comment: str
    time_msc: int
    done_msc: int
    state: int
    rest: float = 0.0
    type_time: int = 0
    expiration: float = 0.0
    position_by: int = 0
    due: float = 0.0

    @property
    def waits(self) -> bool:
        """True while it is among the terminal's active orders."""
        return self.state in {1, 3}  # placed, partially filled


@dataclass(frozen=True, slots=True)
class DealRow:
    """An execution; type 2 is a balance operation. Its money is profit, commission and swap together."""

    ticket: int
    order_ticket: int
    position_id: int
    symbol: str
    type: int
    entry: int
    volume: float
    price: float
    profit: float
    magic: int
    reason: int
    comment: str
    time_msc: int
    commission: float = 0.0
    swap: float = 0.0


@dataclass(frozen=True, slots=True)
class FaultRow:
    """An armed fault. ``count`` None means: for as long as its window lasts. ``seen`` counts the calls it looked at."""

    id: int
    kind: str
    count: int | None
    seen: int
    probability: float
    seconds: float | None
    symbol: str | None
    retcode: int | None
    seed: int
    call: str | None
    ticket: int | None
    armed_at: float


@dataclass(frozen=True, slots=True)
class LateRow:
    """An order whose reply was lost and that executes at ``due`` (UTC seconds); ``request`` is its JSON."""

    id: int
    due: float
    request: str


Row = PositionRow | OrderRow | DealRow | FaultRow | LateRow
