"""Every old consumer of contract.md 1 and 2 against the real service in one process: what it sends, needs and reads.

One test per consumer, named by it. The engine, the ledger and the simulated terminal are the real ones; only the socket
is left out.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from engine_world import World, open_world

from dtms_client import delivery
from dtms_client.aio import AsyncDtmsClient
from dtms_client.flusher import FLUSHER
from dtms_service.api.app import make_app
from dtms_service.api.doors import Access
from dtms_service.domain.states import TradeState
from dtms_service.terminal.link import call

PAGES = frozenset({"http://localhost:8000", "http://localhost:8010"})
STATES = {state.value for state in TradeState}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    opened = await open_world(tmp_path / "state")
    yield opened
    await opened.close()


def transport(world: World) -> httpx.ASGITransport:
    access = Access(new_id=lambda: "made", origins=PAGES)
    app = make_app(world.dtms, simulator=world.simulator, version="0", instance_id="7f3a", access=access)
    return httpx.ASGITransport(app=app)


@pytest.fixture
async def http(world: World) -> AsyncIterator[httpx.AsyncClient]:
    """What the consumers' own HTTP calls go through."""
    async with httpx.AsyncClient(transport=transport(world), base_url="http://127.0.0.1:8001") as opened:
        yield opened


Registers = Callable[..., Any]


@pytest.fixture
async def register(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Registers]:
    """``register(ticket, payload)`` of the client, as the drop-ins call it."""
    monkeypatch.setenv("DTMS_STATE_DIR", str(tmp_path / "caller"))
    delivery._SAID.clear()
    async with AsyncDtmsClient("http://127.0.0.1:8001", transport=transport(world)) as client:
        yield client.register
    FLUSHER.reset()


def market_result(ticket: int, symbol: str, side: str, *parts: dict[str, Any]) -> dict[str, Any]:
    """What ``open_order`` answers for a market order: everything inside ``details``, lower-case side (1, row 1)."""
    details = {
        "ticket": ticket,
        "position": ticket,
        "final_position": ticket,
        "price_requested": 1.1,
        "price_executed": 1.1001,
        "sl": None,
        "tp": None,
        "final_sl": 1.09,
        "final_tp": None,
        "volume": 0.1,
        "retcode": 10009,
        "comment": "Request executed",
    }
    whole = {"ok": True, "message": "done", "details": details}
    return {**whole, "parts": list(parts) or [whole], "symbol": symbol, "direction": side}


async def placed(world: World, *, price: float, kind: int = 2) -> int:
    """A working order at the terminal; its ticket."""
    request = {
        "action": 5,
        "symbol": "EURUSD",
        "volume": 0.1,
        "type": kind,
        "price": price,
        "magic": 7,
        "type_filling": 2,
        "type_time": 0,
    }
    answer = await world.link.ask([call("order_send", request)], 10.0)
    (result,) = answer.value.results  # type: ignore[union-attr]
    assert result.value["retcode"] in {10008, 10009}, result
    return int(result.value["order"])


async def bid(world: World) -> float:
    return float((await world.simulator.market("EURUSD", "M1", 1))["bars"][-1]["close"])


# contract.md 1: who registers, with which payload


async def test_main_api_execute_trade(world: World, register: Registers) -> None:
    ticket = await world.open("EURUSD", "BUY")
    done = await register(ticket, market_result(ticket, "EURUSD", "buy"))
    assert (done.outcome, done.protected) == ("protected", True)
    trade = world.trade(ticket)
    assert (trade.symbol, trade.side.value if trade.side else "", trade.volume) == ("EURUSD", "BUY", 0.1)


async def test_main_api_execute_trade_split_into_parts_of_which_one_failed(world: World, register: Registers) -> None:
    first, second = [await world.open("EURUSD", "SELL") for _ in range(2)]
    parts = [
        {"ok": True, "message": "", "details": {"ticket": first, "volume": 0.1}},
        {"ok": True, "message": "", "details": {"ticket": second, "volume": 0.1}},
        {"ok": False, "message": "no money", "details": {}},
    ]
    result = market_result(second, "EURUSD", "sell", *parts) | {"details": {}}
    done = await register(None, result)
    assert [part.outcome for part in done.parts] == ["protected", "protected"]
    assert {world.trade(ticket).volume for ticket in (first, second)} == {0.1}


