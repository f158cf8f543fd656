"""What a trading program takes on with the client: four packages and what they need, nothing of the service."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

CLIENT = Path(__file__).resolve().parents[2] / "src" / "dtms_client"
DIRECT = {"httpx", "pydantic", "sniffio", "tenacity"}
THEIRS = {
    "annotated-types",
    "anyio",
    "certifi",
    "h11",
    "httpcore",
    "idna",
    "pydantic-core",
    "typing-extensions",
    "typing-inspection",
}
"""What those four need on Python 3.11 and later, from their own metadata at the time of writing."""
# rich is not among them: httpx loads it for its own command, where it is installed
HEAVY = {
    "aiosqlite",
    "alembic",
    "dtms_service",
    "fastapi",
    "numpy",
    "sqlalchemy",
    "starlette",
    "structlog",
    "talib",
    "typer",
    "uvicorn",
}


def needed(name: str) -> set[str]:
    """What an install of ``name`` without extras needs at once, by normalised names."""
    found = (Requirement(line) for line in metadata.requires(name) or ())
    wanted = (each.name for each in found if each.marker is None or each.marker.evaluate({"extra": ""}))
    return {re.sub(r"[-_.]+", "-", each).lower() for each in wanted}


def test_the_base_install_brings_four_packages_and_what_they_need() -> None:
    assert needed("dtms") == DIRECT
    all_of_them, left = set(DIRECT), list(DIRECT)
    while left:
        fresh = needed(left.pop()) - all_of_them
        all_of_them |= fresh
        left += fresh
    assert all_of_them <= DIRECT | THEIRS


def test_the_client_imports_nothing_that_the_base_install_does_not_bring() -> None:
    names: set[str] = set()
    for path in CLIENT.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add((node.module or "").partition(".")[0])
    outside = {name.replace("_", "-") for name in names - sys.stdlib_module_names - {"dtms_client"}}
    assert outside <= DIRECT | THEIRS
    assert {"httpx", "pydantic", "tenacity"} <= outside


@pytest.mark.process
def test_importing_the_client_loads_nothing_heavy() -> None:
    """The figure itself (at most 200 ms) is bench/client.py's; this is what would spoil it."""
    program = "import sys; import dtms_client; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in ran.stdout.split()}
    assert loaded & HEAVY == set()
    assert "dtms_client" in loaded
