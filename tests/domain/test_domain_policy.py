from __future__ import annotations

import random
from dataclasses import replace

import pytest
from domain_values import EURUSD, GRID, T0, P, deal, market, owed, position, scene, trade
from hypothesis import given, settings
from hypothesis import strategies as st

from dtms_service.domain.policy import after_removed_stop, decide, evaluation_reason, owe, r_now
from dtms_service.domain.reconcile import closed
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import (
    Frozen,
    Mode,
    ObligationKind,
    ObligationStatus,
    Owner,
    Trade,
)
from dtms_service.domain.values import DealEntry, Side, Tick
from dtms_service.domain.view import Missing, StructureReading, VwapReading

H, L1, L2 = TradeState.HEALTHY, TradeState.WARNING_L1, TradeState.WARNING_L2
HEDGED, RECOVERING = TradeState.HEDGED, TradeState.RECOVERING
K, S = ObligationKind, ObligationStatus
NOW = T0 + 3605.0
BUY = position(stop_loss=1.095, take_profit=1.11)
WARNS = {"structure": -1}  # S = -3.32 for a BUY
WORSENS = {"structure": -1, "vwap": -1}  # S = -5.53
HEDGES = {"structure": -1, "vwap": -1, "momentum": -1}  # S = -7.74
SINKS = {"structure": -1, "vwap": -1, "momentum": -1, "ema": -1}  # S = -9.39


def look(
    what: Trade, held=BUY, *, now: float = NOW, price: float = 1.1, mode: Mode = Mode.PROTECT, view=None, **seen
) -> Trade:
    return decide(what, scene(held, price, now=now, view=view or market(now, **seen)), mode, P).trade


def due(what: Trade) -> list[ObligationKind]:
    return [o.kind for o in what.obligations if o.status is S.DUE]


class TestR:
    @pytest.mark.parametrize(
        ("side", "stop", "claimed", "risk", "estimated"),
        [
            # ATR 0.001, median spread 0.0001: a stop counts from max(0.0005, 0.0004) on.
            (Side.BUY, 1.0950, None, 0.0050, False),
            (Side.SELL, 1.1050, None, 0.0050, False),
            (Side.BUY, 1.0995, None, 0.0005, False),
            (Side.BUY, 1.0996, None, 0.0015, True),  # too near: it was moved there, so 1.5 ATR
            (Side.BUY, 1.1000, 1.0950, 0.0050, False),  # at breakeven, but the caller knew the first stop
            (Side.BUY, 1.1020, None, 0.0015, True),  # in profit
            (Side.BUY, None, 1.0950, 0.0050, False),
            (Side.BUY, None, 1.1050, 0.0015, True),  # the caller's stop is on the winning side
            (Side.BUY, None, None, 0.0015, True),
            (Side.SELL, 1.0950, None, 0.0015, True),
        ],
    )
    def test_r_is_the_first_stop_that_was_a_stop_and_else_an_estimate(self, side, stop, claimed, risk, estimated):
        held = position(side=side, stop_loss=stop)
        claims = {} if claimed is None else {"stop_loss": claimed}
        seen = look(trade(held, claims=claims), held)
        assert seen.risk == pytest.approx(risk)
        assert ("r_estimated" in seen.flags) is estimated

    def test_four_wide_spreads_push_a_near_stop_out_of_r(self):
        held = position(stop_loss=1.0980)  # 0.002 away; four spreads are 0.0024
        seen = look(trade(held), held, view=market(NOW, median_spread=0.0006))
        assert seen.risk == pytest.approx(0.0015)

    def test_r_is_fixed_once_and_a_later_stop_does_not_change_it(self):
        first = look(trade(BUY))
        later = look(replace(first, initial_stop_loss=1.0), now=NOW + 900)
        assert first.risk == later.risk == pytest.approx(0.005)

    def test_r_waits_for_an_atr(self):
        assert look(trade(BUY), view=market(NOW, atr=Missing("warm-up"))).risk is None

    @pytest.mark.parametrize(("side", "price", "r"), [(Side.BUY, 1.101, 0.2), (Side.SELL, 1.101, -0.2)])
    def test_open_profit_is_measured_at_the_price_that_would_close_the_position(self, side, price, r):
        held = trade(position(side=side), risk=0.005)
        at = scene(position(side=side), price, spread=0.0007).tick
        assert r_now(held, at) == pytest.approx(r)

    def test_open_profit_is_unknown_while_r_is(self):
        assert r_now(trade(BUY), Tick(NOW, 1.2, 1.2)) is None


