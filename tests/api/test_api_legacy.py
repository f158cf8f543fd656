"""Every old consumer of these paths (contract.md 2): the request it sends, the keys it reads, the status it needs."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest

from dtms_service.domain.errors import StorageBusy
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import HedgeLink, Owner
from dtms_service.domain.values import Side

# The body that chatgpt_bot.py sends every 30 s for every open position.
POLL = {
    "symbol": "EURUSD",
    "direction": "BUY",
    "entry": 1.1002,
    "stop_loss": 1.0952,
    "take_profit": None,
    "volume": 0.5,
    "ticket": 1,
    "action": "enable",
}


async def test_the_pollers_json_is_exactly_200_with_success(http, authority, position_of):
    authority.at_terminal(position_of(1))
    answer = await http.post("/dtms/trade/enable", json=POLL)
    body = answer.json()
    assert (answer.status_code, body["success"], body["error"]) == (200, True, None)
    assert body["already_registered"] is False
    assert body["trade_info"]["direction"] == "BUY"
    assert {"ticket", "symbol", "direction", "entry_price", "volume", "stop_loss", "take_profit"} <= set(
        body["trade_info"]
    )
    assert body["summary"]


async def test_the_pollers_repeat_is_200_already_registered_with_the_state(http, authority, position_of):
    authority.at_terminal(position_of(1))
    await http.post("/dtms/trade/enable", json=POLL)
    body = (await http.post("/dtms/trade/enable", json=POLL)).json()
    assert (body["success"], body["already_registered"], body["trade_info"]["state"]) == (True, True, "HEALTHY")


async def test_the_form_with_a_ticket_alone_is_200(http, authority, position_of):
    authority.at_terminal(position_of(1))
    answer = await http.post("/dtms/trade/enable", data={"ticket": "1"})
    assert (answer.status_code, answer.json()["success"]) == (200, True)


async def test_a_full_form_says_the_same_as_json(http, authority, position_of):
    authority.at_terminal(position_of(1))
    form = {"ticket": "1", "direction": "buy", "entry": "1.1002", "sl": "1.0952", "tp": "0", "lot": "0.5", "symbol": ""}
    await http.post("/dtms/trade/enable", data=form)
    wish = authority.asked[0]
    assert (wish.side, wish.entry_price, wish.stop_loss, wish.take_profit) == (Side.BUY, 1.1002, 1.0952, None)
    assert (wish.volume, wish.symbol) == (0.5, None)


async def test_a_position_not_at_the_terminal_is_202_without_success(http):
    answer = await http.post(
        "/dtms/trade/enable", json={"ticket": 12345, "stop_loss": 0, "take_profit": 0, "volume": 0}
    )
    body = answer.json()
    assert (answer.status_code, body["success"], body["outcome"]) == (202, False, "pending_verification")
    assert body["error"]


async def test_a_trade_of_the_universal_manager_is_200_but_not_protected(http, authority, position_of):
    authority.at_terminal(position_of(1))
    body = (await http.post("/dtms/trade/enable", json=POLL | {"strategy_type": "kill_zone"})).json()
    assert (body["success"], body["outcome"], body["protected"]) == (True, "observed", False)


@pytest.mark.parametrize(
    "spelling",
    [
        {"direction": "SELL"},
        {"side": "short"},
        {"type": 1},
        {"type": "1"},
        {"direction": " sell "},
        {"details": {"direction": "sell"}},
    ],
)
async def test_every_spelling_of_the_side_is_understood(http, authority, spelling):
    await http.post("/dtms/trade/enable", json={"ticket": 7} | spelling)
    assert authority.asked[0].side is Side.SELL


@pytest.mark.parametrize(
    ("body", "entry", "stop", "take"),
    [
        ({"entry_price": 1.1, "stop_loss": 1.0, "take_profit": 1.2}, 1.1, 1.0, 1.2),
        ({"price_executed": 1.1, "sl": 1.0, "tp": 1.2}, 1.1, 1.0, 1.2),
        ({"price": "1.1", "final_sl": 1.0, "final_tp": 1.2}, 1.1, 1.0, 1.2),
        ({"entry_price": 0.0, "details": {"price_executed": 1.1, "final_sl": 1.0, "final_tp": 1.2}}, 1.1, 1.0, 1.2),
        ({"stop_loss": 0.0, "take_profit": "", "details": {"sl": None, "tp": 0}}, None, None, None),
        ({"details": None}, None, None, None),
    ],
)
async def test_every_spelling_of_a_level_is_understood_and_zero_is_none(http, authority, body, entry, stop, take):
    await http.post("/dtms/trade/enable", json={"ticket": 7} | body)
    wish = authority.asked[0]
    assert (wish.entry_price, wish.stop_loss, wish.take_profit) == (entry, stop, take)


@pytest.mark.parametrize(
    "body",
    [
        {"ticket": "7"},
        {"ticket": 7.0},
        {"ticket": " 7 "},
        {"details": {"ticket": 7}},
        {"ok": True, "details": {"ticket": 99, "final_position": 7}},
    ],
)
async def test_the_ticket_is_found_wherever_an_order_result_has_it(http, authority, body):
    assert (await http.post("/dtms/trade/enable", json=body)).status_code == 202
    assert [wish.ticket for wish in authority.asked] == [7]


async def test_every_filled_part_of_a_split_order_is_registered(http, authority, position_of):
    authority.at_terminal(position_of(1), position_of(2))
    result = {
        "ok": True,
        "symbol": "EURUSD",
        "direction": "buy",
        "details": {},
        "parts": [
            {"ok": True, "details": {"ticket": 1, "volume": 10.0}},
            {"ok": True, "details": {"ticket": 2, "volume": 5.0}},
            {"ok": False, "details": {}},
            {"ok": False, "details": {"ticket": 3}},
        ],
    }
    answer = await http.post("/dtms/trade/enable", json=result)
    assert (answer.status_code, answer.json()["success"]) == (200, True)
    assert [(w.ticket, w.volume, w.symbol) for w in authority.asked] == [(1, 10.0, "EURUSD"), (2, 5.0, "EURUSD")]
    assert [each["trade_info"]["ticket"] for each in answer.json()["results"]] == [1, 2]


async def test_the_answer_for_parts_is_that_of_the_worst_part(http, authority, position_of):
    authority.at_terminal(position_of(1, side=Side.SELL), position_of(2))
    parts = [{"ok": True, "details": {"ticket": n}} for n in (1, 2)]
    answer = await http.post("/dtms/trade/enable", json={"direction": "buy", "parts": parts})
    assert (answer.status_code, answer.json()["success"], answer.json()["code"]) == (
        409,
        False,
        "registration_conflict",
    )
    assert [each["success"] for each in answer.json()["results"]] == [False, True]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "ticket"),
        ({"ticket": None}, "ticket"),
        ({"ticket": 0}, "ticket"),
        ({"ticket": -1}, "ticket"),
        ({"ticket": "abc"}, "ticket"),
        ({"ticket": True}, "ticket"),
        ({"ticket": 2**63}, "ticket"),
        ({"ticket": 1.5}, "ticket"),
        ({"ticket": 1, "direction": "up"}, "direction"),
        ({"ticket": 1, "entry": -5}, "entry"),
        ({"ticket": 1, "volume": -1}, "volume"),
        ({"ticket": 1, "stop_loss": "nan"}, "stop_loss"),
        ({"ticket": 1, "stop_loss": [1]}, "stop_loss"),
        ({"ticket": 1, "entry": 10**400}, "entry"),
        ({"ticket": 1, "symbol": 5}, "symbol"),
        ({"ticket": 1, "symbol": "EUR\u0000"}, "symbol"),
        ({"ticket": 1, "managed_by": "nobody"}, "managed_by"),
    ],
)
async def test_nonsense_is_422_by_name_in_the_old_envelope_and_changes_nothing(http, authority, body, field):
    answer = await http.post("/dtms/trade/enable", json=body)
    problem = answer.json()
    assert answer.status_code == 422
    assert problem["errors"][0]["field"] == field
    assert problem["errors"][0]["expected"]
    assert (problem["success"], problem["error"], problem["code"]) == (False, problem["detail"], "validation_failed")
    assert problem["summary"]
    assert authority.asked == []


async def test_an_unready_service_tells_the_old_helper_when_to_come_back(http, authority, down):
    authority.readiness = down
    answer = await http.post("/dtms/trade/enable", json=POLL)
    assert (answer.status_code, answer.json()["success"]) == (503, False)
    assert int(answer.headers["retry-after"]) >= 1
    authority.fails = StorageBusy()
    assert (await http.post("/dtms/trade/enable", json=POLL)).status_code == 503


async def test_the_exit_manager_reads_state_at_the_top(http, authority, trade_of):
    authority.holds(trade_of(1, state=TradeState.WARNING_L2))
    body = (await http.get("/dtms/trade/1")).json()
    assert not body["error"]
    assert (body["state"], body["ticket"]) == ("WARNING_L2", 1)


async def test_the_exit_manager_takes_404_for_not_in_dtms(http):
    answer = await http.get("/dtms/trade/1")
    body = answer.json()
    assert answer.status_code == 404
    assert (body["success"], body["trade_info"]) == (False, None)
    assert body["error"]
    assert body["summary"]


async def test_pages_and_agents_read_the_whole_trade_info(http, authority, position_of, trade_of, action_of):
    authority.at_terminal(position_of(1))
    authority.holds(trade_of(1, score=-2.4, flags=frozenset({"r_estimated"})))
    authority.book = replace(authority.book, actions=(action_of(1, 5), action_of(2, 6)))
    info = (await http.get("/dtms/trade/1")).json()["trade_info"]
    expected = {
        "ticket": 1,
        "symbol": "EURUSD",
        "state": "HEALTHY",
        "current_score": -2.4,
        "state_entry_time": "08:00:00",
        "warnings": {"r_estimated": True},
        "type": "BUY",
        "volume": 0.5,
        "open_price": 1.1002,
        "current_price": 1.1022,
        "profit": 100.0,
        "sl": 1.0952,
        "tp": 0.0,
        "protection_active": True,
        "intelligent_exits": {},
    }
    assert {key: info[key] for key in expected} == expected
    assert [taken["action_type"] for taken in info["actions_taken"]] == ["tighten_stop"]
    assert isinstance(info["performance"]["score_history"], int)


async def test_status_has_what_proxies_pages_and_the_diagnosis_read(http, authority, trade_of):
    authority.holds(trade_of(1), trade_of(2, state=TradeState.WARNING_L1), trade_of(3, state=TradeState.CLOSED))
    answer = await http.get("/dtms/status")
    body, status = answer.json(), answer.json()["dtms_status"]
    assert (answer.status_code, body["success"], body["error"]) == (200, True, None)
    assert (status["system_active"], status["monitoring_active"], status["active_trades"]) == (True, True, 2)
    assert status["trades_by_state"] == {"HEALTHY": 1, "WARNING_L1": 1}
    assert (status["uptime"], status["last_check"]) == ("1:02:03", "08:00:00")
    assert status["performance"] == {
        "fast_checks_total": 124,
        "deep_checks_total": 12,
        "actions_executed": 0,
        "state_transitions": 0,
        "fast_checks_per_hour": 119.9,
        "deep_checks_per_hour": 11.6,
    }
    assert (body["phase"], body["mode"], body["control"], body["instance_id"]) == (
        "ready",
        "protect",
        "running",
        "7f3a",
    )
    assert body["account"]["login"] == 5001234
    assert body["counts"] == {"trades": 2, "protected": 2, "unmanaged": 0, "alerts": 0}


async def test_status_answers_while_not_ready_and_says_why(http, authority, down):
    authority.readiness = down
    body = (await http.get("/dtms/status")).json()
    assert (body["phase"], body["dtms_status"]["system_active"]) == ("connecting", False)
    assert "not connected" in body["error"]


async def test_positions_nobody_registered_are_counted_and_our_own_hedges_are_not(
    http, authority, position_of, trade_of
):
    hedge = HedgeLink(ticket=9, identifier=9, side=Side.SELL, volume=0.25, price_open=1.09, stop_loss=1.12)
    authority.at_terminal(position_of(1), position_of(2), position_of(9))
    authority.holds(trade_of(1, hedge=hedge))
    assert (await http.get("/dtms/status")).json()["counts"]["unmanaged"] == 1


@pytest.mark.parametrize("path", ["/dtms/actions", "/dtms/action-history"])
async def test_pages_read_the_action_history(http, authority, action_of, path):
    authority.book = replace(authority.book, actions=(action_of(1, 5), action_of(2, 6)))
    answer = await http.get(path)
    body = answer.json()
    assert (answer.status_code, body["success"], body["total_actions"]) == (200, True, 2)
    item = body["action_history"][0]
    assert (item["ticket"], item["action_type"], item["sequence"], item["symbol"]) == (1, "tighten_stop", 5, "EURUSD")
    assert datetime.fromisoformat(item["timestamp"]).utcoffset() is not None
    assert all(isinstance(item[key], str) for key in ("description", "status"))


async def test_actions_can_be_asked_for_one_trade_and_from_a_sequence_on(http, authority, action_of):
    authority.book = replace(authority.book, actions=(action_of(1, 5), action_of(2, 6), action_of(1, 7)))

    async def sequences(**query: int) -> list[int]:
        body = (await http.get("/dtms/actions", params=query)).json()
        return [item["sequence"] for item in body["action_history"]]

    assert await sequences(ticket=1) == [5, 7]
    assert await sequences(since=5) == [6, 7]
    assert await sequences(limit=1) == [7]


async def test_the_page_lists_trades_by_the_keys_of_last_fast_check(http, authority, trade_of):
    authority.holds(trade_of(1), trade_of(2), trade_of(3, state=TradeState.CLOSED))
    authority.counts = replace(authority.counts, last_fast={1: 1767600030.0}, last_deep={1: 1767600000.0, 3: 1.0})
    info = (await http.get("/dtms/engine")).json()["engine_info"]
    assert info["last_fast_check"] == {"1": 1767600030.0, "2": 1767600000.0}
    assert info["last_deep_check"] == {"1": 1767600000.0}
    assert (info["monitoring_active"], info["active_trades_count"]) == (True, 2)


async def test_initialize_is_200_and_drops_no_trade(http, authority, trade_of, down):
    authority.holds(trade_of(1))
    before = authority.book
    answer = await http.post("/dtms/initialize")
    assert (answer.status_code, answer.json()["success"]) == (200, True)
    assert authority.book is before
    authority.readiness = down
    later = await http.post("/dtms/initialize")
    assert (later.status_code, later.json()["success"]) == (503, False)


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (Owner.DTMS, "dtms_manager"),
        (Owner.UNIVERSAL_MANAGER, "universal_sl_tp_manager"),
        (Owner.INTELLIGENT_EXITS, "intelligent_exit_manager"),
        (Owner.MANUAL, "manual"),
    ],
)
async def test_the_registry_answers_the_old_names(http, authority, trade_of, owner, name):
    authority.holds(trade_of(1, owner=owner))
    body = (await http.get("/trade-registry/1")).json()
    assert (body["ticket"], body["managed_by"], body["breakeven_triggered"]) == (1, name, False)
    assert (body["symbol"], body["direction"]) == ("EURUSD", "BUY")


async def test_the_registry_says_when_the_stop_has_reached_the_entry(http, authority, trade_of):
    authority.holds(trade_of(1, stop_loss=1.1002), trade_of(2, side=Side.SELL, stop_loss=1.1003))
    assert (await http.get("/trade-registry/1")).json()["breakeven_triggered"] is True
    assert (await http.get("/trade-registry/2")).json()["breakeven_triggered"] is False


async def test_the_registry_has_no_manager_for_an_unknown_ticket(http):
    answer = await http.get("/trade-registry/1")
    assert (answer.status_code, answer.json()["managed_by"]) == (200, "")


async def test_a_form_of_too_many_fields_is_refused_with_the_limit(http):
    body = "ticket=7&" + "&".join(f"f{number}=1" for number in range(2_000))
    answer = await http.post(
        "/dtms/trade/enable", content=body, headers={"content-type": "application/x-www-form-urlencoded"}
    )
    assert answer.status_code == 422
    assert "at most 100 fields" in answer.json()["detail"]
