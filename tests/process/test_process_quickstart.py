"""The quickstart is true: its commands are run in order in one shell, and its answers are compared with what comes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from service import ROOT, free_port

PAGE = ROOT / "docs" / "quickstart.md"
BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
LONGEST_S = 240

pytestmark = pytest.mark.process


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


def test_every_command_of_the_quickstart_answers_as_the_page_says(tmp_path: Path) -> None:
    port = str(free_port())
    here = {"8001": port, "$PWD": str(tmp_path), "dtms.log": str(tmp_path / "dtms.log")}
    here |= {".venv/bin/": f"{Path(sys.executable).parent}/", "python scripts": f"{sys.executable} scripts"}
    run = steps(PAGE.read_text(encoding="utf-8"))
    assert len(run) > 10
    script = [f'trap "kill $(cat {tmp_path}/state/dtms.lock) 2> /dev/null" EXIT', "set +m"]
    for number, step in enumerate(run):
        command = step.command
        for written, real in here.items():
            command = command.replace(written, real)
        script += [f"echo; echo '=== {number}'", command]
    script += ["echo; echo '=== end'"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DTMS_")}
    environment |= {"DTMS_API_PORT": port, "DTMS_TERMINAL": "simulated"}
    finished = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=False,
    )
    printed = re.split(r"^=== \w+\n", finished.stdout, flags=re.MULTILINE)[1:]
    log = tmp_path / "dtms.log"
    for step, answer in zip(run, printed, strict=False):
        assert matches(step.expected, answer), (
            f"$ {step.command}\nexpected:\n{step.expected}\nprinted:\n{answer}\n{finished.stderr}\n"
            f"{log.read_text() if log.exists() else ''}"
        )
    assert len(printed) == len(run) + 1