class TestArming:
    """B6: observe only until R_now >= +0.2, or 900 s of open market, or R_now <= -0.5. R = 0.005 here."""

    @pytest.mark.parametrize(
        ("side", "price", "armed"),
        [
            (Side.BUY, 1.1010, True),
            (Side.BUY, 1.1009, False),
            (Side.BUY, 1.0976, False),
            (Side.BUY, 1.0975, True),
            (Side.SELL, 1.0990, True),
            (Side.SELL, 1.0991, False),
            (Side.SELL, 1.1024, False),
            (Side.SELL, 1.1025, True),
        ],
    )
    def test_a_young_trade_is_armed_by_profit_or_loss(self, side, price, armed):
        held = position(side=side)
        # 1.1 is not exact in floats: a hair beyond the threshold
        young = trade(held, armed=False, risk=0.005 - 1e-9, opened_at=NOW - 60)
        assert look(young, held, price=price).armed is armed

    def test_a_trade_is_armed_by_age_in_open_market(self):
        # Bars have closed by 11:00:00 at 11:00:05. Opened 10:45:00 -> closes of 10:50, 10:55, 11:00 came after: 900 s.
        assert look(trade(BUY, armed=False, opened_at=T0 + 2700)).armed
        assert not look(trade(BUY, armed=False, opened_at=T0 + 3000)).armed

    def test_a_closed_market_does_not_make_a_trade_older(self):
        closes = tuple(T0 + 3600 - 300 * k for k in range(1, -1, -1))  # two bars since the weekend
        view = market(NOW, m5_closed_at=closes)
        assert not look(trade(BUY, armed=False, opened_at=T0 - 200_000), view=view).armed

    def test_before_it_is_armed_a_trade_is_scored_but_not_moved(self):
        seen = look(trade(BUY, armed=False, opened_at=NOW - 60), **SINKS)
        assert seen.score == pytest.approx(-9.394737, abs=1e-6)
        assert (seen.state, seen.obligations) == (H, ())

    def test_half_an_r_lost_arms_and_evaluates_at_once(self):
        young = look(trade(BUY, armed=False, opened_at=NOW - 60), **WARNS)
        later = look(young, now=NOW + 300, price=1.0974, **WARNS)
        assert (later.armed, later.state) == (True, L1)


