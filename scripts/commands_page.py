#!/usr/bin/env python3
"""Write ``docs/reference/commands.md`` from the commands themselves. A test compares; run this after changing one.

Runs inside the environment: ``.venv/bin/python scripts/commands_page.py``.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_group

from dtms_service.cli import COMMANDS, ROOM

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference" / "commands.md"
HEAD = """\
# Commands

<!-- Written by scripts/commands_page.py from the commands themselves. -->

`dtms` comes with the extra `server`. People get tables, pipes get JSON, and `--json` forces it; a table shows as many
columns as the terminal is wide and names those it leaves out. Every error ends with one line that says what to try.
`--help` is everywhere.

A command that asks the running service finds it where `dtms serve` would listen here: `DTMS_API_URL`, else
`DTMS_API_HOST` and `DTMS_API_PORT`, else the file of `DTMS_CONFIG` or `config/dtms.toml` under the working directory,
else the default port. It sends `DTMS_API_TOKEN` where that is set ([authentication](../howto/authentication.md)).

| exit code | means |
|---|---|
| 0 | done, or ready |
| 1 | failed, not possible, or not confirmed; `wait-ready`: not ready in time; `doctor`: something fails |
| 2 | wrong usage; `wait-ready`: something that is not DTMS answers on the port |
| 73 | another authority holds the lock of this state folder, ledger or account; its process id is named |
| 74 | the port is taken; by whom is said |
| 75 | storage failed |
| 78 | the configuration is wrong |

With the base install alone there is `dtms-client`: `wait-ready [--timeout 60]`, `status`, `register TICKET`, and
`outbox list`, `outbox flush`, `outbox retry`; each with `--json` and `--url`.

The others of the project: `scripts/serve.py` (install, then `dtms serve`) and `scripts/start_all_services.py`
([start order](../howto/start-order.md)).
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for name, module in COMMANDS.items():
        command = get_group(importlib.import_module(f"{ROOM}.{module}").application).commands[name]
        parts += _section(f"dtms {name}", command)
    return "\n".join(parts) + "\n"


def _section(called: str, command: Any) -> Iterator[str]:
    """One command, or a group with its own."""
    inner = getattr(command, "commands", {})
    parameters = [one for one in command.params if one.name != "help"]
    arguments = [_argument(one) for one in parameters if one.param_type_name == "argument"]
    options = [one for one in parameters if one.param_type_name == "option"]
    yield f"\n## `{' '.join([called, *arguments])}`\n\n{' '.join((command.help or '').split())}"
    described = [one for one in parameters if getattr(one, "help", None)]
    if described:
        yield "\n| | meaning |\n|---|---|"
        yield from (f"| {_named(one)} | {one.help}{_default(one)} |" for one in described)
    assert len(described) == len(arguments) + len(options), f"{called}: a parameter has no help"  # noqa: S101 -- a gate
    for name, one in inner.items():
        yield from _section(f"{called} {name}", one)


def _argument(one: Any) -> str:
    name = (one.metavar or one.name).upper()
    return name if one.required else f"[{name}]"


def _named(one: Any) -> str:
    if one.param_type_name == "argument":
        return f"`{_argument(one)}`"
    flags = [*one.opts, *one.secondary_opts]
    value = "" if one.is_flag else f" {one.metavar or str(one.name).upper()}"
    return ", ".join(f"`{flag}{value}`" for flag in flags)


def _default(one: Any) -> str:
    if one.param_type_name == "argument" or one.default in {None, False, ""} or callable(one.default):
        return ""
    return f" Default: {one.default:g}." if isinstance(one.default, int | float) else f" Default: {one.default}."


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE}")
