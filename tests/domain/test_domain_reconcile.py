from __future__ import annotations

from dataclasses import replace

import pytest
from domain_values import T0, P, deal, owed, position, trade
from hypothesis import given
from hypothesis import strategies as st

from dtms_service.domain import magic
from dtms_service.domain.reconcile import (
    LAG_S,
    Reconciled,
    absent,
    all_closed,
    believed,
    close_reason,
    closed,
    pending,
    present,
)
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import Frozen, ObligationKind, ObligationStatus, Trade
from dtms_service.domain.values import DealEntry, DealReason, Position, Side

K, S = ObligationKind, ObligationStatus
NOW = T0 + 1000
HELD = position(stop_loss=1.095, take_profit=1.12)
IN, OUT = deal(1, DealEntry.IN), deal(2, DealEntry.OUT, reason=DealReason.STOP_LOSS)
TICK = 0.00001


def met(before: Trade, shown: Position, now: float = NOW) -> Reconciled:
    return present(before, shown, now, TICK)


def alerts(seen: Reconciled) -> list[str]:
    return [event.body["code"] for event in seen.events if event.kind == "alert"]


def changes(seen: Reconciled) -> list[str]:
    return [event.body["what"] for event in seen.events if event.kind == "external_change"]


class TestAReadThatLagsBehindOurOrder:
    @pytest.mark.parametrize(
        ("side", "ours", "shown", "taken"),
        [
            (Side.BUY, 1.095, 1.090, 1.095),
            (Side.BUY, 1.095, None, 1.095),
            (Side.BUY, 1.095, 1.096, 1.096),
            (Side.SELL, 1.105, 1.110, 1.105),
            (Side.SELL, 1.105, None, 1.105),
            (Side.SELL, 1.105, 1.104, 1.104),
        ],
    )
    def test_a_looser_stop_than_the_confirmed_one_is_not_taken_for_true_and_a_tighter_one_is(
        self, side, ours, shown, taken
    ):
        held = position(side=side, stop_loss=ours)
        before = trade(held, stop_set_by=5, confirmed_at=NOW - 5)
        assert believed(before, replace(held, stop_loss=shown), NOW) == replace(held, stop_loss=taken)

    @pytest.mark.parametrize(("shown", "taken"), [(0.2, 0.1), (0.1, 0.1), (0.05, 0.05)])
    def test_more_volume_than_was_left_is_not_taken_for_true_and_less_is(self, shown, taken):
        held = position(volume=0.1)
        before = trade(held, confirmed_at=NOW - 5)
        assert believed(before, replace(held, volume=shown), NOW) == replace(held, volume=taken)

    @pytest.mark.parametrize(
        "what",
        [
            {"confirmed_at": None},
            {"confirmed_at": NOW - LAG_S},
            {"confirmed_at": NOW + 60},
            {"confirmed_at": NOW - 5, "stop_set_by": None},
        ],
        ids=["no order of ours", "long ago", "in the future", "a stop of others"],
    )
    def test_otherwise_what_is_shown_is_true(self, what):
        shown = replace(HELD, stop_loss=1.09)
        assert believed(trade(HELD, **{"stop_set_by": 5, **what}), shown, NOW) is shown

    def test_the_other_side_is_another_position(self):
        shown = replace(HELD, side=Side.SELL, stop_loss=None, volume=9.0)
        assert believed(trade(HELD, stop_set_by=5, confirmed_at=NOW - 5), shown, NOW) is shown

    def test_a_position_that_we_closed_whole_and_that_is_still_there_is_shown_as_it_is(self):
        shown = replace(HELD, volume=0.1)
        assert believed(trade(HELD, volume=0.0, confirmed_at=NOW - 5), shown, NOW) is shown


