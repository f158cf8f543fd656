"""Orders of an operator over HTTP: what is passed on, what is answered, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from dtms_service.domain.control import Control, Verb
from dtms_service.domain.trade import HedgeLink, Mode, Owner
from dtms_service.domain.values import Side

HEDGE = HedgeLink(ticket=9, identifier=9, side=Side.SELL, volume=0.2, price_open=None, stop_loss=1.11)


@pytest.mark.parametrize("verb", ["pause", "halt", "resume", "reset", "flatten"])
async def test_each_verb_is_passed_on_with_its_reason(http: httpx.AsyncClient, authority: Any, verb: str):
    answer = await http.post(f"/dtms/control/{verb}", json={"reason": "tonight", "by": "anna"})
    assert answer.status_code == 200
    assert authority.said == (Verb(verb), "tonight", "anna", False)
    assert answer.json()["control"] == authority.standing.control.value
    assert answer.json()["tickets"] == ([7] if verb == "flatten" else [])


async def test_a_verb_needs_no_body(http: httpx.AsyncClient, authority: Any):
    assert (await http.post("/dtms/control/pause")).status_code == 200
    assert authority.said == (Verb.PAUSE, "", "", False)


async def test_what_force_left_alone_is_told_with_its_reason(http: httpx.AsyncClient):
    answer = await http.post("/dtms/control/flatten", json={"force": True})
    assert answer.json()["refused"] == [{"ticket": 8, "reason": "shared"}]


@pytest.mark.parametrize("verb", ["resume", "pause"])
async def test_only_reset_ends_a_halt(http: httpx.AsyncClient, authority: Any, verb: str):
    await http.post("/dtms/control/halt")
    answer = await http.post(f"/dtms/control/{verb}")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_in_this_mode")
    assert "reset" in answer.json()["detail"]
    assert (await http.post("/dtms/control/reset")).json()["control"] == "running"


async def test_in_observe_mode_nothing_is_flattened(http: httpx.AsyncClient, authority: Any):
    authority.mode = Mode.OBSERVE
    answer = await http.post("/dtms/control/flatten")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_in_this_mode")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/dtms/control/stop", {}),
        ("/dtms/control/pause", {"reasn": "typo"}),
        ("/dtms/control/pause", {"reason": "x" * 501}),
    ],
)
async def test_nonsense_changes_nothing(http: httpx.AsyncClient, authority: Any, path: str, body: object):
    answer = await http.post(path, json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")
    assert authority.standing.control is Control.RUNNING


async def test_status_shows_whether_dtms_acts(http: httpx.AsyncClient):
    await http.post("/dtms/control/pause", json={"reason": "tonight"})
    assert (await http.get("/dtms/status")).json()["control"] == "paused"
    assert (await http.get("/dtms/control")).json()["reason"] == "tonight"


async def test_news_are_announced_as_a_whole_in_any_zone(http: httpx.AsyncClient, authority: Any):
    news = {"begins": "2026-01-05T09:00:00+01:00", "ends": "2026-01-05T08:20:00Z", "title": "rate decision"}
    answer = await http.put("/dtms/news", json={"news": [{**news, "symbols": ["EURUSD"]}], "by": "anna"})
    (shown,) = answer.json()["news"]
    assert (shown["begins"], shown["ends"]) == ("2026-01-05T08:00:00.000Z", "2026-01-05T08:20:00.000Z")
    (kept,) = authority.standing.news
    assert [kept.covers(symbol, kept.begins + 60) for symbol in ("EURUSD", "XAUUSD")] == [True, False]
    assert (await http.put("/dtms/news", json={"news": []})).json()["news"] == []


@pytest.mark.parametrize(
    ("begins", "ends"),
    [("2026-01-05T08:00:00Z", "2026-01-05T08:00:00Z"), ("2026-01-05T08:00:00", "2026-01-05T09:00:00")],
    ids=["they end before they begin", "no zone"],
)
async def test_news_without_a_time_are_refused(
    http: httpx.AsyncClient, authority: Any, trade_of: Callable[..., Any], begins, ends
):
    answer = await http.put("/dtms/news", json={"news": [{"begins": begins, "ends": ends, "title": "x"}]})
    assert answer.status_code == 422
    assert authority.standing.news == ()


async def test_a_trade_is_handed_over_in_any_spelling(
    http: httpx.AsyncClient, authority: Any, trade_of: Callable[..., Any]
):
    authority.holds(trade_of(7))
    body = {"owner": "universal_sl_tp_manager", "reason": "its strategy", "by": "bot"}
    answer = await http.put("/dtms/trades/7/owner", json=body)
    assert (answer.status_code, answer.json()["trade"]["owner"]) == (200, "universal_manager")
    assert authority.said == (Owner.UNIVERSAL_MANAGER, "its strategy", "bot")


async def test_a_trade_with_a_hedge_is_accepted_while_that_is_closed(
    http: httpx.AsyncClient, authority: Any, trade_of: Callable[..., Any]
):
    authority.holds(trade_of(7, hedge=HEDGE))
    answer = await http.delete("/dtms/trades/7?reason=mine&by=anna")
    assert (answer.status_code, answer.json()["unwinding"]) == (202, True)
    assert authority.said == ("mine", "anna")


@pytest.mark.parametrize(("method", "path"), [("PUT", "/dtms/trades/7/owner"), ("DELETE", "/dtms/trades/7")])
async def test_an_unknown_trade_has_no_owner(
    http: httpx.AsyncClient, authority: Any, trade_of: Callable[..., Any], method, path
):
    answer = await http.request(method, path, json={"owner": "manual"} if method == "PUT" else None)
    assert (answer.status_code, answer.json()["code"]) == (404, "trade_not_found")


async def test_a_manager_asks_before_it_changes_a_stop(
    http: httpx.AsyncClient, authority: Any, trade_of: Callable[..., Any]
):
    authority.holds(trade_of(7, owner=Owner.UNIVERSAL_MANAGER))
    asked = await http.get("/dtms/trades/7/may-modify?manager=universal_sl_tp_manager&action=move_stop")
    wanted = {"allowed": True, "owner": "universal_manager", "state": "HEALTHY", "defensive": False}
    assert {key: asked.json()[key] for key in wanted} == wanted
    other = await http.get("/dtms/trades/7/may-modify?manager=dtms")
    assert (other.json()["allowed"], other.json()["reason"]) == (False, "universal_manager owns this position")


@pytest.mark.parametrize("name", ["", "nobody"])
async def test_a_trade_goes_to_nobody_by_an_empty_or_unknown_name(
    http: httpx.AsyncClient, authority: Any, trade_of: Callable[..., Any], name
):
    authority.holds(trade_of(7, owner=Owner.UNIVERSAL_MANAGER))
    answer = await http.put("/dtms/trades/7/owner", json={"owner": name, "by": "bot"})
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")
    assert [error["field"] for error in answer.json()["errors"]] == ["owner"]
    assert authority.said == ()


@pytest.mark.parametrize("name", ["", "nobody"])
async def test_who_asks_without_a_name_is_not_taken_for_dtms(
    http: httpx.AsyncClient, authority: Any, trade_of: Callable[..., Any], name
):
    authority.holds(trade_of(7))
    answer = await http.get(f"/dtms/trades/7/may-modify?manager={name}")
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")
    assert [error["field"] for error in answer.json()["errors"]] == ["manager"]


async def test_the_document_offers_no_empty_name_where_somebody_must_be_named(http: httpx.AsyncClient):
    document = (await http.get("/openapi.json")).json()
    asked = document["paths"]["/dtms/trades/{ticket}/may-modify"]["get"]["parameters"]
    manager = next(one["schema"] for one in asked if one["name"] == "manager")
    body = document["paths"]["/dtms/trades/{ticket}/owner"]["put"]["requestBody"]["content"]["application/json"]
    owner = body["schema"]["properties"]["owner"]
    for schema in (manager, owner):
        assert schema["minLength"] == 1
        assert "universal_manager" in schema["enum"]
        assert "" not in schema["enum"]


@pytest.mark.parametrize(
    ("begins", "ends", "field"),
    [
        ("0001-01-01T00:00:00+14:00", "2026-01-05T09:00:00Z", "news.0.begins"),
        ("2026-01-05T09:00:00Z", "9999-12-31T23:59:59-14:00", "news.0.ends"),
    ],
)
async def test_news_at_a_time_that_utc_does_not_have_are_refused(
    http: httpx.AsyncClient, begins: str, ends: str, field: str
):
    answer = await http.put("/dtms/news", json={"news": [{"begins": begins, "ends": ends, "title": "x"}]})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)


NEWS = {"begins": "2026-01-05T09:00:00Z", "ends": "2026-01-05T10:00:00Z", "title": "x"}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/dtms/control/pause", {"reason": "a\x1b[2J"}),
        ("POST", "/dtms/control/pause", {"by": "a\n"}),
        ("PUT", "/dtms/news", {"news": [{**NEWS, "title": "a\x07"}]}),
        ("PUT", "/dtms/news", {"news": [{**NEWS, "symbols": ["EUR\x00"]}]}),
        ("PUT", "/dtms/news", {"news": [], "by": "a\r"}),
        ("PUT", "/dtms/trades/7/owner", {"owner": "manual", "reason": "a\x1b"}),
        ("PUT", "/dtms/trades/7/owner", {"owner": "manual", "by": "a\x1b"}),
        ("DELETE", "/dtms/trades/7?reason=a%1B", None),
        ("DELETE", "/dtms/trades/7?by=a%0A", None),
    ],
)
async def test_control_characters_are_kept_out_of_the_record(
    http: httpx.AsyncClient, authority: Any, trade_of: Any, method: str, path: str, body: Any
):
    authority.holds(trade_of(7))
    answer = await http.request(method, path, json=body)
    assert answer.status_code == 422
    assert "printable" in answer.json()["detail"]
    assert authority.said == ()
    assert authority.standing.news == ()


async def test_a_thousand_news_fit_in_one_announcement(http: httpx.AsyncClient):
    news = {"begins": "2026-01-09T13:25:00Z", "ends": "2026-01-09T13:45:00Z", "title": "US payrolls " * 10}
    answer = await http.put("/dtms/news", json={"news": [news] * 1000})
    assert answer.status_code == 200
    assert len(answer.json()["news"]) == 1000
