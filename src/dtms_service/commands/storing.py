"""``dtms db``: the ledger's file. Copy it, look through it, put a copy back."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from dtms_service.app import keeping
from dtms_service.commands.configuring import File, loaded
from dtms_service.commands.showing import Json, show
from dtms_service.ledger.copies import Verified

application = typer.Typer()
db = typer.Typer(help="The ledger's file: copy it, look through it, put a copy back.", no_args_is_help=True)
application.add_typer(db, name="db")


@db.command("backup")
def db_backup(
    path: Annotated[Path, typer.Argument(help="A new file, or a folder: then the copy gets a dated name.")],
    *,
    file: File = None,
    as_json: Json = False,
) -> None:
    """Copy the ledger, while the service runs or not, and verify the copy."""
    _tell(keeping.back_up(loaded(file).settings, path), as_json=as_json)


@db.command("verify")
def db_verify(
    path: Annotated[Path | None, typer.Argument(help="A copy; without it, the ledger of the settings.")] = None,
    *,
    file: File = None,
    as_json: Json = False,
) -> None:
    """Read every row and say whether all is as it was committed. Nothing is changed."""
    _tell(keeping.verify(loaded(file).settings, path), as_json=as_json)


@db.command("restore")
def db_restore(
    path: Annotated[Path, typer.Argument(help="The copy.")], *, file: File = None, as_json: Json = False
) -> None:
    """Put a copy in the ledger's place; the service must not run. The replaced ledger is kept beside it."""
    restored, kept = keeping.restore(loaded(file).settings, path)
    _tell(restored, as_json=as_json, kept=str(kept) if kept is not None else None)


@db.command("upgrade")
def db_upgrade(*, file: File = None, as_json: Json = False) -> None:
    """Bring the ledger up to date without starting the service, which would do the same; a copy is kept."""
    _tell(keeping.upgrade(loaded(file).settings), as_json=as_json)


def _tell(found: Verified, *, as_json: bool, **more: str | None) -> None:
    rows = f"{found.trades} trades, {found.intents} intents, {found.events} events"
    sealed = f"commit {found.commits}" if found.sealed else f"step {found.step}, without a seal: start the service once"
    lines = [f"{found.path}: sound; {rows}; {sealed}"]
    lines += [f"{name}: {value}" for name, value in more.items() if value is not None]
    data = {**asdict(found), "path": str(found.path), **more}
    show(data, lambda _: Text("\n".join(lines)), as_json=as_json)
