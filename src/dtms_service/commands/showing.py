"""How do commands show things? Tables for people, JSON for pipes; nothing here knows what it shows."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import typer
from rich import box
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

Json = Annotated[bool, typer.Option("--json", help="JSON also on a terminal.")]

_BETWEEN = 2
"""Cells between two columns; the last of them is the border of the box."""
_FEWEST = 2
"""Columns that are shown however narrow the terminal is."""


def for_people(*, as_json: bool) -> bool:
    """Whether a person reads: standard output is a terminal, and nobody asked for JSON."""
    return not as_json and sys.stdout.isatty()


def show(data: Any, people: Callable[[Console], RenderableType], *, as_json: bool) -> None:
    """Write ``data`` as one line of JSON, or what ``people`` makes of it on a terminal."""
    if not for_people(as_json=as_json):
        typer.echo(json.dumps(data, default=str))
        return
    console = terminal()
    console.print(people(console))


def terminal() -> Console:
    """Standard output as a terminal: no markup, because broker names and reasons may hold brackets."""
    return Console(highlight=False, markup=False, emoji=False)


def table(names: Sequence[str], rows: Sequence[Sequence[Any]], width: int, none: str) -> RenderableType:
    """Rows under their headings, as many columns as fit into ``width``, the first ones first.

    What does not fit is left out and named below; ``none`` is shown instead of no rows.
    """
    if not rows:
        return Text(none)
    cells = [[cell(value) for value in row] for row in rows]
    widths = [max(cell_len(line[at]) for line in (names, *cells)) for at in range(len(names))]
    shown = len(names)
    while shown > _FEWEST and sum(widths[:shown]) + _BETWEEN * shown > width:
        shown -= 1
    made = Table(*names[:shown], box=box.SIMPLE_HEAD, padding=(0, _BETWEEN - 1, 0, 0), pad_edge=False, show_edge=False)
    for line in cells:
        made.add_row(*(Text(text) for text in line[:shown]))
    left_out = ", ".join(names[shown:])
    return Group(made, Text(f"left out here: {left_out}; --json shows all")) if left_out else made


def facts(pairs: Mapping[str, Any]) -> RenderableType:
    """Name and value, one pair a line; what is not there is left out."""
    there = {name: cell(value) for name, value in pairs.items() if value not in (None, "", [], {})}
    width = max(map(len, there), default=0)
    return Text("\n".join(f"{name.ljust(width)}  {value}" for name, value in there.items()))


def cell(value: Any) -> str:
    """One value for eyes: numbers short, yes and no in words, nothing for what is not there."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(cell(item) for item in value)
    return str(value)


def moment(time: str | None) -> str:
    """A time of the API (ISO 8601 UTC) to the second."""
    return "" if time is None else time[:19].replace("T", " ")
