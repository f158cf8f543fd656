from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from ledger_values import INSTANCE

from dtms_service.ledger.store import SqlLedger


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A path that would break a careless URI."""
    return f"sqlite+aiosqlite:///{tmp_path}/dtms #1 100%.db"


@pytest.fixture
async def ledger(url: str) -> AsyncIterator[SqlLedger]:
    opened = await SqlLedger.open(url, draw=lambda _: INSTANCE)
    yield opened
    await opened.close()
