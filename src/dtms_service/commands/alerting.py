"""``dtms alerts``: what somebody should look at, and taking one on."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.text import Text

from dtms_client import operating
from dtms_service.commands.looking import connected
from dtms_service.commands.ordering import By, Reason, person
from dtms_service.commands.showing import Json, moment, show, table

application = typer.Typer()
alerts = typer.Typer(help="What somebody should look at.", invoke_without_command=True)
application.add_typer(alerts, name="alerts")

Every = Annotated[bool, typer.Option("--all", help="Also those that somebody has taken on.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many, the newest.")]

_COLUMNS = ("id", "severity", "alert", "ticket", "times", "last", "by", "detail")


@alerts.callback()
def alerts_open(context: typer.Context, *, as_json: Json = False) -> None:
    """Show the alerts that nobody has taken on yet; ``list`` has more options, ``ack`` takes one on."""
    if context.invoked_subcommand is None:
        _listed(every=False, limit=100, as_json=as_json)


@alerts.command("list")
def alerts_list(*, every: Every = False, limit: Limit = 100, as_json: Json = False) -> None:
    """Show alerts, the newest first."""
    _listed(every=every, limit=limit, as_json=as_json)


@alerts.command("ack")
def alerts_ack(
    alert_id: Annotated[int, typer.Argument(metavar="ID", min=1, help="As in the list.")],
    *,
    reason: Reason = "",
    by: By = None,
    as_json: Json = False,
) -> None:
    """Take an alert on: it is not told to anybody any more, the next occurrence is a new one."""
    with connected() as client:
        done = client.call(operating.acknowledge(alert_id, reason=reason, by=person(by)))
    said = f"alert {alert_id} ({done.get('code')}) was taken on by {done.get('acknowledged_by')}"
    show(done, lambda _: Text(said), as_json=as_json)


def _listed(*, every: bool, limit: int, as_json: bool) -> None:
    with connected() as client:
        found = client.call(operating.alerts(unacknowledged=not every, limit=limit))
    show(found, lambda console: shown(found["alerts"], console), as_json=as_json)


def shown(found: list[dict[str, Any]], console: Console) -> RenderableType:
    """Alerts for people: one a line, and what to do about each kind."""
    rows = [
        (
            alert.get("id"),
            alert.get("severity"),
            alert.get("code"),
            alert.get("ticket"),
            alert.get("count"),
            moment(alert.get("last_at")),
            alert.get("acknowledged_by"),
            alert.get("detail"),
        )
        for alert in found
    ]
    remedies = {alert.get("code"): alert.get("do") for alert in found if alert.get("do")}
    hints = [Text(f"{code}: {what}") for code, what in remedies.items()]
    return Group(table(_COLUMNS, rows, console.width, "no alerts"), *hints)
