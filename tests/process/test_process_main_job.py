"""The main job in the real process: from a registering caller to an order at the terminal and back."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
import scenario
from market_data import bar_file
from service import Service

pytestmark = pytest.mark.process

GENERATED = {"DTMS_SIMULATOR__MARKET": "synthetic", "DTMS_SIMULATOR__SEED": "7"}
MARKETS = ["generated", "BTCUSD_M1_202201_ftx_perp.csv.gz"]


def market(name: str) -> tuple[dict[str, str], tuple[str, ...], float]:
    """Settings, symbols and stop distance (as a share of the price) for a market."""
    if name == "generated":
        return GENERATED, ("EURUSD", "XAUUSD", "BTCUSD"), 0.012
    path = bar_file(name)
    start = {"DTMS_SIMULATOR__START": "2022-01-21T00:00:00Z"}
    return {"DTMS_SIMULATOR__MARKET": str(path), **start}, (path.name.split("_")[0],), 0.03


@pytest.fixture(params=MARKETS)
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    settings, symbols, stop = market(request.param)
    with Service(tmp_path / "state", settings) as service:
        opened = scenario.open_ten(service, symbols, stop)
        answers = scenario.register_like_old_callers(service, opened)
        tickets = [position["ticket"] for position in opened]
        scenario.wait_registered(service, tickets)
        start = scenario.market_now(service)
        for hour in range(6, 97, 6):
            service.advance(until=start + hour * 3600)
        yield service, tickets, answers


def test_ten_trades_are_watched_for_four_days_and_every_effect_is_explained(run: Any) -> None:
    service, tickets, answers = run
    assert answers == [True] * 10
    moves = scenario.transitions(service, tickets)
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
        assert intents[deal["magic"]]["action_type"] == "partial_close"
        assert intents[deal["magic"]]["requested"]["volume"] == pytest.approx(deal["volume"])

    positions = {p["identifier"]: p for p in service.get("/simulator/positions")["positions"]}
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
    assert [d for d in deals if d["reason"] == 4], "no position was closed at its stop"


def test_stops_only_ever_get_tighter(run: Any) -> None:
    service, tickets, _ = run
    moved = 0
    for ticket in tickets:
        trade = service.get(f"/dtms/trades/{ticket}")
        sign = 1 if trade["side"] == "BUY" else -1
        for action in service.get("/dtms/actions", params={"ticket": ticket, "limit": 1000})["action_history"]:
            after = action["requested"].get("stop_loss")
            if action["outcome"] == "done" and after is not None:
                before = action["details"]["before"]["stop_loss"]
                assert before is None or sign * (after - before) > 0
                moved += 1
    assert moved > 0


@pytest.mark.parametrize("name", MARKETS)
def test_three_hard_kills_end_in_the_same_states_and_deals(tmp_path: Path, name: str) -> None:
    settings, symbols, stop = market(name)
    outcomes = []
    for kills in (0, 3):
        service = Service(tmp_path / f"state{kills}", settings).start()
        opened = scenario.open_ten(service, symbols, stop)
        scenario.register_like_old_callers(service, opened)
        scenario.wait_registered(service, [position["ticket"] for position in opened])
        start = scenario.market_now(service)
        for day in range(1, 5):
            goal = start + day * scenario.DAY
            if day <= kills:
                _kill_while_it_advances(service, goal, after=0.05 * day)
            service.advance(until=goal)
        outcomes.append(scenario.outcome(service))
        assert service.stop() == 0
    assert outcomes[0]["states"] == outcomes[1]["states"]
    assert outcomes[0]["deals"] == outcomes[1]["deals"]


def _kill_while_it_advances(service: Service, goal: float, after: float) -> None:
    timer = threading.Timer(after, service.kill)
    timer.start()
    with contextlib.suppress(httpx.TransportError):
        service.advance(until=goal)
    timer.join()
    assert service.process is not None
    service.process.wait(10)
    service.start()
