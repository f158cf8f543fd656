"""The result structures of MetaTrader5 5.0.6231: tuples with named fields, in the package's own order.

They copy what its C structures do (C60): indexing and unpacking as a tuple, ``_asdict()`` that is shallow, no
``_fields`` and no ``_replace``, and no pickling, because the real ones cannot cross a process either.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any, ClassVar, NoReturn


class Struct(tuple[Any, ...]):
    """Base of all results. Fields are read by name; the names are those of MetaTrader5."""

    __slots__ = ()
    names: ClassVar[tuple[str, ...]] = ()

    def __getattr__(self, name: str) -> Any:
        message = f"{type(self).__name__!r} object has no attribute {name!r}"
        raise AttributeError(message)

    def __repr__(self) -> str:
        pairs = ", ".join(f"{name}={value!r}" for name, value in zip(self.names, self, strict=True))
        return f"{type(self).__name__}({pairs})"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        message = f"cannot pickle {type(self).__name__!r} object"
        raise TypeError(message)

    @property
    def n_fields(self) -> int:
        """Number of fields, as the C structures have it."""
        return len(self.names)

    def _asdict(self) -> dict[str, Any]:
        """Fields by name; a structure inside stays a structure."""
        return dict(zip(self.names, self, strict=True))


def _struct(name: str, fields: str) -> type[Struct]:
    names = tuple(fields.split())
    body: dict[str, Any] = {"__slots__": (), "names": names}
    body.update({field: property(itemgetter(index)) for index, field in enumerate(names)})
    return type(name, (Struct,), body)


def fill(kind: type[Struct], values: dict[str, Any], blank: Sequence[Any]) -> Struct:
    """A structure of ``kind``: named ``values`` over ``blank``, which holds one zero of the right type per field."""
    return kind(values.get(name, zero) for name, zero in zip(kind.names, blank, strict=True))


Tick = _struct("Tick", "time bid ask last volume time_msc flags volume_real")
BookInfo = _struct("BookInfo", "type price volume volume_dbl")
TradePosition = _struct(
    "TradePosition",
    "ticket time time_msc time_update time_update_msc type magic identifier reason volume price_open sl "
    "tp price_current swap profit symbol comment external_id",
)
TradeOrder = _struct(
    "TradeOrder",
    "ticket time_setup time_setup_msc time_done time_done_msc time_expiration type type_time type_filling "
    "state magic position_id position_by_id reason volume_initial volume_current price_open sl tp "
    "price_current price_stoplimit symbol comment external_id",
)
TradeDeal = _struct(
    "TradeDeal",
    "ticket order time time_msc type entry magic position_id reason volume price commission swap profit "
    "fee symbol comment external_id",
)
TradeRequest = _struct(
    "TradeRequest",
    "action magic order symbol volume price stoplimit sl tp deviation type type_filling type_time "
    "expiration comment position position_by",
)
OrderSendResult = _struct(
    "OrderSendResult", "retcode deal order volume price bid ask comment request_id retcode_external request"
)
OrderCheckResult = _struct(
    "OrderCheckResult", "retcode balance equity profit margin margin_free margin_level comment request"
)
AccountInfo = _struct(
    "AccountInfo",
    "login trade_mode leverage limit_orders margin_so_mode trade_allowed trade_expert margin_mode "
    "currency_digits fifo_close balance credit profit equity margin margin_free margin_level "
    "margin_so_call margin_so_so margin_initial margin_maintenance assets liabilities commission_blocked "
    "name server currency company",
)
TerminalInfo = _struct(
    "TerminalInfo",
    "community_account community_connection connected dlls_allowed trade_allowed tradeapi_disabled "
    "email_enabled ftp_enabled notifications_enabled mqid build maxbars codepage ping_last "
    "community_balance retransmission company name language path data_path commondata_path",
)
SymbolInfo = _struct(
    "SymbolInfo",
    "custom chart_mode select visible session_deals session_buy_orders session_sell_orders volume "
    "volumehigh volumelow time digits spread spread_float ticks_bookdepth trade_calc_mode trade_mode "
    "start_time expiration_time trade_stops_level trade_freeze_level trade_exemode swap_mode "
    "swap_rollover3days margin_hedged_use_leg expiration_mode filling_mode order_mode order_gtc_mode "
    "option_mode option_right bid bidhigh bidlow ask askhigh asklow last lasthigh lastlow volume_real "
    "volumehigh_real volumelow_real option_strike point trade_tick_value trade_tick_value_profit "
    "trade_tick_value_loss trade_tick_size trade_contract_size trade_accrued_interest trade_face_value "
    "trade_liquidity_rate volume_min volume_max volume_step volume_limit swap_long swap_short "
    "margin_initial margin_maintenance session_volume session_turnover session_interest "
    "session_buy_orders_volume session_sell_orders_volume session_open session_close session_aw "
    "session_price_settlement session_price_limit_min session_price_limit_max margin_hedged price_change "
    "price_volatility price_theoretical price_greeks_delta price_greeks_theta price_greeks_gamma "
    "price_greeks_vega price_greeks_rho price_greeks_omega price_sensitivity basis category currency_base "
    "currency_profit currency_margin bank description exchange formula isin name page path",
)

SYMBOL_INFO_BLANK: tuple[Any, ...] = (
    *(False,) * 1,
    *(0,) * 1,
    *(False,) * 2,
    *(0,) * 9,
    *(False,) * 1,
    *(0,) * 10,
    *(False,) * 1,
    *(0,) * 6,
    *(0.0,) * 52,
    *("",) * 13,
)
"""Zero of each field of ``SymbolInfo``; most of its 96 fields are never set outside exchanges."""

RATES_DTYPE = [
    ("time", "<i8"),
    ("open", "<f8"),
    ("high", "<f8"),
    ("low", "<f8"),
    ("close", "<f8"),
    ("tick_volume", "<u8"),
    ("spread", "<i4"),
    ("real_volume", "<u8"),
]
"""Row of ``copy_rates_*``: packed, 60 bytes."""

TICKS_DTYPE = [
    ("time", "<i8"),
    ("bid", "<f8"),
    ("ask", "<f8"),
    ("last", "<f8"),
    ("volume", "<u8"),
    ("time_msc", "<i8"),
    ("flags", "<u4"),
    ("volume_real", "<f8"),
]
"""Row of ``copy_ticks_*``: packed, 60 bytes."""
