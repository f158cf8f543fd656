from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from domain_values import EURUSD, GRID, T0, USDJPY, XAUUSD, P, market, owed, position, scene, trade
from hypothesis import assume, given
from hypothesis import strategies as st

from dtms_service.domain.levels import broker_distance
from dtms_service.domain.orders import ClosePosition, ModifyStops
from dtms_service.domain.plan import Instead, Plan, Refuse, Satisfied, Send, Wait, plan
from dtms_service.domain.policy import STOP_REMOVED
from dtms_service.domain.trade import ObligationKind
from dtms_service.domain.values import Side, TradeMode
from dtms_service.domain.view import Missing

K = ObligationKind
MAGIC = 445401700000123
NOW = T0 + 3605.0


def stop_sent(answer: Plan) -> float:
    assert isinstance(answer, Send), answer
    assert isinstance(answer.order, ModifyStops)
    assert answer.order.stop_loss == answer.target
    return answer.target


def part_closed(answer: Plan) -> tuple[float, float]:
    """Volume of the order and the absolute target."""
    assert isinstance(answer, Send), answer
    assert isinstance(answer.order, ClosePosition)
    return answer.order.volume, answer.target


def tighten(held, price: float, *, risk: float, spec=EURUSD, spread: float = 0.0001, **more) -> Plan:
    view = more.pop("view", None) or market(NOW, atr=more.pop("atr", 0.001), median_spread=spread)
    obligation = owed(K.TIGHTEN_STOP, **more)
    return plan(trade(held, risk=risk), obligation, scene(held, price, spread=spread, spec=spec, view=view), MAGIC, P)


class TestTighten:
    @pytest.mark.parametrize(
        ("spec", "side", "price", "risk", "atr", "spread", "stop"),
        [
            # 0.3 R from the closing price, on a tick, away from it (B7.1):
            (EURUSD, Side.BUY, 1.10000, 0.0050, 0.0010, 0.0001, 1.09850),
            (EURUSD, Side.SELL, 1.10000, 0.0050, 0.0010, 0.0001, 1.10150),
            (EURUSD, Side.BUY, 1.10000, 0.00501, 0.0010, 0.0001, 1.09849),  # 1.098497
            (EURUSD, Side.SELL, 1.10000, 0.00501, 0.0010, 0.0001, 1.10151),
            (XAUUSD, Side.BUY, 2034.55, 10.0, 2.0, 0.2, 2031.55),
            (XAUUSD, Side.SELL, 2034.55, 10.01, 2.0, 0.2, 2037.56),  # 2037.553
            (USDJPY, Side.BUY, 151.234, 0.5, 0.1, 0.01, 151.084),
            (USDJPY, Side.SELL, 151.234, 0.501, 0.1, 0.01, 151.385),  # 151.3843
            # R2: never nearer than 0.5 ATR + spread:
            (EURUSD, Side.BUY, 1.10000, 0.0010, 0.0010, 0.0001, 1.09940),
            (EURUSD, Side.SELL, 1.10000, 0.0010, 0.0010, 0.0001, 1.10060),
            (XAUUSD, Side.BUY, 2034.55, 2.0, 2.0, 0.2, 2033.35),
        ],
    )
    def test_the_new_stop_is_three_tenths_of_r_away_and_outside_the_noise(
        self, spec, side, price, risk, atr, spread, stop
    ):
        held = position(spec, side, price_open=price)
        assert stop_sent(tighten(held, price, risk=risk, spec=spec, atr=atr, spread=spread)) == stop

    def test_the_hard_distance_is_half_of_that(self):
        # 0.15 * 0.01 = 0.0015
        assert stop_sent(tighten(position(), 1.1, risk=0.01, r_multiple=0.15)) == 1.0985

    def test_the_brokers_distance_wins_where_it_is_larger(self):
        far = replace(EURUSD, stops_level=200)  # 0.00200 + one tick
        assert stop_sent(tighten(position(far), 1.1, risk=0.005, spec=far)) == 1.09799

    def test_the_take_profit_is_passed_through_and_the_order_names_position_and_intent(self):
        answer = tighten(position(take_profit=1.1234567), 1.1, risk=0.005)
        assert isinstance(answer, Send)
        assert answer.order == ModifyStops(1001, "EURUSD", 1.0985, 1.1234567, MAGIC, "DTTrt")  # 1001 = 27 * 36 + 29

    @pytest.mark.parametrize("present", [1.0985, 1.0990, 1.0986, 1.0983])
    def test_a_stop_that_is_as_tight_or_nearly_so_is_left_alone(self, present):
        # The gain must be 0.05 R = 0.00025 at least: 1.0985 - 1.0983 is not.
        assert isinstance(tighten(position(stop_loss=present), 1.1, risk=0.005), Satisfied)

    @pytest.mark.parametrize("present", [1.0982, 1.0950, None])
    def test_a_stop_that_is_looser_is_moved(self, present):
        assert stop_sent(tighten(position(stop_loss=present), 1.1, risk=0.005)) == 1.0985

    def test_each_refusal_for_a_stop_too_near_moves_it_one_spread_away_and_three_at_most(self):
        # Floor 0.5 * 0.001 + 0.0001 = 0.0006 before the first refusal.
        stops = [stop_sent(tighten(position(), 1.1, risk=0.001, too_near=n)) for n in range(6)]
        assert stops == [1.0994, 1.0993, 1.0992, 1.0991, 1.0991, 1.0991]

    def test_other_failures_do_not_move_it(self):
        assert stop_sent(tighten(position(), 1.1, risk=0.001, attempts=5)) == 1.0994

    @pytest.mark.parametrize("view", [Missing("no bars"), market(NOW, atr=Missing("warm-up"))])
    def test_without_an_atr_nothing_is_sent(self, view):
        assert tighten(position(), 1.1, risk=0.005, view=view) == Wait("no_atr")

    def test_a_stop_below_zero_is_refused(self):
        assert isinstance(tighten(position(price_open=0.001), 0.001, risk=0.005), Refuse)

    @pytest.mark.parametrize(("stop", "answer"), [(1.09, Satisfied), (None, Send)])
    def test_a_stop_owed_because_a_hand_removed_the_last_one_yields_to_a_hand_that_set_another(self, stop, answer):
        assert isinstance(tighten(position(stop_loss=stop), 1.1, risk=0.005, reason=STOP_REMOVED), answer)