async def test_main_api_execute_trade_with_the_suffix_doubled(world: World, register: Registers) -> None:
    """It upper-cases first, so its check for the suffix never matches: XAUUSDCc for XAUUSD."""
    ticket = await world.open("EURUSD", "BUY")
    done = await register(ticket, market_result(ticket, "EURUSDCc", "buy"))
    assert done.outcome == "protected"
    assert world.trade(ticket).symbol == "EURUSD"


async def test_auto_execution_system_with_an_entry_of_zero_and_no_levels(world: World, register: Registers) -> None:
    ticket = await world.open("EURUSD", "SELL")
    payload = {
        "symbol": "EURUSDc",
        "direction": "SELL",
        "entry_price": 0.0,
        "volume": 0.01,
        "stop_loss": None,
        "take_profit": None,
    }
    assert (await register(ticket, payload)).outcome == "protected"
    trade = world.trade(ticket)
    assert trade.entry_price
    assert trade.stop_loss
    assert trade.volume == 0.1  # the terminal's, not the caller's guess


async def test_auto_execution_system_with_the_position_of_a_filled_pending_order(
    world: World, register: Registers
) -> None:
    order = await placed(world, price=round(await bid(world) - 0.0002, 5))
    while not (positions := (await world.simulator.view("positions"))["positions"]):
        await world.advance(600)
    (position,) = [p["ticket"] for p in positions]
    assert (await register(position, {"symbol": "EURUSDc", "direction": "BUY"})).outcome == "protected"
    assert (await register(order, {"symbol": "EURUSDc", "direction": "BUY"})).trade.ticket == position


async def test_auto_execution_system_for_a_strategy_of_the_universal_manager(world: World, register: Registers) -> None:
    ticket = await world.open("EURUSD", "BUY")
    done = await register(ticket, {"symbol": "EURUSD", "direction": "BUY", "strategy_type": "kill_zone"})
    assert (done.outcome, done.protected, world.trade(ticket).owner.value) == ("observed", False, "universal_manager")


async def test_desktop_agent_execute_trade_with_the_raw_direction_of_its_tool(
    world: World, register: Registers
) -> None:
    for side in ("Buy", "buy", "BUY"):
        ticket = await world.open("EURUSD", "BUY")
        payload = {
            "symbol": "EURUSDc",
            "direction": side,
            "entry_price": 1.1,
            "volume": 0.1,
            "stop_loss": 0.0,
            "take_profit": 0.0,
        }
        assert (await register(ticket, payload)).protected
        assert world.trade(ticket).take_profit is None  # 0.0 meant none


async def test_desktop_agent_execute_trade_of_a_pending_order_waits_and_is_protected_when_it_is_filled(
    world: World, register: Registers
) -> None:
    price = await bid(world)
    order = await placed(world, price=round(price - 0.0002, 5))
    done = await register(order, {"symbol": "EURUSDc", "direction": "BUY", "entry_price": 0.0, "volume": 0.1})
    assert (done.outcome, done.protected) == ("pending_verification", False)
    for _ in range(60):
        if world.trade(order).state is not TradeState.PENDING:
            break
        await world.advance(600)
    trade = world.trade(order)
    assert trade.state in {TradeState.HEALTHY, TradeState.WARNING_L1, TradeState.WARNING_L2}
    assert world.dtms.protected(trade)


async def test_telegram_exec_callback(world: World, register: Registers) -> None:
    ticket = await world.open("XAUUSD", "SELL")
    assert (await register(ticket, market_result(ticket, "XAUUSD", "sell"))).protected


async def test_chatgpt_bridge_bracket_by_keywords(world: World, register: Registers) -> None:
    ticket = await world.open("EURUSD", "BUY")
    done = await register(
        ticket, symbol="EURUSD", direction="BUY", entry_price=1.1, volume=0.01, stop_loss=1.09, take_profit=None
    )
    assert done.protected


# contract.md 2: who asks over HTTP, and what it reads


async def test_chatgpt_bot_poller(world: World, http: httpx.AsyncClient) -> None:
    ticket = await world.open("EURUSD", "BUY")
    body = {
        "symbol": "EURUSD",
        "direction": "BUY",
        "entry": 1.1,
        "stop_loss": 1.09,
        "take_profit": None,
        "volume": 0.1,
        "ticket": ticket,
        "action": "enable",
    }
    for already in (False, True):
        answer = await http.post("/dtms/trade/enable", json=body, timeout=10)
        assert answer.status_code == 200  # exactly
        said = answer.json()
        assert (said["success"], said["error"], said["already_registered"]) == (True, None, already)
    assert world.trade(ticket).stop_loss == said["trade_info"]["stop_loss"]


