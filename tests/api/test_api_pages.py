"""Pages of trades and of actions, while trades and actions come and go between two pages."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import Owner


async def page(http, **query) -> dict:
    answer = await http.get("/dtms/trades", params={name: value for name, value in query.items() if value is not None})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_filters_hold_together(http, authority, trade_of):
    authority.holds(
        trade_of(1),
        trade_of(2, symbol="XAUUSD"),
        trade_of(3, symbol="XAUUSD", owner=Owner.UNIVERSAL_MANAGER),
        trade_of(4, symbol="XAUUSD", state=TradeState.HEDGED),
        trade_of(5, symbol="XAUUSD", state=TradeState.CLOSED),
    )
    for query, tickets in [
        ({}, [1, 2, 3, 4]),
        ({"symbol": "xauusd"}, [2, 3, 4]),
        ({"symbol": "xauusd", "owner": "dtms"}, [2, 4]),
        ({"symbol": "xauusd", "owner": "dtms_manager", "state": "HEDGED"}, [4]),
        ({"symbol": "xauusd", "include_closed": "true"}, [2, 3, 4, 5]),
        ({"state": ["HEDGED", "CLOSED"]}, [4, 5]),
        ({"symbol": "GBPUSD"}, []),
    ]:
        body = await page(http, **query)
        assert ([trade["ticket"] for trade in body["trades"]], body["count"]) == (tickets, len(tickets)), query


CHANGES = st.lists(
    st.tuples(st.sampled_from(["opens", "closes", "ends elsewhere"]), st.integers(1, 12)), min_size=1, max_size=4
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(limit=st.integers(1, 5), between=st.lists(CHANGES, min_size=1, max_size=12))
async def test_what_stays_is_on_exactly_one_page_whatever_changes_between_them(
    http, authority, trade_of, limit, between
):
    authority.empty()
    authority.holds(*(trade_of(1000 + number, trade_id=number) for number in range(1, 13)))
    stays, seen, cursor, changes, newest = set(range(1, 13)), [], None, iter(between), 12
    while True:
        body = await page(http, limit=limit, cursor=cursor)
        seen += [trade["ticket"] - 1000 for trade in body["trades"]]
        cursor = body["next_cursor"]
        if cursor is None:
            break
        for what, number in next(changes, ()):
            if what == "opens":
                newest += 1
                authority.holds(trade_of(1000 + newest, trade_id=newest))
            else:
                state = TradeState.CLOSED if what == "closes" else TradeState.REJECTED
                authority.holds(replace(authority.book.trades[number], state=state))
                stays.discard(number)
    assert len(seen) == len(set(seen))
    assert seen == sorted(seen)
    assert stays <= set(seen)


async def actions(http, **query) -> list[int]:
    answer = await http.get("/dtms/actions", params=query)
    assert answer.status_code == 200, answer.text
    return [action["sequence"] for action in answer.json()["action_history"]]


async def test_without_a_beginning_the_newest_actions_are_shown_oldest_first(http, authority, action_of):
    authority.book = replace(authority.book, actions=tuple(action_of(7, n) for n in range(1, 10)))
    assert await actions(http, limit=3) == [7, 8, 9]


@pytest.mark.parametrize("limit", [1, 2, 3, 50])
async def test_who_asks_on_from_the_last_sequence_misses_no_action(http, authority, action_of, limit):
    stored = [action_of(7, n) for n in range(2, 21, 2)]
    later = iter([action_of(7, n) for n in range(22, 31, 2)])
    authority.book = replace(authority.book, actions=tuple(stored))
    seen: list[int] = []
    while found := await actions(http, since=seen[-1] if seen else 0, limit=limit):
        seen += found
        authority.book = replace(
            authority.book, actions=(*authority.book.actions, *[a for a in [next(later, None)] if a])
        )
    assert seen == list(range(2, 31, 2))


async def test_actions_of_a_trade_are_found_by_a_former_ticket_too(http, authority, action_of, trade_of):
    authority.holds(trade_of(9, trade_id=7, former_tickets=(7,)))
    authority.book = replace(authority.book, actions=(action_of(7, 1), action_of(8, 2)))
    answer = (await http.get("/dtms/actions", params={"ticket": 7})).json()
    assert answer["total_actions"] == 1
