from __future__ import annotations

from dataclasses import replace

import pytest

from dtms_service.domain import alerts
from dtms_service.domain.alerts import REMIND_S, Alert
from dtms_service.domain.runbook import CODES, Severity
from dtms_service.domain.trade import Event

T0 = 1_767_600_000.0


def about_trade(code: str = "stop_loosened", *, trade: int = 7, at: float = T0, detail: str = "moved") -> Event:
    return Event(time=at, kind="alert", trade_id=trade, ticket=100 + trade, body={"code": code, "detail": detail})


def after(*rounds: list[Event]) -> dict[int, Alert]:
    """What is known after transactions with these events; nobody acknowledges anything."""
    known: dict[int, Alert] = {}
    for events in rounds:
        known |= {alert.alert_id: alert for alert in alerts.raised(known, events, max(known, default=0))}
    return known


def test_an_event_makes_an_alert_of_its_code_with_the_severity_of_the_table() -> None:
    (alert,) = alerts.raised({}, [about_trade("stop_removed")], 41)
    assert (alert.alert_id, alert.code, alert.severity) == (42, "stop_removed", Severity.CRITICAL)
    assert (alert.trade_id, alert.ticket, alert.detail, alert.count) == (7, 107, "moved", 1)
    assert (alert.first_at, alert.last_at, alert.open) == (T0, T0, True)


def test_other_events_make_none() -> None:
    assert alerts.raised({}, [replace(about_trade(), kind="transition")], 0) == ()


def test_the_same_about_the_same_trade_counts_up_instead_of_making_a_second() -> None:
    known = after([about_trade()], [about_trade(at=T0 + 30, detail="moved again")])
    assert [(a.count, a.first_at, a.last_at, a.detail) for a in known.values()] == [(2, T0, T0 + 30, "moved again")]


def test_twice_in_one_transaction_is_one_alert_too() -> None:
    assert [alert.count for alert in after([about_trade(), about_trade(at=T0 + 1)]).values()] == [2]


def test_another_trade_or_another_code_is_another_alert() -> None:
    known = after([about_trade(), about_trade(trade=8), about_trade("stop_removed")])
    assert sorted(known) == [1, 2, 3]


def test_without_a_trade_the_ticket_or_the_symbol_tells_causes_apart() -> None:
    told = [
        alerts.alert_event(T0, "unmanaged_position", "open", ticket=5),
        alerts.alert_event(T0, "unmanaged_position", "open", ticket=6),
        alerts.alert_event(T0, "feed_quiet", "quiet", about="EURUSD"),
        alerts.alert_event(T0, "feed_quiet", "quiet", about="XAUUSD"),
        alerts.alert_event(T0, "feed_quiet", "quiet", about="XAUUSD"),
    ]
    assert [a.about for a in after(told).values()] == ["ticket 5", "ticket 6", "EURUSD", "XAUUSD"]


def test_a_ticket_that_changes_does_not_make_a_second_alert() -> None:
    known = after([about_trade()], [replace(about_trade(), ticket=999)])
    assert [(a.ticket, a.count) for a in known.values()] == [(999, 2)]


def test_the_same_is_told_again_an_hour_after_it_was_told() -> None:
    known = after([about_trade()], [about_trade(at=T0 + REMIND_S - 1)])
    assert known[1].notice == 1
    known = after([about_trade()], [about_trade(at=T0 + REMIND_S)])
    assert (known[1].notice, known[1].noticed_at) == (2, T0 + REMIND_S)


@pytest.mark.parametrize(
    ("code", "waited", "due"),
    [("stop_removed", REMIND_S, True), ("stop_removed", REMIND_S - 1, False), ("feed_quiet", REMIND_S, False)],
)
def test_a_critical_one_that_still_stands_is_told_again_every_hour(code: str, waited: float, due: bool) -> None:
    known = after([about_trade(code)])
    found = alerts.reminders(known.values(), T0 + waited)
    assert [(a.alert_id, a.notice, a.noticed_at, a.count) for a in found] == [(1, 2, T0 + waited, 1)] * due
    assert alerts.reminders(found, T0 + waited + REMIND_S - 1) == ()


