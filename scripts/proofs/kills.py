"""SIGKILL at every named point many times over, and at random moments: nothing is lost, nothing is done twice."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

from crash_judge import Judge
from crash_lives import Story
from crash_points import POINTS, Scene
from crash_service import Killing
from nursery import Nursery

ROUNDS = 20
SUDDEN = 1_000
POSITIONS = 200
READY_S = 3.0
"""From the connection to the terminal until ready, with that many positions."""
RESTED = 5
"""After so many sudden deaths everything is let come to rest, and record and broker are compared in full."""

IN_ENGINE = {Scene.ENGINE, Scene.ENGINE_STARTS, Scene.ENGINE_BEGINS, Scene.ENGINE_SETTLES}
IN_CALLER = {Scene.CALLER, Scene.FLUSHER}


def prove() -> tuple[str, Mapping[str, Any]]:
    """Each point twenty times: those of the engine at drawn moments, the others on a fresh folder each round.

    Raises ``AssertionError`` at a violation.
    """
    deaths: Counter[str] = Counter()
    judges: list[Judge] = []
    for number in range(ROUNDS):
        chance = Random(number)  # noqa: S311 -- a seed, no secret
        with tempfile.TemporaryDirectory() as folder, Nursery() as nursery:
            nursery.ask({"warm": str(Path(folder) / "warm")})
            story = Story.told(nursery, Path(folder) / "story")
            killing = Killing(nursery, Path(folder) / "service")
            for point in POINTS:
                if point.scene in IN_ENGINE:
                    judges.append(story.survives(point, chance))
                elif point.scene in IN_CALLER:
                    killing.caller_dies(point)
                    killing.goes_on()
                else:
                    killing.dies(point)
                    killing.goes_on()
                deaths[point.name] += 1
            killing.ends()
            judges.append(killing.judge)
        print(f"  round {number + 1} of {ROUNDS}: {deaths.total()} deaths", flush=True)
    line = f"{len(deaths)} points, {min(deaths.values())} deaths at each, {deaths.total()} in all: {_sum(judges)}"
    return line, {"deaths": [["point", "deaths"], *([name, count] for name, count in deaths.items())]}


def prove_sudden() -> str:
    """Deaths at random moments, with 200 positions. Raises ``AssertionError`` at a violation."""
    chance = Random(SUDDEN)  # noqa: S311 -- a seed, no secret
    with tempfile.TemporaryDirectory() as folder, Nursery() as nursery:
        killing = Killing(nursery, Path(folder) / "service")
        for number in range(SUDDEN):
            if number % RESTED == 0:
                killing.goes_on()
                killing.holds(POSITIONS)
                killing.ends()
            if number % 100 == 0:
                print(f"  {number} of {SUDDEN}", flush=True)
            killing.dies_sometime(chance)
        killing.goes_on()
        disk, moments = killing.disk(), killing.victim.moments
        killing.ends()
    line = (
        f"{SUDDEN} deaths at random moments, {len(disk.trades)} registrations, {len(disk.intents)} orders, "
        f"{len(disk.our_deals)} deals of ours: {_sum([killing.judge])}; ready at most {max(moments):.2f} s after the "
        f"terminal was connected, in {len(moments)} starts with about {POSITIONS} positions"
    )
    if max(moments) > READY_S:
        raise AssertionError(line)
    return line


def _sum(judges: list[Judge]) -> str:
    return f"{sum(judge.lost for judge in judges)} lost, {sum(judge.doubled for judge in judges)} doubled"
