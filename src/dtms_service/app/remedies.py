"""Not ready: what to try. One row per reason of ``/health/ready``; ``docs/reference/errors.md`` says it at length."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_ASKED_AGAIN = "wait, it is asked again every cycle; if it stays, restart the terminal"
_LOG = "the log names the cause: <state folder>/logs"

REMEDIES: Mapping[str, str] = MappingProxyType(
    {
        "ledger_closed": "wait, the database is being opened",
        "terminal_not_connected": "wait; is the terminal running?",
        "not_connected": "start the terminal and log in",
        "clock_moved": "wait, it is measured again; if it stays, set this machine's clock",
        "offset_unmeasured": "wait for the market to open",
        "account_mismatch": "log in to the account named above, or give the other one its own DTMS_STATE_DIR",
        "disconnected": "the terminal's connection to its broker; stops at the broker stay in force",
        "trade_disabled": "the AutoTrading button of the terminal, or the broker",
        "unread": _ASKED_AGAIN,
        "timeout": _ASKED_AGAIN,
        "link_down": _ASKED_AGAIN,
        "no_reply": _ASKED_AGAIN,
        "terminal_raised": _ASKED_AGAIN,
        "bad_request": "the terminal's version; the detail names the call",
        "bad_answer": "the terminal's version; the detail names the call",
        "not_sent": "wait, the terminal's process is being replaced",
        "not_reconciled": "wait for the first cycle",
        "trades_failed": _LOG,
        "cycle_too_old": _LOG,
        "monitor_failed": _LOG,
        "storage_busy": "find the program that holds the database, or make room on the disk",
        "stopping": "start it again: dtms serve",
        "failed": _LOG,
    }
)
"""Code of a reason -> what to try."""

OTHERWISE = "docs/reference/errors.md has the reasons"
"""For a code of a newer service."""
