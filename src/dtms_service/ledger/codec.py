"""Values to rows and back. What cannot be read back exactly is refused before it is written.

Bodies are JSON in UTF-8 with every field of the value. Reading is strict: a field this version does not know was
written by a newer one and is refused; a field the row does not have yet takes the default of its dataclass.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from dtms_service.domain.errors import Invalid, StorageFailed
from dtms_service.domain.record import Batch
from dtms_service.domain.trade import Event, Intent, Trade

INSTANCE = "instance"
"""The one name in ``meta`` that is not a fact of the engine's."""

Row = dict[str, Any]
T = TypeVar("T", Trade, Intent)

# Adapters of one-element tuples: pydantic takes no configuration beside a bare dataclass, but hands it down from a
# tuple.
_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, ser_json_inf_nan="constants")
_TRADE = TypeAdapter(tuple[Trade], config=_STRICT)
_INTENT = TypeAdapter(tuple[Intent], config=_STRICT)
_BODY = TypeAdapter(tuple[Mapping[str, Any]], config=_STRICT)


@dataclass(frozen=True, slots=True)
class Rows:
    """A batch as rows; those of events have no ``sequence`` yet."""

    facts: list[Row] = field(default_factory=list)
    trades: list[Row] = field(default_factory=list)
    intents: list[Row] = field(default_factory=list)
    events: list[Row] = field(default_factory=list)


def rows_of(batch: Batch) -> Rows:
    """The rows of ``batch``. Raises `Invalid` for what could not be read back: NaN, infinities, wrong types."""
    if INSTANCE in batch.facts:
        message = f"'{INSTANCE}' is the ledger's own and no fact to store; nothing was written"
        raise Invalid(message)
    return Rows(
        [{"name": name, "value": value} for name, value in batch.facts.items()],
        [trade_row(trade) for trade in batch.trades],
        [intent_row(intent) for intent in batch.intents],
        [event_row(event) for event in batch.events],
    )


def trade_row(trade: Trade) -> Row:
    """The row of a trade. Raises `Invalid`."""
    body = _write(_TRADE, trade, f"trade {trade.trade_id}")
    return {**_trade_columns(trade), "body": body, "digest": digest(body)}


def intent_row(intent: Intent) -> Row:
    """The row of an intent. Raises `Invalid`."""
    body = _write(_INTENT, intent, f"intent {intent.magic}")
    return {**_intent_columns(intent), "body": body, "digest": digest(body)}


def event_row(event: Event) -> Row:
    """The row of an event, without its sequence. Raises `Invalid`."""
    if not math.isfinite(event.time):
        message = f"event {event.kind} has no finite time; nothing was written"
        raise Invalid(message)
    return {
        "time": event.time,
        "kind": event.kind,
        "trade_id": event.trade_id,
        "ticket": event.ticket,
        "body": _write(_BODY, event.body, f"event {event.kind}"),
    }


def trade_of(row: Mapping[str, Any]) -> Trade:
    """The trade in a row. Raises `StorageFailed` naming the row when it is damaged or of a newer version."""
    return _read(_TRADE, row, f"trade {row['trade_id']}", _trade_columns)


def intent_of(row: Mapping[str, Any]) -> Intent:
    """The intent in a row. Raises `StorageFailed` naming the row when it is damaged or of a newer version."""
    return _read(_INTENT, row, f"intent {row['magic']}", _intent_columns)


def event_of(row: Mapping[str, Any]) -> Event:
    """The event in a row. Raises `StorageFailed` when its body is no JSON object."""
    try:
        return Event(**{**row, "body": _BODY.validate_json(f"[{row['body']}]")[0]})
    except ValidationError as error:
        message = f"event {row['sequence']} in the ledger cannot be read: {_first(error)}"
        raise StorageFailed(message) from error


def digest(body: str) -> str:
    """SHA-256 of a body, in hexadecimal digits."""
    return hashlib.sha256(body.encode()).hexdigest()


def _trade_columns(trade: Trade) -> Row:
    return {
        "trade_id": trade.trade_id,
        "login": trade.login,
        "server": trade.server,
        "identifier": trade.identifier,
        "ticket": trade.ticket,
        "symbol": trade.symbol,
        "side": trade.side,
        "state": trade.state,
        "owner": trade.owner,
        "registered_at": trade.registered_at,
        "closed_at": trade.closed_at,
    }


def _intent_columns(intent: Intent) -> Row:
    return {
        "magic": intent.magic,
        "trade_id": intent.trade_id,
        "kind": intent.kind,
        "episode": intent.episode,
        "leg": intent.leg,
        "state": intent.state,
        "created_at": intent.created_at,
        "resolved_at": intent.resolved_at,
    }


def _write(adapter: TypeAdapter[tuple[Any]], value: object, name: str) -> str:
    try:
        text = adapter.dump_json((value,), warnings="error")[1:-1].decode()
        if "NaN" in text or "Infinity" in text:  # may be inside a string, so look closer
            json.loads(text, parse_constant=_refuse)
    except (PydanticSerializationError, ValueError) as error:
        message = f"{name} cannot be stored, nothing was written: {error}"
        raise Invalid(message) from error
    return text


def _refuse(constant: str) -> NoReturn:
    message = f"{constant} is not a number"
    raise ValueError(message)


def _read(adapter: TypeAdapter[tuple[T]], row: Mapping[str, Any], name: str, columns: Any) -> T:
    body = row["body"]
    if digest(body) != row["digest"]:
        message = f"{name} in the ledger is damaged: its digest does not match. Nothing was changed; restore a backup"
        raise StorageFailed(message)
    try:
        value = adapter.validate_json(f"[{body}]")[0]
    except ValidationError as error:
        message = f"{name} in the ledger cannot be read by this version of DTMS: {_first(error)}. Nothing was changed"
        raise StorageFailed(message) from error
    for column, expected in columns(value).items():
        if row[column] != expected:
            message = f"{name} in the ledger is damaged: column {column} says {row[column]!r}, body {expected!r}"
            raise StorageFailed(message)
    return value


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(str(part) for part in first['loc'][1:])}: {first['msg']}"
