"""What the account, its symbols and its terminal are like: options read into values, once, at the start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dtms_service.terminal.simulated.catalogue import Contract
from dtms_service.terminal.simulated.constants import (
    SYMBOL_FILLING_FOK,
    SYMBOL_FILLING_IOC,
    Constants,
)
from dtms_service.terminal.simulated.reading import choice, flag, known, number, read_number, whole
from dtms_service.terminal.simulated.server_clock import ServerClock

MARGIN_MODES = {
    "netting": Constants.ACCOUNT_MARGIN_MODE_RETAIL_NETTING,
    "exchange": Constants.ACCOUNT_MARGIN_MODE_EXCHANGE,
    "hedging": Constants.ACCOUNT_MARGIN_MODE_RETAIL_HEDGING,
}
EXECUTIONS = {
    "request": Constants.SYMBOL_TRADE_EXECUTION_REQUEST,
    "instant": Constants.SYMBOL_TRADE_EXECUTION_INSTANT,
    "market": Constants.SYMBOL_TRADE_EXECUTION_MARKET,
    "exchange": Constants.SYMBOL_TRADE_EXECUTION_EXCHANGE,
}
FILLINGS = {
    "none": 0,
    "fok": SYMBOL_FILLING_FOK,
    "ioc": SYMBOL_FILLING_IOC,
    "both": SYMBOL_FILLING_FOK | SYMBOL_FILLING_IOC,
}
SWAP_MODES = {
    "disabled": Constants.SYMBOL_SWAP_MODE_DISABLED,
    "points": Constants.SYMBOL_SWAP_MODE_POINTS,
    "money": Constants.SYMBOL_SWAP_MODE_CURRENCY_DEPOSIT,
    "reopen_current": Constants.SYMBOL_SWAP_MODE_REOPEN_CURRENT,
    "reopen_bid": Constants.SYMBOL_SWAP_MODE_REOPEN_BID,
}
TRADE_MODES = {
    "disabled": Constants.SYMBOL_TRADE_MODE_DISABLED,
    "long_only": Constants.SYMBOL_TRADE_MODE_LONGONLY,
    "short_only": Constants.SYMBOL_TRADE_MODE_SHORTONLY,
    "close_only": Constants.SYMBOL_TRADE_MODE_CLOSEONLY,
    "full": Constants.SYMBOL_TRADE_MODE_FULL,
}
MISSING = {"closed": Constants.TRADE_RETCODE_POSITION_CLOSED, "invalid": Constants.TRADE_RETCODE_INVALID}
"""What an order for a position that is gone is answered with: 10036, or 10013 by the terminal itself (mt5.md 8)."""
_ACCOUNT = (
    "balance", "currency", "leverage", "margin_mode", "fifo_close", "hedge_prohibited", "commission",
    "stop_out_percent", "server_utc_offset", "server_summer_time",
)  # fmt: skip
_BROKER = (
    "latency", "slippage_points", "requests_per_s", "visibility_lag_s", "first_tick_s", "history_load_s",
    "missing_position", "api_off", "unselected_tick", "positions_of_unknown_symbol", "deals_by_ticket",
)  # fmt: skip
SYMBOL_FIELDS = (
    "name", "execution", "filling", "trade_mode", "close_by", "stops_level", "least_stop_level", "freeze_level",
    "volume_min", "volume_max", "volume_step", "volume_limit", "liquidity", "margin_initial", "margin_hedged",
    "margin_hedged_use_leg", "swap_mode", "swap_long", "swap_short", "swap_triple_day",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Terms:
    """The account: money in its currency, ``commission`` per lot and deal, ``stop_out_percent`` of the margin."""

    balance: float
    currency: str
    leverage: int
    margin_mode: int
    fifo_close: bool
    hedge_prohibited: bool
    commission: float
    stop_out_percent: float
    clock: ServerClock

    @property
    def hedging(self) -> bool:
        """True when each order opens a position of its own."""
        return self.margin_mode == Constants.ACCOUNT_MARGIN_MODE_RETAIL_HEDGING

    @property
    def facts(self) -> dict[str, Any]:
        """What an account stays for life, as its file holds it."""
        return {
            "balance": self.balance,
            "currency": self.currency,
            "leverage": self.leverage,
            "margin_mode": self.margin_mode,
            "fifo_close": int(self.fifo_close),
            "hedge_prohibited": int(self.hedge_prohibited),
            "commission": self.commission,
            "stop_out_percent": self.stop_out_percent,
            "server_utc_offset": self.clock.base,
            "server_summer_time": int(self.clock.summer),
        }


@dataclass(frozen=True, slots=True)
class Habits:
    """How broker and terminal behave where MetaTrader's documentation leaves it open or distributions decide.

    Times in market seconds, 0 for at once; ``requests_per_s`` 0 for no limit; ``slippage_points`` is a mean.
    """

    latency: bool = False
    slippage_points: float = 0.0
    requests_per_s: int = 0
    visibility_lag_s: float = 0.0
    first_tick_s: float = 0.0
    history_load_s: float = 0.0
    missing_position: int = Constants.TRADE_RETCODE_POSITION_CLOSED
    api_off: str = "error"
    unselected_tick: str = "zero"
    positions_of_unknown_symbol: str = "empty"
    deals_by_ticket: str = "one"


def read_terms(account: Mapping[str, Any]) -> Terms:
    """The account's terms with the defaults of R38. Raises ``ValueError``."""
    try:
        known(account, _ACCOUNT)
        mode = choice(account, "margin_mode", "hedging", MARGIN_MODES)
        return Terms(
            balance=round(number(account, "balance", 100_000.0, 0.01, 1e12), 2),
            currency=_currency(account.get("currency", "USD")),
            leverage=whole(account, "leverage", 100, 1, 5000),
            margin_mode=MARGIN_MODES[mode],
            fifo_close=flag(account, "fifo_close"),
            hedge_prohibited=flag(account, "hedge_prohibited"),
            commission=number(account, "commission", 0.0, 0.0, 1e6),
            stop_out_percent=number(account, "stop_out_percent", 50.0, 0.0, 1000.0),
            clock=ServerClock(_offset(account), flag(account, "server_summer_time")),
        )
    except ValueError as error:
        message = f"simulator.account.{error}"
        raise ValueError(message) from error


