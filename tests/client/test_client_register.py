"""Payloads as the existing callers build them (contract.md §1, rows 1-7; §1.1; §8)."""

from __future__ import annotations

from collections import namedtuple
from enum import Enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtms_client.errors import Invalid
from dtms_client.register import side_of, understand


def only(ticket: object, data: object = None, **fields: object) -> dict[str, Any]:
    (item,) = understand(ticket, data, fields).items
    return item.model_dump(exclude_none=True)


def market(ticket: int, position: int | None = None, **more: object) -> dict[str, Any]:
    """``details`` of a market order as ``open_order`` returns them."""
    return {
        "ticket": ticket,
        "position": position,
        "final_position": position,
        "price_requested": 1900.0,
        "price_executed": 1900.2,
        "sl": 1890.0,
        "tp": None,
        "final_sl": 1890.5,
        "final_tp": None,
        "volume": 0.5,
        "retcode": 10009,
        "comment": "ok",
        **more,
    }


def test_rows_1_and_7_the_result_of_a_market_order() -> None:
    details = market(123, 123)
    result = {"ok": True, "message": "done", "details": details, "parts": [], "symbol": "XAUUSDc", "direction": "buy"}
    assert only(123, result) == {
        "ticket": 123,
        "symbol": "XAUUSDc",
        "side": "BUY",
        "entry_price": 1900.2,
        "volume": 0.5,
        "stop_loss": 1890.5,
    }


def test_rows_1_and_7_a_split_order_is_one_registration_per_part_that_succeeded() -> None:
    parts = [
        {"ok": True, "message": "", "details": market(1, 11, volume=50.0)},
        {"ok": False, "message": "no money", "details": {}},
        {"ok": True, "message": "", "details": market(3, 13, volume=20.0, price_executed=1900.4)},
    ]
    result = {"ok": True, "details": parts[2]["details"], "parts": parts, "symbol": "XAUUSDc", "direction": "sell"}
    found = [item.model_dump(exclude_none=True) for item in understand(3, result).items]
    assert [(item["ticket"], item["volume"], item["entry_price"]) for item in found] == [
        (11, 50.0, 1900.2),
        (13, 20.0, 1900.4),
    ]
    assert {(item["symbol"], item["side"]) for item in found} == {("XAUUSDc", "SELL")}


def test_rows_1_and_7_a_split_order_whose_last_part_failed_still_registers_the_first() -> None:
    parts = [{"ok": True, "details": market(1, 11)}, {"ok": False, "details": {}}]
    result = {"ok": True, "details": {}, "parts": parts, "symbol": "XAUUSDc", "direction": "buy"}
    assert only(None, result)["ticket"] == 11


def test_rows_1_and_7_a_pending_order_is_registered_under_its_order() -> None:
    details = {"ticket": 55, "position": None, "price": 1850.0, "sl": 1840.0, "tp": 1900.0, "volume": 0.1}
    found = only(55, {"ok": True, "details": details, "parts": [], "symbol": "XAUUSD", "direction": "buy"})
    assert (found["ticket"], found["entry_price"], found["stop_loss"]) == (55, 1850.0, 1840.0)


def test_rows_2_to_4_the_flat_dictionary_of_the_auto_execution() -> None:
    data = {
        "symbol": "XAUUSDc",
        "direction": "SELL",
        "entry_price": 0.0,
        "volume": 0.01,
        "stop_loss": None,
        "take_profit": None,
    }
    assert only(9, data) == {"ticket": 9, "symbol": "XAUUSDc", "side": "SELL", "volume": 0.01}


def test_rows_5_and_6_zero_means_none_in_the_desktop_agent() -> None:
    data = {
        "symbol": "BTCUSDc",
        "direction": "Buy",
        "entry_price": 0.0,
        "volume": 1,
        "stop_loss": 0.0,
        "take_profit": 0.0,
    }
    assert only(77, data) == {"ticket": 77, "symbol": "BTCUSDc", "side": "BUY", "volume": 1.0}


def test_the_filter_block_without_a_ticket_is_refused() -> None:
    with pytest.raises(Invalid, match="no ticket"):
        understand(0, {"ok": False, "ticket": 0, "message": "filtered"})


@pytest.mark.parametrize("ticket", ["123", " 123 ", 123.0])
def test_a_ticket_in_any_dress_is_a_number(ticket: object) -> None:
    assert only(ticket)["ticket"] == 123


@pytest.mark.parametrize(
    "ticket", [None, 0, -5, "", "abc", "12a", 1.5, True, 2**63, float("nan"), float("inf"), [], {}, "²"]
)
def test_what_is_no_ticket_is_refused(ticket: object) -> None:
    with pytest.raises(Invalid):
        understand(ticket, {"symbol": "EURUSD"})


def test_the_position_comes_before_the_order_that_opened_it() -> None:
    assert only(500, {"details": market(500, 501)})["ticket"] == 501
    assert only(500, {"ticket": 500, "position_id": "502"})["ticket"] == 502
    assert only(500, {"details": {"ticket": 500, "final_position": {"ticket": 503}}})["ticket"] == 503


