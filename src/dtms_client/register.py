"""What does a caller mean? Turns whatever a trading program has at hand into wire registrations. Pure.

Understood are all payloads of the existing callers: flat dictionaries and results of an order (``details``, ``parts``),
every spelling of a field, sides as words or MetaTrader numbers, numbers as text, 0 as "none". The terminal is the truth
and the service asks it, so a price that makes no sense is left out and named instead of costing the registration; a
side that makes no sense is refused, because the caller then means something else than we would register.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from pydantic import ValidationError

from dtms_client.errors import Invalid
from dtms_client.wire import TICKET_MAX, BatchItemIn

Payload = Mapping[str, Any]

_SIDES = {"BUY": "BUY", "LONG": "BUY", "SELL": "SELL", "SHORT": "SELL"}
_ORDER_TYPES = ("BUY", "SELL") * 4
"""ENUM_ORDER_TYPE 0..7: market, limit, stop and stop-limit, buy before sell; ENUM_POSITION_TYPE is its start."""

_POSITION = ("final_position", "position", "position_id", "position_ticket")
_TICKET = ("ticket", "order", "order_id")
_SIDE = ("side", "direction", "type")
_NUMBERS: Mapping[str, tuple[str, ...]] = {
    "entry_price": ("entry_price", "entry", "price_executed", "price_open", "open_price", "price", "price_requested"),
    "volume": ("volume", "lot", "lots", "lot_size"),
    "stop_loss": ("stop_loss", "sl", "final_sl"),
    "take_profit": ("take_profit", "tp", "final_tp"),
}
_NESTED = {"stop_loss": ("final_sl", "stop_loss", "sl"), "take_profit": ("final_tp", "take_profit", "tp")}
"""Inside ``details`` the level that the broker accepted comes before the one that was sent."""
_OF_ONE_PART = ("entry_price", "volume")
_TEXTS: Mapping[str, tuple[tuple[str, ...], int]] = {
    "symbol": (("symbol",), 32),
    "strategy_type": (("strategy_type", "strategy"), 64),
    "managed_by": (("managed_by",), 64),
    "source": (("source",), 64),
}


@dataclass(frozen=True, slots=True)
class Meant:
    """What was understood: one registration per position, and the claims left out because they make no sense."""

    items: tuple[BatchItemIn, ...]
    left_out: tuple[str, ...] = ()


def understand(ticket: object, data: object = None, fields: Payload | None = None) -> Meant:
    """Read one call of ``register``; ``fields`` (keyword arguments) win over ``data``.

    A split order (``parts``) gives one registration per part that succeeded. Raises `Invalid` without a usable ticket
    or with a side that is none.
    """
    flat = {**_mapping(data), **{name: value for name, value in (fields or {}).items() if value is not None}}
    details = _mapping(flat.get("details"))
    left_out: list[str] = []
    items: dict[int, BatchItemIn] = {}
    covered: set[int] = set()
    for part in _good_parts(flat):
        own = _position(part) or _first_ticket(part)
        if own is None:
            left_out.append("a part without a ticket")
            continue
        covered |= {own, _first_ticket(part) or own}
        shared = {name: value for name, value in flat.items() if name not in _names_of_one_part()}
        items[own] = _item(own, shared, part, left_out)
    main = _main_ticket(ticket, flat, details)
    if main is not None and main not in covered and _ticket_or_none(ticket) not in covered:
        items[main] = _item(main, flat, details, left_out)
    if not items:
        raise Invalid(f"no ticket: {ticket!r} is not a positive whole number, and the data names no position")
    return Meant(tuple(items.values()), tuple(dict.fromkeys(left_out)))


def side_of(value: object) -> str | None:
    """``BUY`` or ``SELL`` from a word, an enumeration or a MetaTrader number; None when it is neither.

    >>> side_of("long"), side_of(1), side_of("ORDER_TYPE_BUY_LIMIT"), side_of("hold")
    ('BUY', 'SELL', 'BUY', None)
    """
    value = getattr(value, "value", value)
    if isinstance(value, str) and not value.strip().isdigit():
        words = value.upper().replace("-", " ").replace("_", " ").replace(".", " ").split()
        found = {_SIDES[word] for word in words if word in _SIDES}
        return found.pop() if len(found) == 1 else None
    number = _whole(value)
    return _ORDER_TYPES[number] if number is not None and 0 <= number < len(_ORDER_TYPES) else None


def _item(ticket: int, flat: Payload, details: Payload, left_out: list[str]) -> BatchItemIn:
    claims: dict[str, Any] = {"ticket": ticket, "side": _side(flat, details)}
    for name, spellings in _NUMBERS.items():
        said = chain(_values(flat, spellings), _values(details, _NESTED.get(name, spellings)))
        claims[name] = _number(name, said, left_out)
    for name, (spellings, longest) in _TEXTS.items():
        said = chain(_values(flat, spellings), _values(details, spellings))
        claims[name] = _text(name, said, longest, left_out)
    try:
        return BatchItemIn.model_validate(claims)
    except ValidationError as error:
        raise Invalid(f"ticket {ticket}: {error}") from error


def _side(flat: Payload, details: Payload) -> str | None:
    for source in (flat, details):
        for name in _SIDE:
            value = source.get(name)
            if value is None or value == "":
                continue
            side = side_of(value)
            if side is not None:
                return side
            if name != "type":  # `type` also says "market" or "pending"
                raise Invalid(f"{name}={value!r} is neither buy nor sell")
    return None


def _number(name: str, said: Iterable[Any], left_out: list[str]) -> float | None:
    for value in said:
        number = _real(value)
        if number is None or number < 0:
            left_out.append(f"{name}={value!r:.80}")
        elif number > 0:
            return number
    return None


def _text(name: str, said: Iterable[Any], longest: int, left_out: list[str]) -> str | None:
    for value in said:
        text = getattr(value, "value", value)
        if isinstance(text, str) and 0 < len(text.strip()) <= longest:
            return text.strip()
        if text != "":
            left_out.append(f"{name}={value!r:.80}")
    return None


def _values(source: Payload, spellings: tuple[str, ...]) -> Iterator[Any]:
    return (source[name] for name in spellings if source.get(name) is not None)


def _good_parts(flat: Payload) -> Iterator[Payload]:
    parts = flat.get("parts")
    for part in parts if isinstance(parts, (list, tuple)) else ():
        found = _mapping(part)
        if found.get("ok"):
            yield _mapping(found.get("details")) or {name: value for name, value in found.items() if name != "ok"}


def _names_of_one_part() -> frozenset[str]:
    return frozenset(spelling for name in _OF_ONE_PART for spelling in _NUMBERS[name])


def _main_ticket(ticket: object, flat: Payload, details: Payload) -> int | None:
    """The position before the order that opened it: their numbers may differ, and an order cannot be watched."""
    given = _ticket_or_none(ticket)
    if ticket is not None and given is None and _whole(ticket) != 0:
        raise Invalid(f"ticket {ticket!r} is not a positive whole number")
    known = (_first_ticket(details), _first_ticket(flat))
    if given is None or given in known or all(number is None for number in known):
        position = _position(details) or _position(flat)
        if position is not None:
            return position
    return given or known[0] or known[1]


def _position(source: Payload) -> int | None:
    return next((number for number in map(_ticket_or_none, _values(source, _POSITION)) if number), None)


def _first_ticket(source: Payload) -> int | None:
    return next((number for number in map(_ticket_or_none, _values(source, _TICKET)) if number), None)


def _ticket_or_none(value: object) -> int | None:
    if isinstance(value, Mapping):
        value = value.get("ticket")
    number = _whole(getattr(value, "ticket", value))
    return number if number is not None and 0 < number <= TICKET_MAX else None


def _whole(value: object) -> int | None:
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, str):
        text = value.strip()
        return int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    try:
        return operator.index(value)  # type: ignore[arg-type]  # any integer type, numpy's too; others raise
    except TypeError:
        return None


def _real(value: object) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and not value.strip():
        return 0.0
    try:
        number = float(value)  # type: ignore[arg-type]  # numbers of any library and text; others raise
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _mapping(value: object) -> Payload:
    """A dictionary, or a result object with ``_asdict`` such as MetaTrader's; anything else says nothing."""
    if isinstance(value, Mapping):
        return value
    as_dict = getattr(value, "_asdict", None)
    found = as_dict() if callable(as_dict) else None
    return found if isinstance(found, Mapping) else {}
