from __future__ import annotations

import pytest

from dtms_service.domain.errors import NotInThisMode

PATHS = [
    ("GET", "/simulator/account"),
    ("GET", "/simulator/positions"),
    ("GET", "/simulator/orders"),
    ("GET", "/simulator/deals"),
    ("GET", "/simulator/market?symbol=EURUSD"),
    ("POST", "/simulator/positions"),
    ("PATCH", "/simulator/positions/1"),
    ("DELETE", "/simulator/positions/1"),
    ("POST", "/simulator/advance"),
    ("POST", "/simulator/faults"),
    ("DELETE", "/simulator/faults"),
]


@pytest.mark.parametrize(("method", "path"), PATHS)
async def test_on_a_real_terminal_the_simulator_does_not_exist(connect, method, path):
    async with connect() as http:
        answer = await http.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_a_position_is_opened_changed_and_closed_by_hand(http, market):
    opened = (await http.post("/simulator/positions", json={"symbol": "EURUSD", "side": "BUY", "volume": 0.5})).json()
    assert set(opened) == {"ticket", "identifier", "price_open"}
    ticket = opened["ticket"]
    changed = await http.patch(f"/simulator/positions/{ticket}", json={"stop_loss": 1.09})
    assert changed.status_code == 200
    assert market.positions[ticket]["stop_loss"] == 1.09
    assert "take_profit" not in market.positions[ticket]
    await http.patch(f"/simulator/positions/{ticket}", json={"stop_loss": None})
    assert market.positions[ticket]["stop_loss"] is None
    assert len((await http.get("/simulator/positions")).json()["positions"]) == 1
    part = await http.delete(f"/simulator/positions/{ticket}", params={"volume": 0.2})
    assert (part.json()["volume"], ticket in market.positions) == (0.2, True)
    await http.delete(f"/simulator/positions/{ticket}")
    assert market.positions == {}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "symbol"),
        ({"symbol": "EURUSD", "side": "BUY"}, "volume"),
        ({"symbol": "EURUSD", "side": "UP", "volume": 1}, "side"),
        ({"symbol": "EURUSD", "side": "BUY", "volume": 0}, "volume"),
        ({"symbol": "EURUSD", "side": "BUY", "volume": 1, "sl": 1.09}, "sl"),
        ({"symbol": "EURUSD", "side": "BUY", "volume": 1, "comment": "x" * 30}, "comment"),
        ({"symbol": "EUR\u0000", "side": "BUY", "volume": 1}, "symbol"),
    ],
)
async def test_a_position_that_cannot_be_is_422(http, market, body, field):
    answer = await http.post("/simulator/positions", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field
    assert market.positions == {}


async def test_what_the_broker_refuses_is_422_with_its_words(http):
    answer = await http.post("/simulator/positions", json={"symbol": "NOPE", "side": "BUY", "volume": 1})
    assert (answer.status_code, answer.json()["detail"]) == (422, "symbol: NOPE is not in the catalogue")


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_a_position_that_is_not_there_is_404(http, method):
    answer = await http.request(method, "/simulator/positions/9", json={} if method == "PATCH" else None)
    assert answer.status_code == 404


@pytest.mark.parametrize("volume", ["0", "-1", "nan", "inf", "x"])
async def test_a_part_that_cannot_be_closed_is_422(http, volume):
    answer = await http.delete("/simulator/positions/9", params={"volume": volume})
    assert answer.status_code == 422


@pytest.mark.parametrize(
    ("body", "now", "cycles"),
    [
        ({"seconds": 3600}, "2026-01-05T09:00:00.000Z", 120),
        ({"seconds": 0}, "2026-01-05T08:00:00.000Z", 0),
        ({"until": "2026-01-05T08:01:00Z"}, "2026-01-05T08:01:00.000Z", 2),
        ({"until": "2026-01-05T09:01:00+01:00"}, "2026-01-05T08:01:00.000Z", 2),
        ({"until": 1767600060}, "2026-01-05T08:01:00.000Z", 2),
    ],
)
async def test_advance_steps_and_answers_where_it_stands(http, authority, body, now, cycles):
    del authority
    answer = await http.post("/simulator/advance", json=body)
    assert answer.json() == {"now": now, "cycles": cycles}


async def test_advancing_to_the_same_instant_twice_changes_nothing(http):
    first = await http.post("/simulator/advance", json={"until": "2026-01-05T08:01:00Z"})
    second = await http.post("/simulator/advance", json={"until": "2026-01-05T08:01:00Z"})
    assert (first.json()["cycles"], second.json()["cycles"]) == (2, 0)
    assert first.json()["now"] == second.json()["now"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"seconds": 1, "until": "2026-01-05T08:01:00Z"},
        {"seconds": -1},
        {"seconds": 1e12},
        {"until": "2026-01-05T08:01:00"},
        {"until": "tomorrow"},
        {"until": 1e300},
        {"minutes": 5},
    ],
)
async def test_a_step_that_cannot_be_is_422(http, authority, body):
    before = authority.time
    assert (await http.post("/simulator/advance", json=body)).status_code == 422
    assert authority.time == before


async def test_another_clock_than_the_stepped_one_is_409(http, authority, monkeypatch):
    async def refuse(**_: object) -> None:
        raise NotInThisMode("only on a stepped clock")

    monkeypatch.setattr(authority, "advance", refuse, raising=True)
    answer = await http.post("/simulator/advance", json={"seconds": 1})
    assert (answer.status_code, answer.json()["code"]) == (409, "not_in_this_mode")


async def test_faults_are_armed_as_said_and_cleared(http, market):
    await http.post("/simulator/faults", json={"kind": "reply_lost_executed", "count": 2, "symbol": "EURUSD"})
    narrow = {"kind": "read_omits_ticket", "seconds": 5.0, "call": "positions_get", "ticket": 123456, "seed": 3}
    await http.post("/simulator/faults", json=narrow)
    assert market.faults == [{"kind": "reply_lost_executed", "count": 2, "symbol": "EURUSD"}, narrow]
    await http.delete("/simulator/faults")
    assert market.faults == []


@pytest.mark.parametrize(
    "body", [{}, {"kind": ""}, {"kind": "x", "count": 0}, {"kind": "x", "probability": 1.1}, {"kind": "x", "often": 1}]
)
async def test_a_fault_that_cannot_be_is_422(http, body):
    assert (await http.post("/simulator/faults", json=body)).status_code == 422


async def test_bars_are_asked_for_by_symbol_timeframe_and_count(http):
    answer = await http.get("/simulator/market", params={"symbol": "EURUSD", "timeframe": "M5", "count": 1})
    assert len(answer.json()["bars"]) == 1
    for query in ({}, {"symbol": "EURUSD", "timeframe": "H4"}, {"symbol": "EURUSD", "count": 0}):
        assert (await http.get("/simulator/market", params=query)).status_code == 422