class TestBreakeven:
    def at(self, price: float, *, side: Side = Side.BUY, swap: float = 0.0, stop: float | None = None, **more) -> Plan:
        held = position(side=side, price_open=1.1, swap=swap, stop_loss=stop, take_profit=1.2)
        return plan(trade(held, risk=0.005), owed(K.BREAKEVEN, **more), scene(held, price), MAGIC, P)

    @pytest.mark.parametrize(
        ("side", "price", "swap", "stop"),
        [
            (Side.BUY, 1.105, 0.0, 1.1001),  # entry + spread
            (Side.SELL, 1.095, 0.0, 1.0999),
            (Side.BUY, 1.105, -10.0, 1.1002),  # 10 on one lot of 1.0 per tick is ten ticks
            (Side.SELL, 1.095, -10.0, 1.0998),
            (Side.BUY, 1.105, 25.0, 1.1001),  # swap earned is not spent
        ],
    )
    def test_breakeven_is_the_entry_plus_what_closing_there_costs(self, side, price, swap, stop):
        assert stop_sent(self.at(price, side=side, swap=swap)) == stop

    def test_commission_counts_both_ways(self):
        held = position(side=Side.BUY, price_open=1.1, volume=0.4)
        # 3.50 a lot at the opening and again at the close: seven ticks of 1.0 per lot.
        answer = plan(trade(held, risk=0.005, commission=3.5), owed(K.BREAKEVEN), scene(held, 1.105), MAGIC, P)
        assert stop_sent(answer) == 1.10017

    @pytest.mark.parametrize(("side", "price"), [(Side.BUY, 1.0999), (Side.SELL, 1.1001)])
    def test_under_water_the_stop_is_tightened_instead_and_breakeven_stays_owed(self, side, price):
        assert self.at(price, side=side) == Instead("breakeven_out_of_reach", hard=False, keep=True, flag="be_pending")

    def test_breakeven_waits_until_the_price_is_out_of_the_noise_around_it(self):
        # Target 1.1001, floor 0.0006.
        assert isinstance(self.at(1.10065), Instead)
        assert stop_sent(self.at(1.10075)) == 1.1001

    @pytest.mark.parametrize("stop", [1.1001, 1.1005])
    def test_a_stop_at_breakeven_or_closer_satisfies_it(self, stop):
        assert self.at(1.105, stop=stop) == Satisfied("stop_is_at_breakeven")

    def test_a_stop_just_short_of_breakeven_is_worth_no_order(self):
        assert isinstance(self.at(1.105, stop=1.1), Satisfied)


