"""Mistakes of earlier ways to the terminal that ours could repeat: one test each, numbered as in defects.md."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from gateway_kit import STOP, scripted

from dtms_service.domain.outcome import Done, Unknown
from dtms_service.engine.ports import Terminal
from dtms_service.terminal.gateway import Gateway
from dtms_service.terminal.link import call
from dtms_service.terminal.process import ProcessLink


def test_d02_everything_the_engine_may_ask_of_a_terminal_is_there() -> None:
    asked = {name: member for name, member in vars(Terminal).items() if not name.startswith("_")}
    assert "send" in asked
    for name, member in asked.items():
        offered = inspect.getattr_static(Gateway, name)
        assert isinstance(offered, property) is isinstance(member, property), name
        if not isinstance(member, property):
            assert inspect.iscoroutinefunction(offered) is inspect.iscoroutinefunction(member), name
            assert list(inspect.signature(offered).parameters) == list(inspect.signature(member).parameters), name


async def test_d08_no_answer_is_not_an_empty_one() -> None:
    none = {"value": None, "error": [-1, "Terminal: Call failed"]}
    failed = await scripted({"positions_get": [none], "history_deals_get": [none]})
    assert isinstance(await failed.gateway.positions(), Unknown)
    assert isinstance(await failed.gateway.deals_of(1001), Unknown)
    empty = await scripted()
    assert await empty.gateway.positions() == Done(())
    assert await empty.gateway.deals_of(1001) == Done(())


@pytest.mark.parametrize(("target", "sent"), [(None, 0.0), (1.12, 1.12)])
async def test_d30_both_levels_are_named_in_every_change(target: float | None, sent: float) -> None:
    scene = await scripted()
    order = type(STOP)(STOP.ticket, STOP.symbol, STOP.stop_loss, target, STOP.magic, STOP.comment)
    await scene.gateway.send(order)
    request = next(asked for asked in scene.link.calls if asked.name == "order_send").kwargs
    assert (request["sl"], request["tp"]) == (1.095, sent)


@pytest.fixture
async def process(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ProcessLink]:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    link = ProcessLink("scripted_backend", {})
    await link.start()
    yield link
    await link.close()


async def test_d53_a_terminal_that_hangs_does_not_hold_up_the_service(process: ProcessLink) -> None:
    hanging = asyncio.create_task(process.ask([call("hang")], 0.3))
    longest, last = 0.0, time.monotonic()
    while not hanging.done():
        await asyncio.sleep(0.005)
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
    outcome = hanging.result()
    assert isinstance(outcome, Unknown)
    assert outcome.code == "timeout"
    assert longest < 0.25
