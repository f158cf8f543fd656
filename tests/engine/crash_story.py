"""A story of the real engine in steps of five minutes, in which every kind of order, closing and command happens.

Everything in it may be done again after a death: what is there already is not done twice.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from crash_caller import acknowledge
from crash_points import Crash
from engine_world import World, open_world
from storm_setting import RULES

from dtms_service.domain.control import News, Verb
from dtms_service.domain.trade import Owner
from dtms_service.engine.registrar import Registered

BEGINS = "2025-01-08T13:10:00Z"
STEP_S, STEPS = 300.0, 36
SEED = 2

Hand = Callable[[World, Path], Awaitable[None]]


async def opened(folder: Path, *, start: bool = True) -> World:
    """The service of the story on ``folder``."""
    return await open_world(folder, seed=SEED, begins=BEGINS, parameters=RULES["mild"], start=start)


def opens(name: str, symbol: str, side: str, **claims: Any) -> Hand:
    """A caller opens a position and registers it."""

    async def act(world: World, said: Path) -> None:
        deals = [deal for deal in await world.deals() if deal["comment"] == name and deal["entry"] == 0]
        if not deals:
            await world.open(symbol, side, volume=0.2, comment=name)
            deals = [deal for deal in await world.deals() if deal["comment"] == name and deal["entry"] == 0]
        (answer,) = await world.register(deals[0]["position_id"], **claims)
        assert isinstance(answer, Registered), answer
        acknowledge(said, deals[0]["position_id"])

    return act


def closes(name: str) -> Hand:
    """A hand at the terminal."""

    async def act(world: World, _: Path) -> None:
        ticket = await _ticket(world, name)
        if any(row["ticket"] == ticket for row in (await world.simulator.view("positions"))["positions"]):
            await world.simulator.close_position(ticket, None)

    return act


def orders(verb: Verb) -> Hand:
    """An operator."""

    async def act(world: World, _: Path) -> None:
        await world.dtms.order(verb, reason="the story", by="operator")

    return act


def hands_over(name: str, owner: Owner) -> Hand:
    """A manager takes a trade, or gives it back."""

    async def act(world: World, _: Path) -> None:
        trade = world.trade(await _ticket(world, name))
        if not trade.state.final:
            await world.dtms.hand_over(trade, owner, reason="the story", by="manager")

    return act


async def _announces(world: World, _: Path) -> None:
    now = world.dtms.now()
    await world.dtms.announce([News(begins=now, ends=now + 600, title="rates", symbols=("EURUSD",))], by="calendar")


async def _ticket(world: World, name: str) -> int:
    return next(int(d["position_id"]) for d in await world.deals() if d["comment"] == name and d["entry"] == 0)


HANDS: Mapping[int, Sequence[Hand]] = {
    0: (
        opens("one", "EURUSD", "BUY"),
        opens("two", "EURUSD", "SELL"),
        opens("three", "XAUUSD", "BUY"),
        opens("four", "XAUUSD", "SELL"),
    ),
    2: (opens("five", "BTCUSD", "BUY"), opens("six", "BTCUSD", "SELL")),
    4: (opens("seven", "EURUSD", "BUY"), orders(Verb.PAUSE)),
    5: (orders(Verb.RESUME), opens("eight", "XAUUSD", "SELL", managed_by=Owner.UNIVERSAL_MANAGER)),
    7: (closes("seven"), _announces),
    9: (hands_over("eight", Owner.DTMS), opens("nine", "BTCUSD", "BUY")),
    12: (hands_over("nine", Owner.INTELLIGENT_EXITS),),
    16: (hands_over("nine", Owner.DTMS), opens("ten", "XAUUSD", "BUY")),
    30: (orders(Verb.FLATTEN),),
}
"""What people do at the beginning of a step."""


async def play(world: World, step: int, said: Path) -> None:
    """One step, again if need be."""
    for hand in HANDS.get(step, ()):
        await hand(world, said)
    await world.dtms.advance(seconds=None, until=datetime.fromisoformat(BEGINS).timestamp() + (step + 1) * STEP_S)


async def warm(folder: Path) -> None:
    """Everything that is loaded or computed with its first use, once."""
    world = await opened(folder)
    await play(world, 0, folder / "said")
    await world.close()


async def live(crash: Crash, *, said: str, first: int, last: int, armed: Sequence[Any] | None = None) -> None:
    """One life in the working folder: start, then play steps. ``armed``: point and count, once it has started."""
    world = await opened(Path.cwd())
    if armed is not None:
        crash.arm(*armed)
    for step in range(first, last + 1):
        await play(world, step, Path(said))
    await world.close()


async def told(crash: Crash, *, kept: str) -> None:
    """The whole story without a death; what it was like at the beginning of each step is kept, and what was passed."""
    state, into = Path.cwd(), Path(kept)
    world = await opened(state)
    passes: list[Counter[str]] = []
    for step in range(STEPS):
        shutil.copytree(state, into / f"{step}")
        crash.passes = Counter()
        await play(world, step, into / "said")
        passes.append(crash.passes)
    shutil.copytree(state, into / f"{STEPS}")
    await world.close()
    (into / "passes.json").write_text(json.dumps(passes))