def test_one_that_is_over_or_acknowledged_is_not_told_again() -> None:
    (alert,) = after([about_trade("stop_removed")]).values()
    taken = alerts.acknowledged(alert, T0, "anna", "")
    over = replace(alert, over_at=T0 + 5)
    assert alerts.reminders([taken, over], T0 + 9 * REMIND_S) == ()


def test_an_alert_whose_cause_has_passed_says_so_and_stays_open() -> None:
    quiet = alerts.alert_event(T0, "feed_quiet", "quiet", about="EURUSD")
    back = alerts.alert_event(T0 + 60, "feed_back", "quotes arrive again", about="EURUSD")
    (alert,) = after([quiet], [back]).values()
    assert (alert.code, alert.over_at, alert.open, alert.notice) == ("feed_quiet", T0 + 60, True, 2)


def test_the_end_of_one_cause_does_not_end_another() -> None:
    quiet = alerts.alert_event(T0, "feed_quiet", "quiet", about="EURUSD")
    back = alerts.alert_event(T0 + 60, "feed_back", "quotes arrive again", about="XAUUSD")
    (alert,) = after([quiet], [back]).values()
    assert alert.over_at is None


def test_an_end_without_a_beginning_is_nothing() -> None:
    assert after([alerts.alert_event(T0, "feed_back", "quotes arrive again", about="EURUSD")]) == {}
    assert after([alerts.over_event(T0, "unmanaged_position", "closed", ticket=5)]) == {}


def test_a_cause_that_comes_back_is_told_at_once() -> None:
    quiet = alerts.alert_event(T0, "feed_quiet", "quiet", about="EURUSD")
    back = alerts.over_event(T0 + 60, "feed_quiet", "back", about="EURUSD")
    again = alerts.alert_event(T0 + 90, "feed_quiet", "quiet", about="EURUSD")
    (alert,) = after([quiet], [back], [again]).values()
    assert (alert.over_at, alert.count, alert.notice) == (None, 2, 3)


def test_after_an_acknowledgement_the_next_one_is_a_new_alert() -> None:
    (first,) = alerts.raised({}, [about_trade()], 0)
    taken = alerts.acknowledged(first, T0 + 5, "anna", "seen")
    assert (taken.open, taken.acknowledged_by, taken.acknowledgement) == (False, "anna", "seen")
    known = {} if not taken.open else {1: taken}
    (second,) = alerts.raised(known, [about_trade(at=T0 + 30)], 1)
    assert (second.alert_id, second.count) == (2, 1)


def test_a_channel_is_owed_the_newest_notice_until_it_has_taken_it() -> None:
    (alert,) = alerts.raised({}, [about_trade()], 0)
    assert alert.owed_to("webhook")
    taken = alerts.delivered(alert, "webhook", alert.notice, T0 + 1)
    assert not taken.owed_to("webhook")
    assert taken.owed_to("log")
    (reminder,) = alerts.raised({1: taken}, [about_trade(at=T0 + REMIND_S)], 1)
    assert reminder.owed_to("webhook")
    assert not alerts.delivered(reminder, "webhook", 2, T0).owed_to("webhook")
    assert alerts.delivered(reminder, "webhook", 1, T0).owed_to("webhook")


def test_what_a_person_has_acknowledged_is_owed_to_nobody() -> None:
    (alert,) = alerts.raised({}, [about_trade()], 0)
    assert not alerts.acknowledged(alert, T0, "anna", "").owed_to("webhook")


def test_the_longest_waiting_comes_first() -> None:
    known = after([about_trade(at=T0 + 9), about_trade(trade=8, at=T0)])
    assert [alert.ticket for alert in alerts.owed(known.values(), "log")] == [108, 107]


def test_only_codes_without_a_row_of_their_own_end_others_and_they_end_what_exists() -> None:
    endings = {code: entry.ends for code, entry in CODES.items() if entry.ends}
    assert {ended for ends in endings.values() for ended in ends} <= CODES.keys() - endings.keys()


def test_a_code_that_this_version_does_not_know_is_a_warning() -> None:
    (alert,) = alerts.raised({}, [about_trade("from_tomorrow")], 0)
    assert alert.severity is Severity.WARNING
