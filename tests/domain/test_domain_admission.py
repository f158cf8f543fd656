from __future__ import annotations

from dataclasses import replace

import pytest
from domain_values import T0, deal, position
from hypothesis import given
from hypothesis import strategies as st

from dtms_service.domain.admission import Registration, admit, check, new_trade
from dtms_service.domain.errors import RegistrationConflict
from dtms_service.domain.reconcile import same_symbol
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import Owner
from dtms_service.domain.values import DealEntry, DealReason, Side

ACCOUNT = (5, "Demo")
NUMBERS = st.none() | st.floats(allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("XAUUSD", "XAUUSD"),
        ("XAUUSD", "XAUUSDc"),
        ("XAUUSDc", "xauusd"),
        ("XAUUSDCc", "XAUUSD"),  # contract.md: one caller upper-cases first and appends again
        ("XAUUSD", "XAUUSD.raw"),
        ("EURUSD", "EURUSD_i"),
        ("US30", "US30.cash"),
    ],
)
def test_one_symbol_under_two_brokers_names_is_the_same(a, b):
    assert same_symbol(a, b)
    assert same_symbol(b, a)


@pytest.mark.parametrize(("a", "b"), [("EURUSD", "GBPUSD"), ("XAUUSD", "XAGUSD"), ("EURUSD", "EURJPY"), ("", "EURUSD")])
def test_two_symbols_are_not_the_same(a, b):
    assert not same_symbol(a, b)
    assert not same_symbol(b, a)


@given(entry=NUMBERS, volume=NUMBERS, stop=NUMBERS, target=NUMBERS, owner=st.none() | st.sampled_from(Owner))
def test_levels_volume_and_owner_never_conflict(entry, volume, stop, target, owner):
    registration = Registration(
        ticket=1001,
        symbol="EURUSDc",
        side=Side.BUY,
        entry_price=entry,
        volume=volume,
        stop_loss=stop,
        take_profit=target,
        managed_by=owner,
        strategy_type="order_block",
    )
    check(registration, "EURUSD", Side.BUY)


@pytest.mark.parametrize(
    ("claim", "word"), [({"side": Side.SELL}, "side SELL"), ({"symbol": "GBPUSD"}, "symbol GBPUSD")]
)
def test_a_wrong_side_or_symbol_conflicts_and_names_both_values(claim, word):
    with pytest.raises(RegistrationConflict, match=word) as caught:
        check(Registration(ticket=1001, **claim), "EURUSD", Side.BUY)
    assert caught.value.facts["terminal"] == {"symbol": "EURUSD", "side": "BUY"}
    assert "SELL" in str(caught.value.facts["claimed"]) or "GBPUSD" in str(caught.value.facts["claimed"])


def test_what_nobody_knows_yet_cannot_conflict():
    check(Registration(ticket=1001), "EURUSD", Side.BUY)
    check(Registration(ticket=1001, symbol="EURUSD", side=Side.SELL), "", None)


def test_the_ticket_alone_is_enough_and_makes_a_pending_trade():
    made = new_trade(Registration(ticket=1001), 7, Owner.DTMS, None, T0)
    assert (made.trade_id, made.ticket, made.state, made.side, made.claims) == (7, 1001, TradeState.PENDING, None, {})
    assert made.verified_at is None


def test_the_terminals_values_replace_the_callers_and_the_claims_are_kept():
    claimed = Registration(ticket=1001, symbol="EURUSDc", side=Side.BUY, entry_price=1.2, volume=3.0, stop_loss=1.15)
    pending = new_trade(claimed, 7, Owner.DTMS, ACCOUNT, T0)
    seen = position(volume=0.5, price_open=1.1, stop_loss=1.095, take_profit=1.12)
    trade = admit(pending, seen, None, ACCOUNT, T0).trade
    assert (trade.symbol, trade.volume, trade.initial_volume, trade.entry_price) == ("EURUSD", 0.5, 0.5, 1.1)
    assert (trade.stop_loss, trade.take_profit, trade.initial_stop_loss) == (1.095, 1.12, 1.095)
    assert (trade.state, trade.verified_at, trade.opened_at) == (TradeState.HEALTHY, T0, T0)
    assert trade.claims["stop_loss"] == 1.15


def test_a_position_without_a_stop_is_admitted_flagged_and_alerted():
    pending = new_trade(Registration(ticket=1001), 7, Owner.DTMS, ACCOUNT, T0)
    admitted = admit(pending, position(), None, ACCOUNT, T0)
    assert "unprotected_if_down" in admitted.trade.flags
    assert [e.body["code"] for e in admitted.events if e.kind == "alert"] == ["unprotected_if_down"]


def test_a_ticket_that_the_terminal_does_not_show_stays_pending():
    pending = new_trade(Registration(ticket=1001), 7, Owner.DTMS, ACCOUNT, T0)
    for deals in (None, [], [deal(1, DealEntry.IN)]):
        admitted = admit(pending, None, deals, ACCOUNT, T0)
        assert admitted.trade.state is TradeState.PENDING
        assert [e.kind for e in admitted.events] == ["registered"]


def test_a_ticket_whose_deals_show_it_closed_is_admitted_as_closed():
    pending = new_trade(Registration(ticket=1001), 7, Owner.DTMS, ACCOUNT, T0)
    deals = [
        deal(1, DealEntry.IN, 0.5, symbol="EURUSD", price=1.1),
        deal(2, DealEntry.OUT, 0.5, reason=DealReason.STOP_LOSS, price=1.095),
    ]
    trade = admit(pending, None, deals, ACCOUNT, T0 + 100).trade
    assert (trade.state, trade.closed_reason, trade.closed_at) == (TradeState.CLOSED, "STOP_LOSS", T0 + 2)
    assert (trade.identifier, trade.side, trade.initial_volume, trade.volume) == (1001, Side.BUY, 0.5, 0.0)


@pytest.mark.parametrize(
    ("claim", "contradicted"),
    [
        ({"side": Side.BUY, "symbol": "EURUSD"}, False),
        ({"side": Side.BUY, "symbol": "EURUSDc"}, False),
        ({}, False),
        ({"side": Side.SELL}, True),
        ({"symbol": "GBPUSD"}, True),
    ],
)
def test_a_pending_claim_that_the_terminal_later_contradicts_raises_an_alert_and_the_terminal_wins(claim, contradicted):
    pending = new_trade(Registration(ticket=1001, **claim), 7, Owner.DTMS, ACCOUNT, T0)
    admitted = admit(pending, replace(position(), stop_loss=1.09), None, ACCOUNT, T0)
    assert (admitted.trade.side, admitted.trade.symbol) == (Side.BUY, "EURUSD")
    codes = [e.body["code"] for e in admitted.events if e.kind == "alert"]
    assert codes == (["claim_contradicted"] if contradicted else [])