class TestPresent:
    def test_nothing_new_is_the_same_trade_and_no_event(self):
        before = trade(HELD)
        assert met(before, HELD) == Reconciled(before)
        assert met(before, replace(HELD, profit=-55.0, price_current=1.09)).trade is before

    def test_noise_below_half_a_tick_is_nothing_new(self):
        before = trade(HELD)
        seen = met(before, replace(HELD, stop_loss=1.095000004, take_profit=1.119999996))
        assert (seen.trade, seen.events) == (before, ())

    @pytest.mark.parametrize(
        ("side", "before", "after", "alert"),
        [
            (Side.BUY, 1.095, 1.096, []),
            (Side.BUY, 1.095, 1.094, ["stop_loosened"]),
            (Side.SELL, 1.105, 1.104, []),
            (Side.SELL, 1.105, 1.106, ["stop_loosened"]),
            (Side.BUY, 1.095, None, ["stop_removed"]),
            (Side.BUY, None, 1.095, []),
        ],
    )
    def test_a_stop_moved_by_others_is_adopted_and_alerted_unless_it_is_tighter(self, side, before, after, alert):
        held = position(side=side, stop_loss=before)
        seen = met(trade(held, stop_set_by=5), replace(held, stop_loss=after))
        assert (seen.trade.stop_loss, seen.trade.stop_set_by) == (after, None)
        assert (changes(seen), alerts(seen)) == (["stop_loss"], alert)
        assert ("unprotected_if_down" in seen.trade.flags) is (after is None)

    def test_a_target_moved_by_others_is_adopted_without_an_alert(self):
        seen = met(trade(HELD), replace(HELD, take_profit=None))
        assert (seen.trade.take_profit, changes(seen), alerts(seen)) == (None, ["take_profit"], [])

    def test_a_part_closed_by_hand_is_adopted_and_is_not_ours(self):
        seen = met(trade(HELD), replace(HELD, volume=0.4))
        assert (seen.trade.volume, seen.trade.initial_volume, seen.trade.closed_by_us) == (0.4, 1.0, 0.0)
        assert (changes(seen), alerts(seen)) == (["volume"], [])

    def test_volume_that_others_add_is_adopted_flagged_and_alerted_and_r_and_v0_stay(self):
        before = trade(HELD, risk=0.005)
        seen = met(before, replace(HELD, volume=3.0, price_open=1.105))
        after = seen.trade
        assert (after.volume, after.entry_price, after.initial_volume, after.risk) == (3.0, 1.105, 1.0, 0.005)
        assert "shared_net_position" in after.flags
        assert alerts(seen) == ["shared_net_position"]

    def test_a_new_ticket_of_the_same_position_is_remembered(self):
        once = met(trade(HELD), replace(HELD, ticket=2002)).trade
        twice = met(once, replace(HELD, ticket=3003)).trade
        assert (twice.ticket, twice.identifier, twice.former_tickets) == (3003, 1001, (1001, 2002))

    def test_a_position_turned_round_by_a_netting_account_closes_the_trade(self):
        before = trade(HELD, state=TradeState.WARNING_L2, obligations=(owed(K.PARTIAL_CLOSE),))
        turned = replace(HELD, side=Side.SELL, volume=0.5, stop_loss=None)
        seen = met(before, turned)
        assert (seen.trade.state, seen.trade.closed_reason) == (TradeState.CLOSED, "REVERSED")
        assert [o.status for o in seen.trade.obligations] == [S.SUPERSEDED]
        assert alerts(seen) == ["position_reversed"]
        again = met(seen.trade, turned)
        assert (again.trade, again.events) == (seen.trade, ())

    def test_a_repeated_look_says_nothing_new(self):
        shown = replace(HELD, ticket=2002, volume=0.5, stop_loss=None, take_profit=None)
        once = met(trade(HELD), shown)
        assert len(once.events) == 5
        assert met(once.trade, shown) == Reconciled(once.trade)


