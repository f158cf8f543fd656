"""What keeps a death from losing or doubling anything, each to be switched off: then the judge must object.

A table of replacements by name; every one takes the real function and returns what stands in its place.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dtms_client.spool import Entry
from dtms_service.domain.record import Batch
from dtms_service.domain.trade import IntentState

Real = Callable[..., Any]


def _orders_are_not_written_first(real: Real) -> Real:
    """The commit before each order forgets the order; that of its answer, which a death may prevent, is left."""

    def commit(self: Any, batches: Sequence[Batch]) -> Any:
        return real(
            self,
            [
                replace(batch, intents=tuple(i for i in batch.intents if i.state is not IntentState.SENDING))
                for batch in batches
            ],
        )

    return commit


def _answers_come_before_the_commit(real: Real) -> Real:
    """What is registered is written with whatever is written next."""
    held: list[Batch] = []

    def commit(self: Any, batches: Sequence[Batch]) -> Any:
        waiting = [*held]
        held.clear()
        held.extend(batch for batch in batches if any(event.kind == "registered" for event in batch.events))
        now = [Batch() if batch in held else batch for batch in batches]
        return real(self, [*waiting, *now])[len(waiting) :]

    return commit


def _files_are_written_later(_: Real) -> Real:
    """A caller is told that its registration is safe, and it is not on disk."""

    def write(self: Any, body: Mapping[str, Any], url: str | None = None) -> Entry:
        return Entry(Path(self.folder) / "new" / "not-there.json")

    return write


def _every_lock_is_free(_: Real) -> Real:
    """State folder, ledger and account: whoever wants a lock has it."""

    def taken(_: int) -> bool:
        return True

    return taken


@dataclass(frozen=True, slots=True)
class Protection:
    """``target``: ``module:Class.method`` or ``module:function``, in the notation of the crash points."""

    target: str
    without: Callable[[Real], Real]


PROTECTIONS: Mapping[str, Protection] = {
    "an order is committed before it is sent": Protection(
        "dtms_service.ledger.writer:Writer.commit", _orders_are_not_written_first
    ),
    "a registration is committed before its answer": Protection(
        "dtms_service.ledger.writer:Writer.commit", _answers_come_before_the_commit
    ),
    "a registration is on disk before its caller goes on": Protection(
        "dtms_client.spool:Spool.write", _files_are_written_later
    ),
    "a lock has one holder": Protection("dtms_service.lock:_taken", _every_lock_is_free),
}


def switch_off(name: str) -> None:
    """Do without one of them in this process."""
    module, _, path = PROTECTIONS[name].target.partition(":")
    holder, _, method = path.rpartition(".")
    owner: Any = importlib.import_module(module)
    owner = getattr(owner, holder) if holder else owner
    setattr(owner, method, PROTECTIONS[name].without(getattr(owner, method)))
