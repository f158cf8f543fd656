"""The quickstart is true: its commands are run in order in one shell, and its answers are compared with what comes."""

from __future__ import annotations

from pathlib import Path

import pages
import pytest
from service import ROOT

pytestmark = pytest.mark.process


def test_every_command_of_the_quickstart_answers_as_the_page_says(tmp_path: Path) -> None:
    assert pages.run(ROOT / "docs" / "quickstart.md", tmp_path) > 10
