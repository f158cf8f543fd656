"""What queued up while the service was down is there soon after it is ready."""

from __future__ import annotations

from pathlib import Path

import pytest
from drain import drained_by_client, drained_by_service

pytestmark = pytest.mark.process

COUNT = 150
LONGEST_S = 8.0
"""10,000 may take 60 s; a first look may be 2 s away, and a busy machine gets the rest."""


def test_a_waiting_program_delivers_what_it_has_queued(tmp_path: Path) -> None:
    assert drained_by_client(tmp_path, COUNT) <= LONGEST_S


def test_the_service_takes_in_what_dead_programs_have_queued(tmp_path: Path) -> None:
    assert drained_by_service(tmp_path, COUNT) <= LONGEST_S
