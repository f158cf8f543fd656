"""Put a position under protection, and let it go: commands that change what DTMS watches."""

from __future__ import annotations

from typing import Annotated

import httpx
import typer
from rich.text import Text

from dtms_client.delivery import Registration
from dtms_service import demo as demonstration
from dtms_service.app.leaving import FAILED, Exit
from dtms_service.commands.looking import Ticket, connected
from dtms_service.commands.ordering import By, Reason, person
from dtms_service.commands.showing import Json, show

application = typer.Typer()


@application.command()
def register(  # noqa: PLR0913 - one argument for each option
    ticket: Ticket,
    *,
    symbol: Annotated[str | None, typer.Option(help="What the caller believes; the terminal decides.")] = None,
    side: Annotated[str | None, typer.Option(help="buy or sell.")] = None,
    stop_loss: Annotated[float | None, typer.Option(help="Stop that the caller meant to set.")] = None,
    take_profit: Annotated[float | None, typer.Option(help="Target that the caller meant to set.")] = None,
    strategy_type: Annotated[str | None, typer.Option(help="Decides who owns the trade.")] = None,
    managed_by: Annotated[str | None, typer.Option(help="Owner, when it is not DTMS.")] = None,
    as_json: Json = False,
) -> None:
    """Put a position under protection; the ticket alone is enough. Stored first when DTMS does not answer."""
    said = {"symbol": symbol, "side": side, "stop_loss": stop_loss, "take_profit": take_profit}
    said |= {"strategy_type": strategy_type, "managed_by": managed_by}
    given = {name: value for name, value in said.items() if value is not None}
    with connected() as client:
        done = client.register(ticket, given, source="dtms")
    data = {"ticket": done.ticket, "outcome": done.outcome, "protected": done.protected, "detail": done.detail}
    show(data, lambda _: Text(_sentence(done)), as_json=as_json)


@application.command()
def release(ticket: Ticket, *, reason: Reason = "", by: By = None, as_json: Json = False) -> None:
    """Hand a trade to manual for good: DTMS closes its hedge and then leaves the position alone."""
    with connected() as client:
        done = client.release(ticket, reason=reason, by=person(by))
    hedge = "; its hedge is being closed first" if done.unwinding else ""
    show(
        done.model_dump(mode="json"), lambda _: Text(f"{ticket} is released to manual for good{hedge}"), as_json=as_json
    )


@application.command()
def demo(*, as_json: Json = False) -> None:
    """Open a few positions in the simulated terminal and register them, so that there is something to see."""
    with connected() as client:
        try:
            made = demonstration.add(client.target.url, client.target.token)
        except (httpx.HTTPError, demonstration.DemoFailed) as error:
            raise Exit(FAILED, f"demo: {error}. Try: dtms serve --simulated, then dtms status") from error
    data = {
        "present": made.present,
        "registered": [{"ticket": ticket, "outcome": outcome} for ticket, outcome in made.outcomes],
    }
    show(data, lambda _: Text(made.sentence()), as_json=as_json)


def _sentence(done: Registration) -> str:
    protected = "protected" if done.protected else "not protected"
    return f"{done.ticket}: {done.outcome}, {protected}{f'; {done.detail}' if done.detail else ''}"
