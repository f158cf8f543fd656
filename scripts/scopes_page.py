#!/usr/bin/env python3
"""Write the tables of ``docs/howto/authentication.md``: which scope each request and each command needs.

They come from the routes themselves. A test compares; run this after adding a route:
``.venv/bin/python scripts/scopes_page.py``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dtms_service.api.security import SCOPE_KEY
from dtms_service.app.document import document
from dtms_service.settings.loading import load

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "howto" / "authentication.md"
ORDER = ("open", "read", "register", "control")
_TABLE = re.compile(r"(<!-- scopes -->\n).*?(<!-- end -->)", re.DOTALL)


def page(text: str) -> str:
    """``text`` with its table written anew."""
    environ = {"DTMS_STATE_DIR": str(ROOT)}  # named, never written
    described = document(load({"terminal.kind": "simulated"}, environ=environ, mt5_importable=False).settings)
    return _TABLE.sub(lambda found: f"{found[1]}{table(described)}\n{found[2]}", text)


def table(described: Mapping[str, Any]) -> str:
    """One row per request, the open ones first."""
    rows = [
        (
            ORDER.index(operation[SCOPE_KEY]),
            f"| `{method.upper()} {path}` | {operation[SCOPE_KEY]} | {operation['summary']} |",
        )
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    ]
    ordered = [row for _, row in sorted(rows, key=lambda pair: pair[0])]
    return "\n".join(["| request | scope | what |", "|---|---|---|", *ordered])


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text("utf-8")), encoding="utf-8")
    print(f"wrote {PAGE}")
