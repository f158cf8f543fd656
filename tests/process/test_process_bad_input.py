"""Nonsense gets a clear error with its code; nothing is changed by it, and nothing is lost."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from service import Service

pytestmark = pytest.mark.process

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("bad") / "state") as running:
        yield running


@pytest.fixture(scope="module")
def ticket(service: Service) -> int:
    return int(service.post("/simulator/positions", {"symbol": "EURUSD", "side": "BUY", "volume": 0.1})["ticket"])


def state(service: Service) -> Any:
    trades = service.get("/dtms/trades", params={"include_closed": "true"})["trades"]
    return trades, service.get("/simulator/deals"), service.get("/simulator/positions")


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/dtms/trades/{ticket}", '{"symbol": "GBPUSD"}', 409, "registration_conflict"),
        ("/dtms/trades/{ticket}", '{"side": "SELL"}', 409, "registration_conflict"),
        ("/dtms/trades/{ticket}", '{"side": "up"}', 422, "validation_failed"),
        ("/dtms/trades/{ticket}", '{"entry_price": -5}', 422, "validation_failed"),
        ("/dtms/trades/{ticket}", '{"entry_price": NaN}', 422, "validation_failed"),
        ("/dtms/trades/{ticket}", '{"volume": Infinity}', 422, "validation_failed"),
        ("/dtms/trades/{ticket}", '{"volume": ', 422, "validation_failed"),
        ("/dtms/trades/{ticket}", "[1]", 422, "validation_failed"),
        ("/dtms/trades/abc", "{}", 422, "validation_failed"),
        ("/dtms/trades/0", "{}", 422, "validation_failed"),
        ("/dtms/trades/-1", "{}", 422, "validation_failed"),
        ("/dtms/trades/9223372036854775808", "{}", 422, "validation_failed"),
        ("/dtms/trades/{ticket}", '{"source": "' + "x" * 2_000_000 + '"}', 413, "payload_too_large"),
    ],
)
def test_a_registration_that_makes_no_sense_changes_nothing(
    service: Service, ticket: int, path: str, body: str, status: int, code: str
) -> None:
    before = state(service)
    answer = httpx.put(
        f"{service.url}{path.format(ticket=ticket)}", content=body, headers=JSON, trust_env=False, timeout=30
    )
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["detail"]
    assert state(service) == before


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"symbol": "NOPE", "side": "BUY", "volume": 0.1}, "NOPE"),
        ({"symbol": "EURUSD", "side": "up", "volume": 0.1}, "BUY"),
        ({"symbol": "EURUSD", "side": "BUY", "volume": -1}, "volume"),
        ({"symbol": "EURUSD", "side": "BUY", "volume": 0.1, "stop_loss": 9.0}, "stop loss"),
    ],
)
def test_a_position_that_cannot_be_opened_is_refused_with_a_sentence(
    service: Service, ticket: int, body: dict[str, Any], said: str
) -> None:
    before = state(service)
    answer = service.post("/simulator/positions", body, status=422)
    assert answer["code"] == "validation_failed"
    assert said in answer["detail"]
    assert state(service) == before


@pytest.mark.parametrize(
    ("settings", "file", "said"),
    [
        ({"DTMS_TERMINAL": "mt5"}, None, "MetaTrader5"),
        ({"DTMS_TERMINAL": "mt5", "DTMS_TERMINAL__PATH": "/no/such/terminal64.exe"}, None, "MetaTrader5"),
        ({"DTMS_SIMULATOR__MARKET": "missing.csv"}, None, "missing.csv"),
        ({"DTMS_SIMULATOR__MARKET": "bars"}, ("bars/EURUSD_M1_x.csv", "nonsense\n1,2\n"), "EURUSD_M1_x.csv"),
        (
            {"DTMS_SIMULATOR__MARKET": "bars"},
            (
                "bars/EURUSD_M1_x.csv",
                "time_utc,open,high,low,close,tick_volume,spread_points\n2024-01-02T00:00:00Z,1,1,nan,1,1,1\n",
            ),
            "line 2",
        ),
        ({"DTMS_CONFIG": "dtms.toml"}, ("dtms.toml", "[cadence]\ncycel_s = 5\n"), "cycle_s"),
    ],
)
def test_a_service_that_cannot_be_what_it_is_told_ends_with_78_and_one_clear_line(
    tmp_path: Path, settings: dict[str, str], file: tuple[str, str] | None, said: str
) -> None:
    if file is not None:
        (tmp_path / file[0]).parent.mkdir(exist_ok=True)
        (tmp_path / file[0]).write_text(file[1])
    described = Service(tmp_path / "state", settings)
    (tmp_path / "state").mkdir()
    ended = subprocess.run(
        [sys.executable, "-m", "dtms_service", "serve"],
        env=described.environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 78, ended.stderr
    last = ended.stderr.strip().splitlines()[-1]
    assert said in ended.stderr
    assert "Try" in last or "did you mean" in last
    assert "Traceback" not in ended.stderr
