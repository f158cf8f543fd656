"""What ruff, mypy and import-linter cannot say about this house."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src"
SOURCES = sorted(SRC.rglob("*.py"))
PYTHON = [path for name in ("src", "tests", "scripts", "bench") for path in sorted((ROOT / name).rglob("*.py"))]

BROAD = {
    "dtms_service/engine/cycle.py": 1,  # per-trade boundary
    "dtms_service/engine/settling.py": 1,  # the same, while orders are settled
    "dtms_service/engine/dtms.py": 1,  # the monitor's supervisor
    "dtms_service/terminal/dispatch.py": 1,  # the child's call boundary
    "dtms_client/flusher.py": 1,
    "dtms_client/legacy.py": 3,  # the drop-ins
}
"""Every place that may catch anything at all (R46)."""

BY_NAME = {"dtms_service/terminal/dispatch.py", "dtms_service/terminal/mt5.py", "dtms_service/cli.py"}
"""Where a module may be imported by a name in a variable: the child's backend, and the package behind it (R46); and
the command that was asked for, from a literal table, so that ``dtms status`` does not load the whole service."""

CLOCKS = {"dtms_service/clock.py", "dtms_client/clock.py", "dtms_service/terminal/worker.py"}
"""Where the wall clock and chance are asked; the worker is a process of its own."""

FORBIDDEN_ROOMS = {"utils", "helpers", "common", "core", "manager", "misc", "base"}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def name(path: Path) -> str:
    return path.relative_to(SRC if path.is_relative_to(SRC) else ROOT).as_posix()


def handlers(path: Path) -> Iterator[ast.ExceptHandler]:
    return (node for node in ast.walk(tree(path)) if isinstance(node, ast.ExceptHandler))


def is_broad(handler: ast.ExceptHandler) -> bool:
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(
        kind is None or (isinstance(kind, ast.Name) and kind.id in {"Exception", "BaseException"}) for kind in caught
    )


def raises_again(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def test_anything_at_all_is_caught_only_where_the_list_says() -> None:
    found = Counter(name(path) for path in SOURCES for h in handlers(path) if is_broad(h) and not raises_again(h))
    assert {file: count for file, count in found.items() if count > BROAD.get(file, 0)} == {}


def test_no_exception_is_swallowed() -> None:
    def says_nothing(statement: ast.stmt) -> bool:
        return isinstance(statement, ast.Pass) or (
            isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        )

    silent = [f"{name(p)}:{h.lineno}" for p in SOURCES for h in handlers(p) if all(map(says_nothing, h.body))]
    assert silent == []


def test_nothing_is_global() -> None:
    assert [f"{name(p)}:{n.lineno}" for p in PYTHON for n in ast.walk(tree(p)) if isinstance(n, ast.Global)] == []


def test_imports_stand_at_the_top_and_are_absolute() -> None:
    wrong = []
    for path in SOURCES:
        for outer in ast.walk(tree(path)):
            if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                inner = [n for n in ast.walk(outer) if isinstance(n, ast.Import | ast.ImportFrom)]
                wrong += [f"{name(path)}:{node.lineno}" for node in inner]
    assert wrong == []


def test_modules_are_imported_by_name_only_behind_the_doors_of_the_terminal_and_of_the_commands() -> None:
    found = {name(path) for path in SOURCES if re.search(r"\bimport_module\(|__import__\(", path.read_text("utf-8"))}
    assert found <= BY_NAME


def test_the_wall_clock_and_chance_are_asked_in_the_clock_files_only() -> None:
    banned = re.compile(r"# noqa:[^#]*\b(TID251|S311|DTZ\d+)\b")
    assert {name(path) for path in SOURCES if banned.search(path.read_text("utf-8"))} <= CLOCKS


@pytest.mark.parametrize("marker", ["noqa", "type: ignore"])
def test_every_exception_to_a_rule_names_the_rule_and_gives_a_reason(marker: str) -> None:
    codes = r":\s*[A-Z]+\d+(,\s*[A-Z]+\d+)*" if marker == "noqa" else r"\[[a-z-]+(,\s*[a-z-]+)*\]"
    reasoned = re.compile(rf"#\s*{marker}{codes}\s*(--?|#|R\d+)?\s*\S{{2,}}")
    wrong = []
    for path in SOURCES:
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            if re.search(rf"#\s*{marker}\b", line) and not reasoned.search(line):
                wrong.append(f"{name(path)}:{number}")
    assert wrong == []


def test_no_room_is_a_lumber_room() -> None:
    rooms = {path.stem for path in SOURCES} | {path.parent.name for path in SOURCES}
    assert rooms & FORBIDDEN_ROOMS == set()


def test_every_test_file_has_a_name_of_its_own_and_tests_are_no_packages() -> None:
    names = Counter(path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py")
    assert [file for file, count in names.items() if count > 1] == []
    assert names["__init__.py"] == 0


def test_the_world_is_faked_and_not_our_code() -> None:
    def modules(path: Path) -> Iterator[str]:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))

    assert [name(path) for path in PYTHON if any(m.startswith("unittest") for m in modules(path))] == []


def test_the_two_commands_need_nothing_but_python() -> None:
    for script in ("serve.py", "test.py", "installation.py"):
        for node in ast.walk(tree(ROOT / "scripts" / script)):
            if isinstance(node, ast.Import | ast.ImportFrom):
                wanted = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
                assert {m.partition(".")[0] for m in wanted} <= sys.stdlib_module_names | {"installation"}, script


def test_an_old_python_can_read_the_two_commands_up_to_their_refusal() -> None:
    for script in ("serve.py", "test.py"):
        text = (ROOT / "scripts" / script).read_text("utf-8")
        ast.parse(text, feature_version=(3, 4))
        assert 'f"' not in text
        assert text.index("sys.version_info") < text.index("import installation")


def test_continuous_integration_runs_the_same_check_as_a_person() -> None:
    lines = (ROOT / ".ci" / "run").read_text("utf-8").splitlines()
    assert [line for line in lines if "python" in line] == ["exec python3 scripts/test.py"]
    assert "set -euo pipefail" in lines


def test_constraints_are_names_and_versions_and_pin_everything_that_is_asked_for() -> None:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line)] == []
    pinned = {plain(line) for line in lines}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    asked = [
        *project["build-system"]["requires"],
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["server"],
        *project["dependency-groups"]["test"],
    ]
    assert [requirement for requirement in asked if plain(requirement) not in pinned] == []
    assert [requirement for requirement in asked if "<" not in requirement and "tzdata" not in requirement] == []


def plain(requirement: str) -> str:
    """The normalised project name at the head of a requirement."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0]).lower()


