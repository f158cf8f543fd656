"""Asks the running service what is open and what it knows already, and registers the rest through the client."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from dtms_client.calls import Call, Reply
from dtms_client.errors import NotFound
from dtms_client.sync import DtmsClient
from dtms_service.adopt import plan, records
from dtms_service.adopt.plan import Candidate, Open, Rules

PAGE = 500
UNMANAGED = "/dtms/unmanaged"
SIMULATED = "/simulator/positions"


@dataclass(frozen=True, slots=True)
class Taken:
    """What came of one candidate: the service's word, or why it refused."""

    candidate: Candidate
    outcome: str
    detail: str = ""

    @property
    def failed(self) -> bool:
        """Whether the service refused."""
        return self.outcome == "rejected"


def look(client: DtmsClient, files: Iterable[Path], dtms_strategies: tuple[str, ...]) -> list[Candidate]:
    """What would become of every open position and every old record. Changes nothing.

    Raises `records.Unusable` for a file that cannot serve, `DtmsClientError` when the service cannot be asked.
    """
    old = records.read(files)
    rules = Rules(str(client.status()["mode"]), dtms_strategies)
    trades = list(_trades(client))
    registered = {trade.ticket: trade.state for trade in trades}
    registered |= {trade.identifier: trade.state for trade in trades if trade.identifier in old}
    ours = {trade.hedge.ticket for trade in trades if trade.hedge is not None}
    live = {trade.ticket for trade in trades if trade.state != "CLOSED"}
    unmanaged = [position for position in _unmanaged(client) if position.ticket not in ours | live]
    return plan.plan(unmanaged, registered, old, rules)


def take(client: DtmsClient, candidates: Sequence[Candidate]) -> list[Taken]:
    """Register what would be registered; one answer per candidate, the others with what they are already."""
    wanted = [one for one in candidates if one.registers]
    answers = dict(
        zip((one.ticket for one in wanted), client.register_batch([one.claims for one in wanted]), strict=True)
    )
    return [
        Taken(one, answers[one.ticket].outcome, answers[one.ticket].detail)
        if one.ticket in answers
        else as_planned(one)
        for one in candidates
    ]


def as_planned(candidate: Candidate) -> Taken:
    """A candidate as it stands before anything was registered."""
    return Taken(candidate, candidate.verdict.value, candidate.why)


def row(taken: Taken) -> dict[str, Any]:
    """What people and pipes are shown of one ticket."""
    one = taken.candidate
    return {
        "ticket": one.ticket,
        "symbol": one.symbol,
        "side": one.side,
        "volume": one.volume,
        "outcome": taken.outcome,
        "why": taken.detail or one.why,
        "known_from": one.found_in,
        "strategy_type": one.claims.get("strategy_type"),
    }


def _trades(client: DtmsClient) -> Iterator[Any]:
    cursor: str | None = None
    while True:
        page = client.trades(include_closed=True, limit=PAGE, cursor=cursor)
        yield from page.trades
        cursor = page.next_cursor
        if cursor is None:
            return


def _unmanaged(client: DtmsClient) -> list[Open]:
    """What is open: a simulated terminal is asked itself, a real one was looked at by the service's last cycle."""
    try:
        return client.call(Call("GET", SIMULATED, _positions))
    except NotFound:
        return client.call(Call("GET", UNMANAGED, _positions))


def _positions(reply: Reply) -> list[Open]:
    body = from_json(reply.body)
    if not isinstance(body, dict) or not isinstance(body.get("positions"), list):
        raise ValueError("no list of positions")  # noqa: TRY004 - `parse` promises ValueError
    return [_open(row) for row in body["positions"] if not row.get("own")]  # a hedge of ours is no trade (R29)


def _open(row: Mapping[str, Any]) -> Open:
    side = row["side"] if "side" in row else ("BUY", "SELL")[int(row["type"])]
    return Open(
        int(row["ticket"]),
        str(row["symbol"]),
        str(side),
        float(row["volume"]),
        int(row.get("magic") or 0),
        str(row.get("comment") or ""),
    )
