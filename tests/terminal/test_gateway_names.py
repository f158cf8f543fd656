"""The same instrument under another broker's name, and never a guess between two."""

from __future__ import annotations

import pytest
from gateway_kit import SYMBOL, TICK, scripted
from hypothesis import given
from hypothesis import strategies as st

from dtms_service.domain.orders import ClosePosition
from dtms_service.domain.outcome import Done
from dtms_service.domain.values import Side, Timeframe
from dtms_service.market.snapshot import Needs
from dtms_service.terminal.names import Ambiguous, match

NOT_FOUND = {"value": None, "error": (-4, "Terminal: Not found")}


@pytest.mark.parametrize(
    ("symbol", "names", "found"),
    [
        ("XAUUSD", ["XAUUSD", "XAUUSDc", "xauusd"], "XAUUSD"),
        ("XAUUSDc", ["XAUUSD", "XAUUSDc"], "XAUUSDc"),
        ("XAUUSD", ["EURUSD", "XAUUSDc"], "XAUUSDc"),
        ("EURUSD", ["EURUSD.pro", "GBPUSD.pro"], "EURUSD.pro"),
        ("BTCUSD", ["BTCUSDm"], "BTCUSDm"),
        ("EURUSD", ["EURUSD#"], "EURUSD#"),
        ("EURUSD", ["#EURUSD"], "#EURUSD"),
        ("EURUSD", [".EURUSD_x2"], ".EURUSD_x2"),
        ("EURUSD", ["EURUSD-ECN"], "EURUSD-ECN"),
        ("XAUUSDc", ["XAUUSD"], "XAUUSD"),
        ("eurusd", ["EURUSD"], "EURUSD"),
        ("eurusd", ["EURUSD", "EURUSDm"], "EURUSD"),
        ("XAUUSD", ["XAUUSDc", "XAUUSDm"], Ambiguous(("XAUUSDc", "XAUUSDm"))),
        ("EURUSD", ["EURUSD.a", "EURUSD.b"], Ambiguous(("EURUSD.a", "EURUSD.b"))),
        ("eurusd", ["EURUSD", "EurUsd"], Ambiguous(("EURUSD", "EurUsd"))),
        # other instruments
        ("BTCUSD", ["BTCUSDT"], None),
        ("XAUUSDc", ["XAUUSDm"], None),
        ("USDJPY", ["EURUSD", "USDCHF"], None),
        ("US500", ["US5000", "US50"], None),
        ("EUR", ["EURUSD", "EURGBP"], None),
        ("XA", ["XAc"], None),
        ("EURUSD", [], None),
        ("", ["EURUSD"], None),
    ],
)
def test_a_name_is_found_as_it_is_then_in_other_letters_then_decorated(
    symbol: str, names: list[str], found: str | Ambiguous | None
) -> None:
    assert match(symbol, names) == found
    assert match(symbol, reversed(names)) == found


LETTERS = st.text("ABCXabcx.#_m", max_size=8)


@given(symbol=LETTERS, names=st.lists(LETTERS, max_size=6))
def test_what_is_found_is_one_of_the_brokers_names_and_the_exact_one_wins(symbol: str, names: list[str]) -> None:
    found = match(symbol, names)
    if symbol in names:
        assert found == symbol
    elif isinstance(found, Ambiguous):
        assert len(found.names) > 1
        assert set(found.names) <= set(names)
    else:
        assert found is None or found in names


RENAMED = {
    "symbol_info": [{"struct": SYMBOL}],
    "symbol_info XAUUSD": [NOT_FOUND],
    "symbol_info XAUUSD.r": [{"struct": {**SYMBOL, "name": "XAUUSD.r"}}],
    "symbol_info_tick": [NOT_FOUND],
    "symbol_info_tick XAUUSD.r": [{"struct": TICK}],
    "copy_rates_from_pos": [NOT_FOUND],
    "symbols_get": [{"structs": [{"name": "EURUSD"}, {"name": "XAUUSD.r"}]}],
}


async def test_a_renamed_symbol_is_read_and_traded_under_its_new_name_and_known_by_its_old_one() -> None:
    scene = await scripted(RENAMED)
    read = await scene.gateway.specs(["EURUSD", "XAUUSD"])
    assert isinstance(read, Done)
    assert {symbol: facts.name for symbol, facts in read.value.items()} == {"EURUSD": "EURUSD", "XAUUSD": "XAUUSD"}
    scene.link.calls.clear()
    seen = await scene.gateway.snapshot(Needs(("XAUUSD",), (("XAUUSD", Timeframe.M5, 3),)))
    assert isinstance(seen, Done)
    assert set(seen.value.ticks) == {"XAUUSD"}
    assert [call.args[0] for call in scene.link.calls if call.args] == ["XAUUSD.r", "XAUUSD.r"]
    for symbol in ("XAUUSD", "XAUUSD.r"):  # the order names the position's own symbol
        close = ClosePosition(1001, symbol, Side.BUY, 0.04, 445400000000002, "DTP")
        assert isinstance(await scene.gateway.send(close), Done)
        assert scene.link.calls[-1].kwargs["symbol"] == "XAUUSD.r"


@pytest.mark.parametrize("names", [["XAUUSDc", "XAUUSDm"], ["EURUSD"]])
async def test_a_symbol_that_has_no_one_name_is_left_out_and_looked_for_every_quarter_of_an_hour(
    names: list[str],
) -> None:
    scene = await scripted({**RENAMED, "symbols_get": [{"structs": [{"name": name} for name in names]}]})
    for elapsed, searches in ((0, 1), (30, 1), (869, 1), (2, 2)):
        scene.now += elapsed
        read = await scene.gateway.specs(["EURUSD", "XAUUSD"])
        assert isinstance(read, Done)
        assert set(read.value) == {"EURUSD"}
        assert scene.link.count("symbols_get") == searches


async def test_a_search_that_fails_leaves_the_other_symbols_alone() -> None:
    scene = await scripted({**RENAMED, "symbols_get": [{"value": False, "error": (-2, "Invalid arguments")}]})
    read = await scene.gateway.specs(["EURUSD", "XAUUSD"])
    assert isinstance(read, Done)
    assert set(read.value) == {"EURUSD"}


async def test_symbols_that_are_there_are_never_searched_for() -> None:
    scene = await scripted(RENAMED)
    await scene.gateway.specs(["EURUSD"])
    assert scene.link.count("symbols_get") == 0


@pytest.mark.parametrize(("took_s", "found"), [(12.0, {"EURUSD", "XAUUSD"}), (21.0, {"EURUSD"})])
async def test_a_list_of_thousands_of_symbols_may_take_longer_than_another_read(took_s: float, found: set[str]) -> None:
    scene = await scripted(RENAMED)
    scene.link._backend.took = lambda: took_s if scene.link.calls[-1].name == "symbols_get" else 0.0
    read = await scene.gateway.specs(["EURUSD", "XAUUSD"])
    assert isinstance(read, Done)
    assert set(read.value) == found
