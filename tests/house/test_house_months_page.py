"""The page about the month runs says what the recorded evidence says, and the evidence held."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
EVIDENCE: dict[str, Any] = json.loads((ROOT / "docs" / "evidence" / "months.json").read_text("utf-8"))


def test_the_page_is_what_the_evidence_says() -> None:
    spec = importlib.util.spec_from_file_location("months_page", ROOT / "scripts" / "months_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = module.PAGE.read_text("utf-8")
    assert written == module.page(written, EVIDENCE), "run .venv/bin/python scripts/months_page.py"


def test_no_run_broke_a_rule() -> None:
    assert EVIDENCE["held"]
    assert not EVIDENCE["uncommitted_changes"]
    totals = {run: dict(tables["totals"][1:]) for run, tables in EVIDENCE["tables"].items()}
    assert len(totals) == 4
    assert {run: total["violations"] for run, total in totals.items()} == dict.fromkeys(totals, 0)
