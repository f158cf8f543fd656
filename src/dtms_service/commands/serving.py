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
def serve(
    *,
    simulated: Annotated[bool | None, typer.Option("--simulated/--mt5", help="Which terminal.")] = None,
    observe: Annotated[bool | None, typer.Option("--observe/--protect", help="Only record, or act.")] = None,
    with_demo: Annotated[bool, typer.Option("--demo", help="Open and register a few simulated positions.")] = False,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    file: File = None,
) -> None:
    """Run the service until Ctrl-C."""
    kind = None if simulated is None else ("simulated" if simulated else "mt5")
    if with_demo and kind == "mt5":
        raise typer.BadParameter("the demonstration exists in the simulated terminal only", param_hint="--demo")
    chosen = {
        "terminal.kind": "simulated" if with_demo else kind,
        "mode": None if observe is None else ("observe" if observe else "protect"),
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
