"""The simulated terminal: functions, argument rules, structures and errors of the module MetaTrader5 5.0.6231.

Facts and their sources are in the conformance list C01 to C60; a comment names the entry where the behaviour looks
odd. Beyond MetaTrader5 it has ``simulator_*`` (control; INTERFACE 3.6) and ``took``. Not offered: stop-limit orders,
bars of a week or a month, and the package's own ``Buy``, ``Sell`` and ``Close``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from dtms_service.terminal.simulated.control import Control
from dtms_service.terminal.simulated.desk import Desk, open_desk
from dtms_service.terminal.simulated.history import History
from dtms_service.terminal.simulated.reads import Reads
from dtms_service.terminal.simulated.trading import Trading


def open_backend(
    options: Mapping[str, Any],
    *,
    wall: Callable[[], float] | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> SimulatedTerminal:
    """Open the simulated terminal of a state folder, or create its account.

    ``options``: ``state_dir``; ``market`` (``synthetic``, a bar file or a folder of them); ``seed``; ``clock``
    (``live``, a factor, ``stepped``); ``start`` (ISO UTC or None; read only when the account is created); ``account``
    (what ``terms.Terms`` holds); ``broker`` (its habits, ``terms.Habits``); ``symbols`` (a list of changes to
    contracts, ``terms.tuned``). ``wall`` gives the real time and is needed unless the clock is stepped.

    Raises ``ValueError`` with one sentence when an option cannot be used, a bar file is unreadable or wrong (file and
    line are named), or the account on disk belongs to another market or other terms.
    """
    return SimulatedTerminal(open_desk(options, wall), sleep)


class SimulatedTerminal(Reads, History, Trading):
    """Functions of MetaTrader5 as methods. ``last_error`` belongs to the latest call, as there."""

    def __init__(self, desk: Desk, sleep: Callable[[float], None]) -> None:
        super().__init__(desk, sleep)
        control = Control(desk)
        self.simulator_clock = control.clock
        self.simulator_advance = control.advance
        self.simulator_view = control.view
        self.simulator_open_position = control.open_position
        self.simulator_change_position = control.change_position
        self.simulator_close_position = control.close_position
        self.simulator_set_fault = control.set_fault
        self.simulator_clear_faults = control.clear_faults
        self.simulator_market = control.market
