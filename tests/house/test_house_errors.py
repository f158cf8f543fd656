"""Every error, reason and exit code that the service can name is explained to its reader."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from service import ROOT

from dtms_service.api import errors as _every_error_class  # noqa: F401 - defines the classes that are walked below
from dtms_service.domain.errors import DtmsError

PAGE = (ROOT / "docs" / "reference" / "errors.md").read_text(encoding="utf-8")
TOLD = set(re.findall(r"`([a-z_]+)`", PAGE))


def every_error(base: type[DtmsError]) -> set[type[DtmsError]]:
    return {base} | {error for child in base.__subclasses__() for error in every_error(child)}


def test_every_error_code_is_explained() -> None:
    assert {error.code for error in every_error(DtmsError) if error.__module__.startswith("dtms_service")} <= TOLD


def test_every_reason_for_not_being_ready_is_explained() -> None:
    named = set()
    for path in (ROOT / "src" / "dtms_service" / "engine").glob("*.py"):
        named |= _first_strings(path, "Reason") | _keywords(path, "CycleResult", "code")
    for path in (ROOT / "src" / "dtms_service" / "terminal").glob("*.py"):
        named |= _first_strings(path, "Unknown")
    assert len(named) > 8
    assert named - {"retcode"} <= TOLD


def _calls(path: Path, name: str) -> list[ast.Call]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "id", None) == name]


def _first_strings(path: Path, name: str) -> set[str]:
    first = [call.args[0] for call in _calls(path, name) if call.args]
    return {arg.value for arg in first if isinstance(arg, ast.Constant) and isinstance(arg.value, str)}


def _keywords(path: Path, name: str, keyword: str) -> set[str]:
    values = [k.value for call in _calls(path, name) for k in call.keywords if k.arg == keyword]
    return {value.value for value in values if isinstance(value, ast.Constant) and isinstance(value.value, str)}
