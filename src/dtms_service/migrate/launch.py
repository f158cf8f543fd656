"""Starts the rewriting as a program of its own: no other command pays for loading the parser of programs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec

NEEDS = "libcst"


def launch(arguments: Sequence[str]) -> int:
    """Run ``migrate-callers`` with these arguments in this console; returns its exit code."""
    if find_spec(NEEDS) is None:
        sys.stderr.write(f"dtms: migrate-callers needs {NEEDS}. Try: pip install 'dtms[migrate]'\n")
        return 1
    command = [sys.executable, "-m", "dtms_service.migrate", *arguments]
    return subprocess.run(command, check=False).returncode  # noqa: S603 - ourselves, with arguments that were parsed
