from __future__ import annotations

from dataclasses import asdict, replace

import pytest
from domain_values import EURUSD, T0, P, deal, owed, position, trade
from hypothesis import given
from hypothesis import strategies as st

from dtms_service.domain import effects
from dtms_service.domain.evidence import done_volume, settle, settle_window
from dtms_service.domain.orders import ClosePosition, ModifyStops
from dtms_service.domain.sighting import Sighting
from dtms_service.domain.trade import Intent, IntentState, ObligationKind, ObligationStatus
from dtms_service.domain.values import Deal, DealEntry, DealReason, Execution, Side, WorkingOrder

K, IS = ObligationKind, IntentState
MAGIC = 445401700000123


def closing(volume: float = 0.5, of: float = 1.0, **changes: object) -> Intent:
    order = ClosePosition(1001, "EURUSD", Side.BUY, volume, MAGIC, "DTPrt")
    return intent(K.PARTIAL_CLOSE, {**asdict(order), "target": of - volume}, of, **changes)


def stop(at: float = 1.095, side: Side = Side.BUY) -> Intent:
    order = ModifyStops(1001, "EURUSD", at, None, MAGIC, "DTTrt")
    return intent(K.TIGHTEN_STOP, {**asdict(order), "target": at}, 1.0)


def intent(kind: ObligationKind, plan: dict[str, object], volume: float, **changes: object) -> Intent:
    values = {
        "magic": MAGIC,
        "trade_id": 1,
        "kind": kind,
        "episode": 1,
        "leg": 1,
        "state": IS.UNKNOWN,
        "plan": plan,
        "before": {"volume": volume, "stop_loss": 1.09, "take_profit": None},
        "reason": "score_warns",
        "created_at": T0,
        "sending_at": T0,
    }
    return Intent(**{**values, **changes})


def seen(
    *,
    volume: float | None = 1.0,
    stop_loss: float | None = 1.09,
    side: Side = Side.BUY,
    deals=(),
    orders=(),
    connected_s: float = 0.0,
    good_reads: int = 1,
) -> Sighting:
    there = None if volume is None else position(side=side, volume=volume, stop_loss=stop_loss)
    return Sighting(position=there, orders=orders, deals=deals, connected_s=connected_s, good_reads=good_reads)


def working(magic: int = MAGIC, ticket: int = 900) -> WorkingOrder:
    return WorkingOrder(ticket, 1001, "EURUSD", magic, 0.5, 0.5, T0, "")


def ours(volume: float, ticket: int = 50) -> object:
    return deal(ticket, DealEntry.OUT, volume, magic=MAGIC, reason=DealReason.EXPERT)


@pytest.mark.parametrize(
    ("execution", "seconds"),
    [(Execution.MARKET, 60), (Execution.EXCHANGE, 60), (Execution.INSTANT, 180), (Execution.REQUEST, 180)],
)
def test_the_settle_window_is_that_of_the_execution(execution, seconds):
    spec = replace(EURUSD, execution=execution)
    assert settle_window(spec, P) == seconds
    silent = closing()
    assert settle(silent, seen(connected_s=seconds - 0.1, good_reads=99), spec, T0, P) is silent
    assert settle(silent, seen(connected_s=seconds, good_reads=3), spec, T0, P).state is IS.NOT_EXECUTED


def test_three_good_reads_are_needed_however_long_it_took():
    silent = closing()
    assert settle(silent, seen(connected_s=9999, good_reads=2), EURUSD, T0, P) is silent


def test_a_deal_with_our_magic_confirms_and_names_deal_and_order():
    after = settle(closing(), seen(deals=[deal(1, DealEntry.IN), ours(0.5)], volume=0.5), EURUSD, T0 + 9, P)
    assert (after.state, after.deal, after.order, after.resolved_at) == (IS.CONFIRMED, 50, 5050, T0 + 9)


def test_deals_add_up():
    deals = [ours(0.2, 50), ours(0.3, 51)]
    assert settle(closing(), seen(deals=deals, volume=0.5), EURUSD, T0, P).state is IS.CONFIRMED