class TestPartialClose:
    def half(self, volume: float, *, spec=EURUSD, v0: float | None = None, **more) -> Plan:
        held = position(spec, volume=volume)
        about = {n: more.pop(n) for n in ("partials", "closed_by_us") if n in more}
        of = trade(held, initial_volume=volume if v0 is None else v0, **about)
        return plan(of, owed(K.PARTIAL_CLOSE, **more), scene(held, 1.1, spec=spec), MAGIC, P)

    @pytest.mark.parametrize(
        ("spec", "volume", "part", "left"),
        [
            (EURUSD, 1.0, 0.5, 0.5),
            (EURUSD, 0.03, 0.01, 0.02),  # 0.015 is rounded down
            (EURUSD, 0.02, 0.01, 0.01),
            (EURUSD, 0.35, 0.17, 0.18),
            (XAUUSD, 0.5, 0.2, 0.3),
            (XAUUSD, 0.3, 0.1, 0.2),
            (USDJPY, 5.0, 2.0, 3.0),
        ],
    )
    def test_half_is_closed_rounded_down_to_a_step_and_the_rest_is_the_target(self, spec, volume, part, left):
        assert part_closed(self.half(volume, spec=spec)) == (part, left)

    @pytest.mark.parametrize(("spec", "volume"), [(EURUSD, 0.01), (XAUUSD, 0.1), (USDJPY, 1.0)])
    def test_what_is_too_small_to_halve_is_tightened_hard_instead(self, spec, volume):
        assert self.half(volume, spec=spec) == Instead("too_small_for_a_partial_close", hard=True)

    @pytest.mark.parametrize(("least", "volume"), [(0.1, 0.19), (1.0, 1.9)])
    def test_neither_part_may_fall_below_the_least_volume(self, least, volume):
        spec = replace(EURUSD, volume_min=least)
        assert isinstance(self.half(volume, spec=spec), Instead)

    def test_the_rest_may_not_fall_below_the_least_volume_when_more_than_half_is_closed(self):
        held = position(volume=0.1)  # 0.07 would leave 0.03
        at = scene(held, 1.1, spec=replace(EURUSD, volume_min=0.05))
        answer = plan(trade(held), owed(K.PARTIAL_CLOSE), at, MAGIC, replace(P, partial_fraction=0.7))
        assert answer == Instead("too_small_for_a_partial_close", hard=True)

    def test_the_order_closes_the_position_by_its_ticket_on_its_own_side(self):
        answer = self.half(1.0)
        assert isinstance(answer, Send)
        assert answer.order == ClosePosition(1001, "EURUSD", Side.BUY, 0.5, MAGIC, "DTPrt")

    def test_there_is_one_partial_close_per_trade(self):
        assert self.half(0.5, v0=1.0, partials=1, closed_by_us=0.5) == Satisfied("partial_close_done_before")

    def test_what_was_closed_before_the_rest_was_cancelled_counts_too(self):
        # 0.3 of 1.0 was filled, the rest refused, and the score eased: 0.2 is left of the half, not half of 0.7.
        assert part_closed(self.half(0.7, v0=1.0, closed_by_us=0.3)) == (0.2, 0.5)
        assert isinstance(self.half(0.5, v0=1.0, closed_by_us=0.5), Satisfied)

    def test_volume_that_others_added_is_not_ours_to_close(self):
        # C-9: at most half of what was registered; R15: only the registered part on a netting account.
        assert part_closed(self.half(4.0, v0=1.0)) == (0.5, 3.5)

    def test_a_target_that_was_sent_stays_fixed_whatever_the_volume_became(self):
        assert part_closed(self.half(0.7, v0=1.0, target=0.5, closed_by_us=0.3)) == (0.2, 0.5)
        assert isinstance(self.half(0.5, v0=1.0, target=0.5), Satisfied)
        assert isinstance(self.half(0.4, v0=1.0, target=0.5), Satisfied)
        assert part_closed(self.half(3.0, v0=1.0, target=0.5)) == (0.5, 0.5)  # others added: no more than half of V0

    def test_a_rest_below_the_least_volume_is_left(self):
        spec = replace(EURUSD, volume_min=0.1)
        assert isinstance(self.half(0.55, v0=1.0, target=0.5, spec=spec, closed_by_us=0.45), Satisfied)

    def test_more_than_the_largest_volume_is_closed_in_pieces_with_one_target(self):
        spec = replace(EURUSD, volume_max=20.0)
        assert part_closed(self.half(100.0, spec=spec)) == (20.0, 50.0)
        rest = self.half(80.0, v0=100.0, spec=spec, target=50.0, closed_by_us=20.0)
        assert part_closed(rest) == (20.0, 50.0)
        last = self.half(60.0, v0=100.0, spec=spec, target=50.0, closed_by_us=40.0)
        assert part_closed(last) == (10.0, 50.0)


