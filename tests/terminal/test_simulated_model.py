"""Random trading at twenty brokers against an independent account: money, positions, orders and deals, to the cent.

The everyday share of `scripts/prove.py account`, which does 20,000 operations.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from account_brokers import BROKERS, write_market
from account_machine import Tally, machine
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_market(tmp_path_factory.mktemp("market"), 3)


@pytest.mark.parametrize("broker", list(BROKERS))
def test_random_trading_agrees_with_an_independent_account_to_the_cent(broker: str, market: Path) -> None:
    tally = Tally()
    few = settings(
        max_examples=2,
        stateful_step_count=30,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],  # shrinking would take minutes, and the operations are printed anyway
        suppress_health_check=[HealthCheck.too_slow],
    )
    run_state_machine_as_test(machine(BROKERS[broker], market, tally), settings=few)
    assert tally.operations > 0
