"""``dtms doctor`` names what is wrong and what to try, and ends with 0 only when nothing fails."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import shutil
import socket
import sys
import threading
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from service import ROOT, Service, free_port

from dtms_client.spool import Spool
from dtms_service.app import examination, port_holder
from dtms_service.app.port_holder import Holder, Speaker, macos_holder, speaker, windows_pid, windows_program
from dtms_service.app.remedies import REMEDIES
from dtms_service.lock import NAME, Lock, is_held
from dtms_service.settings.loading import load

pytestmark = pytest.mark.process


def verdicts(ended: Any) -> dict[str, tuple[str, str, str]]:
    return {one["name"]: (one["verdict"], one["detail"], one["remedy"]) for one in ended.json}


def test_a_machine_without_a_service_is_well_and_is_told_how_to_start_it(dtms: Any, tmp_path: Path) -> None:
    ended = dtms("doctor")
    found = verdicts(ended)
    assert ended.code == 0
    assert {name: found[name][0] for name in ("settings", "state folder", "lock", "ledger", "outbox")} == {
        "settings": "ok",
        "state folder": "ok",
        "lock": "ok",
        "ledger": "ok",
        "outbox": "ok",
    }
    assert found["port"][0] == "warn"
    assert found["port"][2] == "dtms serve"
    assert not (tmp_path / "state").exists()


def test_a_running_service_is_recognised_with_its_account_and_its_ledger(
    dtms: Any, service: Service, at: dict[str, str]
) -> None:
    ended = dtms("doctor", **at)
    found = verdicts(ended)
    assert ended.code == 0, ended.out
    assert service.process is not None
    assert f"process {service.process.pid}" in found["lock"][1]
    assert service.get("/health/live")["instance_id"] in found["port"][1]
    account = service.get("/dtms/status")["account"]
    assert f"{account['login']}@{account['server']}" in found["account"][1]
    assert f"{account['login']}@{account['server']}" in found["pinned account"][1]
    assert "sound" in found["ledger"][1]
    assert found["service"][1].startswith("ready")
    dtms("pause", **at)
    paused = verdicts(dtms("doctor", **at))["control"]
    assert (paused[0], paused[2]) == ("warn", "dtms resume")
    dtms("resume", **at)


def test_a_person_sees_a_line_each_and_what_to_try_below(dtms: Any) -> None:
    lines = dtms("doctor", person=True, width=300).out.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("warn  port"))
    assert lines[at + 1].split() == ["Try:", "dtms", "serve"]
    assert all(line[:4].strip() in {"ok", "warn", "fail", ""} for line in lines)


def test_wrong_settings_end_with_78_and_are_a_line_like_the_others(dtms: Any) -> None:
    ended = dtms("doctor", DTMS_API_PORT="http")
    assert ended.code == 78
    assert verdicts(ended)["settings"][0] == "fail"
    assert "api.port" in verdicts(ended)["settings"][1]
    assert verdicts(ended)["settings"][2]


def test_an_unknown_variable_is_a_warning(dtms: Any) -> None:
    ended = dtms("doctor", DTMS_API_PROT="1")
    assert any(one["verdict"] == "warn" and "DTMS_API_PROT" in one["detail"] for one in ended.json)
    assert ended.code == 0


@contextlib.contextmanager
def answering(status: int, body: dict[str, Any]) -> Iterator[int]:
    """Another program on a port, which answers everything with the same."""

    class Other(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture
def hub() -> Iterator[int]:
    """A web service that says its name."""
    with answering(200, {"status": "ok", "service": "phone-hub"}) as port:
        yield port


def test_another_program_on_the_port_fails_and_is_named(dtms: Any, hub: int) -> None:
    ended = dtms("doctor", DTMS_API_PORT=str(hub))
    verdict, detail, remedy = verdicts(ended)["port"]
    assert (ended.code, verdict) == (1, "fail")
    assert "phone-hub" in detail
    assert "DTMS_API_PORT" in remedy
    if sys.platform == "linux":
        assert f"process {os.getpid()} (" in detail


def test_a_program_that_says_nothing_is_named_by_its_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        found = speaker("127.0.0.1", mute.getsockname()[1])
    assert found.kind == "other"
    if sys.platform == "linux":
        assert found.holder is not None
        assert found.holder.pid == os.getpid()
    assert speaker("127.0.0.1", free_port()).kind == "nobody"


def test_a_held_lock_without_a_listener_is_a_failure(dtms: Any, tmp_path: Path) -> None:
    with Lock(tmp_path / "state" / NAME):
        ended = dtms("doctor")
    found = verdicts(ended)
    assert ended.code == 1
    assert f"process {os.getpid()}" in found["lock"][1]
    assert found["port"][0] == "fail"
    assert "nobody listens" in found["port"][1]


def test_a_service_that_hangs_is_not_taken_for_another_program(dtms: Any, tmp_path: Path) -> None:
    with Lock(tmp_path / "state" / NAME), socket.create_server(("127.0.0.1", 0)) as mute:
        ended = dtms("doctor", DTMS_API_PORT=str(mute.getsockname()[1]))
    verdict, detail, remedy = verdicts(ended)["port"]
    assert (ended.code, verdict) == (1, "fail")
    if sys.platform == "linux":  # elsewhere the holder of a port is asked of tools that no such machine has run yet
        assert f"DTMS, process {os.getpid()}, does not answer" in detail
        assert f"stop process {os.getpid()}" in remedy


def test_looking_at_a_lock_neither_takes_it_nor_writes(tmp_path: Path) -> None:
    path = tmp_path / NAME
    assert not is_held(path)
    assert not path.exists()
    with Lock(path):
        before = path.read_bytes()
        assert is_held(path)
        assert path.read_bytes() == before
    assert not is_held(path)
    Lock(path).release()


def test_a_damaged_ledger_and_a_missing_one_fail_with_the_way_back(dtms: Any, service: Service, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    dtms("db", "backup", str(state / "dtms.db"), DTMS_STATE_DIR=str(service.state_dir))
    assert verdicts(dtms("doctor"))["ledger"][0] == "ok"
    (state / "dtms.db").write_bytes(b"not a database" * 400)
    broken = dtms("doctor")
    assert (broken.code, verdicts(broken)["ledger"][0]) == (1, "fail")
    assert "dtms db restore" in verdicts(broken)["ledger"][2]
    (state / "dtms.db").unlink()
    shutil.copy(service.state_dir / "dtms.used", state / "dtms.used")
    assert verdicts(dtms("doctor"))["ledger"][0] == "fail"


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX file modes")
def test_folders_that_others_may_write_to_are_a_failure(dtms: Any, tmp_path: Path) -> None:
    for name, folder in (("state folder", tmp_path / "state"), ("outbox", tmp_path / "state" / "outbox")):
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o777)
        ended = dtms("doctor")
        assert (ended.code, verdicts(ended)[name][0]) == (1, "fail")
        assert f"chmod 700 {folder}" in verdicts(ended)[name][2]
        folder.chmod(0o700)


def test_open_trades_that_nobody_looks_after_are_a_failure(
    dtms: Any, service: Service, at: dict[str, str], opened: Any, tmp_path: Path
) -> None:
    ticket = opened()
    service.ask("PUT", f"/dtms/trades/{ticket}", json={}, status=201)
    assert "open trades" not in verdicts(dtms("doctor", **at))
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    dtms("db", "backup", str(state / "dtms.db"), **at)
    ended = dtms("doctor")
    assert ended.code == 1
    assert verdicts(ended)["open trades"][::2] == ("fail", "dtms serve")


def test_a_full_disk_fails_and_little_room_warns(dtms: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", ["total", "used", "free"])
    for free, verdict, code in ((63 * 2**20, "fail", 1), (65 * 2**20, "warn", 0), (2 * 2**30, "ok", 0)):
        monkeypatch.setattr(examination.shutil, "disk_usage", lambda _, free=free: usage(0, 0, free))
        ended = dtms("doctor")
        assert (ended.code, verdicts(ended)["disk"][0]) == (code, verdict)


def test_registrations_that_wait_too_long_or_were_rejected_are_a_warning(tmp_path: Path) -> None:
    folder = tmp_path / "outbox"
    written = Spool(folder).write({"ticket": 1}, None)
    now = written.created_wall
    assert examination.outbox(folder, now + 119).verdict == "ok"
    assert examination.outbox(folder, now + 121).verdict == "warn"
    written.reject({"detail": "no"})
    assert "outbox retry" in examination.outbox(folder, now).remedy


def test_a_service_that_is_not_ready_fails_with_what_to_try_for_each_reason(dtms: Any) -> None:
    codes = ("terminal_not_connected", "account_mismatch", "a_reason_of_next_year")
    reasons = [{"code": code, "detail": f"because {code}"} for code in codes]
    who = {"service": "dtms", "instance_id": "7f3a", "version": "0.1.0"}
    rest = {"phase": "connecting", "accepting": True, "mode": "protect", "dtms_status": {}}
    with answering(503, {"status": "not_ready", **who, **rest, "reasons": reasons}) as port:
        ended = dtms("doctor", DTMS_API_PORT=str(port), DTMS_RETRY_COUNT="1")
    found = {one["detail"]: one for one in ended.json if one["name"] == "service"}
    assert ended.code == 1
    for code in codes:
        one = found[f"{code}: because {code}"]
        assert (one["verdict"], one["remedy"]) == (
            "fail",
            REMEDIES.get(code, "docs/reference/errors.md has the reasons"),
        )


def test_every_reason_for_not_being_ready_has_a_remedy() -> None:
    page = (ROOT / "docs" / "reference" / "errors.md").read_text("utf-8")
    section = page.partition("## Why the service is not ready")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    codes = {code.strip().strip("`") for row in rows for code in row.split(",")}
    assert codes == set(REMEDIES)


async def test_a_terminal_is_attached_to_once_and_shows_account_and_clock(tmp_path: Path) -> None:
    environ = {"DTMS_STATE_DIR": str(tmp_path), "DTMS_SIMULATOR__ACCOUNT__SERVER_UTC_OFFSET": "3"}
    chosen = {"terminal.kind": "simulated", "simulator.clock": "stepped"}
    found = await examination.terminal(load(chosen, environ=environ, mt5_importable=False).settings)
    assert (found.verdict, found.name) == ("ok", "terminal")
    assert "account " in found.detail


def test_the_tools_of_windows_and_macos_are_read_as_documented() -> None:
    netstat = """
