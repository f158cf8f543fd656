"""The pages for programs that register are true: their commands and their code are executed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pages
import pytest
from service import ROOT

pytestmark = pytest.mark.process

HOWTO = ROOT / "docs" / "howto"
TESTING = HOWTO / "test-your-caller.md"


def test_what_the_page_on_outages_says_happens(tmp_path: Path) -> None:
    assert pages.run(HOWTO / "when-the-api-is-down.md", tmp_path) > 10


def test_what_the_page_on_testing_plays_happens(tmp_path: Path) -> None:
    assert pages.run(TESTING, tmp_path) > 10


def test_the_code_of_the_page_on_testing_runs_as_one_program(tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", TESTING.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DTMS_")}
    environment = {**kept, "DTMS_STATE_DIR": str(tmp_path), "TMPDIR": str(tmp_path)}
    program = [sys.executable, "-c", "\n".join(blocks)]
    ran = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    assert len(blocks) >= 8
