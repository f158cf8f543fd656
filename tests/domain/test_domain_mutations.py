"""Every invariant of the loop, and what happens without the rule that keeps it: a broken build is found.

C-3 follows from C-4 and C-5 here; it and the others that need the engine or the market have their broken builds there
(`ELSEWHERE`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import test_domain_loop as loop
from domain_values import P

from dtms_service.domain import broker_events, evidence, hedging, levels, plan, policy, reconcile
from dtms_service.domain.orders import ClosePosition, ModifyStops, OpenHedge, Order
from dtms_service.domain.plan import Send
from dtms_service.domain.reconcile import Reconciled
from dtms_service.domain.trade import IntentState, Mode, ObligationKind
from dtms_service.domain.values import Side

Break = Callable[[pytest.MonkeyPatch], None]
SEEDS = 400
FIRST = {"C-6": 70}
"""Where the everyday search begins: a late second hedge is rare, and each run costs 50 ms. The proof begins at 0."""


def orders(changed: Callable[[Order, int], Order]) -> Break:
    """Every order that is planned goes out changed; the second argument is the sign of the trade's side."""
    planned = plan.plan

    def broken(*of: Any) -> Any:
        answer = planned(*of)
        return replace(answer, order=changed(answer.order, of[0].sign)) if isinstance(answer, Send) else answer

    return lambda patch: patch.setattr(loop, "plan", broken)


def looser(order: Order, sign: int) -> Order:
    if not isinstance(order, ModifyStops) or order.stop_loss is None:
        return order
    return replace(order, stop_loss=round(order.stop_loss - sign * 0.02, 5))


def without_target(order: Order, _: int) -> Order:
    return replace(order, take_profit=1.5) if isinstance(order, ModifyStops) else order


def twice_the_hedge(order: Order, _: int) -> Order:
    return replace(order, volume=2 * order.volume) if isinstance(order, OpenHedge) else order


def somebody_elses(order: Order, _: int) -> Order:
    return replace(order, ticket=777) if isinstance(order, ClosePosition) else order


def main_first(*of: Any) -> Any:
    trade, obligation, scene, *rest = of
    return CLOSE_ALL(replace(trade, hedge=None), obligation, replace(scene, own={}), *rest)


CLOSE_ALL = plan._PLANS[ObligationKind.CLOSE_ALL]


def never_waits(intent: Any, *_: Any) -> Any:
    return replace(intent, state=IntentState.NOT_EXECUTED)


def closed_at_once(trade: Any, deals: Any, now: float, parameters: Any) -> Reconciled:
    del deals, parameters
    return Reconciled(reconcile._ended(trade, now, "HAND"))


def nothing(trade: Any, *_: Any) -> Reconciled:
    return Reconciled(trade)


MUTANTS: dict[str, Break] = {
    "C-1": orders(looser),
    "C-2": orders(without_target),
    "C-4": lambda patch: patch.setitem(plan._PLANS, ObligationKind.CLOSE_ALL, main_first),  # type: ignore[arg-type]
    "C-5": orders(twice_the_hedge),
    "C-6": lambda patch: patch.setattr(hedging, "strays", nothing),
    "C-7": lambda patch: patch.setattr(hedging, "orphan", nothing),
    "C-8": lambda patch: patch.setattr(broker_events, "_cancelled", lambda obligation, _: obligation),
    "C-9": lambda patch: patch.setattr(loop, "P", replace(P, partial_fraction=0.9)),
    "C-11": lambda patch: patch.setattr(policy, "evaluation_reason", lambda *_: "m15_closed"),
    "C-12": lambda patch: patch.setattr(evidence, "settle", never_waits),
    "C-13": lambda patch: patch.setattr(levels, "volume_down", lambda volume, _: volume),
    "C-14": lambda patch: patch.setattr(levels, "stop_away_from_price", lambda value, *_: value),
    "C-16": lambda patch: patch.setattr(plan, "_takes_opposite", lambda *_: True),
    "C-17": lambda patch: patch.setattr(reconcile, "absent", closed_at_once),
    "C-18": lambda patch: (
        patch.setattr(policy, "tick_is_fresh", lambda *_: True) or patch.setattr(plan, "tick_is_fresh", lambda *_: True)
    ),
    "C-22": orders(somebody_elses),
    "R4": lambda patch: patch.setattr(plan, "_hedge_settled", lambda *_: None),
    "R24": lambda patch: patch.setattr(policy, "_only_ours", lambda trade, _: trade),
}
"""By invariant: the build without what keeps it."""

ELSEWHERE = {
    **dict.fromkeys(("C-3", "C-10", "C-15", "C-19", "C-20", "C-23", "C-24", "C-25"), "test_engine_mutations.py"),
    "C-21": "test_market_mutations.py",
}
"""Where the broken builds are whose invariants this loop cannot see."""


def found(seeds: int, first: int = 0) -> str:
    """The first violation in ``seeds`` runs on each kind of account; empty when there is none."""
    for seed in range(first, first + seeds):
        for opposite in (True, False):
            try:
                loop.play(seed, loop.SPECS[seed % 4], list(Side)[seed % 2], Mode.PROTECT, opposite=opposite)
            except AssertionError as violation:
                return str(violation).partition("\n")[0] or "a check without a name"
    return ""


@pytest.mark.parametrize("name", MUTANTS)
def test_a_build_without_the_rule_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    MUTANTS[name](monkeypatch)
    violation = found(SEEDS, FIRST.get(name, 0))
    assert violation
    if name not in {"C-12", "R24"}:  # these show as whatever the second order or the closed window leads to
        assert violation.startswith(name), violation


def test_the_build_with_all_rules_has_no_violation() -> None:
    assert found(25) == ""


def test_every_invariant_has_a_broken_build() -> None:
    assert {f"C-{n}" for n in range(1, 26)} <= MUTANTS.keys() | ELSEWHERE.keys()
    for invariant, file in ELSEWHERE.items():
        (path,) = Path(__file__).parents[1].rglob(file)
        assert f'    "{invariant} ' in path.read_text("utf-8"), f"{file} has no build without {invariant}"
