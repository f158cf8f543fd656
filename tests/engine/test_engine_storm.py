"""The real engine in storms: hands, faults, operators' orders and deaths at any transaction, judged at every order."""

from __future__ import annotations

from pathlib import Path

import pytest
import storm
import storm_setting

SEEDS = (*range(8), 75)
"""0.6 to 1.6 s each. 75: everything is to be closed while a second hedge is open."""


@pytest.mark.parametrize("seed", SEEDS)
async def test_no_storm_breaks_an_invariant(seed: int, tmp_path: Path) -> None:
    await storm.run(tmp_path, storm_setting.drawn(seed))
