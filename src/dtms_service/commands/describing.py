"""``dtms openapi``: the API's document, for generators and for people without a service at hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from dtms_service.app.document import document
from dtms_service.app.leaving import FAILED, Exit
from dtms_service.commands.configuring import File, loaded

application = typer.Typer()


@application.command()
def openapi(
    *,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write it there instead.")] = None,
    file: File = None,
) -> None:
    """Print the OpenAPI document of the service that these settings describe; it need not run."""
    text = json.dumps(document(loaded(file).settings), indent=2)
    if out is None:
        typer.echo(text)
        return
    try:
        out.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise Exit(FAILED, f"{out} cannot be written: {error.strerror}. Try: another --out") from error
    typer.echo(f"wrote {out}", err=True)
