"""Values of options and bodies, read strictly: no text or truth value as a number, nothing that is not finite.

Every function raises ``ValueError`` with one sentence that names the value.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any


def read_number(body: Mapping[str, Any], name: str, default: float | None, low: float, high: float) -> float | None:
    """A finite number of ``body`` within bounds, or ``default`` where there is none."""
    value = body.get(name)
    if value is None:
        return default
    good = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not (good and math.isfinite(value) and low <= value <= high):
        message = f"{name} is {value!r}; it must be a number from {low:g} to {high:g}"
        raise ValueError(message)
    return float(value)


def read_whole(body: Mapping[str, Any], name: str, default: int | None, low: int, high: int) -> int | None:
    """A whole number of ``body`` within bounds, or ``default`` where there is none."""
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        message = f"{name} is {value!r}; it must be a whole number from {low} to {high}"
        raise ValueError(message)
    return int(value)


def number(body: Mapping[str, Any], name: str, default: float, low: float, high: float) -> float:
    """As ``read_number``, where there is always a default."""
    value = read_number(body, name, default, low, high)
    return default if value is None else value


def whole(body: Mapping[str, Any], name: str, default: int, low: int, high: int) -> int:
    """As ``read_whole``, where there is always a default."""
    value = read_whole(body, name, default, low, high)
    return default if value is None else value


def flag(body: Mapping[str, Any], name: str, *, default: bool = False) -> bool:
    """True or false."""
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        message = f"{name} is {value!r}; it must be true or false"
        raise ValueError(message)  # noqa: TRY004 -- unusable input is a ValueError by contract
    return value


def choice(body: Mapping[str, Any], name: str, default: str, choices: Mapping[str, int] | Collection[str]) -> str:
    """One of some words."""
    value = body.get(name)
    if value is None:
        return default
    if value not in choices:
        message = f"{name} is {value!r}; it must be one of {', '.join(choices)}"
        raise ValueError(message)
    return str(value)


def known(body: Mapping[str, Any], names: Collection[str]) -> None:
    """Refuse a field that nobody would read."""
    for key in body:
        if key not in names:
            message = f"there is no field {key!r}; there are {', '.join(names)}"
            raise ValueError(message)
