from __future__ import annotations

import pytest

from dtms_service.domain import alerts
from dtms_service.domain.runbook import CODES

T0 = 1_767_600_000.0


async def tell(authority, *tickets: int, code: str = "unmanaged_position") -> None:
    events = [alerts.alert_event(T0 + n, code, f"position {t}", ticket=t) for n, t in enumerate(tickets)]
    await authority.record.write(events=events)


async def listed(http, **query) -> dict:
    answer = await http.get("/dtms/alerts", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_alerts_are_listed_newest_first_with_what_to_do(http, authority):
    await tell(authority, 5, 6)
    found = await listed(http)
    assert [alert["ticket"] for alert in found["alerts"]] == [6, 5]
    assert (found["count"], found["open"], found["next_cursor"]) == (2, 2, None)
    newest = found["alerts"][0]
    assert newest["do"] == CODES["unmanaged_position"].do
    assert (newest["severity"], newest["open"], newest["count"]) == ("warning", True, 1)
    assert newest["first_at"] == "2026-01-05T08:00:01.000Z"


async def test_alerts_are_found_by_code_ticket_and_whether_they_are_open(http, authority):
    await tell(authority, 5, 6)
    await tell(authority, 5, code="unknown_own_position")
    await http.post("/dtms/alerts/1/ack", json={"by": "anna"})
    assert [a["id"] for a in (await listed(http, open=True))["alerts"]] == [3, 2]
    assert [a["id"] for a in (await listed(http, open=False))["alerts"]] == [1]
    assert [a["id"] for a in (await listed(http, ticket=5))["alerts"]] == [3, 1]
    assert [a["id"] for a in (await listed(http, code="unknown_own_position"))["alerts"]] == [3]


async def test_pages_follow_each_other_without_gap_or_repeat(http, authority):
    await tell(authority, *range(1, 8))
    seen: list[int] = []
    cursor: dict[str, str] = {}
    while True:
        page = await listed(http, limit=3, **cursor)
        seen += [alert["id"] for alert in page["alerts"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == [7, 6, 5, 4, 3, 2, 1]


async def test_an_acknowledged_alert_says_by_whom_and_leaves_the_count(http, authority):
    await tell(authority, 5)
    assert (await http.get("/dtms/status")).json()["counts"]["alerts"] == 1
    authority.time = T0 + 60
    answer = await http.post("/dtms/alerts/1/ack", json={"by": "anna", "reason": "closed it"})
    assert answer.status_code == 200
    taken = answer.json()
    assert (taken["open"], taken["acknowledged_by"], taken["acknowledgement"]) == (False, "anna", "closed it")
    assert taken["acknowledged_at"] == "2026-01-05T08:01:00.000Z"
    assert (await http.get("/dtms/status")).json()["counts"]["alerts"] == 0
    told = authority.ledger.stored[-1]
    assert (told.kind, told.ticket, told.body["by"], told.body["alert_id"]) == ("alert_acknowledged", 5, "anna", 1)


async def test_the_first_acknowledgement_stays(http, authority):
    await tell(authority, 5)
    await http.post("/dtms/alerts/1/ack", json={"by": "anna", "reason": "mine"})
    again = await http.post("/dtms/alerts/1/ack", json={"by": "ben"})
    assert (again.status_code, again.json()["acknowledged_by"]) == (200, "anna")
    assert sum(event.kind == "alert_acknowledged" for event in authority.ledger.stored) == 1


async def test_after_an_acknowledgement_the_same_is_a_new_alert(http, authority):
    await tell(authority, 5)
    await tell(authority, 5)
    await http.post("/dtms/alerts/1/ack", json={"by": "anna"})
    await tell(authority, 5)
    assert [(a["id"], a["count"]) for a in (await listed(http))["alerts"]] == [(2, 1), (1, 2)]


@pytest.mark.parametrize("alert_id", [1, 2**63 - 1])
async def test_an_alert_that_does_not_exist_is_404(http, alert_id):
    answer = await http.post(f"/dtms/alerts/{alert_id}/ack", json={"by": "anna"})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("body", [{}, {"by": ""}, {"by": "x" * 65}, {"by": "a\x00b"}, {"by": "anna", "all": True}])
async def test_whoever_acknowledges_says_who_it_is(http, authority, body):
    await tell(authority, 5)
    answer = await http.post("/dtms/alerts/1/ack", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")
    assert len(authority.alerting.open) == 1


async def test_the_status_says_what_each_channel_is_owed_and_why(http, authority):
    await tell(authority, 5, 6)
    authority.alerting.channels.update({"log": None, "webhook": "receiver.example answered 500"})
    await authority.alerting.delivered("log", tuple(authority.alerting.open.values()))
    assert (await http.get("/dtms/status")).json()["alerts"] == {
        "open": 2,
        "channels": {
            "log": {"owed": 0, "trouble": None},
            "webhook": {"owed": 2, "trouble": "receiver.example answered 500"},
        },
    }


async def test_positions_that_nobody_registered_are_listed(http, authority, position_of, trade_of):
    authority.at_terminal(position_of(5), position_of(6, symbol="XAUUSD", magic=7), position_of(7))
    authority.holds(trade_of(5))
    found = (await http.get("/dtms/unmanaged")).json()
    assert [position["ticket"] for position in found["positions"]] == [6, 7]
    assert (found["count"], found["policy"], found["as_of"]) == (2, "alert", "2026-01-05T08:00:00.000Z")
    assert found["positions"][0] | {"profit": 0} == {
        "ticket": 6,
        "identifier": 6,
        "symbol": "XAUUSD",
        "side": "BUY",
        "volume": 0.5,
        "entry_price": 1.1002,
        "stop_loss": 1.0952,
        "take_profit": None,
        "profit": 0,
        "magic": 7,
        "comment": "",
        "opened_at": "2026-01-05T08:00:00.000Z",
        "seen_at": None,
        "own": False,
    }
    assert (await http.get("/dtms/status")).json()["counts"]["unmanaged"] == 2


async def test_before_the_ledger_is_open_nothing_is_known(http, authority):
    authority.record.loaded = False
    assert (await http.get("/dtms/alerts")).status_code == 503
    assert (await http.post("/dtms/alerts/1/ack", json={"by": "anna"})).status_code == 503
