"""DTMS away for 1 s, 1 min and 8 h: who waits how long, what is sent, and how fast 10,000 registrations drain."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from drain import drained_by_client, drained_by_service
from outage import CALLERS, Away, Outage, Programme

from dtms_client.places import TIMEOUT_S

OUTAGES = ((1.0, 20), (60.0, 100), (8 * 3600.0, 100))
"""Seconds, and registrations of each of ten programs meanwhile."""
AWAKE = 2
"""Programs whose background thread tries all 8 h long; that of the others sleeps from minute 5 to minute 475."""
QUEUED = 10_000
DELIVERED_S, DRAINED_S, AMPLIFIED = 5.0, 60.0, 1.1


def prove() -> tuple[str, Mapping[str, Any]]:
    """Raises ``AssertionError`` at a figure that does not hold."""
    logging.disable()  # each program warns of each registration that waits, which is right
    rows: list[list[Any]] = [
        ["outage (s)", "kind", "registrations", "longest call (s)", "delivered after (s)", "requests", "dialled"]
    ]
    for seconds, each in OUTAGES:
        for away in Away:
            programs = _away(seconds, each, away)
            row = _row(seconds, away, programs)
            print(f"  {row}", flush=True)
            rows.append(row)
            _hold(away, programs)
    with tempfile.TemporaryDirectory() as folder:
        by_client = drained_by_client(Path(folder) / "client", QUEUED)
        by_service = drained_by_service(Path(folder) / "service", QUEUED)
    refused = [row for row in rows[1:] if row[1] == Away.REFUSED.value]
    line = (
        f"away for 1 s, 1 min and 8 h, {CALLERS} programs: every call answered within {max(r[3] for r in rows[1:])} s, "
        f"all delivered {max(r[4] for r in rows[1:])} s after ready; while it was down "
        f"{max(r[5] / r[2] for r in refused):.2f} requests per registration; {QUEUED} queued registrations drained in "
        f"{by_client:.1f} s by their program, {by_service:.1f} s by the service"
    )
    if max(by_client, by_service) > DRAINED_S:
        raise AssertionError(line)
    return line, {"outages": rows}


def _away(seconds: float, each: int, away: Away) -> list[Programme]:
    asleep = (300.0, seconds - 300.0) if seconds > 600.0 else (0.0, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        awake = Outage(seconds, away, Path(folder) / "awake", seed=1, each=each).run(AWAKE)
        return awake + Outage(seconds, away, Path(folder) / "asleep", 2, each, asleep).run(CALLERS - AWAKE)


def _row(seconds: float, away: Away, programs: Sequence[Programme]) -> list[Any]:
    return [
        seconds,
        away.value,
        sum(program.registrations for program in programs),
        round(max(program.longest_s for program in programs), 2),
        round(max(program.delivered_after_s for program in programs), 2),
        sum(program.requests for program in programs),
        sum(program.dialled for program in programs),
    ]


def _hold(away: Away, programs: Sequence[Programme]) -> None:
    slow = [program for program in programs if program.longest_s > TIMEOUT_S + 0.01]
    late = [program for program in programs if program.delivered_after_s > DELIVERED_S]
    registrations = sum(program.registrations for program in programs)
    amplified = away is Away.REFUSED and sum(program.requests for program in programs) > AMPLIFIED * registrations
    if slow or late or amplified:
        raise AssertionError(f"{away.value}: slow {slow}, late {late}, amplified {amplified}")
