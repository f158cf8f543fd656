"""``dtms``: what an operator types. People get tables, pipes get JSON; every error ends with what to try."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NoReturn
from urllib.parse import urlsplit

import typer
from pydantic import SecretStr
from rich.console import Console
from rich.table import Table

from dtms_client.errors import DtmsClientError
from dtms_client.sync import DtmsClient
from dtms_service import demo
from dtms_service.adopt import taking
from dtms_service.adopt.records import Unusable
from dtms_service.app import keeping
from dtms_service.app.leaving import FAILED, MISCONFIGURED, Exit
from dtms_service.app.serve import Plan, run
from dtms_service.ledger.copies import Verified
from dtms_service.migrate.launch import launch
from dtms_service.settings.loading import Loaded, Misconfigured, load
from dtms_service.settings.tree import Api, Settings, leaves, value_of

application = typer.Typer(
    help="DTMS: the one authority that watches MetaTrader 5 positions and reduces their risk.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
config = typer.Typer(help="What DTMS is told to do, and where each value comes from.", no_args_is_help=True)
application.add_typer(config, name="config")

db = typer.Typer(help="The ledger's file: copy it, look through it, put a copy back.", no_args_is_help=True)
application.add_typer(db, name="db")

File = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="TOML file instead of DTMS_CONFIG or config/dtms.toml.")
]
Json = Annotated[bool, typer.Option("--json", help="JSON also on a terminal.")]


def main() -> None:
    """Run a command; turns what can go wrong into one line and an exit code (INTERFACE 5)."""
    try:
        application()
    except Misconfigured as error:
        _leave(MISCONFIGURED, str(error))
    except Exit as error:
        _leave(error.code, error.sentence)
    except DtmsClientError as error:
        _leave(FAILED, f"{error.detail} Try: {error.hint}")


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
    loaded = _loaded(file, {name: value for name, value in chosen.items() if value is not None})
    plan = Plan(when_ready=_demonstration(loaded.settings)) if with_demo else Plan()
    raise typer.Exit(run(loaded.settings, plan))


@application.command()
def status(*, as_json: Json = False) -> None:
    """Show what the running service does."""
    with DtmsClient() as client:
        body = client.status()
        trades = client.trades().trades
    if as_json or not sys.stdout.isatty():
        typer.echo(json.dumps({**body, "trades": [trade.model_dump() for trade in trades]}))
        return
    console = Console()
    console.print(body["summary"])
    table = Table("ticket", "symbol", "side", "volume", "state", "score", "R now", "stop", "owner", "protected")
    for trade in trades:
        numbers = [_short(trade.score), _short(trade.r_now), _short(trade.stop_loss)]
        who = [trade.owner, "yes" if trade.protected else "no"]
        table.add_row(
            str(trade.ticket), trade.symbol, trade.side or "", f"{trade.volume:g}", trade.state, *numbers, *who
        )
    console.print(table)


@application.command("migrate-callers")
def migrate_callers(
    path: Annotated[Path, typer.Argument(help="A folder of programs, or one file.")],
    *,
    apply: Annotated[bool, typer.Option("--apply", help="Write the changes; without it only a diff is shown.")] = False,
    shim: Annotated[bool, typer.Option("--shim", help="Write a package dtms_integration instead.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also over changes that are not committed.")] = False,
    port: Annotated[int, typer.Option(help="Where the programs look for DTMS.")] = Api().port,
    as_json: Json = False,
) -> None:
    """Rewrite programs that used the old DTMS to its client, and name what a person must look at."""
    chosen = {"--apply": apply, "--shim": shim, "--force": force, "--json": as_json}
    options = [name for name, wanted in chosen.items() if wanted]
    raise typer.Exit(launch([str(path), "--port", str(port), *options]))


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
    strategies = _loaded(file, {}).settings.ownership.dtms_strategies
    try:
        with DtmsClient() as client:
            candidates = taking.look(client, files or [], strategies)
            taken = taking.take(client, candidates) if apply else [taking.as_planned(one) for one in candidates]
    except Unusable as error:
        raise Exit(FAILED, str(error)) from error
    rows = [taking.row(one) for one in taken]
    if as_json or not sys.stdout.isatty():
        typer.echo(json.dumps({"applied": apply, "positions": rows}))
    else:
        table = Table(*(rows[0] if rows else ["nothing to adopt"]))
        for row in rows:
            table.add_row(*("" if value is None else str(value) for value in row.values()))
        Console().print(table)
    if any(one.failed for one in taken):
        raise typer.Exit(FAILED)


@config.command("show")
def config_show(*, file: File = None, as_json: Json = False) -> None:
    """Show every setting, its value and where it comes from. Secrets are not shown."""
    loaded = _loaded(file, {})
    rows = [
        (leaf.name, _shown(value_of(loaded.settings, leaf.name)), loaded.origins.get(leaf.name, "default"))
        for leaf in leaves()
    ]
    if as_json or not sys.stdout.isatty():
        typer.echo(json.dumps({name: {"value": value, "origin": origin} for name, value, origin in rows}, default=str))
        return
    table = Table("setting", "value", "from")
    for name, value, origin in rows:
        table.add_row(name, str(value), origin)
    Console().print(table)


@config.command("check")
def config_check(*, file: File = None) -> None:
    """Say whether the configuration is right."""
    loaded = _loaded(file, {})
    files = sorted({origin for origin in loaded.origins.values() if origin.endswith(".toml")})
    typer.echo(f"the configuration is right ({', '.join(files) or 'no file'}, {len(loaded.origins)} values set)")


@db.command("backup")
def db_backup(
    path: Annotated[Path, typer.Argument(help="A new file, or a folder: then the copy gets a dated name.")],
    *,
    file: File = None,
    as_json: Json = False,
) -> None:
    """Copy the ledger, while the service runs or not, and verify the copy."""
    _tell(keeping.back_up(_loaded(file, {}).settings, path), as_json=as_json)


@db.command("verify")
def db_verify(
    path: Annotated[Path | None, typer.Argument(help="A copy; without it, the ledger of the settings.")] = None,
    *,
    file: File = None,
    as_json: Json = False,
) -> None:
    """Read every row and say whether all is as it was committed. Nothing is changed."""
    _tell(keeping.verify(_loaded(file, {}).settings, path), as_json=as_json)


@db.command("restore")
def db_restore(
    path: Annotated[Path, typer.Argument(help="The copy.")], *, file: File = None, as_json: Json = False
) -> None:
    """Put a copy in the ledger's place; the service must not run. The replaced ledger is kept beside it."""
    restored, kept = keeping.restore(_loaded(file, {}).settings, path)
    _tell(restored, as_json=as_json, kept=str(kept) if kept is not None else None)


