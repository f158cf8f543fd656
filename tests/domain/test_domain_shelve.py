from __future__ import annotations

from dataclasses import replace

import pytest
from domain_values import EURUSD, T0, P, market, owed, position, scene, trade

from dtms_service.domain.orders import ClosePosition, ModifyStops
from dtms_service.domain.plan import Instead, Plan, Refuse, Satisfied, Send, Wait, plan
from dtms_service.domain.policy import decide
from dtms_service.domain.shelve import Shelved, observed, shelve
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import Mode, Obligation, ObligationKind, ObligationStatus, Trade
from dtms_service.domain.values import Side

K, S = ObligationKind, ObligationStatus
NOW = T0 + 3605.0
HARD = Instead("too_small_for_a_partial_close", hard=True)
LATER = Instead("breakeven_out_of_reach", hard=False, keep=True, flag="be_pending")


def shelved(of: Trade, answer: Plan, index: int = 0) -> Shelved:
    return shelve(of, of.obligations[index], answer, NOW, Mode.PROTECT, P)


def owing(*obligations: Obligation, **changes: object) -> Trade:
    return trade(state=TradeState.WARNING_L2, obligations=obligations, **changes)


def told(seen: Shelved) -> list[str]:
    return [event.kind for event in seen.events]


def test_a_satisfied_obligation_ends_and_is_recorded():
    seen = shelved(owing(owed(K.BREAKEVEN), flags=frozenset({"be_pending"})), Satisfied("stop_is_at_breakeven"))
    assert [o.status for o in seen.trade.obligations] == [S.SATISFIED]
    assert (told(seen), seen.trade.flags) == (["satisfied"], frozenset())


def test_a_waiting_obligation_stays_due_says_why_and_is_quiet_the_second_time():
    once = shelved(owing(owed(K.TIGHTEN_STOP)), Wait("spread_too_wide"))
    assert [(o.status, o.waiting) for o in once.trade.obligations] == [(S.DUE, "spread_too_wide")]
    assert once.events == ()
    again = shelved(once.trade, Wait("spread_too_wide"))
    assert (again.trade, again.events) == (once.trade, ())


def test_a_refused_obligation_ends_loudly():
    seen = shelved(owing(owed(K.CLOSE_ALL)), Refuse("hedging_not_available_yet"))
    assert [o.status for o in seen.trade.obligations] == [S.REFUSED]
    assert told(seen) == ["action", "alert"]  # C-25


def test_what_is_impossible_is_replaced_by_a_hard_tightening_in_the_same_episode():
    seen = shelved(owing(owed(K.PARTIAL_CLOSE, episode=2), episode=2), HARD)
    partial, stop = seen.trade.obligations
    assert partial.status is S.REFUSED
    assert (stop.kind, stop.status, stop.episode, stop.r_multiple) == (K.TIGHTEN_STOP, S.DUE, 2, 0.15)
    assert told(seen) == ["action", "alert"]


def test_breakeven_out_of_reach_stays_owed_behind_one_tightening():
    seen = shelved(owing(owed(K.BREAKEVEN)), LATER)
    assert [(o.kind, o.status) for o in seen.trade.obligations] == [(K.BREAKEVEN, S.DUE), (K.TIGHTEN_STOP, S.DUE)]
    assert seen.trade.flags == {"be_pending"}
    again = shelved(seen.trade, LATER)
    assert (again.trade, again.events) == (seen.trade, ())


@pytest.mark.parametrize("status", [S.DUE, S.SENT, S.DONE, S.SATISFIED, S.REFUSED])
@pytest.mark.parametrize("multiple", [0.3, 0.15])
def test_a_stop_this_episode_owes_or_had_is_not_owed_twice(status, multiple):
    seen = shelved(owing(owed(K.BREAKEVEN), owed(K.TIGHTEN_STOP, status=status, r_multiple=multiple)), LATER)
    assert len(seen.trade.obligations) == 2


