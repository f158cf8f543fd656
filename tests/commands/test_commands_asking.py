"""Commands that ask the running service: what people and pipes get, and how each ends."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from service import Service, free_port

from dtms_client.clock import Clock
from dtms_client.sync import DtmsClient

pytestmark = pytest.mark.process

ASKING = [
    ("status",),
    ("trades",),
    ("explain", "1000001"),
    ("actions",),
    ("release", "1000001"),
    ("pause",),
    ("resume",),
    ("halt",),
    ("reset",),
    ("flatten",),
    ("alerts",),
    ("alerts", "list"),
    ("alerts", "ack", "1"),
    ("demo",),
    ("trades", "--watch"),
    ("watch",),
]


@pytest.mark.parametrize("command", ASKING, ids=" ".join)
def test_without_a_service_every_command_fails_with_one_line_that_says_what_to_try(
    dtms: Any, command: tuple[str, ...]
) -> None:
    ended = dtms(*command, DTMS_RETRY_COUNT="1", DTMS_TIMEOUT="1")
    assert (ended.code, ended.out) == (1, "")
    assert len(ended.err.splitlines()) == 1
    assert "Try: " in ended.err
    assert "dtms serve" in ended.err


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("nonsense",),
        ("status", "--nonsense"),
        ("explain",),
        ("explain", "abc"),
        ("explain", "0"),
        ("register",),
        ("alerts", "ack"),
        ("actions", "--limit", "0"),
        ("trades", "--every", "0"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_2_and_says_where_help_is(dtms: Any, arguments: tuple[str, ...]) -> None:
    ended = dtms(*arguments)
    assert ended.code == 2
    assert "--help" in ended.err.splitlines()[-1] if arguments else "Usage: dtms" in ended.out


def test_a_misspelt_command_is_answered_with_the_right_one(dtms: Any) -> None:
    assert "Did you mean 'status'?" in dtms("stauts").err


def test_a_setting_that_cannot_be_used_is_78_and_named(dtms: Any) -> None:
    ended = dtms("status", DTMS_API_PORT="eighty")
    assert (ended.code, ended.out) == (78, "")
    assert "DTMS_API_PORT" in ended.err
    assert "Try: " in ended.err


def test_a_pipe_gets_json_and_a_person_a_table(dtms: Any, at: dict[str, str], opened: Callable[..., int]) -> None:
    ticket = opened("GBPUSD", "SELL", 0.3)
    assert dtms("register", str(ticket), **at).json["outcome"] == "protected"
    body = dtms("status", **at).json
    assert body["phase"] == "ready"
    assert ticket in [trade["ticket"] for trade in body["trades"]]
    seen = dtms("status", person=True, **at)
    assert seen.code == 0
    assert body["summary"] in seen.out
    row = next(line.split() for line in seen.out.splitlines() if line.startswith(str(ticket)))
    assert row[:5] == [str(ticket), "GBPUSD", "SELL", "0.3", "HEALTHY"]
    assert row[-2:] == ["dtms", "yes"]
    assert dtms("status", "--json", person=True, **at).json["phase"] == "ready"


def test_trades_are_filtered_by_the_service(dtms: Any, at: dict[str, str], opened: Callable[..., int]) -> None:
    for symbol in ("EURUSD", "GBPUSD"):
        assert dtms("register", str(opened(symbol)), **at).code == 0
    found = dtms("trades", "--symbol", "EURUSD", **at).json
    assert {trade["symbol"] for trade in found["trades"]} == {"EURUSD"}
    assert len(dtms("trades", "--limit", "1", **at).json["trades"]) == 1
    assert dtms("trades", "--state", "HEDGED", person=True, **at).out == "no trades\n"
    assert dtms("trades", "--state", "NONSENSE", **at).code == 1


def test_register_is_told_what_became_of_it(dtms: Any, at: dict[str, str], opened: Callable[..., int]) -> None:
    ticket = opened("EURUSD", "BUY")
    seen = dtms("register", str(ticket), "--stop-loss", "1.01", person=True, **at)
    assert (seen.code, seen.out) == (0, f"{ticket}: protected, protected\n")
    wrong = dtms("register", str(ticket), "--side", "sell", **at)
    assert (wrong.code, wrong.out) == (1, "")
    assert "is BUY EURUSD at the terminal" in wrong.err
    assert "Try: " in wrong.err
    assert dtms("register", str(ticket), "--strategy-type", "swing_x", **at).json["outcome"] == "observed"


def test_a_registration_that_nobody_takes_is_stored_and_says_so(dtms: Any, tmp_path: Path) -> None:
    ended = dtms("register", "1000001", DTMS_RETRY_COUNT="1", DTMS_TIMEOUT="1")
    assert (ended.code, ended.json["outcome"]) == (0, "queued")
    assert len(list((tmp_path / "state" / "outbox").rglob("*.json"))) == 1


def test_release_is_for_good(dtms: Any, at: dict[str, str], opened: Callable[..., int]) -> None:
    ticket = opened()
    dtms("register", str(ticket), **at)
    seen = dtms("release", str(ticket), "--reason", "mine", "--by", "anna", person=True, **at)
    assert (seen.code, seen.out) == (0, f"{ticket} is released to manual for good\n")
    assert dtms("register", str(ticket), **at).json["outcome"] == "observed"
    history = httpx.get(f"http://127.0.0.1:{at['DTMS_API_PORT']}/dtms/trades/{ticket}/history", trust_env=False).json()
    assert any(event["body"].get("by") == "anna" and "mine" in str(event["body"]) for event in history["events"])
    unknown = dtms("release", "999", **at)
    assert (unknown.code, "dtms trades" in unknown.err) == (1, True)


def test_explain_says_why_in_words(dtms: Any, at: dict[str, str], opened: Callable[..., int]) -> None:
    ticket = opened()
    dtms("register", str(ticket), **at)
    body = dtms("explain", str(ticket), **at).json
    assert (body["ticket"], body["state"]) == (ticket, "HEALTHY")
    seen = dtms("explain", str(ticket), person=True, **at).out
    assert f"next: {body['next'][0]}" in seen
    assert f"missing: {body['missing'][0]}" in seen


def test_actions_are_shown_with_their_words(dtms: Any, service: Service, at: dict[str, str], opened: Any) -> None:
    ticket = opened("XAUUSD", "BUY", 0.1)
    dtms("register", str(ticket), **at)
    dtms("flatten", "--reason", "a test", **at)
    service.advance(seconds=60)
    done = dtms("actions", "--ticket", str(ticket), **at).json
    assert [action["outcome"] for action in done] == ["done"]
    seen = dtms("actions", "--ticket", str(ticket), person=True, **at).out
    assert done[0]["action_type"] in seen
    assert done[0]["description"] in seen
    later = dtms("actions", "--ticket", str(ticket), "--since", str(done[0]["sequence"]), person=True, **at)
    assert later.out == "nothing done\n"


@pytest.mark.parametrize(("width", "encoding"), [(1, "utf-8"), (20, "cp1252"), (40, "cp437"), (300, "ascii")])
def test_no_console_is_too_narrow_or_too_old(
    dtms: Any, at: dict[str, str], opened: Callable[..., int], width: int, encoding: str
) -> None:
    ticket = opened()
    dtms("register", str(ticket), **at)
    for command in (("status",), ("trades",), ("explain", str(ticket)), ("actions",), ("config", "show"), ("--help",)):
        ended = dtms(*command, person=True, width=width, encoding=encoding, **at)
        assert (ended.code, ended.err) == (0, ""), command
        assert ended.out


def test_a_narrow_table_names_the_columns_it_leaves_out(
    dtms: Any, at: dict[str, str], opened: Callable[..., int]
) -> None:
    ticket = opened()
    dtms("register", str(ticket), **at)
    seen = dtms("trades", person=True, width=40, **at).out
    assert f"{ticket}  EURUSD" in seen
    assert all(len(line) <= 40 for line in seen.splitlines() if line.startswith(str(ticket)))
    assert "owner, protected" in " ".join(seen.split())
    assert "--json shows all" in " ".join(seen.split())


def test_a_word_that_a_console_lacks_is_shown_as_its_number(dtms: Any, at: dict[str, str]) -> None:
    seen = dtms("pause", "--reason", "\u65e5\u672c", person=True, encoding="cp1252", **at)
    assert seen.code == 0
    assert "\\u65e5\\u672c" in seen.out
    assert dtms("resume", encoding="cp1252", **at).code == 0


@pytest.fixture
def three_looks(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Ctrl-C is pressed instead of a third pause."""
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            raise KeyboardInterrupt

    real = DtmsClient.clock
    monkeypatch.setattr(DtmsClient, "clock", Clock(real.wall_ns, real.monotonic, real.uniform, sleep, real.asleep))
    return slept


