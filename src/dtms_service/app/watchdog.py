"""A thread that sees the event loop stand still, says where, and ends a process that does not come back.

A blocked loop can neither watch positions nor answer a probe, and nothing that runs on it can say so.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable
from functools import partial

from dtms_service.app.leaving import FAILED

LOOK_S = 0.05
STALLED_S = 0.25
"""A standstill that is worth a line in the log, with the place in the code."""
DEAD_S = 30.0
"""A standstill after which the process ends, so that whoever supervises it starts a new one."""
SPEAK_S = 1.0
"""A line of the log may take this long before the watchdog goes on without it."""

log = logging.getLogger(__name__)


class Watchdog:
    """Watches the loop that it is started on; a context manager. ``end`` must not return to the loop."""

    def __init__(self, *, stalled_s: float = STALLED_S, dead_s: float = DEAD_S, end: Callable[[], object]) -> None:
        self._stalled_s = stalled_s
        self._dead_s = dead_s
        self._end = end
        self._beats = 0
        self._over = threading.Event()
        self._next: asyncio.TimerHandle | None = None
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._watched = threading.get_ident()

    def __enter__(self) -> Watchdog:
        self._loop = asyncio.get_running_loop()
        self._beat()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._next is not None:
            self._next.cancel()
        self._thread.join()

    def _beat(self) -> None:
        self._beats += 1
        self._next = self._loop.call_later(LOOK_S, self._beat)

    def _watch(self) -> None:
        seen, still, told = 0, 0.0, False
        # Time is counted in looks, not by a clock: a machine that was suspended wakes both of us up at once.
        while not self._over.wait(LOOK_S):
            if self._beats != seen:
                if told:
                    _patiently(partial(log.warning, "loop_goes_on", extra={"stood_still_s": round(still, 2)}))
                seen, still, told = self._beats, 0.0, False
                continue
            still += LOOK_S
            if still >= self._stalled_s and not told:
                told = True
                _patiently(partial(log.warning, "loop_stands_still", extra={"at": self._place()}))
            if still >= self._dead_s:
                facts = {"stood_still_s": round(still, 2), "at": self._place()}
                _patiently(partial(log.critical, "loop_is_dead", extra=facts))
                self._end()
                return

    def _place(self) -> list[str]:
        """The innermost calls of the loop's thread, outermost first."""
        frame = sys._current_frames().get(self._watched)  # noqa: SLF001 -- documented, the underscore is a warning
        if frame is None:
            return []
        return [f"{call.filename}:{call.lineno} {call.name}" for call in traceback.extract_stack(frame)[-8:]]


def leave_at_once() -> None:
    """End the process from a thread: nothing on the loop will run any more, and the ledger says what was done."""
    _patiently(logging.shutdown)
    os._exit(FAILED)


def _patiently(speak: Callable[[], object]) -> None:
    """Let it be said for a second: what stands still may be the log itself, a console that takes nothing any more."""
    saying = threading.Thread(target=speak, name="watchdog-speaks", daemon=True)
    saying.start()
    saying.join(SPEAK_S)
