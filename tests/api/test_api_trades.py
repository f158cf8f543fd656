from __future__ import annotations

import httpx
import pytest

from dtms_client.wire import BatchOut, RegistrationOut, TradeList, TradeOut
from dtms_service.domain.errors import StorageBusy, StorageFailed
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import HedgeLink, Mode, Obligation, ObligationKind, ObligationStatus, Owner
from dtms_service.domain.values import Side


async def test_the_first_registration_of_an_open_position_is_201_and_protected(http, authority, position_of):
    authority.at_terminal(position_of(1))
    answer = await http.put("/dtms/trades/1", json={"symbol": "EURUSD", "side": "BUY"})
    assert answer.status_code == 201
    body = RegistrationOut.model_validate(answer.json())
    assert (body.outcome, body.protected, body.replayed, body.kind) == ("protected", True, False, "simulated")
    assert body.trade is not None
    assert body.trade.ticket == 1


async def test_a_ticket_alone_is_enough(http, authority, position_of):
    authority.at_terminal(position_of(1))
    assert (await http.put("/dtms/trades/1")).status_code == 201


async def test_a_repeat_is_200_and_says_that_it_is_one(http, authority, position_of):
    authority.at_terminal(position_of(1))
    await http.put("/dtms/trades/1")
    again = await http.put("/dtms/trades/1")
    assert again.status_code == 200
    assert (again.json()["outcome"], again.json()["replayed"]) == ("already_protected", True)
    assert again.headers["idempotency-replayed"] == "true"


async def test_a_position_the_terminal_does_not_show_is_202(http):
    answer = await http.put("/dtms/trades/1", json={})
    assert answer.status_code == 202
    assert (answer.json()["outcome"], answer.json()["protected"]) == ("pending_verification", False)


@pytest.mark.parametrize(
    "claim", [{"strategy_type": "order_block_rejection"}, {"managed_by": "universal_sl_tp_manager"}]
)
async def test_a_trade_of_another_manager_is_observed_with_200(http, authority, position_of, claim):
    authority.at_terminal(position_of(1))
    answer = await http.put("/dtms/trades/1", json=claim)
    assert (answer.status_code, answer.json()["outcome"], answer.json()["protected"]) == (200, "observed", False)


async def test_in_observe_mode_a_registration_is_observed(http, authority, position_of):
    authority.mode = Mode.OBSERVE
    authority.at_terminal(position_of(1))
    answer = await http.put("/dtms/trades/1")
    assert (answer.status_code, answer.json()["outcome"], answer.json()["protected"]) == (200, "observed", False)


async def test_a_closed_trade_is_200_already_closed(http, authority, trade_of):
    authority.holds(trade_of(1, state=TradeState.CLOSED))
    answer = await http.put("/dtms/trades/1")
    assert (answer.status_code, answer.json()["outcome"]) == (200, "already_closed")


async def test_a_conflict_is_409_and_names_both_values(http, authority, position_of):
    authority.at_terminal(position_of(1))
    answer = await http.put("/dtms/trades/1", json={"side": "SELL"})
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["definite"]) == (409, "registration_conflict", True)
    assert (problem["claimed"], problem["terminal"]) == ({"side": "SELL"}, {"side": "BUY"})


async def test_an_empty_owner_claims_nothing_so_the_strategy_decides(http, authority, position_of):
    authority.at_terminal(position_of(1))
    answer = await http.put("/dtms/trades/1", json={"managed_by": "", "strategy_type": "kill_zone"})
    assert answer.json()["outcome"] == "observed"
    assert authority.asked[0].managed_by is None


async def test_an_unknown_owner_is_refused_with_the_known_ones(http, authority):
    answer = await http.put("/dtms/trades/1", json={"managed_by": "nobody"})
    assert answer.status_code == 422
    assert "universal_sl_tp_manager" in answer.json()["errors"][0]["expected"]
    assert authority.asked == []