def test_no_file_names_a_machine_or_a_package_index() -> None:
    parts = [
        r"(?<![\w.])/w" + r"ork/",
        "/ro" + "ot/",
        "pythonh" + r"osted\.",
        "//py" + r"pi\.",
        r"/sim" + "ple/",
    ]
    banned = re.compile("|".join(parts))
    folders = ("src", "tests", "scripts", "bench", "docs", "config", ".ci")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    files += [path for path in ROOT.iterdir() if path.is_file() and path.name != ".git"]
    text = {path: path.read_bytes().decode("utf-8", "replace") for path in files if path.suffix != ".pyc"}
    found = [f"{path.relative_to(ROOT)}: {hit.group()}" for path, body in text.items() if (hit := banned.search(body))]
    assert found == []


def test_one_module_knows_where_real_bars_are() -> None:
    asking = [
        path.relative_to(ROOT).as_posix()
        for path in PYTHON
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call)
        and "environ.get" in ast.unparse(node.func)
        and "'DTMS_MARKET_DATA'" in map(ast.unparse, node.args)
    ]
    assert asking == ["tests/support/market_data.py"]


NOT_IMPORTED = {
    "tzdata": "zoneinfo reads it on Windows",
    "aiosqlite": "the ledger's URL names it",
    "sniffio": "httpcore imports it on every lock",
}
IMPORTED_AS = {"TA-Lib": "talib", "pydantic-settings": "pydantic_settings"}


def test_every_dependency_is_imported_by_a_source_file_and_has_its_row() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    asked = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    names = [re.split(r"[^\w-]", one)[0] for one in asked]
    sources = "\n".join(path.read_text("utf-8") for path in SOURCES)
    page = (ROOT / "docs" / "explanation" / "dependencies.md").read_text("utf-8")
    assert [
        one
        for one in names
        if one not in NOT_IMPORTED
        and not re.search(rf"(?:import|from) {IMPORTED_AS.get(one, one)}\b|\"{one}\"", sources)
    ] == []
    assert [one for one in names if not re.search(rf"^\|[^|]*\b{re.escape(one)}\b", page, re.MULTILINE)] == []
