"""The real service, whose next cycle blocks its loop once a file ``block`` lies in its folder; dead after a second."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from dtms_service.app.watchdog import Watchdog
from dtms_service.cli import main
from dtms_service.engine.cycle import Cycle

DEAD_S = 1.0
"""Thirty times as fast as in earnest."""
run = Cycle.run


async def blocked(self: Cycle, *of: Any, **more: Any) -> Any:
    """A cycle that computes for ever."""
    while Path("block").exists():
        time.sleep(0.05)
    return await run(self, *of, **more)


if __name__ == "__main__":
    Cycle.run = blocked  # type: ignore[method-assign]
    Watchdog.__init__.__kwdefaults__["dead_s"] = DEAD_S
    main()
