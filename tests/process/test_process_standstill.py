"""A process that stands still: stopped from outside and resumed, and blocked by its own code (scenario 53)."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import httpx
import pytest
from service import Service

pytestmark = pytest.mark.process

LOCK_HELD, FAILED = 73, 1
BLOCKING = Path(__file__).parents[1] / "support" / "blocking_service.py"
PATIENCE_S = 30.0


def registered(service: Service) -> int:
    """A position that the service watches; its ticket."""
    ticket = int(service.post("/simulator/positions", {"symbol": "EURUSD", "side": "BUY", "volume": 0.1})["ticket"])
    service.ask("PUT", f"/dtms/trades/{ticket}", status=201, json={})
    return ticket


def cycles(service: Service) -> int:
    """How often the engine has looked."""
    return int(service.get("/dtms/status")["dtms_status"]["performance"]["fast_checks_total"])


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGSTOP")
def test_a_service_that_was_stopped_keeps_its_place_and_goes_on(tmp_path: Path) -> None:
    with Service(tmp_path / "state") as service:
        assert service.process is not None
        ticket = registered(service)
        service.process.send_signal(signal.SIGSTOP)
        other = Service(tmp_path / "state")
        assert other.start(wait=False).process is not None
        assert other.process.wait(PATIENCE_S) == LOCK_HELD
        assert f"process {service.process.pid} already serves" in service.log()
        service.process.send_signal(signal.SIGCONT)
        assert service.wait_ready()["status"] == "ready"
        before = cycles(service)
        service.post("/simulator/advance", {"seconds": 60})
        assert cycles(service) > before
        assert service.get(f"/dtms/trades/{ticket}")["protected"]
        assert service.stop() == 0


def test_a_service_whose_loop_is_blocked_ends_and_the_next_one_watches(tmp_path: Path) -> None:
    service = Service(tmp_path / "state", program=(str(BLOCKING),))
    with service:
        assert service.process is not None
        ticket = registered(service)
        block = tmp_path / "state" / "block"
        block.touch()
        with pytest.raises(httpx.TransportError):
            service.post("/simulator/advance", {"seconds": 60})
        assert service.process.wait(PATIENCE_S) == FAILED
        assert '"event": "loop_is_dead"' in service.log()
        assert "blocking_service.py" in service.log().partition('"event": "loop_is_dead"')[2]
        block.unlink()
        service.start()
        service.post("/simulator/advance", {"seconds": 60})
        assert service.get(f"/dtms/trades/{ticket}")["protected"]
