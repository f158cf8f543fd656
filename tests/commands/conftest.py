"""``dtms`` called in this process, by a pipe or by a person at a terminal, against one real service."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from service import Service, free_port

from dtms_client.flusher import FLUSHER
from dtms_service import cli

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Stream(io.TextIOWrapper):
    """A standard stream of some encoding, which may be a terminal."""

    def __init__(self, text: str = "", *, terminal: bool, encoding: str = "utf-8") -> None:
        super().__init__(io.BytesIO(text.encode(encoding)), encoding=encoding, newline="", write_through=True)
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal

    def text(self) -> str:
        self.flush()
        buffer = self.buffer
        assert isinstance(buffer, io.BytesIO)
        return ANSI.sub("", buffer.getvalue().decode(self.encoding))


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Dtms = Callable[..., Ended]


@pytest.fixture
def dtms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Dtms]:
    """Run ``dtms``: by a pipe, or by a ``person`` whose terminal is ``width`` wide and who types ``typed``."""
    for name in [name for name in os.environ if name.startswith("DTMS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DTMS_CONFIG", "")  # so that whatever a command sets is taken back
    monkeypatch.chdir(tmp_path)

    def run(
        *arguments: str,
        person: bool = False,
        width: int = 200,
        encoding: str = "utf-8",
        typed: str | None = None,
        **environ: str,
    ) -> Ended:
        out = Stream(terminal=person, encoding=encoding)
        err = Stream(terminal=person, encoding=encoding)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["dtms", *arguments])
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            patch.setattr(sys, "stdin", Stream(typed or "", terminal=typed is not None))
            defaults = {"DTMS_STATE_DIR": str(tmp_path / "state"), "COLUMNS": str(width), "TERM": "xterm"}
            defaults |= {"DTMS_API_PORT": str(free_port()), "DTMS_TERMINAL": "simulated"}
            for name, value in {**defaults, **environ}.items():
                patch.setenv(name, value)
            code = 0
            try:
                cli.main()
            except SystemExit as end:
                code = int(end.code or 0)
        return Ended(code, out.text(), err.text())

    yield run
    FLUSHER.reset()


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One real service on the simulated terminal, whose clock stands still."""
    with Service(tmp_path_factory.mktemp("commands") / "state") as running:
        yield running


@pytest.fixture
def at(service: Service) -> dict[str, str]:
    """The environment of somebody who asks that service."""
    return {"DTMS_API_PORT": str(service.port), "DTMS_STATE_DIR": str(service.state_dir)}


@pytest.fixture
def opened(service: Service) -> Callable[..., int]:
    """Open a position at the simulated terminal; its ticket."""

    def open_position(symbol: str = "EURUSD", side: str = "BUY", volume: float = 0.1, **more: Any) -> int:
        body = {"symbol": symbol, "side": side, "volume": volume, **more}
        return int(service.post("/simulator/positions", body)["ticket"])

    return open_position
