"""What callers were told, held against the ledger's own file and the simulated broker's.

Both are read without the code under test. Nothing that was told to be safe may be missing, nothing may be there twice,
nothing that contradicts may be accepted, and nothing that is true refused.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from crash_judge import Disk, Row
from fault_caller import Claim, Told
from fault_proxy import Fault


@dataclass
class Found:
    """What came of it."""

    told: Counter[str] = field(default_factory=Counter)
    """Outcomes as the callers heard them."""
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)
    """Contradicting registrations that were."""
    refused: list[str] = field(default_factory=list)
    """True registrations that were refused, and refusals for another reason than contradiction."""
    overruled: int = 0
    """Answers that told of a false claim only that it waits; the terminal then won, and the ledger has the alert."""
    trades: int = 0
    played: Mapping[Fault, int] = field(default_factory=dict)
    service_kills: int = 0
    caller_kills: int = 0

    @property
    def violations(self) -> list[str]:
        return [*self.lost, *self.doubled, *self.accepted, *self.refused]

    def line(self) -> str:
        """The figures in one line."""
        faults = ", ".join(f"{count} {fault.value}" for fault, count in self.played.items())
        deaths = f"{self.service_kills} of the service, {self.caller_kills} of callers"
        wrong = f"{len(self.lost)} lost, {len(self.doubled)} double, {len(self.accepted)} contradicting accepted, "
        return (
            f"{self.told.total()} registrations on {self.trades} tickets; requests: {faults}; deaths: {deaths}: "
            f"{wrong}{len(self.refused)} wrongly refused"
        )


def registered(ledger: Path) -> dict[int, int]:
    """Ticket -> how many events of the ledger say that it was registered."""
    with closing(sqlite3.connect(ledger)) as database:
        return dict(database.execute("SELECT ticket, count(*) FROM events WHERE kind = 'registered' GROUP BY ticket"))


def contradicted(ledger: Path) -> set[int]:
    """Tickets whose first claim waited for the terminal and was found false: the terminal won, and an alert says so."""
    query = "SELECT ticket FROM events WHERE kind = 'alert' AND body LIKE '%claim_contradicted%'"
    with closing(sqlite3.connect(ledger)) as database:
        return {ticket for (ticket,) in database.execute(query)}


def judged(
    said: Sequence[Told],
    disk: Disk,
    refused: Sequence[tuple[Claim, str]],
    events: Mapping[int, int],
    overruled: Collection[int] = (),
) -> Found:
    """``refused``: what lies in the callers' ``rejected/`` and why; the rest: see `registered`, `contradicted`."""
    found = Found(told=Counter(each.outcome for each in said), trades=len(disk.trades))
    rows = {row["ticket"]: row for row in disk.trades}
    found.doubled = [*_doubled(disk, events)]
    found.accepted = [*_unlike_the_broker(disk)]
    set_aside = {_facts(claim) for claim, _ in refused}
    for each in said:
        row = rows.get(each.claim.ticket)
        if row is None:
            if each.safe:
                found.lost.append(f"{each} is not in the ledger")
        elif _facts(each.claim) == (row["ticket"], row["symbol"], row["side"]):
            if not each.safe:
                found.refused.append(f"{each} fits the ledger")
        elif each.safe and each.claim.ticket in overruled and not each.final:
            found.overruled += 1
        elif each.confirmed or (each.safe and _facts(each.claim) not in set_aside):
            found.accepted.append(f"{each} contradicts {row['symbol']} {row['side']} in the ledger")
        elif each.outcome == "rejected" and each.why != "registration_conflict":
            found.refused.append(f"{each} was refused for another reason than its contradiction")
    found.refused += _wrongly_set_aside(rows, refused)
    return found


def _wrongly_set_aside(rows: Mapping[int, Row], refused: Sequence[tuple[Claim, str]]) -> Iterator[str]:
    for claim, why in refused:
        row = rows.get(claim.ticket)
        fits = row is not None and _facts(claim) == (row["ticket"], row["symbol"], row["side"])
        if why != "registration_conflict" or row is None or fits:
            yield f"{claim} lies in rejected/ for {why}"


def _doubled(disk: Disk, events: Mapping[int, int]) -> Iterator[str]:
    for ticket, count in Counter(row["ticket"] for row in disk.trades).items():
        if (count, events.get(ticket)) != (1, 1):
            yield f"{ticket} is in the ledger {count} times, registered by {events.get(ticket, 0)} events"


def _unlike_the_broker(disk: Disk) -> Iterator[str]:
    """A position is what the broker says it is."""
    rows: dict[int, Row] = {row["ticket"]: row for row in disk.trades}
    for position in disk.positions:
        row = rows.get(position["ticket"])
        truth = position["symbol"], ("BUY", "SELL")[position["type"]]
        if row is not None and (row["symbol"], row["side"]) != truth:
            yield f"{position['ticket']} is {truth}, and {row['symbol']} {row['side']} in the ledger"


def _facts(claim: Claim) -> tuple[int, str, str]:
    return claim.ticket, claim.symbol, claim.side
