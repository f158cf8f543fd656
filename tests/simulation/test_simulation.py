"""Everything at once in virtual time: whatever dies, whatever the network does, nothing is lost and nothing doubled."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import simulation
from simulation import simulate

SEEDS = range(5)
"""Six hours each, 1 to 8 s on an idle machine."""
HERE = Path(__file__).parent
PATHS = os.pathsep.join(str(HERE.parent / room) for room in ("support", "engine", "simulation"))
TRACE = "import sys, simulation; print(simulation.simulate(int(sys.argv[1]), hours=0.5).trace)"


@pytest.mark.parametrize("seed", SEEDS)
def test_six_hours_break_no_invariant(seed: int) -> None:
    found = simulate(seed)
    assert found.seen["requests"] > 0 or found.seen.get("orders", 0) > 0


def test_a_seed_happens_again_in_another_process_byte_for_byte() -> None:
    def trace(hash_seed: str) -> str:
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": PATHS}
        command = [sys.executable, "-c", TRACE, "2"]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    assert trace("1") == trace("2") == simulate(2, hours=0.5).trace + "\n"


def test_seeds_differ() -> None:
    assert simulate(2, hours=0.1).trace != simulate(3, hours=0.1).trace


@pytest.mark.parametrize("protection", [*simulation.PROTECTIONS])
def test_without_its_protection_a_run_breaks_an_invariant(protection: str) -> None:
    seeds = simulation.PROTECTIONS[protection].seeds
    objections = []
    for seed in seeds:
        try:
            simulate(seed, hours=2.0, without=protection)
        except AssertionError as objection:
            objections.append(str(objection))
            break
    assert objections
    assert objections[0].startswith(simulation.PROTECTIONS[protection].breaks)
