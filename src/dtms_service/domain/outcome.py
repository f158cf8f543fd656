"""Three outcomes, never two.

A question to the terminal or an order ends as `Done`, as `Refused` (a definite no: nothing happened) or as
`Unknown` (it may or may not have happened; only evidence can tell). A failed read is `Unknown`, never an empty `Done`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Done(Generic[T]):
    """It happened, and this is the answer."""

    value: T


@dataclass(frozen=True, slots=True)
class Refused:
    """A definite no: nothing happened. ``code`` is stable, ``detail`` a sentence, ``retcode`` the broker's, if any."""

    code: str
    detail: str
    retcode: int | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """No answer can be relied on.

    ``code`` is stable (``timeout``, ``link_down``, ``no_reply``), ``detail`` a sentence. ``order`` is the broker's
    number of an order that was taken without being executed yet (10008), for whoever looks for it later.
    """

    code: str
    detail: str
    retcode: int | None = None
    order: int | None = None


Outcome: TypeAlias = Done[T] | Refused | Unknown
