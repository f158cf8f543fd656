"""What only a terminal can tell, asked of the simulated one every day and of a real one where somebody wants to.

``docs/howto/verify-on-your-terminal.md`` says how to run it on a demo account and what each line means.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import live_facts
import pytest
import pytest_asyncio
from live_bench import Bench, NotHere
from live_opt_in import LINES
from live_stage import Stage, package_of, packaged, plain, real, simulated

from dtms_service.domain.errors import Invalid

pytestmark = pytest.mark.asyncio(loop_scope="module")

Say = Callable[[str], None]


async def stage_for(terminal: str, folder: Path) -> Stage:
    if terminal == "real":
        return real()
    return await simulated(folder, packaged if terminal == "package" else plain)


@pytest_asyncio.fixture(
    scope="module",
    loop_scope="module",
    params=["simulated", "package", pytest.param("real", marks=pytest.mark.live_mt5)],
)
async def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    """The simulated terminal; our real backend on a package it stands in for; the terminal of this machine."""
    folder = tmp_path_factory.mktemp("terminal")
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "package":
            patch.setenv("PYTHONPATH", str(package_of(folder)))
        stage = await stage_for(request.param, folder)
        try:
            yield await begun(stage, alone=request.param == "real")
        finally:
            await stage.end()


async def begun(stage: Stage, *, alone: bool) -> Bench:
    """``alone``: one sentence instead of an error for each of the checks."""
    try:
        return await stage.begin()
    except (NotHere, Invalid) as refused:
        if alone:
            pytest.exit(f"nothing was examined: {refused}")
        raise


@pytest.fixture
def say(request: pytest.FixtureRequest) -> Say:
    """A line for the person at the console: at once with ``-s``, and together with the others at the end."""

    def told(line: str) -> None:
        print(line)
        if request.node.get_closest_marker("live_mt5"):
            request.config.stash[LINES].append(line)

    return told


async def test_the_terminal_introduces_itself(bench: Bench, say: Say) -> None:
    say(live_facts.introduction(bench))
    assert bench.terminal["connected"]


@pytest.mark.parametrize("number", live_facts.FACTS, ids=lambda n: f"{n}-{live_facts.FACTS[n].__name__}")
async def test_fact(bench: Bench, say: Say, number: int) -> None:
    fact = await live_facts.FACTS[number](bench)
    say(live_facts.told(number, fact))
    assert fact.holds


async def test_habits_are_reported_as_settings_of_the_simulator(bench: Bench, say: Say) -> None:
    found = await live_facts.habits(bench)
    say(live_facts.told_habits(found))
    assert set(found) == {"missing_position", "unselected_tick", "positions_of_unknown_symbol", "deals_by_ticket"}
