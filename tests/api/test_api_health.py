from __future__ import annotations

from dtms_client.wire import Live, Ready


async def test_live_depends_on_nothing(http, authority, down):
    authority.readiness = down
    answer = await http.get("/health/live")
    assert answer.status_code == 200
    assert Live.model_validate(answer.json()).instance_id == "7f3a"


async def test_ready_is_200_with_account_and_checks(http):
    answer = await http.get("/health/ready")
    body = Ready.model_validate(answer.json())
    assert (answer.status_code, body.status, body.phase, body.accepting, body.mode) == (
        200,
        "ready",
        "ready",
        True,
        "protect",
    )
    assert body.account == {
        "login": 5001234,
        "server": "Simulated",
        "currency": "USD",
        "margin_mode": "hedging",
        "kind": "simulated",
    }
    assert set(body.checks) == {"ledger", "terminal", "engine", "monitor"}
    assert body.checks["monitor"] == {"ok": True, "detail": "ok", "age_s": 1.0}


async def test_not_ready_is_503_with_reasons_and_retry_after(http, authority, down):
    authority.readiness = down
    answer = await http.get("/health/ready")
    body = Ready.model_validate(answer.json())
    assert (answer.status_code, body.status, body.accepting) == (503, "not_ready", False)
    assert int(answer.headers["retry-after"]) >= 1
    assert body.reasons[0].code == "terminal_not_connected"


async def test_old_health_is_one_object_with_a_true_status(http, authority, down):
    answer = await http.get("/health")
    assert (answer.status_code, answer.json()["status"], answer.json()["dtms_available"]) == (200, "healthy", True)
    authority.readiness = down
    answer = await http.get("/health")
    assert (answer.status_code, answer.json()["status"], answer.json()["dtms_initialized"]) == (503, "unhealthy", False)
    assert answer.json()["error"]
    assert "retry-after" in answer.headers


async def test_old_dtms_health_has_its_four_keys_with_a_true_status(http, authority, down, trade_of):
    authority.holds(trade_of(1))
    answer = await http.get("/dtms/health")
    body = answer.json()
    assert (answer.status_code, body["dtms_initialized"], body["monitoring_active"]) == (200, True, True)
    assert (body["active_trades"], body["ready"]) == (1, True)
    authority.readiness = down
    answer = await http.get("/dtms/health")
    body = answer.json()
    assert (answer.status_code, body["ready"], body["monitoring_active"]) == (503, False, False)
