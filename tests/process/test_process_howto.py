"""The pages that say how to do something are true: their commands are run in order, their answers compared."""

from __future__ import annotations

from pathlib import Path

import pages
import pytest
from service import ROOT


@pytest.mark.process
@pytest.mark.parametrize(("page", "commands"), [("start-order", 14), ("authentication", 18), ("operate", 22)])
def test_every_command_of_the_page_answers_as_the_page_says(tmp_path: Path, page: str, commands: int) -> None:
    assert pages.run(ROOT / "docs" / "howto" / f"{page}.md", tmp_path) >= commands
