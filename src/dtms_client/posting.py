"""The old ``POST /dtms/trade/enable`` as a function, for programs that posted it themselves.

::

    response = await http.post("http://…/dtms/trade/enable", json=body, timeout=10)   # before
    response = await enable_trade_async(json=body, timeout=10)                          # after

What comes back reads like a response: ``status_code``, ``json()``, ``text``, ``ok``, ``raise_for_status()``. The body
may be any that `register.understand` knows, a form's texts included. Unlike a plain post it carries the token, and a
registration that cannot be delivered is on disk and will be: that is 202 with ``outcome: "queued"``.
"""

from __future__ import annotations

import json as encoding
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from dtms_client.aio import AsyncDtmsClient
from dtms_client.delivery import Registration
from dtms_client.errors import DtmsClientError, OutboxFull, OutboxUnavailable
from dtms_client.sync import DtmsClient

_STATUS: Mapping[type[DtmsClientError], int] = {OutboxUnavailable: 503, OutboxFull: 503}
"""What a registration that could be neither stored nor delivered is answered with; the rest makes no sense."""
_log = logging.getLogger("dtms_client")


@dataclass(frozen=True, slots=True)
class Answered:
    """What DTMS said, in the shape of a response."""

    status_code: int
    body: Mapping[str, Any] = field(repr=False)

    @property
    def ok(self) -> bool:
        """Was it accepted? As with requests, 202 counts; only 200 means that the position is registered."""
        return self.status_code < 400

    @property
    def is_success(self) -> bool:
        """As `ok`, by httpx's name."""
        return self.ok

    @property
    def text(self) -> str:
        """The body as JSON."""
        return encoding.dumps(self.body)

    def json(self) -> dict[str, Any]:
        """Return the old envelope: ``success, summary, trade_info, already_registered, error``, and ``outcome``."""
        return dict(self.body)

    def raise_for_status(self) -> Self:
        """Raise `DtmsClientError` when DTMS refused."""
        if not self.ok:
            raise DtmsClientError(str(self.body["error"]))
        return self


def enable_trade(*, json: object = None, data: object = None, timeout: float | None = None, **_: object) -> Answered:
    """Register, waiting at most ``timeout`` s; other arguments of a post say nothing here. Raises `BadSetting`."""
    said = _said(data if json is None else json)
    with DtmsClient(timeout=timeout) as client:
        try:
            return _answered(client.register(said.get("ticket"), said))
        except DtmsClientError as error:
            return _failed(error)


async def enable_trade_async(
    *,
    json: object = None,
    data: object = None,
    timeout: float | None = None,  # noqa: ASYNC109 - the name that a post has
    **_: object,
) -> Answered:
    """As `enable_trade`, awaited."""
    said = _said(data if json is None else json)
    async with AsyncDtmsClient(timeout=timeout) as client:
        try:
            return _answered(await client.register(said.get("ticket"), said))
        except DtmsClientError as error:
            return _failed(error)


def _said(body: object) -> Mapping[str, Any]:
    """A dictionary, or one as JSON text; anything else says nothing and is refused for want of a ticket."""
    if isinstance(body, (str, bytes)):
        try:
            body = encoding.loads(body)
        except ValueError as error:
            _log.warning("a registration is not JSON: %s", error)
    return body if isinstance(body, Mapping) else {}


def _answered(done: Registration) -> Answered:
    settled = done.outcome not in {"queued", "pending_verification"}
    summary = f"ticket {done.ticket}: {done.outcome}" + (f"; {done.detail}" if done.detail else "")
    body = {
        "success": settled,
        "summary": summary,
        "trade_info": _trade_info(done),
        "already_registered": done.replayed,
        "error": None if settled else summary,
        "outcome": done.outcome,
        "protected": done.protected,
    }
    return Answered(200 if settled else 202, body)


def _trade_info(done: Registration) -> dict[str, Any]:
    trade = done.trade
    if trade is None:
        return {"ticket": done.ticket}
    return {
        "ticket": trade.ticket,
        "symbol": trade.symbol,
        "direction": trade.side,
        "entry_price": trade.entry_price,
        "volume": trade.volume,
        "stop_loss": trade.stop_loss,
        "take_profit": trade.take_profit,
        "state": trade.state,
    }


def _failed(error: DtmsClientError) -> Answered:
    status = error.problem.status if error.problem else _STATUS.get(type(error), 422)
    body = {"success": False, "summary": error.detail, "trade_info": None, "already_registered": False}
    return Answered(status, body | {"error": error.detail, "outcome": "rejected", "protected": False})
