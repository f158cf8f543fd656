"""The broker's records as MetaTrader5's structures, their times as the server's wall clock shows them (C55)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtms_service.market.bars import Bars
from dtms_service.terminal.simulated.accounting import Accounting
from dtms_service.terminal.simulated.catalogue import Contract
from dtms_service.terminal.simulated.constants import Constants
from dtms_service.terminal.simulated.rows import DealRow, OrderRow, PositionRow
from dtms_service.terminal.simulated.series import Quote
from dtms_service.terminal.simulated.server_clock import ServerClock
from dtms_service.terminal.simulated.structs import (
    RATES_DTYPE,
    SYMBOL_INFO_BLANK,
    TICKS_DTYPE,
    AccountInfo,
    BookInfo,
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
MARGIN_CALL_PERCENT = 100.0
_BID_AND_ASK = Constants.TICK_FLAG_BID | Constants.TICK_FLAG_ASK


def position(books: Accounting, row: PositionRow, time: float, clock: ServerClock) -> Struct:
    """An open position with its price and profit of the instant."""
    opened, updated = _moment(row.time_msc, clock), _moment(row.time_update_msc, clock)
    return TradePosition((
        row.ticket, opened // 1000, opened, updated // 1000, updated, row.type, row.magic, row.identifier, row.reason,
        row.volume, row.price_open, row.sl, row.tp, books.price_of(row, time), row.swap, books.profit_of(row, time),
        row.symbol, row.comment, "",
    ))  # fmt: skip


def order(row: OrderRow, clock: ServerClock) -> Struct:
    """An order that waits, or one of the history."""
    setup = _moment(row.time_msc, clock)
    done = 0 if row.waits or not row.done_msc else _moment(row.done_msc, clock)
    end = int(clock.server(row.expiration)) if row.expiration > 0 else 0
    return TradeOrder((
        row.ticket, setup // 1000, setup, done // 1000, done, end, row.type, row.type_time, row.filling,
        row.state, row.magic, row.position_id, row.position_by, row.reason, row.volume, row.rest, row.price, row.sl,
        row.tp, row.price, 0.0, row.symbol, row.comment, "",
    ))  # fmt: skip


def deal(row: DealRow, clock: ServerClock) -> Struct:
    """A deal of the history."""
    moment = _moment(row.time_msc, clock)
    return TradeDeal((
        row.ticket, row.order_ticket, moment // 1000, moment, row.type, row.entry, row.magic, row.position_id,
        row.reason, row.volume, row.price, row.commission, row.swap, row.profit, 0.0, row.symbol, row.comment, "",
    ))  # fmt: skip


def _moment(milliseconds: int, clock: ServerClock) -> int:
    return milliseconds + clock.ahead(milliseconds / 1000) * 1000


def tick(quote: Quote | None, clock: ServerClock) -> Struct:
    """The quote as a tick; all zero when the symbol has none."""
    if quote is None:
        return Tick((0, 0.0, 0.0, 0.0, 0, 0, 0, 0.0))
    moment = _moment(round(quote.time * 1000), clock)
    return Tick((moment // 1000, quote.bid, quote.ask, 0.0, 0, moment, _BID_AND_ASK, 0.0))


def ticks(quotes: list[Quote], clock: ServerClock) -> NDArray[np.void]:
    """Quotes as ``copy_ticks_*`` returns them."""
    rows = np.zeros(len(quotes), dtype=TICKS_DTYPE)
    rows["time_msc"] = [_moment(round(quote.time * 1000), clock) for quote in quotes]
    rows["time"] = rows["time_msc"] // 1000
    rows["bid"], rows["ask"] = [quote.bid for quote in quotes], [quote.ask for quote in quotes]
    rows["flags"] = _BID_AND_ASK
    return rows


def book(quote: Quote, facts: Contract) -> tuple[Struct, ...]:
    """Market depth: one price on each side where liquidity is limited, else none."""
    if not facts.liquidity:
        return ()
    sides = ((Constants.BOOK_TYPE_SELL, quote.ask), (Constants.BOOK_TYPE_BUY, quote.bid))
    return tuple(BookInfo((kind, price, int(facts.liquidity), facts.liquidity)) for kind, price in sides)


def account(books: Accounting, login: int, time: float, *, experts: bool = True) -> Struct:
    """The account with its money of the instant; ``profit`` includes the swap of open positions."""
    terms, balance = books.terms, books.state.balance
    profit, margin = books.floating(time), books.margin(time)
    equity = round(balance + profit, 2)
    values: dict[str, Any] = {
        "login": login,
        "trade_mode": Constants.ACCOUNT_TRADE_MODE_DEMO,
        "leverage": terms.leverage,
        "margin_so_mode": Constants.ACCOUNT_STOPOUT_MODE_PERCENT,
        "trade_allowed": True,
        "trade_expert": experts,
        "margin_mode": terms.margin_mode,
        "currency_digits": 2,
        "fifo_close": terms.fifo_close,
        "balance": balance,
        "profit": profit,
        "equity": equity,
        "margin": margin,
        "margin_free": round(equity - margin, 2),
        "margin_level": round(100.0 * equity / margin, 2) if margin else 0.0,
        "margin_so_call": MARGIN_CALL_PERCENT,
        "margin_so_so": terms.stop_out_percent,
        "name": "Simulated account",
        "server": SERVER,
        "currency": terms.currency,
        "company": COMPANY,
    }
    blank = (0, 0, 0, 0, 0, False, False, 0, 0, False, *(0.0,) * 14, *("",) * 4)
    return fill(AccountInfo, values, blank)


def terminal(*, connected: bool, trading: bool, api: bool) -> Struct:
    """The terminal: its link to the broker, its algo-trading button and its switch for Python, as faults left them."""
    values: dict[str, Any] = {
        "connected": connected,
        "trade_allowed": trading,
        "tradeapi_disabled": not api,
        "build": BUILD,
        "maxbars": MAX_BARS,
        "company": COMPANY,
        "name": "DTMS simulated terminal",
        "language": "English",
    }
    return fill(TerminalInfo, values, (*(False,) * 10, 0, 0, 0, 0, 0.0, 0.0, *("",) * 6))


def symbol(facts: Contract, quote: Quote | None, rate: float, clock: ServerClock, *, selected: bool) -> Struct:
    """Contract facts and the newest quote; ``rate`` converts the profit currency into the account's."""
    value = facts.point * facts.contract_size * rate
    values: dict[str, Any] = {
        "select": selected,
        "visible": selected,
        "time": 0 if quote is None else int(clock.server(quote.time)),
        "digits": facts.digits,
        "spread": 0 if quote is None else round((quote.ask - quote.bid) / facts.point),
        "spread_float": True,
        "trade_calc_mode": facts.calc_mode,
        "trade_mode": facts.trade_mode,
        "trade_stops_level": facts.stops_level,
        "trade_freeze_level": facts.freeze_level,
        "trade_exemode": facts.execution,
        "swap_mode": facts.swap_mode,
        "swap_rollover3days": facts.swap_triple_day,
        "margin_hedged_use_leg": facts.margin_hedged_use_leg,
        "filling_mode": facts.filling,
        "order_mode": facts.order_modes,
        "expiration_mode": 15,  # until cancelled, the day, a moment, a whole day
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
        "volume_limit": facts.volume_limit,
        "swap_long": facts.swap_long,
        "swap_short": facts.swap_short,
        "margin_initial": facts.margin_initial,
        "margin_hedged": facts.hedged_size,
        "currency_base": facts.base,
        "currency_profit": facts.profit,
        "currency_margin": facts.margin_currency,
        "description": facts.description or facts.name,
        "name": facts.name,
        "path": f"Simulated\\{facts.name}",
    }
    return fill(SymbolInfo, values, SYMBOL_INFO_BLANK)


def rates(bars: Bars, clock: ServerClock) -> NDArray[np.void]:
    """Bars as ``copy_rates_*`` returns them."""
    rows = np.zeros(len(bars), dtype=RATES_DTYPE)
    rows["time"] = clock.servers(bars.time)
    rows["open"], rows["high"], rows["low"], rows["close"] = bars.open, bars.high, bars.low, bars.close
    rows["tick_volume"] = bars.tick_volume
    rows["spread"] = bars.spread
    return rows
