"""Refusals for the account's pace are no failures of an obligation; an order that was only placed keeps its number."""

from __future__ import annotations

from dataclasses import replace

import pytest
from domain_values import T0, P, owed, position, trade

from dtms_service.domain.effects import of_pace, replied, sent, settled
from dtms_service.domain.orders import ModifyStops
from dtms_service.domain.outcome import Refused, Unknown
from dtms_service.domain.trade import IntentState, Obligation, ObligationKind, ObligationStatus

STOP = ModifyStops(1001, "EURUSD", 1.0985, 1.12, 445401700000123, "DTTrt")
HELD = position(stop_loss=1.095, take_profit=1.12)
PACE = ["too_many_requests", "send_paused", "order_in_flight"]


def after(refused: Refused, before: Obligation) -> Obligation:
    """The obligation after one more attempt, refused at T0."""
    going, _, intent = sent(trade(HELD, obligations=(before,)), before, STOP, 1.0985, T0)
    answered = replied(intent, refused, T0)
    assert of_pace(answered) == (refused.code in PACE)
    (left,) = settled(going, answered, None, T0, P).obligations
    return left


@pytest.mark.parametrize("code", PACE)
def test_a_refusal_for_the_pace_costs_a_second_and_no_step_of_the_back_off(code: str) -> None:
    obligation = owed(ObligationKind.TIGHTEN_STOP)
    for n in range(1, 7):
        obligation = after(Refused(code, "later"), obligation)
        assert (obligation.status, obligation.attempts, obligation.uncounted) == (ObligationStatus.DUE, n, n)
        assert obligation.next_try_at == T0 + 1
    waits = []
    for _ in range(5):
        obligation = after(Refused("market_closed", "no", 10018), obligation)
        waits.append(obligation.next_try_at - T0)
    assert waits == [5, 15, 45, 135, 900]  # as if the six had not been
    assert (obligation.attempts, obligation.uncounted) == (11, 6)


def test_every_attempt_has_a_number_of_its_own_whether_it_counts_or_not() -> None:
    obligation = replace(owed(ObligationKind.TIGHTEN_STOP), attempts=3, uncounted=3)
    _, _, intent = sent(trade(HELD, obligations=(obligation,)), obligation, STOP, 1.0985, T0)
    assert intent.leg == 4


@pytest.mark.parametrize("order", [None, 4711])
def test_an_order_without_an_outcome_keeps_the_number_that_its_answer_named(order: int | None) -> None:
    obligation = owed(ObligationKind.TIGHTEN_STOP)
    _, _, intent = sent(trade(HELD, obligations=(obligation,)), obligation, STOP, 1.0985, T0)
    answered = replied(intent, Unknown("placed", "placed", 10008, order), T0)
    assert (answered.state, answered.retcode, answered.order) == (IntentState.UNKNOWN, 10008, order)
