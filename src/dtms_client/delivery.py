"""What becomes of a registration: stored, sent, settled by the answer. No network; clients and flusher share it.

::

    answer                                          file                 caller gets
    protected, observed, pending, closed            removed              that outcome
    definite no (400, 409, 413, 415, 422)           moved to rejected/   Rejected, Invalid, Conflict
    401, 403, 421: a setting is wrong               kept, alarm          Unauthorized, Rejected
    not ready, no answer, not DTMS, anything else   kept                 outcome "queued"
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dtms_client import calls
from dtms_client.calls import Call
from dtms_client.clock import Clock
from dtms_client.errors import (
    DtmsClientError,
    NotDtms,
    OutboxUnavailable,
    Rejected,
    Unauthorized,
    Unreachable,
    of_problem,
)
from dtms_client.http import Target
from dtms_client.spool import ANNOUNCED, Damaged, Entry, Item, Spool, entries
from dtms_client.wire import BatchItemIn, BatchItemOut, RegistrationOut, TradeOut

Answer = BatchItemOut | RegistrationOut
PARCEL = 100
"""Registrations per batch of the flusher: far below the service's 1,000 and 1 MiB."""
WARN_S = 30.0
CRITICAL_S = 120.0
"""Ages at which a registration that nobody has confirmed is worth a warning, and an alarm."""
_FINAL = frozenset({400, 409, 413, 415, 422})
_IN_FLIGHT: set[Path] = set()
"""Files that a call of this process is sending right now; the flusher leaves them alone."""
_SAID: set[str] = set()
_log = logging.getLogger("dtms_client")


@dataclass(frozen=True, slots=True)
class Registration:
    """What became of one registration.

    ``outcome``: protected, already_protected, observed, pending_verification or already_closed, as the service
    answered; ``queued``: on disk, will be delivered; ``rejected``: only in batches, ``error`` says why. ``parts``: all
    positions of a split order, when there are several; the least protected of them speaks for the order.
    """

    ticket: int
    outcome: str
    protected: bool = False
    replayed: bool = False
    trade: TradeOut | None = None
    detail: str = ""
    kind: str | None = None
    error: DtmsClientError | None = field(default=None, compare=False)
    parts: tuple[Registration, ...] = field(default=(), repr=False)

    @property
    def safe(self) -> bool:
        """Protected, or certain to reach the service."""
        return self.protected or self.outcome in {"queued", "pending_verification"}


@dataclass(frozen=True, slots=True)
class Parcel:
    """Registrations that travel together, and the file of each (None: not on disk)."""

    items: tuple[BatchItemIn, ...]
    files: tuple[Entry | None, ...]
    trouble: OutboxUnavailable | None = None
    """Why they could not be stored."""

    @property
    def call(self) -> Call[list[Answer]]:
        """What to send."""
        return calls.register(self.items[0]) if len(self.items) == 1 else calls.register_batch(self.items)

    def singles(self) -> list[Parcel]:
        """Return each alone: one item that spoils a whole batch must not take the others along."""
        return [Parcel((item,), (file,)) for item, file in zip(self.items, self.files, strict=True)]


def combined(results: Sequence[Registration]) -> Registration:
    """One answer for an order: the only one, or the least protected with all as ``parts``. Raises the first error."""
    for result in results:
        if result.error is not None:
            raise result.error
    if len(results) == 1:
        return results[0]
    worst = min(results, key=lambda result: (result.protected, result.safe))
    return Registration(
        worst.ticket,
        worst.outcome,
        worst.protected,
        all(result.replayed for result in results),
        worst.trade,
        worst.detail,
        worst.kind,
        parts=tuple(results),
    )


