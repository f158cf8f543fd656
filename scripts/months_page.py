#!/usr/bin/env python3
"""Write the tables of ``docs/explanation/month-runs.md`` from ``docs/evidence/months.json``.

They stand between ``<!-- tables -->`` and ``<!-- end -->``; everything else of the page is written by hand. After
``scripts/prove.py months --out docs/evidence`` run ``.venv/bin/python scripts/months_page.py``; a test compares.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "explanation" / "month-runs.md"
EVIDENCE = ROOT / "docs" / "evidence" / "months.json"
_TABLES = re.compile(r"(<!-- tables -->\n).*?(<!-- end -->)", re.DOTALL)
HEADINGS = {
    "totals": "All of it",
    "states": "States, with how long they lasted in seconds of open market",
    "moves": "What ended them",
    "actions": "Actions, by outcome and reason",
    "closes": "Who closed the trades",
    "alerts": "Alerts",
    "hands": "What traders did meanwhile",
}
"""Heading of each table, in the order of the page."""


def page(text: str, evidence: Mapping[str, Any]) -> str:
    """``text`` with its tables written anew."""
    made = [f"Made at commit `{evidence['commit'][:12]}`, Python {evidence['python']}."]
    for run, tables in evidence["tables"].items():
        made.append(f"## {run[0].upper()}{run[1:]}")
        made += [f"**{HEADINGS[name]}**\n\n{table(tables[name])}" for name in HEADINGS if len(tables[name]) > 1]
    return _TABLES.sub(lambda found: "".join((found[1], "\n", "\n\n".join(made), "\n\n", found[2])), text)


def table(rows: Sequence[Sequence[Any]]) -> str:
    """Rows as Markdown, the first one as heads."""
    heads, *others = [["" if cell is None else str(cell) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *others))


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text("utf-8"), json.loads(EVIDENCE.read_text("utf-8"))), encoding="utf-8")
    print(f"wrote {PAGE}")
