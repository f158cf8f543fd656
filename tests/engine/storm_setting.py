"""What a storm is made of: accounts, contracts, numbers of the rules, positions, faults and hands, from one seed."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dtms_service.domain.parameters import Parameters
from dtms_service.domain.trade import Mode

SYMBOLS = ("EURUSD", "XAUUSD")
DIGITS = {"EURUSD": 5, "XAUUSD": 2}
UNIT = {"EURUSD": 0.0008, "XAUUSD": 1.6}
"""A distance that prices of the generated market move within minutes."""

ACCOUNTS: Mapping[str, Mapping[str, Any]] = {
    "hedging": {},
    "netting": {"margin_mode": "netting"},
    "exchange": {"margin_mode": "exchange"},
    "fifo": {"fifo_close": True},
    "prohibited": {"hedge_prohibited": True},
    "small": {"balance": 700.0, "commission": 3.5},
}
"""``prohibited`` refuses a second side only when it is asked for one, ``small`` has money for few lots."""
TWO_SIDES = frozenset({"hedging", "small"})
"""Accounts on which a hedge can be a position; ``prohibited`` shows that it cannot by its refusal."""

CONTRACTS: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "distant": {"stops_level": 40, "freeze_level": 15},
    "in pieces": {"volume_max": 0.25},
    "large lots": {"volume_min": 0.05, "volume_step": 0.05},
    "ioc": {"filling": "ioc"},
    "exchange": {"execution": "exchange", "filling": "fok"},
    "instant": {"execution": "instant"},
    "request": {"execution": "request"},
    "thin": {"liquidity": 0.15, "filling": "ioc"},
}
MODES = ("full", "full", "full", "full", "close_only", "long_only", "short_only", "disabled")
"""What a symbol may become while the service is down."""

FOK, IOC, RETURN = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Facts:
    """A contract as this storm made it, beside what the terminal says of it."""

    point: float
    stops_level: int
    freeze_level: int
    volume_min: float
    volume_max: float
    volume_step: float
    fillings: frozenset[int]


def facts(symbol: str, told: Mapping[str, Any]) -> Facts:
    """MetaTrader's rules of filling by execution (``mt5.md`` 2.3), and the built-in catalogue's other figures."""
    bits = {"both": {FOK, IOC}, "fok": {FOK}, "ioc": {IOC}, "none": set()}[told.get("filling", "both")]
    execution = told.get("execution", "market")
    if execution in {"instant", "request"}:
        bits = {FOK, IOC, RETURN}
    elif execution == "exchange":
        bits = bits | {RETURN}
    return Facts(
        point=10.0 ** -DIGITS[symbol],
        stops_level=told.get("stops_level", {"EURUSD": 10, "XAUUSD": 20}[symbol]),
        freeze_level=told.get("freeze_level", 0),
        volume_min=told.get("volume_min", 0.01),
        volume_max=told.get("volume_max", 100.0),
        volume_step=told.get("volume_step", 0.01),
        fillings=frozenset(bits or {FOK}),
    )


_ALWAYS: dict[str, Any] = {
    "l1_score": -0.1,
    "l2_score": -0.2,
    "hedge_score": -0.3,
    "hedge_now_score": -0.3,
    "arm_age_s": 0.0,
}
RULES: Mapping[str, Parameters] = {
    "stern": Parameters(
        **_ALWAYS,
        l1_exit_score=10.0,
        l2_exit_score=10.0,
        hedged_exit_score=10.0,
        recovered_score=10.0,
        flat_s=900.0,
        recovery_s=600.0,
    ),
    "mild": Parameters(
        **_ALWAYS,
        l1_exit_score=0.1,
        l2_exit_score=0.0,
        hedged_exit_score=-0.2,
        recovered_score=0.2,
        min_dwell_s=300.0,
        calm_evaluations=1,
        flat_s=2700.0,
        recovery_s=900.0,
    ),
    "reducing": Parameters(**_ALWAYS, l1_exit_score=10.0, l2_exit_score=10.0, flat_s=900.0, hedge_style="reduce"),
    "opposing": Parameters(**_ALWAYS, l1_exit_score=10.0, l2_exit_score=10.0, flat_s=1800.0, hedge_style="opposite"),
}
"""Every market that is a little against a trade leads it through all states within an hour."""

BEGINS = (
    "2025-01-06T08:00:00Z",
    "2025-01-08T13:10:00Z",
    "2025-01-09T02:40:00Z",
    "2025-01-10T20:45:00Z",
    "2025-01-14T15:35:00Z",
)
"""London, New York, Tokyo, the hour before a weekend, a lively afternoon."""

SENT: tuple[Mapping[str, Any], ...] = (
    {"kind": "reply_lost_executed"},
    {"kind": "reply_lost_executed"},
    {"kind": "reply_lost_not_executed"},
    {"kind": "executed_late", "seconds": 20},
    {"kind": "placed"},
    {"kind": "stopped_first"},
    {"kind": "partial_fill"},
    {"kind": "visible_late", "seconds": 6},
    {"kind": "comment_rewritten"},
    {"kind": "hang"},
    {"kind": "slow", "seconds": 30, "call": "order_send"},
    {"kind": "terminal_killed", "call": "order_send"},
    *({"kind": "retcode", "retcode": code, "count": 1} for code in (10004, 10006, 10016, 10018, 10030, 10031)),
    {"kind": "retcode", "retcode": 10006, "count": 3},
    {"kind": "retcode", "retcode": 10024, "count": 2},
)
"""What may happen to an order."""
TO_A_HEDGE: tuple[Mapping[str, Any], ...] = (
    {"kind": "magic_zeroed"},
    {"kind": "retcode", "retcode": 10019},
    {"kind": "executed_late", "seconds": 400},
    {"kind": "executed_late", "seconds": 90},
    {"kind": "reply_lost_executed"},
)
"""What else to one that opens a position: no money, or it comes after its settle window, as a second one."""
TO_A_CLOSE: tuple[Mapping[str, Any], ...] = ({"kind": "magic_zeroed"},)
NAMELESS: tuple[Mapping[str, Any], ...] = ({"kind": "magic_zeroed"}, {"kind": "comment_rewritten"})
WITH_ITS_NAME = frozenset({"reply_lost_executed", "executed_late", "terminal_killed", "hang"})
"""Together with these every other order loses its magic, and every eighth its comment too: its reply is not there."""

MEANWHILE: tuple[Mapping[str, Any], ...] = (
    *({"kind": "read_none", "call": c} for c in ("positions_get", "orders_get", "history_deals_get", "account_info")),
    {"kind": "read_none", "probability": 0.3, "seconds": 120.0},
    {"kind": "read_omits_ticket", "count": 2},
    {"kind": "ticket_changed"},
    {"kind": "stale_ticks", "seconds": 240.0},
    {"kind": "bad_tick", "count": 2},
    {"kind": "disconnected", "seconds": 45.0},
    {"kind": "terminal_killed", "call": "positions_get"},
    {"kind": "autotrading_off", "seconds": 90.0},
    {"kind": "experts_off", "seconds": 90.0},
    {"kind": "market_closed", "seconds": 90.0},
    {"kind": "visible_late", "seconds": 5.0, "count": 3},
)
"""What may happen between orders; ``read_omits_ticket`` and ``ticket_changed`` get a position of the storm."""
SWITCHED_OFF = frozenset({"autotrading_off", "experts_off"})
OLD_QUOTES = frozenset({"stale_ticks", "bad_tick"})

HANDS = (
    "tighten",
    "loosen",
    "remove",
    "target",
    "near_stop",
    "near_target",
    "close",
    "close_part",
    "close_hedge",
    "cut_hedge",
    "stop_hedge",
    "twin",
    "add",
    "register",
)
ORDERS = ("pause", "resume", "halt", "reset", "flatten", "news", "hand_over", "release", "take_back")
STEPS_S = (2.0, 30.0, 60.0, 120.0, 300.0, 300.0)


@dataclass(frozen=True, slots=True)
class Opening:
    """A position of the storm; ``stop`` and ``target`` in units of its symbol, ``owner`` None is registered later."""

    symbol: str
    side: str
    volume: float
    stop: float | None
    target: float | None
    owner: str | None


@dataclass(frozen=True)
class Setting:
    """One storm, drawn from its seed."""

    seed: int
    account: str
    contracts: Mapping[str, Mapping[str, Any]]
    rules: str
    mode: Mode
    begins: str
    openings: tuple[Opening, ...]
    steps: int = 40
    chance: random.Random = field(compare=False, default_factory=random.Random)


def drawn(seed: int, *, account: str | None = None, steps: int = 40) -> Setting:
    """The storm of ``seed``; ``account`` to have a certain one."""
    chance = random.Random(seed)
    named = account or chance.choice([*ACCOUNTS, "hedging", "hedging", "hedging"])
    shapes = {symbol: dict(CONTRACTS[chance.choice([*CONTRACTS, "plain", "plain"])]) for symbol in SYMBOLS}
    count = 2 if named in {"netting", "exchange"} else chance.choice((3, 4, 5, 6))
    return Setting(
        seed=seed,
        account=named,
        contracts=shapes,
        rules=chance.choice(("stern", "stern", "mild", "mild", "mild", "reducing", "opposing")),
        mode=Mode.OBSERVE if chance.random() < 0.05 else Mode.PROTECT,
        begins=chance.choice(BEGINS),
        openings=tuple(_opening(chance, named, shapes, number) for number in range(count)),
        steps=steps,
        chance=chance,
    )


def _opening(chance: random.Random, account: str, shapes: Mapping[str, Mapping[str, Any]], number: int) -> Opening:
    one_per_symbol = account in {"netting", "exchange"}
    symbol = SYMBOLS[number % 2] if one_per_symbol or chance.random() < 0.4 else SYMBOLS[0]
    least = shapes[symbol].get("volume_min", 0.01)
    lots = chance.choice((1, 2, 4, 10, 20, 40))
    if account == "small":
        lots = min(lots, 2)
    return Opening(
        symbol=symbol,
        side=("BUY", "SELL")[number % 2] if account in TWO_SIDES else chance.choice(("BUY", "SELL")),
        volume=round(min(lots * least, shapes[symbol].get("volume_max", 100.0)), 2),
        stop=None if chance.random() < 0.15 else chance.choice((3.0, 12.0, 25.0, 40.0, 60.0)),
        target=None if chance.random() < 0.4 else chance.choice((3.0, 10.0, 60.0)),
        owner=chance.choice((None, "universal_manager", "dtms", "dtms", "dtms", "dtms", "dtms", "dtms")),
    )
