"""What the market and the broker tell us, as values.

Units, everywhere in the service: prices in the symbol's own units, volumes in lots, money in account currency, times
in seconds since the epoch in true UTC (the gateway converts the broker's wall clock once, at the edge). A level of
``None`` means that the position has none; MetaTrader's 0.0 never leaves the terminal room.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Side(StrEnum):
    """Direction of a position. ``sign`` is +1 for BUY and -1 for SELL."""

    BUY = "BUY"
    SELL = "SELL"

    @property
    def sign(self) -> int:
        """+1 for BUY, -1 for SELL."""
        return 1 if self is Side.BUY else -1

    @property
    def opposite(self) -> Side:
        """The side that closes this one."""
        return Side.SELL if self is Side.BUY else Side.BUY


class MarginMode(StrEnum):
    """How the account books a second deal on a symbol (ENUM_ACCOUNT_MARGIN_MODE)."""

    NETTING = "netting"
    EXCHANGE = "exchange"
    HEDGING = "hedging"


class TradeMode(StrEnum):
    """What the broker allows on a symbol (ENUM_SYMBOL_TRADE_MODE)."""

    DISABLED = "disabled"
    LONG_ONLY = "long_only"
    SHORT_ONLY = "short_only"
    CLOSE_ONLY = "close_only"
    FULL = "full"


class Execution(StrEnum):
    """How the broker fills a deal (ENUM_SYMBOL_TRADE_EXECUTION)."""

    REQUEST = "request"
    INSTANT = "instant"
    MARKET = "market"
    EXCHANGE = "exchange"


class DealEntry(StrEnum):
    """Direction of a deal relative to its position (ENUM_DEAL_ENTRY)."""

    IN = "in"
    OUT = "out"
    INOUT = "inout"
    OUT_BY = "out_by"


class DealReason(StrEnum):
    """Why a deal was made (ENUM_DEAL_REASON); values MetaTrader adds later become ``OTHER``."""

    CLIENT = "client"
    MOBILE = "mobile"
    WEB = "web"
    EXPERT = "expert"
    STOP_LOSS = "stop_loss"
    TAKE_PROFIT = "take_profit"
    STOP_OUT = "stop_out"
    OTHER = "other"


class Timeframe(StrEnum):
    """The bar lengths we use."""

    M1 = "M1"
    M5 = "M5"
    M15 = "M15"

    @property
    def seconds(self) -> int:
        """Length of one bar in seconds."""
        return {"M1": 60, "M5": 300, "M15": 900}[self.value]


@dataclass(frozen=True, slots=True)
class Account:
    """The account the terminal is logged in to. ``kind`` is ``simulated`` or ``mt5``."""

    login: int
    server: str
    currency: str
    margin_mode: MarginMode
    kind: str
    balance: float
    equity: float
    margin: float
    margin_free: float
    fifo_close: bool
    trade_allowed: bool
    """Account, terminal and expert switches together: may a program send orders now?"""
    demo: bool


@dataclass(frozen=True, slots=True)
class Tick:
    """Newest quote of a symbol; both prices are positive and ``bid <= ask``."""

    time: float
    bid: float
    ask: float

    def closing_price(self, side: Side) -> float:
        """The price at which a position of ``side`` would be closed: bid for BUY, ask for SELL."""
        return self.bid if side is Side.BUY else self.ask

    @property
    def spread(self) -> float:
        """Ask minus bid, in price units."""
        return self.ask - self.bid


@dataclass(frozen=True, slots=True)
class SymbolSpec:
    """Contract facts of a symbol. ``stops_level`` and ``freeze_level`` in points, volumes in lots."""

    name: str
    digits: int
    point: float
    tick_size: float
    tick_value: float
    contract_size: float
    volume_min: float
    volume_max: float
    volume_step: float
    stops_level: int
    freeze_level: int
    trade_mode: TradeMode
    execution: Execution


@dataclass(frozen=True, slots=True)
class Position:
    """An open position as the terminal reports it (TradePosition).

    ``identifier`` is constant for its life, ``ticket`` is not.
    """

    ticket: int
    identifier: int
    symbol: str
    side: Side
    volume: float
    price_open: float
    stop_loss: float | None
    take_profit: float | None
    price_current: float
    profit: float
    swap: float
    magic: int
    comment: str
    time: float
    time_update: float


@dataclass(frozen=True, slots=True)
class WorkingOrder:
    """An order that is not filled, cancelled or rejected yet (TradeOrder of ``orders_get``)."""

    ticket: int
    position_id: int
    symbol: str
    magic: int
    volume_initial: float
    volume_current: float
    time_setup: float
    comment: str


@dataclass(frozen=True, slots=True)
class Deal:
    """An execution from the account history (TradeDeal).

    ``position_id`` is the identifier of the position it changed.
    """

    ticket: int
    order: int
    position_id: int
    symbol: str
    side: Side
    entry: DealEntry
    reason: DealReason
    volume: float
    price: float
    profit: float
    commission: float
    swap: float
    magic: int
    comment: str
    time: float