async def test_chatgpt_bot_form(world: World, http: httpx.AsyncClient) -> None:
    ticket = await world.open("EURUSD", "BUY")
    answer = await http.post("/dtms/trade/enable", data={"ticket": str(ticket)}, timeout=10)
    assert (answer.status_code, answer.json()["success"]) == (200, True)
    assert world.dtms.protected(world.trade(ticket))


async def test_dtms_system_helper(world: World, http: httpx.AsyncClient) -> None:
    ticket = await world.open("EURUSD", "BUY")
    body = {
        "ticket": ticket,
        "symbol": "EURUSD",
        "direction": "BUY",
        "entry": 1.1,
        "volume": 0.1,
        "stop_loss": 0.0,
        "take_profit": 0.0,
    }
    answer = (await http.post("/dtms/trade/enable", json=body)).raise_for_status()
    assert (answer.json()["success"], answer.json()["error"]) == (True, None)
    wrong = await http.post("/dtms/trade/enable", json=body | {"direction": "SELL"})
    assert (wrong.status_code, wrong.json()["success"]) == (409, False)  # it repeated a "no" with 200 three times
    assert wrong.json()["error"]
    with pytest.raises(httpx.HTTPStatusError):
        wrong.raise_for_status()


async def test_intelligent_exit_manager(world: World, http: httpx.AsyncClient) -> None:
    (trade,) = await world.protect()
    answer = await http.get(f"/dtms/trade/{trade.ticket}", timeout=2)
    assert answer.status_code == 200
    assert not answer.json().get("error")
    assert answer.json()["state"] in STATES
    assert (await http.get("/dtms/trade/999999999", timeout=2)).status_code == 404  # "not in DTMS", asked once


async def test_intelligent_exit_manager_is_not_told_not_here_before_the_ledger_was_read(tmp_path: Path) -> None:
    """404 lets it move the stop at once; nobody may hear that while DTMS does not know its own trades yet."""
    world = await open_world(tmp_path / "unread", start=False)
    async with httpx.AsyncClient(transport=transport(world), base_url="http://127.0.0.1:8001") as http:
        for path in (
            "/dtms/trade/5",
            "/dtms/trades/5",
            "/dtms/trades/5/explain",
            "/dtms/trades/5/may-modify?manager=dtms",
        ):
            answer = await http.get(path)
            assert (answer.status_code, answer.json()["code"]) == (503, "not_accepting"), path
            assert answer.headers["retry-after"]
    await world.ledger.close()


async def test_main_api_trade_proxy(world: World, http: httpx.AsyncClient) -> None:
    (trade,) = await world.protect()
    body = (await http.get(f"/dtms/trade/{trade.ticket}", timeout=5)).json()
    info = body["trade_info"]
    assert body["success"] is True
    assert info["ticket"] == trade.ticket
    assert isinstance(info["warnings"], dict)
    assert isinstance(info["actions_taken"], list)
    assert isinstance(info["performance"], dict)
    assert re.fullmatch(r"\d\d:\d\d:\d\d", info["state_entry_time"])
    assert {"symbol", "state", "current_score"} <= set(info)


async def test_main_api_status_proxy(world: World, http: httpx.AsyncClient) -> None:
    await world.protect(2)
    body = (await http.get("/dtms/status", timeout=5)).json()
    status = body["dtms_status"]
    assert (body["success"], status["system_active"], status["active_trades"]) == (True, True, 2)
    assert status["trades_by_state"] == {"HEALTHY": 2}
    assert re.fullmatch(r"\d+:\d\d:\d\d", status["uptime"])
    assert re.fullmatch(r"\d\d:\d\d:\d\d", status["last_check"])
    assert isinstance(status["performance"], dict)


async def test_main_api_actions_proxy(http: httpx.AsyncClient) -> None:
    body = (await http.get("/dtms/actions", timeout=5)).json()
    assert (body["success"], body["action_history"]) == (True, [])


async def test_desktop_agent_trio(world: World, http: httpx.AsyncClient) -> None:
    """Its ticket may be text; the same questions come from the agent of the unified pipeline."""
    (trade,) = await world.protect()
    status = (await http.get("/dtms/status")).json()
    info = (await http.get(f"/dtms/trade/{trade.ticket!s}")).json()
    actions = (await http.get("/dtms/actions")).json()
    assert (status["error"], info["error"], actions["error"]) == (None, None, None)
    assert all(isinstance(body["summary"], str) and body["summary"] for body in (status, info, actions))
    assert (info["trade_info"]["ticket"], actions["total_actions"]) == (trade.ticket, 0)