@pytest.mark.parametrize(
    ("failure", "status", "code", "retry"),
    [(StorageBusy(), 503, "storage_busy", True), (StorageFailed(), 500, "storage_failed", False)],
)
async def test_trouble_with_the_ledger_is_told_as_it_is(http, authority, failure, status, code, retry):
    authority.fails = failure
    answer = await http.put("/dtms/trades/1")
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert ("retry-after" in answer.headers) is retry
    assert answer.json()["retryable"]


async def test_before_the_ledger_is_open_registrations_are_503_with_retry_after(http, authority, down):
    authority.readiness = down
    answer = await http.put("/dtms/trades/1")
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "not_accepting", "2")


async def test_every_item_of_a_batch_stands_alone(http, authority, position_of):
    authority.at_terminal(position_of(1))
    items = [
        {"ticket": 1},
        {"ticket": 1, "side": "SELL"},
        {"ticket": 2},
        {"ticket": -3},
        "nonsense",
        {"ticket": 4, "volume": -1},
        {"ticket": 5, "symbol": "EUR\u0000USD"},
    ]
    answer = await http.post("/dtms/trades/batch", json={"trades": items})
    assert answer.status_code == 200
    body = BatchOut.model_validate(answer.json())
    assert [(r.ticket, r.status) for r in body.results] == [
        (1, 201),
        (1, 409),
        (2, 202),
        (None, 422),
        (None, 422),
        (4, 422),
        (5, 422),
    ]
    assert (body.accepted, body.rejected) == (2, 5)
    assert body.results[5].error is not None
    assert body.results[5].error["errors"][0]["field"] == "volume"


async def test_a_batch_of_a_thousand_is_one_question_and_one_more_is_refused(http, authority, position_of):
    authority.at_terminal(*(position_of(n) for n in range(1, 1001)))
    items = [{"ticket": n} for n in range(1, 1001)]
    answer = await http.post("/dtms/trades/batch", json={"trades": items})
    assert answer.json()["accepted"] == 1000
    assert len(authority.asked) == 1000
    more = await http.post("/dtms/trades/batch", json={"trades": [*items, {"ticket": 1001}]})
    assert (more.status_code, more.json()["errors"][0]["field"]) == (422, "trades")


async def test_an_empty_batch_is_an_empty_answer(http):
    answer = await http.post("/dtms/trades/batch", json={"trades": []})
    assert answer.json() == {"results": [], "accepted": 0, "rejected": 0}


async def test_a_trade_shows_its_price_profit_and_r(http, authority, position_of, trade_of):
    authority.at_terminal(position_of(1))
    authority.holds(trade_of(1))
    body = TradeOut.model_validate((await http.get("/dtms/trades/1")).json())
    assert (body.price_current, body.profit) == (1.1022, 100.0)
    assert body.r_now == pytest.approx(0.4)  # (1.1022 - 1.1002) / 0.005
    assert (body.state, body.protected, body.registered_at) == ("HEALTHY", True, "2026-01-05T08:00:00.000Z")
    assert body.next_check_at == "2026-01-05T08:00:30.000Z"


async def test_a_hedged_trade_shows_hedge_deadlines_and_obligations(http, authority, trade_of):
    owed = Obligation(
        kind=ObligationKind.CLOSE_HEDGE,
        episode=3,
        status=ObligationStatus.DUE,
        reason="market_resumes",
        created_at=authority.time,
        attempts=1,
        next_try_at=authority.time + 5,
    )
    hedge = HedgeLink(ticket=9, identifier=9, side=Side.SELL, volume=0.25, price_open=1.09, stop_loss=1.12)
    authority.holds(
        trade_of(1, state=TradeState.HEDGED, hedge=hedge, flat_left_s=600.0, obligations=(owed,), flags=frozenset("ba"))
    )
    body = TradeOut.model_validate((await http.get("/dtms/trades/1")).json())
    assert body.hedge is not None
    assert (body.hedge.ticket, body.hedge.side) == (9, "SELL")
    assert body.deadlines == {"flat": "2026-01-05T08:10:00.000Z", "recovery": None}
    assert (body.obligations[0].kind, body.obligations[0].next_try_at) == ("close_hedge", "2026-01-05T08:00:05.000Z")
    assert body.flags == ["a", "b"]