def test_a_part_that_was_filled_is_partial_once_no_order_is_working_any_more():
    some = [ours(0.2)]
    waiting = closing()
    assert settle(waiting, seen(deals=some, volume=0.8, orders=[working()]), EURUSD, T0, P) is waiting
    assert settle(waiting, seen(deals=some, volume=0.8), EURUSD, T0, P).state is IS.PARTIAL


@pytest.mark.parametrize("order", [working(), working(magic=0, ticket=700)])
def test_a_working_order_of_ours_keeps_the_question_open_whatever_the_time(order):
    # engine.md D1: the magic, then the ticket the reply named.
    placed = closing(order=700)
    assert settle(placed, seen(connected_s=9999, good_reads=99, orders=[order]), EURUSD, T0, P) is placed


def test_another_programs_order_says_nothing():
    after = settle(closing(), seen(connected_s=60, good_reads=3, orders=[working(magic=77, ticket=1)]), EURUSD, T0, P)
    assert after.state is IS.NOT_EXECUTED


def test_a_deal_of_the_order_that_the_reply_named_is_ours_though_its_magic_was_lost():
    placed = closing(order=5050)
    unsigned = deal(50, DealEntry.OUT, 0.5, magic=0, reason=DealReason.EXPERT)
    assert settle(placed, seen(deals=[unsigned]), EURUSD, T0, P).state is IS.CONFIRMED


@pytest.mark.parametrize(("volume", "confirmed"), [(0.5, True), (0.4, True), (0.51, False), (1.0, False)])
def test_a_volume_at_its_target_is_the_effect_even_without_a_deal_of_ours(volume, confirmed):
    # D4: the effect test of a partial close is V <= V_target + step/2; closing once more would be the second half.
    lost = closing()
    after = settle(lost, seen(volume=volume), EURUSD, T0, P)
    assert (after.state is IS.CONFIRMED) is confirmed


def test_the_effect_of_one_piece_of_a_large_close_is_its_own_volume():
    piece = closing(20.0, 100.0)
    piece = replace(piece, plan={**piece.plan, "target": 50.0})
    assert settle(piece, seen(volume=80.0), EURUSD, T0, P).state is IS.CONFIRMED


@pytest.mark.parametrize(
    ("side", "present", "confirmed"),
    [
        (Side.BUY, 1.095, True),
        (Side.BUY, 1.096, True),
        (Side.BUY, 1.094, False),
        (Side.BUY, None, False),
        (Side.SELL, 1.095, True),
        (Side.SELL, 1.094, True),
        (Side.SELL, 1.096, False),
    ],
)
def test_a_stop_at_its_target_or_closer_is_the_effect(side, present, confirmed):
    asked = stop(side=side)
    after = settle(asked, seen(stop_loss=present, side=side), EURUSD, T0, P)
    assert (after.state is IS.CONFIRMED) is confirmed
    assert confirmed or after is asked


def nameless(volume: float, ticket: int = 50, **changes: object) -> Deal:
    """A deal of a program that closes a BUY position, without a magic."""
    facts = {"magic": 0, "side": Side.SELL, "reason": DealReason.EXPERT, "time": T0 + 1}
    return deal(ticket, DealEntry.OUT, volume, **{**facts, **changes})


def waited(asked: Intent, **facts: object) -> tuple[IntentState, float | None]:
    """The state after the settle window, before which nothing may be said, and the lots that count as done."""
    assert settle(asked, seen(**facts), EURUSD, T0 + 30, P) is asked
    over = seen(connected_s=60, good_reads=3, **facts)
    after = settle(asked, over, EURUSD, T0 + 60, P)
    return after.state, done_volume(after, over, EURUSD)


def test_a_part_that_a_nameless_deal_closed_counts_as_ours():
    # By hand: 1.0 lots, 0.5 asked, 0.3 closed without our magic; not counted, a later part could close 0.5 more.
    assert waited(closing(), deals=[nameless(0.3)], volume=0.7) == (IS.NOT_EXECUTED, 0.3)


