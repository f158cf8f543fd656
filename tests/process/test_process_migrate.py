"""The way over and the way back are true: the page's commands are run in order in one shell."""

from __future__ import annotations

from pathlib import Path

import pages
import pytest
from service import ROOT

pytestmark = pytest.mark.process


def test_every_command_of_the_way_over_and_back_answers_as_the_page_says(tmp_path: Path) -> None:
    assert pages.run(ROOT / "docs" / "howto" / "migrate-callers.md", tmp_path) > 20
