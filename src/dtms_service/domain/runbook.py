"""Every alert that DTMS can raise: how bad it is, what happened, what it means for the position, what to do.

A literal table. ``docs/howto/alerts.md`` is written from it, and a test holds it against the codes in the source.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple


class Severity(StrEnum):
    """How soon somebody should look."""

    INFO = "info"
    """At the next occasion."""
    WARNING = "warning"
    """Today."""
    CRITICAL = "critical"
    """Now: money is or may be without protection."""


class Code(NamedTuple):
    """One alert. ``ends``: codes whose cause is over when this one is raised; it makes no row of its own."""

    severity: Severity
    happened: str
    means: str
    do: str
    ends: tuple[str, ...] = ()


_INFO, _WARNING, _CRITICAL = Severity

CODES: Mapping[str, Code] = MappingProxyType(
    {
        # The stop at the broker, the last line of defence.
        "unprotected_if_down": Code(
            _CRITICAL,
            "A registered position has no stop loss at the broker.",
            "While DTMS or this machine is down, nothing limits its loss.",
            "Set a stop at the terminal.",
        ),
        "stop_removed": Code(
            _CRITICAL,
            "Somebody other than DTMS removed the stop loss.",
            "In danger DTMS sets one again after a minute; a healthy trade stays without.",
            "Set a stop at the terminal, or find out which program removed it.",
        ),
        "stop_loosened": Code(
            _WARNING,
            "Somebody other than DTMS moved the stop loss away from the price.",
            "It is respected: the trade may lose more than before, and DTMS does not move the stop back.",
            "If no person did it, look at the other managers of this position.",
        ),
        # What was registered, and what the terminal shows.
        "claim_contradicted": Code(
            _WARNING,
            "A registration named another symbol or side than the terminal shows.",
            "The terminal is believed: the position is watched as it really is.",
            "Correct the program that registered it.",
        ),
        "never_appeared": Code(
            _WARNING,
            "A registered ticket is neither a position nor a working order after 60 connected seconds.",
            "The registration is REJECTED; if the position exists on another account, nobody here watches it.",
            "Compare the ticket and the account of the program that registered it.",
        ),
        "shared_net_position": Code(
            _WARNING,
            "Others added to a registered position of a netting account.",
            "DTMS acts on the registered part only; flatten leaves it alone unless forced.",
            "Decide who manages the rest.",
        ),
        "position_reversed": Code(
            _CRITICAL,
            "A position of a netting account changed its side.",
            "The trade is closed, and the new side is protected by nobody.",
            "Register the position again, or close it.",
        ),
        "position_missing": Code(
            _WARNING,
            "A position is missing from the terminal, and no closing deal explains it.",
            "The trade is frozen: nothing is sent for it, and its stop at the broker stays as it was.",
            "Nothing at first; it is looked for every cycle. Look at the terminal when closed_unverified follows.",
        ),
        "closed_unverified": Code(
            _WARNING,
            "A position stayed away for ten minutes and five good reads without a closing deal.",
            "The trade is CLOSED without proof; a hedge of ours is left as it is.",
            "Look the position up in the terminal's history.",
        ),
        "seen_open_again": Code(
            _WARNING,
            "A position that was recorded as closed is open at the terminal.",
            "It is watched again.",
            "Look at the terminal's history, if it closes without a deal again.",
        ),
        "unmanaged_position": Code(
            _WARNING,
            "A position is open at the terminal, and nobody registered it.",
            "DTMS does not touch it: only its own stop and target limit it.",
            "Register it (dtms register TICKET), or say what to do with such positions: setting unmanaged.",
        ),
        "unmanaged_adopted": Code(
            _INFO,
            "DTMS itself registered a position: its order was announced, or the setting unmanaged says so.",
            "It belongs to whom the announcement named; by the setting it is protected (adopt) or observed (observe).",
            "Nothing, unless it should not be: release it (dtms release TICKET).",
        ),
        "unknown_own_position": Code(
            _CRITICAL,
            "A position that a DTMS opened belongs to no trade that is registered here.",
            "It is a hedge without its trade: nobody closes it when the main position closes.",
            "Register the position that the detail names, or close this one by hand.",
        ),
        # What DTMS owes and cannot do.
        "obligation_failing": Code(
            _CRITICAL,
            "An order that a trade owes failed for the second time.",
            "The position is less protected than DTMS wants it to be; it is tried again with longer waits.",
            "See the broker's answers with dtms actions --ticket TICKET; do it by hand if it is urgent.",
        ),
        "order_unanswered": Code(
            _WARNING,
            "An order has had no known outcome for a minute.",
            "Nothing else is sent for its trade until the terminal's records say what became of it.",
            "Nothing at first: it is looked for every two seconds. If the terminal is away, bring it back.",
        ),
        "order_unclear": Code(
            _CRITICAL,
            "An order lost its reply and its magic, and what it opened cannot be told from what others opened.",
            "DTMS opens no other hedge for the trade. Positions that may be it count as any that nobody registered.",
            "Look at the terminal: close the hedge by hand if it is not wanted, or register it.",
        ),
        "obligation_refused": Code(
            _WARNING,
            "Something that a trade owes cannot be done on it.",
            "A closer stop takes its place where there is one.",
            "Nothing, or do it by hand; the detail says what it was.",
        ),
        "recovery_unscored": Code(
            _WARNING,
            "A trade in RECOVERING has reached its deadline, and there is no score to decide by.",
            "It is not closed: it keeps its stop, and the first scored evaluation decides.",
            "Look why there is no score (dtms explain TICKET), or close it by hand.",
        ),
        "trade_failed": Code(
            _CRITICAL,
            "Looking at a trade raised an error of our own; the other trades went on.",
            "Nothing is decided for this trade; its stop at the broker is in force.",
            "Watch it by hand, and report the error: it is in the log under trade_failed.",
        ),
        "owner_silent": Code(
            _WARNING,
            "An observed trade has been in danger for ten minutes, and its owner neither asked nor moved its stop.",
            "DTMS may not act on it, and whoever may does not.",
            "Is the owner's program running? Hand the trade over to DTMS if it should act.",
        ),
        # Hedges.
        "hedge_found": Code(
            _WARNING,
            "An opposite position that an earlier ledger opened is taken as a trade's hedge.",
            "The trade is HEDGED.",
            "Nothing.",
        ),
        "hedge_missing": Code(
            _WARNING,
            "A hedge is missing from the terminal, and no closing deal explains it.",
            "The trade may be without its hedge.",
            "Nothing at first; it is looked for every cycle.",
        ),
        "hedge_gone": Code(
            _WARNING,
            "A hedge was closed by its stop, by hand or by the broker.",
            "The trade goes on without it, in the state that its score asks for.",
            "Nothing, unless a person should decide about the trade now.",
        ),
        "hedge_stop_removed": Code(
            _CRITICAL,
            "Somebody other than DTMS removed the stop of a hedge.",
            "While DTMS is down, nothing limits the loss of the hedge.",
            "Set a stop on it at the terminal.",
        ),
        "hedge_exceeds_position": Code(
            _WARNING,
            "A hand made a position smaller than its hedge.",
            "The rest of the hedge is a bet of its own; DTMS reduces it to half of the position.",
            "Nothing.",
        ),
        "duplicate_hedge": Code(
            _WARNING,
            "A second opposite position of ours is open for one trade.",
            "DTMS closes it.",
            "Nothing; look at the actions of the trade for an answer that was lost.",
        ),
        "orphan_hedge": Code(
            _WARNING,
            "A position is closed while its hedge is open.",
            "DTMS closes the hedge.",
            "Nothing.",
        ),
        "hedge_left_open": Code(
            _CRITICAL,
            "A position went away without proof, and its hedge is left open.",
            "If the position is really gone, the hedge is a bet of its own.",
            "Look at the terminal, and close the hedge by hand if it is not needed.",
        ),
        # The market, the terminal and the account.
        "feed_quiet": Code(
            _WARNING,
            "A symbol had no quote for ten minutes though its market was open a week ago.",
            "Its trades are not evaluated; stops at the broker stay in force.",
            "A holiday? If not, look at the terminal's connection and the symbol in Market Watch.",
        ),
        "feed_back": Code(_INFO, "Quotes arrive again.", "Its trades are evaluated.", "Nothing.", ("feed_quiet",)),
        "trade_disabled": Code(
            _CRITICAL,
            "Programs may not trade any more, at the terminal or on the account.",
            "Nothing that DTMS owes can be done; only the stops at the broker protect.",
            "Press the AutoTrading button, or ask the broker.",
        ),
        "trade_enabled": Code(
            _INFO, "Programs may trade again.", "What is owed is done.", "Nothing.", ("trade_disabled",)
        ),
        "account_mismatch": Code(
            _CRITICAL,
            "The terminal shows another account than the one this state belongs to.",
            "No position is watched.",
            "Log the terminal in to the old account, or give the new one a state folder of its own (dtms doctor).",
        ),
        "split_brain": Code(
            _CRITICAL,
            "Another DTMS acts on this account: on another machine, or with a copy of this one's state.",
            "Two of them undo each other's stops and close twice. This one has paused itself, unless it only observes.",
            "Stop one of the two, then end the pause here (dtms resume) if this is the one that stays.",
        ),
        # The service itself.
        "not_watching": Code(
            _WARNING,
            "Three looks at the terminal in a row failed, or none succeeded for 30 seconds.",
            "No position is watched; stops at the broker stay in force.",
            "The detail says why; is the terminal running and logged in?",
        ),
        "not_watching_long": Code(
            _CRITICAL,
            "For five minutes no look at the terminal succeeded.",
            "No position is watched; only the stops at the broker protect.",
            "Repair the terminal or its connection, or watch the positions by hand.",
        ),
        "watching_again": Code(
            _INFO,
            "The terminal answers, and all trades were looked at.",
            "All trades are watched.",
            "Nothing.",
            ("not_watching", "not_watching_long", "account_mismatch", "monitor_failed"),
        ),
        "cycle_overrun": Code(
            _WARNING,
            "Three cycles in a row took longer than the time between two.",
            "Positions are looked at less often than cadence.cycle_s says, those in danger first.",
            "Is the terminal or the machine slow? Metric dtms_cycle_seconds; a longer cadence.cycle_s is honest.",
        ),
        "monitor_failed": Code(
            _CRITICAL,
            "A cycle ended with an error of our own, and the monitor was started again.",
            "The third failure in a row ends the service; stops at the broker stay in force.",
            "Report the error: it is in the log under monitor_failed.",
        ),
        "restarting": Code(
            _CRITICAL,
            "The service was started five times within five minutes.",
            "Between two lives no position is watched; stops at the broker stay in force. Every life watches as usual.",
            "Look at the end of the log of each life for what ended it; the alert is over after five minutes of one.",
        ),
        "was_away": Code(
            _WARNING,
            "None ran for a quarter of an hour or more before this service started, and trades were open.",
            "They had only their stops at the broker meanwhile; all of them are looked at in the first cycle.",
            "Find out why it was down, and set up alerts.deadman, which tells you while it happens.",
        ),
        "storage_was_busy": Code(
            _WARNING,
            "For ten seconds or more nothing could be written: the database was held by another program, or the disk "
            "was full.",
            "Meanwhile no order was sent that could not be recorded.",
            "Find the program (a backup tool, a viewer), or make room on the disk.",
        ),
        "spool_old": Code(
            _CRITICAL,
            "A registration has been waiting in the spool for more than 120 seconds.",
            "Its position is not protected.",
            "The log says why it is not taken in (spool_waits, spool_unusable).",
        ),
        "spool_damaged": Code(
            _CRITICAL,
            "A file in the spool is not what a client wrote, and was moved to rejected/.",
            "If it was a registration, its position is not protected.",
            "See it with dtms-client outbox list. Compare GET /dtms/unmanaged, and register what is missing.",
        ),
        "alerts_undelivered": Code(
            _WARNING,
            "The receiver of the alerts has not taken one for five minutes.",
            "Whoever relies on it does not hear; the trades are watched as before.",
            "Repair the receiver or the setting alerts.webhook; what waits is delivered then.",
        ),
        # What an operator ordered.
        "control_paused": Code(
            _WARNING,
            "An operator, or DTMS itself, ordered a pause: the detail says who and why.",
            "Trades are watched, and nothing is sent but the closing of orphan hedges.",
            "dtms resume, when the reason is over.",
        ),
        "control_halted": Code(
            _CRITICAL,
            "An operator ordered a halt.",
            "No trade is protected, and nothing is sent but the closing of orphan hedges.",
            "dtms reset, when the reason is over.",
        ),
        "control_running": Code(
            _INFO,
            "An operator ended a pause or a halt.",
            "DTMS acts.",
            "Nothing.",
            ("control_paused", "control_halted", "split_brain"),
        ),
    }
)

UNLISTED = Code(
    _WARNING,
    "This version of DTMS has no entry for the alert.",
    "The detail says what is known.",
    "Read the detail, and report that the entry is missing.",
)
"""For a code that a newer version stored."""


def entry(code: str) -> Code:
    """The entry of ``code``, or the one for a code that this version does not know."""
    return CODES.get(code, UNLISTED)
