"""Builds without one rule of the engine, in storms: the check of the invariant that the rule keeps finds each of them.

The rules inside a decision have theirs in ``test_domain_mutations.py``, the market's in ``test_market_mutations.py``.
A broken build is judged by its own invariant alone, or whatever else it breaks on the way would be found first. C-10 is
about a budget for re-adding, which does not exist (R5): nothing may be added at all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import storm
import storm_setting
from test_engine_storm import SEEDS as EVERYDAY

from dtms_service.domain import evidence, hedging, reconcile, shelve
from dtms_service.domain.orders import ClosePosition, OpenHedge, Order
from dtms_service.domain.shelve import Shelved
from dtms_service.domain.trade import IntentState
from dtms_service.engine import acting, settling
from dtms_service.engine.acting import Actor
from dtms_service.engine.record import Record
from dtms_service.ledger import store
from dtms_service.terminal import gateway, requests, symbols

Break = Callable[[pytest.MonkeyPatch], None]


def requests_changed(changed: Callable[[Order, dict[str, Any]], dict[str, Any]]) -> Break:
    """Every request leaves with what ``changed`` makes of it."""

    def request_of(order: Order, *of: Any) -> dict[str, Any]:
        request = requests.request_of(order, *of)
        return {**request, **changed(order, request)}

    return lambda patch: patch.setattr(gateway, "request_of", request_of)


def to_the_same_side(order: Order, request: dict[str, Any]) -> dict[str, Any]:
    return {"type": 1 - request["type"], "sl": 0.0} if isinstance(order, OpenHedge) else {}


def closed_by_adding(order: Order, request: dict[str, Any]) -> dict[str, Any]:
    return {"type": 1 - request["type"]} if isinstance(order, ClosePosition) else {}


def any_filling(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(symbols, "fillings", lambda _: (requests.RETURN, requests.FOK))


def journal_after_the_order(patch: pytest.MonkeyPatch) -> None:
    write = Record.write

    async def late(self: Record, **of: Any) -> None:
        if not any(intent.state is IntentState.SENDING for intent in of.get("intents", ())):
            await write(self, **of)

    patch.setattr(Record, "write", late)


def orders_forgotten_at_the_start(patch: pytest.MonkeyPatch) -> None:
    load = store._load
    patch.setattr(store, "_load", lambda connection: replace(load(connection), open_intents=()))


def lost_replies_taken_for_a_no(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        evidence, "settle", lambda intent, *_: replace(intent, state=IntentState.NOT_EXECUTED, resolution="no")
    )


def what_has_no_magic_is_not_ours(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(evidence, "_changed", lambda *_: None)
    patch.setattr(evidence, "nameless_positions", lambda *_: [])
    patch.setattr(evidence, "closed_perhaps", lambda *_: 0.0)


def orders_beside_each_other(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Actor, "_settled", lambda *_: True)


def complaints_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(gateway, "TOO_MANY_REQUESTS", 0)


def orphans_left_alone(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(hedging, "orphan", lambda trade, *_: reconcile.Reconciled(trade))


def second_failures_untold(patch: pytest.MonkeyPatch) -> None:
    for module in (acting, settling):
        patch.setattr(module, "ALERT_AT_ATTEMPT", 1_000)


def refusals_untold(patch: pytest.MonkeyPatch) -> None:
    refused = shelve._refused
    patch.setattr(shelve, "_refused", lambda *of: Shelved(refused(*of).trade))


def outcomes_untold(patch: pytest.MonkeyPatch) -> None:
    told = settling.effects.action_event

    def silent(*of: Any) -> Any:
        event = told(*of)
        return replace(event, body={**event.body, "reason": ""})

    patch.setattr(settling.effects, "action_event", silent)


MUTANTS: dict[str, tuple[Break, int]] = {
    "C-3 a hedge on the side of its trade": (requests_changed(to_the_same_side), 0),
    "C-10 a close in the direction that adds": (requests_changed(closed_by_adding), 0),
    "C-12 a lost reply is taken for a no": (lost_replies_taken_for_a_no, 0),
    "C-12 what carries no magic is not ours": (what_has_no_magic_is_not_ours, 9),
    "C-6 what carries no magic is not ours": (what_has_no_magic_is_not_ours, 57),
    "C-15 a filling mode the symbol does not allow": (any_filling, 1),
    "C-19 the journal is written after the order": (journal_after_the_order, 0),
    "C-20 a start that forgets orders without an outcome": (orders_forgotten_at_the_start, 3),
    "C-23 an order beside one without an outcome": (orders_beside_each_other, 13),
    "C-23 the server's complaint is not heard": (complaints_ignored, 0),
    "C-24 a hedge without its position is left alone": (orphans_left_alone, 9),
    "C-24 a second failure is told to nobody": (second_failures_untold, 2),
    "C-25 a refusal is told to nobody": (refusals_untold, 3),
    "C-25 an outcome without a reason": (outcomes_untold, 1),
}
"""By invariant and what is wrong: the build, and the seed of the everyday storm in which it shows."""
SEEDS = 60
"""Storms that the proof tries, from the first on, until one shows the mutation."""


async def found(name: str, seed: int, folder: Path) -> str:
    """The violation of the invariant that ``name`` begins with in the storm of ``seed``; empty when there is none."""
    try:
        await storm.run(folder, storm_setting.drawn(seed), name.partition(" ")[0])
    except AssertionError as violation:
        return str(violation)
    return ""


@pytest.mark.parametrize("name", MUTANTS)
async def test_a_build_without_the_rule_is_found(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    breaks, seed = MUTANTS[name]
    breaks(monkeypatch)
    assert (await found(name, seed, tmp_path)).startswith(name.partition(" ")[0] + " ")


@pytest.mark.parametrize("seed", sorted({seed for _, seed in MUTANTS.values()} - set(EVERYDAY)))
async def test_the_build_with_all_rules_has_no_violation_in_the_same_storms(seed: int, tmp_path: Path) -> None:
    """The other storms run in ``test_engine_storm.py``, with all rules."""
    await storm.run(tmp_path, storm_setting.drawn(seed))
