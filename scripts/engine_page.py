#!/usr/bin/env python3
"""Write ``docs/explanation/engine.md`` from the tables that the engine runs on, and from the two below.

A test compares the page with what this writes, and looks every named test up. Run it inside the environment after a
change of a table: ``.venv/bin/python scripts/engine_page.py``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from dtms_service.domain import broker_events, transitions
from dtms_service.domain.parameters import Parameters
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import ObligationKind

PAGE = Path(__file__).resolve().parent.parent / "docs" / "explanation" / "engine.md"


@dataclass(frozen=True, slots=True)
class Row:
    """Something that happens, in which states, what follows, and the test that shows it (file and name)."""

    event: str
    states: str
    follows: str
    shown_by: str


_RECONCILE = "test_domain_reconcile.py::"
_HEDGING = "test_domain_hedging.py::"
_DANGER = "test_engine_danger.py::"
_CYCLE = "test_engine_cycle.py::"
_ORDERS = "test_engine_operating.py::"
_ANY = "any open state"

BROKER: tuple[Row, ...] = (
    Row(
        "A hand closes a part",
        _ANY,
        "the new volume is adopted; it does not count as ours",
        _RECONCILE + "test_a_part_closed_by_hand_is_adopted_and_is_not_ours",
    ),
    Row(
        "A hand closes so much that the hedge is larger",
        "HEDGED",
        "the hedge is reduced to half of the position, or closed",
        _HEDGING + "test_a_hedge_larger_than_its_position_is_reduced_to_half_of_it",
    ),
    Row(
        "Others add to a net position",
        _ANY,
        "volume and price are adopted, R is not; flag and alert `shared_net_position`; DTMS acts on its part only",
        _RECONCILE + "test_volume_that_others_add_is_adopted_flagged_and_alerted_and_r_and_v0_stay",
    ),
    Row(
        "A stop is tightened, loosened or removed by hand",
        _ANY,
        "adopted; loosened and removed are alerted",
        _RECONCILE + "test_a_stop_moved_by_others_is_adopted_and_alerted_unless_it_is_tighter",
    ),
    Row(
        "A read shows the position as it was before our last order, within ten seconds",
        _ANY,
        "the stop and the volume that the broker confirmed go on, and nobody is alerted",
        "test_engine_lag.py::test_a_read_that_shows_the_stop_before_our_order_changes_nothing_and_alerts_nobody",
    ),
    Row(
        "A stop is removed by hand in danger",
        "WARNING_L1, WARNING_L2, HEDGED",
        "a fresh one is owed after a minute",
        _CYCLE + "test_a_stop_removed_by_hand_in_a_warning_is_set_again_after_a_minute",
    ),
    Row(
        "A take profit is moved",
        _ANY,
        "adopted",
        _RECONCILE + "test_a_target_moved_by_others_is_adopted_without_an_alert",
    ),
    Row(
        "A hedge's volume, ticket or stop is changed",
        "HEDGED",
        "adopted; a removed stop is alerted",
        _HEDGING + "test_a_changed_ticket_volume_and_stop_are_adopted",
    ),
    Row(
        "The ticket changes, the identifier stays",
        _ANY,
        "remembered; the old ticket still finds the trade",
        _RECONCILE + "test_a_new_ticket_of_the_same_position_is_remembered",
    ),
    Row(
        "A netting account turns the position round",
        _ANY,
        "the trade is closed; the new side needs a registration",
        _RECONCILE + "test_a_position_turned_round_by_a_netting_account_closes_the_trade",
    ),
    Row(
        "The position is missing without a closing deal",
        _ANY,
        "frozen, alerted; closed without proof after ten minutes and five good reads; its hedge is left alone",
        _HEDGING + "test_of_a_position_that_is_gone_without_proof_it_is_left_and_told_once",
    ),
    Row(
        "The hedge is missing without a closing deal",
        "HEDGED",
        "alerted; given up after ten minutes",
        _HEDGING + "test_a_hedge_that_is_missing_without_a_deal_is_alerted_once_and_kept_for_ten_minutes",
    ),
    Row(
        "The position closes while its hedge is open",
        "HEDGED",
        "the hedge is closed in the same cycle, and again until it is",
        "test_engine_hedging.py::test_when_the_position_goes_its_hedge_goes_in_the_same_cycle",
    ),
    Row(
        "A second position with one of our magics",
        _ANY,
        "closed, alerted",
        _HEDGING + "test_a_second_position_of_ours_is_closed_and_the_hedge_kept",
    ),
    Row(
        "A hedge of a lost ledger",
        _ANY,
        "taken as the trade's hedge when its position is registered again",
        "test_engine_hedging.py::test_a_new_ledger_takes_the_hedge_of_the_old_one_when_its_position_is_registered_again",
    ),
    Row(
        "An order is refused",
        _ANY,
        "planned anew after 5, 15, 45, 135 s, then with every M15 bar; alerted at the second refusal",
        _HEDGING + "test_any_other_refusal_is_tried_again_as_it_was",
    ),
    Row(
        "A hedge is refused for good (no money, not allowed)",
        "WARNING_L2",
        "half is closed instead, at once",
        _HEDGING + "test_a_broker_that_refuses_a_second_position_for_good_gets_a_partial_close_at_once",
    ),
    Row(
        "The symbol takes one side only, or closing only",
        "WARNING_L2",
        "half is closed in place of a hedge",
        _HEDGING + "test_a_symbol_that_does_not_take_the_other_side_is_reduced",
    ),
    Row(
        "An order has no answer",
        _ANY,
        "frozen; the broker's records decide, after the settle window nothing happened",
        "test_engine_hedging.py::test_a_hedge_whose_reply_is_lost_is_opened_exactly_once",
    ),
)
"""What the broker does without a change of state (``engine.md`` E.2); the changes are `broker_events.TABLE`."""

OUTSIDE: tuple[Row, ...] = (
    Row(
        "A read of the terminal fails",
        _ANY,
        "nothing is inferred, nothing changes",
        _CYCLE + "test_a_failed_read_changes_no_trade",
    ),
    Row(
        "Quotes stop",
        _ANY,
        "nothing is planned but the closing of an orphan hedge; `feed_quiet` where the market was open a week ago",
        "test_engine_feed.py::test_quotes_that_stop_in_a_market_that_was_open_a_week_ago_are_told_once",
    ),
    Row(
        "Bars are old, quotes fresh",
        _ANY,
        "no evaluation; breakeven and closing go on",
        _HEDGING + "test_closing_everything_waits_for_no_spread_and_needs_no_bars",
    ),
    Row(
        "The market is closed",
        _ANY,
        "timers stand still (open market only); what is owed is planned after the first M5 bar",
        _HEDGING + "test_the_flat_timer_counts_open_market_and_closes_everything",
    ),
    Row(
        "The spread is wide",
        _ANY,
        "what can wait waits, five minutes at most",
        _HEDGING + "test_it_waits_five_minutes_for_a_wide_spread_to_pass",
    ),
    Row(
        "Programs may not trade",
        _ANY,
        "scores go on, states and orders wait; one alert",
        _DANGER + "test_while_programs_may_not_trade_scores_go_on_and_the_operator_is_told_once",
    ),
    Row(
        "Another account is logged in",
        _ANY,
        "not ready; nothing is done",
        "test_engine_account.py::test_a_snapshot_of_another_login_is_never_acted_upon",
    ),
    Row(
        "The ledger cannot be written",
        _ANY,
        "no order leaves without its record; the service says so, or ends",
        _DANGER + "test_an_order_whose_intent_could_not_be_stored_is_not_sent",
    ),
    Row(
        "A restart",
        _ANY,
        "no change of state by itself; open orders are settled first",
        "test_engine_orders.py::test_a_restart_in_the_middle_ends_like_an_uninterrupted_run",
    ),
    Row(
        "The same position is registered again",
        _ANY,
        "the same trade is answered; another side or symbol conflicts",
        "test_engine_registration.py::test_a_claim_against_the_terminal_conflicts_and_changes_nothing",
    ),
    Row(
        "An operator pauses or halts",
        _ANY,
        "scored, not moved; orphan hedges are closed all the same",
        _ORDERS + "test_while_paused_or_halted_trades_are_scored_and_nothing_is_sent",
    ),
    Row(
        "An operator flattens",
        _ANY,
        "what DTMS protects is closed, hedge first; also while paused or halted",
        _ORDERS + "test_flatten_closes_what_is_ours_and_only_that_also_while_held_back",
    ),
    Row(
        "News are announced",
        _ANY,
        "no hedge and no partial close; stops move",
        _ORDERS + "test_while_news_are_due_stops_move_and_nothing_is_opened_or_reduced",
    ),
    Row(
        "A trade is handed over or released",
        _ANY,
        "its hedge is closed first; from then on it is only watched",
        _ORDERS + "test_a_hedge_is_unwound_before_its_trade_is_let_go_and_release_is_for_good",
    ),
    Row(
        "A trade comes back from another manager",
        _ANY,
        "HEALTHY, and evaluated anew at the next bar",
        _ORDERS + "test_a_trade_that_comes_back_begins_anew",
    ),
    Row(
        "An owner does nothing in danger for ten minutes",
        "WARNING_L2, HEDGED, RECOVERING",
        "alert `owner_silent`",
        _ORDERS + "test_an_owner_who_does_nothing_in_danger_is_told_of_once",
    ),
)
"""What happens around the engine (``engine.md`` E.3)."""

NOT_BUILT = (
    "A weekend policy: positions are held over weekends; an operator flattens before one.",
    "Loss and consecutive-stop rails: they would only forbid re-adding volume, and nothing is re-added.",
)

REASONS: dict[str, str] = {
    "quote_is_old": "waits: the newest quote is older than `tick_stale_s`",
    "bars_are_old": "waits: the newest closed M5 bar is older than `m5_stale_s`",
    "no_atr": "waits: there are not enough bars for an ATR",
    "trading_disabled_on_symbol": "waits: the broker takes no orders on the symbol",
    "inside_freeze_level": "waits: the price is so near to a level that the broker refuses changes",
    "spread_too_wide": "waits, `spread_defer_s` at most: the spread is above twice its median",
    "news_are_due": "waits: an operator announced news",
    "hedge_not_seen": "waits: the hedge is not in this snapshot",
    "other_hedge_closes": "waits: an earlier order opened one after its settle window, and that is closed first",
    "older_position_closes_first": "the account closes by FIFO: closing waits, instead of a part the stop comes closer",
    "stop_was_set_again": "done: a hand has set another stop",
    "stop_is_tight_enough": "done: the present stop is as good, within `least_gain_r`",
    "stop_is_at_breakeven": "done: the present stop is there already",
    "breakeven_out_of_reach": "tightens instead, and stays owed",
    "no_price_below_zero": "impossible: the level would be below zero",
    "partial_close_done_before": "done: a trade has `max_partials`",
    "volume_is_reduced_already": "done: what is left to close is less than the least volume",
    "too_small_for_a_partial_close": "tightens harder instead",
    "hedge_is_open": "done: one hedge per trade",
    "stop_near": "done: the position's own stop is within `hedge_room_atr`; it is the hedge",
    "no_opposite_position_here": "tightens harder instead: `hedge_style` insists on a position that cannot be opened",
    "too_small_for_a_hedge": "tightens harder instead",
    "no_hedge_is_open": "done: there is nothing to close",
    "it_is_closed": "done: the stray position is gone",
    "closed_already": "done: nothing of the registered volume is left",
}
"""Why a plan is something else than an order, in words for people; a test finds each in ``plan.py``."""

_ORDER = {
    ObligationKind.TIGHTEN_STOP: "new stop, `tighten_r` R behind the price, `tighten_hard_r` in place of a close",
    ObligationKind.BREAKEVEN: "new stop at entry plus spread, swap and commission",
    ObligationKind.PARTIAL_CLOSE: "market close of `partial_fraction` of the volume, once",
    ObligationKind.HEDGE: "market order of `hedge_fraction` of the volume on the other side, its stop "
    "`hedge_stop_atr` ATR away, or a market close of as much",
    ObligationKind.CLOSE_HEDGE: "market close of the hedge",
    ObligationKind.CLOSE_ALL: "market close of the hedge, then of the position",
}

_HEAD = """\
# What the engine does, and when

