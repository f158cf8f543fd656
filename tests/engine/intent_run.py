"""Orders that must not be repeated, by the thousand, at a terminal that loses replies, executes late and fails to read.

What DTMS did is judged by the simulated account alone: its deals, its positions, and the requests that reached it.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine_world import CountedLink, World, open_world

from dtms_service.domain.outcome import Done, Outcome
from dtms_service.domain.parameters import Parameters
from dtms_service.domain.trade import IntentState
from dtms_service.terminal.link import Call, Reply
from dtms_service.terminal.simulated.faults import READS

Row = Mapping[str, Any]
NERVOUS = Parameters(
    l1_score=11.0,
    l2_score=11.0,
    hedge_score=11.0,
    hedge_now_score=11.0,
    l1_exit_score=12.0,
    l2_exit_score=12.0,
    hedged_exit_score=12.0,
    arm_age_s=0.0,
    flat_s=600.0,
)
"""Every trade is warned, closed in part, hedged and closed within the hour, and hardly one by its stop before."""
LOST, LATE, FAILED_READS = 0.05, 0.05, 0.10
FAULTS: tuple[Row, ...] = (
    {"kind": "reply_lost_executed", "probability": LOST / 2},
    {"kind": "reply_lost_not_executed", "probability": LOST / 2},
    {"kind": "executed_late", "probability": LATE / 2, "seconds": 4.0},
    {"kind": "executed_late", "probability": LATE / 2, "seconds": 45.0},
    {"kind": "read_none", "probability": FAILED_READS},
)
"""Late is within the settle window of 60 s: what a broker executes after it cannot be told from what it never will."""
FOREVER = 10**9
SYMBOLS, LOTS = ("EURUSD", "XAUUSD", "BTCUSD"), (0.08, 0.2, 0.32)
HANDS_MAGIC, EXPERT = 7, 3
STEP_S, CALM_S, LONGEST_S = 60.0, 600.0, 90 * 3600.0
MONDAY = "2025-01-06T02:00:00Z"
DEAL = 1
NOISE = 1e-9


@dataclass
class Account:
    """What reached the broker, and what is wrong with it."""

    requests: dict[int, list[Row]] = field(default_factory=lambda: defaultdict(list))
    """By magic."""
    stops: dict[int, tuple[int, float]] = field(default_factory=dict)
    """Side and stop of every open position, by identifier."""
    counts: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)

    @property
    def intents(self) -> int:
        """Orders that open or close volume."""
        return sum(1 for sent in self.requests.values() if sent[0]["action"] == DEAL)

    def look(self, positions: Sequence[Row]) -> None:
        """Nobody but DTMS moves stops here, and it moves them closer or not at all."""
        seen = {row["identifier"]: (1 - 2 * row["type"], row["sl"]) for row in positions}
        for identifier, (side, stop) in seen.items():
            _, before = self.stops.get(identifier, (side, 0.0))
            if before and (not stop or side * (stop - before) < -NOISE):
                self.broken.append(f"the stop of {identifier} went from {before} to {stop}")
        self.stops = seen

    def judge(self, deals: Sequence[Row]) -> bool:
        """Deals of ours against what was asked for once; True while nothing is wrong."""
        done: dict[tuple[int, int], list[float]] = defaultdict(list)
        volume = {d["position_id"]: d["volume"] for d in deals if d["entry"] == 0}
        of: dict[tuple[str, str], list[float]] = defaultdict(list)
        for deal in deals:
            if deal["magic"] in self.requests and deal["reason"] == EXPERT:
                done[deal["magic"], deal["entry"]].append(deal["volume"])
                if deal["comment"][:3] in {"DTP", "DTH"} and (deal["entry"] == 0) == (deal["comment"][2] == "H"):
                    of[deal["comment"][2], deal["comment"][3:]].append(deal["volume"])
        for (magic, _), parts in done.items():
            asked = self.requests[magic][0]["volume"]
            if len(parts) > 1:
                self.broken.append(f"order {magic} has {len(parts)} deals")
            if sum(parts) > asked + NOISE:
                self.broken.append(f"order {magic} of {asked} lots did {sum(parts)}")
        for (kind, number), parts in of.items():
            half = volume[int(number, 36)] / 2
            if sum(parts) > half + NOISE or (kind == "H" and len(parts) > 1):
                self.broken.append(f"{parts} lots in orders {kind} for position {int(number, 36)}, planned {half}")
        self.counts["deals"] = sum(map(len, done.values()))
        return not self.broken


class AccountLink(CountedLink):
    """Shows the account every request on its way."""

    account: Account | None = None

    async def ask(self, calls: Sequence[Call], deadline: float, *, urgent: bool = False) -> Outcome[Reply]:
        """See ``Link``."""
        answer = await super().ask(calls, deadline, urgent=urgent)
        account = self.account
        if account is None:
            return answer
        for call in calls:
            if call.name == "order_send":
                account.requests[call.kwargs["magic"]].append(call.kwargs)
        if calls[0].name in {"order_send", "simulator_advance"}:
            account.look(self._backend.simulator_view("positions")["positions"])
        if isinstance(answer, Done):
            results = answer.value.results
            reads = [result for call, result in zip(calls, results, strict=True) if call.name in READS]
            account.counts["failed reads"] += sum(result.value is None for result in reads)
            account.counts["reads"] += len(reads)
        return answer


async def run(
    folder: Path, seed: int, intents: int, *, positions: int = 60, parameters: Parameters = NERVOUS
) -> Account:
    """Until so many orders that open or close volume have left; ``Account.broken`` says what was wrong."""
    world = await open_world(
        folder,
        seed=seed,
        parameters=parameters,
        account={"balance": 1e7},
        begins=MONDAY,
        link_type=AccountLink,
    )
    account, chance = Account(), random.Random(seed)
    assert isinstance(world.link, AccountLink)
    world.link.account = account
    for number, fault in enumerate(FAULTS):
        await world.simulator.set_fault({"count": FOREVER, "seed": seed * 10 + number, **fault})
    begun = world.clock.now()
    while account.judge(await world.deals()) and account.intents < intents:
        assert world.clock.now() - begun < LONGEST_S, f"only {account.intents} orders in a week"
        await _fill(world, positions, chance)
        await world.advance(STEP_S)
    await world.simulator.clear_faults()
    await world.advance(CALM_S)
    account.judge(await world.deals())
    await _settled(world, account)
    account.counts["hours"] += round((world.clock.now() - begun) / 3600)
    await world.close()
    return account


async def _fill(world: World, positions: int, chance: random.Random) -> None:
    """As many positions as ever: what was closed is replaced by new ones, registered at once."""
    held = (await world.simulator.view("positions"))["positions"]
    missing = positions - sum(row["magic"] == HANDS_MAGIC for row in held)
    opened = [
        await world.open(chance.choice(SYMBOLS), chance.choice(("BUY", "SELL")), volume=chance.choice(LOTS))
        for _ in range(missing)
    ]
    if opened:
        await world.register(*opened)


async def _settled(world: World, account: Account) -> None:
    """In calm weather every order has its outcome, and the book shows what the broker holds."""
    held = {row["identifier"]: row["volume"] for row in (await world.simulator.view("positions"))["positions"]}
    journal = {i.magic: i for batch in world.ledger.batches for i in batch.intents}
    lost = {i.magic for batch in world.ledger.batches for i in batch.intents if i.state is IntentState.UNKNOWN}
    if world.dtms.book.intents:
        account.broken.append(f"{len(world.dtms.book.intents)} orders have no outcome in the end")
    if journal.keys() != account.requests.keys():
        account.broken.append("the journal and the requests name different orders")
    for trade in world.dtms.book.trades.values():
        volume = held.get(trade.identifier or trade.ticket, 0.0)
        if abs(volume - (0.0 if trade.state.final else trade.volume)) > NOISE:
            account.broken.append(f"{trade.ticket} is {trade.state} with {trade.volume} lots, the broker has {volume}")
    account.counts["orders"] += len(account.requests)
    account.counts["trades"] += len(world.dtms.book.trades)
    account.counts["replies lost or late"] += len(lost)
    account.counts["lost and not done"] += sum(journal[m].state is IntentState.NOT_EXECUTED for m in lost)