def read_habits(broker: Mapping[str, Any]) -> Habits:
    """The broker's habits; everything at once and without limits unless told otherwise. Raises ``ValueError``."""
    try:
        known(broker, _BROKER)
        return Habits(
            latency=choice(broker, "latency", "none", ("none", "typical")) == "typical",
            slippage_points=number(broker, "slippage_points", 0.0, 0.0, 1e6),
            requests_per_s=whole(broker, "requests_per_s", 0, 0, 1_000_000),
            visibility_lag_s=number(broker, "visibility_lag_s", 0.0, 0.0, 60.0),
            first_tick_s=number(broker, "first_tick_s", 0.0, 0.0, 3600.0),
            history_load_s=number(broker, "history_load_s", 0.0, 0.0, 3600.0),
            missing_position=MISSING[choice(broker, "missing_position", "closed", MISSING)],
            api_off=choice(broker, "api_off", "error", ("error", "retcode")),
            unselected_tick=choice(broker, "unselected_tick", "zero", ("zero", "none")),
            positions_of_unknown_symbol=choice(broker, "positions_of_unknown_symbol", "empty", ("empty", "none")),
            deals_by_ticket=choice(broker, "deals_by_ticket", "one", ("one", "none")),
        )
    except ValueError as error:
        message = f"simulator.broker.{error}"
        raise ValueError(message) from error


def read_contracts(symbols: Sequence[Mapping[str, Any]]) -> Mapping[str, Mapping[str, Any]]:
    """What is told about each symbol, by its name; ``tuned`` reads the rest. Raises ``ValueError``."""
    told: dict[str, Mapping[str, Any]] = {}
    for body in symbols:
        name = body.get("name")
        if not isinstance(name, str) or name in told:
            message = f"simulator.symbols: each entry names another symbol, and {name!r} does not"
            raise ValueError(message)
        told[name] = {key: value for key, value in body.items() if value is not None}
    return told


def tuned(facts: Contract, told: Mapping[str, Any]) -> Contract:
    """A contract as an entry of ``simulator.symbols`` wants it. Raises ``ValueError``."""
    try:
        known(told, SYMBOL_FIELDS)
        close_by = flag(told, "close_by", default=True)
        changed = replace(
            facts,
            execution=EXECUTIONS[choice(told, "execution", _word(EXECUTIONS, facts.execution), EXECUTIONS)],
            filling=FILLINGS[choice(told, "filling", _word(FILLINGS, facts.filling), FILLINGS)],
            trade_mode=TRADE_MODES[choice(told, "trade_mode", "full", TRADE_MODES)],
            order_modes=facts.order_modes if close_by else facts.order_modes & ~64,
            stops_level=whole(told, "stops_level", facts.stops_level, 0, 1_000_000),
            least_stop_level=whole(told, "least_stop_level", 0, 0, 1_000_000),
            freeze_level=whole(told, "freeze_level", 0, 0, 1_000_000),
            volume_min=number(told, "volume_min", facts.volume_min, 1e-8, 1e9),
            volume_max=number(told, "volume_max", facts.volume_max, 1e-8, 1e9),
            volume_step=number(told, "volume_step", facts.volume_step, 1e-8, 1e9),
            volume_limit=number(told, "volume_limit", 0.0, 0.0, 1e9),
            liquidity=number(told, "liquidity", 0.0, 0.0, 1e9),
            margin_initial=number(told, "margin_initial", 0.0, 0.0, 1e12),
            margin_hedged=read_number(told, "margin_hedged", facts.margin_hedged, 0.0, 1e12),
            margin_hedged_use_leg=flag(told, "margin_hedged_use_leg"),
            swap_mode=SWAP_MODES[choice(told, "swap_mode", "disabled", SWAP_MODES)],
            swap_long=number(told, "swap_long", 0.0, -1e6, 1e6),
            swap_short=number(told, "swap_short", 0.0, -1e6, 1e6),
            swap_triple_day=whole(told, "swap_triple_day", 3, 0, 5),
        )
    except ValueError as error:
        message = f"simulator.symbols.{facts.name}.{error}"
        raise ValueError(message) from error
    if changed.volume_min > changed.volume_max:
        message = f"simulator.symbols.{facts.name}: volume_min {changed.volume_min} is above volume_max"
        raise ValueError(message)
    return changed


def _currency(value: Any) -> str:
    if not isinstance(value, str) or len(value) != 3 or not value.isalpha() or not value.isupper():
        message = f"currency is {value!r}; it must be three capital letters such as USD"
        raise ValueError(message)
    return value


def _offset(account: Mapping[str, Any]) -> int:
    offset = number(account, "server_utc_offset", 0.0, -14.0, 14.0)
    if offset * 4 != int(offset * 4):
        message = "server_utc_offset must be a multiple of a quarter of an hour"
        raise ValueError(message)
    return round(offset * 3600)


def _word(table: Mapping[str, int], value: int) -> str:
    return next(word for word, number in table.items() if number == value)
