"""A call that hangs for a minute, in the real service: nobody else waits."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hanging import hang

STALL_MS, P99_MS, BACK_S = 250, 50, 5


def prove() -> str:
    """An order and a read that hang; the figures. Raises ``AssertionError`` at a violation."""
    lines = []
    for call in ("order_send", "positions_get"):
        with tempfile.TemporaryDirectory() as folder:
            seen = hang(Path(folder), call)
        line = (
            f"{call} hung: loop stalled at most {seen.largest_ms} ms, /health/live p99 {seen.p99_ms} ms over "
            f"{seen.looks} requests, child back {seen.back_s} s after the deadline, "
            f"{seen.done_elsewhere} orders done on other positions"
        )
        if seen.order is not None:
            line += f", the order in flight {seen.order['status']}"
        if seen.largest_ms > STALL_MS or seen.p99_ms > P99_MS or seen.back_s > BACK_S:
            raise AssertionError(line)
        lines.append(line)
    return "; ".join(lines)