class TestAbsent:
    """R6 and C-17."""

    def test_a_failed_read_of_the_deals_closes_nothing(self):
        seen = absent(trade(HELD), None, NOW, P)
        assert (seen.trade.state, seen.trade.frozen) == (TradeState.HEALTHY, Frozen.VERIFY)
        assert (seen.trade.missing_since, seen.trade.missing_reads) == (NOW, 0)
        assert alerts(seen) == ["position_missing"]

    def test_a_closing_deal_closes_at_once_at_the_deals_time(self):
        seen = absent(trade(HELD), [IN, OUT], NOW, P)
        assert (seen.trade.state, seen.trade.closed_reason) == (TradeState.CLOSED, "STOP_LOSS")
        assert (seen.trade.closed_at, seen.trade.volume, seen.trade.state_since) == (OUT.time, 0.0, NOW)

    @pytest.mark.parametrize("deals", [[], [IN], [IN, deal(2, DealEntry.OUT, 0.4)]])
    def test_deals_that_do_not_close_all_of_it_prove_nothing(self, deals):
        assert absent(trade(HELD), deals, NOW, P).trade.state is TradeState.HEALTHY

    def test_ten_minutes_and_five_good_reads_close_without_proof(self):
        seen = trade(HELD)
        states = []
        for n in range(5):
            seen = absent(seen, [IN], NOW + 150 * n, P).trade
            states.append(seen.state)
        assert states == [TradeState.HEALTHY] * 4 + [TradeState.CLOSED]
        assert seen.closed_reason == "UNVERIFIED"

    @pytest.mark.parametrize(("reads", "until"), [(4, 600.0), (50, 599.0)])
    def test_fewer_reads_or_less_time_do_not(self, reads, until):
        seen = trade(HELD)
        for n in range(reads):
            seen = absent(seen, [IN], NOW + until * n / (reads - 1), P).trade
        for n in range(100):  # reads that fail count for nothing
            seen = absent(seen, None, NOW + until + n / 1000, P).trade
        assert (seen.state, seen.missing_reads) == (TradeState.HEALTHY, reads)

    def test_closing_without_proof_is_alerted(self):
        gone = trade(HELD, missing_since=NOW - 600, missing_reads=4, frozen=Frozen.VERIFY)
        assert alerts(absent(gone, [], NOW, P)) == ["closed_unverified"]

    def test_a_position_that_comes_back_goes_on_where_it_was(self):
        gone = absent(trade(HELD, state=TradeState.WARNING_L2), [IN], NOW, P).trade
        seen = met(gone, HELD, NOW + 30)
        assert (seen.trade.state, seen.trade.frozen) == (TradeState.WARNING_L2, None)
        assert (seen.trade.missing_since, seen.trade.missing_reads) == (None, 0)
        assert [e.kind for e in seen.events] == ["position_seen_again"]

    def test_a_position_that_comes_back_is_still_frozen_by_an_order_without_an_answer(self):
        sent = trade(HELD, frozen=Frozen.INTENT, obligations=(owed(K.PARTIAL_CLOSE, status=S.SENT, target=0.5),))
        gone = absent(sent, [IN], NOW, P).trade
        assert gone.frozen is Frozen.VERIFY
        assert met(gone, HELD, NOW + 30).trade.frozen is Frozen.INTENT

    def test_a_trade_closed_without_proof_opens_again_when_its_position_is_seen(self):
        old = trade(HELD, missing_since=NOW - 600, missing_reads=9, episode=4, obligations=(owed(K.BREAKEVEN),))
        gone = absent(old, [], NOW, P).trade
        seen = met(gone, HELD, NOW + 30)
        assert (seen.trade.state, seen.trade.closed_at, seen.trade.closed_reason) == (TradeState.HEALTHY, None, None)
        assert (seen.trade.volume, seen.trade.episode) == (1.0, 6), "closing and opening again are two transitions"
        assert alerts(seen) == ["seen_open_again"]
        assert not any(o.status.live for o in seen.trade.obligations)

    def test_a_second_absence_is_counted_from_its_own_start(self):
        old = trade(HELD, missing_since=NOW - 600, missing_reads=9)
        again = met(absent(old, [], NOW, P).trade, HELD, NOW + 30).trade
        gone = absent(again, [], NOW + 60, P).trade
        assert gone.missing_reads == 1
        assert absent(gone, [], NOW + 660, P).trade.state is TradeState.HEALTHY  # two good reads are not five

    @given(
        reads=st.lists(
            st.tuples(st.floats(0, 300), st.sampled_from([None, (), (IN,), (IN, deal(2, DealEntry.OUT, 0.4))])),
            max_size=30,
        )
    )
    def test_no_sequence_of_reads_closes_a_trade_before_time_and_reads_agree(self, reads):
        seen, now, first, good = trade(HELD), NOW, None, 0
        for pause, deals in reads:
            now += pause
            seen = absent(seen, deals, now, P).trade
            first = now if first is None else first
            good += deals is not None
            assert (seen.state is TradeState.CLOSED) is (now - first >= 600 and good >= 5)
            if seen.state is TradeState.CLOSED:
                return


