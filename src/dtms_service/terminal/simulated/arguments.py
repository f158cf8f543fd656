"""Arguments as the package's C code reads them, and the errors it answers with (mt5.md 1.2, 1.4, 1.5).

Types are strict, missing keys of a request are zero, unknown keywords are ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from fnmatch import translate
from re import fullmatch
from typing import Any

from dtms_service.terminal.simulated.constants import Constants
from dtms_service.terminal.simulated.structs import Struct, TradeRequest

OK = (Constants.RES_S_OK, "Success")
CALL_FAILED = (Constants.RES_E_FAIL, "Terminal: Call failed")
BAD_ARGUMENTS = (Constants.RES_E_INVALID_PARAMS, "Invalid arguments")
BAD_PARAMS = (Constants.RES_E_INVALID_PARAMS, "Terminal: Invalid params")
NOT_FOUND = (Constants.RES_E_NOT_FOUND, "Terminal: Not found")
NO_LINK = (Constants.RES_E_INTERNAL_FAIL_CONNECT, "No IPC connection")
SEND_FAILED = (Constants.RES_E_INTERNAL_FAIL_SEND, "IPC send failed")
TIMED_OUT = (Constants.RES_E_INTERNAL_FAIL_TIMEOUT, "IPC timeout")
API_OFF = (Constants.RES_E_AUTO_TRADING_DISABLED, "Auto-Trading using Python API disabled in Terminal")
REPLY_LOST = (Constants.RES_E_INTERNAL_FAIL_RECEIVE, "IPC recv failed")
AUTHORIZATION = (Constants.RES_E_AUTH_FAILED, "Terminal: Authorization failed")


class Failed(Exception):
    """The call fails with this ``last_error``."""

    def __init__(self, error: tuple[int, str]) -> None:
        super().__init__(error[1])
        self.error = error


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


def pending(call: str) -> SystemError:
    """What CPython says when a C function returns with an exception set (mt5.md 1.2)."""
    return SystemError(f"<built-in function {call}> returned a result with an exception set")


def c_types(call: str, *pairs: tuple[Any, type]) -> None:
    """``PyArg_ParseTuple``: a number of the wrong kind leaves an exception pending (C21)."""
    for value, kind in pairs:
        wanted = (int, float) if kind is float else kind
        if not isinstance(value, wanted):
            raise pending(call)


def timeframe_seconds(timeframe: int) -> int | None:
    """Length of a bar by MetaTrader's constant: minutes below 0x4000, hours above; no weeks and months here."""
    if timeframe in {1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30}:
        return timeframe * 60
    hours = timeframe - 0x4000
    return hours * 3600 if hours in {1, 2, 3, 4, 6, 8, 12, 24} else None


def moment_of(value: Any) -> float:
    """A date: an int as it is, a float cut off, a datetime by its own ``timestamp`` (naive means local; C13)."""
    if isinstance(value, datetime):
        return float(int(value.timestamp()))
    if isinstance(value, (int, float)):
        return float(int(value))
    raise Failed(BAD_ARGUMENTS)


def in_group(name: str, group: str) -> bool:
    """Comma list of masks: ``*`` is anything, anchored and case-sensitive, ``!`` excludes at once (C11)."""
    included = False
    for mask in group.split(","):
        wanted = mask.removeprefix("!")
        if fullmatch(translate(wanted.replace("[", "[[]").replace("?", "[?]")), name):
            if mask.startswith("!"):
                return False
            included = True
    return included


def _number(kwargs: Mapping[str, Any], name: str) -> int:
    value = kwargs[name]
    if not isinstance(value, int):
        raise Failed((Constants.RES_E_INVALID_PARAMS, f'Invalid "{name}" argument'))
    if value < 0:
        message = f"can't convert negative int to unsigned: {name}"
        raise NegativeNumber(message)
    return value


def position_filter(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Callable[[int, str], bool]:
    """The filter of ``positions_get``: ticket before symbol before group; unknown keywords are ignored (C07 to C11)."""
    if args:
        raise Failed((Constants.RES_E_INVALID_PARAMS, "Unnamed arguments not allowed"))
    if "ticket" in kwargs:
        number = _number(kwargs, "ticket")
        return lambda ticket, _: ticket == number
    if "symbol" in kwargs:
        wanted = _mask(kwargs, "symbol")
        return lambda _, symbol: symbol == wanted
    group = _mask(kwargs, "group")
    return lambda _, symbol: in_group(symbol, group)


def _mask(kwargs: Mapping[str, Any], name: str) -> str:
    value = kwargs.get(name, "*")
    if not isinstance(value, str):
        raise Failed((Constants.RES_E_INVALID_PARAMS, f'Invalid "{name}" argument'))
    return value


def history_filter(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Callable[[int, int, int, str], bool]:
    """The filter of the history: (order ticket, position, server time, symbol) -> wanted (C12)."""
    if len(args) == 2:
        begin, end = moment_of(args[0]), moment_of(args[1])
        group = _mask(kwargs, "group")
        return lambda _, __, moment, symbol: begin <= moment <= end and in_group(symbol, group)
    if not args and "ticket" in kwargs:
        number = _number(kwargs, "ticket")
        return lambda ticket, _, __, ___: ticket == number
    if not args and "position" in kwargs:
        identifier = _number(kwargs, "position")
        return lambda _, position, __, ___: position == identifier
    raise Failed(BAD_ARGUMENTS)
