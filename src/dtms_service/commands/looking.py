"""What is DTMS doing? Commands that ask the running service and change nothing."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.text import Text

from dtms_client.sync import DtmsClient
from dtms_service.commands.showing import Json, facts, moment, show, table
from dtms_service.settings.files import CONFIG, named_file

application = typer.Typer()

Ticket = Annotated[int, typer.Argument(min=1, help="Ticket or identifier of the position.")]

TRADE = ("ticket", "symbol", "side", "volume", "state", "score", "R now", "stop", "owner", "protected")
_ACTION = ("sequence", "time", "ticket", "symbol", "action", "outcome", "reason", "description")
_COMPONENT = ("component", "points", "value", "weight", "multiplier", "available", "reason")


def connected() -> DtmsClient:
    """A client of the service that ``dtms serve`` would start here: the settings file of this folder counts, too."""
    file = named_file(os.environ)
    if file is not None:
        os.environ[CONFIG] = str(file)  # the client reads it from there (R44)
    return DtmsClient()


@application.command()
def status(*, as_json: Json = False) -> None:
    """Show what the running service does."""
    with connected() as client:
        body = client.status()
        trades = client.trades().trades
    data = {**body, "trades": [trade.model_dump() for trade in trades]}
    show(data, lambda console: overview(body, trades, console), as_json=as_json)


@application.command()
def explain(ticket: Ticket, *, as_json: Json = False) -> None:
    """Say why a trade is in its state, what is missing, and what comes next."""
    with connected() as client:
        found = client.explain(ticket)
    show(found, lambda console: _explained(found, console), as_json=as_json)


@application.command()
def actions(
    *,
    ticket: Annotated[int | None, typer.Option(min=1, help="Of one position only.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, the newest.")] = 50,
    since: Annotated[int | None, typer.Option(min=0, help="Only after this sequence number.")] = None,
    as_json: Json = False,
) -> None:
    """Show what was done, refused, or left without an answer; the newest last."""
    with connected() as client:
        found = client.actions(ticket=ticket, limit=limit, since=since)
    show(found, lambda console: table(_ACTION, [*map(_action, found)], console.width, "nothing done"), as_json=as_json)


def overview(body: dict[str, Any], trades: list[Any], console: Console) -> RenderableType:
    """The status for people: one sentence, what differs from the ordinary, and the trades."""
    counts = body.get("counts") or {}
    account = body.get("account") or {}
    about = {
        "mode": body.get("mode"),
        "control": body.get("control"),
        "account": " ".join(cell for name in ("login", "server", "kind") if (cell := str(account.get(name) or ""))),
        "unmanaged": counts.get("unmanaged") or None,
        "as of": moment(body.get("as_of")),
    }
    return Group(Text(str(body.get("summary", ""))), facts(about), trades_table(trades, console))


def trades_table(trades: list[Any], console: Console) -> RenderableType:
    """Trades, one a line."""
    return table(TRADE, [_trade(trade) for trade in trades], console.width, "no trades")


def _trade(trade: Any) -> tuple[Any, ...]:
    numbers = (trade.score, trade.r_now, trade.stop_loss)
    state = f"{trade.state} (frozen)" if trade.frozen else trade.state
    head = (trade.ticket, trade.symbol, trade.side, trade.volume, state)
    return (*head, *numbers, trade.owner, trade.protected)


def _action(done: dict[str, Any]) -> tuple[Any, ...]:
    who = (done.get("sequence"), moment(done.get("timestamp")), done.get("ticket"), done.get("symbol"))
    return (*who, done.get("action_type"), done.get("outcome"), done.get("reason"), done.get("description"))


def _explained(found: dict[str, Any], console: Console) -> RenderableType:
    keys = ("name", "points", "value", "weight", "multiplier", "available", "reason")
    rows = [[part.get(key) for key in keys] for part in found.get("components") or []]
    regime = found.get("regime") or {}
    about = {
        "ticket": found.get("ticket"),
        "state": found.get("state"),
        "since": moment(found.get("state_since")),
        "score": found.get("score"),
        "coverage": found.get("coverage"),
        "rule": found.get("rule"),
        "fired": found.get("fired"),
        "regime": ", ".join(f"{name} {value}" for name, value in regime.items()),
    }
    lines = [f"next: {line}" for line in found.get("next") or []]
    lines += [f"missing: {line}" for line in found.get("missing") or []]
    parts = [facts(about), table(_COMPONENT, rows, console.width, "not scored yet"), Text("\n".join(lines))]
    return Group(*parts)
