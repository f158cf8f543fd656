from __future__ import annotations

from dataclasses import replace

import pytest
from domain_values import T0, P, owed, position, trade

from dtms_service.domain.effects import action_event, describe, leg_of, replied, sent, settled, unsent_event
from dtms_service.domain.orders import ClosePosition, Fill, ModifyStops
from dtms_service.domain.outcome import Done, Outcome, Refused, Unknown
from dtms_service.domain.trade import Frozen, Intent, IntentState, Obligation, ObligationKind, ObligationStatus, Trade
from dtms_service.domain.values import Side

K, S, IS = ObligationKind, ObligationStatus, IntentState
NOW = T0 + 1000
MAGIC = 445401700000123
STOP = ModifyStops(1001, "EURUSD", 1.0985, 1.12, MAGIC, "DTTrt")
HALF = ClosePosition(1001, "EURUSD", Side.BUY, 0.5, MAGIC, "DTPrt")
HELD = position(stop_loss=1.095, take_profit=1.12)


def owing(*obligations: Obligation, **changes: object) -> Trade:
    return trade(HELD, obligations=obligations, **changes)


def filled(volume: float = 0.0, retcode: int = 10009) -> Done[Fill]:
    return Done(Fill(retcode, 700, 50, volume, 1.1, "Request executed", 12.0))


def played(
    order: ModifyStops | ClosePosition, outcome: Outcome[Fill], *, target: float, before: Trade | None = None
) -> tuple[Trade, Intent]:
    """Sent and answered, as the engine does it."""
    kind = K.TIGHTEN_STOP if isinstance(order, ModifyStops) else K.PARTIAL_CLOSE
    of = before or owing(owed(kind))
    going, _, intent = sent(of, of.obligations[0], order, target, NOW)
    answered = replied(intent, outcome, NOW)
    volume = outcome.value.volume if isinstance(outcome, Done) and outcome.value.volume else None
    return settled(going, answered, volume, NOW, P), answered


def test_an_order_on_its_way_is_recorded_with_target_number_and_what_was_before():
    obligation = owed(K.TIGHTEN_STOP, episode=3)
    going, out, intent = sent(owing(obligation), obligation, STOP, 1.0985, NOW)
    assert (out.status, out.target, out.attempts) == (S.SENT, 1.0985, 1)
    assert going.obligations == (out,)
    assert (intent.magic, intent.kind, intent.episode, intent.leg) == (MAGIC, K.TIGHTEN_STOP, 3, 1)
    assert (intent.state, intent.sending_at) == (IS.SENDING, NOW)
    assert intent.plan["stop_loss"] == intent.plan["target"] == 1.0985
    assert intent.before == {"identifier": 1001, "volume": 1.0, "stop_loss": 1.095, "take_profit": 1.12}


def test_orders_of_one_kind_are_numbered_within_the_episode_that_owes_them():
    mine, other = owed(K.TIGHTEN_STOP, attempts=2, episode=1), owed(K.TIGHTEN_STOP, attempts=1, episode=1)
    later, part = owed(K.TIGHTEN_STOP, attempts=7, episode=2), owed(K.PARTIAL_CLOSE, attempts=9, episode=1)
    of = owing(mine, other, later, part, episode=2)
    # The trade is in episode 2 by now; the order belongs to episode 1.
    assert (leg_of(of, mine), leg_of(of, later), leg_of(of, part)) == (4, 8, 10)


class TestStop:
    def test_done_ends_the_obligation_and_names_who_set_the_stop(self):
        before = owing(owed(K.TIGHTEN_STOP), flags=frozenset({"unprotected_if_down", "be_pending"}))
        after, intent = played(STOP, filled(), target=1.0985, before=before)
        assert intent.state is IS.CONFIRMED
        assert (after.stop_loss, after.stop_set_by, after.volume, after.frozen) == (1.0985, MAGIC, 1.0, None)
        assert [o.status for o in after.obligations] == [S.DONE]
        assert after.flags == {"be_pending"}

    def test_breakeven_done_is_not_pending_any_more(self):
        before = owing(owed(K.BREAKEVEN), flags=frozenset({"be_pending"}))
        after, _ = played(STOP, filled(), target=1.0985, before=before)
        assert after.flags == frozenset()

    def test_a_refusal_leaves_it_due_to_be_planned_anew(self):
        after, intent = played(STOP, Refused("rejected", "no", 10006), target=1.0985)
        assert (intent.state, intent.retcode, intent.resolved_at) == (IS.REJECTED, 10006, NOW)
        assert after.stop_loss == 1.095
        [obligation] = after.obligations
        assert (obligation.status, obligation.target, obligation.too_near) == (S.DUE, None, 0)

    def test_only_a_refusal_for_a_stop_too_near_moves_the_next_one(self):
        after, _ = played(STOP, Refused("invalid_stops", "too near", 10016), target=1.0985)
        assert after.obligations[0].too_near == 1


