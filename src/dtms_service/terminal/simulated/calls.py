"""Calls on the simulated terminal: the link, ``last_error`` and the faults, the same for every function."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

from dtms_service.terminal.simulated import answers
from dtms_service.terminal.simulated.arguments import (
    AUTHORIZATION,
    BAD_ARGUMENTS,
    CALL_FAILED,
    NO_LINK,
    NOT_FOUND,
    OK,
    REPLY_LOST,
    SEND_FAILED,
    TIMED_OUT,
    Failed,
    NegativeNumber,
    pending,
)
from dtms_service.terminal.simulated.constants import Constants
from dtms_service.terminal.simulated.desk import Desk
from dtms_service.terminal.simulated.latency import Latency
from dtms_service.terminal.simulated.rows import FaultRow
from dtms_service.terminal.simulated.series import Series

_T = TypeVar("_T")
_LONGEST_SYMBOL = 29
Acting = Mapping[str, FaultRow]
"""Faults that act on a call, by kind."""


class Calls(Constants):
    """What every function shares: the link, ``last_error``, the market brought up to now, the faults."""

    def __init__(self, desk: Desk, sleep: Callable[[float], None]) -> None:
        self._desk = desk
        self._sleep = sleep
        self._connected = False
        self._error = OK
        self._took = 0.0
        self._latency = Latency(desk.broker.seed) if desk.broker.habits.latency else None

    def initialize(self, *args: Any, **kwargs: Any) -> bool:
        """Attach; a second call is a reconnect. ``login=`` must be this account's."""
        self._begin()
        self._connected = False
        if len(args) > 1:
            self._error = (Constants.RES_E_INVALID_PARAMS, "Invalid number of arguments")
            return False
        self._connected = self._reached("initialize") and self._authorized(kwargs.get("login"))
        return self._connected

    def login(self, *args: Any, **kwargs: Any) -> bool:
        """Log in to this account; any other is refused and leaves the connection as it was."""
        self._begin()
        if not self._connected:
            self._error = NO_LINK
            return False
        return self._reached("login") and self._authorized(args[0] if args else kwargs.get("login"))

    def _reached(self, call: str) -> bool:
        """False when a fault keeps the trade server out of reach until the time-out (C59)."""
        desk = self._desk
        desk.play()
        if desk.state.faults and "unreachable" in desk.faults.meet(call, (), desk.now):
            self._error = TIMED_OUT
        return self._error == OK

    def _authorized(self, login: Any) -> bool:
        if login is not None and not isinstance(login, int):
            self._error = (Constants.RES_E_INVALID_PARAMS, 'Invalid "login" argument')
        elif login not in {None, 0, self._desk.login}:
            self._error = AUTHORIZATION
        return self._error == OK

    def shutdown(self) -> bool:
        """Detach; always True (C03)."""
        self._begin()
        self._connected = False
        return True

    def version(self) -> tuple[int, int, str]:
        """``(500, build, date)``; zeros without a connection (C02)."""
        self._begin()
        if not self._connected:
            self._error = NO_LINK
            return (0, 0, "")
        return (500, answers.BUILD, "16 Sep 2026")

    def last_error(self) -> tuple[int, str]:
        """Code and text of the latest call."""
        return self._error

    def took(self) -> float:
        """Market seconds the latest call took by a fault; 0.0 unless the clock is stepped."""
        return self._took

    def close(self) -> None:
        """Let go of the account's file."""
        self._desk.state.close()

    def _begin(self) -> None:
        self._error = OK
        self._took = 0.0

    def _run(
        self,
        call: str,
        failure: _T,
        body: Callable[[Acting], _T],
        symbols: Collection[str] = (),
        *,
        deal: bool = False,
    ) -> _T:
        """One call: market brought up to now, faults met, then ``body``; ``failure`` when it fails."""
        self._begin()
        if not self._connected:
            self._error = NO_LINK
            return failure
        desk = self._desk
        desk.play()
        acting = desk.faults.meet(call, symbols, desk.now, deal=deal) if desk.state.faults else {}
        if "terminal_killed" in acting:
            # The pipe breaks under this call; every later one finds none until somebody initializes again (C49).
            self._connected = False
            self._error = SEND_FAILED
            return failure
        if self._latency is not None:
            self._delay(self._latency.draw(call))
            desk.play()
        for kind in ("slow", "hang"):
            if kind in acting:
                self._delay(acting[kind].seconds or 0.0)
        if "hang" in acting or "read_none" in acting:
            # A hung call never did its work, whether its process is killed meanwhile or not.
            self._error = REPLY_LOST if "hang" in acting else CALL_FAILED
            return failure
        try:
            return body(acting)
        except Failed as failed:
            self._error = failed.error
            return failure
        except NegativeNumber as error:
            raise pending(call) from error

    def _series(self, symbol: Any) -> Series:
        if not isinstance(symbol, str):
            raise Failed(BAD_ARGUMENTS)
        if len(symbol) > _LONGEST_SYMBOL:
            raise Failed((Constants.RES_E_INVALID_PARAMS, 'Invalid "symbol" argument'))
        series = self._desk.market.series.get(symbol)
        if series is None:
            raise Failed(NOT_FOUND)
        return series

    def _delay(self, seconds: float) -> None:
        """Fault seconds are market seconds (R37): counted when the clock is stepped, waited for when it runs."""
        factor = self._desk.timeline.factor
        if factor is None:
            self._took += seconds
        else:
            self._sleep(seconds / factor)
