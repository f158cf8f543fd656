"""Brokers that the random trading of :mod:`account_machine` happens at: their symbols, markets and accounts."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from account_model import Instrument, Terms

PRICES = {"EURUSD": 1.1, "USDJPY": 150.0, "EURJPY": 165.0, "GBPUSD": 1.27, "EURGBP": 0.866, "XAUUSD": 2000.0}
INSTRUMENTS = {
    one.name: one
    for one in (
        Instrument("EURUSD", "EUR", "USD", 5),
        Instrument("USDJPY", "USD", "JPY", 3, bar_seconds=300),
        Instrument("EURJPY", "EUR", "JPY", 3, bar_seconds=300),
        Instrument("GBPUSD", "GBP", "USD", 5, bar_seconds=300),
        Instrument("EURGBP", "EUR", "GBP", 5, bar_seconds=300),
        Instrument("XAUUSD", "XAU", "USD", 2, Decimal(100), leveraged_cfd=True, bar_seconds=300),
    )
}
STOPS_LEVEL = {"EURUSD": 10, "USDJPY": 10, "EURJPY": 10, "GBPUSD": 10, "EURGBP": 10, "XAUUSD": 20}
LEVEL_UNIT = {"EURUSD": 6, "USDJPY": 6, "EURJPY": 8, "GBPUSD": 8, "EURGBP": 5, "XAUUSD": 5}
"""Points of one step of a level's distance; a bar of five minutes moves about seven such steps."""


def utc(text: str) -> int:
    return int(datetime.fromisoformat(text).astimezone(UTC).timestamp())


def decimal(value: float) -> Decimal:
    return Decimal(repr(float(value)))


SESSIONS = (
    (utc("2024-03-05T00:00:00Z"), utc("2024-03-08T21:00:00Z")),
    (utc("2024-03-10T22:00:00Z"), utc("2024-03-14T00:00:00Z")),
)
"""UTC: Tuesday to Friday evening, Sunday evening to Wednesday. The same for every symbol."""
STARTS = ("2024-03-06T09:00:00Z", "2024-03-06T20:30:00Z", "2024-03-07T23:10:00Z", "2024-03-08T19:50:00Z")