class TestPartialClose:
    def test_done_reduces_the_volume_and_counts_once(self):
        after, intent = played(HALF, filled(0.5), target=0.5)
        assert intent.state is IS.CONFIRMED
        assert (after.volume, after.closed_by_us, after.partials, after.initial_volume) == (0.5, 0.5, 1, 1.0)
        assert [o.status for o in after.obligations] == [S.DONE]

    def test_a_part_that_was_filled_counts_and_the_rest_stays_due_with_its_target(self):
        after, intent = played(HALF, filled(0.2, 10010), target=0.5)
        assert intent.state is IS.PARTIAL
        assert (after.volume, after.closed_by_us, after.partials) == (0.8, 0.2, 0)
        assert [(o.status, o.target) for o in after.obligations] == [(S.DUE, 0.5)]

    def test_a_refused_close_keeps_its_absolute_target(self):
        # B7.2 and D4: repeated via the absolute target only.
        after, _ = played(HALF, Refused("requote", "again", 10004), target=0.5)
        assert [(o.status, o.target) for o in after.obligations] == [(S.DUE, 0.5)]
        assert after.volume == 1.0

    def test_a_piece_of_a_large_close_leaves_the_rest_due_at_once(self):
        before = trade(position(volume=100.0), obligations=(owed(K.PARTIAL_CLOSE),))
        after, _ = played(replace(HALF, volume=20.0), filled(20.0), target=50.0, before=before)
        assert (after.volume, after.closed_by_us, after.partials) == (80.0, 20.0, 0)
        assert [(o.status, o.target, o.next_try_at) for o in after.obligations] == [(S.DUE, 50.0, NOW)]

    def test_the_last_piece_ends_it(self):
        rest = owed(K.PARTIAL_CLOSE, target=50.0, attempts=2)
        before = trade(position(volume=60.0), initial_volume=100.0, closed_by_us=40.0, obligations=(rest,))
        after, intent = played(replace(HALF, volume=10.0), filled(10.0), target=50.0, before=before)
        assert (after.volume, after.closed_by_us, after.partials, intent.leg) == (50.0, 50.0, 1, 3)
        assert [o.status for o in after.obligations] == [S.DONE]

    def test_volumes_stay_exact_over_many_parts(self):
        after = trade(position(volume=0.3), obligations=(owed(K.PARTIAL_CLOSE),))
        for _ in range(2):
            after, _ = played(replace(HALF, volume=0.2), filled(0.1, 10010), target=0.1, before=after)
        assert (after.volume, after.closed_by_us) == (0.1, 0.2)

    def test_an_order_that_was_only_placed_is_not_taken_for_filled(self):
        # 10008 PLACED: for a deal, treat as pending confirmation (mt5.md).
        after, intent = played(HALF, filled(0.0, 10008), target=0.5)
        assert (intent.state, intent.order, intent.resolved_at) == (IS.ACKED, 700, None)
        assert (after.volume, after.frozen) == (1.0, Frozen.INTENT)
        assert [o.status for o in after.obligations] == [S.SENT]


