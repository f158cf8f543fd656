"""``dtms``: the door of all commands. Each is loaded when it is asked for, so ``dtms status`` loads no engine.

What can go wrong ends here as one line, which says what to try, and an exit code (INTERFACE 5).
"""

from __future__ import annotations

import importlib
import io
import sys
from collections import UserDict
from collections.abc import Mapping
from typing import Any, NoReturn

import typer
from typer.main import get_command, get_group

from dtms_client.errors import BadSetting, DtmsClientError
from dtms_service.app.leaving import FAILED, MISCONFIGURED, Exit

ROOM = "dtms_service.commands"
COMMANDS: Mapping[str, str] = {
    "serve": "serving",
    "demo": "registering",
    "status": "looking",
    "trades": "watching",
    "watch": "watching",
    "explain": "looking",
    "actions": "looking",
    "alerts": "alerting",
    "register": "registering",
    "release": "registering",
    "pause": "ordering",
    "resume": "ordering",
    "halt": "ordering",
    "reset": "ordering",
    "flatten": "ordering",
    "doctor": "examining",
    "config": "configuring",
    "db": "storing",
    "openapi": "describing",
    "adopt": "adopting",
    "migrate-callers": "migrating",
}
"""Every command, in the order of the help, and the module of the room that has it in its ``application``."""

application = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@application.callback()
def _dtms() -> None:
    """DTMS: the one authority that watches MetaTrader 5 positions and reduces their risk."""


class _Commands(UserDict[str, Any]):
    """The commands by name; the value of one is made when it is read."""

    def __getitem__(self, name: str) -> Any:
        module = importlib.import_module(f"{ROOM}.{self.data[name]}")
        return get_group(module.application).commands[name]


def main() -> None:
    """Run the command that the command line names."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a console that lacks a character shows its number
            stream.reconfigure(errors="backslashreplace")
    door: Any = get_command(application)
    door.commands = _Commands(COMMANDS)
    try:
        code = door.main(prog_name="dtms", standalone_mode=False)
    except Exit as error:
        _leave(error.code, error.sentence)
    except DtmsClientError as error:
        code = MISCONFIGURED if isinstance(error, BadSetting) else FAILED
        _leave(code, f"{error.detail.rstrip('.')}. Try: {error.hint}")
    except typer.Abort:
        _leave(FAILED, "nothing was done. Try: --yes where nobody can be asked")
    except typer.TyperException as error:
        _misused(error)
    sys.exit(code or 0)


def _misused(error: typer.TyperException) -> NoReturn:
    """Wrong usage; without any words typer has shown the help already."""
    said = error.format_message()
    if not said:
        sys.exit(error.exit_code)
    context = getattr(error, "ctx", None)
    _leave(error.exit_code, f"{said} Try: {context.command_path if context else 'dtms'} --help")


def _leave(code: int, sentence: str) -> NoReturn:
    typer.echo(f"dtms: {sentence}", err=True)
    sys.exit(code)
