"""The drop-ins in every context that existing callers have (contract.md §8.6 a-d)."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import subprocess
import sys
import textwrap
import threading
import time as wall
from pathlib import Path
from typing import Any

import httpx
import pytest
from client_world import closed_port, listening, scripted

import dtms_client
from dtms_client import legacy
from dtms_client.flusher import FLUSHER
from dtms_client.spool import NEW, REJECTED, entries
from dtms_client.testing import FakeDtms

DATA = {"symbol": "XAUUSDc", "direction": "BUY", "entry_price": 1900.0, "volume": 0.1, "stop_loss": 1890.0}


@pytest.fixture
def url(dtms: FakeDtms, monkeypatch: pytest.MonkeyPatch) -> Any:
    with listening(dtms) as address:
        monkeypatch.setenv("DTMS_API_URL", address)
        yield address


def run(env: dict[str, str], *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *args]
    return subprocess.run(command, env=env, timeout=30, capture_output=True, text=True, check=False)


def eventually(done: Any) -> bool:
    for _ in range(500):
        if done():
            return True
        wall.sleep(0.01)
    return False


def test_a_in_a_thread_without_a_loop(dtms: FakeDtms, url: str) -> None:
    answers: list[bool] = []

    def job(ticket: int) -> None:
        answers.append(legacy.auto_register_dtms(ticket, DATA))

    for ticket in (1, 2):  # the second call of the old helper failed
        thread = threading.Thread(target=job, args=(ticket,))
        thread.start()
        thread.join()
    assert answers == [True, True]
    assert set(dtms.trades) == {1, 2}


async def test_b_called_without_await_inside_a_running_loop(dtms: FakeDtms, url: str, outbox_dir: Path) -> None:
    assert legacy.auto_register_dtms(1, DATA) is True
    assert await asyncio.to_thread(eventually, lambda: 1 in dtms.trades and not entries(outbox_dir))


async def test_b_the_loop_is_not_held_up_by_a_service_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted(lambda connection: connection.recv(1) and None) as (address, _):
        monkeypatch.setenv("DTMS_API_URL", address)
        started = wall.monotonic()
        assert legacy.auto_register_dtms(1, DATA) is True
        assert wall.monotonic() - started < 1.0  # the call itself would take 5 s


def test_c_in_a_fresh_loop_per_job_that_is_closed_afterwards(dtms: FakeDtms, url: str) -> None:
    def job(ticket: int) -> bool:
        loop = asyncio.new_event_loop()
        try:
            return loop.run_until_complete(legacy.register_trade_with_dtms_api(ticket, DATA))
        finally:
            loop.close()

    assert [job(ticket) for ticket in (1, 2, 3)] == [True, True, True]


def test_c_a_registration_handed_over_in_a_loop_survives_the_end_of_that_loop(
    dtms: FakeDtms, url: str, outbox_dir: Path
) -> None:
    async def job() -> bool:
        return legacy.auto_register_dtms(1, DATA)

    assert asyncio.run(job())
    assert eventually(lambda: 1 in dtms.trades and not entries(outbox_dir))


async def test_d_awaited(dtms: FakeDtms, url: str) -> None:
    assert await legacy.register_trade_with_dtms_api(1, DATA, retry_count=1, timeout=2.0, api_url=url) is True
    assert dtms.trades[1]["stop_loss"] == 1890.0


async def test_d_the_old_endpoint_as_api_url_is_understood(dtms: FakeDtms, url: str) -> None:
    assert await legacy.register_trade_with_dtms_api(1, DATA, api_url=f"{url}/dtms/trade/enable") is True


def test_the_signatures_are_those_that_callers_use() -> None:
    assert list(inspect.signature(legacy.auto_register_dtms).parameters) == ["ticket", "result"]
    awaited = inspect.signature(legacy.register_trade_with_dtms_api).parameters
    assert {name: parameter.default for name, parameter in awaited.items()} == {
        "ticket": inspect.Parameter.empty,
        "trade_data": inspect.Parameter.empty,
        "retry_count": 3,
        "timeout": 5.0,
        "api_url": None,
    }
    assert dtms_client.auto_register_dtms is legacy.auto_register_dtms
    assert dtms_client.register_trade_with_dtms_api is legacy.register_trade_with_dtms_api


def test_with_the_service_down_the_sync_one_is_true_because_it_is_on_disk(outbox_dir: Path) -> None:
    assert legacy.auto_register_dtms(1, DATA) is True
    assert entries(outbox_dir)[0].load().body["ticket"] == 1


async def test_with_the_service_down_the_awaited_one_is_false_but_stored(outbox_dir: Path) -> None:
    assert await legacy.register_trade_with_dtms_api(1, DATA) is False
    assert entries(outbox_dir)[0].load().body["ticket"] == 1


async def test_a_deadline_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted(lambda connection: connection.recv(1) and None) as (address, _):
        started = wall.monotonic()
        assert await legacy.register_trade_with_dtms_api(1, DATA, timeout=0.4, api_url=address) is False
        assert wall.monotonic() - started < 2.0


async def test_a_rejection_is_false_and_logged(
    dtms: FakeDtms, url: str, outbox_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dtms.refusals |= {1: (409, "registration_conflict"), 2: (409, "registration_conflict")}
    assert await asyncio.to_thread(legacy.auto_register_dtms, 1, DATA) is False
    assert await legacy.register_trade_with_dtms_api(2, DATA) is False
    assert len(entries(outbox_dir, REJECTED)) == 2
    assert [record.levelname for record in caplog.records if "auto_register_dtms(1)" in record.message] == ["ERROR"]


async def test_a_wrong_token_is_false_but_stored(dtms: FakeDtms, url: str, outbox_dir: Path) -> None:
    dtms.refusals[1] = (401, "unauthorized")
    assert await asyncio.to_thread(legacy.auto_register_dtms, 1, DATA) is False
    assert len(entries(outbox_dir)) == 1


def test_observe_mode_is_false_with_one_warning_per_process(
    dtms: FakeDtms, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """R21."""
    dtms.mode = "observe"
    assert [legacy.auto_register_dtms(ticket, DATA) for ticket in (1, 2, 3)] == [False] * 3
    assert asyncio.run(legacy.register_trade_with_dtms_api(4, DATA)) is False
    assert [record.levelno for record in caplog.records if "observes" in record.message] == [logging.WARNING]


def test_a_simulated_account_is_said_once(
    dtms: FakeDtms, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """R39."""

    class Simulated(FakeDtms):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            response = super().handle_request(request)
            body = response.json() | {"kind": "simulated"}
            return httpx.Response(response.status_code, json=body)

    with listening(Simulated()) as address:
        monkeypatch.setenv("DTMS_API_URL", address)
        assert [legacy.auto_register_dtms(ticket, DATA) for ticket in (1, 2)] == [True, True]
    assert len([record for record in caplog.records if "SIMULATED" in record.message]) == 1


@pytest.mark.parametrize("ticket", [None, 0, "x", -1, object()])
@pytest.mark.parametrize("data", [None, {}, [], 5, {"direction": "up"}, {"details": None, "parts": "no"}])
async def test_neither_ever_raises_whatever_it_is_given(ticket: object, data: object) -> None:
    assert legacy.auto_register_dtms(ticket, data) is False
    assert await legacy.register_trade_with_dtms_api(ticket, data, timeout=0.2) is False


async def test_neither_raises_when_a_setting_is_wrong(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DTMS_API_PORT", "eighty")
    assert legacy.auto_register_dtms(1, DATA) is False
    assert await legacy.register_trade_with_dtms_api(1, DATA) is False
    assert legacy.get_dtms_system_status()["error"]
    assert "DTMS_API_PORT" in caplog.text


async def test_neither_raises_when_the_disk_is_gone(
    dtms: FakeDtms, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DTMS_SPOOL_DIR", str(tmp_path / "file"))
    assert await asyncio.to_thread(legacy.auto_register_dtms, 1, DATA) is True  # the service confirmed it
    assert legacy.auto_register_dtms(2, DATA) is False  # in a loop: not stored, not yet confirmed
    assert await asyncio.to_thread(eventually, lambda: 2 in dtms.trades)  # but tried all the same


def test_settings_are_read_at_every_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """R44."""
    fakes = [FakeDtms(), FakeDtms()]
    for fake in fakes:
        with listening(fake) as address:
            monkeypatch.setenv("DTMS_API_URL", address)
            assert legacy.auto_register_dtms(1, DATA) is True
    assert [set(fake.trades) for fake in fakes] == [{1}, {1}]


def test_the_weakest_part_of_a_split_order_decides(dtms: FakeDtms, url: str) -> None:
    dtms.refusals[12] = (409, "registration_conflict")
    parts = [{"ok": True, "details": {"ticket": ticket}} for ticket in (11, 12)]
    assert legacy.auto_register_dtms(12, {"parts": parts, **DATA}) is False
    assert 11 in dtms.trades


def test_the_fields_of_the_bracket_handler(dtms: FakeDtms, url: str) -> None:
    assert legacy.add_trade_to_dtms(7, "XAUUSD", "BUY", 1900.0, stop_loss=1890.0, take_profit=1920.0) is True
    trade = dtms.trades[7]
    assert (trade["symbol"], trade["side"], trade["take_profit"]) == ("XAUUSD", "BUY", 1920.0)


def test_a_trade_is_taken_out_under_the_old_name(
    dtms: FakeDtms, url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    legacy.auto_register_dtms(7, DATA)
    assert legacy.remove_trade_from_dtms("7") is True
    assert dtms.trades[7]["owner"] == "manual"
    assert legacy.remove_trade_from_dtms(8) is True  # DTMS never knew it
    assert legacy.remove_trade_from_dtms("no ticket") is False
    monkeypatch.setenv("DTMS_API_URL", f"http://127.0.0.1:{closed_port()}")
    assert legacy.remove_trade_from_dtms(7) is False
    assert "remove_trade_from_dtms" in caplog.text


def test_the_old_queries_answer_in_their_old_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    def old(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/dtms/trade/5":
            return httpx.Response(200, json={"success": True, "trade_info": {"ticket": 5, "state": "HEDGED"}})
        if request.url.path == "/dtms/actions":
            assert dict(request.url.params) in ({"ticket": "5"}, {})
            return httpx.Response(200, json={"success": True, "action_history": [{"ticket": 5}]})
        return FakeDtms().handle_request(request)

    class Old(FakeDtms):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            return old(request)

    with listening(Old()) as address:
        monkeypatch.setenv("DTMS_API_URL", address)
        assert legacy.get_dtms_system_status()["system_active"] is True
        assert legacy.get_dtms_trade_status("5")["state"] == "HEDGED"
        assert "error" in legacy.get_dtms_trade_status(6)
        assert legacy.get_dtms_action_history(5) == [{"ticket": 5}]
        assert legacy.get_dtms_action_history() == [{"ticket": 5}]


def test_the_old_queries_say_when_dtms_is_away(caplog: pytest.LogCaptureFixture) -> None:
    assert "did not answer" in legacy.get_dtms_system_status()["error"]
    assert legacy.get_dtms_action_history() == []
    assert "error" in legacy.get_dtms_trade_status("not a ticket")
    assert "get_dtms_action_history" in caplog.text


async def test_what_the_service_does_itself_is_a_no_op_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        assert legacy.initialize_dtms("mt5", object(), telegram=None) is True
        assert legacy.start_dtms_monitoring() is True
        assert legacy.stop_dtms_monitoring() is True
        await legacy.run_dtms_monitoring_cycle("app")
        await legacy.close_http_client()
        legacy.get_dtms_engine()
    assert len(caplog.records) == 6
    assert FLUSHER._thread is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
def test_after_a_fork_the_child_delivers_by_itself(dtms: FakeDtms, outbox_dir: Path, tmp_path: Path) -> None:
    """Its parent had a flusher thread, locks and connections; the child inherits none that work."""
    program = textwrap.dedent("""
        import asyncio, os, sys, time
        from dtms_client import auto_register_dtms
        assert auto_register_dtms(1, {"symbol": "X"})
        async def in_a_loop():
            return auto_register_dtms(2, {"symbol": "X"})
        assert asyncio.run(in_a_loop())
        child = os.fork()
        if child == 0:
            assert auto_register_dtms(3, {"symbol": "X"})
            assert asyncio.run(in_a_loop())
            async def other():
                return auto_register_dtms(4, {"symbol": "X"})
            assert asyncio.run(other())
            for _ in range(500):
                if not os.listdir(sys.argv[1]):
                    os._exit(0)
                time.sleep(0.01)
            os._exit(3)
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """)
    with listening(dtms) as address:
        env = {**os.environ, "DTMS_API_URL": address}
        done = run(env, "-c", program, str(outbox_dir / NEW))
    assert done.returncode == 0, done.stderr
    assert set(dtms.trades) == {1, 2, 3, 4}


def test_at_the_end_of_a_program_what_waits_is_tried_once_more(dtms: FakeDtms, outbox_dir: Path) -> None:
    program = "import asyncio\nfrom dtms_client import auto_register_dtms\n"
    program += "async def main():\n    assert auto_register_dtms(1, {'symbol': 'X'})\nasyncio.run(main())\n"
    with listening(dtms) as address:
        env = {**os.environ, "DTMS_API_URL": address}
        assert run(env, "-c", program).returncode == 0
    assert 1 in dtms.trades
    assert entries(outbox_dir) == []


def test_a_program_ends_at_once_when_the_service_is_away(outbox_dir: Path) -> None:
    program = "from dtms_client import auto_register_dtms\nassert auto_register_dtms(1, {})\n"
    env = {**os.environ, "DTMS_API_PORT": str(closed_port())}
    done = run(env, "-c", program)
    assert done.returncode == 0, done.stderr
    assert "trade 1 is queued" in done.stderr
    assert len(entries(outbox_dir)) == 1
