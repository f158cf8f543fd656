"""What the old callers call things: every spelling of ``POST /dtms/trade/enable`` turned into registrations.

Their bodies are results of order calls passed on as they were: levels may be 0.0 for "none", numbers may be text, the
values may lie in ``details``, and an order that was split has its positions in ``parts``. Values that say nothing
(null, "", 0) are passed over; values that say something impossible are refused by name.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from dtms_client.wire import TICKET_MAX
from dtms_service.api.convert import owner
from dtms_service.api.errors import invalid_fields
from dtms_service.api.exchange import printable
from dtms_service.domain.admission import Registration
from dtms_service.domain.errors import Invalid
from dtms_service.domain.values import Side

_TICKET = ("ticket",)
_OPENED = ("final_position", "position")
"""What the result of an order calls the position that it opened."""
_POSITION = ("final_position", "position", "ticket")
"""In the result of an order ``ticket`` is the order's; the position's comes first where it is named."""
_SIDE = ("direction", "side", "type")
_ENTRY = ("entry_price", "entry", "price_executed", "price")
_VOLUME = ("volume", "lot")
_STOP = ("stop_loss", "sl", "final_sl")
_TAKE = ("take_profit", "tp", "final_tp")
_ACCEPTED: Mapping[tuple[str, ...], tuple[str, ...]] = {
    _STOP: ("final_sl", "stop_loss", "sl"),
    _TAKE: ("final_tp", "take_profit", "tp"),
}
"""Inside ``details`` the level that the broker accepted comes before the one that was sent."""

_SIDES = {
    "buy": Side.BUY,
    "long": Side.BUY,
    "sell": Side.SELL,
    "short": Side.SELL,
    **{str(number): (Side.BUY, Side.SELL)[number % 2] for number in range(8)},
}
"""Words, and MetaTrader's numbers of position and order types: even ones buy."""


def _refuse(field: str, expected: str) -> Invalid:
    return invalid_fields([{"field": field, "expected": expected}])


def _said(sources: tuple[Mapping[str, Any], ...], names: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Every (name, value) that is present, in order of preference: all names in the first source, then in the next."""
    for source in sources:
        for name in names:
            value = source.get(name)
            if value is not None and value != "":
                yield name, value


def _number(sources: tuple[Mapping[str, Any], ...], names: tuple[str, ...]) -> float | None:
    first, rest = sources[:1], sources[1:]
    for name, value in (*_said(first, names), *_said(rest, _ACCEPTED.get(names, names))):
        number = _float(name, value)
        if number > 0:
            return number
    return None


def _float(name: str, value: Any) -> float:
    expected = "a number that is not negative; 0 means none"
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise _refuse(name, expected)
    try:
        number = float(value)
    except (ValueError, OverflowError) as error:
        raise _refuse(name, expected) from error
    if not math.isfinite(number) or number < 0:
        raise _refuse(name, expected)
    return number


def ticket(name: str, value: Any) -> int:
    """A ticket as a whole number, also from text or 123.0. Raises `Invalid`."""
    whole = int(value) if isinstance(value, float) and value.is_integer() else value
    if isinstance(whole, str) and whole.strip().isascii() and whole.strip().isdigit() and len(whole.strip()) <= 19:
        whole = int(whole)
    if isinstance(whole, bool) or not isinstance(whole, int) or not 0 < whole <= TICKET_MAX:
        raise _refuse(name, f"a whole number from 1 to {TICKET_MAX}")
    return whole


def _side(sources: tuple[Mapping[str, Any], ...]) -> Side | None:
    for name, value in _said(sources, _SIDE):
        word = str(value).strip().lower() if isinstance(value, int | str) and not isinstance(value, bool) else ""
        known = _SIDES.get(word) or _SIDES.get(word.removeprefix("order_type_").partition("_")[0])
        if known is not None:
            return known
        if name != "type" or not isinstance(value, str):  # a `type` in words also says "market" or "pending"
            raise _refuse(name, "BUY or SELL (also long, short, 0, 1)")
    return None


def _text(sources: tuple[Mapping[str, Any], ...], name: str, longest: int) -> str | None:
    for _, value in _said(sources, (name,)):
        if not isinstance(value, str) or len(value) > longest:
            raise _refuse(name, f"text of at most {longest} characters")
        return printable(name, value.strip()) or None
    return None


def _details(body: Mapping[str, Any]) -> Mapping[str, Any]:
    details = body.get("details")
    return details if isinstance(details, Mapping) else {}


def _registration(number: int, *sources: Mapping[str, Any]) -> Registration:
    return Registration(
        ticket=number,
        symbol=_text(sources, "symbol", 32),
        side=_side(sources),
        entry_price=_number(sources, _ENTRY),
        volume=_number(sources, _VOLUME),
        stop_loss=_number(sources, _STOP),
        take_profit=_number(sources, _TAKE),
        strategy_type=_text(sources, "strategy_type", 64),
        managed_by=owner(_text(sources, "managed_by", 64)),
        source=_text(sources, "source", 64),
    )


def _parts(body: Mapping[str, Any]) -> Iterator[Registration]:
    """One registration per part of a split order that was filled; what all parts share stands in the body itself."""
    parts = body.get("parts")
    shared = {
        key: value for key, value in body.items() if key in ("symbol", *_SIDE, "strategy_type", "managed_by", "source")
    }
    for part in parts if isinstance(parts, list) else ():
        if isinstance(part, Mapping) and part.get("ok"):
            details = _details(part)
            for name, value in _said((details,), _POSITION):
                yield _registration(ticket(name, value), details, shared)
                break


def _named(body: Mapping[str, Any], details: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Where the ticket stands, the best place first: a body that repeats its order's number means what that opened."""
    outer, inner = [*_said((body,), _TICKET)], [*_said((details,), _POSITION)]
    repeated = bool(outer) and str(outer[0][1]) == str(details.get("ticket"))
    empty = bool(outer) and outer[0][1] in (0, "0")
    opened = [*_said((details,), _OPENED)]
    return inner or outer if empty or (repeated and opened) else [*outer, *inner]


def registrations(body: Mapping[str, Any]) -> list[Registration]:
    """The registrations a body asks for: itself, and every part of a split order. Raises `Invalid` without a ticket."""
    details = _details(body)
    found = {wish.ticket: wish for wish in _parts(body)}
    named = _named(body, details)
    if named:
        number = ticket(*named[0])
        if number not in found:
            found = {number: _registration(number, body, details), **found}
    if not found:
        raise _refuse("ticket", f"a whole number from 1 to {TICKET_MAX}; it is the only field that is required")
    return list(found.values())
