#!/usr/bin/env python3
"""20,000 random operations at the simulated terminal, compared after each with an independent account, to the cent.

``python scripts/prove.py account``, or alone with ``[--operations N] [--seed N] [--broker NAME]``. Ends with the tally,
or with the first disagreement: what the terminal says, what the rules say, and the operations that led there.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from itertools import cycle
from pathlib import Path

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "support"))

from account_brokers import BROKERS, write_market
from account_machine import Tally, machine

OPERATIONS = 20_000
MACHINES_AT_ONCE, LONGEST = 12, 60


def prove(operations: int = OPERATIONS, first_seed: int = 1, names: tuple[str, ...] = tuple(BROKERS)) -> str:
    """Trade at each broker in turn, each time on another market, until ``operations`` are done; the tally.

    Raises ``AssertionError`` with the first disagreement.
    """
    tally = Tally()
    chosen = settings(
        max_examples=MACHINES_AT_ONCE,
        stateful_step_count=LONGEST,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    with tempfile.TemporaryDirectory() as folder:
        for number, name in enumerate(cycle(names), start=first_seed):
            market = write_market(Path(folder) / str(number), number)
            run_state_machine_as_test(seed(number)(machine(BROKERS[name], market, tally)), settings=chosen)
            if tally.operations >= operations and number >= first_seed + len(names) - 1:
                break
    for kind, count in sorted(tally.kinds.items()):
        print(f"  {count:6} {kind}")
    return f"{tally.operations} operations, {tally.machines} machines, {tally.deals} deals, 0 disagreements"


def main() -> int:
    """0 when all agreed, 1 with the first disagreement."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--operations", type=int, default=OPERATIONS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--broker", choices=list(BROKERS), action="append")
    wanted = parser.parse_args()
    try:
        print(f"account: {prove(wanted.operations, wanted.seed, tuple(wanted.broker or BROKERS))}")
    except AssertionError as disagreement:
        print(f"account: {disagreement}", *getattr(disagreement, "__notes__", []), sep="\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
