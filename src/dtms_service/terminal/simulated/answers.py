"""The broker's records as MetaTrader5's structures. ``offset`` seconds are added to every time field."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtms_service.market.bars import Bars
from dtms_service.terminal.simulated.broker import MARGIN_CALL_PERCENT, STOP_OUT_PERCENT, Broker
from dtms_service.terminal.simulated.catalogue import Contract
from dtms_service.terminal.simulated.constants import Constants
from dtms_service.terminal.simulated.rows import DealRow, OrderRow, PositionRow
from dtms_service.terminal.simulated.series import Quote
from dtms_service.terminal.simulated.structs import (
    RATES_DTYPE,
    SYMBOL_INFO_BLANK,
    AccountInfo,
    Struct,
    SymbolInfo,
    TerminalInfo,
    Tick,
    TradeDeal,
    TradeOrder,
    TradePosition,
    fill,
)

SERVER = "DTMS-Simulated"
COMPANY = "DTMS simulated broker"
BUILD = 6231
MAX_BARS = 100_000


def position(broker: Broker, row: PositionRow, time: float, offset: int) -> Struct:
    """An open position with its price and profit of the instant."""
    opened, updated = row.time_msc + offset * 1000, row.time_update_msc + offset * 1000
    return TradePosition((
        row.ticket, opened // 1000, opened, updated // 1000, updated, row.type, row.magic, row.identifier, row.reason,
        row.volume, row.price_open, row.sl, row.tp, broker.price_of(row, time), 0.0, broker.profit_of(row, time),
        row.symbol, row.comment, "",
    ))  # fmt: skip


def order(row: OrderRow, offset: int) -> Struct:
    """A filled order of the history."""
    moment = row.time_msc + offset * 1000
    filled = Constants.ORDER_STATE_FILLED
    return TradeOrder((
        row.ticket, moment // 1000, moment, moment // 1000, moment, 0, row.type, Constants.ORDER_TIME_GTC, row.filling,
        filled, row.magic, row.position_id, 0, row.reason, row.volume, 0.0, row.price, row.sl, row.tp, row.price, 0.0,
        row.symbol, row.comment, "",
    ))  # fmt: skip


def deal(row: DealRow, offset: int) -> Struct:
    """A deal of the history."""
    moment = row.time_msc + offset * 1000
    return TradeDeal((
        row.ticket, row.order_ticket, moment // 1000, moment, row.type, row.entry, row.magic, row.position_id,
        row.reason, row.volume, row.price, 0.0, 0.0, row.profit, 0.0, row.symbol, row.comment, "",
    ))  # fmt: skip


def tick(quote: Quote | None, offset: int) -> Struct:
    """The quote as a tick; all zero when the symbol has none."""
    if quote is None:
        return Tick((0, 0.0, 0.0, 0.0, 0, 0, 0, 0.0))
    moment = round(quote.time * 1000) + offset * 1000
    flags = Constants.TICK_FLAG_BID | Constants.TICK_FLAG_ASK
    return Tick((moment // 1000, quote.bid, quote.ask, 0.0, 0, moment, flags, 0.0))


def account(broker: Broker, login: int, time: float) -> Struct:
    """The account with its money of the instant; ``margin_level`` is 0.0 without margin."""
    terms = broker.terms
    profit, margin = broker.floating(time), broker.margin(time)
    equity = round(broker.state.balance + profit, 2)
    values: dict[str, Any] = {
        "login": login,
        "trade_mode": Constants.ACCOUNT_TRADE_MODE_DEMO,
        "leverage": terms.leverage,
        "margin_so_mode": Constants.ACCOUNT_STOPOUT_MODE_PERCENT,
        "trade_allowed": True,
        "trade_expert": True,
        "margin_mode": terms.margin_mode,
        "currency_digits": 2,
        "fifo_close": terms.fifo_close,
        "balance": broker.state.balance,
        "profit": profit,
        "equity": equity,
        "margin": margin,
        "margin_free": round(equity - margin, 2),
        "margin_level": round(100.0 * equity / margin, 2) if margin else 0.0,
        "margin_so_call": MARGIN_CALL_PERCENT,
        "margin_so_so": STOP_OUT_PERCENT,
        "name": "Simulated account",
        "server": SERVER,
        "currency": terms.currency,
        "company": COMPANY,
    }
    blank = (0, 0, 0, 0, 0, False, False, 0, 0, False, *(0.0,) * 14, *("",) * 4)
    return fill(AccountInfo, values, blank)


def terminal(*, connected: bool) -> Struct:
    """The terminal; its link to the broker is up unless a fault cut it."""
    values: dict[str, Any] = {
        "connected": connected,
        "trade_allowed": True,
        "build": BUILD,
        "maxbars": MAX_BARS,
        "company": COMPANY,
        "name": "DTMS simulated terminal",
        "language": "English",
    }
    return fill(TerminalInfo, values, (*(False,) * 10, 0, 0, 0, 0, 0.0, 0.0, *("",) * 6))


def symbol(facts: Contract, quote: Quote | None, rate: float, offset: int, *, selected: bool) -> Struct:
    """Contract facts and the newest quote; ``rate`` converts the profit currency into the account's."""
    value = facts.point * facts.contract_size * rate
    values: dict[str, Any] = {
        "select": selected,
        "visible": selected,
        "time": 0 if quote is None else int(quote.time) + offset,
        "digits": facts.digits,
        "spread": 0 if quote is None else round((quote.ask - quote.bid) / facts.point),
        "spread_float": True,
        "trade_calc_mode": facts.calc_mode,
        "trade_mode": Constants.SYMBOL_TRADE_MODE_FULL,
        "trade_stops_level": facts.stops_level,
        "trade_exemode": Constants.SYMBOL_TRADE_EXECUTION_MARKET,
        "filling_mode": facts.filling,
        "order_mode": 1 | 16 | 32,  # market orders, stop loss, take profit
        "expiration_mode": 1,
        "bid": 0.0 if quote is None else quote.bid,
        "ask": 0.0 if quote is None else quote.ask,
        "point": facts.point,
        "trade_tick_value": value,
        "trade_tick_value_profit": value,
        "trade_tick_value_loss": value,
        "trade_tick_size": facts.point,
        "trade_contract_size": facts.contract_size,
        "volume_min": facts.volume_min,
        "volume_max": facts.volume_max,
        "volume_step": facts.volume_step,
        "margin_hedged": facts.contract_size,
        "currency_base": facts.base,
        "currency_profit": facts.profit,
        "currency_margin": facts.margin_currency,
        "description": facts.description or facts.name,
        "name": facts.name,
        "path": f"Simulated\\{facts.name}",
    }
    return fill(SymbolInfo, values, SYMBOL_INFO_BLANK)


def rates(bars: Bars, offset: int) -> NDArray[np.void]:
    """Bars as ``copy_rates_*`` returns them."""
    rows = np.zeros(len(bars), dtype=RATES_DTYPE)
    rows["time"] = bars.time + offset
    rows["open"], rows["high"], rows["low"], rows["close"] = bars.open, bars.high, bars.low, bars.close
    rows["tick_volume"] = bars.tick_volume
    rows["spread"] = bars.spread
    return rows