class TestClosed:
    def test_the_record_holds_the_last_deal_and_the_money_of_all(self):
        deals = [
            replace(IN, commission=-3.0),
            deal(2, DealEntry.OUT, 0.4, profit=100.0, swap=-1.5),
            deal(3, DealEntry.OUT, 0.6, profit=-20.0, reason=DealReason.STOP_LOSS, price=1.0985),
        ]
        seen = closed(trade(HELD, stop_set_by=magic.make(17, 9)), deals, NOW)
        body = seen.events[0].body
        assert (body["deal"], body["price"], body["profit"]) == (3, 1.0985, 75.5)
        assert body["stop_set_by"] == magic.make(17, 9)

    @pytest.mark.parametrize(
        ("facts", "reason"),
        [
            ({"reason": DealReason.STOP_LOSS}, "STOP_LOSS"),
            ({"reason": DealReason.TAKE_PROFIT}, "TAKE_PROFIT"),
            ({"reason": DealReason.STOP_OUT}, "STOP_OUT"),
            ({"reason": DealReason.CLIENT}, "HAND"),
            ({"reason": DealReason.MOBILE}, "HAND"),
            ({"reason": DealReason.WEB}, "HAND"),
            ({"reason": DealReason.EXPERT}, "OTHER_PROGRAM"),
            ({"reason": DealReason.OTHER}, "OTHER_PROGRAM"),
            ({"reason": DealReason.EXPERT, "magic": magic.make(17, 9)}, "DTMS"),
            ({"reason": DealReason.CLIENT, "entry": DealEntry.INOUT}, "REVERSED"),
        ],
    )
    def test_the_closing_deal_names_who_did_it(self, facts, reason):
        assert close_reason(replace(OUT, **facts)) == reason

    @pytest.mark.parametrize(
        ("deals", "done"),
        [
            ([IN, OUT], True),
            ([IN, deal(2, DealEntry.OUT_BY)], True),
            ([IN, deal(2, DealEntry.INOUT, 1.5)], True),
            ([IN, deal(2, DealEntry.OUT, 0.1), deal(3, DealEntry.OUT, 0.2), deal(4, DealEntry.OUT, 0.7)], True),
            ([IN, deal(2, DealEntry.OUT, 0.1)], False),
            ([OUT], False),
            ([], False),
        ],
    )
    def test_a_position_is_closed_when_what_went_in_came_out(self, deals, done):
        assert all_closed(deals) is done

    def test_a_closed_trade_is_owed_nothing_and_keeps_what_was_done(self):
        kept = (owed(K.TIGHTEN_STOP, status=S.DONE), owed(K.BREAKEVEN), owed(K.PARTIAL_CLOSE, status=S.SENT))
        after = closed(trade(HELD, frozen=Frozen.INTENT, obligations=kept), [IN, OUT], NOW).trade
        assert [o.status for o in after.obligations] == [S.DONE, S.SUPERSEDED, S.SUPERSEDED]
        assert after.frozen is None


class TestPending:
    """R27."""

    WAITING = trade(HELD, state=TradeState.PENDING, verified_at=None, identifier=None)

    @pytest.mark.parametrize(("working", "connected_s"), [(True, 99_999.0), (False, 0.0), (False, 59.9)])
    def test_it_waits_for_a_working_order_and_for_a_connected_minute(self, working, connected_s):
        assert pending(self.WAITING, working, connected_s, NOW, P) == Reconciled(self.WAITING)

    def test_then_it_is_rejected_with_an_alert(self):
        seen = pending(self.WAITING, False, 60.0, NOW, P)
        assert (seen.trade.state, seen.trade.closed_at) == (TradeState.REJECTED, NOW)
        assert alerts(seen) == ["never_appeared"]
