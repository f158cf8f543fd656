"""The invariants of the rules in thousands of random markets and brokers; and that every broken build is found."""

from __future__ import annotations

from collections import Counter

import pytest
import test_domain_loop as loop
from test_domain_mutations import MUTANTS, SEEDS, found

from dtms_service.domain.trade import Mode
from dtms_service.domain.values import Side

RUNS = 2_000


def prove(runs: int = RUNS) -> str:
    """``runs`` on each kind of account; the figures. Raises ``AssertionError`` with the seed of the first violation."""
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
    caught = [_caught(name) for name in MUTANTS]
    figures = ", ".join(f"{count} {name}" for name, count in seen.most_common())
    return (
        f"{2 * runs} runs of 200 cycles, 0 violations ({figures}); {len(caught)} of {len(MUTANTS)} broken builds found"
    )


def _caught(name: str) -> str:
    with pytest.MonkeyPatch.context() as patch:
        MUTANTS[name](patch)
        violation = str(found(SEEDS))
    if not violation:
        message = f"the build without {name} has no violation in {SEEDS} seeds"
        raise AssertionError(message)
    return violation
