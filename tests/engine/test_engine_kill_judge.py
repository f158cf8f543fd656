"""The judge of the deaths objects to each thing that must not be on disk, and to nothing else."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from crash_judge import Disk, Judge

HALF, HEDGE, OTHER = (4454_417_00000000 + n for n in (1, 2, 3))
BUY, SELL = 0, 1
IN, OUT = 0, 1
EXPERT, STOP = 3, 4


def position(ticket: int, kind: int = BUY, volume: float = 0.1, stop: float = 1.09, magic: int = 0) -> dict[str, Any]:
    return {"ticket": ticket, "identifier": ticket, "type": kind, "volume": volume, "sl": stop, "magic": magic}


def deal(ticket: int, magic: int, entry: int, volume: float = 0.1, reason: int = EXPERT) -> dict[str, Any]:
    return {"ticket": ticket, "magic": magic, "entry": entry, "volume": volume, "reason": reason}


def trade(number: int, **changes: Any) -> dict[str, Any]:
    same = {"ticket": 10 + number, "identifier": 10 + number, "initial_volume": 0.2, "volume": 0.1}
    return {"trade_id": number, **same, "state": "WARNING_L2", "stop_loss": 1.09, "hedge": None, **changes}


def intent(magic: int, kind: str, **changes: Any) -> dict[str, Any]:
    plan = {"ticket": 11, "volume": 0.1}
    return {"magic": magic, "trade_id": 1, "kind": kind, "state": "CONFIRMED", "plan": plan, **changes}


SOUND = Disk(
    trades=(trade(1, state="HEDGED", hedge={"identifier": 90}), trade(2, state="CLOSED", volume=0.0)),
    intents=(intent(HALF, "partial_close"), intent(HEDGE, "open_hedge")),
    positions=(position(11), position(90, SELL, stop=1.15, magic=HEDGE)),
    deals=(deal(1, 0, IN, 0.2), deal(2, HALF, OUT), deal(3, HEDGE, IN)),
)
"""A trade of which half was closed and the rest is hedged, and one that is over."""


def judge() -> Judge:
    return Judge(acknowledged={11, 12}, stops={11: 1.09, 90: 1.15})


def with_deals(*more: dict[str, Any]) -> Disk:
    return replace(SOUND, deals=(*SOUND.deals, *more))


def test_a_sound_record_has_no_objection() -> None:
    judge().at_rest(SOUND)


def test_a_stop_of_the_broker_is_no_order_of_ours() -> None:
    judge().always(with_deals(deal(4, HEDGE, OUT, reason=STOP)))


def test_what_waits_in_the_spool_is_not_lost_but_not_at_rest_either() -> None:
    waiting = replace(SOUND, trades=SOUND.trades[:1], spooled=frozenset({12}))
    judge().always(waiting)
    with pytest.raises(AssertionError, match="12 still waits in the spool"):
        judge().at_rest(waiting)


NEVER: dict[str, tuple[Disk, str]] = {
    "a registration is gone": (
        replace(SOUND, trades=SOUND.trades[:1]),
        "acknowledged, and neither in the ledger nor in the spool: [12]",
    ),
    "a registration became two trades": (
        replace(SOUND, trades=(*SOUND.trades, trade(3, ticket=12))),
        "ticket 12 is registered 2 times",
    ),
    "a deal was never committed": (with_deals(deal(4, OTHER, OUT)), f"deal 4 has no committed intent: magic {OTHER}"),
    "an order took effect twice": (with_deals(deal(4, HEDGE, OUT)), f"order {HEDGE} did 0.2 lots of 0.1"),
    "two halves were closed": (
        replace(with_deals(deal(4, OTHER, OUT)), intents=(*SOUND.intents, intent(OTHER, "partial_close"))),
        "0.2 lots of 0.2 of 11 closed in part",
    ),
    "two hedges were opened": (
        replace(with_deals(deal(4, OTHER, IN)), intents=(*SOUND.intents, intent(OTHER, "open_hedge"))),
        "trade 11 was hedged 2 times",
    ),
    "two hedges are open": (
        replace(
            SOUND,
            intents=(*SOUND.intents, intent(OTHER, "open_hedge")),
            positions=(*SOUND.positions, position(91, SELL, stop=1.15, magic=OTHER)),
        ),
        "trade 11 has 2 hedges",
    ),
    "a stop went back": (
        replace(SOUND, positions=(position(11, stop=1.08), SOUND.positions[1])),
        "the stop of 11 went from 1.09 to 1.08",
    ),
    "the stop of a SELL went back": (
        replace(SOUND, positions=(SOUND.positions[0], position(90, SELL, stop=1.16, magic=HEDGE))),
        "the stop of 90 went from 1.15 to 1.16",
    ),
    "a stop is gone": (
        replace(SOUND, positions=(position(11, stop=0.0), SOUND.positions[1])),
        "the stop of 11 went from 1.09 to 0.0",
    ),
}


@pytest.mark.parametrize("name", NEVER)
def test_what_must_never_be_is_named(name: str) -> None:
    disk, words = NEVER[name]
    found = judge()
    with pytest.raises(AssertionError, match=f"^{re.escape(words)}$"):
        found.always(disk)
    assert found.lost + found.doubled == 1


def settled(**changes: Any) -> Disk:
    return replace(SOUND, trades=({**SOUND.trades[0], **changes}, SOUND.trades[1]))


UNLIKE: dict[str, tuple[Disk, str]] = {
    "an order has no outcome": (
        replace(SOUND, intents=(SOUND.intents[0], intent(HEDGE, "open_hedge", state="UNKNOWN"))),
        f"order {HEDGE} (open_hedge) is UNKNOWN",
    ),
    "a volume is another": (settled(volume=0.2), "11 is recorded as (0.2, 1.09), and is (0.1, 1.09)"),
    "a stop is another": (settled(stop_loss=1.08), "11 is recorded as (0.1, 1.08), and is (0.1, 1.09)"),
    "a position is gone": (replace(SOUND, positions=SOUND.positions[1:]), "11 is HEDGED, and gone"),
    "a position is open": (settled(state="CLOSED"), "11 is CLOSED, and open"),
    "a hedge has no trade": (settled(hedge=None), "hedge 90 belongs to no trade"),
    "a hedge is gone": (replace(SOUND, positions=SOUND.positions[:1]), "hedge 90 of a trade is not there"),
}


@pytest.mark.parametrize("name", UNLIKE)
def test_where_record_and_broker_differ_at_rest_is_named(name: str) -> None:
    disk, words = UNLIKE[name]
    judge().always(disk)
    with pytest.raises(AssertionError, match=f"^{re.escape(words)}$"):
        judge().at_rest(disk)
