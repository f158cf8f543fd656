"""How command lines show things: tables for people, JSON for pipes, and after an error what to try."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from dtms_client.errors import DtmsClientError


def wants_json(out: TextIO, *, forced: bool = False) -> bool:
    """Tell whether the reader is a program: asked for, or not a terminal."""
    return forced or not out.isatty()


def show(data: Any, text: str, *, as_json: bool, out: TextIO | None = None) -> None:
    """Write ``data`` as JSON or ``text`` for people."""
    shown = json.dumps(data, default=str, indent=2, ensure_ascii=False) if as_json else text
    (out or sys.stdout).write(shown + "\n")


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], none: str = "(none)") -> str:
    """Rows under their headings; ``none`` when there are none."""
    if not rows:
        return none
    cells = [list(columns), *([_cell(row.get(column)) for column in columns] for row in rows)]
    widths = [max(len(line[index]) for line in cells) for index in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells
    )


def facts(pairs: Mapping[str, Any]) -> str:
    """Name and value, one pair a line."""
    width = max(map(len, pairs), default=0)
    return "\n".join(f"{name.ljust(width)}  {_cell(value)}" for name, value in pairs.items())


def complain(error: DtmsClientError, err: TextIO | None = None) -> None:
    """Say what went wrong; the last line says what to try."""
    (err or sys.stderr).write(f"{error.detail}\nTry: {error.hint}\n")


def status_text(status: Mapping[str, Any]) -> str:
    """The status envelope for people."""
    inner = status.get("dtms_status") or {}
    account = status.get("account") or {}
    rows = {
        "phase": status.get("phase"),
        "mode": status.get("mode"),
        "control": status.get("control"),
        "account": " ".join(
            str(account[name]) for name in ("login", "server", "kind") if account.get(name) is not None
        ),
        "active trades": inner.get("active_trades"),
        "by state": ", ".join(f"{name} {count}" for name, count in (inner.get("trades_by_state") or {}).items()),
        "uptime": inner.get("uptime"),
        "last check": inner.get("last_check"),
        "instance": status.get("instance_id"),
    }
    return facts({name: value for name, value in rows.items() if value not in (None, "")})


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:g}" if isinstance(value, float) else str(value)
