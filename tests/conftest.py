"""Where the tests' folders are: in memory where there is some, because 5,000 tests wait for a disk a minute long."""

from __future__ import annotations

import gc
import os
import shutil
from pathlib import Path

import pytest

MEMORY = Path("/dev/shm")  # noqa: S108 -- the tests' own folders in it are for their user alone
ENOUGH = 2 * 1024**3
"""Bytes that must be free; all tests together need a tenth."""


def pytest_configure(config: pytest.Config) -> None:
    """No test dies with the machine, so none needs its files on a disk. A folder that was asked for is used."""
    asked = config.getoption("basetemp") is not None or "PYTEST_DEBUG_TEMPROOT" in os.environ
    if asked or not MEMORY.is_dir() or os.statvfs(MEMORY).f_flag & os.ST_NOEXEC:
        return
    if shutil.disk_usage(MEMORY).free > ENOUGH:
        os.environ["PYTEST_DEBUG_TEMPROOT"] = str(MEMORY)


def pytest_collection_finish() -> None:
    """What 5,000 collected tests are made of stays; a collector that looks at it again and again takes a tenth."""
    gc.collect()
    gc.freeze()
