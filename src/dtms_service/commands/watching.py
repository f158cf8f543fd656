"""``dtms trades`` and ``dtms watch``: the trades, once or again and again until Ctrl-C."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from dtms_client import operating
from dtms_client.errors import BadSetting, DtmsClientError, NotFound, Unauthorized
from dtms_client.sync import DtmsClient
from dtms_service.commands.alerting import shown as alerts_shown
from dtms_service.commands.looking import connected, overview, trades_table
from dtms_service.commands.showing import Json, for_people, show, terminal

application = typer.Typer()

Every = Annotated[float, typer.Option("--every", min=0.5, max=3600, help="Seconds between two looks.")]
Look = Callable[[DtmsClient], tuple[Any, Callable[[Console], RenderableType]]]
"""One look: what a pipe gets, and what a person sees."""


@application.command()
def trades(  # noqa: PLR0913 - one argument for each option
    *,
    state: Annotated[str | None, typer.Option(help="Only in this state.")] = None,
    symbol: Annotated[str | None, typer.Option(help="Only of this symbol.")] = None,
    owner: Annotated[str | None, typer.Option(help="Only of this owner.")] = None,
    closed: Annotated[bool, typer.Option("--closed", help="Also closed ones.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, max=1000, help="How many.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Again and again, until Ctrl-C.")] = False,
    every: Every = 2.0,
    as_json: Json = False,
) -> None:
    """List the trades that DTMS knows."""
    filters = {"state": state, "symbol": symbol, "owner": owner, "include_closed": closed or None, "limit": limit}

    def look(client: DtmsClient) -> tuple[Any, Callable[[Console], RenderableType]]:
        found = client.trades(**filters)
        return found.model_dump(), lambda console: trades_table(found.trades, console)

    with connected() as client:
        if watch:
            _watched(client, look, every, as_json=as_json)
        else:
            data, people = look(client)
            show(data, people, as_json=as_json)


@application.command()
def watch(*, every: Every = 2.0, as_json: Json = False) -> None:
    """Show status, trades and open alerts again and again, until Ctrl-C."""
    with connected() as client:
        _watched(client, _everything, every, as_json=as_json)


def _everything(client: DtmsClient) -> tuple[Any, Callable[[Console], RenderableType]]:
    status, trades, alerts = client.status(), client.trades().trades, _alerts(client)
    data = {**status, "trades": [trade.model_dump() for trade in trades], "alerts": alerts}

    def people(console: Console) -> RenderableType:
        below = [alerts_shown(alerts, console)] if alerts else []
        return Group(overview(status, trades, console), *below)

    return data, people


def _alerts(client: DtmsClient) -> list[dict[str, Any]]:
    try:
        return list(client.call(operating.alerts(unacknowledged=True, limit=20))["alerts"])
    except NotFound:  # an older service has none
        return []


def _watched(client: DtmsClient, look: Look, every: float, *, as_json: bool) -> None:
    """Look until Ctrl-C; a service that does not answer is said, and asked again."""
    if not for_people(as_json=as_json):
        _piped(client, look, every)
        return
    console = terminal()
    try:
        with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
            while True:
                live.update(_seen(client, look, console), refresh=True)
                client.clock.sleep(every)
    except KeyboardInterrupt:
        return


def _piped(client: DtmsClient, look: Look, every: float) -> None:
    try:
        while True:
            typer.echo(json.dumps(look(client)[0], default=str))
            client.clock.sleep(every)
    except KeyboardInterrupt:
        return


def _seen(client: DtmsClient, look: Look, console: Console) -> RenderableType:
    try:
        return look(client)[1](console)
    except (BadSetting, Unauthorized):  # will not go away by itself
        raise
    except DtmsClientError as error:
        return Text(f"{error.detail.rstrip('.')}. Try: {error.hint}")
