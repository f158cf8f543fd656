"""One authority, however many are started at the same instant (scenario 31)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from double_start import double_start
from nursery import Nursery

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL"),
]


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as nursery:
        yield nursery


@pytest.mark.parametrize("one_port", [True, False], ids=["one port", "two ports"])
def test_of_two_that_start_together_one_watches_and_the_other_names_it(
    one_port: bool, nursery: Nursery, tmp_path: Path
) -> None:
    for _ in range(3):
        double_start(nursery, tmp_path / "state", one_port=one_port)


def test_without_any_lock_both_write_and_that_is_found(nursery: Nursery, tmp_path: Path) -> None:
    """The ledger itself notices the other writer then, and one of them leaves with 75."""
    with pytest.raises(AssertionError, match=r"Another program has written into the ledger|both go on"):
        double_start(nursery, tmp_path / "state", one_port=False, without="a lock has one holder")
