"""The checks themselves: they see what differs, refuse what they may not touch, and leave nothing behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import live_facts
import pytest
from live_bench import NotHere
from live_stage import LAG_S, SERVER_HOURS, Stage, simulated

from dtms_service.domain.outcome import Done, Outcome
from dtms_service.lock import account_lock
from dtms_service.terminal.frames import Rows
from dtms_service.terminal.link import Call, Reply, Result
from dtms_service.terminal.process import ProcessLink
from dtms_service.terminal.simulator import SimulatorControl

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "howto" / "verify-on-your-terminal.md"
PAGE_READS = [HERE / "live_opt_in.py", HERE / "live_stage.py", HERE / "live_bench.py"]
Change = Callable[[Mapping[str, Any]], Mapping[str, Any]]


class Changed(ProcessLink):
    """The simulated terminal with some fields of its answers changed, and a memory of what was asked."""

    def __init__(self, options: Mapping[str, Any], change: Change) -> None:
        super().__init__("dtms_service.terminal.simulated.backend", options)
        self.change = change
        self.asked: list[str] = []

    async def ask(self, calls: Sequence[Call], deadline: float, *, urgent: bool = False) -> Outcome[Reply]:
        self.asked += [each.name for each in calls]
        answer = await super().ask(calls, deadline, urgent=urgent)
        if not isinstance(answer, Done):
            return answer
        return Done(replace(answer.value, results=tuple(map(self._changed, answer.value.results))))

    def _changed(self, result: Result) -> Result:
        value = result.value
        if isinstance(value, Rows):
            made = [self._fields(dict(zip(value.names, row, strict=True))) for row in value.rows]
            return replace(result, value=replace(value, rows=[tuple(row.values()) for row in made]))
        return replace(result, value=self._fields(value)) if isinstance(value, Mapping) else result

    def _fields(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return {**row, **{name: new for name, new in self.change(row).items() if name in row}}


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    made = await simulated(tmp_path)
    yield made
    await made.end()


async def changed(folder: Path, change: Change) -> tuple[Stage, Changed]:
    links: list[Changed] = []

    def link_of(options: Mapping[str, Any]) -> Changed:
        links.append(Changed(options, change))
        return links[-1]

    return await simulated(folder, link_of), links[0]


@pytest.mark.parametrize(
    ("number", "change"),
    [
        (2, {"magic": 4294967295}),
        (3, {"reason": 0}),
        (5, {"time_msc": 1_709_600_000_000}),
    ],
)
async def test_a_terminal_that_differs_is_seen(tmp_path: Path, number: int, change: Mapping[str, Any]) -> None:
    """Deals alone are changed: a broker that cuts magics to 32 bits, calls us a client, or shows another hour."""
    stage, _ = await changed(tmp_path, lambda row: change if "position_id" in row else {})
    fact = await live_facts.FACTS[number](await stage.begin())
    await stage.end()
    assert not fact.holds


async def test_a_terminal_that_keeps_a_target_that_is_not_named_is_seen(tmp_path: Path) -> None:
    shown: dict[int, float] = {}

    def keeps(row: Mapping[str, Any]) -> Mapping[str, Any]:
        if "tp" not in row or "identifier" not in row:
            return {}
        if row["tp"]:
            shown[row["identifier"]] = row["tp"]
        return {"tp": shown.get(row["identifier"], 0.0)}

    stage, _ = await changed(tmp_path, keeps)
    fact = await live_facts.take_profit_is_removed(await stage.begin())
    await stage.end()
    assert not fact.holds


async def test_the_page_shows_the_lines_of_a_run_and_explains_each(stage: Stage) -> None:
    bench = await stage.begin()
    lines = [live_facts.introduction(bench)]
    lines += [live_facts.told(number, await fact(bench)) for number, fact in live_facts.FACTS.items()]
    lines += [live_facts.told_habits(await live_facts.habits(bench))]
    page = PAGE.read_text("utf-8")
    assert [line for line in page.splitlines() if re.match(r"(TERMINAL|FACT|HABITS) ", line)] == lines
    explained = re.findall(r"^\| `(TERMINAL|FACT \d|HABITS)` \|", page, re.MULTILINE)
    assert explained == ["TERMINAL", *(f"FACT {number}" for number in live_facts.FACTS), "HABITS"]
    named = set(re.findall(r"DTMS_LIVE_\w+", page))
    assert named == {name for path in PAGE_READS for name in re.findall(r"DTMS_LIVE_\w+", path.read_text("utf-8"))}


async def test_records_that_lag_and_a_clock_ahead_are_measured(stage: Stage) -> None:
    bench = await stage.begin()
    late = (await live_facts.visible_in_time(bench)).figures
    assert set(late) == {"position", "levels", "position gone", "closing deal"}
    assert all(LAG_S <= seconds <= LAG_S + 0.05 for seconds in late.values()), late
    assert (await live_facts.times_are_utc(bench)).figures == pytest.approx(
        {"ahead": SERVER_HOURS * 3600.0, "away": 0.0}, abs=0.001
    )


async def test_what_shows_only_after_the_settle_window_is_a_failure(tmp_path: Path) -> None:
    stage = await simulated(tmp_path, visibility_lag_s=60.0)
    bench = await stage.begin()
    with pytest.raises(AssertionError, match="would take the order for not executed"):
        await bench.open()
    await stage.end()


async def test_a_position_that_does_not_show_yet_is_closed_when_it_does(tmp_path: Path) -> None:
    stage = await simulated(tmp_path, visibility_lag_s=30.0)
    bench = await stage.begin()
    number = await bench.buy()
    assert await bench.positions() == (), "it is there, and nothing shows it"
    assert await bench.leave() == []
    assert await bench.is_closed(number)
    await stage.end()


async def test_a_position_whose_order_got_no_answer_is_closed_too(tmp_path: Path) -> None:
    stage = await simulated(tmp_path, visibility_lag_s=30.0)
    bench = await stage.begin()
    control = SimulatorControl(bench.link)
    await control.set_fault({"kind": "reply_lost_executed", "count": 1})
    with pytest.raises(AssertionError, match="was not answered"):
        await bench.buy()
    assert await bench.leave() == []
    assert (await control.view("positions"))["positions"] == []
    assert [deal["entry"] for deal in (await control.view("deals"))["deals"] if deal["order"]] == [0, 1]
    await stage.end()


async def test_what_cannot_be_closed_is_named(stage: Stage) -> None:
    bench = await stage.begin()
    opened, _ = await bench.open()
    control = SimulatorControl(bench.link)
    await control.set_fault({"kind": "retcode", "retcode": 10018, "count": 1000})
    with pytest.raises(AssertionError, match=f"CLOSE BY HAND: positions .{opened.identifier}"):
        await stage.check_closed()
    await control.clear_faults()


async def test_other_habits_are_seen(tmp_path: Path) -> None:
    other: dict[str, Any] = {
        "missing_position": "invalid",
        "unselected_tick": "none",
        "positions_of_unknown_symbol": "none",
        "deals_by_ticket": "none",
    }
    stage = await simulated(tmp_path, **other)
    assert await live_facts.habits(await stage.begin()) == other
    await stage.end()


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("trade_mode", 2, "not a demo account"),
        ("trade_mode", 1, "not a demo account"),
        ("trade_allowed", False, "Algo Trading"),
        ("time_msc", 1_000_000, "come back when its market is open"),
    ],
    ids=["real", "contest", "switched off", "closed market"],
)
async def test_nothing_is_sent_where_it_may_not_be(tmp_path: Path, field: str, value: object, told: str) -> None:
    stage, link = await changed(tmp_path, lambda _: {field: value})
    with pytest.raises(NotHere, match=told):
        await stage.begin()
    await stage.end()
    assert "order_send" not in link.asked


async def test_an_account_that_dtms_guards_is_left_alone(stage: Stage, tmp_path: Path) -> None:
    answer = await stage.bench.gateway.connect()
    assert isinstance(answer, Done)
    with account_lock(tmp_path, answer.value.login, answer.value.server), pytest.raises(NotHere, match="stop it first"):
        await stage.begin()


async def test_a_net_position_of_somebody_else_is_not_mixed_with_ours(tmp_path: Path) -> None:
    stage, link = await changed(tmp_path, lambda _: {"margin_mode": 0})
    await SimulatorControl(link).open_position({"symbol": "EURUSD", "side": "BUY", "volume": 0.1, "magic": 77})
    await stage.bench.pause(1)
    with pytest.raises(NotHere, match="nets positions and EURUSD has one"):
        await stage.begin()
    await stage.end()
    assert "order_send" not in link.asked


@pytest.mark.parametrize(
    ("symbol", "told"), [("NOPE", "cannot be traded here"), ("eurusd", "is spelled differently here")]
)
async def test_a_symbol_that_is_not_here_is_named(stage: Stage, symbol: str, told: str) -> None:
    stage.bench.symbol = symbol
    with pytest.raises(NotHere, match=told):
        await stage.begin()


async def test_only_positions_of_this_run_are_closed_and_those_always(stage: Stage) -> None:
    control = SimulatorControl(stage.bench.link)
    foreign = await control.open_position({"symbol": "EURUSD", "side": "BUY", "volume": 0.1, "magic": 77})
    bench = await stage.begin()
    await bench.pause(1)
    await bench.open()
    await control.set_fault({"kind": "magic_zeroed", "count": 1})
    zeroed, _ = await bench.open()
    assert zeroed.magic == 0, "the broker took our mark off: it is known by its number"
    (other,) = [position for position in await bench.positions() if not bench.is_ours(position)]
    assert other.ticket == foreign["ticket"]
    with pytest.raises(AssertionError, match="not of this run"):
        await bench.close(other)
    await control.set_fault({"kind": "retcode", "retcode": 10004, "count": 1})
    assert await bench.leave() == []
    assert [position.ticket for position in await bench.positions()] == [foreign["ticket"]]


async def test_what_an_earlier_run_left_is_named_and_left_alone(stage: Stage) -> None:
    left = {"symbol": "EURUSD", "side": "BUY", "volume": 0.1, "magic": stage.bench.magic()}
    stage.bench.magics.clear()
    ticket = (await SimulatorControl(stage.bench.link).open_position(left))["ticket"]
    await stage.bench.pause(1)
    with pytest.raises(NotHere, match=f"close them by hand: .{ticket}"):
        await stage.begin()
    assert [position.ticket for position in await stage.bench.positions()] == [ticket]


@pytest.mark.skipif(sys.platform == "win32", reason="there it is possible")
@pytest.mark.parametrize(
    ("wanted", "told"), [("1", "exist for Windows only"), ("", "only where DTMS_LIVE_MT5=1 is set")]
)
def test_a_real_terminal_is_impossible_here_however_it_is_asked_for(wanted: str, told: str) -> None:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-m",
        "live_mt5",
        str(HERE),
    ]
    done = subprocess.run(
        command, env={**os.environ, "DTMS_LIVE_MT5": wanted}, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout
    assert told in done.stdout + done.stderr