@pytest.mark.parametrize("command", [("trades", "--watch"), ("watch",)], ids=" ".join)
def test_watching_looks_until_ctrl_c_and_a_pipe_gets_a_line_each(
    dtms: Any, at: dict[str, str], three_looks: list[float], command: tuple[str, ...]
) -> None:
    ended = dtms(*command, "--every", "7", **at)
    assert ended.code == 0
    assert len([json.loads(line) for line in ended.out.splitlines()]) == 3
    assert three_looks == [7.0, 7.0, 7.0]


def test_a_person_who_watches_sees_the_service_go_away_and_goes_on(
    dtms: Any, at: dict[str, str], three_looks: list[float]
) -> None:
    assert "ready" in dtms("watch", person=True, **at).out
    three_looks.clear()
    gone = dtms("watch", person=True, DTMS_API_PORT=str(free_port()), DTMS_RETRY_COUNT="1")
    assert (gone.code, len(three_looks)) == (0, 3)
    assert "did not answer" in gone.out


def test_the_settings_file_of_the_folder_says_where_the_service_is(
    dtms: Any, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "dtms.toml").write_text(f"[api]\nport = {service.port}\n")
    assert dtms("status", DTMS_API_PORT="").json["phase"] == "ready"


def test_something_else_on_the_port_is_named_as_such(dtms: Any) -> None:
    code = "import http.server as h; s = h.HTTPServer(('127.0.0.1', 0), h.BaseHTTPRequestHandler); "
    code += "print(s.server_port, flush=True); s.serve_forever()"
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert other.stdout is not None
        ended = dtms("status", DTMS_API_PORT=other.stdout.readline().strip())
    finally:
        other.kill()
        other.communicate()
    assert (ended.code, ended.out) == (1, "")
    assert "DTMS would not send" in ended.err
    assert "Another program uses this port" in ended.err


def test_asking_loads_nothing_of_the_engine(service: Service) -> None:
    code = (
        "import sys; from dtms_service import cli; sys.argv = ['dtms', 'status']\n"
        "try: cli.main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "heavy = {'fastapi', 'uvicorn', 'sqlalchemy', 'numpy', 'talib', 'structlog', 'dtms_service.engine'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=service.environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_command_itself_answers_a_pipe_with_json(service: Service) -> None:
    command = [sys.executable, "-m", "dtms_service", "status"]
    done = subprocess.run(command, env=service.environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["instance_id"] == service.get("/health/live")["instance_id"]