async def test_unified_pipeline_trio_for_a_trade_that_is_not_here(http: httpx.AsyncClient) -> None:
    body = (await http.get("/dtms/trade/77")).json()
    assert (body["success"], body["trade_info"]) == (False, None)
    assert body["error"]
    assert body["summary"]
    assert (await http.get("/dtms/trade/seventy")).status_code == 422


async def test_dashboard_status_page_from_a_browser(world: World, http: httpx.AsyncClient) -> None:
    await world.protect()
    for origin in sorted(PAGES):
        answer = await http.get("/dtms/status", headers={"Origin": origin})
        assert answer.headers["access-control-allow-origin"] == origin
    performance = answer.json()["dtms_status"]["performance"]
    assert {"fast_checks_total", "deep_checks_total", "actions_executed", "state_transitions"} <= set(performance)
    assert performance["fast_checks_total"] >= 1
    stranger = await http.get("/dtms/status", headers={"Origin": "http://evil.example"})
    assert "access-control-allow-origin" not in stranger.headers


async def test_dashboard_list_of_trades(world: World, http: httpx.AsyncClient) -> None:
    """Its list is the keys of ``last_fast_check``; a trade must be there at once."""
    (trade,) = await world.protect()
    ticket = await world.open("XAUUSD", "SELL")
    await world.register(ticket)
    engine = (await http.get("/dtms/engine")).json()
    assert engine["success"] is True
    assert set(engine["engine_info"]["last_fast_check"]) == {str(trade.ticket), str(ticket)}
    assert all(isinstance(at, float) for at in engine["engine_info"]["last_fast_check"].values())
    assert set(engine["engine_info"]["last_deep_check"]) <= {str(trade.ticket), str(ticket)}


async def test_dashboard_actions_page(world: World, http: httpx.AsyncClient) -> None:
    (trade,) = await world.protect(stop_loss=None)
    for _ in range(40):
        await world.advance(3600)
        body = (await http.get("/dtms/actions")).json()
        if body["action_history"]:
            break
    assert body["success"] is True
    for item in body["action_history"]:
        assert item["ticket"] == trade.ticket
        assert datetime.fromisoformat(item["timestamp"]).utcoffset() is not None  # what `new Date()` reads everywhere
        assert all(isinstance(item[key], str) for key in ("action_type", "description", "status"))
    assert body["action_history"]


async def test_dashboard_trade_page(world: World, http: httpx.AsyncClient) -> None:
    (trade,) = await world.protect()
    info = (await http.get(f"/dtms/trade/{trade.ticket}")).json()["trade_info"]
    keys = ("symbol", "type", "volume", "open_price", "current_price", "profit", "state", "protection_active")
    assert [key for key in keys if info[key] is None] == []
    assert info["protection_active"] is True
    exits = info["intelligent_exits"]
    assert not any(
        exits.get(key) for key in ("breakeven_triggered", "partial_profit_triggered", "trailing_stop_active")
    )


async def test_diagnose_dtms_status(http: httpx.AsyncClient) -> None:
    status = (await http.get("/dtms/status", timeout=5)).json()["dtms_status"]
    assert status["system_active"] is status["monitoring_active"] is True
    assert {"active_trades", "uptime", "trades_by_state"} <= set(status)


async def test_diagnose_dtms_action_history(http: httpx.AsyncClient) -> None:
    answer = await http.get("/dtms/action-history", timeout=5)
    assert (answer.status_code, answer.json()["action_history"]) == (200, [])


async def test_dtms_init_script(world: World, http: httpx.AsyncClient) -> None:
    (trade,) = await world.protect()
    assert (await http.post("/dtms/initialize", timeout=30)).status_code == 200
    assert world.trade(trade.ticket) == trade  # the old one dropped every trade here


async def test_old_integration_scripts(http: httpx.AsyncClient) -> None:
    """They ask for health, then register positions that do not exist, with levels and volume of 0."""
    health, dtms_health = (await http.get("/health")).json(), (await http.get("/dtms/health")).json()
    assert (health["status"], health["dtms_available"]) == ("healthy", True)
    assert {"dtms_initialized", "monitoring_active", "active_trades", "ready"} <= set(dtms_health)
    for ticket in (12345, 999999999, "12345"):
        body = {"ticket": ticket, "symbol": "XAUUSD", "direction": "BUY", "entry": 0, "volume": 0}
        answer = await http.post("/dtms/trade/enable", json=body | {"stop_loss": 0, "take_profit": 0})
        assert (answer.status_code, answer.json()["success"]) == (202, False)
        assert answer.json()["trade_info"]["state"] == "PENDING"
        assert (await http.get(f"/dtms/trade/{ticket}")).json()["trade_info"]["state"] == "PENDING"


