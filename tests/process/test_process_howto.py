"""The pages that say how to do something are true: their commands are run in order, their answers compared."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pages
import pytest
from service import ROOT


@pytest.mark.process
@pytest.mark.parametrize(("page", "commands"), [("start-order", 14), ("authentication", 18), ("operate", 22)])
def test_every_command_of_the_page_answers_as_the_page_says(tmp_path: Path, page: str, commands: int) -> None:
    assert pages.run(ROOT / "docs" / "howto" / f"{page}.md", tmp_path) >= commands


def test_the_scopes_on_the_page_are_those_of_the_routes() -> None:
    spec = importlib.util.spec_from_file_location("scopes_page", ROOT / "scripts" / "scopes_page.py")
    assert spec is not None
    assert spec.loader is not None
    writer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(writer)
    text = (ROOT / "docs" / "howto" / "authentication.md").read_text("utf-8")
    assert text.count("| control |") > 5
    assert text == writer.page(text), "run .venv/bin/python scripts/scopes_page.py"
