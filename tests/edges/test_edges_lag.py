"""The event loop's delay, on a loop that is as late as the test says."""

from __future__ import annotations

from collections.abc import Callable

from dtms_service.app.lag import BEAT_S, WINDOW_S, LoopLag


class Loop:
    """One callback, called when the test lets time pass."""

    def __init__(self) -> None:
        self.now = 100.0
        self.due = 0.0
        self.callback: Callable[[], None] = lambda: None

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], None], /) -> None:
        self.due, self.callback = self.now + delay, callback

    def turn(self, late: float = 0.0) -> None:
        """Call back, ``late`` seconds after it was due."""
        self.now = self.due + late
        self.callback()


def test_a_loop_that_is_on_time_has_no_lag_and_one_late_beat_is_remembered() -> None:
    loop, lag = Loop(), LoopLag()
    lag.begin(loop)
    loop.turn()
    assert lag.seconds() == 0.0
    loop.turn(late=0.7)
    for _ in range(5):
        loop.turn()
    assert round(lag.seconds(), 6) == 0.7


def test_a_delay_is_shown_for_one_window_more_and_then_forgotten() -> None:
    loop, lag = Loop(), LoopLag()
    lag.begin(loop)
    loop.turn(late=0.7)
    beats = int(WINDOW_S / BEAT_S)
    for _ in range(beats):
        loop.turn()
    assert round(lag.seconds(), 6) == 0.7
    for _ in range(2 * beats):
        loop.turn()
    assert round(lag.seconds(), 6) == 0.0
