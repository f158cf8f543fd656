"""Registration: repeats are answered from the book; everything that waits at one moment shares one read and one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from dtms_service.domain import magic, ownership
from dtms_service.domain.admission import Admitted, Registration, admit, check, new_trade
from dtms_service.domain.errors import DtmsError, NotAccepting, RegistrationConflict
from dtms_service.domain.outcome import Done
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import Event, Mode, Owner, Trade
from dtms_service.domain.values import Deal, Position
from dtms_service.engine.ports import Clock, Terminal
from dtms_service.engine.record import Record

HISTORY_READS = 10
"""Tickets of one round whose deals are read to tell "closed already"; the cycle settles the rest within seconds."""


@dataclass(frozen=True, slots=True)
class Registered:
    """Answer to a registration: ``outcome`` as in INTERFACE 3.2, ``created`` for a first one, ``replayed`` for a repeat."""

    outcome: str
    protected: bool
    created: bool
    replayed: bool
    trade: Trade


@dataclass(slots=True)
class _Waiting:
    registrations: Sequence[Registration]
    answers: asyncio.Future[list[Registered | DtmsError]]


class Registrar:
    """Takes registrations in. ``connected`` says whether the terminal may be asked; ``admitted`` is called when trades came in."""

    def __init__(
        self,
        *,
        terminal: Terminal,
        record: Record,
        clock: Clock,
        mode: Mode,
        dtms_strategies: tuple[str, ...],
        connected: Callable[[], bool],
        admitted: Callable[[], None],
    ) -> None:
        self._terminal = terminal
        self._record = record
        self._clock = clock
        self._mode = mode
        self._dtms_strategies = dtms_strategies
        self._connected = connected
        self._admitted = admitted
        self._waiting: list[_Waiting] = []
        self._turn = asyncio.Lock()

    async def register(self, registrations: Sequence[Registration]) -> list[Registered | DtmsError]:
        """Answer each registration, in order. Raises ``NotAccepting``, ``StorageBusy``, ``StorageFailed``."""
        if not self._record.loaded:
            raise NotAccepting
        answers = [self._repeat(registration) for registration in registrations]
        fresh = [r for r, answer in zip(registrations, answers, strict=True) if answer is None]
        if fresh:
            admitted = iter(await self._take_turn(fresh))
            answers = [answer if answer is not None else next(admitted) for answer in answers]
        return [answer for answer in answers if answer is not None]

    def _repeat(self, registration: Registration) -> Registered | DtmsError | None:
        """The answer for a trade we know, None for a new one or one whose owner has to change first."""
        trade = self._record.book.find(registration.ticket)
        if trade is None or trade.state is TradeState.REJECTED or self._moves_owner(trade, registration):
            return None
        try:
            check(registration, trade.symbol, trade.side)
        except RegistrationConflict as conflict:
            return conflict
        return self._answer(trade, created=False)

    def _moves_owner(self, trade: Trade, registration: Registration) -> bool:
        """A later registration that names a Universal Manager strategy moves an untouched trade to it (R22)."""
        wanted = ownership.owner_of(registration.managed_by, registration.strategy_type, self._dtms_strategies)
        return wanted is Owner.UNIVERSAL_MANAGER and trade.owner is Owner.DTMS and not trade.state.final

    async def _take_turn(self, fresh: Sequence[Registration]) -> list[Registered | DtmsError]:
        """Whoever gets the turn serves everybody who waits by then; the others find their answer ready."""
        mine = _Waiting(fresh, asyncio.get_running_loop().create_future())
        self._waiting.append(mine)
        async with self._turn:
            if not mine.answers.done():
                everybody, self._waiting = self._waiting, []
                try:
                    await self._serve(everybody)
                finally:
                    for left in everybody:
                        if not left.answers.done():
                            left.answers.set_exception(NotAccepting("the registration was not stored; send it again"))
        return await mine.answers

    async def _serve(self, everybody: Sequence[_Waiting]) -> None:
        positions, deals, account = await self._look([r for waiting in everybody for r in waiting.registrations])
        now = self._clock.now()
        new: dict[int, Trade] = {}
        events: list[Event] = []
        rounds: list[list[Registered | DtmsError]] = []
        for waiting in everybody:
            answers: list[Registered | DtmsError] = []
            for registration in waiting.registrations:
                try:
                    answers.append(self._one(registration, positions, deals, account, now, new, events))
                except DtmsError as refused:
                    answers.append(refused)
            rounds.append(answers)
        try:
            await self._record.write(trades=list(new.values()), events=events)
        except DtmsError as failed:
            for waiting in everybody:
                waiting.answers.set_exception(failed)
            return
        for waiting, answers in zip(everybody, rounds, strict=True):
            waiting.answers.set_result(answers)
        if new:
            self._admitted()

    async def _look(
        self, registrations: Sequence[Registration]
    ) -> tuple[Mapping[int, Position], Mapping[int, Sequence[Deal]], tuple[int, str] | None]:
        """What the terminal shows of these tickets: positions by ticket and identifier, deals of those that are absent."""
        account = self._record.book.account
        if account is None or not self._connected():
            return {}, {}, None
        read = await self._terminal.positions()
        if not isinstance(read, Done):
            return {}, {}, None
        positions = {position.identifier: position for position in read.value}
        positions.update({position.ticket: position for position in read.value})
        deals: dict[int, Sequence[Deal]] = {}
        for ticket in [r.ticket for r in registrations if r.ticket not in positions][:HISTORY_READS]:
            history = await self._terminal.deals_of(ticket)
            if isinstance(history, Done):
                deals[ticket] = history.value
        return positions, deals, (account.login, account.server)

    def _one(
        self,
        registration: Registration,
        positions: Mapping[int, Position],
        deals: Mapping[int, Sequence[Deal]],
        account: tuple[int, str] | None,
        now: float,
        new: dict[int, Trade],
        events: list[Event],
    ) -> Registered:
        position = positions.get(registration.ticket)
        known = self._known(registration, position, new)
        if known is not None and known.state is not TradeState.REJECTED:
            check(registration, known.symbol, known.side)
            if self._moves_owner(known, registration):
                known = self._handed_over(known, registration, now, events)
                new[known.trade_id] = known
            return self._answer(known, created=False)
        if position is not None:
            check(registration, position.symbol, position.side)
            _not_our_own(registration, position)
        owner = ownership.owner_of(registration.managed_by, registration.strategy_type, self._dtms_strategies)
        trade_id = known.trade_id if known is not None else self._record.next_trade_id()
        pending = new_trade(registration, trade_id, owner, account, now)
        admitted = admit(pending, position, deals.get(registration.ticket), account or (0, ""), now)
        new[trade_id] = admitted.trade
        events.extend(_events(admitted))
        return self._answer(admitted.trade, created=True)

    def _known(self, registration: Registration, position: Position | None, new: Mapping[int, Trade]) -> Trade | None:
        numbers = {registration.ticket} | ({position.identifier, position.ticket} if position is not None else set())
        for trade in new.values():
            if trade.ticket in numbers or trade.identifier in numbers:
                return trade
        return next((found for n in numbers if (found := self._record.book.find(n)) is not None), None)

    def _handed_over(self, trade: Trade, registration: Registration, now: float, events: list[Event]) -> Trade:
        if trade.stop_set_by is not None or any(o.attempts for o in trade.obligations) or trade.closed_by_us:
            detail = (
                f"DTMS has acted on ticket {trade.ticket} already; hand it over with "
                f"PUT /dtms/trades/{trade.ticket}/owner instead of a second registration"
            )
            raise RegistrationConflict(detail, claimed={"owner": "universal_manager"}, terminal={"owner": "dtms"})
        body = {"from": trade.owner.value, "to": Owner.UNIVERSAL_MANAGER.value, "by": registration.source or "caller"}
        events.append(Event(time=now, kind="owner_changed", trade_id=trade.trade_id, ticket=trade.ticket, body=body))
        strategy = registration.strategy_type or trade.strategy_type
        return replace(trade, owner=Owner.UNIVERSAL_MANAGER, strategy_type=strategy)

    def _answer(self, trade: Trade, *, created: bool) -> Registered:
        protected = ownership.protected(trade, self._mode)
        return Registered(_outcome(trade, created, protected), protected, created, not created, trade)


def _outcome(trade: Trade, created: bool, protected: bool) -> str:
    if trade.state is TradeState.CLOSED:
        return "already_closed"
    if trade.verified_at is None:
        return "pending_verification"
    if not protected:
        return "observed"
    return "protected" if created else "already_protected"


def _not_our_own(registration: Registration, position: Position) -> None:
    if magic.ours(position.magic):
        detail = f"ticket {registration.ticket} is a position that DTMS opened itself; it is not registered twice"
        raise RegistrationConflict(detail, claimed=dict(registration.claims()), terminal={"magic": position.magic})


def _events(admitted: Admitted) -> Sequence[Event]:
    return admitted.events
