"""The old post as a function: the envelope of the service, and nothing lost while it is away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from client_world import closed_port, listening

from dtms_client import legacy
from dtms_client.errors import DtmsClientError
from dtms_client.posting import Answered, enable_trade, enable_trade_async
from dtms_client.spool import entries
from dtms_client.testing import FakeDtms

BODY = {"ticket": 7, "symbol": "XAUUSDc", "direction": "BUY", "entry": 1900.0, "stop_loss": 1890.0, "action": "enable"}


@pytest.fixture
def url(dtms: FakeDtms, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with listening(dtms) as address:
        monkeypatch.setenv("DTMS_API_URL", address)
        yield address


def post(*, asynchronous: bool, **keywords: Any) -> Answered:
    return asyncio.run(enable_trade_async(**keywords)) if asynchronous else enable_trade(**keywords)


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("body", [{"json": BODY}, {"data": {"ticket": "7"}}, {"data": json.dumps(BODY)}])
def test_what_was_posted_is_registered_and_answered_with_200(
    dtms: FakeDtms, url: str, body: dict[str, Any], asynchronous: bool
) -> None:
    first = post(asynchronous=asynchronous, timeout=5, headers={"x": "y"}, **body)
    assert (first.status_code, first.json()["success"], first.json()["error"]) == (200, True, None)
    assert first.json()["trade_info"]["ticket"] == 7
    assert set(dtms.trades) == {7}
    again = post(asynchronous=asynchronous, **body)
    assert (again.status_code, again.json()["already_registered"]) == (200, True)
    assert again.raise_for_status().ok


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_poller_that_repeats_itself_during_an_outage_stores_one_file_and_is_answered_when_it_ends(
    dtms: FakeDtms, outbox_dir: Path, monkeypatch: pytest.MonkeyPatch, asynchronous: bool
) -> None:
    monkeypatch.setenv("DTMS_API_URL", f"http://127.0.0.1:{closed_port()}")
    for _ in range(3):
        answer = post(asynchronous=asynchronous, json=BODY)
        assert (answer.status_code, answer.json()["success"], answer.json()["outcome"]) == (202, False, "queued")
        assert answer.json()["error"]
    assert len(entries(outbox_dir)) == 1
    with listening(dtms) as address:
        monkeypatch.setenv("DTMS_API_URL", address)
        assert post(asynchronous=asynchronous, json=BODY).status_code == 200
    assert entries(outbox_dir) == []


def test_a_refusal_has_the_status_of_the_service(dtms: FakeDtms, url: str) -> None:
    dtms.refusals[7] = (409, "registration_conflict")
    answer = enable_trade(json=BODY)
    assert (answer.status_code, answer.ok, answer.json()["success"]) == (409, False, False)
    with pytest.raises(DtmsClientError, match="registration_conflict"):
        answer.raise_for_status()
    assert json.loads(answer.text)["outcome"] == "rejected"


@pytest.mark.parametrize("body", [None, {}, "not JSON", [1], {"ticket": "x"}])
def test_a_body_without_a_ticket_is_422_and_nothing_is_sent(dtms: FakeDtms, url: str, body: object) -> None:
    assert enable_trade(json=body).status_code == 422
    assert dtms.requests == []


def test_an_address_follows_the_settings_of_the_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DTMS_API_URL", "http://127.0.0.1:9155/")
    assert legacy.dtms_url("/dtms/status") == "http://127.0.0.1:9155/dtms/status"
    monkeypatch.setenv("DTMS_API_URL", "http://127.0.0.1:9156")
    assert legacy.dtms_url() == "http://127.0.0.1:9156"


def test_the_old_question_whether_dtms_is_there_is_answered_by_readiness(dtms: FakeDtms, url: str) -> None:
    assert legacy.is_dtms_initialized() is True
    dtms.ready = False
    assert legacy.is_dtms_initialized() is False


def test_the_fake_answers_the_old_paths_as_the_service_does(dtms: FakeDtms, url: str) -> None:
    form = httpx.post(f"{url}/dtms/trade/enable", data={"ticket": "7"})
    assert (form.status_code, form.json()["already_registered"]) == (200, False)
    assert httpx.post(f"{url}/dtms/trade/enable", json=BODY).json()["already_registered"] is True
    info = httpx.get(f"{url}/dtms/trade/7").json()
    assert (info["state"], info["trade_info"]["state"]) == ("HEALTHY", "HEALTHY")
    assert httpx.get(f"{url}/dtms/trade/8").status_code == 404
    dtms.accepting = False
    assert httpx.post(f"{url}/dtms/trade/enable", json=BODY).status_code == 503


def test_what_can_be_neither_stored_nor_delivered_is_503(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DTMS_SPOOL_DIR", str(tmp_path / "file"))
    answer = enable_trade(json=BODY)
    assert (answer.status_code, answer.json()["outcome"]) == (503, "rejected")
