"""A call that hangs for a minute stops nobody but itself.

A hung order has its 20 s, too long for every day: `scripts/prove.py hang` does both, and measures.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hanging import hang

pytestmark = pytest.mark.process


def test_a_read_that_hangs_costs_its_deadline_and_no_order(tmp_path: Path) -> None:
    seen = hang(tmp_path, "positions_get")
    assert seen.done_elsewhere >= 3
    assert seen.back_s <= 5  # R19
    assert seen.looks > 100, "the event loop went on answering"
