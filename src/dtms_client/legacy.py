"""The names that existing programs import, with their old signatures, on top of the one service.

None of them ever raises, none starts an engine in the caller's process, and none is silent: whatever goes wrong is
logged under ``dtms_client``. The two that register also work where a loop is running, in a thread without one, in a
loop that lives for one job, and after a fork.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from dtms_client import calls, places
from dtms_client.aio import AsyncDtmsClient
from dtms_client.delivery import Registration
from dtms_client.errors import DtmsClientError, NotFound
from dtms_client.sync import DtmsClient

QUERY_S = 2.0
"""Old query functions are called inside event loops; this bounds how long they may hold one up."""
_CLIENTS: dict[places.Places, DtmsClient] = {}
_WARNED: set[str] = set()
_log = logging.getLogger("dtms_client")


def auto_register_dtms(ticket: object, result: object = None) -> bool:
    """Register a trade that was just opened; ``result`` is the order's result or a flat dictionary.

    True: protection is confirmed, or the registration is safely on disk and will be delivered. False: it was rejected,
    is only observed, or could not even be stored; the log says which. Inside a running event loop it stores, hands over
    to the background thread and returns at once. Never raises.
    """
    try:
        client = _client()
        done = client.enqueue(ticket, result) if _in_a_loop() else client.register(ticket, result)
    except Exception as error:  # noqa: BLE001 - R46: nothing may reach the caller's trade; logged
        _failed("auto_register_dtms", ticket, error)
        return False
    return all(part.safe for part in done.parts or (done,))


async def register_trade_with_dtms_api(
    ticket: object,
    trade_data: object,
    retry_count: int = 3,
    timeout: float = 5.0,  # noqa: ASYNC109 - the name existing callers use
    api_url: str | None = None,
) -> bool:
    """Register a trade and wait for the answer, ``timeout`` seconds at most in ``retry_count`` attempts.

    True only when DTMS confirmed protection. False otherwise, but a registration that could not be delivered stays on
    disk and will be. Never raises.
    """
    try:
        async with AsyncDtmsClient(_base(api_url), retries=retry_count, timeout=timeout) as client:
            done: Registration = await client.register(ticket, trade_data)
    except Exception as error:  # noqa: BLE001 - R46: nothing may reach the caller's trade; logged
        _failed("register_trade_with_dtms_api", ticket, error)
        return False
    return done.protected


def add_trade_to_dtms(
    ticket: object,
    symbol: str | None = None,
    direction: object = None,
    entry_price: float | None = None,
    volume: float | None = None,
    stop_loss: float | None = None,
    take_profit: float | None = None,
) -> bool:
    """Register a trade by its fields; the answer as `auto_register_dtms`. What is missing the service reads itself."""
    return auto_register_dtms(
        ticket,
        {
            "symbol": symbol,
            "direction": direction,
            "entry_price": entry_price,
            "volume": volume,
            "stop_loss": stop_loss,
            "take_profit": take_profit,
        },
    )


def remove_trade_from_dtms(ticket: object) -> bool:
    """Release a trade: DTMS lets go of it for good (R28). True when it did, or never knew it. Never raises."""
    if not str(ticket).isdigit():
        _log.error("remove_trade_from_dtms(%r): not a ticket", ticket)
        return False

    def let_go(client: DtmsClient) -> dict[str, Any]:
        try:
            client.release(int(str(ticket)), reason="remove_trade_from_dtms")
        except NotFound:
            _log.info("remove_trade_from_dtms(%s): DTMS never knew it", ticket)
        return {}

    return "error" not in _asked("remove_trade_from_dtms", let_go)


def get_dtms_system_status() -> dict[str, Any]:
    """``dtms_status`` of the service, or ``{"error": …}``."""
    return _asked("get_dtms_system_status", lambda client: dict(client.status()["dtms_status"] or {}))


def get_dtms_trade_status(ticket: object) -> dict[str, Any]:
    """One trade in its old shape with ``state`` at the top, or ``{"error": …}`` when it is unknown or DTMS is away."""
    if not str(ticket).isdigit():
        return {"error": f"{ticket!r} is not a ticket"}
    return _asked("get_dtms_trade_status", lambda client: client.call(calls.old_trade(int(str(ticket)))))


def get_dtms_action_history(ticket: object = None) -> list[dict[str, Any]]:
    """The latest actions, of one trade if given. Empty also when DTMS is away; the log then says so."""
    found = _asked("get_dtms_action_history", lambda client: {"actions": client.actions(ticket=ticket)})
    return list(found.get("actions", ()))


def dtms_url(path: str = "") -> str:
    """Return the address of ``path`` at the one DTMS, by the settings of this moment. Raises `BadSetting`.

    For programs that ask by plain HTTP: nothing of an address is written into them.
    """
    return places.read().url + path


def is_dtms_initialized() -> bool:
    """Tell whether DTMS is ready now; False also when it is away."""
    return bool(_asked("is_dtms_initialized", lambda client: {"ready": client.wait_ready(timeout=0.0)}).get("ready"))


def get_dtms_engine() -> None:
    """None: the engine lives in the service, and only there."""
    _gone("get_dtms_engine")


def initialize_dtms(*_: object, **__: object) -> bool:
    """Do nothing: the service starts itself. True, because there is nothing left to fail here."""
    return _gone("initialize_dtms")


def start_dtms_monitoring(*_: object, **__: object) -> bool:
    """Do nothing: the service monitors by itself."""
    return _gone("start_dtms_monitoring")


def stop_dtms_monitoring(*_: object, **__: object) -> bool:
    """Do nothing: no single program may stop the monitoring of all; 'dtms pause' does."""
    return _gone("stop_dtms_monitoring")


async def run_dtms_monitoring_cycle(*_: object, **__: object) -> None:
    """Do nothing: the service runs its cycles itself."""
    _gone("run_dtms_monitoring_cycle")


async def get_http_client() -> None:
    """None: connections are the client's own business."""
    _gone("get_http_client")


async def close_http_client() -> None:
    """Do nothing: each call closes what it opened on the caller's loop."""
    _gone("close_http_client")


def _client() -> DtmsClient:
    """One client per settings, which are read at every call."""
    said = places.read()
    return _CLIENTS.setdefault(said, DtmsClient()) if said not in _CLIENTS else _CLIENTS[said]


def _base(api_url: str | None) -> str | None:
    """Old callers pass the whole path of the endpoint; only its beginning says where DTMS lives."""
    return api_url.split("/dtms/")[0] if api_url else None


def _in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _asked(name: str, ask: Any) -> dict[str, Any]:
    try:
        found: dict[str, Any] = ask(DtmsClient(timeout=QUERY_S, retries=1))
    except NotFound as error:
        return {"error": error.detail}
    except Exception as error:  # noqa: BLE001 - R46: nothing may reach the caller's trade; logged
        _failed(name, None, error)
        return {"error": str(error) or type(error).__name__}
    return found


def _failed(name: str, ticket: object, error: Exception) -> None:
    if isinstance(error, DtmsClientError):
        _log.error("%s(%s): %s. %s", name, ticket, error.detail, error.hint)
    else:
        _log.error("%s(%s) failed: %r", name, ticket, error, exc_info=error)


def _gone(name: str) -> bool:
    if name not in _WARNED:
        _WARNED.add(name)
        _log.warning("%s does nothing any more: DTMS runs as its own service ('dtms serve')", name)
    return True
