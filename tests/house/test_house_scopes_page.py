"""The page about tokens says what the routes say."""

from __future__ import annotations

import importlib.util

from service import ROOT


def test_the_scopes_on_the_page_are_those_of_the_routes() -> None:
    spec = importlib.util.spec_from_file_location("scopes_page", ROOT / "scripts" / "scopes_page.py")
    assert spec is not None
    assert spec.loader is not None
    writer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(writer)
    text = (ROOT / "docs" / "howto" / "authentication.md").read_text("utf-8")
    assert text.count("| control |") > 5
    assert text == writer.page(text), "run .venv/bin/python scripts/scopes_page.py"
