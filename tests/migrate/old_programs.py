"""Programs as they call the old DTMS, written from the descriptions in contract.md 1, 2 and 7; none of it is theirs.

Each that registers has ``run(deals)``, which opens the trades of ``deals`` in its own way. ``PORT`` stands for 8001.
"""

from __future__ import annotations

from collections.abc import Mapping

MAIN_API = '''\
"""The main API."""
from __future__ import annotations

# what the web framework needs
import asyncio
import httpx


class Trades:
    def __init__(self, broker):   # two blanks, on purpose
        self.broker = broker

    async def execute(self, order):
        result = await self.broker(order)
        ticket = (result.get("details") or {}).get("ticket")
        if ticket:
            try:
                from dtms_integration import auto_register_dtms   # keep me
                payload = dict(result)
                payload["symbol"] = order["symbol"]; payload["direction"] = order["side"].lower()
                auto_register_dtms(ticket, payload)
            except Exception:
                pass
        return result


PAGE = """
<html><script>
async function refresh() {
  const res = await fetch('http://localhost:PORT/dtms/status');
  const eng = await fetch('http://localhost:PORT/dtms/engine');
}
</script></html>
"""


async def status():
    async with httpx.AsyncClient(timeout=5.0) as client:
        response = await client.get( "http://127.0.0.1:PORT/dtms/status" )
        return response.json()["dtms_status"]


def page():
    return PAGE


async def _broker(order):
    details = {"ticket": order["ticket"], "position": order["ticket"], "price_executed": order["price"],
               "final_sl": order["sl"], "final_tp": None, "volume": order["volume"], "retcode": 10009}
    return {"ok": True, "message": "done", "details": details,
            "parts": [{"ok": True, "message": "", "details": details}]}


def run(deals):
    async def all_of_them():
        trades = Trades(_broker)
        for deal in deals:
            await trades.execute(deal)

    asyncio.run(all_of_them())
'''

EXECUTION = """\
import logging
import threading

logger = logging.getLogger(__name__)


class Plans:
\tdef after(self, plan, ticket):
\t\tif False:  # switched off: another manager has the trade
\t\t\ttry:
\t\t\t\tfrom dtms_integration import auto_register_dtms
\t\t\t\tauto_register_dtms(ticket, {"symbol": plan["symbol"]})
\t\t\texcept Exception:
\t\t\t\tpass
\t\telse:
\t\t\tfrom dtms_integration import (
\t\t\t\tauto_register_dtms,  # the only one
\t\t\t)
\t\t\tauto_register_dtms(ticket, {
\t\t\t\t"symbol": plan["symbol"], "direction": plan["side"].upper(),
\t\t\t\t"entry_price": plan["price"] or 0.0, "volume": plan["volume"],
\t\t\t\t"stop_loss": plan["sl"], "take_profit": None,
\t\t\t})


def run(deals):
\tdef job():
\t\tfor deal in deals:
\t\t\tPlans().after(deal, deal["ticket"])
\tthread = threading.Thread(target=job, name="monitor")
\tthread.start()
\tthread.join()
"""

AGENT = """\
import asyncio


async def tool_execute_trade(args):
    from dtms_integration import auto_register_dtms
    auto_register_dtms(args["ticket"], args)
    return "first"


async def tool_execute_trade(args):  # noqa: F811
    registered = None
    try:
        from dtms_integration import auto_register_dtms as register
        registered = register(args["ticket"], {"symbol": args["symbol"] + "c", "direction": args["side"],
                                               "entry_price": 0.0, "volume": args["volume"],
                                               "stop_loss": 0.0, "take_profit": 0.0})
    except Exception as error:
        print("not registered", error)
    return registered


def run(deals):
    async def all_of_them():
        for deal in deals:
            await tool_execute_trade(deal)

    asyncio.run(all_of_them())
"""

BRIDGE = """\
import asyncio
import dtms_integration


async def bracket(result):
    for name in ("buy", "sell"):
        ticket = result["tickets"].get(name + "_ticket")
        if ticket:
            ok = dtms_integration.add_trade_to_dtms(
                ticket=ticket, symbol=result["symbol"], direction=name.upper(),
                entry_price=result["price"], volume=0.01, stop_loss=result["sl"], take_profit=result["tp"],
            )
            if not ok: print("no protection for", ticket)


def run(deals):
    async def all_of_them():
        for deal in deals:
            key = deal["side"].lower() + "_ticket"
            await bracket({"tickets": {key: deal["ticket"]}, "symbol": deal["symbol"], "price": deal["price"],
                           "sl": deal["sl"], "tp": None})

    asyncio.run(all_of_them())
"""