async def test_monitor_trade_script(http: httpx.AsyncClient) -> None:
    assert (await http.get("/dtms/status")).headers["content-type"].startswith("application/json")
    for path in ("/mt5/dtms", "/dtms"):
        assert (await http.get(path)).status_code == 404


async def test_checks_for_the_phone_hub_do_not_take_dtms_for_it(http: httpx.AsyncClient) -> None:
    """They probed this port for another program; what they look for must not be found here."""
    assert not {"agent_status", "pending_commands"} & set((await http.get("/health", timeout=2)).json())
    for path in ("/", "/agent/connect"):
        assert (await http.get(path)).status_code == 404
    assert (await http.get("/health/live")).json()["service"] == "dtms"


async def test_production_monitors_and_deploy_scripts(tmp_path: Path, http: httpx.AsyncClient) -> None:
    """They need 200 from ``/health`` and nothing else: it is 200 only when DTMS may be trusted."""
    assert (await http.get("/health", timeout=5)).status_code == 200
    world = await open_world(tmp_path / "down", start=False)
    async with httpx.AsyncClient(transport=transport(world), base_url="http://127.0.0.1:8001") as down:
        answer = await down.get("/health", timeout=5)
    assert answer.status_code == 503
    assert isinstance(answer.json(), dict)  # the old one answered a list with 200
    await world.ledger.close()


async def test_openai_tools(world: World, http: httpx.AsyncClient) -> None:
    """dtms_status, dtms_trade_info and dtms_action_history want JSON objects with ``success`` and ``summary``."""
    (trade,) = await world.protect()
    for path in ("/dtms/status", f"/dtms/trade/{trade.ticket}", "/dtms/actions"):
        body = (await http.get(path)).json()
        assert (body["success"], bool(body["summary"])) == (True, True), path


async def test_ownership_readers_of_the_trade_registry(world: World, http: httpx.AsyncClient) -> None:
    ours, theirs = await world.open(), await world.open("XAUUSD")
    await world.register(ours)
    await http.post("/dtms/trade/enable", json={"ticket": theirs, "managed_by": "universal_sl_tp_manager"})
    said = [(await http.get(f"/trade-registry/{ticket}")).json() for ticket in (ours, theirs, 5)]
    assert [body["managed_by"] for body in said] == ["dtms_manager", "universal_sl_tp_manager", ""]
    assert all(body["breakeven_triggered"] is False for body in said)


BODIES: tuple[dict[str, Any], ...] = (
    {"ticket": "{}"},
    {"ticket": " {} "},
    {"ticket": 0, "details": {"ticket": "{}"}},
    {"details": {"ticket": 424242, "final_position": "{}"}},
    {"ticket": 424242, "details": {"ticket": 424242, "final_position": "{}"}},
    {"ticket": "{}", "direction": "long", "symbol": "EURUSD.c"},
    {"ticket": "{}", "type": 0, "lot": "0.1", "price": "1.1", "sl": "0.0", "tp": ""},
    {"ticket": "{}", "type": "buy_limit", "symbol": "eurusd"},
    {"ticket": "{}", "parts": [], "details": None, "plan_id": "x", "session": "london"},
    {"ok": True, "parts": [{"ok": True, "details": {"ticket": "{}"}}], "direction": "Buy"},
)
"""Shapes of a body; ``{}`` stands for the ticket of the position."""


def filled(value: Any, ticket: int) -> Any:
    if isinstance(value, dict):
        return {key: filled(inner, ticket) for key, inner in value.items()}
    if isinstance(value, list):
        return [filled(inner, ticket) for inner in value]
    return value.format(ticket) if isinstance(value, str) else value


async def test_whatever_shape_a_body_has_the_position_is_found(world: World, http: httpx.AsyncClient) -> None:
    for body in BODIES:
        ticket = await world.open("EURUSD", "BUY")
        answer = await http.post("/dtms/trade/enable", json=filled(body, ticket))
        assert (answer.status_code, answer.json()["success"]) == (200, True), (body, answer.text)
        assert answer.json()["trade_info"]["ticket"] == ticket, body
        assert world.dtms.protected(world.trade(ticket)), body
