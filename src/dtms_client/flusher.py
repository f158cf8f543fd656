"""Delivers what waits in the outboxes of this process: one daemon thread, never a task of somebody's event loop.

It does not give up, nothing expires, and a process that forks starts its own in the child. A service on this machine is
asked again within 2 s, however long it was away, so that a trade is protected soon after it is back; a remote one is
asked with full jitter that grows to 30 s once its registrations are no longer young.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass

from dtms_client.clock import CLOCK, Clock
from dtms_client.delivery import CRITICAL_S, Outbox, Round
from dtms_client.errors import DtmsClientError
from dtms_client.http import send
from dtms_client.places import is_loopback
from dtms_client.spool import any_waiting

NEAR_CAP_S = 2.0
FAR_CAP_S = 30.0
IDLE_S = 30.0
"""How often an idle flusher looks for what other programs left behind."""
CALL_S = 5.0
AT_EXIT_S = 2.0
_log = logging.getLogger("dtms_client")


def drain(outbox: Outbox, until: float, clock: Clock = CLOCK, *, failing: bool = False) -> DtmsClientError | None:
    """Send everything that waits, once, until process time ``until``. Returns what stopped it, if anything did."""
    work = Round(outbox, 1) if failing else Round(outbox)  # an outage is probed with one file, not with a hundred
    for parcel in work:
        left = until - clock.monotonic()
        if left <= 0:
            break
        call = parcel.call
        try:
            answers = call.answer(send(outbox.target, call, min(CALL_S, left)))
        except DtmsClientError as error:
            work.failed(parcel, error)
        else:
            work.settled(parcel, answers)
    return work.stopped_by


def back_off(failures: int, age_s: float, *, near: bool, uniform: Callable[[float, float], float]) -> float:
    """Seconds until the next try after ``failures`` in a row, while the oldest registration is ``age_s`` old."""
    cap = NEAR_CAP_S if near or age_s < CRITICAL_S else FAR_CAP_S
    return uniform(0.0, min(cap, 2.0**failures))


@dataclass(slots=True)
class _Watched:
    outbox: Outbox
    failures: int = 0
    due: float = 0.0


class Flusher:
    """The thread and what it watches."""

    def __init__(self, clock: Clock = CLOCK) -> None:
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        """Forget thread and locks: what a forked child needs."""
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._watched: dict[tuple[object, ...], _Watched] = {}

    def watch(self, outbox: Outbox) -> None:
        """Look after this outbox from now on; starts the thread when something waits already."""
        if outbox.mode == "off" or not outbox.target.attended:
            return
        with self._lock:
            known = self._watched.setdefault(_key(outbox), _Watched(outbox))
            if known.outbox.on_unprotected is None and outbox.on_unprotected is not None:
                known.outbox = outbox
        try:
            waits = any_waiting(outbox.spool.folder)
        except OSError:
            waits = True  # the thread will say what is wrong
        if waits:
            self._nudge()

    def _nudge(self) -> None:
        with self._lock:
            for watched in self._watched.values():
                watched.due = watched.due if watched.failures else 0.0  # during an outage the back-off stands
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="dtms-client-flusher", daemon=True)
                self._thread.start()
        self._wake.set()

    def last_try(self, seconds: float = AT_EXIT_S) -> None:
        """At the end of the process: one short try, then say what stays behind (on disk, so not lost)."""
        until = self._clock.monotonic() + seconds
        for watched in list(self._watched.values()):
            if not any_waiting(watched.outbox.spool.folder):
                continue
            drain(watched.outbox, until, self._clock)
            left = sum(1 for _ in watched.outbox.waiting())
            if left:
                _log.warning("%d registrations stay in %s for the next program", left, watched.outbox.spool.folder)

    def _run(self) -> None:
        wake = self._wake
        while self._thread is threading.current_thread():
            wake.wait(self.run_once())
            wake.clear()

    def run_once(self) -> float:
        """Deliver what is due. Returns the seconds until something is due again."""
        pauses = [IDLE_S]
        for watched in list(self._watched.values()):
            now = self._clock.monotonic()
            if watched.due <= now:
                watched.due = now + self._deliver(watched)
            pauses.append(watched.due - now)
        return max(0.05, min(pauses))

    def _deliver(self, watched: _Watched) -> float:
        outbox = watched.outbox
        try:
            outbox.spool.sweep()
            until = self._clock.monotonic() + IDLE_S
            error = drain(outbox, until, self._clock, failing=watched.failures > 0)
            age = outbox.watch_age()
        except Exception:  # noqa: BLE001 - R46: whatever happens to one pass, the thread goes on; logged with its trace
            level = logging.DEBUG if watched.failures else logging.ERROR  # once per episode is enough
            _log.log(level, "the outbox %s cannot be served; trying on", outbox.spool.folder, exc_info=True)
            error, age = DtmsClientError(), 0.0
        if error is None:
            watched.failures = 0
            return IDLE_S if age == 0.0 else 1.0
        watched.failures = min(watched.failures + 1, 16)
        pause = back_off(watched.failures, age, near=is_loopback(outbox.target.url), uniform=self._clock.uniform)
        return max(pause, min(error.retry_after or 0.0, NEAR_CAP_S if is_loopback(outbox.target.url) else FAR_CAP_S))


def _key(outbox: Outbox) -> tuple[object, ...]:
    return (outbox.spool.folder, outbox.target.url, outbox.target.token, id(outbox.target.transport))


FLUSHER = Flusher()
"""The one of this process."""
atexit.register(FLUSHER.last_try)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=FLUSHER.reset)