def test_a_nameless_close_counts_though_somebody_added_as_much():
    # A netting account: 1.0 - 0.5 (ours) + 0.5 (theirs): the volume alone says that nothing happened.
    added = deal(51, DealEntry.IN, 0.5, magic=0, time=T0 + 2)
    assert waited(closing(), deals=[deal(1, DealEntry.IN), nameless(0.5), added], volume=1.0) == (IS.NOT_EXECUTED, 0.5)


def test_a_nameless_deal_from_before_the_order_is_not_counted_twice():
    # Deals may be dated 5 s early; but 0.5 was still open when the order was sent, so that deal is an earlier one's.
    asked = closing(0.25, of=0.5)
    assert waited(asked, deals=[nameless(0.25, time=T0 - 2)], volume=0.5) == (IS.NOT_EXECUTED, None)


@pytest.mark.parametrize(
    "changes",
    [
        {"side": Side.BUY},
        {"symbol": "GBPUSD"},
        {"volume": 0.6},
        {"reason": DealReason.CLIENT},
        {"magic": 77},
        {"time": T0 - 6},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_deal_that_differs_is_not_counted_as_ours(changes):
    other = replace(nameless(0.3), **changes)
    assert waited(closing(), deals=[other], volume=0.7) == (IS.NOT_EXECUTED, None)


def test_what_counts_for_the_half_ends_nothing():
    of = trade(obligations=(owed(K.PARTIAL_CLOSE),))
    sent, _, asked = effects.sent(
        of, of.obligations[0], ClosePosition(1001, "EURUSD", Side.BUY, 0.5, MAGIC, "DTPrt"), 0.5, T0
    )
    over = seen(deals=[nameless(0.3)], volume=0.7, connected_s=60, good_reads=3)
    after = settle(replace(asked, state=IS.UNKNOWN), over, EURUSD, T0 + 60, P)
    told = effects.settled(sent, after, done_volume(after, over, EURUSD), T0 + 60, P)
    assert (told.closed_by_us, told.partials, told.obligations[0].status) == (0.3, 0, ObligationStatus.DUE)
    assert told.obligations[0].target == 0.5


def test_a_close_of_everything_counts_no_nameless_volume():
    # A netting account: what others sold and bought back meanwhile would leave nothing for DTMS to close.
    everything = replace(closing(1.0, of=1.5), kind=K.CLOSE_ALL)
    added = deal(51, DealEntry.IN, 1.0, magic=0, time=T0 + 2)
    deals = [deal(1, DealEntry.IN, 1.5), nameless(1.0), added]
    assert waited(everything, deals=deals, volume=1.5) == (IS.NOT_EXECUTED, None)


def test_where_the_reply_named_the_order_a_nameless_deal_of_another_counts_for_nothing():
    assert waited(closing(order=700), deals=[nameless(0.3)], volume=0.7) == (IS.NOT_EXECUTED, None)


@pytest.mark.parametrize(("reason", "state"), [(DealReason.EXPERT, IS.CONFIRMED), (DealReason.CLIENT, IS.ABANDONED)])
def test_a_position_that_is_closed_was_closed_by_the_order_or_by_others(reason, state):
    everything = closing(1.0)
    over = [deal(1, DealEntry.IN), nameless(1.0, reason=reason)]
    assert settle(everything, seen(deals=over, volume=None), EURUSD, T0, P).state is state


def test_an_order_on_a_position_that_is_gone_is_not_executed_after_the_window():
    for asked in (stop(), closing()):
        assert settle(asked, seen(volume=None), EURUSD, T0, P) is asked
        after = settle(asked, seen(volume=None, connected_s=60, good_reads=3), EURUSD, T0, P)
        assert after.state is IS.NOT_EXECUTED


@given(
    connected=st.floats(0, 59.9),
    reads=st.integers(0, 100),
    volume=st.sampled_from([1.0, None]),
    kind=st.sampled_from([stop, closing]),
)
def test_within_the_window_silence_is_never_taken_for_an_answer(connected, reads, volume, kind):
    asked = kind()
    assert settle(asked, seen(volume=volume, connected_s=connected, good_reads=reads), EURUSD, T0, P) is asked