def write_market(folder: Path, seed: int) -> Path:
    """Bars of all symbols that wander within 5 %, with jumps, missing bars and changing spreads."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, price in PRICES.items():
        instrument = INSTRUMENTS[name]
        source = random.Random(f"{seed} {name}")
        text = ["time_utc,open,high,low,close,tick_volume,spread_points"]
        for begin, end in SESSIONS:
            text += _session(source, instrument, price, begin, end)
        (folder / f"{name}_M{instrument.bar_seconds // 60}_test.csv").write_text("\n".join([*text, ""]))
    return folder


def _session(source: random.Random, instrument: Instrument, middle: float, begin: int, end: int) -> list[str]:
    step, rows, close, missing = instrument.bar_seconds, [], middle, 0
    width = middle * 0.0004 * (step / 300) ** 0.5
    for time in range(begin, end, step):
        # Ten minutes without a bar are still open; the first and the last one keep the session's bounds.
        if missing * step < 600 - step and begin < time < end - step and source.random() < 0.1:
            missing += 1
            continue
        missing = 0
        start = close + (source.gauss(0, 6 * width) if source.random() < 0.04 else 0.0)
        start += (middle - start) * 0.01
        close = start + source.gauss(0, width)
        high, low = max(start, close) + abs(source.gauss(0, width)), min(start, close) - abs(source.gauss(0, width))
        prices = ",".join(f"{price:.{instrument.digits}f}" for price in (start, high, low, close))
        stamp = f"{datetime.fromtimestamp(time, UTC):%Y-%m-%dT%H:%M:%SZ}"
        rows.append(f"{stamp},{prices},,{source.choice((0, 5, 8, 8, 12, 20, 45))}")
    return rows


DAYS = 26 * 3600


@dataclass(frozen=True)
class Broker:
    """One kind of account and broker. ``account`` and ``symbols`` are options of the terminal."""

    name: str
    account: Mapping[str, Any] = field(default_factory=dict)
    symbols: tuple[Mapping[str, Any], ...] = ()
    waiting: bool = True
    """False where pending orders are not placed: the rules say nothing about them on such accounts."""
    stops: bool = True
    """False where nobody sets a stop loss, so that losses grow until the stop-out."""
    patience: int = DAYS
    """Longest pause between two operations in seconds: near a stop-out every tick of it is gone through."""
    lots: int = 300
    """Largest order in hundredths of a lot."""

    def instruments(self) -> dict[str, Instrument]:
        told = {body["name"]: body for body in self.symbols}
        return {name: _tuned(one, told.get(name, {})) for name, one in INSTRUMENTS.items()}

    def terms(self) -> Terms:
        return Terms(
            balance=decimal(self.account.get("balance", 100_000.0)),
            currency=self.account.get("currency", "USD"),
            leverage=self.account.get("leverage", 100),
            hedging=self.account.get("margin_mode", "hedging") == "hedging",
            commission=decimal(self.account.get("commission", 0.0)),
            stop_out=decimal(self.account.get("stop_out_percent", 50.0)),
        )

    def told(self, symbol: str, name: str, default: Any) -> Any:
        return next((body.get(name, default) for body in self.symbols if body["name"] == symbol), default)


def _tuned(instrument: Instrument, told: Mapping[str, Any]) -> Instrument:
    hedged = told.get("margin_hedged")
    return replace(
        instrument,
        margin_hedged=None if hedged is None else decimal(hedged),
        use_leg=told.get("margin_hedged_use_leg", False),
        swap_mode=told.get("swap_mode", "disabled"),
        swap_long=decimal(told.get("swap_long", 0.0)),
        swap_short=decimal(told.get("swap_short", 0.0)),
        triple_day=told.get("swap_triple_day", 3),
    )


def _all(**changes: Any) -> tuple[Mapping[str, Any], ...]:
    return tuple({"name": name} | changes for name in INSTRUMENTS)


RICH = {"balance": 10_000_000.0}
"""Far from a stop-out, whatever the random lots do."""
POOR = {"balance": 1500.0, "leverage": 500}
"""Some lots away from one."""
NIGHTLY = {"swap_long": -6.4, "swap_short": 1.7}
"""Tenths of a point, whose triple is never half a point: how that is rounded is published nowhere."""
DOLLARS, EUROS = {"currency": "USD"}, {"currency": "EUR"}
NETTING, EXCHANGE = {"margin_mode": "netting"}, {"margin_mode": "exchange"}
SMALLER_HEDGED = (*_all(margin_hedged=50_000.0)[:-1], {"name": "XAUUSD", "margin_hedged": 25.0})

BROKERS = {
    one.name: one
    for one in (
        Broker(
            "hedging_usd", RICH | {"commission": 3.5, "server_utc_offset": 2.0}, _all(swap_mode="points", **NIGHTLY)
        ),
        Broker("hedging_eur", RICH | EUROS, _all(swap_mode="points", swap_triple_day=1, **NIGHTLY)),
        Broker("netting_usd", RICH | NETTING | {"server_utc_offset": 3.0}, _all(swap_mode="money", **NIGHTLY)),
        Broker("netting_eur", RICH | NETTING | EUROS | {"commission": 2.25}, _all(swap_mode="points", **NIGHTLY)),
        Broker("exchange_usd", RICH | EXCHANGE | {"commission": 0.7}, _all(execution="exchange")),
        Broker("exchange_eur", RICH | EXCHANGE | EUROS, _all(swap_mode="reopen_bid", **NIGHTLY)),
        Broker("swap_in_money", RICH | EUROS | {"server_utc_offset": -5.0}, _all(swap_mode="money", **NIGHTLY)),
        Broker("swap_by_reopening", RICH | {"server_utc_offset": 3.0}, _all(swap_mode="reopen_current", **NIGHTLY)),
        Broker(
            "netting_reopening", RICH | NETTING | EUROS, _all(swap_mode="reopen_current", swap_triple_day=5, **NIGHTLY)
        ),
        Broker("hedged_margin", RICH | {"leverage": 30}, SMALLER_HEDGED),
        Broker("hedged_free", RICH | EUROS | {"leverage": 200}, _all(margin_hedged=0.0)),
        Broker("larger_leg", RICH | EUROS | {"leverage": 30}, _all(margin_hedged_use_leg=True)),
        Broker(
            "poor_hedging",
            POOR | {"commission": 3.5},
            _all(swap_mode="points", **NIGHTLY),
            stops=False,
            patience=3 * 3600,
        ),
        Broker("poor_hedging_eur", POOR | EUROS, _all(margin_hedged=0.0), patience=3 * 3600),
        Broker("poor_netting", POOR | NETTING | {"stop_out_percent": 80.0}, stops=False, patience=3 * 3600),
        Broker("poor_exchange_eur", POOR | EXCHANGE | EUROS | {"commission": 1.0}, patience=3 * 3600),
        Broker("first_in_first_out", RICH | {"fifo_close": True}, waiting=False),
        Broker("no_hedging", RICH | EUROS | {"hedge_prohibited": True}, waiting=False),
        Broker("limited", RICH | {"commission": 1.0}, _all(volume_limit=4.0, stops_level=0)),
        Broker("instant", RICH, _all(execution="instant")),
    )
}
"""Hedging, netting and exchange in dollars and euros first, then one for each other rule."""
