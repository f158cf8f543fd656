"""Known mistakes of earlier managers: each has a test that carries its number, or a reason why it cannot apply."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from dataclasses import fields
from pathlib import Path

from dtms_service.domain.parameters import Parameters
from dtms_service.settings.tree import leaves

ROOT = Path(__file__).resolve().parents[2]
SERVICE = ROOT / "src" / "dtms_service"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NUMBERS = range(1, 58)
REASON = "not applicable: "


def rows() -> list[tuple[int, str]]:
    """Number and last column of each row of the page."""
    text = (ROOT / "docs" / "explanation" / "defects.md").read_text("utf-8")
    found = re.findall(r"^\| D(\d+) \|[^|]+\|[^|]+\| ([^|]+) \|$", text, re.MULTILINE)
    return [(int(number), last) for number, last in found]


def named_by_number() -> dict[int, set[str]]:
    found: dict[int, set[str]] = defaultdict(set)
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                number = re.match(r"test_d(\d\d)_", node.name)
                if number is not None:
                    found[int(number[1])].add(node.name)
    return found


def test_every_number_has_one_row() -> None:
    assert [number for number, _ in rows()] == list(NUMBERS)


def test_a_row_names_the_tests_of_its_number_or_says_why_there_is_none() -> None:
    known = named_by_number()
    assert set(known) <= set(NUMBERS)
    for number, last in rows():
        named = set(re.findall(r"`(\w+)`", last))
        assert named == known.get(number, set()), f"D{number}"
        assert named or (last.startswith(REASON) and len(last) > len(REASON) + 10), f"D{number}"


def test_d49_every_number_of_the_rules_is_read_and_no_page_names_a_setting_that_is_not_there() -> None:
    read: set[str] = set()
    for room in ("domain", "market", "engine"):
        for path in (SERVICE / room).rglob("*.py"):
            if path.name not in {"parameters.py", "bounds.py"}:
                nodes = ast.walk(ast.parse(path.read_text("utf-8")))
                read |= {n.attr for n in nodes if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Load)}
    assert [field.name for field in fields(Parameters) if field.name not in read] == []
    names = {leaf.name for leaf in leaves()}
    named = {name for page in PAGES for name in re.findall(r"`(engine\.[a-z0-9_]+)`", page.read_text("utf-8"))}
    assert named
    assert named - names == set()


def test_d55_nothing_that_acts_answers_without_looking() -> None:
    empty = [
        f"{path.relative_to(SERVICE)}: {node.name}"
        for room in ("domain", "market", "engine", "terminal", "ledger")
        for path in (SERVICE / room).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _is_a_constant(node)
    ]
    assert empty == []


def _is_a_constant(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    body = [s for s in function.body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
    if len(body) != 1 or not isinstance(body[0], ast.Return):
        return False
    answer = body[0].value
    nothing = isinstance(answer, ast.List | ast.Tuple) and not answer.elts
    return answer is None or isinstance(answer, ast.Constant) or nothing
