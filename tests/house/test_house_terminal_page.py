"""The page about the terminal says what the tests show, and names every fault."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from dtms_service.terminal.simulated.faults import KINDS
from dtms_service.terminal.simulated.terms import SYMBOL_FIELDS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reference" / "terminal.md").read_text("utf-8")


def test_the_tables_are_what_the_tests_say() -> None:
    spec = importlib.util.spec_from_file_location("terminal_page", ROOT / "scripts" / "terminal_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.page(PAGE) == PAGE, "run .venv/bin/python scripts/terminal_page.py"
    assert {int(number) for number in re.findall(r"^\| C(\d\d) \|", PAGE, re.MULTILINE)} == set(range(1, 61))


def test_every_fault_and_every_option_of_a_symbol_is_explained() -> None:
    explained = set(re.findall(r"`([a-z_]+)`", "".join(line for line in PAGE.splitlines() if line.startswith("| `"))))
    assert set(KINDS) <= explained
    assert set(SYMBOL_FIELDS) - {"name"} <= explained