class TestUnknown:
    @pytest.mark.parametrize(("order", "target"), [(STOP, 1.0985), (HALF, 0.5)])
    def test_no_answer_freezes_the_trade_and_changes_nothing_else(self, order, target):
        after, intent = played(order, Unknown("timeout", "no reply"), target=target)
        assert (intent.state, intent.resolved_at) == (IS.UNKNOWN, None)
        assert (after.frozen, after.volume, after.stop_loss) == (Frozen.INTENT, 1.0, 1.095)
        assert [o.status for o in after.obligations] == [S.SENT]

    @pytest.mark.parametrize(
        ("state", "volume", "status", "left"),
        [
            (IS.CONFIRMED, 0.5, S.DONE, 0.5),
            (IS.CONFIRMED, None, S.DONE, 0.5),
            (IS.PARTIAL, 0.2, S.DUE, 0.8),
            (IS.NOT_EXECUTED, None, S.DUE, 1.0),
        ],
    )
    def test_evidence_later_ends_in_the_same_trade_as_a_reply_would_have(self, state, volume, status, left):
        frozen, intent = played(HALF, Unknown("timeout", "no reply"), target=0.5)
        after = settled(frozen, replace(intent, state=state, resolved_at=NOW + 60), volume, NOW + 60, P)
        assert (after.frozen, after.volume) == (None, left)
        assert [o.status for o in after.obligations] == [status]

    def test_an_answer_for_another_episode_does_not_touch_this_ones_obligation(self):
        frozen, intent = played(HALF, Unknown("timeout", "no reply"), target=0.5)
        late = replace(intent, episode=9, state=IS.NOT_EXECUTED)
        assert settled(frozen, late, None, NOW, P).obligations == frozen.obligations

    def test_a_missing_position_stays_to_be_verified_when_the_order_is_settled(self):
        frozen, intent = played(HALF, Unknown("timeout", "no reply"), target=0.5)
        gone = replace(frozen, frozen=Frozen.VERIFY, missing_since=NOW)
        assert settled(gone, replace(intent, state=IS.NOT_EXECUTED), None, NOW, P).frozen is Frozen.VERIFY


def test_failures_are_tried_again_after_5_15_45_and_135_seconds_then_at_the_pace_of_evaluations():
    after, waits = owing(owed(K.TIGHTEN_STOP)), []
    for _ in range(6):
        after, _ = played(STOP, Refused("rejected", "no", 10006), target=1.0985, before=after)
        waits.append(after.obligations[0].next_try_at - NOW)
    assert waits == [5, 15, 45, 135, 900, 900]


@pytest.mark.parametrize("order", [STOP, HALF])
@pytest.mark.parametrize("state", IntentState)
def test_every_state_of_an_intent_can_be_told(order, state):
    kind = K.TIGHTEN_STOP if order is STOP else K.PARTIAL_CLOSE
    of = owing(owed(kind))
    _, _, intent = sent(of, of.obligations[0], order, 0.5, NOW)
    told = replace(intent, state=state)
    assert state.value.lower() in describe(told, of)
    if state not in {IS.PLANNED, IS.SENDING}:  # these two are never told: nothing has come of them yet
        event = action_event(of, told, None, NOW)
        assert event.body["outcome"] in {"done", "refused", "unknown"}
        assert event.body["success"] is (state in {IS.CONFIRMED, IS.PARTIAL})


def test_an_action_tells_what_was_asked_and_what_came_of_it():
    after, intent = played(HALF, filled(0.5), target=0.5)
    body = action_event(after, intent, filled(0.5), NOW).body
    assert (body["action_type"], body["outcome"], body["retcode"]) == ("partial_close", "done", 10009)
    assert body["retcode_text"] == "Request executed"
    assert body["requested"] == {"volume": 0.5}
    assert body["result"] == {"order": 700, "deal": 50, "volume": 0.5, "price": 1.1}
    assert (body["latency_ms"], body["details"]["magic"]) == (12.0, MAGIC)
    assert "0.5 of 1.0 lots" in body["description"]


def test_a_refused_action_carries_the_brokers_code_and_words():
    after, intent = played(STOP, Refused("invalid_stops", "Invalid stops", 10016), target=1.0985)
    body = action_event(after, intent, Refused("invalid_stops", "Invalid stops", 10016), NOW).body
    assert (body["outcome"], body["success"], body["retcode"]) == ("refused", False, 10016)
    assert body["retcode_text"] == "Invalid stops"


def test_what_was_not_sent_is_told_as_an_action_too():
    obligation = owed(K.PARTIAL_CLOSE, status=S.WOULD_HAVE)
    body = unsent_event(owing(obligation), obligation, "would_have", "score_worsens", {"volume": 0.5}, NOW).body
    assert (body["outcome"], body["success"], body["requested"]) == ("would_have", False, {"volume": 0.5})


@pytest.mark.parametrize("done", [0.2, 0.25])
def test_a_piece_that_was_done_is_no_failure_of_its_obligation(done: float):
    # 0.5 lots in pieces of 0.25: a part of the first is filled, or all of it; then the second is refused twice.
    piece = replace(HALF, volume=0.25)
    after, _ = played(piece, filled(done), target=0.5)
    failures = [(o.attempts, o.attempts - o.uncounted) for o in after.obligations]
    assert failures == [(1, 0)]
    after, _ = played(piece, Refused("rejected", "no", 10006), target=0.5, before=after)
    assert [(o.attempts, o.attempts - o.uncounted) for o in after.obligations] == [(2, 1)]
