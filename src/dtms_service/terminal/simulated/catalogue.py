"""Contract facts of the simulated broker, chosen by the longest prefix of a symbol's name (R38).

Broker suffixes therefore need no list: XAUUSDc, EURUSD.pro and BTCUSDm match XAUUSD, EURUSD and BTCUSD. The figures
are those common among retail brokers; a name with an unknown prefix is a CFD in USD with one unit per lot.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from dtms_service.terminal.simulated.constants import SYMBOL_FILLING_FOK, SYMBOL_FILLING_IOC, Constants

_FOREX = Constants.SYMBOL_CALC_MODE_FOREX
_LEVERAGED = Constants.SYMBOL_CALC_MODE_CFDLEVERAGE
_PLAIN = Constants.SYMBOL_CALC_MODE_CFD
_BOTH = SYMBOL_FILLING_FOK | SYMBOL_FILLING_IOC
_ORDERS = 1 | 2 | 4 | 16 | 32 | 64


@dataclass(frozen=True, slots=True)
class Contract:
    """Facts of one symbol. Volumes in lots, ``stops_level`` and ``spread`` in points; ``margin_rate`` multiplies."""

    name: str
    base: str
    profit: str
    """Currency in which its prices and its profit are counted."""
    digits: int
    contract_size: float
    spread: int
    """Typical spread, used where a file has none and as the base of the synthetic one."""
    calc_mode: int = _FOREX
    stops_level: int = 0
    volume_min: float = 0.01
    volume_max: float = 100.0
    volume_step: float = 0.01
    margin_rate: float = 1.0
    filling: int = _BOTH
    description: str = ""
    execution: int = Constants.SYMBOL_TRADE_EXECUTION_MARKET
    trade_mode: int = Constants.SYMBOL_TRADE_MODE_FULL
    order_modes: int = _ORDERS
    """Bits of the accepted order types: market 1, limit 2, stop 4, stop loss 16, take profit 32, close by 64."""
    least_stop_level: int = 0
    """Distance of stops that the broker wants although ``stops_level`` says less (mt5.md 8)."""
    freeze_level: int = 0
    volume_limit: float = 0.0
    """Most lots in one direction, waiting orders included; 0 is no limit."""
    liquidity: float = 0.0
    """Lots that one order finds at the price; 0 is no limit."""
    margin_initial: float = 0.0
    """Margin of a lot in the margin currency instead of the formula's; 0 is the formula."""
    margin_hedged: float | None = None
    """Contract size of a covered lot; None is the same as of an open one."""
    margin_hedged_use_leg: bool = False
    swap_mode: int = Constants.SYMBOL_SWAP_MODE_DISABLED
    swap_long: float = 0.0
    swap_short: float = 0.0
    swap_triple_day: int = 3
    """Weekday whose night counts three times, 0 for none."""

    @property
    def point(self) -> float:
        """Smallest step of a price: 10 to the power of minus digits."""
        return float(f"1e-{self.digits}")

    @property
    def hedged_size(self) -> float:
        """Contract size (or fixed margin) of a covered lot."""
        usual = self.margin_initial or self.contract_size
        return usual if self.margin_hedged is None else self.margin_hedged

    @property
    def margin_currency(self) -> str:
        """Forex margin is counted in the base currency, any other in the currency of the price."""
        return self.base if self.calc_mode == _FOREX else self.profit


def _fx(name: str, spread: int, digits: int = 5) -> Contract:
    return Contract(
        name, name[:3], name[3:6], digits, 100_000.0, spread, stops_level=10, description=f"{name[:3]} vs {name[3:]}"
    )


_ENTRIES = (
    _fx("EURUSD", 8),
    _fx("GBPUSD", 12),
    _fx("AUDUSD", 10),
    _fx("NZDUSD", 14),
    _fx("USDCAD", 14),
    _fx("USDCHF", 12),
    _fx("USDJPY", 9, 3),
    _fx("EURJPY", 14, 3),
    _fx("GBPJPY", 20, 3),
    _fx("EURGBP", 11),
    _fx("EURCHF", 14),
    _fx("AUDJPY", 16, 3),
    Contract("XAUUSD", "XAU", "USD", 2, 100.0, 20, _LEVERAGED, 20, description="Gold, troy ounces"),
    Contract(
        "XAGUSD", "XAG", "USD", 3, 5_000.0, 25, _LEVERAGED, 20, margin_rate=2.0, description="Silver, troy ounces"
    ),
    Contract(
        "BTCUSD", "BTC", "USD", 2, 1.0, 1500, _LEVERAGED, 0, 0.01, 10.0, 0.01, 10.0, SYMBOL_FILLING_FOK, "Bitcoin"
    ),
    Contract("ETHUSD", "ETH", "USD", 2, 1.0, 150, _LEVERAGED, 0, 0.01, 100.0, 0.01, 10.0, SYMBOL_FILLING_FOK, "Ether"),
)
_UNKNOWN = Contract("", "USD", "USD", 2, 1.0, 10, _PLAIN, 0, 0.1, 1000.0, 0.1, 0.1, description="CFD")

REFERENCE_USD = {
    "USD": 1.0,
    "EUR": 1.10,
    "GBP": 1.27,
    "AUD": 0.66,
    "NZD": 0.61,
    "CAD": 0.73,
    "CHF": 1.13,
    "JPY": 1 / 150,
    "XAU": 2000.0,
    "XAG": 25.0,
    "BTC": 40_000.0,
    "ETH": 2_500.0,
}
"""US dollars per unit, in round figures: for a conversion that no symbol of the market has a price for."""


def contract(symbol: str, digits: int | None = None) -> Contract:
    """Facts of ``symbol``; ``digits`` of its bar file replace the catalogue's and scale what is in points."""
    found = max((entry for entry in _ENTRIES if symbol.startswith(entry.name)), key=lambda e: len(e.name), default=None)
    facts = replace(found or _UNKNOWN, name=symbol)
    if found is None and len(symbol) >= 6 and symbol[:3] in REFERENCE_USD and symbol[3:6] in REFERENCE_USD:
        facts = replace(_fx(symbol[:6], 15, 3 if symbol[3:6] == "JPY" else 5), name=symbol)
    if digits is None or digits == facts.digits:
        return facts
    scale = 10.0 ** (digits - facts.digits)
    return replace(
        facts,
        digits=digits,
        spread=max(1, round(facts.spread * scale)),
        stops_level=round(facts.stops_level * scale),
    )
