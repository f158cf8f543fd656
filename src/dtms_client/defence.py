"""Is DTMS defending this position now? What it said last, for managers that ask before every change of a stop.

::

    age of the answer      DTMS answers          DTMS does not answer
    up to 10 s             not asked again       not asked again
    up to 30 s             its new answer        the last known answer, with a warning
    older, or never        its new answer        False, with a warning

The figures are those of the old manager of intelligent exits (contract.md 2). A failed question is not repeated for
10 s either, so that a service that hangs holds up a stop once, and not at every look.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from dtms_client.clock import Clock
from dtms_client.errors import DtmsClientError
from dtms_client.retry import Policy

FRESH_S = 10.0
KNOWN_S = 30.0
ASK = Policy(attempts=2, total_s=2.0)
"""Bounds of one question: it stands in the way of a stop."""
ASKING_AS = "intelligent_exits"
"""The manager that asks; only the question of a trade's owner counts as a sign of life of its owner (R26)."""
MOST = 10_000
"""Trades remembered; beyond it, what is older than 30 s is forgotten."""
_log = logging.getLogger("dtms_client")


@dataclass(frozen=True, slots=True)
class _Said:
    defensive: bool
    heard: float
    asked: float


class Answers:
    """The latest answer per ticket, by process time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._said: dict[int, _Said] = {}

    def fresh(self, ticket: int) -> bool | None:
        """The answer that needs no question now, else None."""
        said, now = self._said.get(ticket), self._clock.monotonic()
        if said is None or now - said.asked > FRESH_S:
            return None
        return said.defensive and now - said.heard <= KNOWN_S

    def heard(self, ticket: int, *, defensive: bool) -> bool:
        """Remember an answer, and return it."""
        now = self._clock.monotonic()
        if len(self._said) >= MOST:
            self._said = {known: said for known, said in list(self._said.items()) if now - said.heard <= KNOWN_S}
        self._said[ticket] = _Said(defensive, now, now)
        return defensive

    def missed(self, ticket: int, error: DtmsClientError) -> bool:
        """No answer: the last known one while it is young enough, else False; the log says which."""
        now = self._clock.monotonic()
        said = self._said.get(ticket, _Said(defensive=False, heard=float("-inf"), asked=now))
        self._said[ticket] = _Said(said.defensive, said.heard, now)
        if now - said.heard <= KNOWN_S:
            _log.warning(
                "trade %s: taken as %s, known for %.0f s; DTMS does not say: %s",
                ticket,
                "defended" if said.defensive else "not defended",
                now - said.heard,
                error.detail,
            )
            return said.defensive
        _log.warning("trade %s: taken as not defended, because DTMS does not say: %s", ticket, error.detail)
        return False
