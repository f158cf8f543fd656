"""The invariants of the rules in thousands of random markets and brokers; and that every broken build is found."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import test_domain_loop as loop
import test_domain_mutations as rules
import test_engine_mutations as engine
import test_market_mutations as market

from dtms_service.domain.trade import Mode
from dtms_service.domain.values import Side

RUNS = 2_000


def prove(runs: int = RUNS) -> tuple[str, Mapping[str, Any]]:
    """``runs`` on each kind of account; the figures, and what each broken build led to.

    Raises ``AssertionError`` with the seed of the first violation, or with the broken build that nothing found.
    """
    seen: Counter[str] = Counter()
    for seed in range(runs):
        for opposite in (True, False):
            spec, side = loop.SPECS[seed % len(loop.SPECS)], list(Side)[seed % 2]
            try:
                played = loop.play(seed, spec, side, Mode.PROTECT, opposite=opposite)
            except AssertionError as violation:
                message = f"seed {seed}, opposite={opposite}: {violation}"
                raise AssertionError(message) from violation
            seen["orders"] += len(played.intents)
            seen.update(intent.kind.value for intent in played.intents.values())
            seen.update(o.reason for o in played.trade.obligations if o.reason.endswith(("_hedge", "_position")))
    caught = {name: _caught(name, breaks, find) for name, breaks, find in _broken_builds()}
    figures = ", ".join(f"{count} {name}" for name, count in seen.most_common())
    without = sorted({f"C-{n}" for n in range(1, 26)} - {name.partition(" ")[0] for name in caught})
    if without:
        message = f"no broken build for {without}"
        raise AssertionError(message)
    line = (
        f"{2 * runs} runs of 200 cycles, 0 violations ({figures}); {len(caught)} of {len(caught)} broken builds found"
    )
    rows = [[name, words] for name, words in sorted(caught.items(), key=lambda row: _number(row[0]))]
    return line + "; every invariant has one", {"broken builds": [["build without", "found as"], *rows]}


def _broken_builds() -> Iterator[tuple[str, rules.Break, Callable[[], str]]]:
    """By name: what breaks it, and the search for its first violation."""
    for name, breaks in rules.MUTANTS.items():
        yield name, breaks, lambda: rules.found(rules.SEEDS)
    for name, (breaks, _) in engine.MUTANTS.items():
        yield name, breaks, lambda name=name: _in_storms(name)  # type: ignore[misc]  # the name of this turn
    for name, (property_, breaks) in market.MUTANTS.items():
        yield name, breaks, lambda of=property_: market.found(of)  # type: ignore[misc]  # the property of this turn


def _in_storms(name: str) -> str:
    logging.disable()
    try:
        for seed in range(engine.SEEDS):
            with tempfile.TemporaryDirectory() as folder:
                words = str(asyncio.run(engine.found(name, seed, Path(folder))))
            if words:
                return words
    finally:
        logging.disable(logging.NOTSET)
    return ""


def _caught(name: str, breaks: rules.Break, find: Callable[[], str]) -> str:
    with pytest.MonkeyPatch.context() as patch:
        breaks(patch)
        violation = str(find()).partition("\n")[0]
    if not violation:
        message = f"the build without {name} has no violation"
        raise AssertionError(message)
    return violation


def _number(name: str) -> tuple[str, int]:
    invariant = name.partition(" ")[0]
    kind, number = invariant[0], int("".join(filter(str.isdigit, invariant)))
    return kind, number