<!-- Written by scripts/engine_page.py from the tables that the engine runs on. -->

S is the trade's score, seen from its side: negative is against the trade. Numbers in `code` are
[settings](../reference/settings.md); their defaults are in the last table. A state changes by an evaluation (a score
at a closed bar), or by what the broker shows.
"""


def page() -> str:
    """The whole page."""
    parts = [_HEAD, diagram(), evaluations(), effects(), orders()]
    parts.append("## What the broker does without a change of state\n\n" + _table(BROKER))
    parts.append("## What happens around the engine\n\n" + _table(OUTSIDE))
    parts.append("## Not built\n\n" + "\n".join(f"* {sentence}" for sentence in NOT_BUILT))
    parts.append(reasons())
    parts.append(numbers())
    return "\n\n".join(part.strip() for part in parts) + "\n"


def diagram() -> str:
    """All changes of state as mermaid."""
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> HEALTHY: registered and seen"]
    seen: set[tuple[str, str, str]] = set()
    for row in transitions.TABLE:
        if row.next is not row.state:
            seen.add((row.state.value, row.next.value, row.rule))
    for event in broker_events.TABLE:
        if event.next is TradeState.CLOSED:
            continue
        for state in event.states:
            seen.add((state.value, event.next.value, event.event.value))
    order = [state.value for state in TradeState]
    for before, after, rule in sorted(seen, key=lambda one: (order.index(one[0]), order.index(one[1]), one[2])):
        lines.append(f"    {before} --> {after}: {rule}")
    closes = broker_events.CLOSES.states
    lines += [f"    {state.value} --> CLOSED: closed" for state in TradeState if state in closes]
    return "\n".join([*lines, "    CLOSED --> [*]", "```"])


def evaluations() -> str:
    """Table E.1."""
    rows = [
        "## What an evaluation does",
        "",
        "The first row of the state whose condition holds, and only that one.",
        "",
    ]
    rows += ["| state | rule | when | next | owes | ends what is owed |", "|---|---|---|---|---|---|"]
    for row in transitions.TABLE:
        owes = ", ".join(kind.value for kind in row.owes) or "-"
        ends = (
            "everything" if len(row.cancels) == len(ObligationKind) else ", ".join(sorted(k.value for k in row.cancels))
        )
        after = "when the broker confirms it" if row.next is row.state else row.next.value
        rows.append(f"| {row.state.value} | {row.rule} | {_code(row.when)} | {after} | {owes} | {ends or '-'} |")
    return "\n".join(rows)


def effects() -> str:
    """The rows of E.2 that change a state."""
    rows = ["## What the broker changes", "", "| seen | in | means | next |", "|---|---|---|---|"]
    for row in broker_events.TABLE:
        states = ", ".join(s.value for s in TradeState if s in row.states)
        rows.append(f"| {row.event.value} | {states} | {_code(row.when)} | {row.next.value} |")
    return "\n".join(rows)


def orders() -> str:
    """What each obligation sends."""
    rows = ["## What is sent for what is owed", "", "| owed | order |", "|---|---|"]
    return "\n".join([*rows, *(f"| {kind.value} | {_ORDER[kind]} |" for kind in ObligationKind)])


def reasons() -> str:
    """Why something else happens than an order."""
    rows = ["## Why nothing is sent", "", "| reason | means |", "|---|---|"]
    return "\n".join([*rows, *(f"| `{reason}` | {means} |" for reason, means in REASONS.items())])


def numbers() -> str:
    """The defaults of the settings that this page names."""
    body = "\n".join([evaluations(), effects(), orders(), reasons()])
    rows = ["## The numbers", "", "| setting | default |", "|---|---|"]
    defaults = Parameters()
    named = [name for name in Parameters.__dataclass_fields__ if f"`{name}`" in body]
    return "\n".join([*rows, *(f"| `engine.{name}` | {getattr(defaults, name)} |" for name in named)])


def _table(rows: tuple[Row, ...]) -> str:
    head = ["| what happens | in | what follows | shown by |", "|---|---|---|---|"]
    shown = [f"| {r.event} | {r.states} | {r.follows} | `{r.shown_by.partition('::')[2]}` |" for r in rows]
    return "\n".join([*head, *shown])


def _code(text: str) -> str:
    """The settings in a sentence, marked."""
    for name in Parameters.__dataclass_fields__:
        text = re.sub(rf"\b{name}\b", f"`{name}`", text)
    return text


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE}")
