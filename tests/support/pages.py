"""Pages with commands are true: their commands are run in order in one shell, and their answers compared."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from service import ROOT, free_port

BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
LONGEST_S = 240


@dataclass(frozen=True)
class Step:
    command: str
    expected: str


def steps(page: str) -> list[Step]:
    """Commands (lines that begin with ``$``) and the answers below each."""
    found: list[Step] = []
    for block in BLOCK.findall(page):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, expected = part.partition("\n")
            found.append(Step(command, expected))
    return found


def matches(expected: str, printed: str) -> bool:
    """White space does not count; ``...`` stands for anything."""
    parts = ("".join(part.split()) for part in expected.split("..."))
    return re.fullmatch(".*".join(map(re.escape, parts)), "".join(printed.split()), re.DOTALL) is not None


def run(page: Path, folder: Path, environment: Mapping[str, str] | None = None) -> int:
    """Run a page in ``folder``; how many commands it has. Raises ``AssertionError`` at the first other answer."""
    port = str(free_port())
    here = {"8001": port, "$PWD": str(folder), "dtms.log": str(folder / "dtms.log")}
    here |= {".venv/bin/": f"{Path(sys.executable).parent}/", "python scripts": f"{sys.executable} scripts"}
    commands = steps(page.read_text(encoding="utf-8"))
    script = [f"trap 'kill $(cat {folder}/state/dtms.lock) 2> /dev/null; wait' EXIT", "set +m"]
    for number, step in enumerate(commands):
        command = step.command
        for written, real in here.items():
            command = command.replace(written, real)
        script += [f"echo; echo '=== {number}'", command]
    script += ["echo; echo '=== end'"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DTMS_")}
    finished = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=ROOT,
        env={**kept, "DTMS_API_PORT": port, "DTMS_TERMINAL": "simulated", **(environment or {})},
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=False,
    )
    with socket.socket() as caller:
        assert caller.connect_ex(("127.0.0.1", int(port))) != 0, "the page's service still runs"
    printed = re.split(r"^=== \w+\n", finished.stdout, flags=re.MULTILINE)[1:]
    log = folder / "dtms.log"
    for step, answer in zip(commands, printed, strict=False):
        expected = step.expected.replace("8001", port)
        assert matches(expected, answer), (
            f"$ {step.command}\nexpected:\n{expected}\nprinted:\n{answer}\n{finished.stderr}\n"
            f"{log.read_text() if log.exists() else ''}"
        )
    assert len(printed) == len(commands) + 1
    return len(commands)