class TestWhenToEvaluate:
    def reason(self, what: Trade, *, now: float = NOW, price: float = 1.1, view=None, held=BUY) -> str | None:
        view = view or market(now)
        return evaluation_reason(what, scene(held, price, now=now, view=view), view, P)

    @pytest.fixture
    def seen(self) -> Trade:
        """Evaluated at 11:00:05, when the M15 and the M5 bar had closed; R = 0.005."""
        return look(trade(BUY))

    def test_every_closed_m15_bar_asks_for_one(self, seen):
        assert self.reason(trade(BUY)) == "m15_closed"
        assert self.reason(seen) is None
        assert self.reason(seen, now=NOW + 899) is None
        assert self.reason(seen, now=NOW + 900) == "m15_closed"

    @pytest.mark.parametrize(("side", "move"), [(Side.BUY, -0.0006), (Side.SELL, 0.0006)])
    def test_half_an_atr_against_the_trade_asks_for_one_after_the_next_m5_bar(self, side, move):
        held = position(side=side)
        before = look(trade(held, risk=0.005), held)
        assert self.reason(before, held=held, price=1.1 + move) is None  # the same M5 bar
        assert self.reason(before, held=held, price=1.1 + move, now=NOW + 300) == "adverse_move"
        assert self.reason(before, held=held, price=1.1 + move * 0.8, now=NOW + 300) is None
        assert self.reason(before, held=held, price=1.1 - 5 * move, now=NOW + 300) is None

    @pytest.mark.parametrize(("side", "flip"), [(Side.BUY, -1), (Side.SELL, 1)])
    def test_a_new_flip_of_vwap_against_the_trade_asks_for_one(self, side, flip):
        held = position(side=side)
        before = look(trade(held, risk=0.005), held)
        flipped = market(NOW + 300, vwap=flip)
        assert self.reason(before, held=held, now=NOW + 300, view=flipped) == "vwap_flipped"
        assert self.reason(before, held=held, now=NOW + 300, view=market(NOW + 300, vwap=-flip)) is None
        after = look(before, held, now=NOW + 300, view=flipped)
        assert self.reason(after, held=held, now=NOW + 600, view=market(NOW + 600, vwap=flip)) is None

    def test_a_close_beyond_the_adverse_swing_asks_for_one(self, seen):
        structure = StructureReading(0, 0, "NONE", 0.0, 1.105, 1.099)
        beyond = market(NOW + 300, m5_close=1.0989)
        assert self.reason(seen, now=NOW + 300, view=replace(beyond, structure=structure)) == "swing_broken"
        within = market(NOW + 300, m5_close=1.0991)
        assert self.reason(seen, now=NOW + 300, view=replace(within, structure=structure)) is None

    def test_price_events_ask_at_most_once_in_ten_minutes(self, seen):
        after = look(seen, now=NOW + 300, price=1.0993)
        assert after.event_deep_at == NOW + 300
        assert self.reason(after, now=NOW + 600, price=1.0986) is None
        assert self.reason(replace(after, deep_m15=T0 + 9000), now=NOW + 900, price=1.0986) == "adverse_move"

    def test_half_an_r_lost_asks_in_spite_of_the_pause_but_never_twice_on_one_m5_bar(self, seen):
        after = look(seen, now=NOW + 300, price=1.0993)
        assert self.reason(after, now=NOW + 301, price=1.0974) is None
        assert self.reason(after, now=NOW + 600, price=1.0974) == "half_r_lost"
        lost = look(after, now=NOW + 600, price=1.0974)
        assert self.reason(replace(lost, deep_m15=T0 + 9000), now=NOW + 900, price=1.0974) is None  # crossed already

    def test_a_scheduled_evaluation_does_not_start_the_pause(self, seen):
        assert seen.event_deep_at is None

    @pytest.mark.parametrize("age", [601.0, 5000.0])
    def test_old_bars_are_not_judged(self, age):
        old = market(NOW, **SINKS)
        now = old.m5_time + 300 + age
        assert look(trade(BUY), now=now, view=old).score is None

    def test_an_old_quote_stops_everything(self):
        at = scene(BUY, 1.0, tick_age=61.0, view=market(NOW, **SINKS))
        before = trade(BUY, armed=False)
        assert decide(before, at, Mode.PROTECT, P).trade is before


