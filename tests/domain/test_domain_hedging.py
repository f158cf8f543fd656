"""The hedge: when it is opened, in which style, how it ends, and that it never outlives what it covers (R4, R5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from domain_values import EURUSD, T0, P, deal, market, owed, position, scene, trade

from dtms_service.domain import effects, hedging, reconcile
from dtms_service.domain.broker_events import transition_event
from dtms_service.domain.evidence import done_volume, settle
from dtms_service.domain.orders import ClosePosition, Fill, OpenHedge, Order
from dtms_service.domain.outcome import Done, Outcome, Refused, Unknown
from dtms_service.domain.plan import Instead, Plan, Satisfied, Send, Wait, plan
from dtms_service.domain.policy import Scene, decide
from dtms_service.domain.shelve import shelve
from dtms_service.domain.sighting import Sighting
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import (
    Frozen,
    HedgeLink,
    Intent,
    IntentState,
    Mode,
    Obligation,
    ObligationKind,
    ObligationStatus,
    Trade,
)
from dtms_service.domain.values import Deal, DealEntry, DealReason, Position, Side, TradeMode

K, S, T = ObligationKind, ObligationStatus, TradeState
NOW = T0 + 3605.0
MAGIC = 445401700000123
HELD = position(stop_loss=1.095)
"""A BUY of one lot at 1.1; ATR 0.001, spread 0.0001."""
SOLD = position(side=Side.SELL, stop_loss=1.105)
COVER = position(
    ticket=2002, identifier=2002, side=Side.SELL, volume=0.5, price_open=1.0990, stop_loss=1.1005, magic=MAGIC
)
LINK = HedgeLink(ticket=2002, identifier=2002, side=Side.SELL, volume=0.5, price_open=1.0990, stop_loss=1.1005)


def warned(held: Position = HELD, **changes: Any) -> Trade:
    """In WARNING_L2, with a hedge owed."""
    return trade(
        held, **{"state": T.WARNING_L2, "risk": 0.005, "score": -7.0, "obligations": (owed(K.HEDGE),), **changes}
    )


def hedged(**changes: Any) -> Trade:
    values: dict[str, Any] = {
        "state": T.HEDGED,
        "hedge": LINK,
        "hedges": 1,
        "hedge_magics": (MAGIC,),
        "flat_left_s": 4500.0,
    }
    return trade(HELD, **{"risk": 0.005, "score": -7.0, "episode": 3, **values, **changes})


def planned(of: Trade, where: Scene, parameters: Any = P) -> Plan:
    return plan(of, of.obligations[-1], where, MAGIC, parameters)


def order(answer: Plan) -> Order:
    assert isinstance(answer, Send), answer
    return answer.order


def carried_out(of: Trade, answer: Plan, outcome: Outcome[Fill], now: float = NOW) -> tuple[Trade, Intent]:
    """What the engine does with an answer: commit, send, reply."""
    assert isinstance(answer, Send)
    going, _, intent = effects.sent(of, of.obligations[-1], answer.order, answer.target, now)
    intent = effects.replied(intent, outcome, now)
    volume = outcome.value.volume or None if isinstance(outcome, Done) else None
    return effects.settled(going, intent, volume, now, P), intent


def filled(volume: float, number: int = 2002) -> Done[Fill]:
    return Done(Fill(10009, number, 7, volume, 1.0990, "done", 5.0))


class TestOpening:
    def test_half_of_what_is_open_on_the_other_side_with_a_stop_one_and_a_half_atr_beyond_the_price(self) -> None:
        # 1.0990 + 1.5 * 0.001, rounded up for a SELL.
        wanted = OpenHedge(1001, "EURUSD", Side.SELL, 0.5, 1.1005, MAGIC, "DTHrt")
        assert order(planned(warned(), scene(HELD, 1.0990))) == wanted

    def test_of_a_sell_it_is_a_buy_with_its_stop_below(self) -> None:
        wanted = OpenHedge(1001, "EURUSD", Side.BUY, 0.5, 1.0995, MAGIC, "DTHrt")
        assert order(planned(warned(SOLD), scene(SOLD, 1.1010))) == wanted

    @pytest.mark.parametrize(("volume", "half"), [(0.03, 0.01), (0.05, 0.02), (0.02, 0.01)])
    def test_half_is_rounded_down_to_the_volume_step(self, volume: float, half: float) -> None:
        held = replace(HELD, volume=volume)
        assert order(planned(warned(held), scene(held, 1.0990))).volume == half  # type: ignore[union-attr]

    @pytest.mark.parametrize("price", [1.09599, 1.0955])
    def test_within_one_atr_of_its_stop_the_stop_is_the_hedge(self, price: float) -> None:
        assert planned(warned(), scene(HELD, price)) == Satisfied("stop_near")

    @pytest.mark.parametrize("style", ["auto", "reduce"])
    def test_while_a_late_one_is_open_and_being_closed_there_is_no_second_one(self, style: Any) -> None:
        # C-6: its order came through after the settle window, so the trade is not linked to it.
        late = replace(scene(HELD, 1.0990), own={2002: COVER})
        assert planned(warned(hedge_magics=(MAGIC,)), late, replace(P, hedge_style=style)) == Wait("other_hedge_closes")

    def test_one_atr_away_it_is_opened(self) -> None:
        assert isinstance(planned(warned(), scene(HELD, 1.09601)), Send)

    def test_without_a_stop_of_its_own_a_trade_is_hedged(self) -> None:
        bare = position()
        assert isinstance(planned(warned(bare), scene(bare, 1.0990)), Send)

    @pytest.mark.parametrize(
        "changes",
        [{"opposite": False}, {"margin_level": 1.49}],
        ids=["netting or FIFO", "little margin is left"],
    )
    def test_where_there_can_be_no_opposite_position_half_is_closed_instead(self, changes: dict[str, Any]) -> None:
        where = replace(scene(HELD, 1.0990), **changes)
        answer = planned(warned(), where)
        assert order(answer) == ClosePosition(1001, "EURUSD", Side.BUY, 0.5, MAGIC, "DTHrt")
        assert isinstance(answer, Send)
        assert answer.target == 0.5

    @pytest.mark.parametrize(
        ("mode", "opens"),
        [
            (TradeMode.FULL, True),
            (TradeMode.SHORT_ONLY, True),
            (TradeMode.LONG_ONLY, False),
            (TradeMode.CLOSE_ONLY, False),
        ],
    )
    def test_a_symbol_that_does_not_take_the_other_side_is_reduced(self, mode: TradeMode, opens: bool) -> None:
        where = scene(HELD, 1.0990, spec=replace(EURUSD, trade_mode=mode))
        assert isinstance(order(planned(warned(), where)), OpenHedge) is opens

    def test_a_style_that_insists_on_an_opposite_position_tightens_where_there_is_none(self) -> None:
        where = replace(scene(HELD, 1.0990), opposite=False)
        answer = planned(warned(), where, replace(P, hedge_style="opposite"))
        assert answer == Instead("no_opposite_position_here", hard=True, flag="hedge_unavailable")

    @pytest.mark.parametrize("opposite", [True, False])
    def test_half_of_the_least_volume_is_no_hedge_but_a_closer_stop(self, opposite: bool) -> None:
        held = replace(HELD, volume=0.01)
        where = replace(scene(held, 1.0990), opposite=opposite)
        assert planned(warned(held), where) == Instead("too_small_for_a_hedge", hard=True, flag="hedge_unavailable")

    def test_it_waits_five_minutes_for_a_wide_spread_to_pass(self) -> None:
        wide = scene(HELD, 1.0990, spread=0.0003)
        of = warned(obligations=(owed(K.HEDGE, created_at=NOW - 299),))
        assert planned(of, wide) == Wait("spread_too_wide")
        assert isinstance(planned(warned(obligations=(owed(K.HEDGE, created_at=NOW - 300),)), wide), Send)

    @pytest.mark.parametrize("retcode", [10019, 10034, 10040, 10042, 10043, 10044, 10046])
    def test_a_broker_that_refuses_a_second_position_for_good_gets_a_partial_close_at_once(self, retcode: int) -> None:
        of = warned()
        refused, _ = carried_out(of, planned(of, scene(HELD, 1.0990)), Refused("no", "no", retcode))
        (again,) = refused.obligations
        assert (refused.state, again.status, again.next_try_at) == (T.WARNING_L2, S.DUE, NOW)
        assert isinstance(order(planned(refused, scene(HELD, 1.0990))), ClosePosition)

    def test_any_other_refusal_is_tried_again_as_it_was(self) -> None:
        of = warned()
        refused, _ = carried_out(of, planned(of, scene(HELD, 1.0990)), Refused("no", "no", 10006))
        assert refused.obligations[0].next_try_at == NOW + 5
        assert isinstance(order(planned(refused, scene(HELD, 1.0990))), OpenHedge)


class TestFilled:
    def test_the_state_is_entered_with_the_fill_and_not_before(self) -> None:
        of = warned(obligations=(owed(K.PARTIAL_CLOSE), owed(K.HEDGE)))
        answer = planned(of, scene(HELD, 1.0990))
        waiting, _ = carried_out(of, answer, Unknown("timeout", "no reply"))
        assert (waiting.state, waiting.frozen) == (T.WARNING_L2, Frozen.INTENT)
        after, _ = carried_out(of, answer, filled(0.5))
        assert (after.state, after.previous_state, after.rule) == (T.HEDGED, T.WARNING_L2, "hedge_filled")
        assert (after.hedges, after.episode, after.state_since, after.flat_left_s) == (1, 1, NOW, 4500.0)
        assert after.hedge == replace(LINK, price_open=None)
        assert [o.status for o in after.obligations] == [S.SUPERSEDED, S.DONE]
        assert after.volume == 1.0, "the position itself is as it was"
        (event,) = transition_event(of, after, NOW)
        assert (event.body["from"], event.body["to"], event.body["rule"]) == ("WARNING_L2", "HEDGED", "hedge_filled")

    @pytest.mark.parametrize("state", [T.HEALTHY, T.WARNING_L1, T.RECOVERING])
    def test_a_fill_that_is_found_late_leads_there_from_any_open_state(self, state: TradeState) -> None:
        of = warned()
        answer = planned(of, scene(HELD, 1.0990))
        assert isinstance(answer, Send)
        going, _, intent = effects.sent(of, of.obligations[0], answer.order, answer.target, NOW)
        after = effects.settled(replace(going, state=state), effects.replied(intent, filled(0.5), NOW), 0.5, NOW, P)
        assert (after.state, after.flat_left_s, after.hedge is not None) == (T.HEDGED, 4500.0, True)

    def test_a_part_of_a_hedge_is_the_hedge(self) -> None:
        of = warned()
        after, intent = carried_out(of, planned(of, scene(HELD, 1.0990)), filled(0.2))
        assert (intent.state, after.state) == (IntentState.PARTIAL, T.HEDGED)
        assert after.hedge is not None
        assert after.hedge.volume == 0.2
        assert after.obligations[0].status is S.DONE

    def test_a_fill_without_a_number_waits_for_the_brokers_records(self) -> None:
        of = warned()
        after, intent = carried_out(of, planned(of, scene(HELD, 1.0990)), filled(0.5, number=0))
        assert (intent.state, after.frozen, after.hedge) == (IntentState.ACKED, Frozen.INTENT, None)

    def test_closing_half_instead_leads_to_the_same_state_without_a_hedge(self) -> None:
        of = warned()
        where = replace(scene(HELD, 1.0990), opposite=False)
        after, _ = carried_out(of, planned(of, where), filled(0.5))
        assert (after.state, after.hedge, after.volume, after.closed_by_us) == (T.HEDGED, None, 0.5, 0.5)
        assert (after.hedges, after.partials, after.rule) == (1, 0, "reduced")


class TestLostReply:
    def lost(self) -> tuple[Trade, Intent]:
        of = warned()
        return carried_out(of, planned(of, scene(HELD, 1.0990)), Unknown("timeout", "no reply"))

    def seen(self, **facts: Any) -> Sighting:
        return Sighting(**{"position": None, "orders": (), "deals": (), "connected_s": 30.0, "good_reads": 2, **facts})

    def found(self, sighting: Sighting) -> Trade:
        of, intent = self.lost()
        after = settle(intent, sighting, EURUSD, NOW + 30, P)
        assert not after.state.open
        return effects.settled(of, after, done_volume(after, sighting, EURUSD), NOW + 30, P)

    def test_a_position_with_our_magic_is_the_hedge(self) -> None:
        after = self.found(self.seen(position=COVER))
        assert (after.state, after.frozen) == (T.HEDGED, None)
        assert after.hedge == replace(LINK, price_open=None)

    def test_a_deal_with_our_magic_is_the_hedge_though_no_position_shows_it_yet(self) -> None:
        opened = deal(9, DealEntry.IN, 0.5, magic=MAGIC, position_id=2002, order=2002, side=Side.SELL)
        assert self.found(self.seen(deals=(deal(8, DealEntry.IN), opened))).hedge == replace(LINK, price_open=None)

    def test_a_hedge_that_was_opened_and_hit_its_stop_meanwhile_counts_once(self) -> None:
        opened = deal(9, DealEntry.IN, 0.5, magic=MAGIC, position_id=2002, order=2002, side=Side.SELL)
        stopped = deal(10, DealEntry.OUT, 0.5, magic=MAGIC, position_id=2002, reason=DealReason.STOP_LOSS)
        after = self.found(self.seen(deals=(opened, stopped)))
        assert after.hedge is not None
        assert after.hedge.volume == 0.5
        gone = hedging.absent(after, (opened, stopped), NOW + 30, P).trade
        assert (gone.state, gone.hedge, gone.hedges) == (T.WARNING_L2, None, 1)

    def nameless(self, number: int = 2002, volume: float = 0.5, **changes: Any) -> Position:
        """A position as the hedge, whose magic and comment a bridge lost; its stop went with the order (R4)."""
        stop = self.lost()[1].plan["stop_loss"]
        facts = {"magic": 0, "comment": "", "stop_loss": stop, "time": NOW + 1, "ticket": number, "identifier": number}
        return replace(COVER, **{**facts, "volume": volume, **changes})

    def of(self, *positions: Position, deals: Sequence[Deal] = (), waited: bool = False, **facts: Any) -> Intent:
        """The intent after a look at these positions, at once or after the settle window."""
        _, intent = self.lost()
        late = {"connected_s": 60.0, "good_reads": 3} if waited else {}
        shown = self.seen(deals=deals, open={p.identifier: p for p in positions}, **{**late, **facts})
        return settle(intent, shown, EURUSD, NOW + 60, P)

    def gone(self, number: int = 2002, volume: float = 0.5, **changes: Any) -> list[Deal]:
        """Deals of a nameless position that its stop has closed."""
        facts = {"magic": 0, "position_id": number, "order": number, "reason": DealReason.EXPERT, "time": NOW + 1}
        opened = deal(9, DealEntry.IN, volume, **{**facts, "side": Side.SELL, **changes})
        return [opened, replace(opened, ticket=10, entry=DealEntry.OUT, side=Side.BUY, reason=DealReason.STOP_LOSS)]

    @pytest.mark.parametrize("volume", [0.5, 0.2])
    def test_a_position_with_the_stop_of_the_order_is_the_hedge(self, volume: float) -> None:
        shown = self.nameless(volume=volume)
        after = self.found(self.seen(open={shown.identifier: shown}))
        assert after.hedge == replace(LINK, price_open=None, volume=volume)

    def test_a_position_with_the_comment_of_the_order_is_the_hedge_whatever_its_stop(self) -> None:
        comment = self.lost()[1].plan["comment"]
        assert self.of(self.nameless(comment=comment, stop_loss=None)).state is IntentState.CONFIRMED

    @pytest.mark.parametrize(
        "changes",
        [
            {"side": Side.BUY},
            {"symbol": "GBPUSD"},
            {"volume": 0.51},
            {"magic": 77},
            {"stop_loss": 1.2},
            {"time": NOW - 6},
            {"comment": "DTHzzz"},
        ],
        ids=lambda changes: next(iter(changes)),
    )
    def test_one_that_differs_is_somebody_elses(self, changes: dict[str, Any]) -> None:
        other = self.nameless(**changes)
        assert self.of(other).state is IntentState.UNKNOWN
        assert self.of(other, waited=True).state is IntentState.NOT_EXECUTED

    def test_one_that_a_trade_claims_is_not_the_hedge(self) -> None:
        claimed = frozenset({2002})
        assert self.of(self.nameless(), waited=True, claimed=claimed).state is IntentState.NOT_EXECUTED

    def test_of_two_with_its_stop_a_person_says_which_it_is(self) -> None:
        both = (self.nameless(), self.nameless(3003))
        assert self.of(*both).state is IntentState.UNKNOWN
        assert self.of(*both, waited=True).state is IntentState.MANUAL_REVIEW

    @pytest.mark.parametrize(
        ("changes", "state"),
        [
            ({}, IntentState.MANUAL_REVIEW),
            ({"volume": 0.2}, IntentState.NOT_EXECUTED),
            ({"time": NOW + 61}, IntentState.NOT_EXECUTED),
        ],
        ids=["as large", "smaller", "later"],
    )
    def test_one_without_any_stop_is_left_to_a_person(self, changes: dict[str, Any], state: IntentState) -> None:
        bare = self.nameless(**{"stop_loss": None, **changes})
        assert self.of(bare).state is IntentState.UNKNOWN
        assert self.of(bare, waited=True).state is state

    def test_one_that_a_stop_has_closed_was_the_hedge(self) -> None:
        assert self.of(deals=self.gone()).state is IntentState.UNKNOWN
        after = self.of(deals=self.gone(), waited=True)
        assert (after.state, after.order) == (IntentState.CONFIRMED, 2002)

    @pytest.mark.parametrize("changes", [{"volume": 0.2}, {"comment": "DTHzzz"}, {"magic": 77}], ids=str)
    def test_another_one_that_a_stop_has_closed_was_not(self, changes: dict[str, Any]) -> None:
        assert self.of(deals=self.gone(**changes), waited=True).state is IntentState.NOT_EXECUTED

    def test_one_that_somebody_closed_was_not(self) -> None:
        opened, closed = self.gone()
        by_hand = [opened, replace(closed, reason=DealReason.CLIENT)]
        assert self.of(deals=by_hand, waited=True).state is IntentState.NOT_EXECUTED

    def test_where_the_reply_named_the_order_nothing_else_is_the_hedge(self) -> None:
        of = warned()
        of, intent = carried_out(of, planned(of, scene(HELD, 1.0990)), Unknown("timeout", "no reply", order=700))
        shown = self.seen(open={2002: self.nameless()}, deals=self.gone(4004), connected_s=60.0, good_reads=3)
        assert settle(intent, shown, EURUSD, NOW + 60, P).state is IntentState.NOT_EXECUTED
        its_own = self.seen(open={700: self.nameless(700, comment="[by bridge]", stop_loss=None)})
        assert settle(intent, its_own, EURUSD, NOW + 5, P).state is IntentState.CONFIRMED

    def test_the_closing_of_the_position_itself_says_nothing_about_its_hedge(self) -> None:
        _, intent = self.lost()
        over = (deal(1, DealEntry.IN), deal(2, DealEntry.OUT))
        assert settle(intent, self.seen(deals=over), EURUSD, NOW + 30, P) is intent

    def test_after_the_settle_window_it_is_planned_anew_and_not_before_the_next_bar(self) -> None:
        of, intent = self.lost()
        after = settle(intent, self.seen(connected_s=60.0, good_reads=3), EURUSD, NOW + 60, P)
        assert after.state is IntentState.NOT_EXECUTED
        again = effects.settled(of, after, None, NOW + 60, P).obligations[0]
        assert (again.status, again.next_try_at) == (S.DUE, NOW + 360)


class TestEnding:
    def test_a_break_with_the_trade_closes_the_hedge_and_begins_the_recovery(self) -> None:
        of = hedged(obligations=(owed(K.CLOSE_HEDGE, episode=3),))
        answer = planned(of, replace(scene(HELD, 1.1010), own={2002: COVER}))
        assert order(answer) == ClosePosition(2002, "EURUSD", Side.SELL, 0.5, MAGIC, "DTCrt", whole=True)
        after, _ = carried_out(of, answer, filled(0.5, number=3003))
        assert (after.state, after.hedge, after.volume, after.closed_by_us) == (T.RECOVERING, None, 1.0, 0.0)
        assert (after.recovery_left_s, after.flat_left_s) == (1800.0, None)

    def test_a_part_of_it_is_not_the_end(self) -> None:
        of = hedged(obligations=(owed(K.CLOSE_HEDGE, episode=3),))
        after, _ = carried_out(
            of, planned(of, replace(scene(HELD, 1.1010), own={2002: COVER})), filled(0.2, number=3003)
        )
        assert after.hedge is not None
        assert (after.state, after.hedge.volume) == (T.HEDGED, 0.3)
        assert after.obligations[0].status is S.DUE

    def test_in_the_reduce_style_there_is_nothing_to_close(self) -> None:
        of = hedged(hedge=None, hedge_magics=(), obligations=(owed(K.CLOSE_HEDGE, episode=3),))
        answer = planned(of, scene(HELD, 1.1010))
        assert answer == Satisfied("no_hedge_is_open")
        shelved = shelve(of, of.obligations[0], answer, NOW, Mode.PROTECT, P)
        assert (shelved.trade.state, shelved.trade.recovery_left_s) == (T.RECOVERING, 1800.0)
        assert [event.kind for event in shelved.events] == ["satisfied", "transition"]

    def test_closing_everything_begins_with_the_hedge_so_that_the_net_side_never_turns(self) -> None:
        of = hedged(obligations=(owed(K.CLOSE_ALL, episode=3),))
        where = replace(scene(HELD, 1.0960), own={2002: COVER})
        first = planned(of, where)
        assert order(first).ticket == 2002
        between, _ = carried_out(of, first, filled(0.5, number=3003))
        assert (between.state, between.hedge, between.volume) == (T.HEDGED, None, 1.0)
        assert (between.obligations[0].status, between.obligations[0].next_try_at) == (S.DUE, NOW)
        second = planned(between, replace(where, own={}))
        assert order(second) == ClosePosition(1001, "EURUSD", Side.BUY, 1.0, MAGIC, "DTArt", whole=True)
        after, _ = carried_out(between, second, filled(1.0, number=3004))
        assert (after.volume, after.obligations[0].status) == (0.0, S.DONE)

    def test_the_position_is_closed_after_a_second_hedge_too(self) -> None:
        of = hedged(hedge=None, obligations=(owed(K.CLOSE_ALL, episode=3),))
        assert planned(of, replace(scene(HELD, 1.0960), own={2002: COVER})) == Wait("other_hedge_closes")

    def test_what_others_added_on_a_netting_account_stays(self) -> None:
        shared = replace(HELD, volume=1.5)
        of = hedged(hedge=None, volume=1.5, initial_volume=1.0, closed_by_us=0.25, obligations=(owed(K.CLOSE_ALL),))
        answer = planned(of, scene(shared, 1.0960))
        assert order(answer) == ClosePosition(1001, "EURUSD", Side.BUY, 0.75, MAGIC, "DTArt")

    def test_more_than_the_largest_volume_is_closed_in_pieces(self) -> None:
        spec = replace(EURUSD, volume_max=0.4)
        of = hedged(hedge=None, obligations=(owed(K.CLOSE_ALL),))
        first = planned(of, scene(HELD, 1.0960, spec=spec))
        assert order(first).volume == 0.4  # type: ignore[union-attr]
        after, _ = carried_out(of, first, filled(0.4))
        assert (after.volume, after.obligations[0].status, after.obligations[0].next_try_at) == (0.6, S.DUE, NOW)

    def test_a_rest_below_the_least_volume_is_closed_whole(self) -> None:
        dust = replace(HELD, volume=0.005)
        of = hedged(hedge=None, volume=0.005, initial_volume=1.0, obligations=(owed(K.CLOSE_ALL),))
        assert order(planned(of, scene(dust, 1.0960))) == ClosePosition(
            1001, "EURUSD", Side.BUY, 0.005, MAGIC, "DTArt", whole=True
        )

    def test_closing_everything_waits_for_no_spread_and_needs_no_bars(self) -> None:
        of = hedged(hedge=None, obligations=(owed(K.CLOSE_ALL, created_at=NOW),))
        old = market(NOW - 3600)
        assert isinstance(planned(of, scene(HELD, 1.0960, spread=0.001, view=old)), Send)

    def test_on_an_account_that_closes_by_fifo_the_older_position_goes_first(self) -> None:
        of = hedged(hedge=None, obligations=(owed(K.CLOSE_ALL),))
        blocked = replace(scene(HELD, 1.0960), fifo_blocked=True)
        assert planned(of, blocked) == Wait("older_position_closes_first", flag="fifo_blocked")
        part = trade(HELD, risk=0.005, obligations=(owed(K.PARTIAL_CLOSE),))
        assert planned(part, blocked) == Instead("older_position_closes_first", hard=True)

    def test_the_flat_timer_counts_open_market_and_closes_everything(self) -> None:
        of = hedged(state_since=NOW - 4805, deep_m15=None, deep_m5=None)
        early = decide(of, scene(HELD, 1.0990), Mode.PROTECT, replace(P, flat_s=4500.0)).trade
        assert [o.kind for o in early.obligations] == [K.CLOSE_ALL]
        late = decide(replace(of, state_since=NOW - 4205), scene(HELD, 1.0990), Mode.PROTECT, P).trade
        assert late.obligations == ()


class TestBrokerEvents:
    GONE = (
        deal(9, DealEntry.IN, 0.5, magic=MAGIC, position_id=2002, side=Side.SELL),
        deal(10, DealEntry.OUT, 0.5, magic=0, position_id=2002, side=Side.BUY),
    )

    def gone(self, of: Trade, **closing: Any) -> Trade:
        opened, closed = self.GONE
        return hedging.absent(of, (opened, replace(closed, **closing)), NOW, P).trade

    @pytest.mark.parametrize(
        ("score", "state"), [(-3.9, T.WARNING_L1), (-4.0, T.WARNING_L2), (-7.0, T.WARNING_L2), (None, T.WARNING_L2)]
    )
    def test_a_hedge_that_others_closed_leads_back_to_the_warning_of_its_score(
        self, score: float | None, state: TradeState
    ) -> None:
        after = self.gone(hedged(score=score))
        assert (after.state, after.hedge, after.hedges, after.flat_left_s) == (state, None, 1, None)

    def test_a_hedge_at_its_stop_is_told_with_an_alert(self) -> None:
        opened, closed = self.GONE
        seen = hedging.absent(hedged(), (opened, replace(closed, reason=DealReason.STOP_LOSS)), NOW, P)
        assert [event.kind for event in seen.events] == ["hedge_gone", "transition", "alert"]
        assert seen.events[0].body["reason"] == "STOP_LOSS"

    def test_a_stop_out_leads_to_the_second_warning_whatever_the_score(self) -> None:
        after = self.gone(hedged(score=3.0), reason=DealReason.STOP_OUT)
        assert (after.state, after.flags) == (T.WARNING_L2, {"hedge_unavailable"})

    def test_others_who_close_what_was_to_be_closed_did_our_work(self) -> None:
        after = self.gone(hedged(obligations=(owed(K.CLOSE_HEDGE, episode=3),)))
        assert (after.state, after.obligations[0].status) == (T.RECOVERING, S.SUPERSEDED)

    def test_an_order_of_ours_that_came_through_late_ends_it_as_owed(self) -> None:
        assert self.gone(hedged(), magic=MAGIC + 1).state is T.RECOVERING

    def test_while_everything_is_being_closed_the_position_is_still_to_be_closed(self) -> None:
        after = self.gone(hedged(obligations=(owed(K.CLOSE_ALL, episode=3),)))
        assert (after.state, after.hedge, after.obligations[0].status) == (T.HEDGED, None, S.DUE)

    def test_a_hedge_that_is_missing_without_a_deal_is_alerted_once_and_kept_for_ten_minutes(self) -> None:
        first = hedging.absent(hedged(), (self.GONE[0],), NOW, P)
        assert [event.body["code"] for event in first.events] == ["hedge_missing"]
        assert hedging.absent(first.trade, (self.GONE[0],), NOW + 599, P).trade is first.trade
        assert hedging.absent(first.trade, (self.GONE[0],), NOW + 600, P).trade.hedge is None
        back = hedging.shown(first.trade, COVER, NOW + 30)
        assert back.trade.hedge == LINK

    def test_deals_that_could_not_be_read_say_nothing(self) -> None:
        of = hedged()
        assert hedging.absent(of, None, NOW, P).trade is of

    def test_a_changed_ticket_volume_and_stop_are_adopted(self) -> None:
        other = replace(COVER, ticket=2999, volume=0.3, stop_loss=None)
        seen = hedging.shown(hedged(), other, NOW)
        assert seen.trade.hedge == HedgeLink(
            ticket=2999, identifier=2002, side=Side.SELL, volume=0.3, price_open=1.0990, stop_loss=None
        )
        assert [event.kind for event in seen.events] == ["external_change", "alert"]

    @pytest.mark.parametrize(("volume", "target"), [(0.4, 0.2), (0.01, 0.0)])
    def test_a_hedge_larger_than_its_position_is_reduced_to_half_of_it(self, volume: float, target: float) -> None:
        of = hedged(volume=volume)
        seen = hedging.too_large(of, EURUSD, NOW, Mode.PROTECT, P)
        (due,) = seen.trade.obligations
        assert (due.kind, due.target, due.position) == (K.CLOSE_HEDGE, target, 2002)
        assert hedging.too_large(seen.trade, EURUSD, NOW, Mode.PROTECT, P).trade is seen.trade
        held = replace(HELD, volume=volume)
        answer = planned(seen.trade, replace(scene(held, 1.0990), own={2002: COVER}))
        after, _ = carried_out(seen.trade, answer, filled(round(0.5 - target, 2), number=3003))
        left = after.hedge.volume if after.hedge is not None else 0.0
        assert left == target

    def test_a_second_position_of_ours_is_closed_and_the_hedge_kept(self) -> None:
        twin = replace(COVER, ticket=2003, identifier=2003, magic=MAGIC + 1)
        seen = hedging.strays(hedged(), {2002: COVER, 2003: twin}, NOW, Mode.PROTECT, P)
        (due,) = seen.trade.obligations
        assert (due.kind, due.position, due.reason) == (K.CLOSE_HEDGE, 2003, "duplicate_hedge")
        assert [event.body["code"] for event in seen.events] == ["duplicate_hedge"]
        assert hedging.strays(seen.trade, {2003: twin}, NOW, Mode.PROTECT, P).trade is seen.trade
        answer = planned(seen.trade, replace(scene(HELD, 1.0990), own={2002: COVER, 2003: twin}))
        after, _ = carried_out(seen.trade, answer, filled(0.5, number=3003))
        assert (after.state, after.hedge, after.obligations[0].status) == (T.HEDGED, LINK, S.DONE)


class TestOrphan:
    def closed(self, reason: str = "STOP_LOSS") -> Trade:
        return hedged(state=T.CLOSED, closed_at=NOW, closed_reason=reason, volume=0.0)

    def test_the_hedge_of_a_closed_position_is_closed_at_once(self) -> None:
        seen = hedging.orphan(self.closed(), NOW, Mode.PROTECT, P)
        (due,) = seen.trade.obligations
        assert (due.kind, due.reason, due.status) == (K.CLOSE_HEDGE, "orphan_hedge", S.DUE)
        assert hedging.orphan(seen.trade, NOW, Mode.PROTECT, P).trade is seen.trade
        # Neither an old quote nor a wide spread keeps it open.
        where = replace(scene(COVER, 1.0990, spread=0.01, tick_age=600.0), own={2002: COVER})
        answer = planned(seen.trade, where)
        assert order(answer).ticket == 2002
        after, _ = carried_out(seen.trade, answer, filled(0.5, number=3003))
        assert (after.state, after.hedge, after.volume, after.closed_by_us) == (T.CLOSED, None, 0.0, 0.0)

    def test_of_a_position_that_is_gone_without_proof_it_is_left_and_told_once(self) -> None:
        seen = hedging.orphan(self.closed("UNVERIFIED"), NOW, Mode.PROTECT, P)
        assert seen.trade.obligations == ()
        assert [event.body["code"] for event in seen.events] == ["hedge_left_open"]
        assert hedging.orphan(seen.trade, NOW, Mode.PROTECT, P).trade is seen.trade

    def test_in_observe_mode_it_is_recorded_once_and_not_sent(self) -> None:
        seen = hedging.orphan(self.closed(), NOW, Mode.OBSERVE, P)
        assert [o.status for o in seen.trade.obligations] == [S.WOULD_HAVE]
        assert hedging.orphan(seen.trade, NOW + 30, Mode.OBSERVE, P).trade is seen.trade

    def test_a_hedge_that_fills_after_its_position_closed_is_an_orphan(self) -> None:
        of = warned()
        answer = planned(of, scene(HELD, 1.0990))
        assert isinstance(answer, Send)
        going, _, intent = effects.sent(of, of.obligations[0], answer.order, answer.target, NOW)
        over = replace(going, state=T.CLOSED, closed_reason="STOP_LOSS", volume=0.0)
        intent = effects.replied(intent, filled(0.5), NOW)
        after = effects.settled(over, intent, 0.5, NOW, P)
        assert (after.state, after.hedge is not None) == (T.CLOSED, True)
        assert hedging.orphan(after, NOW, Mode.PROTECT, P).trade.obligations[-1].reason == "orphan_hedge"


def test_an_obligation_of_a_stray_names_its_position_and_no_other() -> None:
    one: Obligation = owed(K.CLOSE_HEDGE, position=2003)
    where = replace(scene(HELD, 1.0990), own={2002: COVER})
    assert planned(hedged(obligations=(one,)), where) == Satisfied("it_is_closed")


def test_d06_the_hedge_is_part_of_its_trade_with_ticket_identifier_and_magic() -> None:
    of = warned()
    after, intent = carried_out(of, planned(of, scene(HELD, 1.0990)), filled(0.5))
    assert after.hedge is not None
    assert (after.hedge.ticket, after.hedge.identifier, after.hedge_magics) == (2002, 2002, (intent.magic,))


def test_d07_a_closed_position_owes_the_closing_of_its_hedge() -> None:
    over = reconcile.closed(hedged(), [deal(1, DealEntry.IN), deal(2, DealEntry.OUT)], NOW).trade
    assert over.hedge == LINK
    owes = hedging.orphan(over, NOW, Mode.PROTECT, P).trade.obligations
    assert [(o.kind, o.reason) for o in owes] == [(K.CLOSE_HEDGE, "orphan_hedge")]


@pytest.mark.parametrize("price", [1.0970, 1.0990, 1.1010])
def test_d33_the_stop_of_the_hedge_is_one_and_a_half_atr_away(price: float) -> None:
    sent = order(planned(warned(), scene(HELD, price)))
    assert isinstance(sent, OpenHedge)
    assert sent.stop_loss == pytest.approx(price + 1.5 * 0.001, abs=0.00001)


def test_d37_a_position_whose_hedge_could_not_be_closed_is_not_closed_either() -> None:
    of = hedged(obligations=(owed(K.CLOSE_ALL, episode=3),))
    where = replace(scene(HELD, 1.0960), own={2002: COVER})
    after, _ = carried_out(of, planned(of, where), Refused("no", "no", 10006))
    assert (after.hedge, after.volume) == (LINK, 1.0)
    assert order(planned(after, where)).ticket == 2002
