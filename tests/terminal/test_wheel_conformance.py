"""The published package is what we think it is, and our code uses no name that it does not have.

The first test needs a package index; the others compare with the names it found, which are kept beside it.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from conformance import OURS_ALONE, differences
from published import Facts, Offline, download, read

ROOT = Path(__file__).resolve().parents[2]
TERMINAL = ROOT / "src" / "dtms_service" / "terminal"
NAMES = Facts(**json.loads((Path(__file__).parent / "metatrader5_names.json").read_text("utf-8")))
REAL = TERMINAL / "mt5.py"


def test_the_published_wheel_is_what_we_simulate(tmp_path: Path) -> None:
    try:
        facts = read(download(tmp_path))
    except Offline as error:
        pytest.skip(f"no package index can be reached: {error}")
    assert differences(facts) == []
    assert facts == NAMES, "run .venv/bin/python scripts/wheel.py --write"


def test_the_names_kept_for_offline_are_those_we_simulate() -> None:
    assert differences(NAMES) == []
    assert (len(NAMES.constants), len(NAMES.structs), len(NAMES.functions)) == (223, 11, 33)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"constants": {**NAMES.constants, "ORDER_FILLING_FOK": 9}}, "constant ORDER_FILLING_FOK is 9 there and 0"),
        ({"structs": {**NAMES.structs, "Tick": ["bid", "time"]}}, "structure Tick has the fields ['bid', 'time']"),
        ({"functions": {**NAMES.functions, "symbol_info": "keywords"}}, "symbol_info takes keywords arguments there"),
        ({"functions": {**NAMES.functions, "order_hedge": "none"}}, "order_hedge takes none arguments there and None"),
        ({"offsets": {**NAMES.offsets, "ticks": {}}}, "a row of ticks is laid out as {} there"),
    ],
)
def test_a_difference_is_told(changed: dict[str, object], said: str) -> None:
    (difference,) = differences(replace(NAMES, **changed))  # type: ignore[arg-type]  # one field of its own type each
    assert said in difference


def trees() -> Iterator[tuple[Path, ast.Module]]:
    return ((path, ast.parse(path.read_text("utf-8"))) for path in sorted(TERMINAL.rglob("*.py")))


def test_the_gateway_calls_only_functions_that_the_package_has() -> None:
    called = {
        str(node.args[0].value)
        for _, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "call"
        and node.args
        and isinstance(node.args[0], ast.Constant)
    }
    assert called >= {"positions_get", "order_send", "initialize", "copy_rates_from_pos"}
    assert called - set(NAMES.functions) == set()


def test_the_real_backend_uses_only_what_the_package_has() -> None:
    used = {
        node.attr
        for node in ast.walk(ast.parse(REAL.read_text("utf-8")))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Attribute)
        and node.value.attr in {"_package", "package"}
    }
    assert used >= {"initialize", "account_info"}
    assert used - set(NAMES.functions) - set(NAMES.constants) == set()


def test_every_constant_we_name_is_one_of_the_package() -> None:
    used = {
        node.attr
        for _, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Constants"
    }
    assert len(used) > 50
    assert used - set(NAMES.constants) - OURS_ALONE == set()


def test_the_gateway_reads_only_fields_that_the_structures_have() -> None:
    known = {field for fields in NAMES.structs.values() for field in fields} | set(NAMES.offsets["rates"])
    read_here = {
        str(node.slice.value)
        for name in ("convert.py", "gateway.py", "requests.py", "results.py", "legality.py", "symbols.py")
        for node in ast.walk(ast.parse((TERMINAL / name).read_text("utf-8")))
        if isinstance(node, ast.Subscript)
        and isinstance(node.slice, ast.Constant)
        and isinstance(node.slice.value, str)
        and isinstance(node.ctx, ast.Load)
    }
    assert read_here >= {"identifier", "trade_exemode", "balance"}
    assert read_here - known == set()


def test_an_order_names_only_fields_of_a_request() -> None:
    requests = ast.parse((TERMINAL / "requests.py").read_text("utf-8"))
    keys = {
        str(key.value)
        for node in ast.walk(requests)
        if isinstance(node, ast.Dict)
        for key in node.keys
        if isinstance(key, ast.Constant)
    }
    assert keys >= {"action", "sl", "tp", "position", "type_filling"}
    assert keys - set(NAMES.structs["TradeRequest"]) == set()
