"""``dtms adopt``: the positions that were open before DTMS was."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dtms_service.adopt import taking
from dtms_service.adopt.records import Unusable
from dtms_service.app.leaving import FAILED, Exit
from dtms_service.commands.configuring import File, loaded
from dtms_service.commands.looking import connected
from dtms_service.commands.showing import Json, show, table

application = typer.Typer()


@application.command("adopt")
def adopt(
    *,
    apply: Annotated[
        bool, typer.Option("--apply", help="Register; without it only what would happen is shown.")
    ] = False,
    files: Annotated[list[Path] | None, typer.Option("--from", metavar="FILE", help="An old database.")] = None,
    file: File = None,
    as_json: Json = False,
) -> None:
    """Register the positions that were open before DTMS was, with what the old databases know of them."""
    strategies = loaded(file).settings.ownership.dtms_strategies
    try:
        with connected() as client:
            candidates = taking.look(client, files or [], strategies)
            taken = taking.take(client, candidates) if apply else [taking.as_planned(one) for one in candidates]
    except Unusable as error:
        raise Exit(FAILED, str(error)) from error
    rows = [taking.row(one) for one in taken]
    data = {"applied": apply, "positions": rows}
    names = tuple(rows[0]) if rows else ()
    show(
        data,
        lambda console: table(names, [tuple(row.values()) for row in rows], console.width, "nothing to adopt"),
        as_json=as_json,
    )
    if any(one.failed for one in taken):
        raise typer.Exit(FAILED)
