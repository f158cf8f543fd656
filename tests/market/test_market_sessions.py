from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from market_series import at

from dtms_service.domain.view import Session
from dtms_service.market import sessions


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        # Winter: the well-known UTC hours (engine.md B2.7).
        ("2024-01-10T00:00", Session.ASIAN),
        ("2024-01-10T07:45", Session.ASIAN),
        ("2024-01-10T08:00", Session.LONDON),
        ("2024-01-10T12:45", Session.LONDON),
        ("2024-01-10T13:00", Session.OVERLAP),
        ("2024-01-10T15:45", Session.OVERLAP),
        ("2024-01-10T16:00", Session.NEW_YORK),
        ("2024-01-10T20:45", Session.NEW_YORK),
        ("2024-01-10T21:00", Session.OFF),
        # Summer: London and New York an hour earlier in UTC, Tokyo as before.
        ("2024-07-10T07:00", Session.LONDON),
        ("2024-07-10T12:00", Session.OVERLAP),
        ("2024-07-10T15:00", Session.NEW_YORK),
        ("2024-07-10T20:00", Session.OFF),
        # New York changes its clocks on 10 March 2024, London on 31 March: between them the overlap is 12-16 UTC.
        ("2024-03-08T12:45", Session.LONDON),
        ("2024-03-20T11:45", Session.LONDON),
        ("2024-03-20T12:00", Session.OVERLAP),
        ("2024-03-20T15:45", Session.OVERLAP),
        ("2024-03-20T16:00", Session.NEW_YORK),
    ],
)
def test_sessions_follow_local_clocks(time, expected):
    assert sessions.session(at(time)) is expected


@pytest.mark.parametrize(
    ("symbol", "time", "expected"),
    [
        ("EURUSD", "2024-01-10T21:55", "2024-01-09T22:00"),
        ("EURUSD", "2024-01-10T22:00", "2024-01-10T22:00"),
        ("XAUUSDc", "2024-07-10T20:55", "2024-07-09T21:00"),
        ("US30.cash", "2024-07-10T21:00", "2024-07-10T21:00"),
        # The night of the clock change: the anchor before it still lies on winter time.
        ("EURUSD", "2024-03-10T20:55", "2024-03-09T22:00"),
        ("EURUSD", "2024-03-10T21:00", "2024-03-10T21:00"),
        ("EURUSD", "2024-11-03T21:55", "2024-11-02T21:00"),
        ("EURUSD", "2024-11-03T22:00", "2024-11-03T22:00"),
        ("BTCUSD", "2024-07-10T21:00", "2024-07-10T00:00"),
        ("#ETHUSDT.x", "2024-01-10T00:00", "2024-01-10T00:00"),
    ],
)
def test_a_vwap_session_opens_at_17_in_new_york_and_at_midnight_utc_for_coins(symbol, time, expected):
    assert sessions.anchor(symbol, at(time)) == at(expected)


@given(st.integers(at("2005-01-01T00:00"), at("2035-01-01T00:00")))
def test_an_anchor_is_never_ahead_nor_more_than_25_hours_back(time):
    anchor = sessions.anchor("EURUSD", time)
    assert time - 25 * 3600 < anchor <= time
    local = datetime.fromtimestamp(anchor, UTC).astimezone(ZoneInfo("America/New_York"))
    assert (local.hour, local.minute, local.second) == (17, 0, 0)


@pytest.mark.parametrize(
    ("symbol", "coin"),
    [("BTCUSD", True), ("btcusdt.m", True), ("ETHEUR", True), ("EURUSD", False), ("XAUUSD", False), ("SOLAR", False)],
)
def test_coins_are_recognised_whatever_a_broker_adds_to_their_name(symbol, coin):
    assert sessions.is_crypto(symbol) is coin


def with_hole(last_open: str, first_open: str, after: int) -> np.ndarray:
    before = at(last_open) - 900 * np.arange(50)[::-1]
    return np.concatenate((before, at(first_open) + 900 * np.arange(after)))


@pytest.mark.parametrize(
    ("symbol", "last_open", "first_open", "seen"),
    [
        ("EURUSD", "2024-01-10T10:00", "2024-01-10T10:45", False),  # two bars
        ("EURUSD", "2024-01-10T10:00", "2024-01-10T11:00", True),  # three bars
        ("EURUSD", "2024-01-10T10:00", "2024-01-12T01:45", True),  # just under 40 hours
        ("EURUSD", "2024-01-12T21:45", "2024-01-14T22:00", False),  # the weekend
        ("XAUUSD", "2024-01-10T21:45", "2024-01-10T23:00", False),  # the daily break of metals
        ("XAUUSD", "2024-07-10T20:45", "2024-07-10T22:00", False),  # and in summer
        ("XAUUSD", "2024-07-10T20:45", "2024-07-10T23:15", True),  # too long for it
        ("XAUUSD", "2024-07-10T13:45", "2024-07-10T15:00", True),  # an hour at noon is no break
        ("BTCUSD", "2024-01-10T21:45", "2024-01-10T23:00", True),  # coins have none
        ("BTCUSD", "2024-01-10T23:30", "2024-01-11T00:45", True),
    ],
)
def test_a_hole_is_longer_than_two_bars_shorter_than_a_weekend_and_inside_the_session(
    symbol, last_open, first_open, seen
):
    times = with_hole(last_open, first_open, 2)
    assert sessions.bars_since_hole(symbol, times, 900, 3) == (2 if seen else None)


@pytest.mark.parametrize(("after", "expected"), [(1, 1), (2, 2), (3, 3), (4, None)])
def test_a_hole_is_forgotten_after_enough_new_bars(after, expected):
    times = with_hole("2024-01-10T10:00", "2024-01-10T14:00", after)
    assert sessions.bars_since_hole("EURUSD", times, 900, 3) == expected
