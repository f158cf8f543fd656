"""Every setting is read, is in the commented default file, and is in the reference page."""

from __future__ import annotations

import ast
import importlib.util
import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from dtms_service.settings.loading import SHORT_NAMES, load
from dtms_service.settings.tree import DERIVED, leaves, value_of

ROOT = Path(__file__).resolve().parents[2]
SERVICE = ROOT / "src" / "dtms_service"
CLIENTS = {"api.timeout": "timeout", "api.retry_count": "retry_count"}
"""Settings that programs with a client read, by their key in the file."""
EXAMPLES = {
    "api.token",
    "api.tokens",
    "terminal.path",
    "terminal.login",
    "terminal.server",
    "simulator.start",
    "alerts.webhook.url",
    "alerts.webhook.secret",
    "alerts.deadman.url",
}
"""Settings without a default: the file shows an example."""


def read_attributes() -> set[str]:
    """Names of all attributes that the service reads outside the settings room."""
    found: set[str] = set()
    for path in SERVICE.rglob("*.py"):
        if "settings" not in path.relative_to(SERVICE).parts:
            nodes = ast.walk(ast.parse(path.read_text("utf-8")))
            found |= {n.attr for n in nodes if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Load)}
    return found


def test_every_setting_is_read_somewhere() -> None:
    read = read_attributes()
    places = (ROOT / "src" / "dtms_client" / "places.py").read_text("utf-8")
    read_by_clients = {name for name, key in CLIENTS.items() if f'"{key}"' in places}
    derived = {"api.token", "simulator.clock"}  # read inside the tree: Settings.tokens, Simulator.factor
    unread = [leaf.name for leaf in leaves() if leaf.name.rpartition(".")[2] not in read]
    assert set(unread) - read_by_clients - derived == set()
    assert {"tokens", "factor"} <= read


def default_file() -> tuple[dict[str, str], str]:
    """The settings that the file shows, as ``name -> TOML value``, and its text with all of them switched on."""
    shown: dict[str, str] = {}
    lines, section = [], ""
    for line in (ROOT / "config" / "dtms.toml").read_text("utf-8").splitlines():
        if header := re.fullmatch(r"\[(.+)\]", line):
            section = f"{header[1]}."
        if setting := re.fullmatch(r"# ([a-z0-9_]+) = (.+)", line):
            shown[section + setting[1]] = setting[2]
            lines.append(line[2:])
        else:
            lines.append(line)
    return shown, "\n".join(lines)


def test_every_setting_is_in_the_commented_default_file() -> None:
    shown, _ = default_file()
    assert sorted(shown) == sorted(leaf.name for leaf in leaves())


def test_the_default_file_changes_nothing_as_it_is(tmp_path: Path) -> None:
    table = tomllib.loads((ROOT / "config" / "dtms.toml").read_text("utf-8"))
    environ = {"DTMS_STATE_DIR": str(tmp_path)}
    assert not list(_values(table))
    load(file=ROOT / "config" / "dtms.toml", environ=environ, mt5_importable=False)


def _values(table: dict[str, object]) -> list[object]:
    return [v for value in table.values() for v in (_values(value) if isinstance(value, dict) else [value])]


def test_the_default_file_shows_the_defaults(tmp_path: Path) -> None:
    _, text = default_file()
    table = tomllib.loads(text)
    settings = load(environ={"DTMS_STATE_DIR": str(tmp_path)}, mt5_importable=False).settings
    for leaf in leaves():
        if leaf.name in EXAMPLES or leaf.name in DERIVED:
            continue
        shown: object = table
        for part in leaf.name.split("."):
            assert isinstance(shown, dict)
            shown = shown[part]
        value = value_of(settings, leaf.name)
        assert shown == (list(value) if isinstance(value, tuple) else value), leaf.name


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("settings_reference", ROOT / "scripts" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_page_is_what_the_tree_says(reference: ModuleType) -> None:
    written = (ROOT / "docs" / "reference" / "settings.md").read_text("utf-8")
    assert written == reference.page(), "run .venv/bin/python scripts/reference.py"


def test_every_setting_has_a_sentence_in_the_reference_page(reference: ModuleType) -> None:
    page = reference.page()
    for leaf in leaves():
        row = next(line for line in page.splitlines() if line.startswith(f"| `{leaf.name}` |"))
        assert len(row.rstrip("| ").rpartition("|")[2].strip()) > 5, leaf.name


def test_short_names_name_settings_that_exist() -> None:
    assert set(SHORT_NAMES.values()) <= {leaf.name for leaf in leaves()}


def test_the_port_is_written_in_one_place() -> None:
    port = "80" + "01"
    sources = [*(ROOT / "src").rglob("*.py"), *(ROOT / "scripts").rglob("*.py")]
    assert [p.name for p in sources if re.search(rf"\b{port}\b", p.read_text("utf-8"))] == ["places.py"]
