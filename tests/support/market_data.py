"""Where real bar files are, and how to do without them (R51)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def folder() -> Path | None:
    """The folder with real bars: ``DTMS_MARKET_DATA``, else the shared folder beside the checkout, else None."""
    named = os.environ.get("DTMS_MARKET_DATA")
    candidates = [Path(named)] if named else [ROOT.parent / "shared" / "data"]
    return next((path for path in candidates if path.is_dir()), None)


def market_file(name: str) -> Path:
    """The file or folder of that name in it, or a skip that says what is missing."""
    data = folder()
    path = data / name if data is not None else None
    if path is None or not path.exists():
        pytest.skip(f"no market data: {name} is neither under DTMS_MARKET_DATA nor beside the checkout")
    return path


def bar_file(name: str) -> Path:
    """The bar file, or a skip that says what is missing."""
    return market_file(f"bars/{name}")
