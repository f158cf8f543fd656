"""Quotes without bars, quotes from another hour: the first tick of a week is not judged by Friday's market."""

from __future__ import annotations

import pytest
from domain_values import market, owed, position, scene, trade

from dtms_service.domain.parameters import Parameters
from dtms_service.domain.plan import Instead, Send, Wait, plan
from dtms_service.domain.policy import tick_is_fresh
from dtms_service.domain.shelve import shelve
from dtms_service.domain.trade import Mode, ObligationKind, ObligationStatus

P = Parameters()
K = ObligationKind
NOW = 1_700_000_100.0
WEEKEND = 172_800.0


@pytest.mark.parametrize("kind", [K.TIGHTEN_STOP, K.PARTIAL_CLOSE, K.HEDGE])
def test_what_is_owed_over_a_closed_market_waits_for_its_first_closed_bar(kind):
    held = position(stop_loss=1.09)
    of = trade(held, obligations=(owed(kind),), risk=0.01)
    reopened = scene(held, 1.1, now=NOW + WEEKEND, view=market(NOW))
    assert plan(of, of.obligations[0], reopened, 1, P) == Wait("bars_are_old")
    after_a_bar = scene(held, 1.1, now=NOW + WEEKEND, view=market(NOW + WEEKEND))
    assert isinstance(plan(of, of.obligations[0], after_a_bar, 1, P), Send | Instead)


def test_breakeven_is_a_matter_of_prices_and_needs_no_new_bar():
    held = position(stop_loss=1.09)
    of = trade(held, obligations=(owed(K.BREAKEVEN),), risk=0.01)
    reopened = scene(held, 1.12, now=NOW + WEEKEND, view=market(NOW))
    assert isinstance(plan(of, of.obligations[0], reopened, 1, P), Send)


def test_a_quote_from_the_future_is_no_quote_to_act_on():
    held = position(stop_loss=1.09)
    assert tick_is_fresh(scene(held, 1.1, tick_age=-60.0), P)
    assert not tick_is_fresh(scene(held, 1.1, tick_age=-3600.0), P)


def test_an_easing_market_owes_no_second_stop_for_a_breakeven_that_waits():
    """The breakeven of episode 2 was replaced by a stop then; episode 3 began because the market got better."""
    held = position(stop_loss=1.09)
    waits = owed(K.BREAKEVEN, episode=2)
    had = owed(K.TIGHTEN_STOP, episode=2, status=ObligationStatus.DONE)
    of = trade(held, obligations=(waits, had), episode=3, risk=0.01)
    answer = Instead("breakeven_out_of_reach", hard=False, keep=True, flag="be_pending")
    assert [o.kind for o in shelve(of, waits, answer, NOW, Mode.PROTECT, P).trade.obligations] == [waits.kind, had.kind]