class TestWhenNothingMayBeSent:
    KINDS = (K.TIGHTEN_STOP, K.BREAKEVEN, K.PARTIAL_CLOSE)

    def answer(self, kind, *, held=None, price: float = 1.105, spec=EURUSD, created_at: float = T0, **more) -> Plan:
        held = held or position()
        of = trade(held, risk=0.005)
        return plan(of, owed(kind, created_at=created_at), scene(held, price, spec=spec, **more), MAGIC, P)

    @pytest.mark.parametrize("kind", KINDS)
    def test_an_old_quote_is_not_planned_on(self, kind):
        # E.3: stale ticks or a closed market: nothing.
        assert isinstance(self.answer(kind, tick_age=60.0), Send)
        assert isinstance(self.answer(kind, tick_age=60.1), Wait)

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_disabled_symbol_waits(self, kind):
        closed = replace(EURUSD, trade_mode=TradeMode.DISABLED)
        assert isinstance(self.answer(kind, spec=closed), Wait)

    @pytest.mark.parametrize("mode", [m for m in TradeMode if m is not TradeMode.DISABLED])
    @pytest.mark.parametrize("kind", KINDS)
    def test_reducing_risk_is_possible_in_every_other_trade_mode(self, kind, mode):
        assert isinstance(self.answer(kind, spec=replace(EURUSD, trade_mode=mode)), Send)

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize(
        ("stop", "target", "frozen"),
        [(1.0949, None, False), (None, 1.1060, True), (None, 1.1061, False), (1.0945, 1.1055, True)],
    )
    def test_nothing_is_sent_while_the_price_is_within_the_freeze_level_of_a_level(self, kind, stop, target, frozen):
        # C-14 and retcode 10029: 100 points = 0.001 around 1.105.
        spec = replace(EURUSD, freeze_level=100)
        answer = self.answer(kind, held=position(stop_loss=stop, take_profit=target), spec=spec)
        assert isinstance(answer, Wait if frozen else Send)

    def test_a_stop_inside_its_own_freeze_level_is_not_touched(self):
        spec = replace(EURUSD, freeze_level=100)
        near = self.answer(K.PARTIAL_CLOSE, held=position(stop_loss=1.1041), spec=spec)
        assert near == Wait("inside_freeze_level")

    def test_a_partial_close_waits_for_a_normal_spread_but_five_minutes_at_most(self):
        wide = {"spread": 0.00021, "view": market(NOW, median_spread=0.0001)}
        assert isinstance(self.answer(K.PARTIAL_CLOSE, created_at=NOW - 299, **wide), Wait)
        assert isinstance(self.answer(K.PARTIAL_CLOSE, created_at=NOW - 300, **wide), Send)
        usual = {"spread": 0.0002, "view": market(NOW, median_spread=0.0001)}
        assert isinstance(self.answer(K.PARTIAL_CLOSE, created_at=NOW, **usual), Send)

    def test_three_points_of_spread_defer_nothing(self):
        view = market(NOW, median_spread=0.00001)
        assert isinstance(self.answer(K.PARTIAL_CLOSE, created_at=NOW, spread=0.00003, view=view), Send)
        assert isinstance(self.answer(K.PARTIAL_CLOSE, created_at=NOW, spread=0.00004, view=view), Wait)

    def test_a_stop_outside_two_spreads_is_moved_in_a_wide_market_too(self):
        # 0.3 R = 0.0015; wide: 0.0007 of 0.0001. Inside two spreads: 0.0008.
        outside = {"spread": 0.0007, "view": market(NOW, median_spread=0.0001)}
        assert isinstance(self.answer(K.TIGHTEN_STOP, created_at=NOW, **outside), Send)
        inside = {"spread": 0.0008, "view": market(NOW, median_spread=0.0001, atr=0.0001)}
        assert isinstance(self.answer(K.TIGHTEN_STOP, created_at=NOW - 299, **inside), Wait)
        assert isinstance(self.answer(K.TIGHTEN_STOP, created_at=NOW - 300, **inside), Send)