class TestTransitions:
    def test_a_warning_owes_a_tighter_stop(self):
        seen = look(trade(BUY), **WARNS)
        assert (seen.state, seen.previous_state, seen.state_since, seen.episode) == (L1, H, NOW, 1)
        [obligation] = seen.obligations
        assert (obligation.kind, obligation.status, obligation.r_multiple) == (K.TIGHTEN_STOP, S.DUE, 0.3)
        assert (obligation.episode, obligation.reason) == (1, "score_warns")

    def test_a_worse_score_moves_one_level_and_asks_for_another_look_at_the_next_m5_bar(self):
        first = look(trade(BUY), **WORSENS)
        assert (first.state, first.evaluate_again) == (L1, True)
        assert look(first, now=NOW + 299, **WORSENS) is first
        second = look(first, now=NOW + 300, **WORSENS)
        assert (second.state, due(second)) == (L2, [K.TIGHTEN_STOP, K.PARTIAL_CLOSE, K.BREAKEVEN])

    def test_the_second_warning_past_the_hedge_threshold_asks_for_another_look_too(self):
        second = look(look(trade(BUY), **HEDGES), now=NOW + 300, **HEDGES)
        assert (second.state, second.evaluate_again) == (L2, True)

    def test_a_stop_that_was_owed_and_not_sent_stays_owed_when_it_gets_worse(self):
        # B7.0: obligations live until satisfied, superseded or refused; only easing cancels (E.1).
        second = look(look(trade(BUY), **WORSENS), now=NOW + 300, **WORSENS)
        assert [(o.kind, o.episode) for o in second.obligations if o.status is S.DUE] == [
            (K.TIGHTEN_STOP, 1),
            (K.PARTIAL_CLOSE, 2),
            (K.BREAKEVEN, 2),
        ]

    def test_easing_from_l2_cancels_hedge_and_partial_close_and_keeps_the_stop_that_is_owed(self):
        worst = trade(
            BUY,
            state=L2,
            episode=2,
            flags=frozenset({"be_pending", "hedge_unavailable"}),
            obligations=tuple(owed(k, episode=2) for k in (K.PARTIAL_CLOSE, K.BREAKEVEN, K.HEDGE)),
        )
        eased = look(worst)
        assert (eased.state, due(eased)) == (L1, [K.BREAKEVEN])
        assert eased.flags == {"be_pending"}

    def test_calming_down_cancels_everything_that_was_not_sent(self):
        warned = trade(
            BUY,
            state=L1,
            episode=1,
            flags=frozenset({"be_pending"}),
            obligations=(owed(K.TIGHTEN_STOP, episode=1), owed(K.BREAKEVEN)),
        )
        calm = look(warned)
        assert (calm.state, due(calm), calm.flags) == (H, [], frozenset())

    def test_a_repeated_warning_replaces_the_unsent_stop_of_the_one_before(self):
        recovering = trade(BUY, state=RECOVERING, episode=4, obligations=(owed(K.TIGHTEN_STOP, episode=2),))
        worse = look(recovering, **WORSENS)
        assert [(o.kind, o.episode) for o in worse.obligations if o.status is S.DUE] == [
            (K.TIGHTEN_STOP, 5),
            (K.BREAKEVEN, 5),
        ]

    def test_a_recovery_that_is_over_without_a_score_is_told_once_and_decided_by_the_first_score(self):
        # R7: no score, no close.
        gap = Missing("gap")
        parts = dict.fromkeys(("structure", "vwap", "momentum", "ema", "candle"), gap)

        def after(what: Trade, now: float, **seen):
            view = replace(market(now), **seen) if seen else market(now, **SINKS)
            return decide(what, scene(BUY, 1.1, now=now, view=view), Mode.PROTECT, P)

        recovering = trade(BUY, state=RECOVERING, episode=4, recovery_left_s=1800.0, risk=0.005)
        early = after(recovering, T0 + 1805.0 - 300, **parts)
        assert early.events == ()
        over = after(early.trade, NOW, **parts)
        assert (over.trade.state, due(over.trade)) == (RECOVERING, [])
        assert [(event.kind, event.body["code"]) for event in over.events] == [("alert", "recovery_unscored")]
        again = after(over.trade, NOW + 900, **parts)
        assert (again.trade.state, again.events) == (RECOVERING, ())
        thin = after(recovering, NOW, structure=gap, ema=gap)
        assert [event.kind for event in thin.events] == ["alert"]
        scored = after(again.trade, NOW + 1800)
        assert due(scored.trade) == [K.CLOSE_ALL]

    def test_two_evaluations_on_one_m5_bar_are_one_confirmation(self):
        # The M15 bar may arrive one read later than the M5 bar that ended with it.
        bad = trade(BUY, state=L2, deep_m15=T0 + 1800, deep_m5=T0 + 3300, confirmations=1, episode=2, risk=0.005)
        seen = look(bad, **HEDGES)  # m5_time is T0 + 3300
        assert (seen.confirmations, due(seen)) == (1, [])
        assert due(look(seen, now=NOW + 900, **HEDGES)) == [K.HEDGE]

    def test_thin_evidence_does_not_count_towards_a_hedge(self):
        blind = {"structure": Missing("gap"), "ema": Missing("warm-up")}  # coverage 5 / 9.5
        bad = trade(BUY, state=L2, episode=2)
        view = replace(market(NOW, **SINKS), **blind, vwap=VwapReading(1.1, -1, 0, -1))
        seen = look(bad, view=view)
        assert seen.confirmations == 0

    def test_only_calm_evaluations_with_full_evidence_count_towards_the_end_of_a_hedge(self):
        hedged = trade(BUY, state=HEDGED, episode=3)
        blind = look(hedged, view=replace(market(NOW), structure=Missing("gap")))
        assert blind.calm_evaluations == 0
        calm = look(blind, now=NOW + 900)
        assert (calm.calm_evaluations, due(calm)) == (1, [])
        assert due(look(calm, now=NOW + 1800)) == [K.CLOSE_HEDGE]

    @pytest.mark.parametrize("readings", [HEDGES, WORSENS])
    def test_flip_and_volume_against_the_trade_count_like_a_hedge_score(self, readings):
        bad = look(trade(BUY, state=L2, episode=2), **readings)  # WORSENS is -5.53 with VF and QF
        assert bad.confirmations == 1
        assert due(look(bad, now=NOW + 900, **readings)) == [K.HEDGE]

    def test_a_hedge_is_asked_for_once_per_episode(self):
        bad = trade(BUY, state=L2, episode=2)
        for n in range(8):
            bad = look(bad, now=NOW + 900 * n, **SINKS)
        assert [o.kind for o in bad.obligations] == [K.HEDGE]

    @pytest.mark.parametrize("state", [HEDGED, RECOVERING])
    def test_closing_everything_is_owed_once_however_often_it_is_asked_for(self, state):
        ending = trade(BUY, state=state, episode=3, flat_left_s=0.0, recovery_left_s=0.0)
        for n in range(5):
            ending = look(ending, now=NOW + 900 * n)
        assert [o.kind for o in ending.obligations] == [K.CLOSE_ALL]

    def test_news_counts_only_when_it_is_newer_than_the_state(self):
        choch = StructureReading(-1, 0, "CHOCH", T0 + 3600, None, None)
        hedged = trade(BUY, state=HEDGED, episode=3)
        view = replace(market(NOW), structure=choch)
        assert due(look(replace(hedged, state_since=T0 + 3599), view=view)) == [K.CLOSE_ALL]
        assert due(look(replace(hedged, state_since=T0 + 3600), view=view)) == []

    def test_every_transition_is_recorded_with_its_reason(self):
        at = scene(BUY, 1.1, view=market(NOW, **WARNS))
        [event] = [e for e in decide(trade(BUY), at, Mode.PROTECT, P).events if e.kind == "transition"]
        assert (event.body["from"], event.body["to"], event.body["rule"]) == ("HEALTHY", "WARNING_L1", "score_warns")
        assert event.body["score"] == pytest.approx(-3.315789, abs=1e-6)
        assert event.body["obligations"] == [{"kind": "tighten_stop", "status": "due"}]


