"""Hostile callers at the real service: refused as promised, and ``/health/live`` answers all the while."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flooding import Flood, flooded, stopped
from service import Service

P99_MS = 100
CLOSED_S = 21.0
"""The deadline is 10 s, once for the head and once for the body."""
GROWN_MIB = 5.0
BURST, RATE = 200, 50
STREAMS, STOP_S = 20, 1.0
"""The service is done when its last stream has ended; how long the interpreter then takes is told beside it."""
TOKENS = json.dumps([{"sha256": hashlib.sha256(name).hexdigest(), "scopes": ["read"]} for name in (b"hasty", b"calm")])


def _silent(told: dict[str, Any], _: Flood) -> tuple[bool, str]:
    return told["left"] == 0 and told["longest_s"] <= CLOSED_S, (
        f"{told['sockets']} silent or dripping sockets: all closed within {told['longest_s']} s"
    )


def _bodies(told: dict[str, Any], flood: Flood) -> tuple[bool, str]:
    good = all(told[kind]["status"] == 413 for kind in ("declared", "chunked")) and flood.grown_mib <= GROWN_MIB
    return good, (
        f"a body of 10 GiB: {told['declared']['status']} when announced, after {told['declared']['sent_mib']} MiB were "
        f"sent; {told['chunked']['status']} in chunks, after {told['chunked']['sent_mib']} MiB; memory grew by "
        f"{flood.grown_mib} MiB"
    )


def _strangers(told: dict[str, Any], _: Flood) -> tuple[bool, str]:
    shown = ", ".join(f"{status}: {count}" for status, count in sorted(told["answers"].items()))
    return not told["wrong"], (
        f"{told['combinations']} combinations of Host, Origin and Sec-Fetch-Site: {len(told['wrong'])} wrong ({shown})"
    )


def _hurry(told: dict[str, Any], _: Flood) -> tuple[bool, str]:
    served, seconds = told["answers"].get("200", 0), told["seconds"]
    good = served <= BURST + RATE * (seconds + 1) and told["retry_after"] == ["1"] and set(told["beside"]) == {"200"}
    return good, (
        f"one caller, {sum(told['answers'].values()) / seconds:.0f} requests per second for {seconds:.0f} s: {served} "
        f"served, {told['answers'].get('429', 0)} told to wait; the caller beside it: {told['beside']['200']} of "
        f"{sum(told['beside'].values())} served"
    )


JUDGES: dict[str, Callable[[dict[str, Any], Flood], tuple[bool, str]]] = {
    "silent": _silent,
    "bodies": _bodies,
    "strangers": _strangers,
    "hurry": _hurry,
}


def prove() -> str:
    """The figures. Raises ``AssertionError`` at a violation."""
    lines = []
    with tempfile.TemporaryDirectory() as folder, Service(Path(folder) / "state") as service:
        lines += [_judged(service, name) for name in ("silent", "bodies", "strangers")]
        lines.append(_stopped(service))
    with tempfile.TemporaryDirectory() as folder, Service(Path(folder) / "state", {"DTMS_API__TOKENS": TOKENS}) as busy:
        lines.append(_judged(busy, "hurry"))
    return "; ".join(lines)


def _judged(service: Service, name: str) -> str:
    flood = flooded(service, name)
    good, line = JUDGES[name](flood.told, flood)
    line += f" (/health/live p99 {flood.p99_ms} ms, largest {flood.largest_ms} ms, {flood.looks} requests)"
    if not good or flood.p99_ms > P99_MS:
        raise AssertionError(f"{line} {flood.told}")
    return line


def _stopped(service: Service) -> str:
    code, ended, gone = stopped(service, STREAMS)
    line = f"{STREAMS} open event streams: all ended {ended:.2f} s after the signal, the process after {gone:.2f} s"
    if code != 0 or ended > STOP_S:
        raise AssertionError(f"{line}, exit code {code}")
    return line
