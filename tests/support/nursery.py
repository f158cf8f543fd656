"""The tests' side of ``crashing_service.py``: processes that are there at once, and that die where they are told to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from service import READY_S, Service

LAUNCHER = Path(__file__).with_name("crashing_service.py")
SIGKILL = 9
"""By number: the name does not exist on Windows, where this module can be imported although nothing forks there."""
KILLED = -SIGKILL


class Nursery:
    """A context manager; everything that it has forked ends with it."""

    def __init__(self) -> None:
        self._turn = threading.Lock()

    def __enter__(self) -> Self:
        command = [sys.executable, str(LAUNCHER)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()

    def fork(self, run: str, folder: Path, **told: Any) -> Forked:
        """Run ``service``, ``engine`` or ``caller`` in ``folder``; what it says goes to ``service.log`` there."""
        folder.mkdir(parents=True, exist_ok=True)
        about = {"run": run, "folder": str(folder), "log": str(folder / "service.log"), **told}
        return Forked(self, int(self.ask(about)["pid"]))

    def ask(self, told: Mapping[str, Any]) -> dict[str, Any]:
        """One line and its answer."""
        with self._turn:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.write(json.dumps(told) + "\n")
            self._process.stdin.flush()
            return dict(json.loads(self._process.stdout.readline()))


@dataclass
class Forked:
    """One of its processes, with the methods of ``subprocess.Popen`` that ``Service`` uses."""

    nursery: Nursery
    pid: int
    returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, minus the signal for a killed one, None while it runs."""
        if self.returncode is None:
            self.returncode = self.nursery.ask({"look": self.pid})["code"]
        return self.returncode

    def wait(self, timeout: float = READY_S) -> int:
        """The exit code once it has ended. Raises ``subprocess.TimeoutExpired``."""
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(["forked"], timeout)
            time.sleep(0.005)
        return code

    def send_signal(self, number: int) -> None:
        """As an operator would."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(SIGKILL)


@dataclass
class Victim(Service):
    """The service, forked, to be killed at ``at`` or wherever ``strike_at`` says while it runs."""

    nursery: Nursery = field(kw_only=True)
    process: Any = None
    without: str | None = None
    """A protection that it has to do without (``crash_protections.py``)."""

    @property
    def moments(self) -> list[float]:
        """Per start that came so far: seconds from the connection to the terminal until ready."""
        path = self.state_dir / "moments"
        return [float(line) for line in path.read_text().splitlines()] if path.exists() else []

    def start(self, *, wait: bool = True, at: str | None = None, nth: int = 1) -> Victim:
        """Start it; with ``at`` to be killed there."""
        self._order.unlink(missing_ok=True)
        self.process = self.nursery.fork(
            "service",
            self.state_dir,
            arguments=["serve", *self.arguments],
            environment={name: value for name, value in self.environment.items() if name.startswith("DTMS_")},
            moments=str(self.state_dir / "moments"),
            order=str(self._order),
            at=at,
            nth=nth,
            without=self.without,
        )
        if wait:
            self.wait_ready()
        return self

    def ask(self, method: str, path: str, *, status: int | None = 200, **keywords: Any) -> Any:
        """One request, again while it is answered 503: its terminal process was killed and is being replaced."""
        deadline = time.monotonic() + READY_S
        while True:
            answer = super().ask(method, path, status=None, **keywords)
            if status is None or answer.get("status") != 503 or time.monotonic() > deadline:
                assert status is None or answer.get("code") is None, f"{method} {path} -> {answer}\n{self.log()}"
                return answer
            time.sleep(0.02)

    def strike_at(self, at: str, nth: int = 1) -> None:
        """Let the running service be killed at this point from now on."""
        part = self._order.with_suffix(".part")
        part.write_text(f"{at}\n{nth}\n")
        part.replace(self._order)

    @property
    def _order(self) -> Path:
        return self.state_dir / "order"