class TestFrozen:
    @pytest.mark.parametrize("frozen", Frozen)
    def test_a_frozen_trade_is_scored_but_not_moved_and_looked_at_again_at_the_next_m5_bar(self, frozen):
        stuck = look(trade(BUY, frozen=frozen), **WARNS)
        assert (stuck.state, stuck.obligations, stuck.score) == (H, (), pytest.approx(-3.315789, abs=1e-6))
        assert look(replace(stuck, frozen=None), now=NOW + 300, **WARNS).state is L1


class TestWhoMayAct:
    @pytest.mark.parametrize(
        ("mode", "changes"),
        [
            (Mode.OBSERVE, {}),
            (Mode.PROTECT, {"owner": Owner.UNIVERSAL_MANAGER}),
            (Mode.PROTECT, {"owner": Owner.MANUAL}),
            (Mode.PROTECT, {"managed": False}),
        ],
    )
    def test_what_dtms_may_not_do_is_only_recorded(self, mode, changes):
        seen = look(trade(BUY, **changes), mode=mode, **WARNS)
        assert (seen.state, [o.status for o in seen.obligations]) == (L1, [S.WOULD_HAVE])

    @pytest.mark.parametrize(
        ("mode", "changes"),
        [
            (Mode.OBSERVE, {}),
            (Mode.PROTECT, {"owner": Owner.UNIVERSAL_MANAGER}),
            (Mode.PROTECT, {"managed": False}),
        ],
    )
    def test_what_was_owed_before_a_hand_over_or_a_start_in_observe_mode_is_never_sent(self, mode, changes):
        warned = look(trade(BUY), **WARNS)
        assert due(warned) == [K.TIGHTEN_STOP]
        for at in (scene(BUY, 1.1), scene(BUY, 1.1, view=Missing("none")), scene(BUY, 1.1, tick_age=900)):
            seen = decide(replace(warned, **changes), at, mode, P).trade
            assert [o.status for o in seen.obligations] == [S.WOULD_HAVE]

    def test_in_observe_mode_a_trade_stops_at_l2_and_each_effect_is_recorded_once(self):
        seen = trade(BUY)
        for n in range(12):
            seen = look(seen, now=NOW + 900 * n, mode=Mode.OBSERVE, **SINKS)
        assert seen.state is L2
        assert {o.status for o in seen.obligations} == {S.WOULD_HAVE}
        kinds = [o.kind for o in seen.obligations]
        assert sorted(kinds) == sorted(set(kinds))

    def test_a_hard_tightening_is_owed_at_the_closer_distance(self):
        owned = owe(trade(BUY), K.TIGHTEN_STOP, "x", NOW, Mode.PROTECT, P, hard=True)
        assert owned.r_multiple == 0.15


