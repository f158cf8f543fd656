"""The real service as a process: started on a free port, asked over HTTP, killed, started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[2]
READY_S = 30.0
"""A start takes about 1 s here; a busy machine gets 30 s before a test calls it dead."""


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Service:
    """One service on its own state folder. ``settings`` are environment variables such as ``DTMS_SIMULATOR__SEED``."""

    state_dir: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    arguments: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    program: tuple[str, ...] = ("-m", "dtms_service")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DTMS_")}
        return kept | {
            "DTMS_API_PORT": str(self.port),
            "DTMS_STATE_DIR": str(self.state_dir),
            "DTMS_TERMINAL": "simulated",
            "DTMS_SIMULATOR__CLOCK": "stepped",
            **self.settings,
        }

    def start(self, *, wait: bool = True) -> Service:
        self.state_dir.mkdir(parents=True, exist_ok=True)
        log = (self.state_dir / "service.log").open("ab")
        command = [sys.executable, *self.program, "serve", *self.arguments]
        with log:
            self.process = subprocess.Popen(
                command, env=self.environment, cwd=self.state_dir, stdout=log, stderr=subprocess.STDOUT
            )
        if wait:
            self.wait_ready()
        return self

    def __enter__(self) -> Service:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait_ready(self) -> dict[str, Any]:
        deadline = time.monotonic() + READY_S
        last: object = "no answer"
        while time.monotonic() < deadline:
            if self.process is not None and self.process.poll() is not None:
                message = f"the service ended with {self.process.returncode}:\n{self.log()}"
                raise AssertionError(message)
            try:
                answer = httpx.get(f"{self.url}/health/ready", trust_env=False, timeout=2)
            except httpx.TransportError as failure:
                last = failure
            else:
                last = answer.text
                if answer.status_code == 200:
                    return dict(answer.json())
            time.sleep(0.02)
        message = f"not ready within {READY_S} s: {last}\n{self.log()}"
        raise AssertionError(message)

    def kill(self) -> None:
        """SIGKILL, as the power button would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        """Ask it to stop, as an operator would; its exit code."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
        return int(self.process.returncode)

    def log(self) -> str:
        path = self.state_dir / "service.log"
        return path.read_text(errors="replace")[-6000:] if path.exists() else ""

    def ask(self, method: str, path: str, *, status: int | None = 200, timeout: float = 60, **keywords: Any) -> Any:
        """One request; its JSON. ``status`` None accepts any."""
        answer = httpx.request(method, f"{self.url}{path}", trust_env=False, timeout=timeout, **keywords)
        if status is not None:
            assert answer.status_code == status, f"{method} {path} -> {answer.status_code} {answer.text}\n{self.log()}"
        return answer.json()

    def get(self, path: str, **keywords: Any) -> Any:
        return self.ask("GET", path, **keywords)

    def post(self, path: str, body: Any = None, **keywords: Any) -> Any:
        return self.ask("POST", path, json={} if body is None else body, **keywords)

    def advance(self, *, until: float | None = None, seconds: float | None = None, timeout: float = 280) -> Any:
        body = {"until": until} if until is not None else {"seconds": seconds}
        return self.post("/simulator/advance", body, timeout=timeout)
