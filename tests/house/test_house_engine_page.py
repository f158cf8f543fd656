"""The page about the engine says what its tables say, and every row of them has a test that exists."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from dtms_service.domain import plan

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def page() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("engine_page", ROOT / "scripts" / "engine_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["engine_page"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["engine_page"]


def test_the_page_is_what_the_tables_say(page: ModuleType) -> None:
    written = (ROOT / "docs" / "explanation" / "engine.md").read_text("utf-8")
    assert written == page.page(), "run .venv/bin/python scripts/engine_page.py"


def test_every_row_names_a_test_that_exists(page: ModuleType) -> None:
    for row in (*page.BROKER, *page.OUTSIDE):
        file, _, name = row.shown_by.partition("::")
        (path,) = (ROOT / "tests").rglob(file)
        tree = ast.parse(path.read_text("utf-8"))
        names = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert name in names, row


def test_every_reason_of_a_plan_is_explained_and_none_is_invented(page: ModuleType) -> None:
    assert plan.__file__ is not None
    tree = ast.parse(Path(plan.__file__).read_text("utf-8"))
    words = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    reasons = {word for word in words if word.isidentifier() and word.count("_") >= 1 and word.islower()}
    flags = {"be_pending", "hedge_unavailable", "fifo_blocked"}
    assert reasons - flags == set(page.REASONS) - {"no_hedge"}


def test_every_change_of_state_is_in_the_diagram(page: ModuleType) -> None:
    lines = page.diagram().splitlines()
    for row in page.transitions.TABLE:
        if row.next is not row.state:
            assert f"    {row.state.value} --> {row.next.value}: {row.rule}" in lines