def test_a_position_of_another_ticket_does_not_replace_the_one_that_was_named() -> None:
    assert only(500, {"details": {"ticket": 400, "position": 401}})["ticket"] == 500


@pytest.mark.parametrize(
    "data",
    [
        {"side": "buy"},
        {"direction": "LONG"},
        {"direction": "Buy"},
        {"type": 0},
        {"type": "0"},
        {"type": 2},
        {"side": "BUY_LIMIT"},
        {"type": "ORDER_TYPE_BUY_STOP"},
        {"details": {"side": "long"}},
        {"type": "market", "details": {"direction": "BUY"}},
    ],
)
def test_every_way_to_say_buy(data: dict[str, object]) -> None:
    assert only(1, data)["side"] == "BUY"


@pytest.mark.parametrize("value", ["sell", "Short", 1, "1", 3, "SELL_STOP_LIMIT", 7])
def test_every_way_to_say_sell(value: object) -> None:
    assert side_of(value) == "SELL"


@pytest.mark.parametrize("value", ["up", "hold", "buy sell", 8, -1, 0.5, True, object()])
def test_a_side_that_is_neither_is_refused(value: object) -> None:
    with pytest.raises(Invalid, match="neither buy nor sell"):
        understand(1, {"direction": value})


def test_no_side_and_an_order_type_that_says_none_leave_it_to_the_terminal() -> None:
    assert "side" not in only(1, {"type": "market"})
    assert "side" not in only(1, {"direction": None})
    assert "side" not in only(1, {"direction": ""})


@pytest.mark.parametrize(
    ("data", "name", "value"),
    [
        ({"entry": "1.25"}, "entry_price", 1.25),
        ({"price_executed": 3}, "entry_price", 3.0),
        ({"price": 4.0}, "entry_price", 4.0),
        ({"details": {"price": 5.0}}, "entry_price", 5.0),
        ({"entry_price": 0, "details": {"price_executed": 6.0}}, "entry_price", 6.0),
        ({"lot": "0.10"}, "volume", 0.1),
        ({"details": {"volume": 2}}, "volume", 2.0),
        ({"sl": 1.1}, "stop_loss", 1.1),
        ({"final_sl": 1.2}, "stop_loss", 1.2),
        ({"details": {"sl": 1.1, "final_sl": 1.2}}, "stop_loss", 1.2),
        ({"tp": "1.3"}, "take_profit", 1.3),
        ({"details": {"tp": 1.4, "final_tp": None}}, "take_profit", 1.4),
        ({"strategy": "fvg_retracement"}, "strategy_type", "fvg_retracement"),
        ({"managed_by": "dtms_manager"}, "managed_by", "dtms_manager"),
        ({"symbol": " EURUSD "}, "symbol", "EURUSD"),
    ],
)
def test_every_spelling_of_a_field(data: dict[str, object], name: str, value: object) -> None:
    assert only(1, data)[name] == value


def test_an_enumeration_counts_as_its_value() -> None:
    class Strategy(Enum):
        POOL = "breaker_block"

    assert only(1, {"strategy_type": Strategy.POOL})["strategy_type"] == "breaker_block"


def test_a_result_object_of_the_terminal_is_read_like_a_dictionary() -> None:
    result = namedtuple("OrderSendResult", "retcode order volume price")(10009, 42, 0.2, 1.5)
    assert only(None, result) == {"ticket": 42, "volume": 0.2, "entry_price": 1.5}


def test_no_volume_is_never_invented() -> None:
    assert only(1, {"symbol": "EURUSD"}) == {"ticket": 1, "symbol": "EURUSD"}


@pytest.mark.parametrize("value", [-5, "abc", float("nan"), float("inf"), [], True])
def test_a_price_that_makes_no_sense_is_left_out_and_named(value: object) -> None:
    found = understand(1, {"entry_price": value, "stop_loss": value, "symbol": 5})
    (item,) = found.items
    assert item.model_dump(exclude_none=True) == {"ticket": 1}
    assert [note.split("=")[0] for note in found.left_out] == ["entry_price", "stop_loss", "symbol"]


@pytest.mark.parametrize(
    "data", [None, {}, "text", 5, {"details": None}, {"details": []}, {"parts": None}, {"parts": [1]}]
)
def test_a_ticket_alone_is_enough(data: object) -> None:
    assert only(8, data) == {"ticket": 8}


def test_keyword_fields_win_over_the_data() -> None:
    assert only(1, {"symbol": "A", "sl": 5}, symbol="B", stop_loss=6, take_profit=None) == {
        "ticket": 1,
        "symbol": "B",
        "stop_loss": 6.0,
    }


NAMES = ["ticket", "symbol", "side", "direction", "type", "entry", "sl", "details", "parts", "ok", "position"]
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=8,
)


@given(ticket=values, data=values)
def test_whatever_comes_in_is_understood_or_refused(ticket: object, data: object) -> None:
    try:
        found = understand(ticket, data)
    except Invalid:
        return
    assert found.items
    for item in found.items:
        assert item.ticket > 0
        assert item.side in {None, "BUY", "SELL"}