BOT = '''\
import asyncio
import json

import httpx

enabled = set()


async def auto_enable(positions):
    """First one, replaced below."""
    async with httpx.AsyncClient() as client:
        for position in positions:
            response = await client.post("http://localhost:8002/dtms/trade/enable",
                                         data={"ticket": str(position["ticket"])}, timeout=10.0)
            if response.status_code == 200:
                enabled.add(position["ticket"])


async def auto_enable(positions):
    for position in positions:
        if position["ticket"] in enabled:
            continue
        body = {"symbol": position["symbol"], "direction": position["side"].upper(), "entry": position["price"],
                "stop_loss": position["sl"] or None, "take_profit": None, "volume": position["volume"],
                "ticket": position["ticket"], "action": "enable"}
        async with httpx.AsyncClient(timeout=10.0) as client:
            response = await client.post(
                "http://localhost:PORT/dtms/trade/enable",  # the one DTMS
                json=body,
                headers={"Content-Type": "application/json"},
            )
            if response.status_code == 200:
                data = response.json()
                if data.get("success"):
                    enabled.add(position["ticket"])
                else:
                    print(data.get("error"))


def run(deals):
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(auto_enable(deals))
    finally:
        loop.close()
    assert enabled >= {deal["ticket"] for deal in deals}, json.dumps(sorted(enabled))
'''

FORM = """\
import httpx as requests

URL = "http://localhost:PORT/dtms/trade/enable"


def enable(ticket):
    answer = requests.post("http://localhost:PORT/dtms/trade/enable", data={"ticket": str(ticket)}, timeout=10)
    return answer.status_code == 200 and answer.json()["success"]


def run(deals):
    for deal in deals:
        assert enable(deal["ticket"])
"""

EXITS = '''\
"""Asks before it moves a stop."""
import httpx as requests

DTMS_URL = "http://127.0.0.1:PORT"


def is_defensive(ticket):
    response = requests.get(f"http://127.0.0.1:PORT/dtms/trade/{ticket}", timeout=2)
    if response.status_code == 404:
        return False
    data = response.json()
    if data.get("error"):
        return False
    return data.get("state") in ("HEDGED", "WARNING_L2")


def by_helper(ticket):
    from dtms_integration import get_dtms_trade_status
    status = get_dtms_trade_status(ticket)
    return (status or {}).get("trade_info", {}).get("state")


def formatted(ticket):
    return requests.get("http://localhost:PORT/dtms/trade/{}".format(ticket), timeout=2).status_code


def joined(ticket):
    return requests.get("http://localhost:PORT/dtms/trade/" + str(ticket), timeout=2).status_code


def by_constant(ticket):
    return requests.get(f"{DTMS_URL}/dtms/trade/{ticket}", timeout=2).status_code


def proxied(ticket):
    return requests.get(f"http://localhost:8000/api/dtms/trade/{ticket}", timeout=2).json()["trade_info"]
'''

DIAGNOSE = """\
# -*- coding: latin-1 -*-
# Pr\u00fcfung
import httpx
from dtms_integration.dtms_system import get_dtms_system_status, get_dtms_engine, internal_thing
import dtms_core.engine


def main():
    httpx.get("http://localhost:8002/dtms/action-history")
    httpx.get("http://localhost:PORT/health")
    print("POST http://localhost:PORT/dtms/trade/enable to register")
    # engine = initialize_dtms(mt5)
    # start_dtms_monitoring()
    return get_dtms_engine(), get_dtms_system_status(), internal_thing, dtms_core.engine
"""

WITH_WINDOWS_LINES = EXECUTION.replace("\n", "\r\n")

PROGRAMS: Mapping[str, str] = {
    "app/main_api.py": MAIN_API,
    "execution.py": EXECUTION,
    "execution_windows.py": WITH_WINDOWS_LINES,
    "agent.py": AGENT,
    "handlers/bridge.py": BRIDGE,
    "bot.py": BOT,
    "form.py": FORM,
    "infra/exits.py": EXITS,
    "diagnose.py": DIAGNOSE,
}
REGISTERING = (
    "app/main_api.py",
    "execution.py",
    "execution_windows.py",
    "agent.py",
    "handlers/bridge.py",
    "bot.py",
    "form.py",
)

OTHERS: Mapping[str, str] = {
    "hub.json": '{"services": {"hub": {"url": "http://localhost:PORT/health", "port": PORT}}}\n',
    ".env.example": "API_KEY=canary-secret\nPHONE_HUB_URL=ws://localhost:PORT/agent/connect # canary-secret\n",
    "start_all.bat": "start python dtms_api_server.py\r\ntaskkill /F /IM python.exe\r\n",
    "static/page.js": "fetch('http://localhost:PORT/dtms/engine');\n",
    "start_api.py": 'ARGS = ["uvicorn", "--reload-dir", "dtms_integration", "--reload-dir", "dtms_core"]\n',
    "tests/test_old.py": "import sys\nsys.modules['dtms_integration'] = object()\n",
    "broken.py": "from dtms_integration import auto_register_dtms\nprint 'python 2'\n",
    "dtms_api_server.py": "from dtms_integration import get_dtms_engine\n",
}


def raw(name: str, port: int) -> bytes:
    """The bytes of one of the files, with the port that the test uses."""
    text = {**PROGRAMS, **OTHERS}[name].replace("PORT", str(port))
    return text.encode("latin-1" if "latin-1" in text else "utf-8")
