"""``dtms config``: what DTMS is told to do, and where each value comes from. Also how every command reads settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer
from pydantic import SecretStr

from dtms_service.app.leaving import MISCONFIGURED, Exit
from dtms_service.commands.showing import Json, show, table
from dtms_service.settings.loading import Loaded, Misconfigured, load
from dtms_service.settings.tree import leaves, value_of

application = typer.Typer()
config = typer.Typer(help="What DTMS is told to do, and where each value comes from.", no_args_is_help=True)
application.add_typer(config, name="config")

_SECRET_ADDRESSES = frozenset({"alerts.webhook.url", "alerts.deadman.url"})
"""Whoever knows one of these may post there: of it only scheme and host are shown."""

File = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="TOML file instead of DTMS_CONFIG or config/dtms.toml.")
]


def loaded(file: Path | None, chosen: dict[str, Any] | None = None) -> Loaded:
    """Read the settings and say what is odd about them. Raises `Exit` 78."""
    try:
        found = load(chosen or {}, file=file)
    except Misconfigured as error:
        raise Exit(MISCONFIGURED, str(error)) from error
    for warning in found.warnings:
        typer.echo(f"warning: {warning}", err=True)
    return found


@config.command("show")
def config_show(*, file: File = None, as_json: Json = False) -> None:
    """Show every setting, its value and where it comes from. Secrets are not shown."""
    found = loaded(file)
    rows = [
        (leaf.name, _shown(leaf.name, value_of(found.settings, leaf.name)), found.origins.get(leaf.name, "default"))
        for leaf in leaves()
    ]
    data = {name: {"value": value, "origin": origin} for name, value, origin in rows}
    show(data, lambda console: table(("setting", "value", "from"), rows, console.width, "none"), as_json=as_json)


@config.command("check")
def config_check(*, file: File = None) -> None:
    """Say whether the configuration is right."""
    found = loaded(file)
    files = sorted({origin for origin in found.origins.values() if origin.endswith(".toml")})
    typer.echo(f"the configuration is right ({', '.join(files) or 'no file'}, {len(found.origins)} values set)")


def _shown(name: str, value: Any) -> Any:
    """A value for eyes: secrets stay hidden, a password in an address and the address of an alert too."""
    if name in _SECRET_ADDRESSES and value is not None:
        parts = urlsplit(value)
        return f"{parts.scheme}://{parts.hostname}/***"
    if isinstance(value, SecretStr):
        return str(value)
    if isinstance(value, str) and (password := urlsplit(value).password if "://" in value else None):
        return value.replace(f":{password}@", ":***@")
    if isinstance(value, tuple):
        return [item.model_dump() if hasattr(item, "model_dump") else str(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float) else str(value)
