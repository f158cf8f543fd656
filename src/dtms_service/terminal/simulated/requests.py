"""Trade requests as the package's C code reads them (mt5.md 1.5): strict types, missing keys are zero, unknown keys are ignored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dtms_service.terminal.simulated.structs import Struct, TradeRequest

_FLOATS = frozenset({"volume", "price", "stoplimit", "sl", "tp"})
_TEXTS = {"symbol": 29, "comment": 29}
"""Longest text that the package's buffers take."""
_BLANK = tuple(0.0 if name in _FLOATS else "" if name in _TEXTS else 0 for name in TradeRequest.names)


class BadArgument(Exception):
    """The package refuses the call itself; the message is the text of ``last_error``."""


class NegativeNumber(Exception):
    """A negative number where C wants an unsigned one: the package leaves a Python exception pending (mt5.md 1.2)."""


def parse_request(values: Mapping[str, Any]) -> Struct:
    """A ``TradeRequest`` of ``values``. Raises ``BadArgument`` or ``NegativeNumber`` where the package would."""
    return TradeRequest(
        _value(name, values.get(name, blank)) for name, blank in zip(TradeRequest.names, _BLANK, strict=True)
    )


def _value(name: str, value: Any) -> Any:
    if name in _FLOATS:
        fits = isinstance(value, float)
    elif name in _TEXTS:
        fits = isinstance(value, str) and len(value) <= _TEXTS[name]
    else:
        fits = isinstance(value, int)
        if fits and value < 0 and name != "expiration":
            message = f"can't convert negative int to unsigned: {name}"
            raise NegativeNumber(message)
    if not fits:
        message = f'Invalid "{name}" argument'
        raise BadArgument(message)
    # A subclass (np.float64, IntEnum, bool) passes as in C, and comes back as the plain number.
    return float(value) if name in _FLOATS else str(value) if name in _TEXTS else int(value)
