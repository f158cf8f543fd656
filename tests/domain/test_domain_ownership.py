from __future__ import annotations

import pytest
from domain_values import trade

from dtms_service.domain import ownership
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import Frozen, Mode, Owner

STRATEGIES = ("breakout_bos", "trend_continuation_bos", "mean_reversion_vwap_fade", "micro_scalp")


@pytest.mark.parametrize(
    ("spelling", "owner"),
    [
        ("", Owner.DTMS),
        ("dtms", Owner.DTMS),
        ("dtms_manager", Owner.DTMS),
        ("universal_manager", Owner.UNIVERSAL_MANAGER),
        ("universal_sl_tp_manager", Owner.UNIVERSAL_MANAGER),
        ("intelligent_exits", Owner.INTELLIGENT_EXITS),
        ("intelligent_exit_manager", Owner.INTELLIGENT_EXITS),
        ("legacy_exit_manager", Owner.INTELLIGENT_EXITS),
        ("manual", Owner.MANUAL),
    ],
)
def test_both_spellings_of_an_owner_are_accepted(spelling, owner):
    assert ownership.OWNER_NAMES[spelling] is owner


def test_every_owner_has_an_old_name_that_reads_back_as_itself():
    assert {ownership.OWNER_NAMES[ownership.OLD_NAMES[owner]] for owner in Owner} == set(Owner)
    assert all(ownership.OWNER_NAMES[ownership.OLD_NAMES[owner]] is owner for owner in Owner)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_four_strategies_that_the_universal_manager_refuses_are_protected_by_dtms(strategy):
    assert ownership.owner_of(None, strategy, ownership.DTMS_STRATEGIES) is Owner.DTMS


@pytest.mark.parametrize("strategy", ["order_block", "liquidity_sweep", "anything_new"])
def test_any_other_strategy_belongs_to_the_universal_manager(strategy):
    assert ownership.owner_of(None, strategy, ownership.DTMS_STRATEGIES) is Owner.UNIVERSAL_MANAGER


@pytest.mark.parametrize("strategy", [None, ""])
def test_a_trade_without_a_strategy_is_protected_by_dtms(strategy):
    assert ownership.owner_of(None, strategy, ownership.DTMS_STRATEGIES) is Owner.DTMS


@pytest.mark.parametrize("owner", Owner)
def test_an_owner_that_is_named_decides_whatever_the_strategy(owner):
    assert ownership.owner_of(owner, "order_block", ownership.DTMS_STRATEGIES) is owner
    assert ownership.owner_of(owner, "micro_scalp", ownership.DTMS_STRATEGIES) is owner


def test_protected_means_verified_open_ours_managed_and_in_protect_mode():
    assert ownership.protected(trade(), Mode.PROTECT, halted=False)


@pytest.mark.parametrize(
    "missing",
    [
        {"verified_at": None, "state": TradeState.PENDING},
        {"state": TradeState.CLOSED},
        {"state": TradeState.REJECTED},
        {"owner": Owner.UNIVERSAL_MANAGER},
        {"owner": Owner.INTELLIGENT_EXITS},
        {"owner": Owner.MANUAL},
        {"managed": False},
    ],
)
def test_a_trade_that_lacks_one_of_these_is_not_protected(missing):
    assert not ownership.protected(trade(**missing), Mode.PROTECT, halted=False)


def test_nothing_is_protected_in_observe_mode():
    assert not ownership.protected(trade(), Mode.OBSERVE, halted=False)


def test_dtms_acts_on_its_own_managed_trades_in_protect_mode_and_on_no_others():
    acting = [
        (owner, mode, managed)
        for owner in Owner
        for mode in Mode
        for managed in (True, False)
        if ownership.may_act(trade(owner=owner, managed=managed, frozen=Frozen.INTENT), mode)
    ]
    assert acting == [(Owner.DTMS, Mode.PROTECT, True)]


def test_a_halted_service_protects_nothing():
    assert not ownership.protected(trade(), Mode.PROTECT, halted=True)


DTMS, UM, EXITS, MANUAL = Owner.DTMS, Owner.UNIVERSAL_MANAGER, Owner.INTELLIGENT_EXITS, Owner.MANUAL

TABLE = [
    # owner, manager, calm, defended
    (DTMS, DTMS, True, True),
    (DTMS, UM, False, False),
    (DTMS, EXITS, True, False),
    (UM, DTMS, False, False),
    (UM, UM, True, False),
    (UM, EXITS, True, False),
    (EXITS, DTMS, False, False),
    (EXITS, UM, False, False),
    (EXITS, EXITS, True, False),
    (MANUAL, DTMS, False, False),
    (MANUAL, UM, False, False),
    (MANUAL, EXITS, False, False),
    *((owner, MANUAL, True, True) for owner in Owner),
]
"""contract.md 4, in words: who owns it may, the exits where nobody defends, a person always."""


@pytest.mark.parametrize(("owner", "manager", "calm", "defended"), TABLE)
def test_who_may_change_a_position(owner, manager, calm, defended):
    of = trade(owner=owner, stop_loss=1.095, entry_price=1.1)
    assert ownership.may_modify(of, manager, defensive=False)[0] is calm
    assert ownership.may_modify(of, manager, defensive=True)[0] is defended


def test_the_table_has_every_pair():
    assert sorted((o, m) for o, m, *_ in TABLE) == sorted((o, m) for o in Owner for m in Owner)
    assert all(set(row) == set(Owner) for row in ownership.MAY_MODIFY.values())


@pytest.mark.parametrize(("stop", "may"), [(1.0999, True), (1.1, False), (1.101, False)])
def test_the_exits_leave_a_trade_of_the_universal_manager_once_its_stop_is_at_breakeven(stop, may):
    of = trade(owner=UM, stop_loss=stop, entry_price=1.1)
    assert ownership.may_modify(of, EXITS, defensive=False)[0] is may


def test_nobody_changes_a_closed_position():
    over = trade(state=TradeState.CLOSED)
    assert [ownership.may_modify(over, manager, defensive=False)[0] for manager in Owner] == [False] * 4