@given(identifier=st.integers(1, 2**53))
def test_the_comment_is_at_most_sixteen_letters_and_digits_and_holds_the_identifier(identifier):
    held = position(identifier=identifier)
    answer = plan(trade(held, risk=0.005), owed(K.TIGHTEN_STOP), scene(held, 1.1), MAGIC, P)
    assert isinstance(answer, Send)
    comment = answer.order.comment
    assert len(comment) <= 16
    assert comment.isalnum()
    assert comment.startswith("DTT")
    assert int(comment[3:], 36) == identifier


SPECS = st.sampled_from(
    [
        EURUSD,
        replace(EURUSD, stops_level=30, freeze_level=10),
        replace(EURUSD, volume_min=0.1, volume_max=0.5),
        XAUUSD,
        replace(XAUUSD, stops_level=120, tick_size=0.05),
        USDJPY,
        replace(USDJPY, freeze_level=40),
    ]
)


@st.composite
def situations(draw: st.DrawFn):
    """A position anywhere, in units of its own ATR, and something that is owed."""
    spec = draw(SPECS)
    side = draw(st.sampled_from(Side))
    middle = {"EURUSD": 1.1, "XAUUSD": 2034.55, "USDJPY": 151.234}[spec.name]
    atr = middle * draw(st.floats(0.0002, 0.003))
    spread = spec.tick_size * draw(st.integers(0, 40))

    def on_tick(value: float) -> float:
        return round(round(value / spec.tick_size) * spec.tick_size, spec.digits)

    price = on_tick(middle + atr * draw(st.floats(-5, 5)))
    losing = st.none() | st.floats(0.1, 8).map(lambda d: on_tick(price - side.sign * atr * d))
    winning = st.none() | st.floats(0.1, 8).map(lambda d: on_tick(price + side.sign * atr * d))
    step = Decimal(str(spec.volume_step))
    volume = float(Decimal(str(spec.volume_min)) + step * draw(st.integers(0, 300)))
    held = position(
        spec,
        side,
        volume=volume,
        price_open=on_tick(middle),
        stop_loss=draw(losing),
        take_profit=draw(winning),
        swap=draw(st.floats(-50, 50)),
    )
    of = trade(
        held,
        risk=atr * draw(st.floats(0.5, 10)),
        initial_volume=draw(st.sampled_from([volume, float(Decimal(str(volume)) * 2)])),
        closed_by_us=0.0,
    )
    obligation = owed(
        draw(st.sampled_from([K.TIGHTEN_STOP, K.BREAKEVEN, K.PARTIAL_CLOSE])),
        too_near=draw(st.integers(0, 5)),
        attempts=draw(st.integers(0, 5)),
    )
    view = market(NOW, atr=atr, median_spread=draw(st.none() | st.just(max(spread, spec.point))))
    return of, obligation, scene(held, price, spread=spread, spec=spec, view=view)


