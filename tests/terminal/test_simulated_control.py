"""Control over the simulated broker refuses what it cannot use, and changes nothing then."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from simulated_kit import START, deals, flat, later, market_order, opened, positions, write_bars

from dtms_service.terminal.simulated.backend import SimulatedTerminal


@pytest.fixture
def terminal(tmp_path: Path) -> SimulatedTerminal:
    return opened(tmp_path, write_bars(tmp_path, [*flat(1.1, 5), *flat(1.101, 100)]))


BUY = {"symbol": "EURUSD", "side": "BUY", "volume": 0.1}


def test_a_position_is_opened_as_a_program_would(terminal: SimulatedTerminal) -> None:
    answer = terminal.simulator_open_position(
        BUY | {"stop_loss": 1.09, "take_profit": 1.12, "magic": 7, "comment": "caller"}
    )
    assert answer["price_open"] == 1.1001
    (position,) = terminal.positions_get()
    assert (position.ticket, position.identifier) == (answer["ticket"], answer["identifier"])
    assert (position.sl, position.tp, position.magic, position.comment, position.reason) == (1.09, 1.12, 7, "caller", 3)
    assert terminal.symbol_info_tick("EURUSD").bid == 1.1, "its symbol is in Market Watch"


def test_a_side_in_small_letters_and_levels_of_null_are_understood(terminal: SimulatedTerminal) -> None:
    terminal.simulator_open_position(BUY | {"side": "sell", "stop_loss": None, "take_profit": None, "magic": None})
    assert [(row["type"], row["sl"], row["tp"]) for row in positions(terminal)] == [(1, 0.0, 0.0)]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"symbol": "NOPE"}, "unknown symbol 'NOPE'; this market has EURUSD"),
        ({"symbol": None}, "symbol is missing"),
        ({"symbol": 5}, "symbol is 5; it must be text"),
        ({"side": "UP"}, "side is 'UP'; it must be BUY or SELL"),
        ({"side": None}, "side is missing"),
        ({"volume": None}, "volume is missing"),
        ({"volume": "0.1"}, "volume is '0.1'"),
        ({"volume": True}, "volume is True"),
        ({"volume": math.nan}, "volume is nan"),
        ({"volume": math.inf}, "volume is inf"),
        ({"volume": 0.015}, "volume 0.015 of EURUSD must be 0.01 to 100.0 in steps of 0.01"),
        ({"volume": 0}, "volume 0.0 of EURUSD must be"),
        ({"volume": 95}, "margin 104500.00 USD needed"),
        ({"stop_loss": 1.2}, "stop loss 1.2 must be a multiple of 1e-05 and at least 10 points below 1.1"),
        ({"take_profit": 1.0}, "take profit 1.0 must be a multiple of 1e-05 and at least 10 points above 1.1"),
        ({"side": "SELL", "stop_loss": 1.0}, "at least 10 points above 1.1001"),
        ({"stop_loss": "1.09"}, "stop_loss is '1.09'"),
        ({"stop_loss": False}, "stop_loss is False"),
        ({"magic": -1}, "magic is -1"),
        ({"magic": 1.5}, "magic is 1.5"),
        ({"comment": "x" * 30}, "comment has 30 characters"),
        ({"colour": "red"}, "there is no field 'colour'"),
    ],
)
def test_an_unusable_position_is_refused_in_one_sentence(
    terminal: SimulatedTerminal, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        terminal.simulator_open_position(BUY | changes)
    assert sentence in str(refused.value)
    assert positions(terminal) == []
    assert len(deals(terminal)) == 1


def test_no_position_is_opened_in_a_closed_market(terminal: SimulatedTerminal) -> None:
    later(terminal, 200 * 60)
    with pytest.raises(ValueError, match="the market of EURUSD is closed"):
        terminal.simulator_open_position(BUY)


def test_levels_change_by_hand_and_absent_ones_stay(terminal: SimulatedTerminal) -> None:
    ticket = terminal.simulator_open_position(BUY | {"stop_loss": 1.09, "take_profit": 1.12})["ticket"]
    assert terminal.simulator_change_position(ticket, {"stop_loss": 1.095})["sl"] == 1.095
    assert positions(terminal)[0]["tp"] == 1.12
    assert terminal.simulator_change_position(ticket, {"stop_loss": None})["sl"] == 0.0
    assert terminal.simulator_change_position(ticket, {})["tp"] == 1.12


@pytest.mark.parametrize("body", [{"stop_loss": 1.2}, {"stop_loss": "1"}, {"take_profit": math.nan}, {"sl": 1.0}])
def test_unusable_levels_are_refused(terminal: SimulatedTerminal, body: dict[str, Any]) -> None:
    ticket = terminal.simulator_open_position(BUY | {"stop_loss": 1.09})["ticket"]
    with pytest.raises(ValueError, match=r"stop|take_profit|sl"):
        terminal.simulator_change_position(ticket, body)
    assert positions(terminal)[0]["sl"] == 1.09


def test_a_position_is_closed_by_hand_whole_or_in_part(terminal: SimulatedTerminal) -> None:
    ticket = terminal.simulator_open_position(BUY | {"magic": 7})["ticket"]
    deal = terminal.simulator_close_position(ticket, 0.04)
    assert (deal["volume"], deal["reason"], deal["magic"], deal["entry"]) == (0.04, 0, 0, 1)
    assert positions(terminal)[0]["volume"] == 0.06
    terminal.simulator_close_position(ticket, None)
    assert positions(terminal) == []


@pytest.mark.parametrize("volume", [0.2, 0.001, 0, True, "0.1", math.nan])
def test_an_unusable_closing_volume_is_refused(terminal: SimulatedTerminal, volume: Any) -> None:
    ticket = terminal.simulator_open_position(BUY)["ticket"]
    with pytest.raises(ValueError, match="volume"):
        terminal.simulator_close_position(ticket, volume)
    assert positions(terminal)[0]["volume"] == 0.1


@pytest.mark.parametrize("ticket", [1, 0, "5", None, True, 1.0])
def test_an_unknown_ticket_is_refused(terminal: SimulatedTerminal, ticket: Any) -> None:
    with pytest.raises(ValueError, match=r"ticket|open position"):
        terminal.simulator_close_position(ticket, None)
    with pytest.raises(ValueError, match=r"ticket|open position"):
        terminal.simulator_change_position(ticket, {"stop_loss": 1.0})


@pytest.mark.parametrize("until", ["1", None, math.nan, math.inf, True, -1.0])
def test_an_unusable_instant_is_refused(terminal: SimulatedTerminal, until: Any) -> None:
    with pytest.raises(ValueError, match="until"):
        terminal.simulator_advance(until)
    assert terminal.simulator_clock()["now"] == START


def test_an_instant_that_has_passed_changes_nothing(terminal: SimulatedTerminal) -> None:
    assert terminal.simulator_advance(START + 100) == START + 100
    assert terminal.simulator_advance(START + 100) == START + 100
    assert terminal.simulator_advance(START) == START + 100


def test_views_have_metatraders_own_field_names(terminal: SimulatedTerminal) -> None:
    market_order(terminal, "BUY", 0.1, magic=5, comment="x")
    view = {what: terminal.simulator_view(what)[what] for what in ("account", "positions", "orders", "deals")}
    assert view["account"]["balance"] == 100_000.0
    assert view["positions"][0]["identifier"] == view["orders"][0]["ticket"] == view["deals"][1]["position_id"]
    assert view["deals"][0]["type"] == 2
    assert view["deals"][0]["profit"] == 100_000.0
    with pytest.raises(ValueError, match="there is no view 'trades'"):
        terminal.simulator_view("trades")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [(("EURUSD", "M7", 1), "unknown timeframe"), (("EURUSD", "M1", 0), "count"), (("EURUSD", "M1", True), "count")],
)
def test_an_unusable_market_question_is_refused(
    terminal: SimulatedTerminal, arguments: tuple[Any, ...], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        terminal.simulator_market(*arguments)


def test_one_step_is_bounded(terminal: SimulatedTerminal) -> None:
    with pytest.raises(ValueError, match="366 days"):
        terminal.simulator_advance(START + 400 * 86_400)
    assert terminal.simulator_clock()["now"] == START


def test_every_answer_can_be_sent_as_strict_json(terminal: SimulatedTerminal) -> None:
    answers: list[Any] = [
        terminal.simulator_open_position(BUY),
        *(terminal.simulator_view(what) for what in ("account", "positions", "orders", "deals")),
        terminal.simulator_market("EURUSD", "M5", 3),
        terminal.simulator_set_fault({"kind": "slow"}),
        terminal.simulator_clear_faults(),
        terminal.simulator_clock(),
    ]
    for answer in answers:
        assert json.loads(json.dumps(answer, allow_nan=False)) == answer


def test_levels_are_entered_with_the_digits_of_the_symbol(terminal: SimulatedTerminal) -> None:
    answer = terminal.simulator_open_position(BUY | {"stop_loss": 1.0900000001, "take_profit": 1.1199999999})
    assert [(row["sl"], row["tp"]) for row in positions(terminal)] == [(1.09, 1.12)]
    assert terminal.simulator_change_position(answer["ticket"], {"stop_loss": 1.0811112})["sl"] == 1.08111
