"""Is a real terminal to be examined, and can it be?"""

from __future__ import annotations

import importlib.util
import os
import sys

import pytest

WANTED = "DTMS_LIVE_MT5"
LINES = pytest.StashKey[list[str]]()
"""What the terminal was found to do, for the summary of a live run."""


def impossible() -> str | None:
    """Why no real terminal can be examined here; None when it can."""
    if os.environ.get(WANTED) != "1":
        return f"a real terminal is examined only where {WANTED}=1 is set"
    if sys.platform != "win32":
        return f"{WANTED}=1 is set, but MetaTrader 5 and its package exist for Windows only"
    if importlib.util.find_spec("MetaTrader5") is None:
        return f"{WANTED}=1 is set, but the package MetaTrader5 is not installed: pip install -e .[server,mt5]"
    return None
