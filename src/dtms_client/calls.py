"""Every operation as a value: what to send and how to read the answer. No I/O; both clients share it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic_core import ValidationError, from_json, to_json

from dtms_client import errors
from dtms_client.wire import (
    ACTIONS,
    HEALTH_READY,
    STATUS,
    TRADES,
    BatchItemIn,
    BatchItemOut,
    BatchOut,
    HandedOverOut,
    MayModifyOut,
    Problem,
    Ready,
    RegistrationOut,
    TradeList,
    TradeOut,
    Wire,
)

T = TypeVar("T")
M = TypeVar("M", bound=Wire)
RETRY_AFTER_MAX_S = 30.0
"""Longest wait we let a server ask for."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: ``headers`` with lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One operation. ``parse`` raises ``ValueError`` when the body is not what DTMS would answer."""

    method: str
    path: str
    parse: Callable[[Reply], T]
    body: bytes | None = None
    query: tuple[tuple[str, str], ...] = ()
    accepts: frozenset[int] = frozenset({200, 201, 202})
    repeatable: bool = True
    """Sending it twice has the effect of sending it once."""

    def answer(self, reply: Reply) -> T:
        """Read the answer. Raises the error of a problem document, `NotDtms` for anything that DTMS would not say."""
        try:
            if reply.status in self.accepts:
                return self.parse(reply)
            problem = Problem.model_validate_json(reply.body)
        except ValueError as error:
            what = f"{self.method} {self.path} answered {reply.status} with a body that DTMS would not send"
            raise errors.NotDtms(f"{what}: {_start(reply.body)}") from error
        raise errors.of_problem(problem, retry_after(reply.headers))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of a ``Retry-After`` header, bounded; None when there is none (DTMS never sends the date form)."""
    value = headers.get("retry-after", "").strip()
    return min(float(value), RETRY_AFTER_MAX_S) if value.isascii() and value.isdigit() else None


def register(item: BatchItemIn) -> Call[list[BatchItemOut | RegistrationOut]]:
    """Register one position: ``PUT``, so repeating it is safe."""
    body = to_json(item.model_dump(exclude_none=True, exclude={"ticket"}))
    return Call("PUT", f"{TRADES}/{item.ticket}", lambda reply: [RegistrationOut.model_validate_json(reply.body)], body)


def register_batch(items: tuple[BatchItemIn, ...]) -> Call[list[BatchItemOut | RegistrationOut]]:
    """Register up to 1,000 positions in one transaction; each stands alone, so repeating the whole is safe."""

    def parse(reply: Reply) -> list[BatchItemOut | RegistrationOut]:
        results = BatchOut.model_validate_json(reply.body).results
        if [result.ticket for result in results] != [item.ticket for item in items]:
            raise ValueError("the results do not belong to these tickets")
        return list(results)

    body = to_json({"trades": [item.model_dump(exclude_none=True) for item in items]})
    return Call("POST", f"{TRADES}/batch", parse, body)


def ready() -> Call[Ready]:
    """Ask for readiness; not ready is an answer, too. Raises `NotDtms` when ``service`` is not ``dtms``."""
    return Call("GET", HEALTH_READY, _reader(Ready), accepts=frozenset({200, 503}))


def trade(ticket: int) -> Call[TradeOut]:
    """Read one trade."""
    return Call("GET", f"{TRADES}/{ticket}", _reader(TradeOut))


def trades(filters: Mapping[str, Any]) -> Call[TradeList]:
    """List trades; filters ``state, symbol, owner, include_closed, limit, cursor``."""
    return Call("GET", TRADES, _reader(TradeList), query=_query(filters))


def explain(ticket: int) -> Call[dict[str, Any]]:
    """Ask why a trade is in its state."""
    return Call("GET", f"{TRADES}/{ticket}/explain", _object)


def history(ticket: int) -> Call[list[dict[str, Any]]]:
    """Read every event of a trade, oldest first."""
    return Call("GET", f"{TRADES}/{ticket}/history", _events("events"))


def release(ticket: int, reason: str, by: str) -> Call[HandedOverOut]:
    """Let go of a trade for good (R28)."""
    return Call("DELETE", f"{TRADES}/{ticket}", _reader(HandedOverOut), query=_query({"reason": reason, "by": by}))


def hand_over(ticket: int, owner: str, reason: str, by: str) -> Call[HandedOverOut]:
    """Give a trade to another manager."""
    body = to_json({"owner": owner, "reason": reason, "by": by})
    return Call("PUT", f"{TRADES}/{ticket}/owner", _reader(HandedOverOut), body)


def may_modify(ticket: int, manager: str, action: str) -> Call[MayModifyOut]:
    """Ask whether a manager may change the position now."""
    query = _query({"manager": manager, "action": action})
    return Call("GET", f"{TRADES}/{ticket}/may-modify", _reader(MayModifyOut), query=query)


def status() -> Call[dict[str, Any]]:
    """Read the whole status envelope."""
    return Call("GET", STATUS, _having("dtms_status"))


def actions(filters: Mapping[str, Any]) -> Call[list[dict[str, Any]]]:
    """List actions; filters ``ticket, limit, since``."""
    return Call("GET", ACTIONS, _events("action_history"), query=_query(filters))


def old_trade(ticket: int) -> Call[dict[str, Any]]:
    """Read one trade in its old shape, for the drop-ins."""
    return Call("GET", f"/dtms/trade/{ticket}", _inside("trade_info"))


def _reader(shape: type[M]) -> Callable[[Reply], M]:
    return lambda reply: shape.model_validate_json(reply.body)


def _object(reply: Reply) -> dict[str, Any]:
    return _as_object(from_json(reply.body))


def _having(key: str) -> Callable[[Reply], dict[str, Any]]:
    def parse(reply: Reply) -> dict[str, Any]:
        found = _object(reply)
        if key not in found:
            raise ValueError(f"no {key!r} in the answer")
        return found

    return parse


def _inside(key: str) -> Callable[[Reply], dict[str, Any]]:
    return lambda reply: _as_object(_having(key)(reply)[key])


def _events(key: str) -> Callable[[Reply], list[dict[str, Any]]]:
    def parse(reply: Reply) -> list[dict[str, Any]]:
        found = _having(key)(reply)[key]
        if not isinstance(found, list):
            raise ValueError(f"{key!r} is not a list")  # noqa: TRY004 - see `_as_object`
        return [_as_object(item) for item in found]

    return parse


def _as_object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - `parse` promises ValueError, as pydantic raises
    return value


def _query(filters: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple(
        (name, str(value).lower() if isinstance(value, bool) else str(value))
        for name, value in filters.items()
        if value is not None
    )


def problem_of(result: BatchItemOut) -> Problem:
    """Read the problem of one refused item of a batch; an item without one still has its status."""
    facts = {"title": "refused", "detail": "refused without a reason", "code": "internal_error", **(result.error or {})}
    try:
        return Problem.model_validate({**facts, "status": result.status})
    except ValidationError:
        return Problem(title="refused", status=result.status, detail=str(result.error), code="internal_error")


def _start(body: bytes) -> str:
    return repr(body[:80].decode("utf-8", "replace"))
