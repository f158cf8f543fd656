"""One started program: alive or not, its last words, and its end. It never outlives the one who started it.

Its process group (Windows: its console group) is its own, so that Ctrl-C reaches the starter alone, which then ends
all in order. Linux ends the child with the starter, however that ends; on Windows a Job Object does; macOS has no such
thing, there a starter that is killed hard leaves its children. The Windows half has not been run yet.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dtms_service.terminal.orphans import Leash
from starting.plan import Service

_PR_SET_PDEATHSIG = 1
_LAST_BYTES, _LAST_LINES = 4000, 12


class Child:
    """A program that was started. Raises ``OSError`` when it cannot be."""

    def __init__(self, service: Service, environ: Mapping[str, str], log: Path, leash: Leash) -> None:
        self.service = service
        self.log = log
        self.since = time.monotonic()
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as out:
            self._from = out.tell()
            self._process: subprocess.Popen[bytes] = subprocess.Popen(
                service.command,
                cwd=service.folder,
                env={**environ, **service.environment},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                **_apart(),
            )
        leash.hold(self._process.pid)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def code(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._process.poll()

    @property
    def lived_s(self) -> float:
        """Seconds since its start."""
        return time.monotonic() - self.since

    def last_words(self) -> str:
        """The end of what it has written since its start."""
        with self.log.open("rb") as written:
            written.seek(max(self._from, self.log.stat().st_size - _LAST_BYTES))
            lines = written.read().decode("utf-8", "replace").splitlines()
        return "\n".join(f"    {line}" for line in lines[-_LAST_LINES:])

    def stop(self) -> int:
        """Ask it to end, wait ``stop_s``, then end it and all it has started. Returns its exit code."""
        if self.code is None:
            self._ask()
            try:
                self._process.wait(self.service.stop_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._end_group()
        return self._process.wait()

    def _ask(self) -> None:
        if sys.platform == "win32":
            self._process.send_signal(signal.CTRL_BREAK_EVENT)
        else:
            os.killpg(self.pid, signal.SIGTERM)

    def _end_group(self) -> None:
        """What the program itself has started and left behind."""
        if sys.platform != "win32":
            try:
                os.killpg(self.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):  # nobody is left; macOS says the latter of ended ones
                return


if sys.platform == "win32":

    def _apart() -> dict[str, Any]:
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}

else:

    def _apart() -> dict[str, Any]:
        if sys.platform != "linux":
            return {"start_new_session": True}
        prctl, starter = ctypes.CDLL(None).prctl, os.getpid()

        def end_with_the_starter() -> None:
            prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != starter:  # it died between the fork and the line above
                os._exit(1)

        return {"start_new_session": True, "preexec_fn": end_with_the_starter}