async def test_the_answer_has_exactly_the_fields_of_the_wire(http, authority, trade_of):
    authority.holds(trade_of(1))
    assert set((await http.get("/dtms/trades/1")).json()) == set(TradeOut.model_fields)


@pytest.mark.parametrize("path", ["", "/explain", "/history"])
async def test_an_unknown_trade_is_404_and_says_how_to_register_it(http, path):
    answer = await http.get(f"/dtms/trades/77{path}")
    assert (answer.status_code, answer.json()["code"]) == (404, "trade_not_found")
    assert "PUT /dtms/trades/77" in answer.json()["detail"]


async def test_a_former_ticket_still_finds_the_trade(http, authority, trade_of):
    authority.holds(trade_of(1, former_tickets=(42,)))
    assert (await http.get("/dtms/trades/42")).json()["ticket"] == 1


async def test_the_list_shows_open_trades_and_closed_ones_when_asked(http, authority, trade_of):
    authority.holds(
        trade_of(1),
        trade_of(2, state=TradeState.CLOSED),
        trade_of(3, symbol="XAUUSD", owner=Owner.UNIVERSAL_MANAGER),
    )

    async def tickets(**query: object) -> list[int]:
        body = TradeList.model_validate((await http.get("/dtms/trades", params=query)).json())
        assert body.count == len(body.trades)
        return [trade.ticket for trade in body.trades]

    assert await tickets() == [1, 3]
    assert await tickets(include_closed="true") == [1, 2, 3]
    assert await tickets(state="CLOSED") == [2]
    assert await tickets(symbol="xauusd") == [3]
    assert await tickets(owner="universal_sl_tp_manager") == [3]
    assert await tickets(owner="dtms") == [1]


async def test_pages_cover_every_trade_once(http, authority, trade_of):
    authority.holds(*(trade_of(n) for n in range(1, 8)))
    seen: list[int] = []
    cursor = None
    while True:
        query = {"limit": 3} | ({"cursor": cursor} if cursor else {})
        body = (await http.get("/dtms/trades", params=query)).json()
        seen += [trade["ticket"] for trade in body["trades"]]
        cursor = body["next_cursor"]
        if cursor is None:
            break
    assert seen == [1, 2, 3, 4, 5, 6, 7]


async def test_explain_answers_the_reasons(http, authority, trade_of):
    authority.holds(trade_of(1))
    body = (await http.get("/dtms/trades/1/explain")).json()
    assert {"score", "coverage", "components", "thresholds", "regime", "rule", "missing", "next"} <= set(body)
    assert body["rule"] == "registered"


async def test_history_is_every_event_oldest_first(http, authority, trade_of, action_of):
    authority.holds(trade_of(1))
    authority.events = [action_of(1, 4), action_of(2, 5), action_of(1, 6)]
    body = (await http.get("/dtms/trades/1/history")).json()
    assert [event["sequence"] for event in body["events"]] == [4, 6]
    assert body["events"][0]["time"] == "2026-01-05T08:01:00.000Z"


async def test_a_number_that_is_not_finite_is_null(http, authority, position_of, trade_of):
    authority.at_terminal(position_of(1, profit=float("nan")))
    authority.holds(trade_of(1))
    assert (await http.get("/dtms/trades/1")).json()["profit"] is None


async def test_the_kind_of_a_real_terminal_is_mt5(connect, authority, position_of):
    authority.at_terminal(position_of(1))
    async with connect() as http:
        answer: httpx.Response = await http.put("/dtms/trades/1")
    assert answer.json()["kind"] == "mt5"
