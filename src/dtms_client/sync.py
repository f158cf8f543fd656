"""The client for programs without an event loop. The twin of `aio`; only the waiting differs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from threading import Thread
from types import TracebackType
from typing import Any, Self, TypeVar

from tenacity import Retrying

from dtms_client import calls
from dtms_client.calls import Call
from dtms_client.delivery import Registration, combined
from dtms_client.errors import DtmsClientError
from dtms_client.flusher import FLUSHER, drain
from dtms_client.http import send
from dtms_client.wire import BatchItemIn, Ready, TradeList, TradeOut
from dtms_client.wiring import POLL_S, Client, Patience, chunks, meant, meant_batch, regrouped

T = TypeVar("T")


class DtmsClient(Client):
    """Talks to the one DTMS. Cheap to make, safe to share between threads and to use after a fork.

    Arguments: see `wiring.Client`. Every method raises `DtmsClientError`; see `errors` for the tree.
    """

    def register(self, ticket: object, trade_data: object = None, **fields: Any) -> Registration:
        """Put a position under protection. Stored on disk first, so neither a crash nor an outage loses it.

        ``trade_data`` is whatever the caller has (see `register.understand`); ``fields`` win over it. Raises `Rejected`
        and its kinds when DTMS decided against it, `OutboxUnavailable` when it could be neither stored nor delivered;
        everything else that goes wrong answers ``queued``.
        """
        return combined(self._deliver(meant(ticket, trade_data, fields).items))

    def enqueue(self, ticket: object, trade_data: object = None, **fields: Any) -> Registration:
        """Store a registration and let the background thread deliver it: for callers inside a running event loop."""
        items = meant(ticket, trade_data, fields).items
        with self.outbox.packed(items) as parcel:
            results = self.outbox.handed_over(parcel)
        if any(result.error is not None for result in results):  # not on disk: at least try to reach DTMS
            Thread(target=self._deliver, args=(items,), name="dtms-client-last-resort", daemon=True).start()
        FLUSHER.watch(self.outbox)
        return combined(results)

    def register_batch(self, items: Iterable[Mapping[str, Any] | BatchItemIn]) -> list[Registration]:
        """Register many, one result per item; an item that is refused has ``outcome="rejected"`` and its ``error``."""
        batch = meant_batch(items)
        return regrouped(batch, [done for chunk in chunks(batch) for done in self._deliver(chunk)])

    def trade(self, ticket: int) -> TradeOut:
        """Read one trade. Raises `NotFound`."""
        return self.call(calls.trade(ticket))

    def trades(self, **filters: Any) -> TradeList:
        """List trades; filters ``state, symbol, owner, include_closed, limit, cursor``."""
        return self.call(calls.trades(filters))

    def status(self) -> dict[str, Any]:
        """Read the status envelope: ``dtms_status``, ``phase``, ``mode``, ``counts`` and more."""
        return self.call(calls.status())

    def actions(self, **filters: Any) -> list[dict[str, Any]]:
        """List actions; filters ``ticket, limit, since``."""
        return self.call(calls.actions(filters))

    def explain(self, ticket: int) -> dict[str, Any]:
        """Ask why a trade is in its state."""
        return self.call(calls.explain(ticket))

    def history(self, ticket: int) -> list[dict[str, Any]]:
        """Read every event of a trade, oldest first."""
        return self.call(calls.history(ticket))

    def wait_ready(self, timeout: float = 60.0) -> Ready:
        """Wait until DTMS is ready. Raises `NotReady` or `Unreachable` after ``timeout`` s, `NotDtms` at once."""
        patience = Patience(timeout, self.clock)
        while True:
            found = self._look(patience.call_s)
            pause = patience.pause(found)
            if pause is None and isinstance(found, Ready):
                return found
            self.clock.sleep(pause or 0.0)

    def flush(self, timeout: float = 2.0) -> int:
        """Deliver what waits on disk, for at most ``timeout`` s. Returns how many registrations still wait."""
        clock = self.clock
        until = clock.monotonic() + timeout
        while drain(self.outbox, until, clock) is not None and clock.monotonic() + POLL_S < until:
            clock.sleep(POLL_S)
        return sum(1 for _ in self.outbox.waiting())

    def call(self, call: Call[T]) -> T:
        """Send one `Call`, repeated as the policy allows."""
        attempts = self._attempts(repeatable=call.repeatable)
        retrying = Retrying(sleep=self.clock.sleep, **attempts.options())
        return retrying(lambda: call.answer(send(self.target, call, attempts.left_s)))

    def close(self) -> None:
        """Nothing is held: connections belong to the process, registrations to the disk. Exists for symmetry."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _deliver(self, items: tuple[BatchItemIn, ...]) -> list[Registration]:
        with self.outbox.packed(items) as parcel:
            try:
                answers = self.call(parcel.call)
            except DtmsClientError as error:
                results = self.outbox.failed(parcel, error)
            else:
                results = self.outbox.settled(parcel, answers)
        return self._watched(results)

    def _look(self, seconds: float) -> Ready | DtmsClientError:
        call = calls.ready()
        try:
            return call.answer(send(self.target, call, seconds))
        except DtmsClientError as error:
            return error
