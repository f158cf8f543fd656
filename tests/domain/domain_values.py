"""Trades, markets and scenes for the tests of the rules.

Scores come from readings, as they do in life: with every multiplier 1 and no order-flow provider the weights are
3, 2, 2, 1.5 and 1 of 9.5, so one full component is worth weight * 10.5 / 9.5 points (``engine.md`` B5):
structure 3.3158, vwap_volume 2.2105, momentum 2.2105, ema 1.6579, candle 1.1053.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from dtms_service.domain.parameters import Parameters
from dtms_service.domain.policy import Scene
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import Obligation, ObligationKind, ObligationStatus, Trade
from dtms_service.domain.values import (
    Deal,
    DealEntry,
    DealReason,
    Execution,
    Position,
    Side,
    SymbolSpec,
    Tick,
    TradeMode,
)
from dtms_service.domain.view import (
    CandleReading,
    EmaReading,
    MarketView,
    Missing,
    MomentumReading,
    Session,
    Structure,
    StructureReading,
    Volatility,
    VwapReading,
)

P = Parameters()
T0 = 1_699_999_200.0
"""A full quarter of an hour: 900 * 1,888,888."""

EURUSD = SymbolSpec(
    name="EURUSD",
    digits=5,
    point=0.00001,
    tick_size=0.00001,
    tick_value=1.0,
    contract_size=100_000.0,
    volume_min=0.01,
    volume_max=100.0,
    volume_step=0.01,
    stops_level=0,
    freeze_level=0,
    trade_mode=TradeMode.FULL,
    execution=Execution.MARKET,
)
XAUUSD = replace(
    EURUSD, name="XAUUSD", digits=2, point=0.01, tick_size=0.01, contract_size=100.0, volume_min=0.1, volume_step=0.1
)
USDJPY = replace(
    EURUSD, name="USDJPY", digits=3, point=0.001, tick_size=0.001, tick_value=0.67, volume_min=1.0, volume_step=1.0
)
GRID = replace(EURUSD, name="GRID", digits=4, point=0.0625, tick_size=0.0625)
"""Ticks of 1/16: sums and differences are exact in floats, so that mirrored prices compare without tolerance."""


def position(spec: SymbolSpec = EURUSD, side: Side = Side.BUY, **changes: Any) -> Position:
    """One lot at 1.1 with nothing attached, unless said otherwise."""
    values: dict[str, Any] = {
        "ticket": 1001,
        "identifier": 1001,
        "symbol": spec.name,
        "side": side,
        "volume": 1.0,
        "price_open": 1.1,
        "stop_loss": None,
        "take_profit": None,
        "price_current": 1.1,
        "profit": 0.0,
        "swap": 0.0,
        "magic": 77,
        "comment": "",
        "time": T0,
        "time_update": T0,
    }
    return Position(**{**values, **changes})


def trade(where: Position | None = None, **changes: Any) -> Trade:
    """A verified, armed, healthy trade of DTMS for ``where``, evaluated never."""
    held = where if where is not None else position()
    values: dict[str, Any] = {
        "trade_id": 1,
        "login": 5,
        "server": "Demo",
        "ticket": held.ticket,
        "identifier": held.identifier,
        "symbol": held.symbol,
        "side": held.side,
        "volume": held.volume,
        "initial_volume": held.volume,
        "entry_price": held.price_open,
        "stop_loss": held.stop_loss,
        "take_profit": held.take_profit,
        "initial_stop_loss": held.stop_loss,
        "state": TradeState.HEALTHY,
        "state_since": T0,
        "armed": True,
        "registered_at": T0,
        "opened_at": T0,
        "verified_at": T0,
    }
    return Trade(**{**values, **changes})


def owed(kind: ObligationKind, **changes: Any) -> Obligation:
    """An obligation that is due since ``T0``; a tightening one at 0.3 R."""
    values: dict[str, Any] = {
        "kind": kind,
        "episode": 0,
        "status": ObligationStatus.DUE,
        "reason": "for a test",
        "created_at": T0,
        "r_multiple": 0.3 if kind is ObligationKind.TIGHTEN_STOP else None,
        "next_try_at": T0,
    }
    return Obligation(**{**values, **changes})


def deal(ticket: int, entry: DealEntry, volume: float = 1.0, **changes: Any) -> Deal:
    """A deal of position 1001: BUY in, SELL out, unless said otherwise."""
    values: dict[str, Any] = {
        "ticket": ticket,
        "order": ticket + 5000,
        "position_id": 1001,
        "symbol": "EURUSD",
        "side": Side.BUY if entry is DealEntry.IN else Side.SELL,
        "entry": entry,
        "reason": DealReason.CLIENT,
        "volume": volume,
        "price": 1.1,
        "profit": 0.0,
        "commission": 0.0,
        "swap": 0.0,
        "magic": 77,
        "comment": "",
        "time": T0 + ticket,
    }
    return Deal(**{**values, **changes})


def market(
    now: float = T0 + 3605.0,
    *,
    structure: int = 0,
    vwap: int = 0,
    momentum: int = 0,
    ema: int = 0,
    candle: int = 0,
    **changes: Any,
) -> MarketView:
    """What the bars closed by ``now - 5`` show; each direction in {-1, 0, +1} is a full component, market-relative."""
    settled = now - 5.0
    m15 = settled // 900 * 900 - 900
    m5 = settled // 300 * 300 - 300
    values: dict[str, Any] = {
        "symbol": "EURUSD",
        "m15_time": m15,
        "m5_time": m5,
        "m5_close": 1.1,
        "m5_closed_at": tuple(m5 + 300 - 300 * k for k in range(599, -1, -1)),
        "atr": 0.001,
        "volatility": Volatility.NORMAL,
        "structure_regime": Structure.TREND,
        "regime_known": True,
        "session": Session.LONDON,
        "median_spread": 0.0001,
        "structure": StructureReading(structure, 0, "BOS" if structure else "NONE", 0.0, None, None),
        "vwap": VwapReading(1.1, vwap, 0, vwap),
        "momentum": MomentumReading(
            50.0 + 25 * momentum, 50.0 + 20 * momentum, (0.1 * momentum, 0.2 * momentum, 0.3 * momentum)
        ),
        "ema": EmaReading(0.6 * ema, 0.2 * ema, 0.01 * ema),
        "delta": Missing("no order-flow provider", configured=False),
        "candle": CandleReading(candle, crosses_vwap=True),
    }
    return MarketView(**{**values, **changes})


def scene(
    where: Position,
    price: float,
    *,
    now: float = T0 + 3605.0,
    spread: float = 0.0001,
    spec: SymbolSpec = EURUSD,
    view: MarketView | Missing | None = None,
    tick_age: float = 0.0,
) -> Scene:
    """``price`` is the one at which the position would be closed: bid for BUY, ask for SELL."""
    bid, ask = (price, price + spread) if where.side is Side.BUY else (price - spread, price)
    seen = view if view is not None else market(now)
    return Scene(now=now, position=where, tick=Tick(now - tick_age, bid, ask), spec=spec, view=seen)
