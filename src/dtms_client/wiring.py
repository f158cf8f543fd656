"""Puts a client together from its arguments and the settings, and holds what both clients do alike without I/O."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import httpx

from dtms_client import places
from dtms_client.clock import CLOCK, Clock
from dtms_client.defence import ASK, Answers
from dtms_client.delivery import Outbox, Registration, combined
from dtms_client.errors import BadSetting, DtmsClientError, Invalid, NotDtms, NotReady, Unreachable
from dtms_client.flusher import FLUSHER, Flusher
from dtms_client.http import Target
from dtms_client.register import Meant, understand
from dtms_client.retry import Attempts, Budget, Policy
from dtms_client.spool import Spool
from dtms_client.wire import BatchItemIn, Ready

MODES = ("always", "on_failure", "off")
CHUNK = 500
"""Registrations per batch: the service takes 1,000 and 1 MiB, 500 of the longest stay below half of that."""
POLL_S = 0.25
"""Between two looks at readiness."""
POLL_CALL_S = 2.0
LAST_LOOK_S = 1.0
"""Seconds that a look may take although less is left: ``timeout=0`` asks once, and a busy machine answers too."""
_BUDGETS: dict[str, Budget] = {}
"""One retry budget per service: an outage is one outage for the whole process."""
_ANSWERS: dict[str, Answers] = {}
"""What each service said of whether it defends a trade: programs that make a client per question share it."""
_log = logging.getLogger("dtms_client")


class Client:
    """What both clients are made of.

    ``timeout``: seconds a call may take in total; ``retries``: attempts; ``spool``: ``always`` stores a registration
    before it is sent, ``on_failure`` only when it could not be delivered, ``off`` never; ``transport`` replaces the
    network (tests); ``on_unprotected`` is called with ticket and reason, from any thread, when a trade may stay
    unprotected. What is not given comes from the settings (`places`), read now. Raises `BadSetting`.
    """

    clock: ClassVar[Clock] = CLOCK
    flusher: ClassVar[Flusher] = FLUSHER

    def __init__(
        self,
        base_url: str | None = None,
        *,
        token: str | None = None,
        timeout: float | None = None,
        retries: int | None = None,
        spool: str = "always",
        transport: httpx.BaseTransport | httpx.AsyncBaseTransport | None = None,
        on_unprotected: Callable[[int, str], None] | None = None,
    ) -> None:
        if spool not in MODES:
            raise BadSetting(f"spool={spool!r} is none of {', '.join(MODES)}")
        said = places.read()
        url = said.url if base_url is None else places.checked_url(base_url)
        self.target = Target(url, said.token if token is None else token, transport)
        self._policy = Policy(
            said.retry_count if retries is None else max(1, retries),
            said.timeout_s if timeout is None else timeout,
        )
        self._budget = Budget() if transport is not None else _BUDGETS.setdefault(url, Budget())
        self.outbox = Outbox(
            Spool(said.spool_dir, self.clock),
            self.target,
            spool,
            named=base_url is not None,
            clock=self.clock,
            on_unprotected=on_unprotected,
        )
        self._answers = Answers(self.clock) if transport is not None else _ANSWERS.setdefault(url, Answers(self.clock))
        self.flusher.watch(self.outbox)

    def _attempts(self, *, repeatable: bool, policy: Policy | None = None) -> Attempts:
        return Attempts(policy or self._policy, self._budget, self.clock, repeatable=repeatable)

    @property
    def _asking(self) -> Policy:
        """Bounds of a question that stands in the way of a stop."""
        return Policy(min(ASK.attempts, self._policy.attempts), min(ASK.total_s, self._policy.total_s))

    def _watched(self, results: list[Registration]) -> list[Registration]:
        if any(result.outcome == "queued" for result in results):
            self.flusher.watch(self.outbox)
        return results


def meant(ticket: object, data: object, fields: Mapping[str, Any]) -> Meant:
    """Understand one registration and say what was left out of it; ``source`` defaults to this program's name."""
    found = understand(ticket, data, fields)
    if found.left_out:
        tickets = [item.ticket for item in found.items]
        _log.warning("tickets %s: left out what makes no sense: %s", tickets, "; ".join(found.left_out))
    here = program()
    named = tuple(item if item.source else item.model_copy(update={"source": here}) for item in found.items)
    return replace(found, items=named)


def program() -> str | None:
    """This program's name, as registrations and orders to DTMS name their source."""
    return Path(sys.argv[0]).stem[:64] or None


def meant_batch(items: Iterable[Mapping[str, Any] | BatchItemIn]) -> list[Meant | Invalid]:
    """Understand each on its own; one that makes no sense becomes its error, in place."""
    found: list[Meant | Invalid] = []
    for item in items:
        try:
            found.append(Meant((item,)) if isinstance(item, BatchItemIn) else meant(None, item, {}))
        except Invalid as error:
            found.append(error)
    return found


def chunks(batch: Sequence[Meant | Invalid]) -> Iterator[tuple[BatchItemIn, ...]]:
    """All registrations of the batch, in pieces that the service takes."""
    flat = [item for found in batch if isinstance(found, Meant) for item in found.items]
    for start in range(0, len(flat), CHUNK):
        yield tuple(flat[start : start + CHUNK])


def regrouped(batch: Sequence[Meant | Invalid], results: Iterable[Registration]) -> list[Registration]:
    """One result per item of the batch, errors in place of an exception."""
    rest = iter(results)
    found = []
    for item in batch:
        if isinstance(item, Invalid):
            found.append(Registration(0, "rejected", detail=item.detail, error=item))
            continue
        parts = [next(rest) for _ in item.items]
        failed = next((part for part in parts if part.error is not None), None)
        found.append(combined(parts) if failed is None else replace(failed, parts=tuple(parts) if parts[1:] else ()))
    return found


class Patience:
    """Waiting for readiness: what to make of each look."""

    def __init__(self, timeout: float, clock: Clock) -> None:
        self._clock = clock
        self._until = clock.monotonic() + timeout

    @property
    def call_s(self) -> float:
        """Seconds that the next look may take."""
        return max(LAST_LOOK_S, min(POLL_CALL_S, self._until - self._clock.monotonic()))

    def pause(self, found: Ready | DtmsClientError) -> float | None:
        """Seconds until the next look, None when ready. Raises the last finding when time is up, `NotDtms` at once."""
        if isinstance(found, Ready):
            if found.status == "ready":
                return None
            found = not_ready(found)
        if isinstance(found, NotDtms) or not isinstance(found, (Unreachable, NotReady)):
            raise found
        if self._clock.monotonic() + POLL_S >= self._until:
            raise found
        return POLL_S


def not_ready(report: Ready) -> NotReady:
    """Put the reasons of a readiness report into one sentence."""
    reasons = "; ".join(f"{reason.code}: {reason.detail}" for reason in report.reasons) or "no reason given"
    return NotReady(f"DTMS is not ready (phase {report.phase}): {reasons}")
