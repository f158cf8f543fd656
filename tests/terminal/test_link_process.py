"""The child process: bounded in time, killed and replaced, and never in the way of the event loop."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dtms_service.domain.errors import Invalid, NoAnswer, NotAccepting
from dtms_service.domain.outcome import Done, Outcome, Refused, Unknown
from dtms_service.terminal.link import InlineLink, Link, Reply, call
from dtms_service.terminal.process import ProcessLink
from dtms_service.terminal.simulator import SimulatorControl

HERE = Path(__file__).parent
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="signals, fork and prctl")
DEADLINE_S = 0.3


@pytest.fixture(autouse=True)
def _children_find_the_script(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(HERE))


@pytest.fixture
async def process() -> AsyncIterator[ProcessLink]:
    link = ProcessLink("scripted_backend", {"password": "secret"})
    await link.start()
    yield link
    await link.close()


@pytest.fixture(params=["process", "inline"])
async def link(request: pytest.FixtureRequest) -> AsyncIterator[Link]:
    made: Link = (
        ProcessLink("scripted_backend", {})
        if request.param == "process"
        else InlineLink("scripted_backend", {}, wall=time.monotonic, sleep=time.sleep)
    )
    await made.start()
    yield made
    await made.close()


def value(outcome: Outcome[Reply]) -> object:
    assert isinstance(outcome, Done), outcome
    return outcome.value.results[0].value


async def test_calls_are_answered_in_order_in_one_exchange(link: Link) -> None:
    answer = await link.ask([call("echo", n) for n in (1, "two", [3.5, None])], 5)
    assert isinstance(answer, Done)
    assert [result.value for result in answer.value.results] == [1, "two", [3.5, None]]
    assert {(result.code, result.text) for result in answer.value.results} == {(1, "Success")}


async def test_an_exception_of_a_call_is_told_and_ends_nothing(link: Link) -> None:
    answer = await link.ask([call("fail"), call("echo", 5)], 5)
    assert isinstance(answer, Done)
    assert answer.value.results[0].raised == "SystemError"
    assert answer.value.results[1].value == 5


async def test_after_close_nothing_is_sent(link: Link) -> None:
    await link.close()
    answer = await link.ask([call("echo", 1)], 5)
    assert isinstance(answer, Refused)
    assert answer.code == "not_sent"


async def test_a_hang_is_unknown_at_its_deadline_and_the_child_is_replaced(process: ProcessLink) -> None:
    before = process.pid
    hanging = asyncio.create_task(process.ask([call("hang")], DEADLINE_S))
    await asyncio.sleep(0)
    waiting = asyncio.create_task(process.ask([call("echo", 1)], 5, urgent=True))
    longest, last = 0.0, time.monotonic()
    while not hanging.done():
        await asyncio.sleep(0.005)
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
    assert isinstance(hanging.result(), Unknown)
    assert hanging.result().code == "timeout"
    assert isinstance(await waiting, Refused), "it was never sent, and that is certain"
    assert value(await process.ask([call("pid")], 5)) != before
    assert longest < 0.25, "the event loop stood still"


async def test_a_child_that_dies_makes_its_call_unknown_and_is_replaced(process: ProcessLink) -> None:
    answer = await process.ask([call("die")], 5)
    assert isinstance(answer, Unknown)
    assert answer.code == "link_down"
    async with asyncio.timeout(10):
        while not isinstance(await process.ask([call("echo", 1)], 5), Done):
            await asyncio.sleep(0.02)


async def test_a_child_killed_from_outside_is_noticed_without_a_call(process: ProcessLink) -> None:
    generation = process.generation
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    async with asyncio.timeout(10):
        while process.generation == generation:
            await asyncio.sleep(0.02)
    assert value(await process.ask([call("echo", 1)], 5)) == 1


@pytest.mark.parametrize("size", [3, 50_000_000], ids=["less than a frame", "more than a buffer"])
async def test_a_child_that_answers_garbage_makes_its_call_unknown_and_is_replaced(
    process: ProcessLink, size: int
) -> None:
    answer = await process.ask([call("babble", size)], 5 if size > 4 else DEADLINE_S)
    assert isinstance(answer, Unknown)
    assert answer.code == ("link_down" if size > 4 else "timeout")
    assert value(await process.ask([call("echo", 1)], 5)) == 1


async def test_a_child_that_writes_without_being_asked_is_replaced(process: ProcessLink) -> None:
    generation = process.generation
    assert value(await process.ask([call("babble_later")], 5)) is None
    async with asyncio.timeout(10):
        while process.generation == generation:
            await asyncio.sleep(0.02)
    assert value(await process.ask([call("echo", 1)], 5)) == 1


@needs_linux
async def test_a_child_that_is_stopped_is_unknown_at_its_deadline_and_replaced(process: ProcessLink) -> None:
    answer = await process.ask([call("stop")], DEADLINE_S)
    assert isinstance(answer, Unknown)
    assert answer.code == "timeout"
    assert value(await process.ask([call("echo", 1)], 5)) == 1


@needs_linux
async def test_a_process_that_a_dead_child_leaves_on_its_pipe_keeps_no_new_child_away(process: ProcessLink) -> None:
    answer = await process.ask([call("die_and_leave_a_process")], DEADLINE_S)
    assert isinstance(answer, Unknown)
    assert value(await process.ask([call("echo", 1)], 4)) == 1


async def test_a_request_that_cannot_be_written_costs_itself_and_no_later_one(
    process: ProcessLink, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await process.ask([call("echo", object())], 5)
    assert isinstance(answer, Unknown)
    assert "terminal_request_failed" in caplog.messages
    assert value(await process.ask([call("echo", 1)], 5)) == 1


@needs_linux
async def test_a_child_that_cannot_be_started_is_tried_again(
    process: ProcessLink, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    executable = sys.executable
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    await process.ask([call("die")], 5)
    async with asyncio.timeout(10):
        while "terminal_process_not_started" not in caplog.messages:
            await asyncio.sleep(0.02)
    monkeypatch.setattr(sys, "executable", executable)
    async with asyncio.timeout(10):
        while not isinstance(await process.ask([call("echo", 1)], 5), Done):
            await asyncio.sleep(0.02)


async def test_a_mistake_of_the_link_itself_is_told_to_everybody_who_waits(
    process: ProcessLink, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def mistaken(*_: object) -> None:
        raise KeyError("a mistake")

    monkeypatch.setattr(process, "_answer", mistaken)
    first, second = await asyncio.gather(process.ask([call("echo", 1)], 5), process.ask([call("echo", 2)], 5))
    third = await process.ask([call("echo", 3)], 5)
    assert isinstance(first, Unknown)
    assert isinstance(second, Refused)
    assert isinstance(third, Refused)
    assert "terminal_link_failed" in caplog.text


async def test_a_backend_that_prints_does_not_corrupt_the_answers(process: ProcessLink) -> None:
    assert value(await process.ask([call("talk")], 5)) == "said"
    assert value(await process.ask([call("echo", 2)], 5)) == 2


async def test_options_never_stand_on_the_command_line(process: ProcessLink) -> None:
    assert value(await process.ask([call("arguments")], 5)) == [str(os.getpid())]


async def test_an_urgent_request_overtakes_those_that_wait(process: ProcessLink) -> None:
    order: list[str] = []

    async def ask(name: str, *, urgent: bool) -> None:
        await process.ask([call("echo", name)], 5, urgent=urgent)
        order.append(name)

    reads = [ask(f"read {n}", urgent=False) for n in range(5)]
    await asyncio.gather(*reads, ask("order", urgent=True))
    assert order.index("order") <= 1


async def test_a_backend_that_refuses_its_options_says_so_in_one_sentence() -> None:
    with pytest.raises(Invalid, match="no such market"):
        await ProcessLink("scripted_backend", {"refuse": "no such market"}).start()


async def test_the_real_terminal_cannot_be_chosen_where_its_package_does_not_exist() -> None:
    with pytest.raises(Invalid, match="exists for Windows only"):
        await ProcessLink("dtms_service.terminal.mt5", {"path": None, "login": None, "server": None}).start()


async def test_the_simulated_childs_imports_stay_light(tmp_path: Path) -> None:
    options = {"state_dir": str(tmp_path), "market": "synthetic", "seed": 1, "clock": "stepped", "start": None}
    account = {"balance": 1e5, "currency": "USD", "leverage": 100, "margin_mode": "hedging", "fifo_close": False}
    link = ProcessLink(
        "dtms_service.terminal.simulated.backend", {**options, "account": {**account, "server_utc_offset": 0}}
    )
    await link.start()
    assert link.imports == ("numpy",)
    await link.close()


@needs_linux
async def test_no_child_survives_a_parent_that_is_killed() -> None:
    parent = (
        "import asyncio, sys\n"
        "from dtms_service.terminal.process import ProcessLink\n"
        "async def main():\n"
        "    link = ProcessLink('scripted_backend', {})\n"
        "    await link.start()\n"
        "    print(link.pid, flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = Path("/proc") / process.stdout.readline().strip() / "stat"
        assert child.exists()
        process.kill()
    for _ in range(200):
        if not child.exists() or child.read_text().rsplit(")", 1)[1].split()[0] in {"Z", "X"}:
            return
        await asyncio.sleep(0.02)
    pytest.fail("the child outlived its parent")


async def test_the_simulators_control_says_try_again_while_its_process_is_replaced(process: ProcessLink) -> None:
    hanging = asyncio.create_task(process.ask([call("hang")], DEADLINE_S))
    await asyncio.sleep(0)
    with pytest.raises(NotAccepting, match="being replaced"):
        await SimulatorControl(process).view("account")
    await hanging


async def test_the_simulators_control_says_whether_to_ask_again_when_its_process_dies_meanwhile(
    process: ProcessLink,
) -> None:
    control = SimulatorControl(process)
    with pytest.raises(NotAccepting, match="Try again"):
        await control.clock()
    with pytest.raises(NoAnswer, match="Look whether it was done"):
        await control.close_position(1, None)