class Outbox:
    """The registrations of one client: where they are stored, where they go, and whom to tell when that fails."""

    def __init__(
        self,
        spool: Spool,
        target: Target,
        mode: str,
        *,
        named: bool,
        clock: Clock,
        on_unprotected: Callable[[int, str], None] | None = None,
    ) -> None:
        self.spool = spool
        self.target = target
        self.mode = mode
        self.on_unprotected = on_unprotected
        """Called with ticket and reason when a trade may stay unprotected; from any thread."""
        self._mark = target.url if named else None
        self._clock = clock
        self._alarmed: dict[str, float] = {}
        self._foreign: set[str] = set()
        self._told_to_wait: set[int] = set()
        """Tickets whose alarm for a wrong setting was given."""

    @contextmanager
    def packed(self, items: Sequence[BatchItemIn]) -> Iterator[Parcel]:
        """Store before sending (mode ``always``); while the block runs, no flusher of this process sends them."""
        parcel = self._store(tuple(items)) if self.mode == "always" else Parcel(tuple(items), (None,) * len(items))
        names = {file.path for file in parcel.files if file is not None}
        _IN_FLIGHT.update(names)
        try:
            yield parcel
        finally:
            _IN_FLIGHT.difference_update(names)

    def settled(self, parcel: Parcel, answers: Sequence[Answer]) -> list[Registration]:
        """Act on the service's answers, one per item."""
        return [
            self._settle(item, file, answer)
            for item, file, answer in zip(parcel.items, parcel.files, answers, strict=True)
        ]

    def failed(self, parcel: Parcel, error: DtmsClientError) -> list[Registration]:
        """Act on a call that failed as a whole. A batch refused as a whole says nothing about its items."""
        final = is_final(error) and (len(parcel.items) == 1 or self.mode == "off")
        return [
            self._rejected(item, file, error) if final else self._kept(item, file, error, parcel.trouble)
            for item, file in zip(parcel.items, parcel.files, strict=True)
        ]

    def handed_over(self, parcel: Parcel) -> list[Registration]:
        """Leave the sending to the background thread."""
        why = Unreachable("handed to the background thread")
        return [
            self._kept(item, file, why, parcel.trouble, level=logging.INFO)
            for item, file in zip(parcel.items, parcel.files, strict=True)
        ]

    def waiting(self) -> Iterator[tuple[Entry, Item]]:
        """Everything on disk that this client may deliver, oldest first. Damaged files go to ``rejected/``."""
        for entry in self._mine():
            try:
                item = entry.load()
            except FileNotFoundError:
                continue
            except Damaged as error:
                self._put_aside(entry, str(error))
                continue
            except OSError as error:
                _log.warning("%s cannot be read now and stays: %s", entry.path, error)
                continue
            if item.url in {self._mark, self.target.url}:
                yield entry, item
            else:
                self._foreign.add(entry.path.name)

    def parcels(self, first: int = PARCEL) -> Iterator[Parcel]:
        """Everything that waits, in batches, read as they are needed; ``first``: size of the first one."""
        waiting = self._registrations()
        size = first
        while part := list(islice(waiting, size)):
            yield Parcel(tuple(item for item, _ in part), tuple(entry for _, entry in part))
            size = PARCEL

    def watch_age(self) -> float:
        """Warn about what waits too long, once per file and level. Returns the age of the oldest in seconds, else 0."""
        now, oldest = self._clock.wall_ns() / 1e9, 0.0
        alarmed: dict[str, float] = {}
        for entry in self._mine():
            age = now - entry.created_wall
            oldest = max(oldest, age)
            level = max((bound for bound in (WARN_S, CRITICAL_S) if age > bound), default=0.0)
            if level > self._alarmed.get(entry.path.name, 0.0):
                self._say_old(entry, age)
            alarmed[entry.path.name] = level
        self._alarmed = alarmed
        return oldest

    def announce(self, body: Mapping[str, Any]) -> Entry:
        """Store that an order may go out. Raises `OutboxUnavailable`."""
        return self.spool.write(body, self._mark, ANNOUNCED)

    def alarm(self, ticket: int, reason: str) -> None:
        """Tell the caller's ``on_unprotected``."""
        if self.on_unprotected is not None:
            self.on_unprotected(ticket, reason)

    def _mine(self) -> list[Entry]:
        found = entries(self.spool.folder)
        self._foreign &= {entry.path.name for entry in found}
        return [entry for entry in found if entry.path not in _IN_FLIGHT and entry.path.name not in self._foreign]

    def _registrations(self) -> Iterator[tuple[BatchItemIn, Entry]]:
        for entry, item in self.waiting():
            try:
                yield BatchItemIn.model_validate(item.body), entry
            except ValidationError as error:
                self._put_aside(entry, f"is not a registration: {error}")

    def _say_old(self, entry: Entry, age: float) -> None:
        try:
            ticket = entry.load().body.get("ticket")
        except (Damaged, FileNotFoundError):
            return  # the next pass puts it aside
        reason = f"not delivered to {self.target.url} for {age:.0f} s"
        _log.log(logging.CRITICAL if age > CRITICAL_S else logging.WARNING, "trade %s: %s", ticket, reason)
        if age > CRITICAL_S and isinstance(ticket, int):
            self.alarm(ticket, reason)

    def _store(self, items: tuple[BatchItemIn, ...]) -> Parcel:
        try:
            return Parcel(items, tuple(self._write(item) for item in items))
        except OutboxUnavailable as error:
            _log.error("tickets %s: %s; trying to reach DTMS without", [item.ticket for item in items], error)
            return Parcel(items, (None,) * len(items), error)

    def _write(self, item: BatchItemIn) -> Entry:
        return self.spool.write(item.model_dump(exclude_none=True), self._mark)

    def _settle(self, item: BatchItemIn, file: Entry | None, answer: Answer) -> Registration:
        if isinstance(answer, BatchItemOut) and answer.status >= 400:
            error = of_problem(calls.problem_of(answer))
            return self._rejected(item, file, error) if is_final(error) else self._kept(item, file, error)
        if answer.outcome is None:
            return self._kept(item, file, NotDtms("an item was answered without an outcome"))
        self.remove(file)
        whole = answer if isinstance(answer, RegistrationOut) else None
        result = Registration(
            item.ticket,
            answer.outcome,
            answer.protected,
            whole.replayed if whole else False,
            whole.trade if whole else None,
            kind=whole.kind if whole else None,
        )
        _tell(result)
        return result

    def _kept(
        self,
        item: BatchItemIn,
        file: Entry | None,
        error: DtmsClientError,
        trouble: OutboxUnavailable | None = None,
        *,
        level: int = logging.WARNING,
    ) -> Registration:
        if file is None and self.mode == "on_failure":
            try:
                file = self._write(item)
            except OutboxUnavailable as full:
                trouble = full
        if file is None:
            lost = error if trouble is None else type(trouble)(f"{trouble.detail}; and DTMS: {error.detail}")
            _log.critical("trade %s is neither registered nor stored: %s", item.ticket, lost)
            self.alarm(item.ticket, lost.detail)
            return Registration(item.ticket, "rejected", detail=lost.detail, error=lost)
        if isinstance(error, Rejected):
            if item.ticket not in self._told_to_wait:  # once per outbox: another one's alarm reached another caller
                self._told_to_wait.add(item.ticket)
                _log.error("trade %s waits: %s", item.ticket, error.detail)
                self.alarm(item.ticket, error.detail)
            return Registration(item.ticket, "queued", detail=error.detail, error=error)
        _log.log(level, "trade %s is queued: %s", item.ticket, error.detail)
        return Registration(item.ticket, "queued", detail=error.detail)

    def _rejected(self, item: BatchItemIn, file: Entry | None, error: DtmsClientError) -> Registration:
        if file is not None:
            problem = error.problem.model_dump() if error.problem else {"code": "rejected", "detail": error.detail}
            file.reject(problem)
        _log.error("trade %s is not registered: %s", item.ticket, error.detail)
        self.alarm(item.ticket, error.detail)
        return Registration(item.ticket, "rejected", detail=error.detail, error=error)

    def _put_aside(self, entry: Entry, why: str) -> None:
        _log.error("%s %s; moved to rejected/", entry.path, why)
        entry.reject({"code": "damaged", "detail": why})

    def remove(self, file: Entry | None) -> None:
        """Delete what is settled; a file that cannot be deleted is settled once more later."""
        if file is None:
            return
        try:
            file.remove()
        except OSError as error:
            _log.warning("%s cannot be removed and will be sent again, which is harmless: %s", file.path, error)


