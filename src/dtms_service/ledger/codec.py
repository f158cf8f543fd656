"""Values to rows and back. What cannot be read back exactly is refused before it is written.

Bodies are JSON in UTF-8 with every field of the value. Reading is strict: a field this version does not know was
written by a newer one and is refused; a field the row does not have yet takes the default of its dataclass.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from dtms_service.domain.alerts import Alert
from dtms_service.domain.errors import Invalid, StorageFailed
from dtms_service.domain.record import Batch
from dtms_service.domain.trade import Event, Intent, Trade

INSTANCE, LINEAGE, SEAL = "instance", "lineage", "seal"
"""The names in ``meta`` that are not facts of the engine's: three digits of every magic, a random name that no other
ledger has, and what the ledger holds (``seal.py``)."""
OWN = frozenset({INSTANCE, LINEAGE, SEAL})

Row = dict[str, Any]
T = TypeVar("T", Trade, Intent, Alert)

# Adapters of one-element tuples: pydantic takes no configuration beside a bare dataclass, but hands it down from a
# tuple.
_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, ser_json_inf_nan="constants")
_TRADE = TypeAdapter(tuple[Trade], config=_STRICT)
_INTENT = TypeAdapter(tuple[Intent], config=_STRICT)
_ALERT = TypeAdapter(tuple[Alert], config=_STRICT)
_BODY = TypeAdapter(tuple[Mapping[str, Any]], config=_STRICT)


@dataclass(frozen=True, slots=True)
class Rows:
    """A batch as rows; those of events have no ``sequence`` yet, and therefore no digest."""

    facts: list[Row] = field(default_factory=list)
    trades: list[Row] = field(default_factory=list)
    intents: list[Row] = field(default_factory=list)
    events: list[Row] = field(default_factory=list)
    alerts: list[Row] = field(default_factory=list)


def rows_of(batch: Batch) -> Rows:
    """The rows of ``batch``. Raises `Invalid` for what could not be read back: NaN, infinities, wrong types."""
    if taken := OWN & batch.facts.keys():
        message = f"{sorted(taken)} are the ledger's own and no facts to store; nothing was written"
        raise Invalid(message)
    return Rows(
        [{"name": name, "value": value} for name, value in batch.facts.items()],
        [trade_row(trade) for trade in batch.trades],
        [intent_row(intent) for intent in batch.intents],
        [event_row(event) for event in batch.events],
        [alert_row(alert) for alert in batch.alerts],
    )


def trade_row(trade: Trade) -> Row:
    """The row of a trade. Raises `Invalid`."""
    body = _write(_TRADE, trade, f"trade {trade.trade_id}")
    return _signed(_trade_columns(trade) | {"body": body})


def intent_row(intent: Intent) -> Row:
    """The row of an intent. Raises `Invalid`."""
    body = _write(_INTENT, intent, f"intent {intent.magic}")
    return _signed(_intent_columns(intent) | {"body": body})


def event_row(event: Event) -> Row:
    """The row of an event, to be completed by ``numbered``. Raises `Invalid`."""
    if not math.isfinite(event.time):
        message = f"event {event.kind} has no finite time; nothing was written"
        raise Invalid(message)
    return {
        "time": _real(event.time),
        "kind": event.kind,
        "trade_id": event.trade_id,
        "ticket": event.ticket,
        "body": _write(_BODY, event.body, f"event {event.kind}"),
    }


def alert_row(alert: Alert) -> Row:
    """The row of an alert. Raises `Invalid`."""
    body = _write(_ALERT, alert, f"alert {alert.alert_id}")
    return _signed(_alert_columns(alert) | {"body": body})


def numbered(row: Row, sequence: int) -> Row:
    """The row of an event with its number in the ledger."""
    return _signed({"sequence": sequence, **row})


def trade_of(row: Mapping[str, Any]) -> Trade:
    """The trade in a row. Raises `StorageFailed` naming the row when it is damaged or of a newer version."""
    return _read(_TRADE, row, f"trade {row['trade_id']}", _trade_columns)


def intent_of(row: Mapping[str, Any]) -> Intent:
    """The intent in a row. Raises `StorageFailed` naming the row when it is damaged or of a newer version."""
    return _read(_INTENT, row, f"intent {row['magic']}", _intent_columns)


def alert_of(row: Mapping[str, Any]) -> Alert:
    """The alert in a row. Raises `StorageFailed` naming the row when it is damaged or of a newer version."""
    return _read(_ALERT, row, f"alert {row['alert_id']}", _alert_columns)


def event_of(row: Mapping[str, Any]) -> Event:
    """The event in a row. Raises `StorageFailed` when it is damaged, or its body is no JSON object."""
    checked(row, f"event {row['sequence']}")
    columns = {name: value for name, value in row.items() if name not in {"body", "digest"}}
    try:
        return Event(**columns, body=_BODY.validate_json(f"[{row['body']}]")[0])
    except ValidationError as error:
        message = f"event {row['sequence']} in the ledger cannot be read: {_first(error)}"
        raise StorageFailed(message) from error


def digest(values: Iterable[object]) -> str:
    """SHA-256, in hexadecimal digits, of everything in a row but the digest itself, in the order of the columns."""
    return hashlib.sha256("\n".join(map(str, values)).encode("utf-8", "backslashreplace")).hexdigest()


def checked(row: Mapping[str, Any], name: str) -> str:
    """The digest of a row as it was read. Raises `StorageFailed` naming the row when it is another than was stored."""
    found = digest(value for column, value in row.items() if column != "digest")
    if found != row["digest"]:
        message = f"{name} in the ledger is damaged: its digest does not match. Nothing was changed; restore a backup"
        raise StorageFailed(message)
    return found


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
        "registered_at": _real(trade.registered_at),
        "closed_at": _real(trade.closed_at),
    }


def _intent_columns(intent: Intent) -> Row:
    return {
        "magic": intent.magic,
        "trade_id": intent.trade_id,
        "kind": intent.kind,
        "episode": intent.episode,
        "leg": intent.leg,
        "state": intent.state,
        "created_at": _real(intent.created_at),
        "resolved_at": _real(intent.resolved_at),
    }


def _alert_columns(alert: Alert) -> Row:
    return {
        "alert_id": alert.alert_id,
        "code": alert.code,
        "about": alert.about,
        "trade_id": alert.trade_id,
        "ticket": alert.ticket,
        "acknowledged_at": _real(alert.acknowledged_at),
    }


def _signed(row: Row) -> Row:
    row["digest"] = digest(row.values())
    return row


def _real(number: float | None) -> float | None:
    """The number as the database gives it back: a float, and without the sign of a zero."""
    return None if number is None else number + 0.0


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
    checked(row, name)
    try:
        value = adapter.validate_json(f"[{row['body']}]")[0]
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