class TestRemovedStop:
    """R14: alert; in L1, L2 and HEDGED a fresh plan may set one after 60 s."""

    def removed(self, **changes: object) -> Trade:
        before = trade(BUY, **changes)
        return after_removed_stop(before, replace(before, stop_loss=None), NOW, Mode.PROTECT, P)

    @pytest.mark.parametrize("state", [L1, L2, HEDGED])
    def test_a_stop_removed_by_hand_owes_a_fresh_one_in_a_minute(self, state):
        [obligation] = self.removed(state=state, episode=3).obligations
        assert (obligation.kind, obligation.status, obligation.r_multiple) == (K.TIGHTEN_STOP, S.DUE, 0.3)
        assert (obligation.episode, obligation.next_try_at, obligation.target) == (3, NOW + 60, None)

    @pytest.mark.parametrize("state", [H, RECOVERING, TradeState.CLOSED])
    def test_in_other_states_the_hand_is_respected(self, state):
        assert self.removed(state=state).obligations == ()

    def test_what_was_owed_already_waits_a_minute_and_is_not_owed_twice(self):
        changed = self.removed(state=L2, obligations=(owed(K.TIGHTEN_STOP), owed(K.BREAKEVEN), owed(K.PARTIAL_CLOSE)))
        assert [(o.kind, o.next_try_at) for o in changed.obligations] == [
            (K.TIGHTEN_STOP, NOW + 60),
            (K.BREAKEVEN, NOW + 60),
            (K.PARTIAL_CLOSE, T0),
        ]

    def test_a_stop_that_was_there_or_was_never_there_changes_nothing(self):
        there, never = trade(BUY, state=L1), trade(position(), state=L1)
        assert after_removed_stop(there, there, NOW, Mode.PROTECT, P) is there
        assert after_removed_stop(never, never, NOW, Mode.PROTECT, P) is never

    def test_where_dtms_may_not_act_it_is_recorded_only(self):
        before = trade(BUY, state=L1)
        changed = after_removed_stop(before, replace(before, stop_loss=None), NOW, Mode.OBSERVE, P)
        assert [o.status for o in changed.obligations] == [S.WOULD_HAVE]