Aktive Verbindungen

  Proto  Lokale Adresse         Remoteadresse          Status           PID
  TCP    0.0.0.0:135            0.0.0.0:0              ABHÖREN          996
  TCP    127.0.0.1:8001         127.0.0.1:50412        HERGESTELLT      77
  TCP    127.0.0.1:8001         0.0.0.0:0              ABHÖREN          4321
  TCP    [::1]:80011            [::]:0                 ABHÖREN          5
"""
    assert windows_pid(netstat, 8001) == 4321
    assert windows_pid(netstat, 80) is None
    assert windows_program('"python.exe","4321","Console","1","24,512 K"\r\n') == "python.exe"
    assert windows_program("INFO: No tasks are running which match the specified criteria.\r\n") is None
    assert macos_holder("p4321\ncPython\nf7\n") == Holder(4321, "Python")
    assert macos_holder("") is None


def test_the_way_a_speaker_is_said() -> None:
    known = Holder(7, "python hub.py")
    assert str(Speaker("web", "phone-hub", known)) == "another web service (phone-hub), process 7 (python hub.py)"
    assert str(Speaker("dtms", "7f3a")) == "another DTMS (instance 7f3a)"
    assert str(Speaker("other", holder=known)) == "another program, process 7 (python hub.py)"


def test_who_holds_a_port_needs_nothing_but_python() -> None:
    source = Path(port_holder.__file__).read_text("utf-8")
    imported = [
        line.split()[1].partition(".")[0] for line in source.splitlines() if line.startswith(("import ", "from "))
    ]
    assert set(imported) <= sys.stdlib_module_names
