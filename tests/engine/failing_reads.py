"""The real engine while reads of the terminal fail: a run with faults beside the same run without."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine_world import World, open_world

from dtms_service.domain.parameters import Parameters
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import Trade

CYCLES = 20
"""Cycles of 30 s: two M5 bars close, so that trades are looked at, moved and get orders."""
SYMBOLS = ("EURUSD", "XAUUSD", "BTCUSD")
NERVOUS = Parameters(l1_score=-0.1, l2_score=-0.2, hedge_score=-0.2, arm_age_s=0.0, max_hedges=0)
"""One of a BUY and a SELL of each symbol is against its score: it is tightened and closed in part."""
CALM = Parameters(l1_score=-10.3, l2_score=-10.4, hedge_score=-10.5, hedge_now_score=-10.5)
"""No score asks for anything: whatever differs from a run without faults was made by the faults."""
READS = (
    ("account_info", None), ("terminal_info", None), ("positions_get", None), ("orders_get", None),
    ("history_deals_get", None), ("symbol_info", None),
    *((call, symbol) for call in ("symbol_info_tick", "copy_rates_from_pos") for symbol in SYMBOLS),
)  # fmt: skip
"""Every read that a cycle makes, for each symbol where it names one."""


@dataclass(frozen=True)
class Outcome:
    """How it ended: by ticket the state, the rule that led there and what is left; orders of ours by their magic."""

    trades: Mapping[int, tuple[TradeState, str, float]]
    positions: Mapping[int, tuple[float, float]]
    """By ticket: volume and stop loss at the broker."""
    deals: Mapping[int, int]
    """Deals of ours by magic: more than one is an order that took effect twice."""


async def begin(folder: Path, parameters: Parameters) -> World:
    """Six positions under protection."""
    world = await open_world(folder, parameters=parameters)
    tickets = [await world.open(symbol, side) for symbol in SYMBOLS for side in ("BUY", "SELL")]
    await world.register(*tickets)
    return world


async def run(
    folder: Path, faults: Mapping[int, Mapping[str, Any]], parameters: Parameters = CALM, cycles: int = CYCLES
) -> Outcome:
    """Run ``cycles`` of 30 s; before number n the fault ``faults[n]`` is armed. Checks after each that nothing went.

    Raises ``AssertionError``.
    """
    world = await begin(folder, parameters)
    stops = await broker(world)
    for number in range(cycles):
        if number in faults:
            await world.simulator.set_fault(faults[number])
        await world.advance(30)
        now = await broker(world)
        await same_trades(world, now)
        never_looser(world, stops, now)
        stops = now
    await world.simulator.clear_faults()
    await world.advance(90)
    found = await outcome(world)
    assert all(count == 1 for count in found.deals.values()), "an order took effect twice"
    assert all(world.trade(ticket).frozen is None for ticket in found.positions), "a trade is still waiting"
    await world.close()
    return found


async def broker(world: World) -> dict[int, tuple[float, float]]:
    """What the broker really holds, whatever a read says."""
    rows = (await world.simulator.view("positions"))["positions"]
    return {row["ticket"]: (row["volume"], row["sl"]) for row in rows}


async def same_trades(world: World, held: Mapping[int, Any]) -> None:
    """No trade is lost, and none is closed but by the broker."""
    for ticket in world.opened:
        over = world.trade(ticket).state.final
        assert not (over and ticket in held), f"{ticket} is open at the broker and {world.trade(ticket).state} here"


def never_looser(world: World, before: Mapping[int, Any], now: Mapping[int, Any]) -> None:
    """A stop only comes nearer, and a volume only shrinks."""
    for ticket, (volume, stop) in now.items():
        sign = world.trade(ticket).sign
        assert sign * (stop - before[ticket][1]) >= 0, f"the stop of {ticket} went from {before[ticket][1]} to {stop}"
        assert volume <= before[ticket][0]


async def outcome(world: World) -> Outcome:
    """How it stands."""
    ours: dict[int, int] = {}
    for deal in await world.deals():
        if deal["magic"] > 10**14:
            ours[deal["magic"]] = ours.get(deal["magic"], 0) + 1
    trades = {ticket: _place(world.trade(ticket)) for ticket in world.opened}
    return Outcome(trades, await broker(world), ours)


def _place(trade: Trade) -> tuple[TradeState, str, float]:
    return trade.state, trade.rule, trade.volume


def none(call: str, symbol: str | None, count: int = 1) -> dict[str, Any]:
    """The fault: this read answers None."""
    return {"kind": "read_none", "call": call, "count": count} | ({} if symbol is None else {"symbol": symbol})


def omitted(ticket: int, reads: int = 1) -> dict[str, Any]:
    """The fault: this position is missing from the next answers."""
    return {"kind": "read_omits_ticket", "ticket": ticket, "count": reads}


def failing(seed: int, cycles: int, probability: float = 0.3) -> dict[str, Any]:
    """The fault: reads fail at random for so many cycles of 30 s."""
    return {"kind": "read_none", "probability": probability, "seconds": 30.0 * cycles, "seed": seed}
