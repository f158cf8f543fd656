"""What only a terminal can tell, asked of the simulated one every day and of a real one where somebody wants to.

``docs/howto/verify-on-your-terminal.md`` says how to run it on a demo account and what each line means.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import live_facts
import pytest
import pytest_asyncio
from live_bench import Bench
from live_opt_in import LINES
from live_stage import real, simulated

pytestmark = pytest.mark.asyncio(loop_scope="module")

Say = Callable[[str], None]


@pytest_asyncio.fixture(
    scope="module", loop_scope="module", params=["simulated", pytest.param("real", marks=pytest.mark.live_mt5)]
)
async def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    stage = real() if request.param == "real" else await simulated(tmp_path_factory.mktemp("terminal"))
    try:
        yield await stage.begin()
    finally:
        await stage.end()


@pytest.fixture
def say(request: pytest.FixtureRequest) -> Say:
    """A line for the person at the console: at once with ``-s``, and together with the others at the end."""

    def told(line: str) -> None:
        print(line)
        if request.node.get_closest_marker("live_mt5"):
            request.config.stash[LINES].append(line)

    return told


async def test_the_terminal_introduces_itself(bench: Bench, say: Say) -> None:
    say(f"TERMINAL {live_facts.introduction(bench)}")
    assert bench.terminal["connected"]


@pytest.mark.parametrize("number", live_facts.FACTS, ids=lambda n: f"{n}-{live_facts.FACTS[n].__name__}")
async def test_fact(bench: Bench, say: Say, number: int) -> None:
    fact = await live_facts.FACTS[number](bench)
    say(f"FACT {number} {'holds' if fact.holds else 'DIFFERS'}: {fact.line}")
    assert fact.holds


async def test_habits_are_reported_as_settings_of_the_simulator(bench: Bench, say: Say) -> None:
    found = await live_facts.habits(bench)
    say("HABITS [simulator.broker] " + ", ".join(f'{name} = "{value}"' for name, value in found.items()))
    assert set(found) == {"missing_position", "unselected_tick", "positions_of_unknown_symbol", "deals_by_ticket"}
