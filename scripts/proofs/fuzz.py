"""Ten thousand requests made from the API's own document, in many orders: no server error, no undocumented answer."""

from __future__ import annotations

from collections import Counter

from fuzzing import fuzz

CASES = 10_000
EXAMPLES = 60


def prove() -> str:
    """The figures. Raises ``AssertionError`` with the requests that found something."""
    cases = checks = 0
    statuses: Counter[int] = Counter()
    phases: Counter[str] = Counter()
    seeds = 0
    while cases < CASES:
        seeds += 1
        found = fuzz(seeds, EXAMPLES)
        if found.failures or found.errors:
            raise AssertionError(
                "\n".join([*(f"{what}\n{how}" for what, how in found.failures.items()), *found.errors])
            )
        cases, checks = cases + found.cases, checks + found.checks
        statuses += found.statuses
        phases += found.phases
    errors = sum(count for status, count in statuses.items() if status >= 500 and status != 503)
    if errors:
        message = f"{errors} server errors"
        raise AssertionError(message)
    shown = ", ".join(f"{count} of {phase}" for phase, count in sorted(phases.items()))
    answers = ", ".join(f"{status}: {count}" for status, count in sorted(statuses.items()))
    return (
        f"{cases} requests ({shown}) from {seeds} seeds, {checks} checks, 0 server errors, 0 undocumented answers "
        f"({answers})"
    )
