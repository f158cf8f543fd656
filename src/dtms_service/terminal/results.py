"""What one call's result is worth: a value of the shape it must have, or Unknown with the class of its failure.

``None`` is a failure and ``()`` an answer, and ``symbols_get`` says False where others say None (``mt5.md`` 0.4, 1.2).
Nothing above this module sees any of the three. The classes, by their code: ``link_down`` the package has lost its
terminal, ``bad_request`` it did not accept the arguments, ``unread`` the terminal said no, ``terminal_raised`` an
exception, ``bad_answer`` an answer that cannot be understood. Those of the way to the child process are the link's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ParamSpec, TypeVar

from dtms_service.domain.outcome import Done, Outcome, Unknown
from dtms_service.terminal.frames import Rows
from dtms_service.terminal.link import Result

Row = Mapping[str, Any]
P = ParamSpec("P")
T = TypeVar("T")

LINK_LOST = frozenset({-10000, -10001, -10002, -10004})
"""``last_error`` codes that mean that the connection to the terminal is gone or out of step."""
NOT_FOUND = -4
_BAD_REQUEST = -2
UNREADABLE = (KeyError, IndexError, TypeError, ValueError, ArithmeticError, AttributeError)
"""What reading an answer of another version's shape ends with."""


def failure(name: str, result: Result) -> Unknown:
    """The outcome of a call of ``name`` whose result is not of its shape."""
    said = f"({result.code} {result.text})"
    if result.raised is not None:
        return Unknown("terminal_raised", f"{name} raised {result.raised}: {result.text}")
    if result.value is not None and result.value is not False:
        return Unknown("bad_answer", f"{name} answered with a {type(result.value).__name__}, which it never does")
    if result.code in LINK_LOST:
        return Unknown("link_down", f"the terminal could not be reached for {name} {said}")
    if result.code == _BAD_REQUEST or result.value is False:
        return Unknown("bad_request", f"the terminal did not accept the arguments of {name} {said}")
    return Unknown("unread", f"the terminal could not be read: {name} failed {said}")


def structure(name: str, result: Result) -> Outcome[Row]:
    """One structure, as a mapping of its field names."""
    return Done(result.value) if isinstance(result.value, Mapping) else failure(name, result)


def structures(name: str, result: Result, value: Callable[[Row], T | None]) -> Outcome[tuple[T, ...]]:
    """Each structure of an answer as what ``value`` makes of it, None left out; no structure is an empty tuple."""
    if not isinstance(result.value, Rows):
        return failure(name, result)
    return understood(name, lambda: tuple(made for row in rows(result.value) if (made := value(row)) is not None))


def rows(value: Rows) -> Iterator[Row]:
    """Each structure of an answer as a mapping of its field names."""
    return (dict(zip(value.names, row, strict=True)) for row in value.rows)


def understood(name: str, read: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Outcome[T]:
    """What ``read`` makes of an answer; a field that is missing or of another kind is Unknown and no exception."""
    try:
        return Done(read(*args, **kwargs))
    except UNREADABLE as error:
        return Unknown("bad_answer", f"the answer of {name} cannot be understood ({type(error).__name__}: {error})")
