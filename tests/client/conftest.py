from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from client_world import Turned, closed_port

from dtms_client import delivery, legacy
from dtms_client.flusher import FLUSHER
from dtms_client.testing import FakeDtms


@pytest.fixture(autouse=True)
def own_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test has its own state folder, no service, and a process that has said nothing yet."""
    for name in [name for name in os.environ if name.startswith("DTMS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DTMS_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("DTMS_API_PORT", str(closed_port()))
    for memory in (delivery._SAID, legacy._WARNED, legacy._CLIENTS):
        memory.clear()
    yield
    FLUSHER.reset()


@pytest.fixture
def outbox_dir(tmp_path: Path) -> Path:
    return tmp_path / "state" / "outbox"


@pytest.fixture
def dtms() -> FakeDtms:
    return FakeDtms()


@pytest.fixture
def time() -> Turned:
    return Turned()
