#!/usr/bin/env python3
"""Write the entries of ``docs/howto/alerts.md`` from the table of all alerts.

A test compares the page with what this writes. Run it inside the environment after a change of
``domain/runbook.py``: ``.venv/bin/python scripts/alerts_page.py``.
"""

from __future__ import annotations

import re
from pathlib import Path

from dtms_service.domain.runbook import CODES, Code

PAGE = Path(__file__).resolve().parent.parent / "docs" / "howto" / "alerts.md"
_CODES = re.compile(r"(<!-- codes -->\n).*?(<!-- end -->)", re.DOTALL)


def page(text: str) -> str:
    """The page with its entries written anew."""
    entries = "\n".join(_entry(code, entry) for code, entry in CODES.items())
    return _CODES.sub(lambda found: f"{found[1]}\n{entries}\n{found[2]}", text)


def _entry(code: str, entry: Code) -> str:
    lines = [f"### {code}", "", f"*{entry.severity.value}.* {entry.happened}", ""]
    if entry.ends:
        lines += [f"Makes no alert of its own: it says that {' or '.join(f'`{e}`' for e in entry.ends)} is over.", ""]
    lines += [f"* **For the position:** {entry.means}", f"* **To do:** {entry.do}", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"wrote {PAGE}")
