from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from market_series import at, golden, picked, walk

from dtms_service.domain.values import Timeframe
from dtms_service.market.bars import Bars
from dtms_service.market.window import DEPTH, Window

EMPTY = Window.empty(Timeframe.M5)
M5 = walk(1, 700)
END = float(M5.time[-1]) + 300


def equal(a: Bars, b: Bars) -> bool:
    return all(np.array_equal(getattr(a, c), getattr(b, c)) for c in Bars.__slots__)


def changed(bars: Bars, column: str, row: int, value: float) -> Bars:
    values = getattr(bars, column).copy()
    values[row] = value
    return replace(bars, **{column: values})


def test_a_bar_is_closed_when_its_end_is_reached_and_not_a_moment_before():
    bars = M5.rows(0, 3)
    end = float(bars.time[2]) + 300
    assert len(EMPTY.updated(bars, end).window.bars) == 3
    assert len(EMPTY.updated(bars, end - 0.001).window.bars) == 2


def test_whatever_the_forming_bar_says_the_window_stays_the_same():
    now = float(M5.time[99]) + 299
    before = EMPTY.updated(M5.rows(0, 99), now).window
    for close in (float("nan"), 1.0, 1e9):
        update = before.updated(changed(M5.rows(90, 100), "close", 9, close), now)
        assert update.window is before
        assert (update.revised, update.refused) == (0, 0)


@pytest.mark.parametrize(("timeframe", "depth"), [(Timeframe.M15, 1000), (Timeframe.M5, 600)])
def test_a_window_holds_exactly_the_last_n_bars(timeframe, depth):
    bars = walk(2, 1100)
    bars = replace(bars, time=at("2024-01-01T00:00") + timeframe.seconds * np.arange(1100, dtype=np.int64))
    window = Window.empty(timeframe).updated(bars, float(bars.time[-1]) + timeframe.seconds).window
    assert window.full
    assert equal(window.bars, bars.rows(1100 - depth, 1100))


@given(st.lists(st.tuples(st.integers(0, 699), st.integers(1, 400)), max_size=8), st.integers(0, 10**6))
def test_order_and_duplicates_of_deliveries_do_not_matter(pieces, seed):
    draw = np.random.default_rng(seed)
    chunks = [M5.rows(start, start + size) for start, size in pieces] + [M5.rows(0, 350), M5.rows(300, 700)]
    window = EMPTY
    for number in draw.permutation(len(chunks)):
        chunk = chunks[number]
        rows = draw.permutation(np.tile(np.arange(len(chunk)), 2))
        update = window.updated(picked(chunk, rows), END)
        assert (update.revised, update.refused) == (0, 0)
        window = update.window
    assert equal(window.bars, M5.rows(100, 700))


def test_a_closed_bar_that_comes_again_with_other_values_replaces_and_is_counted():
    window = EMPTY.updated(M5, END).window
    corrected = changed(changed(M5.rows(690, 700), "spread", 3, 99), "high", 5, 9.0)
    update = window.updated(corrected, END)
    assert (update.revised, update.refused) == (2, 0)
    assert update.window.bars.spread[-7] == 99
    assert update.window.bars.high[-5] == 9.0
    assert len(update.window.bars) == DEPTH[Timeframe.M5]


def test_nothing_new_gives_the_same_window_back():
    window = EMPTY.updated(M5, END).window
    assert window.updated(M5.rows(650, 700), END).window is window
    assert window.updated(M5.rows(0, 50), END).window is window
    assert window.updated(M5.rows(0, 0), END).window is window


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("open", float("nan")),
        ("high", float("inf")),
        ("close", float("nan")),
        ("tick_volume", float("nan")),
        ("tick_volume", -1.0),
        ("low", 0.0),
        ("low", -1.0),
        ("high", 1.0),
        ("low", 99.0),
        ("close", 99.0),
        ("open", 0.001),
    ],
)
def test_a_row_that_cannot_be_true_is_refused_alone_and_the_old_one_stays(column, value):
    bad = changed(M5.rows(0, 20), column, 7, value)
    update = EMPTY.updated(bad, END)
    assert (len(update.window.bars), update.refused) == (19, 1)
    whole = EMPTY.updated(M5.rows(0, 20), END).window
    again = whole.updated(bad, END)
    assert (again.revised, again.refused) == (0, 1)
    assert again.window is whole


def test_everything_is_asked_for_while_the_window_is_not_full():
    assert EMPTY.wanted(END) == 602
    assert EMPTY.updated(M5.rows(0, 599), END).window.wanted(END) == 602
    assert Window.empty(Timeframe.M15).wanted(END) == 1002


@pytest.mark.parametrize(
    ("bars_late", "count"), [(0, 12), (1, 12), (10, 12), (11, 13), (196, 198), (600, 602), (5000, 602)]
)
def test_the_next_read_covers_what_the_clock_says_is_missing(bars_late, count):
    window = EMPTY.updated(M5, END).window
    assert window.wanted(END + 300 * bars_late + 5) == count


@given(st.lists(st.integers(1, 300), min_size=1, max_size=12))
def test_reading_as_much_as_wanted_after_any_pause_never_leaves_a_hole(pauses):
    bars = golden(seconds=300)
    # Closed market between rows 640 and 641: the clock counts more missing bars than there are.
    times = bars.time.copy()
    times[641:] += 49 * 3600
    bars = replace(bars, time=times)
    now = float(bars.time[610])
    window = EMPTY.updated(bars.rows(0, 611), now).window
    for pause in pauses:
        now += 300 * pause
        shown = int(np.searchsorted(bars.time, now, side="right"))
        window = window.updated(bars.rows(max(0, shown - window.wanted(now)), shown), now).window
    closed = int(np.searchsorted(bars.time, now - 300, side="right"))
    assert equal(window.bars, bars.rows(closed - 600, closed))
