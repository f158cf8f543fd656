#!/usr/bin/env python3
"""Write the tables of ``docs/reference/terminal.md``: every behaviour is a test, and its name is the sentence.

A table stands between ``<!-- tests: PATTERN -->`` and ``<!-- end -->``; everything else of the page is written by hand.
A test compares; run this after adding or renaming a test: ``.venv/bin/python scripts/terminal_page.py``.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference" / "terminal.md"
_TABLE = re.compile(r"(<!-- tests: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
_NUMBER = re.compile(r"c(\d\d)_")


def page(text: str) -> str:
    """``text`` with its tables written anew."""
    return _TABLE.sub(lambda found: f"{found[1]}{table(found[2])}\n{found[3]}", text)


def table(pattern: str) -> str:
    """Rows of all tests in the files of ``pattern``, a path under ``tests``; numbered ones first, by number."""
    rows = []
    for path in sorted((ROOT / "tests").glob(pattern)):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_"):
                name = node.name.removeprefix("test_")
                number = _NUMBER.match(name)
                sentence = _NUMBER.sub("", name, count=1).replace("_", " ")
                shown = sentence[0].upper() + sentence[1:]
                identity = f"C{number[1]}" if number else ""
                rows.append((identity or "~", path.stem, node.lineno, f"| {identity} | {shown} | `{path.stem}` |"))
    return "\n".join(["| | behaviour | shown by |", "|---|---|---|", *(row[-1] for row in sorted(rows))])


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text("utf-8")), encoding="utf-8")
    print(f"wrote {PAGE}")
