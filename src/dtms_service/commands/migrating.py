"""``dtms migrate-callers``: programs that used the old DTMS become callers of the client."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dtms_service.migrate.launch import launch
from dtms_service.settings.tree import Api

application = typer.Typer()


@application.command("migrate-callers")
def migrate_callers(
    path: Annotated[Path, typer.Argument(help="A folder of programs, or one file.")],
    *,
    apply: Annotated[bool, typer.Option("--apply", help="Write the changes; without it only a diff is shown.")] = False,
    shim: Annotated[bool, typer.Option("--shim", help="Write a package dtms_integration instead.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also over changes that are not committed.")] = False,
    port: Annotated[int, typer.Option(help="Where the programs look for DTMS.")] = Api().port,
    as_json: Annotated[bool, typer.Option("--json", help="JSON also on a terminal.")] = False,
) -> None:
    """Rewrite programs that used the old DTMS to its client, and name what a person must look at."""
    chosen = {"--apply": apply, "--shim": shim, "--force": force, "--json": as_json}
    options = [name for name, wanted in chosen.items() if wanted]
    raise typer.Exit(launch([str(path), "--port", str(port), *options]))
