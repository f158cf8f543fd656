"""``dtms serve``: the service itself. The only command that loads all of it."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import typer

from dtms_service import demo
from dtms_service.app.serve import Plan, run
from dtms_service.commands.configuring import File, loaded
from dtms_service.settings.tree import Settings

application = typer.Typer()


@application.command()
def serve(  # noqa: PLR0913 - one for each option
    *,
    simulated: Annotated[bool, typer.Option("--simulated", help="The simulated terminal.")] = False,
    mt5: Annotated[bool, typer.Option("--mt5", help="The real terminal, MetaTrader 5.")] = False,
    observe: Annotated[bool, typer.Option("--observe", help="Only record.")] = False,
    protect: Annotated[bool, typer.Option("--protect", help="Act.")] = False,
    with_demo: Annotated[bool, typer.Option("--demo", help="Open and register a few simulated positions.")] = False,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    file: File = None,
) -> None:
    """Run the service until Ctrl-C."""
    if simulated and mt5:
        raise typer.BadParameter("--mt5 and --simulated contradict each other")
    if observe and protect:
        raise typer.BadParameter("--observe and --protect contradict each other")
    kind = "simulated" if simulated else "mt5" if mt5 else None
    if with_demo and kind == "mt5":
        raise typer.BadParameter("the demonstration exists in the simulated terminal only", param_hint="--demo")
    chosen = {
        "terminal.kind": "simulated" if with_demo else kind,
        "mode": "observe" if observe else "protect" if protect else None,
        "api.host": host,
        "api.port": port,
    }
    settings = loaded(file, {name: value for name, value in chosen.items() if value is not None}).settings
    plan = Plan(when_ready=_demonstration(settings)) if with_demo else Plan()
    raise typer.Exit(run(settings, plan))


def _demonstration(settings: Settings) -> Any:
    token = settings.api.token.get_secret_value() if settings.api.token else None
    url = f"http://127.0.0.1:{settings.api.port}"
    return partial(demo.open_and_register, url, token, partial(typer.echo, err=True))
