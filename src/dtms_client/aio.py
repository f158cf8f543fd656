"""The client for programs with an event loop. The twin of `sync`; only the waiting differs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

from tenacity import AsyncRetrying

from dtms_client import calls
from dtms_client.announce import Opening, announced
from dtms_client.calls import Call
from dtms_client.defence import ASKING_AS
from dtms_client.delivery import Registration, Round, combined
from dtms_client.errors import DtmsClientError, NotFound
from dtms_client.http import LoopPools, asend
from dtms_client.retry import Policy
from dtms_client.wire import BatchItemIn, HandedOverOut, MayModifyOut, Ready, TradeList, TradeOut
from dtms_client.wiring import POLL_S, Client, Patience, chunks, meant, meant_batch, program, regrouped

T = TypeVar("T")


class AsyncDtmsClient(Client):
    """Talks to the one DTMS from a running event loop; also from one loop after the other. Arguments as `DtmsClient`.

    Storing a registration costs the loop one fsync (about 1 ms); everything else is awaited. Registrations that could
    not be delivered are handed to the process's background thread, not to a task that dies with the loop.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._pools = LoopPools()

    async def register(self, ticket: object, trade_data: object = None, **fields: Any) -> Registration:
        """Put a position under protection; see `DtmsClient.register`."""
        return combined(await self._deliver(meant(ticket, trade_data, fields).items))

    async def register_batch(self, items: Iterable[Mapping[str, Any] | BatchItemIn]) -> list[Registration]:
        """Register many, one result per item; an item that is refused has ``outcome="rejected"`` and its ``error``."""
        batch = meant_batch(items)
        return regrouped(batch, [done for chunk in chunks(batch) for done in await self._deliver(chunk)])

    @asynccontextmanager
    async def protecting(
        self,
        symbol: str,
        *,
        magic: int,
        strategy_type: str | None = None,
        managed_by: str | None = None,
        source: str | None = None,
    ) -> AsyncIterator[Opening[Awaitable[Registration]]]:
        """Announce on disk that an order may go out; see `DtmsClient.protecting`. Costs the loop one fsync."""
        shared = {"strategy_type": strategy_type, "managed_by": managed_by, "source": source}
        with announced(self.outbox, symbol, magic, shared) as said:

            async def register(ticket: object, trade_data: object, **fields: Any) -> Registration:
                done = await self.register(ticket, trade_data, **fields)
                said.settle()
                return done

            yield Opening(register, {**shared, "symbol": symbol}, announced=said.on_disk)

    async def release(self, ticket: int, *, reason: str = "", by: str | None = None) -> HandedOverOut:
        """Hand a trade to people for good (R28). Raises `NotFound`, `Conflict`."""
        return await self.call(calls.release(ticket, reason, by or program() or ""))

    async def hand_over(self, ticket: int, *, owner: str, reason: str = "", by: str | None = None) -> HandedOverOut:
        """Give a trade to another manager; see `DtmsClient.hand_over`."""
        return await self.call(calls.hand_over(ticket, owner, reason, by or program() or ""))

    async def may_modify(self, ticket: int, *, manager: str, action: str = "") -> MayModifyOut:
        """Ask whether ``manager`` may change the position now; ask right before each change. Raises `NotFound`."""
        return await self.call(calls.may_modify(ticket, manager, action), self._asking)

    async def is_defensive(self, ticket: int) -> bool:
        """Tell whether DTMS defends this position now; see `DtmsClient.is_defensive`."""
        known = self._answers.fresh(ticket)
        if known is not None:
            return known
        try:
            said = (await self.may_modify(ticket, manager=ASKING_AS)).defensive
        except NotFound:
            said = False
        except DtmsClientError as error:
            return self._answers.missed(ticket, error)
        return self._answers.heard(ticket, defensive=said)

    async def trade(self, ticket: int) -> TradeOut:
        """Read one trade. Raises `NotFound`."""
        return await self.call(calls.trade(ticket))

    async def trades(self, **filters: Any) -> TradeList:
        """List trades; filters ``state, symbol, owner, include_closed, limit, cursor``."""
        return await self.call(calls.trades(filters))

    async def status(self) -> dict[str, Any]:
        """Read the status envelope: ``dtms_status``, ``phase``, ``mode``, ``counts`` and more."""
        return await self.call(calls.status())

    async def actions(self, **filters: Any) -> list[dict[str, Any]]:
        """List actions; filters ``ticket, limit, since``."""
        return await self.call(calls.actions(filters))

    async def explain(self, ticket: int) -> dict[str, Any]:
        """Ask why a trade is in its state."""
        return await self.call(calls.explain(ticket))

    async def history(self, ticket: int) -> list[dict[str, Any]]:
        """Read every event of a trade, oldest first."""
        return await self.call(calls.history(ticket))

    async def wait_ready(self, timeout: float = 60.0) -> Ready:  # noqa: ASYNC109 - the name is part of the interface
        """Wait until DTMS is ready. Raises `NotReady` or `Unreachable` after ``timeout`` s, `NotDtms` at once."""
        patience = Patience(timeout, self.clock)
        while True:
            found = await self._look(patience.call_s)
            pause = patience.pause(found)
            if pause is None and isinstance(found, Ready):
                return found
            await self.clock.asleep(pause or 0.0)

    async def flush(self, timeout: float = 2.0) -> int:  # noqa: ASYNC109 - the name is part of the interface
        """Deliver what waits on disk, for at most ``timeout`` s. Returns how many registrations still wait."""
        clock = self.clock
        until = clock.monotonic() + timeout
        while True:
            await self._drained(until)
            left = sum(1 for _ in self.outbox.waiting())  # also what was answered "not now" on its own
            if not left or clock.monotonic() + POLL_S >= until:
                return left
            await clock.asleep(POLL_S)

    async def call(self, call: Call[T], policy: Policy | None = None) -> T:
        """Send one `Call`, repeated as the policy allows: the client's own, unless another is given."""
        attempts = self._attempts(repeatable=call.repeatable, policy=policy)
        retrying = AsyncRetrying(sleep=self.clock.asleep, **attempts.options())

        async def once() -> T:
            return call.answer(await asend(self.target, self._pools, call, attempts.left_s))

        return await retrying(once)

    async def close(self) -> None:
        """Close the running loop's connections. What is queued stays with the process's background thread."""
        await self._pools.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def _deliver(self, items: tuple[BatchItemIn, ...]) -> list[Registration]:
        with self.outbox.packed(items) as parcel:
            try:
                answers = await self.call(parcel.call)
            except DtmsClientError as error:
                results = self.outbox.failed(parcel, error)
            else:
                results = self.outbox.settled(parcel, answers)
        return self._watched(results)

    async def _drained(self, until: float) -> None:
        work = Round(self.outbox)
        for parcel in work:
            left = until - self.clock.monotonic()
            if left <= 0:
                break
            try:
                answers = parcel.call.answer(await asend(self.target, self._pools, parcel.call, left))
            except DtmsClientError as error:
                work.failed(parcel, error)
            else:
                work.settled(parcel, answers)

    async def _look(self, seconds: float) -> Ready | DtmsClientError:
        call = calls.ready()
        try:
            return call.answer(await asend(self.target, self._pools, call, seconds))
        except DtmsClientError as error:
            return error
