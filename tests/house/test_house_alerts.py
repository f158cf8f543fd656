"""Every alert that the source raises is in the table, every entry can be raised, and the page has all of them."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

from service import ROOT

from dtms_service.domain.runbook import CODES

PAGE = ROOT / "docs" / "howto" / "alerts.md"
SERVICE = ROOT / "src" / "dtms_service"
SOURCES = [path for room in ("domain", "engine", "app") for path in sorted((SERVICE / room).glob("*.py"))]
PLACE_OF_CODE = {"alert": 2, "alert_event": 1, "over_event": 1, "tell": 0, "tell_over": 0}
"""Which argument of these functions is the code."""


def trees() -> Iterator[ast.Module]:
    return (ast.parse(path.read_text("utf-8")) for path in SOURCES if path.name != "runbook.py")


def named(tree: ast.Module) -> dict[str, str]:
    """The module's constants that are text."""
    found: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            found |= {target.id: node.value.value for target in node.targets if isinstance(target, ast.Name)}
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple):
            (target,) = node.targets
            if isinstance(target, ast.Tuple):
                pairs = zip(target.elts, node.value.elts, strict=True)
                found |= {t.id: v.value for t, v in pairs if isinstance(t, ast.Name) and isinstance(v, ast.Constant)}
    return found


def codes_in_calls(tree: ast.Module) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", None) or getattr(node.func, "attr", None)
            place = PLACE_OF_CODE.get(str(name))
            if place is not None and len(node.args) > place:
                yield node.args[place]


def test_every_alert_that_is_raised_is_in_the_table() -> None:
    found = set()
    for tree in trees():
        constants = named(tree)
        for code in codes_in_calls(tree):
            if isinstance(code, ast.Constant):
                found.add(code.value)
            elif isinstance(code, ast.Name) and code.id in constants:
                found.add(constants[code.id])
    assert len(found) > 25
    assert found - CODES.keys() == set()


def test_every_entry_of_the_table_can_be_raised() -> None:
    words, beginnings = set(), set()
    for tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                words.add(node.value)
            if isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant):
                beginnings.add(str(node.values[0].value))
    composed = tuple(begin for begin in beginnings if re.fullmatch(r"[a-z]+_", begin))
    assert {code for code in CODES if code not in words and not code.startswith(composed)} == set()


def test_the_page_has_one_heading_per_alert_and_says_what_the_table_says() -> None:
    spec = importlib.util.spec_from_file_location("alerts_page", ROOT / "scripts" / "alerts_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = PAGE.read_text("utf-8")
    assert re.findall(r"^### (\w+)$", text, re.MULTILINE) == list(CODES)
    assert text == module.page(text), "run .venv/bin/python scripts/alerts_page.py"


def test_every_entry_is_in_whole_sentences() -> None:
    for code, entry in CODES.items():
        for sentence in (entry.happened, entry.means, entry.do):
            assert sentence[0].isupper() or sentence.startswith("dtms "), (code, sentence)
            assert sentence.endswith((".", "?")), (code, sentence)


def test_every_command_of_an_entry_exists() -> None:
    commands = {word for entry in CODES.values() for word in re.findall(r"dtms ([a-z]+)", entry.do)}
    source = (SERVICE / "cli.py").read_text("utf-8") + "".join(
        path.read_text("utf-8") for path in Path(SERVICE / "commands").glob("*.py")
    )
    assert {command for command in commands if f'"{command}"' not in source and f"def {command}(" not in source} <= {
        "dtms"
    }
