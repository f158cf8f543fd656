"""The client for programs without an event loop. The twin of `aio`; only the waiting differs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from threading import Thread
from types import TracebackType
from typing import Any, Self, TypeVar

from tenacity import Retrying

from dtms_client import calls
from dtms_client.announce import Opening, announced
from dtms_client.calls import Call
from dtms_client.defence import ASKING_AS
from dtms_client.delivery import Registration, combined
from dtms_client.errors import DtmsClientError, NotFound
from dtms_client.flusher import drain
from dtms_client.http import send
from dtms_client.retry import Policy
from dtms_client.wire import BatchItemIn, HandedOverOut, MayModifyOut, Ready, TradeList, TradeOut
from dtms_client.wiring import POLL_S, Client, Patience, chunks, meant, meant_batch, program, regrouped

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
        self.flusher.watch(self.outbox)
        return combined(results)

    def register_batch(self, items: Iterable[Mapping[str, Any] | BatchItemIn]) -> list[Registration]:
        """Register many, one result per item; an item that is refused has ``outcome="rejected"`` and its ``error``."""
        batch = meant_batch(items)
        return regrouped(batch, [done for chunk in chunks(batch) for done in self._deliver(chunk)])

    @contextmanager
    def protecting(
        self,
        symbol: str,
        *,
        magic: int,
        strategy_type: str | None = None,
        managed_by: str | None = None,
        source: str | None = None,
    ) -> Iterator[Opening[Registration]]:
        """Announce on disk that an order with this ``magic`` may go out; ``opened()`` inside registers what came of it.

        Should the program die in between, the service finds the position by symbol and magic. The other arguments are
        those of the registration. Raises `Invalid` for a magic that is not positive.
        """
        shared = {"strategy_type": strategy_type, "managed_by": managed_by, "source": source}
        with announced(self.outbox, symbol, magic, shared) as said:

            def register(ticket: object, trade_data: object, **fields: Any) -> Registration:
                done = self.register(ticket, trade_data, **fields)
                said.settle()
                return done

            yield Opening(register, {**shared, "symbol": symbol}, announced=said.on_disk)

    def release(self, ticket: int, *, reason: str = "", by: str | None = None) -> HandedOverOut:
        """Hand a trade to people for good (R28). Raises `NotFound`, `Conflict`."""
        return self.call(calls.release(ticket, reason, by or program() or ""))

    def hand_over(self, ticket: int, *, owner: str, reason: str = "", by: str | None = None) -> HandedOverOut:
        """Give a trade to another manager: ``dtms``, ``universal_manager``, ``intelligent_exits`` or ``manual``.

        Raises `NotFound`, `Conflict` while it is closed or an order of it has no answer yet.
        """
        return self.call(calls.hand_over(ticket, owner, reason, by or program() or ""))

    def may_modify(self, ticket: int, *, manager: str, action: str = "") -> MayModifyOut:
        """Ask whether ``manager`` may change the position now; ask right before each change. Raises `NotFound`."""
        return self.call(calls.may_modify(ticket, manager, action), self._asking)

    def is_defensive(self, ticket: int) -> bool:
        """Tell whether DTMS defends this position now (R25), so that others keep their hands off it.

        False also for a trade that it does not know. An answer is good for 10 s; when DTMS does not answer, the last
        known one for 30 s, then False, and the log says so. Takes at most 2 s. Raises nothing of `DtmsClientError`.
        """
        known = self._answers.fresh(ticket)
        if known is not None:
            return known
        try:
            said = self.may_modify(ticket, manager=ASKING_AS).defensive
        except NotFound:
            said = False
        except DtmsClientError as error:
            return self._answers.missed(ticket, error)
        return self._answers.heard(ticket, defensive=said)

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
        while True:
            drain(self.outbox, until, clock)
            left = sum(1 for _ in self.outbox.waiting())  # also what was answered "not now" on its own
            if not left or clock.monotonic() + POLL_S >= until:
                return left
            clock.sleep(POLL_S)

    def call(self, call: Call[T], policy: Policy | None = None) -> T:
        """Send one `Call`, repeated as the policy allows: the client's own, unless another is given."""
        attempts = self._attempts(repeatable=call.repeatable, policy=policy)
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