@given(situations())
def test_no_planned_stop_is_looser_inside_the_noise_off_a_tick_or_too_near_and_no_target_changes(situation):
    of, obligation, at = situation
    answer = plan(of, obligation, at, MAGIC, P)
    assume(isinstance(answer, Send) and isinstance(answer.order, ModifyStops))
    order, held, spec = answer.order, at.position, at.spec
    price = at.tick.closing_price(held.side)
    room = held.side.sign * (price - order.stop_loss)
    assert order.take_profit == held.take_profit  # C-2
    if held.stop_loss is not None:
        assert held.side.sign * (order.stop_loss - held.stop_loss) > 0  # C-1
    assert Decimal(str(order.stop_loss)) % Decimal(str(spec.tick_size)) == 0  # C-14
    assert room >= broker_distance(spec) - spec.tick_size / 2  # C-14: the distance holds one tick of reserve
    assert room >= P.noise_floor_atr * at.view.atr + at.tick.spread - spec.tick_size / 1000  # R2
    assert order.stop_loss > 0


@given(situations())
def test_no_planned_close_is_off_a_step_above_its_limits_or_leaves_less_than_the_least_volume(situation):
    of, obligation, at = situation
    answer = plan(of, obligation, at, MAGIC, P)
    assume(isinstance(answer, Send) and isinstance(answer.order, ClosePosition))
    order, held, spec = answer.order, at.position, at.spec
    volume, left = Decimal(str(order.volume)), Decimal(str(held.volume)) - Decimal(str(order.volume))
    assert volume % Decimal(str(spec.volume_step)) == 0  # C-13
    assert spec.volume_min <= order.volume <= spec.volume_max
    assert left >= Decimal(str(answer.target)) >= Decimal(str(spec.volume_min))  # C-9
    assert volume <= Decimal(str(of.initial_volume)) / 2
    assert (order.side, order.ticket) == (held.side, held.ticket)


@given(situations())
def test_an_effect_that_was_done_is_not_planned_again(situation):
    # C-11: on the snapshot after the effect the same obligation is satisfied.
    of, obligation, at = situation
    answer = plan(of, obligation, at, MAGIC, P)
    assume(isinstance(answer, Send))
    if isinstance(answer.order, ModifyStops):
        after = replace(at, position=replace(at.position, stop_loss=answer.order.stop_loss))
        again = plan(of, obligation, after, MAGIC, P)
    else:
        assume(answer.order.volume < at.spec.volume_max)
        done = answer.order.volume
        after = replace(at, position=replace(at.position, volume=answer.target))
        again = plan(replace(of, closed_by_us=done), replace(obligation, target=answer.target), after, MAGIC, P)
    assert not isinstance(again, Send)


@given(
    kind=st.sampled_from([K.TIGHTEN_STOP, K.BREAKEVEN, K.PARTIAL_CLOSE]),
    steps=st.integers(-160, 160),
    risk=st.integers(8, 160),
    stop=st.none() | st.integers(1, 160),
    spread=st.integers(0, 8),
)
def test_a_mirrored_scene_is_planned_alike(kind, steps, risk, stop, spread):
    middle = 100.0

    def run(sign: int) -> Plan:
        side = Side.BUY if sign > 0 else Side.SELL
        price = middle + sign * steps / 16
        held = position(
            GRID,
            side,
            price_open=middle,
            stop_loss=None if stop is None else price - sign * stop / 16,
            take_profit=middle + sign * 50,
        )
        view = market(NOW, atr=1.0, median_spread=0.125)
        of = trade(held, risk=risk / 16)
        return plan(of, owed(kind), scene(held, price, spread=spread / 16, spec=GRID, view=view), MAGIC, P)

    buy, sell = run(1), run(-1)
    assert type(buy) is type(sell)
    if isinstance(buy, Send) and isinstance(sell, Send):
        if isinstance(buy.order, ModifyStops):
            assert 2 * middle - buy.target == sell.target
        else:
            assert (buy.target, buy.order.volume) == (sell.target, sell.order.volume)
    else:
        assert buy == sell
