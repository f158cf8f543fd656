"""Five facts that decide whether DTMS is right about a terminal, and the habits that it can live with either way.

Each opens a position of its own with the smallest volume and closes it. DTMS relies on facts 2, 4 and 5; it keeps
clear of the first by naming both levels always, and the third only says who closed a trade.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from live_bench import DONE, Bench, NotHere, rows, sltp

from dtms_service.domain.values import Deal, DealEntry, DealReason, Position
from dtms_service.terminal.link import call

NEAR_S = 60.0
"""A wrong offset is wrong by a quarter of an hour at least; a computer's clock should be right within a minute."""


class Fact(NamedTuple):
    """``line`` says it to a person; ``figures`` are what was measured, seconds."""

    holds: bool
    line: str
    figures: dict[str, float]


async def take_profit_is_removed(bench: Bench) -> Fact:
    """Does an order that names only the stop remove the target? (C36; DOC and BIN say so.)"""
    opened, _ = await bench.open()
    position, _ = await bench.set_levels(opened)
    stop = bench.level(position.price_open, -0.011)
    answer = await bench.order(**sltp(position, bench.symbol, bench.magic(), sl=stop))
    assert answer["retcode"] == DONE, f"the stop was not changed: {answer}"
    shown = await bench.until(bench.positions, lambda found: next((p for p in found if p.stop_loss == stop), None))
    await bench.close(shown)
    holds = shown.take_profit is None
    return Fact(holds, f"an order that names only the stop {'removes' if holds else 'KEEPS'} the target", {})


async def magic_survives(bench: Bench) -> Fact:
    """Do magics above 2**32 come back whole, on position and deals? DTMS finds its orders by them."""
    opened, _ = await bench.open()
    opening, closing = max(bench.magics), bench.magic()
    await bench.close(opened, closing)
    first, last = await both_deals(bench, opened)
    sent = {"position": opening, "opening deal": opening, "closing deal": closing}
    shown = {"position": opened.magic, "opening deal": first.magic, "closing deal": last.magic}
    wrong = [f"{where}: sent {sent[where]}, shows {shown[where]}" for where in sent if sent[where] != shown[where]]
    said = "; ".join(wrong) or f"position, opening deal and closing deal show their magics, such as {opening}"
    return Fact(not wrong, said, {})


async def reason_is_expert(bench: Bench) -> Fact:
    """Are deals of Python orders marked as an expert's (3)? DTMS tells a program's closes from a hand's by that."""
    opened, _ = await bench.open()
    await bench.close(opened)
    reasons = [deal.reason for deal in await both_deals(bench, opened)]
    said = f"reasons of the opening and the closing deal: {' and '.join(reason.name for reason in reasons)}"
    return Fact(reasons == [DealReason.EXPERT] * 2, said, {})


async def visible_in_time(bench: Bench) -> Fact:
    """How long after its answer does an order show? DTMS takes what shows no trace within 60 s for not executed."""
    late: dict[str, float] = {}
    opened, acknowledged = await bench.open()
    late["position"] = bench.now() - acknowledged
    position, acknowledged = await bench.set_levels(opened)
    late["levels"] = bench.now() - acknowledged
    acknowledged = await bench.close(position)
    await bench.until(bench.positions, lambda found: all(p.identifier != opened.identifier for p in found))
    late["position gone"] = bench.now() - acknowledged
    await both_deals(bench, opened)
    late["closing deal"] = bench.now() - acknowledged
    times = ", ".join(f"{what} {seconds * 1000:.0f} ms" for what, seconds in late.items())
    return Fact(True, f"visible after the answer: {times} (DTMS waits 60 s)", late)


async def times_are_utc(bench: Bench) -> Fact:
    """Is a deal of now a deal of now, once the measured offset is taken off, and is it found by its time?"""
    opened, acknowledged = await bench.open()
    await bench.close(opened)
    first, last = await both_deals(bench, opened)
    ahead, away = bench.gateway.broker_offset, first.time - acknowledged
    since = await bench.deals_since(acknowledged - 2 * NEAR_S)
    found = last.ticket in {deal.ticket for deal in since}
    said = (
        f"the broker's clock is {'an unknown time' if ahead is None else f'{ahead / 3600:g} h'} ahead of UTC; the time "
        f"of a deal just made is {away:+.1f} s from this computer's; it is {'' if found else 'NOT '}found by its time"
    )
    return Fact(ahead is not None and abs(away) <= NEAR_S and found, said, {"ahead": ahead or 0.0, "away": away})


def told(number: int, fact: Fact) -> str:
    """The line of a fact."""
    return f"FACT {number} {'holds' if fact.holds else 'DIFFERS'}: {fact.line}"


def told_habits(found: dict[str, str]) -> str:
    """The line of the habits."""
    return "HABITS [simulator.broker] " + ", ".join(f'{name} = "{value}"' for name, value in found.items())


FACTS = {
    1: take_profit_is_removed,
    2: magic_survives,
    3: reason_is_expert,
    4: visible_in_time,
    5: times_are_utc,
}


async def habits(bench: Bench) -> dict[str, str]:
    """What this terminal does where its documentation leaves it open (mt5.md 8), as settings of the simulator."""
    closed, _ = await bench.open()
    await bench.close(closed)
    await bench.until(bench.positions, lambda found: all(p.identifier != closed.identifier for p in found))
    await both_deals(bench, closed)
    stop = bench.level(closed.price_open, -0.012)
    answer = await bench.order(**sltp(closed, bench.symbol, bench.magic(), sl=stop, tp=0.0))
    every, unknown, by_ticket = await bench.ask(
        call("symbols_get"),
        call("positions_get", symbol="NO.SUCH.SYMBOL"),
        call("history_deals_get", ticket=closed.identifier),
    )
    hidden = [row["name"] for row in rows(every) or () if not row["select"]]
    shown = (await bench.ask(call("symbol_info_tick", hidden[0])))[0].value if hidden else None
    return {
        "missing_position": {10036: "closed", 10013: "invalid"}.get(answer["retcode"], str(answer["retcode"])),
        "unselected_tick": "unseen" if not hidden else "none" if shown is None else "zero",
        "positions_of_unknown_symbol": "none" if rows(unknown) is None else "empty",
        "deals_by_ticket": "one" if rows(by_ticket) else "none",
    }


async def both_deals(bench: Bench, position: Position) -> Sequence[Deal]:
    """The deal that opened the position and the one that closed it, as soon as the terminal shows both."""

    async def deals() -> tuple[Deal, ...]:
        return await bench.deals(position)

    def both(found: tuple[Deal, ...]) -> tuple[Deal, ...] | None:
        return found if [deal.entry for deal in found] == [DealEntry.IN, DealEntry.OUT] else None

    found: tuple[Deal, ...] = await bench.until(deals, both)
    return found


def introduction(bench: Bench) -> str:
    """The first line: what a reader of a report has to know about the terminal; no account number."""
    if not bench.terminal or not bench.info:
        raise NotHere("the terminal was not read")
    info, terminal = bench.info, bench.terminal
    execution = {0: "request", 1: "instant", 2: "market", 3: "exchange"}.get(info["trade_exemode"], "another")
    return (
        f"TERMINAL build {terminal['build']}, {terminal['company']}, ping {terminal['ping_last'] / 1000:.0f} ms; "
        f"{bench.symbol}: {execution} execution, filling bits {info['filling_mode']}, "
        f"stops level {info['trade_stops_level']}, smallest volume {info['volume_min']:g}"
    )
