"""The receiver that docs/howto/alerts.md shows takes what DTMS sends, and nothing else."""

from __future__ import annotations

import re
import threading
from collections.abc import AsyncIterator
from http.server import HTTPServer
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from notify_world import SECRET
from service import ROOT

from dtms_service.notify.channels import Webhook, signature
from dtms_service.notify.posting import Door, NotTaken

NOW = 1_767_600_000.0
ALERT = {
    "severity": "critical",
    "code": "stop_removed",
    "ticket": 5,
    "detail": "gone",
    "do": "set one",
    "notice": {"id": "417-1-1"},
}


@pytest.fixture(scope="module")
def shown() -> dict[str, Any]:
    """What the page's program defines."""
    page = (ROOT / "docs" / "howto" / "alerts.md").read_text("utf-8")
    (program,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {"__name__": "receiver"}
    exec(compile(program, "alerts.md", "exec"), names)  # noqa: S102 -- a page of ours
    return names


@pytest.fixture
async def url(shown: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    monkeypatch.setenv("DTMS_ALERTS__WEBHOOK__SECRET", SECRET)
    monkeypatch.setitem(shown, "time", SimpleNamespace(time=lambda: NOW + 60))
    monkeypatch.setattr(shown["Receiver"], "log_message", lambda *_: None)
    shown["SEEN"].clear()
    server = HTTPServer(("127.0.0.1", 0), shown["Receiver"])
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join(5)


async def test_it_takes_what_we_send_and_prints_each_notice_once(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    async with Door(url) as door:
        webhook = Webhook(door, SECRET, lambda: NOW, lambda: {"service": "dtms"})
        for _ in range(2):
            await webhook.take([ALERT])
    assert capsys.readouterr().out == "critical stop_removed 5 gone - set one\n"


async def test_it_refuses_another_secret(url: str) -> None:
    async with Door(url) as door:
        with pytest.raises(NotTaken, match="401"):
            await Webhook(door, SECRET + "!", lambda: NOW, dict).take([ALERT])


async def test_it_refuses_what_was_changed_on_the_way(url: str) -> None:
    body = b'{"alerts": []}'
    good = {"X-DTMS-Timestamp": "1767600000", "X-DTMS-Signature": signature(SECRET, "1767600000", body)}
    async with httpx.AsyncClient(trust_env=False) as client:

        async def answered(body: bytes, **headers: str) -> int:
            return (await client.post(url, content=body, headers={**good, **headers})).status_code

        assert await answered(body) == 204
        assert await answered(body + b" ") == 401
        assert await answered(body, **{"X-DTMS-Timestamp": "1767600001"}) == 401
        assert await answered(body, **{"X-DTMS-Signature": ""}) == 401
        assert await answered(body, **{"X-DTMS-Signature": good["X-DTMS-Signature"][:-1]}) == 401


def test_it_refuses_what_was_recorded_and_sent_again_later(shown: dict[str, Any]) -> None:
    body = b'{"alerts": []}'
    headers = {"X-DTMS-Timestamp": "1767600000", "X-DTMS-Signature": signature(SECRET, "1767600000", body)}
    assert shown["genuine"](headers, body, SECRET.encode(), NOW + 300)
    assert not shown["genuine"](headers, body, SECRET.encode(), NOW + 301)
    assert not shown["genuine"](headers, body, SECRET.encode(), NOW - 301)