def test_a_stop_still_owed_from_the_episode_before_is_enough():
    of = owing(owed(K.BREAKEVEN, episode=2), owed(K.TIGHTEN_STOP, episode=1), episode=2)
    assert len(shelved(of, LATER).trade.obligations) == 2


def test_a_stop_done_in_the_episode_before_is_not():
    of = owing(owed(K.BREAKEVEN, episode=2), owed(K.TIGHTEN_STOP, episode=1, status=S.DONE), episode=2)
    assert len(shelved(of, LATER).trade.obligations) == 3


def test_a_soft_stop_does_not_stand_in_for_a_hard_one():
    of = owing(owed(K.PARTIAL_CLOSE), owed(K.TIGHTEN_STOP, status=S.DONE))
    assert [o.r_multiple for o in shelved(of, HARD).trade.obligations] == [None, 0.3, 0.15]


def test_a_hedge_that_cannot_be_opened_marks_the_trade():
    answer = Instead("hedge_not_available_yet", hard=True, flag="hedge_unavailable")
    assert "hedge_unavailable" in shelved(owing(owed(K.HEDGE)), answer).trade.flags


@pytest.mark.parametrize(
    "order",
    [ModifyStops(1, "EURUSD", 1.0, None, 1, ""), ClosePosition(1, "EURUSD", Side.BUY, 0.1, 1, "")],
)
def test_an_order_is_never_shelved(order):
    with pytest.raises(ValueError, match="not shelved"):
        shelved(owing(owed(K.TIGHTEN_STOP)), Send(order, 1.0))


def test_every_answer_of_the_plan_but_an_order_can_be_shelved_and_repeating_it_is_quiet():
    small = position(volume=0.01)
    of = trade(small, obligations=tuple(owed(k) for k in K), risk=0.005)
    at = scene(small, 1.0999)
    for n, obligation in enumerate(of.obligations):
        answer = plan(of, obligation, at, 0, P)
        if not isinstance(answer, Send):
            done = shelved(of, answer, n).trade
            assert done.obligations[n].kind is obligation.kind


class TestObserved:
    """R47: in observe mode an obligation is recorded once, with what would have been asked of the broker."""

    def run(self, of: Trade, now: float, **seen: int):
        at = scene(position(stop_loss=1.09), 1.1, now=now, view=market(now, **seen), spec=EURUSD)
        after = decide(of, at, Mode.OBSERVE, P).trade
        return after, observed(of, after, at, now, P)

    def test_what_would_have_been_sent_is_told_once(self):
        held = position(stop_loss=1.09, take_profit=1.2)
        first, events = self.run(trade(held), NOW, structure=-1)
        # R = 0.01 from entry to stop, 0.3 R = 0.003 below 1.1.
        assert [e.body["requested"]["stop_loss"] for e in events] == [1.097]
        assert [e.body["outcome"] for e in events] == ["would_have"]
        _, again = self.run(first, NOW + 300, structure=-1)
        assert again == ()

    def test_the_second_warning_tells_of_the_part_and_of_breakeven(self):
        first, _ = self.run(trade(position(stop_loss=1.09)), NOW, structure=-1, vwap=-1)
        _, events = self.run(first, NOW + 300, structure=-1, vwap=-1)
        assert [(e.body["action_type"], e.body["requested"]) for e in events] == [
            ("partial_close", {"volume": 0.5}),
            ("move_stop_to_breakeven", {"plan": "instead", "reason": "breakeven_out_of_reach"}),
        ]

    def test_what_was_due_before_a_start_in_observe_mode_is_told_as_well(self):
        held = position(stop_loss=1.09)
        due = trade(held, risk=0.01, deep_m15=NOW, obligations=(owed(K.TIGHTEN_STOP),))
        after, events = self.run(replace(due, deep_m5=market(NOW).m5_time), NOW)
        assert [o.status for o in after.obligations] == [S.WOULD_HAVE]
        assert [e.body["outcome"] for e in events] == ["would_have"]
