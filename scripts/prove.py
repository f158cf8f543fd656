#!/usr/bin/env python3
"""The proofs that are too long for the everyday check: ``python scripts/prove.py [NAME …] [--out FOLDER]``.

Each prints one line; with ``--out`` it also leaves ``NAME.json`` with the figures, the commit and the versions. The
exit code is 1 when one of them found a violation. Run it inside the environment: ``.venv/bin/python scripts/prove.py``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [
    *(str(ROOT / "tests" / room) for room in ("support", "domain", "engine", "market", "simulation")),
    str(ROOT / "scripts"),
]

from proofs import (  # noqa: E402 -- the tests' support is on no path of a script
    account,
    clock,
    corruption,
    double_starts,
    faults,
    floods,
    fuzz,
    hang,
    intents,
    invariants,
    kills,
    month30,
    months,
    outage,
    reads,
    simulations,
)

PROOFS: dict[str, Callable[[], str | tuple[str, Mapping[str, Any]]]] = {
    "account": account.prove,
    "clock": clock.prove,
    "corruption": corruption.prove,
    "double-starts": double_starts.prove,
    "faults": faults.prove,
    "floods": floods.prove,
    "fuzz": fuzz.prove,
    "hang": hang.prove,
    "intents": intents.prove,
    "invariants": invariants.prove,
    "kills": kills.prove,
    "month30": month30.prove,
    "months": months.prove,
    "outage": outage.prove,
    "reads": reads.prove,
    "simulation": simulations.prove,
    "simulation-again": simulations.prove_again,
    "sudden-kills": kills.prove_sudden,
}
"""Every proof by its name; it returns its figures in one line, or with tables that are evidence too.

It raises ``AssertionError`` at a violation.
"""


def main() -> int:
    """0 when every proof held."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", choices=[*PROOFS, []], help="which; all of them when none is named")
    parser.add_argument("--out", type=Path, help="folder for the evidence, one JSON file per proof")
    wanted = parser.parse_args()
    failed = False
    for name in wanted.names or PROOFS:
        begun, before = time.monotonic(), state()
        try:
            found, held = PROOFS[name](), True
        except AssertionError as violation:
            found, held = f"VIOLATION {str(violation) or traceback.format_exc()}", False
        line, tables = (found, {}) if isinstance(found, str) else found
        failed |= not held
        print(f"{name}: {line}", flush=True)
        if wanted.out is not None:
            write(wanted.out / f"{name}.json", line, tables, before, held=held, seconds=time.monotonic() - begun)
    return 1 if failed else 0


def state() -> tuple[str, str]:
    """The commit that is checked out, and what differs from it beside evidence."""
    asked = (["rev-parse", "HEAD"], ["status", "--porcelain", "--", ".", ":!docs/evidence"])
    commit, changed = (
        subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False).stdout for words in asked
    )
    return commit.strip(), changed.strip()


def write(
    path: Path, line: str, tables: Mapping[str, Any], before: tuple[str, str], *, held: bool, seconds: float
) -> None:
    """Leave the evidence of one proof that began in the state ``before``; nothing in it names the machine it ran on."""
    evidence = {
        "held": held,
        "figures": line,
        "seconds": round(seconds),
        "commit": before[0],
        "uncommitted_changes": bool(before[1]) or state() != before,
        "python": platform.python_version(),
        "system": platform.system(),
        "processors": os.cpu_count(),
        **({"tables": tables} if tables else {}),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(evidence, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