@db.command("upgrade")
def db_upgrade(*, file: File = None, as_json: Json = False) -> None:
    """Bring the ledger up to date without starting the service, which would do the same; a copy is kept."""
    _tell(keeping.upgrade(_loaded(file, {}).settings), as_json=as_json)


def _tell(found: Verified, *, as_json: bool, **more: str | None) -> None:
    if as_json or not sys.stdout.isatty():
        typer.echo(json.dumps({**asdict(found), "path": str(found.path), **more}))
        return
    rows = f"{found.trades} trades, {found.intents} intents, {found.events} events"
    sealed = f"commit {found.commits}" if found.sealed else f"step {found.step}, without a seal: start the service once"
    typer.echo(f"{found.path}: sound; {rows}; {sealed}")
    for name, value in more.items():
        if value is not None:
            typer.echo(f"{name}: {value}")


def _loaded(file: Path | None, chosen: dict[str, Any]) -> Loaded:
    loaded = load(chosen, file=file)
    for warning in loaded.warnings:
        typer.echo(f"warning: {warning}", err=True)
    return loaded


def _demonstration(settings: Settings) -> Any:
    token = settings.api.token.get_secret_value() if settings.api.token else None
    url = f"http://127.0.0.1:{settings.api.port}"
    return partial(demo.open_and_register, url, token, partial(typer.echo, err=True))


def _shown(value: Any) -> Any:
    """A value for eyes: secrets stay hidden, a password in an address too."""
    if isinstance(value, SecretStr):
        return str(value)
    if isinstance(value, str) and (password := urlsplit(value).password if "://" in value else None):
        return value.replace(f":{password}@", ":***@")
    if isinstance(value, tuple):
        return [item.model_dump() if hasattr(item, "model_dump") else str(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def _short(number: float | None) -> str:
    return "" if number is None else f"{number:.6g}"


def _leave(code: int, sentence: str) -> NoReturn:
    typer.echo(f"dtms: {sentence}", err=True)
    sys.exit(code)