class Round:
    """One pass over everything that waits; whoever sends tells it the answers."""

    def __init__(self, outbox: Outbox, first: int = PARCEL) -> None:
        self._outbox = outbox
        self._parcels = outbox.parcels(first)
        self._singles: deque[Parcel] = deque()
        self.stopped_by: DtmsClientError | None = None
        """What ended the pass: the rest would fare no better now."""

    def __iter__(self) -> Iterator[Parcel]:
        while self.stopped_by is None:
            parcel = self._singles.popleft() if self._singles else next(self._parcels, None)
            if parcel is None:
                return
            yield parcel

    def settled(self, parcel: Parcel, answers: Sequence[Answer]) -> None:
        """The parcel was answered."""
        self._outbox.settled(parcel, answers)

    def failed(self, parcel: Parcel, error: DtmsClientError) -> None:
        """The parcel was not: a batch that is refused as a whole is tried item by item, anything else waits."""
        if isinstance(error, Unauthorized):
            self._outbox.failed(parcel, error)  # says so, once per trade
        if not isinstance(error, Rejected) or isinstance(error, Unauthorized):
            self.stopped_by = error
        elif len(parcel.items) > 1:
            self._singles.extend(parcel.singles())
        else:
            self._outbox.failed(parcel, error)


def is_final(error: DtmsClientError) -> bool:
    """Will the same registration never be accepted? Only the service may say so, with a definite answer."""
    if not isinstance(error, Rejected) or isinstance(error, Unauthorized) or error.problem is None:
        return False
    problem = error.problem
    return (
        problem.status in _FINAL and problem.definite and not problem.retryable and problem.code != "not_in_this_mode"
    )


def _tell(result: Registration) -> None:
    """Log the outcome; what concerns every trade is said once per process (R21, R39)."""
    _log.info("trade %s: %s", result.ticket, result.outcome)
    if result.kind == "simulated":
        _once("simulated", logging.WARNING, "SIMULATED: this DTMS guards a simulated account, no real money")
    if result.outcome == "observed":
        _once("observed", logging.WARNING, "DTMS only observes trade %s; it will not act on it", result.ticket)


def _once(key: str, level: int, message: str, *facts: object) -> None:
    if key not in _SAID:
        _SAID.add(key)
        _log.log(level, message, *facts)