DIRECTIONS = st.sampled_from([-1, 0, 1])
READINGS = st.fixed_dictionaries(
    {"structure": DIRECTIONS, "vwap": DIRECTIONS, "momentum": DIRECTIONS, "ema": DIRECTIONS, "candle": DIRECTIONS}
)
STATES = st.sampled_from([H, L1, L2, HEDGED, RECOVERING])


@given(
    readings=READINGS,
    state=STATES,
    armed=st.booleans(),
    price=st.floats(1.09, 1.11),
    mode=st.sampled_from(Mode),
    owner=st.sampled_from(Owner),
    frozen=st.sampled_from([None, *Frozen]),
)
def test_deciding_twice_on_one_scene_is_deciding_once(readings, state, armed, price, mode, owner, frozen):
    before = trade(
        BUY, state=state, armed=armed, owner=owner, frozen=frozen, episode=2, flat_left_s=900.0, recovery_left_s=900.0
    )
    at = scene(BUY, price, view=market(NOW, **readings))
    once = decide(before, at, mode, P)
    again = decide(once.trade, at, mode, P)
    assert again.trade is once.trade
    assert (again.events, again.evaluated) == ((), False)


@given(readings=READINGS, state=STATES, steps=st.integers(-160, 160), armed=st.booleans(), age=st.integers(0, 20))
def test_a_mirrored_market_moves_the_mirrored_trade_alike(readings, state, steps, armed, age):
    middle, spread = 100.0, 0.125

    def run(sign: int) -> Trade:
        side = Side.BUY if sign > 0 else Side.SELL
        held = position(GRID, side, price_open=middle, stop_loss=middle - sign * 5)
        price = middle + sign * steps / 16
        turned = {name: sign * value for name, value in readings.items()}
        structure = StructureReading(
            turned["structure"], 0, "CHOCH", NOW - 60, middle + (4 if sign > 0 else 3), middle - (3 if sign > 0 else 4)
        )
        view = market(NOW, symbol="GRID", atr=2.0, median_spread=spread, m5_close=price, **turned)
        view = replace(view, structure=structure)
        before = trade(held, state=state, armed=armed, episode=2, opened_at=NOW - 300 * age, flat_left_s=9e9)
        return decide(before, scene(held, price, spread=spread, spec=GRID, view=view), Mode.PROTECT, P).trade

    buy, sell = run(1), run(-1)
    assert (buy.state, buy.armed, buy.score, buy.risk) == (sell.state, sell.armed, sell.score, sell.risk)
    assert buy.obligations == sell.obligations
    assert (buy.confirmations, buy.calm_evaluations) == (sell.confirmations, sell.calm_evaluations)


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 999), mode=st.sampled_from(Mode), first=STATES)
def test_obligations_do_not_pile_up_over_two_thousand_evaluations(seed, mode, first):
    # Five examples: 10,000 evaluations. Nothing is ever sent here, which is the worst case.
    draw = random.Random(seed)
    seen = trade(BUY, state=first, flat_left_s=0.0, recovery_left_s=0.0)
    for n in range(2000):
        names = ("structure", "vwap", "momentum", "ema", "candle")
        readings = {name: draw.choice([-1, 0, 1]) for name in names}
        seen = look(seen, now=NOW + 900 * n, price=1.1 + draw.uniform(-0.002, 0.002), mode=mode, **readings)
        live = [o.kind for o in seen.obligations if o.status.live]
        assert len(live) == len(set(live))
        assert len(seen.obligations) <= 12


def test_a_closed_trade_is_owed_nothing():
    warned = look(trade(BUY), **WARNS)
    done = closed(warned, [deal(1, DealEntry.IN), deal(2, DealEntry.OUT)], NOW).trade
    assert done.state is TradeState.CLOSED
    assert not any(o.status.live for o in done.obligations)


def test_the_spec_of_these_scenes_is_a_five_digit_pair():
    assert EURUSD.digits == 5
