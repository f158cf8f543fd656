"""``dtms alerts`` and ``dtms openapi`` against the real service."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from service import Service

pytestmark = pytest.mark.process


def test_an_alert_is_listed_with_what_to_do_and_taken_on(dtms: Any, at: dict[str, str], opened: Any) -> None:
    ticket = opened()  # without a stop
    dtms("register", str(ticket), **at)
    found = [alert for alert in dtms("alerts", **at).json["alerts"] if alert["ticket"] == ticket]
    assert [alert["code"] for alert in found] == ["unprotected_if_down"]
    number = str(found[0]["id"])
    seen = dtms("alerts", person=True, **at).out
    assert any(line.startswith(number) and str(ticket) in line for line in seen.splitlines())
    assert f"unprotected_if_down: {found[0]['do']}" in seen
    done = dtms("alerts", "ack", number, "--reason", "stop is set", "--by", "anna", **at)
    assert (done.code, done.json["acknowledged_by"], done.json["acknowledgement"]) == (0, "anna", "stop is set")
    assert number not in [str(alert["id"]) for alert in dtms("alerts", "list", **at).json["alerts"]]
    assert number in [str(alert["id"]) for alert in dtms("alerts", "list", "--all", **at).json["alerts"]]
    unknown = dtms("alerts", "ack", "999999", **at)
    assert (unknown.code, unknown.out) == (1, "")
    assert "Try: " in unknown.err


def test_the_document_is_the_one_the_service_answers_with(
    dtms: Any, service: Service, at: dict[str, str], tmp_path: Path
) -> None:
    ended = dtms("openapi", **at)
    assert (ended.code, ended.err) == (0, "")
    assert ended.json == service.get("/openapi.json")
    assert dtms("openapi", "--out", "api.json", **at).out == ""
    assert json.loads((tmp_path / "api.json").read_text("utf-8")) == ended.json
    lost = dtms("openapi", "--out", "no/such/folder/api.json", **at)
    assert lost.code == 1
    assert "Try: " in lost.err
