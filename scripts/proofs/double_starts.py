"""Two services begun at the same instant on one state folder, two hundred times: always exactly one engine."""

from __future__ import annotations

import tempfile
from pathlib import Path

from double_start import double_start
from nursery import Nursery

STARTS = 200


def prove() -> str:
    """Half of them on one port, half on two. Raises ``AssertionError`` at a violation."""
    with tempfile.TemporaryDirectory() as folder, Nursery() as nursery:
        for number in range(STARTS):
            double_start(nursery, Path(folder) / f"state-{number % 4}", one_port=number % 2 == 0)
    return f"{STARTS} double starts: exactly one became ready, the other left with exit code 73 and named it"
