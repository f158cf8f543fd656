#!/usr/bin/env python3
"""Everything at once in virtual time: ``python scripts/simulate.py [--seeds N] [--first SEED] [--hours H] [--jobs J]``.

Engine, ledger, HTTP application, spool and clients in one process, a simulated terminal, a bad network, hands, faults
and deaths, all drawn from one seed, so that a seed happens again exactly. Run it inside the environment:
``.venv/bin/python scripts/simulate.py``. The exit code is 1 when an invariant was broken.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / room) for room in ("support", "engine", "simulation")]

from simulation import Found, simulate  # noqa: E402 -- the tests' rooms are on no path of a script


@dataclass(frozen=True, slots=True)
class Ended:
    """One seed: what was found, or the invariant that was broken."""

    seed: int
    found: Found | None
    violation: str = ""


def one(seed: int, *, hours: float) -> Ended:
    """One run."""
    logging.disable()
    try:
        return Ended(seed, simulate(seed, hours=hours))
    except AssertionError as violation:
        return Ended(seed, None, str(violation))
    except Exception:  # noqa: BLE001 -- whatever ends a run, its seed is told and the others go on
        return Ended(seed, None, traceback.format_exc())


def runs(first: int, seeds: int, hours: float, jobs: int) -> Iterator[Ended]:
    """All of them, in the order of their seeds."""
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(partial(one, hours=hours), range(first, first + seeds))


def main() -> int:
    """0 when nothing was broken."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=10, help="how many (default 10)")
    parser.add_argument("--first", type=int, default=0, help="the first of them (default 0)")
    parser.add_argument("--hours", type=float, default=6.0, help="simulated hours of each (default 6)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="at the same time (default: processors)")
    parser.add_argument("--verbose", action="store_true", help="a line per seed")
    wanted = parser.parse_args()
    done: list[Found] = []
    broken = 0
    for ended in runs(wanted.first, wanted.seeds, wanted.hours, wanted.jobs):
        if ended.found is None:
            broken += 1
            print(f"seed {ended.seed}: {ended.violation}")
            print(
                f"  again: .venv/bin/python scripts/simulate.py --first {ended.seed} --seeds 1 --hours {wanted.hours:g}"
            )
            continue
        done.append(ended.found)
        if wanted.verbose:
            found = ended.found
            print(f"seed {found.seed}: {found.deaths} kills, {found.orders} orders, trace {found.trace[:16]}")
    print(summary(done, broken))
    return 1 if broken else 0


def summary(done: list[Found], broken: int) -> str:
    """All runs in one line."""
    return (
        f"{len(done) + broken} seeds, {sum(found.hours for found in done):g} simulated hours, "
        f"{sum(found.deaths for found in done)} kills, {sum(found.intents for found in done)} intents, "
        f"{sum(found.registrations for found in done)} registrations in {sum(found.requests for found in done)} "
        f"requests, {broken} violations"
    )


if __name__ == "__main__":
    sys.exit(main())
