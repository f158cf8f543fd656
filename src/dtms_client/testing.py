"""A DTMS in memory, for the tests of programs that use the client.

::

    dtms = FakeDtms()
    client = DtmsClient("http://dtms.test", transport=dtms, spool="off")
    client.register(1001, symbol="EURUSD", side="buy")
    assert 1001 in dtms.trades

Works with `DtmsClient` and `AsyncDtmsClient`. It answers as the service does, but it trades nothing and checks no
terminal. With ``spool="always"`` set ``DTMS_SPOOL_DIR`` to a temporary folder, so that no real outbox sees test trades.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import httpx
from pydantic import ValidationError
from pydantic_core import from_json

from dtms_client.register import understand
from dtms_client.wire import ACTIONS, HEALTH_LIVE, HEALTH_READY, STATUS, TRADES, BatchItemIn, BatchItemOut, TradeOut

_TICKET = re.compile(rf"{TRADES}/(\d+)(?:/(explain|history|may-modify|owner))?")
_DANGER = frozenset({"WARNING_L2", "HEDGED"})
_OLD_TICKET = re.compile(r"/dtms/trade/(\d+)")
_EPOCH = "2026-01-05T08:00:00.000Z"


class FakeDtms(httpx.MockTransport):
    """Change its attributes to play what the service may do."""

    def __init__(self) -> None:
        super().__init__(self._handle)
        self.trades: dict[int, dict[str, Any]] = {}
        """Ticket -> the trade as the service would show it."""
        self.in_background = False
        """True: the client's background thread delivers here too, whenever it likes; else only ``flush()`` does, so
        that a test decides when."""
        self.requests: list[httpx.Request] = []
        """Everything that arrived, oldest first."""
        self.reachable = True
        """False: connections are refused, as while the service is down."""
        self.latency_s = 0.0
        """Seconds an answer takes. None of them pass: a call with less time than that times out at once, after its
        request had its effect."""
        self.lost_answers = 0
        """The answers of that many next requests are lost, after the requests had their effect."""
        self.accepting = True
        """False: 503 ``not_accepting`` to every registration."""
        self.ready = True
        self.instance = 1
        self.mode = "protect"
        """``observe``: registrations are answered ``observed``."""
        self.refusals: dict[int, tuple[int, str]] = {}
        """Ticket -> (status, code) that its registration is refused with, e.g. ``(409, "registration_conflict")``."""

    def _handle(self, request: httpx.Request) -> httpx.Response:
        if not self.reachable:
            raise httpx.ConnectError("refused", request=request)
        self.requests.append(request)
        answer = self._answer(request)
        if self.lost_answers > 0:
            self.lost_answers -= 1
            raise httpx.ReadError("the connection was reset", request=request)
        if self.latency_s > (request.extensions.get("timeout", {}).get("read") or float("inf")):
            raise httpx.ReadTimeout("no answer in time", request=request)
        return answer

    def restart(self) -> None:
        """Be another process of the same service: what it knew is in its ledger, so the trades stay."""
        self.instance += 1

    def _answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        found = _TICKET.fullmatch(path)
        if path == HEALTH_LIVE:
            return httpx.Response(200, json={"status": "live", **self._who()})
        if path == HEALTH_READY:
            return self._ready()
        posted = {f"{TRADES}/batch": self._batch, "/dtms/trade/enable": self._enable}
        if path in posted and request.method == "POST":
            return posted[path](request)
        if found and request.method in {"PUT", "DELETE"}:
            return self._written(request, int(found[1]), found[2])
        if request.method == "GET":
            return self._read(path, found)
        return _refusal(405, "method_not_allowed")

    def _written(self, request: httpx.Request, ticket: int, about: str | None) -> httpx.Response:
        body = from_json(request.content or b"{}")
        if request.method == "PUT" and about is None:
            return self._put(ticket, body)
        trade = self.trades.get(ticket)
        if trade is None:
            return _refusal(404, "trade_not_found")
        owner = body["owner"] if about == "owner" else "manual"
        trade |= {"owner": owner, "protected": owner == "dtms" and self.mode == "protect"}
        return httpx.Response(200, json={"trade": trade, "unwinding": False})

    def _enable(self, request: httpx.Request) -> httpx.Response:
        """The old path, JSON or form: success is exactly 200."""
        form = request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
        said = dict(parse_qsl(request.content.decode())) if form else from_json(request.content or b"{}")
        if not self.accepting:
            return _refusal(503, "not_accepting", {"Retry-After": "2"})
        answers = [self._admit(item.model_dump(exclude_none=True)) for item in understand(None, said).items]
        worst = max(answers, key=lambda answer: answer.status)
        if worst.error is not None:
            return _refusal(worst.status, worst.error["code"])
        old = self._old(worst.ticket or 0) | {"already_registered": worst.outcome == "already_protected"}
        return httpx.Response(200, json=old | {"outcome": worst.outcome, "protected": worst.protected})

    def _old(self, ticket: int) -> dict[str, Any]:
        """One trade in the old envelope."""
        trade = self.trades[ticket]
        names = {
            "direction": "side",
            "type": "side",
            "open_price": "entry_price",
            "sl": "stop_loss",
            "tp": "take_profit",
        }
        info = {**trade, **{old: trade[new] for old, new in names.items()}}
        head = {"success": True, "summary": f"{ticket} is {trade['state']}", "ticket": ticket, "state": trade["state"]}
        return head | {"trade_info": info, "error": None}

    def _read(self, path: str, found: re.Match[str] | None) -> httpx.Response:
        if found is None:
            old = _OLD_TICKET.fullmatch(path)
            if old is not None and int(old[1]) in self.trades:
                return httpx.Response(200, json=self._old(int(old[1])))
            return _refusal(404, "trade_not_found") if old is not None else self._overview(path)
        trade = self.trades.get(int(found[1]))
        if trade is None:
            return _refusal(404, "trade_not_found")
        if found[2] == "may-modify":
            defensive = trade["owner"] == "dtms" and trade["state"] in _DANGER
            said = {"allowed": not defensive, "reason": "the fake knows only whether DTMS is defending", **trade}
            return httpx.Response(200, json=said | {"defensive": defensive})
        if found[2] == "history":
            return httpx.Response(200, json={"events": []})
        return httpx.Response(200, json={"ticket": trade["ticket"], "score": None} if found[2] else trade)

    def _overview(self, path: str) -> httpx.Response:
        if path == TRADES:
            trades = list(self.trades.values())
            body = {"trades": trades, "count": len(trades), "next_cursor": None, "as_of": _EPOCH}
            return httpx.Response(200, json=body)
        if path == STATUS:
            inner = {
                "system_active": True,
                "active_trades": len(self.trades),
                "trades_by_state": {},
                "uptime": "0:00:01",
            }
            body = {"success": True, "dtms_status": inner, "phase": "ready", "mode": self.mode, "error": None}
            return httpx.Response(200, json=body | {"instance_id": self._who()["instance_id"]})
        if path == ACTIONS:
            return httpx.Response(200, json={"success": True, "action_history": [], "total_actions": 0, "error": None})
        return _refusal(404, "not_found")

    def _ready(self) -> httpx.Response:
        reasons = [] if self.ready else [{"code": "connecting", "detail": "the terminal is not connected yet"}]
        body = {"status": "ready" if self.ready else "not_ready", "phase": "ready" if self.ready else "connecting"}
        rest = {"accepting": self.accepting, "mode": self.mode, "account": None, "reasons": reasons, "checks": {}}
        return httpx.Response(200 if self.ready else 503, json=body | rest | self._who())

    def _put(self, ticket: int, body: Mapping[str, Any]) -> httpx.Response:
        if not self.accepting:
            return _refusal(503, "not_accepting", {"Retry-After": "2"})
        result = self._admit({**body, "ticket": ticket})
        if result.error is not None:
            return _refusal(result.status, result.error["code"])
        answer = {"outcome": result.outcome, "protected": result.protected, "replayed": result.status == 200}
        return httpx.Response(result.status, json=answer | {"trade": self.trades[ticket], "kind": "mt5"})

    def _batch(self, request: httpx.Request) -> httpx.Response:
        if not self.accepting:
            return _refusal(503, "not_accepting", {"Retry-After": "2"})
        results = [self._admit(item) for item in from_json(request.content)["trades"]]
        refused = sum(result.error is not None for result in results)
        body = {"results": [result.model_dump() for result in results], "rejected": refused}
        return httpx.Response(200, json=body | {"accepted": len(results) - refused})

    def _admit(self, body: Mapping[str, Any]) -> BatchItemOut:
        try:
            item = BatchItemIn.model_validate(body)
        except ValidationError:
            return BatchItemOut(ticket=body.get("ticket"), status=422, error=_problem(422, "validation_failed"))
        if item.ticket in self.refusals:
            status, code = self.refusals[item.ticket]
            return BatchItemOut(ticket=item.ticket, status=status, error=_problem(status, code))
        known, protects = item.ticket in self.trades, self.mode == "protect"
        self.trades.setdefault(item.ticket, _trade(item, protected=protects))
        outcome = ("already_protected" if known else "protected") if protects else "observed"
        status = 200 if known or not protects else 201
        return BatchItemOut.model_validate(
            {"ticket": item.ticket, "status": status, "outcome": outcome, "protected": protects}
        )

    def _who(self) -> dict[str, str]:
        return {"service": "dtms", "instance_id": f"fake-{self.instance}", "version": "0"}


def _problem(status: int, code: str) -> dict[str, Any]:
    retryable = status in {429, 500, 503}
    words = {"title": code, "detail": f"the fake was told to answer {code}"}
    return {"status": status, "code": code, "definite": status != 500, "retryable": retryable, **words}


def _refusal(status: int, code: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
    return httpx.Response(status, json=_problem(status, code), headers=dict(headers or {}))


def _trade(item: BatchItemIn, *, protected: bool) -> dict[str, Any]:
    volume = item.volume or 0.01
    nothing = dict.fromkeys(TradeOut.model_fields)
    return nothing | {
        "ticket": item.ticket,
        "identifier": item.ticket,
        "symbol": item.symbol or "",
        "side": item.side,
        "volume": volume,
        "initial_volume": volume,
        "closed_volume": 0.0,
        "entry_price": item.entry_price,
        "stop_loss": item.stop_loss,
        "take_profit": item.take_profit,
        "state": "HEALTHY",
        "state_since": _EPOCH,
        "coverage": 0.0,
        "owner": "dtms",
        "protected": protected,
        "armed": False,
        "flags": [],
        "deadlines": {},
        "obligations": [],
        "registered_at": _EPOCH,
        "source": item.source,
        "strategy_type": item.strategy_type,
    }
