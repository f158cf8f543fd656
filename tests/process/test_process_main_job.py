"""The main job in the real process: from a registering caller to an order at the terminal and back."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import scenario
from market_data import bar_file
from service import Service

from dtms_service.domain import magic

pytestmark = pytest.mark.process

AT_STOP = 4
"""DEAL_REASON_SL."""
GENERATED = {"DTMS_SIMULATOR__MARKET": "synthetic", "DTMS_SIMULATOR__SEED": "7"}
MARKETS = ["generated", "BTCUSD_M1_202201_ftx_perp.csv.gz"]


def market(name: str) -> tuple[dict[str, str], tuple[str, ...], float]:
    """Settings, symbols and stop distance (as a share of the price) for a market."""
    if name == "generated":
        return GENERATED, ("EURUSD", "XAUUSD", "BTCUSD"), 0.012
    path = bar_file(name)
    start = {"DTMS_SIMULATOR__START": "2022-01-21T00:00:00Z"}
    return {"DTMS_SIMULATOR__MARKET": str(path), **start}, (path.name.split("_")[0],), 0.03


@dataclass(frozen=True)
class Run:
    """Four days without an interruption, with the service still up, and how to do the same again."""

    service: Service
    settings: dict[str, str]
    symbols: tuple[str, ...]
    stop: float
    tickets: list[int]
    answers: list[bool]
    halfway: dict[str, Any]
    """States and deals after two of the days."""


@pytest.fixture(scope="module", params=MARKETS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    settings, symbols, stop = market(request.param)
    with Service(tmp_path_factory.mktemp("run") / "state", settings) as service:
        tickets, answers = _ten_registered(service, symbols, stop)
        _two_days(service)
        halfway = scenario.outcome(service)
        _two_days(service)
        yield Run(service, settings, symbols, stop, tickets, answers, halfway)


def _ten_registered(service: Service, symbols: tuple[str, ...], stop: float) -> tuple[list[int], list[bool]]:
    opened = scenario.open_ten(service, symbols, stop)
    answers = scenario.register_like_old_callers(service, opened)
    tickets = [position["ticket"] for position in opened]
    scenario.wait_registered(service, tickets)
    return tickets, answers


def _two_days(service: Service, kills: tuple[int, ...] = ()) -> None:
    """Step six hours at a time; in the steps of ``kills`` the service dies in the middle and is started again."""
    start = scenario.market_now(service)
    for step in range(1, 9):
        goal = start + step * 6 * 3600
        if step in kills:
            _kill_while_it_advances(service, goal, after=0.2 * step)
        service.advance(until=goal)


def test_ten_trades_are_watched_for_four_days_and_every_effect_is_explained(run: Run) -> None:
    service = run.service
    assert run.answers == [True] * 10
    moves = scenario.transitions(service, run.tickets)
    assert {("HEALTHY", "WARNING_L1"), ("WARNING_L1", "WARNING_L2")} <= moves
    assert moves & {("WARNING_L1", "HEALTHY"), ("WARNING_L2", "WARNING_L1")}

    actions = service.get("/dtms/actions", params={"limit": 1000})["action_history"]
    done = [action for action in actions if action["outcome"] == "done"]
    intents = {action["details"]["magic"]: action for action in done}
    assert {"tighten_stop", "partial_close"} <= {action["action_type"] for action in done}

    deals = service.get("/simulator/deals")["deals"]
    ours = scenario.our_deals(service)
    assert ours, "no partial close reached the terminal"
    assert {deal["magic"] for deal in ours} <= set(intents)
    for deal in ours:
        if deal["reason"] == AT_STOP:
            continue  # a hedge at its stop: the deal carries the number of the order that opened it
        action = intents[deal["magic"]]
        opened = action["action_type"] == "open_hedge" and deal["entry"] == 0
        assert opened or action["action_type"] in {"partial_close", "open_hedge", "close_hedge", "close_all"}
        assert action["requested"]["volume"] == pytest.approx(deal["volume"])

    everything = service.get("/simulator/positions")["positions"]
    positions = {p["identifier"]: p for p in everything if not magic.ours(p["magic"])}
    hedges = {trade["hedge"]["identifier"] for trade in scenario.trades(service) if trade["hedge"] is not None}
    assert hedges == {p["identifier"] for p in everything if magic.ours(p["magic"])}, "every hedge has its trade"
    for trade in scenario.trades(service):
        out = sum(d["volume"] for d in deals if d["position_id"] == trade["identifier"] and d["entry"] != 0)
        if trade["state"] == "CLOSED":
            assert trade["identifier"] not in positions
            assert out == pytest.approx(trade["initial_volume"])
        else:
            position = positions[trade["identifier"]]
            assert (trade["volume"], trade["stop_loss"] or 0.0) == (position["volume"], position["sl"])
    status = service.get("/dtms/status")["dtms_status"]
    assert status["active_trades"] == len(positions)
    assert [d for d in deals if d["reason"] == AT_STOP], "no position was closed at its stop"


def test_stops_only_ever_get_tighter(run: Run) -> None:
    service, moved = run.service, 0
    for ticket in run.tickets:
        trade = service.get(f"/dtms/trades/{ticket}")
        sign = 1 if trade["side"] == "BUY" else -1
        for action in service.get("/dtms/actions", params={"ticket": ticket, "limit": 1000})["action_history"]:
            after = action["requested"].get("stop_loss")
            if action["outcome"] == "done" and after is not None:
                before = action["details"]["before"]["stop_loss"]
                assert before is None or sign * (after - before) > 0
                moved += 1
    assert moved > 0


def test_three_hard_kills_end_in_the_same_states_and_deals(run: Run, tmp_path: Path) -> None:
    service = Service(tmp_path / "state", run.settings).start()
    _ten_registered(service, run.symbols, run.stop)
    _two_days(service, kills=(1, 2, 4))
    outcome = scenario.outcome(service)
    assert service.stop() == 0
    assert outcome["deals"]
    assert outcome["states"] == run.halfway["states"]
    assert outcome["deals"] == run.halfway["deals"]


def _kill_while_it_advances(service: Service, goal: float, after: float) -> None:
    timer = threading.Timer(after, service.kill)
    timer.start()
    with contextlib.suppress(httpx.TransportError):
        service.advance(until=goal)
    timer.join()
    assert service.process is not None
    service.process.wait(10)
    service.start()
