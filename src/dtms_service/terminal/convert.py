"""MetaTrader's rows as domain values: 0.0 levels become None, the broker's wall clock becomes UTC."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtms_service.domain.values import (
    Account,
    Deal,
    DealEntry,
    DealReason,
    Execution,
    MarginMode,
    Position,
    Side,
    SymbolSpec,
    Tick,
    TradeMode,
    WorkingOrder,
)
from dtms_service.market.bars import Bars
from dtms_service.terminal.results import Row

_SIDES = {0: Side.BUY, 1: Side.SELL}
_MARGIN = {0: MarginMode.NETTING, 1: MarginMode.EXCHANGE, 2: MarginMode.HEDGING}
_ENTRIES = {0: DealEntry.IN, 1: DealEntry.OUT, 2: DealEntry.INOUT, 3: DealEntry.OUT_BY}
_REASONS = {
    0: DealReason.CLIENT,
    1: DealReason.MOBILE,
    2: DealReason.WEB,
    3: DealReason.EXPERT,
    4: DealReason.STOP_LOSS,
    5: DealReason.TAKE_PROFIT,
    6: DealReason.STOP_OUT,
}
_TRADE_MODES = dict(enumerate(TradeMode))
_EXECUTIONS = dict(enumerate(Execution))
_DEMO = 0


def account(row: Row, terminal: Row, kind: str) -> Account:
    """``account_info`` and ``terminal_info``: programs may trade when both, and the expert switch, allow it."""
    allowed = row["trade_allowed"] and row["trade_expert"] and terminal["trade_allowed"]
    return Account(
        login=row["login"],
        server=row["server"],
        currency=row["currency"],
        margin_mode=_MARGIN[row["margin_mode"]],
        kind=kind,
        balance=row["balance"],
        equity=row["equity"],
        margin=row["margin"],
        margin_free=row["margin_free"],
        fifo_close=bool(row["fifo_close"]),
        trade_allowed=bool(allowed) and not terminal["tradeapi_disabled"],
        demo=row["trade_mode"] == _DEMO,
    )


def position(row: Row, offset: float) -> Position:
    """``TradePosition``; its times come in whole milliseconds of the broker's clock."""
    return Position(
        ticket=row["ticket"],
        identifier=row["identifier"],
        symbol=row["symbol"],
        side=_SIDES[row["type"]],
        volume=row["volume"],
        price_open=row["price_open"],
        stop_loss=row["sl"] or None,
        take_profit=row["tp"] or None,
        price_current=row["price_current"],
        profit=row["profit"],
        swap=row["swap"],
        magic=row["magic"],
        comment=row["comment"],
        time=row["time_msc"] / 1000 - offset,
        time_update=row["time_update_msc"] / 1000 - offset,
    )


def order(row: Row, offset: float) -> WorkingOrder:
    """``TradeOrder`` of ``orders_get``."""
    return WorkingOrder(
        ticket=row["ticket"],
        position_id=row["position_id"],
        symbol=row["symbol"],
        magic=row["magic"],
        volume_initial=row["volume_initial"],
        volume_current=row["volume_current"],
        time_setup=row["time_setup_msc"] / 1000 - offset,
        comment=row["comment"],
    )


def deal(row: Row, offset: float) -> Deal | None:
    """``TradeDeal``; None for balance operations, which trade nothing."""
    if row["type"] not in _SIDES:
        return None
    return Deal(
        ticket=row["ticket"],
        order=row["order"],
        position_id=row["position_id"],
        symbol=row["symbol"],
        side=_SIDES[row["type"]],
        entry=_ENTRIES[row["entry"]],
        reason=_REASONS.get(row["reason"], DealReason.OTHER),
        volume=row["volume"],
        price=row["price"],
        profit=row["profit"],
        commission=row["commission"] + row["fee"],
        swap=row["swap"],
        magic=row["magic"],
        comment=row["comment"],
        time=row["time_msc"] / 1000 - offset,
    )


def tick(row: Row, offset: float) -> Tick | None:
    """``Tick``, or None when it is unusable: a symbol just selected shows zeros, a broken feed bid over ask."""
    bid, ask = row["bid"], row["ask"]
    if not 0 < bid <= ask < float("inf"):
        return None
    return Tick(time=row["time_msc"] / 1000 - offset, bid=bid, ask=ask)


def spec(row: Row) -> SymbolSpec:
    """``SymbolInfo``. Some brokers leave the tick size or the volume step at 0: a point, the least volume is meant."""
    return SymbolSpec(
        name=row["name"],
        digits=row["digits"],
        point=row["point"],
        tick_size=row["trade_tick_size"] or row["point"],
        tick_value=row["trade_tick_value"],
        contract_size=row["trade_contract_size"],
        volume_min=row["volume_min"],
        volume_max=row["volume_max"],
        volume_step=row["volume_step"] or row["volume_min"],
        stops_level=row["trade_stops_level"],
        freeze_level=row["trade_freeze_level"],
        trade_mode=_TRADE_MODES[row["trade_mode"]],
        execution=_EXECUTIONS[row["trade_exemode"]],
    )


def bars(rates: Any, offsets: Callable[[NDArray[np.int64]], NDArray[np.float64]]) -> Bars:
    """The rates array (60 bytes a row) as columns of our own; ``offsets`` of the times that the broker shows."""
    return Bars(
        time=_column(rates["time"] - offsets(rates["time"]), np.int64),
        open=_column(rates["open"], np.float64),
        high=_column(rates["high"], np.float64),
        low=_column(rates["low"], np.float64),
        close=_column(rates["close"], np.float64),
        tick_volume=_column(rates["tick_volume"], np.float64),
        spread=_column(rates["spread"], np.int64),
    )


def _column(values: Any, kind: type) -> Any:
    """One field of the rows, side by side in memory, as TA-Lib wants it."""
    return np.ascontiguousarray(values, dtype=kind)
