"""For every trade at any time: what fired, what is missing, which score, price or time flips it, what comes next."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from engine_world import open_world
from hypothesis import given
from hypothesis import strategies as st
from test_engine_hedging import NERVOUS, hedged, until

from dtms_service.domain import broker_events, transitions
from dtms_service.domain.broker_events import BrokerEvent, happened
from dtms_service.domain.control import Control, News, Standing
from dtms_service.domain.parameters import Parameters
from dtms_service.domain.policy import Scene
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import (
    ComponentScore,
    Frozen,
    Mode,
    Obligation,
    ObligationKind,
    ObligationStatus,
    Owner,
    Trade,
)
from dtms_service.domain.transitions import Evaluation
from dtms_service.domain.values import Execution, Position, Side, SymbolSpec, Tick, TradeMode
from dtms_service.domain.view import (
    CandleReading,
    EmaReading,
    MarketView,
    Missing,
    MomentumReading,
    Session,
    Structure,
    StructureReading,
    Volatility,
    VwapReading,
)
from dtms_service.engine.authority import Explanation
from dtms_service.engine.explaining import Sight, explain
from dtms_service.engine.foretelling import Outlook, lacks

P = Parameters()
S, K, T = ObligationStatus, ObligationKind, TradeState
M15 = 1_699_999_200.0
"""2023-11-14 22:00 UTC; the newest M15 bar opened here."""
NOW = M15 + 905.0
LOW, HIGH = 1.0980, 1.1030
"""Swings that no bar has broken; a break is a tenth of an ATR of 0.001 beyond."""


def view(**changes: Any) -> MarketView:
    """The last break was with a BUY; 200 M5 bars are closed."""
    values: dict[str, Any] = {
        "symbol": "EURUSD",
        "m15_time": M15,
        "m5_time": M15 + 600,
        "m5_close": 1.1,
        "m5_closed_at": tuple(M15 + 900 - 300 * k for k in range(199, -1, -1)),
        "atr": 0.001,
        "volatility": Volatility.NORMAL,
        "structure_regime": Structure.TREND,
        "regime_known": True,
        "session": Session.LONDON,
        "median_spread": 0.0001,
        "structure": StructureReading(1, 3, "BOS", M15 - 9000, HIGH, LOW),
        "vwap": VwapReading(1.0995, 0, 0, 0),
        "momentum": MomentumReading(50.0, 50.0, (0.1, 0.1, 0.1)),
        "ema": EmaReading(0.0, 0.0, 0.0),
        "delta": Missing("no order-flow provider", configured=False),
        "candle": CandleReading(0, crosses_vwap=False),
    }
    return MarketView(**{**values, **changes})


SPEC = SymbolSpec(
    name="EURUSD",
    digits=5,
    point=0.00001,
    tick_size=0.00001,
    tick_value=1.0,
    contract_size=100_000.0,
    volume_min=0.01,
    volume_max=100.0,
    volume_step=0.01,
    stops_level=0,
    freeze_level=0,
    trade_mode=TradeMode.FULL,
    execution=Execution.MARKET,
)


def scene(of: Trade, price: float = 1.1, spread: float = 0.0001, **changes: Any) -> Scene:
    held = Position(
        ticket=7,
        identifier=7,
        symbol="EURUSD",
        side=Side.BUY,
        volume=of.volume,
        price_open=1.1,
        stop_loss=of.stop_loss,
        take_profit=None,
        price_current=price,
        profit=0.0,
        swap=0.0,
        magic=0,
        comment="",
        time=M15,
        time_update=M15,
    )
    tick = Tick(NOW, price, price + spread)
    return Scene(**{"now": NOW, "position": held, "tick": tick, "spec": SPEC, "view": view(), **changes})


def component(name: str, **changes: Any) -> ComponentScore:
    values: dict[str, Any] = {
        "name": name, "weight": 1.0, "multiplier": 1.0, "value": 0.0, "points": 0.0, "available": True,
        "configured": True, "reason": None,
    }  # fmt: skip
    return ComponentScore(**{**values, **changes})


ALL = tuple(component(name) for name in ("structure", "vwap_volume", "momentum", "ema", "candle"))


def trade(**changes: Any) -> Trade:
    """A BUY of one lot at 1.1 with R = 0.005, armed, scored with full coverage."""
    values: dict[str, Any] = {
        "trade_id": 1,
        "login": 5,
        "server": "Demo",
        "ticket": 7,
        "identifier": 7,
        "symbol": "EURUSD",
        "side": Side.BUY,
        "volume": 1.0,
        "initial_volume": 1.0,
        "entry_price": 1.1,
        "stop_loss": 1.095,
        "take_profit": None,
        "initial_stop_loss": 1.095,
        "risk": 0.005,
        "state": T.HEALTHY,
        "state_since": NOW - 2000,
        "armed": True,
        "registered_at": NOW - 2000,
        "verified_at": NOW - 2000,
        "opened_at": NOW - 2000,
        "score": -1.25,
        "score_at": NOW - 5,
        "coverage": 1.0,
        "components": ALL,
        "deep_price": 1.1,
        "owner": Owner.DTMS,
    }
    return Trade(**{**values, **changes})


def owed(kind: ObligationKind, **changes: Any) -> Obligation:
    values: dict[str, Any] = {
        "kind": kind, "episode": 0, "status": S.DUE, "reason": "score_warns", "created_at": NOW - 30,
        "r_multiple": 0.3 if kind is K.TIGHTEN_STOP else None, "next_try_at": NOW - 30,
    }  # fmt: skip
    return Obligation(**{**values, **changes})


def told(of: Trade, **seen: Any) -> Explanation:
    values: dict[str, Any] = {
        "now": NOW,
        "mode": Mode.PROTECT,
        "standing": Standing(),
        "view": view(),
        "tick": Tick(NOW, 1.1, 1.1001),
    }
    return explain(of, Sight(**{**values, **seen}), P)


def said(of: Trade, **seen: Any) -> str:
    return "\n".join(told(of, **seen).next)


EVALUATIONS = st.builds(
    Evaluation,
    score=st.none() | st.sampled_from([-9.0, -8.0, -5.0, -4.0, -2.0, -1.0, 0.0, 0.5, 1.0, 3.0]),
    dwell_s=st.sampled_from([0.0, 899.0, 900.0, 20_000.0]),
    confirmations=st.integers(0, 3),
    calm_evaluations=st.integers(0, 3),
)
STRUCTURES = st.sampled_from([view().structure, Missing("a gap"), StructureReading(-1, 0, "BOS", 0.0, None, None)])


@pytest.mark.parametrize("row", transitions.TABLE, ids=lambda row: f"{row.state}-{row.rule}")
@given(seen=EVALUATIONS, structure=STRUCTURES)
def test_a_row_is_said_to_lack_nothing_exactly_when_its_guard_holds(
    row: transitions.Row, seen: Evaluation, structure: Any
) -> None:
    of = Outlook(
        trade=trade(state=row.state), view=view(structure=structure), seen=seen, now=NOW, digits=5, parameters=P
    )
    assert (lacks(row, of) == ()) is row.guard(seen, P)


class TestHealthy:
    def test_a_score_is_told_with_its_threshold_and_the_distance_to_it(self) -> None:
        line = "WARNING_L1 with tighten_stop (score_warns) needs S <= -2 (l1_score; now -1.25, 0.75 away)"
        assert line in told(trade()).next

    def test_a_score_past_its_threshold_is_decided_at_the_next_evaluation(self) -> None:
        assert "(score_warns) holds, and is decided by the next evaluation" in said(trade(score=-2.0))

    def test_thin_evidence_is_told_with_what_is_needed(self) -> None:
        thin = trade(score=-3.0, coverage=0.55)
        assert "(score_warns) needs coverage of 60%, now 55%" in said(thin)

    @pytest.mark.parametrize(
        ("side", "stop", "prices"),
        [(Side.BUY, 1.095, "1.10100 and 1.09750"), (Side.SELL, 1.105, "1.09900 and 1.10250")],
    )
    def test_an_unarmed_trade_names_the_prices_and_the_time_that_arm_it(
        self, side: Side, stop: float, prices: str
    ) -> None:
        # 0.2 R of 0.005 with it, 0.5 R against it; two M5 bars have closed since it was opened at 22:08.
        young = trade(armed=False, side=side, stop_loss=stop, opened_at=M15 + 480)
        wanted = f"until it is armed: at +0.2R, -0.5R ({prices}), or after 300 s more of open market"
        assert wanted in said(young)
        assert "(not before 2023-11-14T22:20:05Z)" in said(young)


class TestWarnings:
    def test_a_state_that_may_not_ease_yet_says_when_it_may(self) -> None:
        # 900 s of open market; one M5 bar has closed since 22:12.
        of = trade(state=T.WARNING_L1, score=1.0, state_since=M15 + 720)
        assert "HEALTHY (score_calms) needs 600 s more of open market (not before 2023-11-14T22:25:05Z)" in said(of)

    def test_a_reading_that_easing_needs_is_named(self) -> None:
        blind = tuple(replace(c, available=False, reason="a gap") if c.name == "momentum" else c for c in ALL)
        of = trade(state=T.WARNING_L1, score=1.0, components=blind, coverage=0.85)
        assert "(score_calms) needs a reading of momentum" in said(of)

    def test_a_hedge_says_how_often_it_was_asked_for(self) -> None:
        of = trade(state=T.WARNING_L2, score=-6.5, confirmations=1)
        wanted = (
            "open_hedge (score_demands_hedge) needs S <= -8 (hedge_now_score; now -6.50, 1.50 away), or S <= "
            "hedge_score (-6) (flip and volume both against it: l2_score (-4)) at 2 M5 closes in a row, 1 so far"
        )
        assert wanted in told(of).next
        assert "(score_demands_hedge) holds" in said(replace(of, confirmations=2))

    @pytest.mark.parametrize(
        ("changes", "words"),
        [({"hedges": 1}, "this one had its hedge"), ({"obligations": (owed(K.HEDGE),)}, "owed in this one already")],
    )
    def test_a_second_hedge_is_told_to_be_impossible(self, changes: dict[str, Any], words: str) -> None:
        assert words in said(trade(state=T.WARNING_L2, score=-9.0, **changes))


class TestOwed:
    """Planned anew from what was seen last, by the plan itself."""

    def test_what_goes_out_next_is_told_with_its_level(self) -> None:
        # 0.3 R of 0.005 below 1.1.
        of = trade(state=T.WARNING_L1, obligations=(owed(K.TIGHTEN_STOP),))
        wanted = "tighten_stop is owed (score_warns): stop 1.0985 is asked for next; looked at in every cycle"
        assert wanted in said(of, scene=scene(of))

    def test_after_a_refusal_it_says_when_it_is_tried_again(self) -> None:
        of = trade(state=T.WARNING_L1, obligations=(owed(K.TIGHTEN_STOP, attempts=2, next_try_at=NOW + 15),))
        assert "(score_warns, 2 sent so far): stop 1.0985" in said(of, scene=scene(of))
        assert "; not before 2023-11-14T22:15:20Z" in said(of, scene=scene(of))

    def test_a_wait_names_its_reason_and_its_end(self) -> None:
        of = trade(state=T.WARNING_L2, obligations=(owed(K.PARTIAL_CLOSE),))
        wanted = (
            "because the spread is above spread_wide (2) times its median, and it waits spread_defer_s (300) at most"
        )
        assert wanted in said(of, scene=scene(of, spread=0.0003))
        assert "(until 2023-11-14T22:19:35Z)" in said(of, scene=scene(of, spread=0.0003))
        assert "close 0.5 lots of 7 is asked for next" in said(of, scene=scene(of))

    def test_breakeven_names_the_price_that_it_needs(self) -> None:
        # Entry and spread, then half an ATR and the spread again: 1.1 + 0.0001 + 0.0005 + 0.0001.
        of = trade(state=T.WARNING_L2, obligations=(owed(K.BREAKEVEN),))
        assert "possible once the price reaches 1.10070" in said(of, scene=scene(of))

    def test_it_is_planned_for_now_and_not_for_the_time_of_the_last_read(self) -> None:
        of = trade(state=T.WARNING_L1, obligations=(owed(K.TIGHTEN_STOP),))
        assert "older than tick_stale_s (60) (quote_is_old)" in said(of, scene=scene(of), now=NOW + 61)

    def test_a_hedge_is_told_with_side_volume_and_stop(self) -> None:
        of = trade(state=T.WARNING_L2, obligations=(owed(K.HEDGE),))
        assert "SELL 0.5 lots with stop 1.1015 is asked for next" in said(of, scene=scene(of))

    def test_what_was_true_already_and_what_cannot_be_is_told(self) -> None:
        of = trade(state=T.WARNING_L1, stop_loss=1.0990, obligations=(owed(K.TIGHTEN_STOP),))
        assert "it is done, because the present stop is as good" in said(of, scene=scene(of))
        small = trade(state=T.WARNING_L2, volume=0.01, initial_volume=0.01, obligations=(owed(K.PARTIAL_CLOSE),))
        assert "it is replaced by a closer stop, because half of it" in said(small, scene=scene(small))

    def test_an_order_on_its_way_is_told_as_one(self) -> None:
        of = trade(state=T.WARNING_L1, frozen=Frozen.INTENT, obligations=(owed(K.TIGHTEN_STOP, status=S.SENT),))
        assert "tighten_stop is owed (score_warns): an order is on its way" in said(of)

    def test_without_a_scene_the_last_reason_stands(self) -> None:
        of = trade(state=T.HEDGED, obligations=(owed(K.CLOSE_HEDGE, waiting="hedge_not_seen"),))
        assert "it waits, because the hedge was not in the last read" in said(of)


class TestHedged:
    def covered(self, **changes: Any) -> Trade:
        after = happened(trade(state=T.WARNING_L2, **changes), BrokerEvent.HEDGE_FILLED, M15 + 720, P)
        return replace(after, components=ALL, coverage=1.0)

    def test_it_names_the_closes_that_end_it_either_way(self) -> None:
        # A tenth of an ATR of 0.001 beyond the swings.
        next_ = told(self.covered()).next
        assert "close_all (choch_against) needs a change of character against it: an M15 close below 1.09790" in next_
        (resumes,) = [line for line in next_ if "market_resumes" in line]
        assert "an M15 close above 1.10310, or S >= hedged_exit_score (0) at 2 M15 closes in a row, 0 so far" in resumes

    def test_the_other_side_is_told_the_other_way_round(self) -> None:
        against = StructureReading(-1, 3, "BOS", M15 - 9000, HIGH, LOW)
        next_ = said(self.covered(side=Side.SELL), view=view(structure=against))
        assert "against it: an M15 close above 1.10310" in next_
        assert "(market_resumes) needs an M15 close below 1.09790" in next_

    @pytest.mark.parametrize(
        ("structure", "words"),
        [
            (StructureReading(-1, 3, "BOS", 0.0, HIGH, LOW), "a break with it comes first, then one against it"),
            (StructureReading(1, 3, "BOS", 0.0, None, None), "below the next swing, which no bar has confirmed yet"),
            (Missing("a gap"), "structure cannot be read (a gap)"),
        ],
    )
    def test_where_no_price_can_be_named_it_says_why(self, structure: Any, words: str) -> None:
        assert words in said(self.covered(), view=view(structure=structure))

    def test_the_timer_says_how_much_open_market_is_left_and_when_that_is(self) -> None:
        # 4500 s, of which one M5 bar has passed since 22:12.
        wanted = "close_all (flat_timer) needs 4200 s more of open market (not before 2023-11-14T23:25:05Z)"
        assert wanted in told(self.covered()).next

    def test_a_hedge_that_is_being_closed_is_not_closed_twice(self) -> None:
        of = replace(self.covered(), obligations=(owed(K.CLOSE_HEDGE, episode=1),))
        assert "(market_resumes) needs nothing: closing the hedge is owed already" in said(of)

    def test_while_everything_is_closed_no_score_matters(self) -> None:
        of = replace(self.covered(), obligations=(owed(K.CLOSE_ALL, episode=1),))
        assert "no score changes anything: closing everything is owed" in said(of)

    def test_a_recovering_trade_names_score_count_and_deadline(self) -> None:
        of = happened(self.covered(), BrokerEvent.HEDGE_CLOSED, M15 + 720, P)
        next_ = said(of)
        assert "close_all (not_recovered) needs 1500 s more of open market (not before 2023-11-14T22:40:05Z)" in next_
        wanted = "(recovered) needs S >= 1 (recovered_score; now -1.25, 2.25 away); S >= recovered_score (1) at 2 M15"
        assert wanted in next_
        assert "WARNING_L2 with tighten_stop, move_stop_to_breakeven (score_worsens) needs S <= -4" in next_


class TestHeldBack:
    """What stands before everything else."""

    def first(self, of: Trade, **seen: Any) -> str:
        return told(of, **seen).next[0]

    def test_a_pending_trade_waits_for_its_position(self) -> None:
        of = trade(state=T.PENDING, verified_at=None)
        assert "rejected after pending_reject_s (60) connected seconds" in self.first(of)

    def test_a_missing_position_says_when_it_counts_as_gone(self) -> None:
        of = trade(frozen=Frozen.VERIFY, missing_since=NOW, missing_reads=2)
        assert "at 2023-11-14T22:25:05Z at the earliest, with 5 good reads (2 so far)" in self.first(of)

    def test_an_order_without_an_answer_says_how_long_it_is_looked_for(self) -> None:
        line = self.first(trade(frozen=Frozen.INTENT))
        assert "settle_market_s (60) connected seconds, with a dealer settle_request_s (180)" in line

    def test_an_old_quote_is_named_with_its_age(self) -> None:
        assert "the newest is 90 s old" in self.first(trade(), tick=Tick(NOW - 90, 1.1, 1.1001))
        assert "quote" not in said(trade(), tick=Tick(NOW - 30, 1.1, 1.1001))
        quiet = trade(flags=frozenset({"feed_quiet"}))
        assert "open at this time last week" in self.first(quiet, tick=Tick(NOW - 900, 1.1, 1.1001))

    def test_old_bars_stop_evaluations(self) -> None:
        old = view(m5_time=NOW - 1000)
        assert "no evaluation until the first M5 bar" in self.first(trade(), view=old)
        assert "no evaluation" not in said(trade())

    def test_a_market_that_was_never_read_leaves_the_table_as_it_is(self) -> None:
        next_ = said(trade(), view=None, tick=None)
        assert "nothing until its market has been read" in next_
        assert "score_warns: S <= l1_score (-2)" in next_

    @pytest.mark.parametrize(
        ("of", "seen", "words"),
        [
            ({}, {"mode": Mode.OBSERVE}, "DTMS only observes"),
            ({"owner": Owner.UNIVERSAL_MANAGER}, {}, "it belongs to universal_manager"),
            ({"owner": Owner.MANUAL, "managed": False}, {}, "it was released"),
            ({}, {"standing": Standing(control=Control.PAUSED, by="ann")}, "DTMS is paused by ann; resume ends it"),
            ({}, {"standing": Standing(control=Control.HALTED)}, "DTMS is halted by somebody; reset ends it"),
            ({}, {"may_trade": False}, "until programs may trade again"),
            (
                {},
                {"standing": Standing(news=(News(begins=NOW - 60, ends=NOW + 60, title="rates"),))},
                "no hedge and no partial close until 2023-11-14T22:16:05Z: rates",
            ),
        ],
    )
    def test_what_people_ordered_comes_first(self, of: dict[str, Any], seen: dict[str, Any], words: str) -> None:
        assert words in self.first(trade(**of), **seen)
        assert words not in said(trade())

    @pytest.mark.parametrize(
        ("state", "words"), [(T.CLOSED, "unless it is seen open again"), (T.REJECTED, "may be registered again")]
    )
    def test_what_is_over_says_so(self, state: TradeState, words: str) -> None:
        (line,) = told(trade(state=state)).next
        assert words in line


class TestScored:
    def test_the_times_and_prices_at_which_it_is_scored_next(self) -> None:
        # The M15 bar that began at 22:15; half an R against the entry; half an ATR against the last score's price.
        next_ = told(trade(event_deep_at=NOW - 300)).next
        assert "scored at 2023-11-14T22:30:05Z at the latest, when its M15 bar has closed" in next_
        assert "scored at the next M5 close once the price reaches 1.09750 (-0.5R)" in next_
        (by_price,) = [line for line in next_ if "reaches 1.09950" in line]
        assert "an M5 bar closes below 1.09800, or VWAP (1.09950) flips against it" in by_price
        assert by_price.endswith(", not before 2023-11-14T22:20:05Z")

    def test_a_crossed_half_r_and_a_flip_that_was_seen_are_not_waited_for(self) -> None:
        next_ = said(trade(below_half_r=True), view=view(vwap=VwapReading(1.0995, -1, 2, 0)))
        assert "-0.5R" not in next_
        assert "flips" not in next_

    def test_a_state_that_is_not_settled_is_scored_at_the_next_m5_close(self) -> None:
        assert "scored at 2023-11-14T22:20:05Z, when the next M5 bar has closed" in said(trade(evaluate_again=True))


class TestFired:
    @pytest.mark.parametrize("row", transitions.TABLE, ids=lambda row: f"{row.state}-{row.rule}")
    def test_a_rule_is_told_with_its_condition(self, row: transitions.Row) -> None:
        if row.next is not row.state:
            fired = told(trade(state=row.next, rule=row.rule, previous_state=row.state)).fired
            assert fired.startswith(f"{row.rule} at 2023-11-14T21:41:45Z from {row.state}: {row.when.split()[0]}")

    @pytest.mark.parametrize("row", broker_events.TABLE, ids=lambda row: f"{row.event}-{row.next}")
    def test_so_is_what_the_broker_did(self, row: broker_events.Row) -> None:
        fired = told(trade(state=row.next, rule=row.event.value)).fired
        assert row.when.split()[0] in fired

    def test_a_threshold_in_it_has_its_number(self) -> None:
        assert told(trade(state=T.WARNING_L1, rule="score_warns")).fired.endswith(": S <= l1_score (-2)")

    def test_of_a_closed_one_the_reason(self) -> None:
        of = trade(state=T.CLOSED, rule="closed", previous_state=T.HEDGED, closed_reason="STOP_LOSS")
        assert "closed at 2023-11-14T21:41:45Z from HEDGED (STOP_LOSS): " in told(of).fired

    @pytest.mark.parametrize("rule", ["registered", "verified", "never_appeared", "handed_over"])
    def test_rules_of_no_table_have_words_too(self, rule: str) -> None:
        assert not told(trade(rule=rule)).fired.endswith(f": {rule}")


class TestMissing:
    def test_a_reading_with_its_reason_and_one_that_is_not_configured(self) -> None:
        parts = (*ALL[1:], component("structure", available=False, reason="warming up"))
        parts += (component("delta", available=False, configured=False, reason="no order-flow provider"),)
        missing = told(trade(components=parts, coverage=0.7)).missing
        least = "80% are needed with structure, VWAP and momentum among them before the score makes a state better"
        assert missing == (
            "structure: warming up",
            "delta: no order-flow provider; not configured, so its weight is shared by the others",
            f"coverage 70%: {least}",
        )

    @pytest.mark.parametrize(("coverage", "lines"), [(0.59, 2), (0.6, 1), (0.79, 1), (0.8, 0)])
    def test_coverage_is_held_against_what_is_needed(self, coverage: float, lines: int) -> None:
        assert len(told(trade(coverage=coverage)).missing) == lines

    def test_before_the_first_score_there_is_none(self) -> None:
        assert told(trade(components=(), score=None)).missing == ("the score: it was never computed",)


@pytest.mark.parametrize("state", list(TradeState))
@pytest.mark.parametrize("seen", [{}, {"view": None, "tick": None}])
def test_every_state_has_an_explanation(state: TradeState, seen: dict[str, Any]) -> None:
    verified = None if state in {T.PENDING, T.REJECTED} else NOW
    why = told(trade(state=state, verified_at=verified), **seen)
    assert why.fired
    assert why.next


async def test_what_is_owed_is_told_with_its_reason_and_its_next_time(tmp_path: Path) -> None:
    world, ticket = await hedged(tmp_path)
    await world.simulator.set_fault({"kind": "retcode", "retcode": 10006, "count": 9})
    await world.simulator.close_position(ticket, None)
    await world.advance(30)
    (line, _) = world.dtms.explain(world.trade(ticket)).next
    assert re.match(r"close_hedge is owed \(orphan_hedge, \d sent so far\): close \S+ lots of \d+ is asked", line)
    assert re.search(r"; not before 20\d\d-", line)
    await world.close()


async def test_what_happens_was_foretold_in_the_cycle_before(tmp_path: Path) -> None:
    world = await open_world(tmp_path, parameters=NERVOUS)
    (before,) = await world.protect(1, volume=0.2, side="SELL")
    rules = {row.rule for row in transitions.TABLE}
    lines = world.dtms.explain(before).next
    moved: list[str] = []
    scored = 0
    while not before.state.final:
        await world.advance(30)
        now = world.trade(before.ticket)
        if now.episode != before.episode and now.rule in rules:
            assert any(f"({now.rule}) " in line for line in lines), (now.rule, lines)
            moved.append(now.rule)
        latest = [at for at in map(scored_at, lines) if at is not None]
        if latest and latest[0] <= world.dtms.now() and not now.state.final:
            assert now.score_at is not None
            assert now.score_at >= latest[0], lines
            scored += 1
        before, lines = now, world.dtms.explain(now).next
    assert (moved, scored) == (["score_warns", "score_worsens"], 7)  # from 8:00 to 9:45
    assert before.previous_state is TradeState.HEDGED
    await world.close()


def scored_at(line: str) -> float | None:
    found = re.match(r"scored at (\S+Z) at the latest", line)
    return datetime.fromisoformat(found[1]).timestamp() if found else None


async def test_breakeven_goes_out_at_the_price_that_was_named(tmp_path: Path) -> None:
    world = await open_world(tmp_path, parameters=NERVOUS, seed=8)
    (held,) = await world.protect(1, volume=0.2, side="SELL")
    named: list[float] = []

    def sent() -> bool:
        of = world.trade(held.ticket)
        lines = world.dtms.explain(of).next
        named.extend(float(m[1]) for m in re.finditer(r"possible once the price reaches (\S+);", "\n".join(lines)))
        done = [o for o in of.obligations if o.kind is K.BREAKEVEN and o.status is not S.DUE]
        return of.state.final or bool(done)

    await until(world, sent)
    (breakeven,) = [o for o in world.trade(held.ticket).obligations if o.kind is K.BREAKEVEN]
    assert breakeven.status is S.DONE
    price = world.dtms.book.ticks["EURUSD"].ask
    assert named[-1] - 0.001 <= price <= named[-1] + 0.0002  # spread, ATR and price of a cycle later
    await world.close()
