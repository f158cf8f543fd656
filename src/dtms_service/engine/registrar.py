"""Registration: repeats are answered from the book; all that waits at one moment shares one read and one commit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from dtms_service.domain import magic, ownership
from dtms_service.domain.admission import Registration, admit, check, new_trade
from dtms_service.domain.errors import DtmsError, NotAccepting, RegistrationConflict
from dtms_service.domain.hedging import begun_anew
from dtms_service.domain.outcome import Done
from dtms_service.domain.reconcile import alert
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import Event, Mode, Owner, Trade
from dtms_service.domain.unmanaged import UNMANAGED
from dtms_service.domain.values import Deal, Position
from dtms_service.engine.ports import Clock, Terminal
from dtms_service.engine.record import Record

HISTORY_READS = 10
"""Tickets of one round whose deals are read to tell "closed already"; the cycle settles the rest within seconds."""


@dataclass(frozen=True, slots=True)
class Registered:
    """Answer to a registration: ``outcome`` as in INTERFACE 3.2; ``created`` the first time, ``replayed`` later."""

    outcome: str
    protected: bool
    created: bool
    replayed: bool
    trade: Trade


@dataclass(frozen=True, slots=True)
class _Sight:
    """What the terminal showed: positions by ticket and identifier, deals of absent tickets, and the account."""

    positions: Mapping[int, Position] = field(default_factory=dict)
    deals: Mapping[int, Sequence[Deal]] = field(default_factory=dict)
    account: tuple[int, str] | None = None


@dataclass(slots=True)
class _Round:
    """One round of registrations: what was seen, and what is to be stored in one transaction."""

    sight: _Sight
    now: float
    moves_owners: bool = False
    """Whether trades of earlier rounds may change; only while no cycle decides on them."""
    trades: dict[int, Trade] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    by_number: dict[int, int] = field(default_factory=dict)
    """Ticket or identifier -> trade_id of this round, so that a repeat inside one round finds the first."""

    def add(self, trade: Trade, events: Sequence[Event]) -> None:
        """Store ``trade`` with its events at the end of the round."""
        self.trades[trade.trade_id] = trade
        self.by_number[trade.ticket] = trade.trade_id
        if trade.identifier is not None:
            self.by_number[trade.identifier] = trade.trade_id
        self.events.extend(events)


@dataclass(slots=True)
class _Waiting:
    registrations: Sequence[Registration]
    answers: asyncio.Future[list[Registered | DtmsError | None]]
    """None for what moves the owner of a trade and has to wait for the cycle."""


class Registrar:
    """Takes registrations in.

    ``connected`` says whether the terminal may be asked; ``admitted`` is called when trades came in.
    """

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
        meters = self._record.meters
        try:
            answers = await self._answers(registrations)
        except DtmsError as failed:
            meters.registered([failed.code] * len(registrations))
            raise
        meters.registered(a.outcome if isinstance(a, Registered) else a.code for a in answers)
        return answers

    async def _answers(self, registrations: Sequence[Registration]) -> list[Registered | DtmsError]:
        if not self._record.loaded:
            raise NotAccepting
        answers = [self._repeat(registration) for registration in registrations]
        fresh = [r for r, answer in zip(registrations, answers, strict=True) if answer is None]
        if fresh:
            admitted = iter(await self._take_turn(fresh))
            answers = [answer if answer is not None else next(admitted) for answer in answers]
        moving = [r for r, answer in zip(registrations, answers, strict=True) if answer is None]
        if moving:
            moved = iter(await self._move(moving))
            answers = [answer if answer is not None else next(moved) for answer in answers]
        return [answer for answer in answers if answer is not None]

    async def adopt(self, registrations: Sequence[Registration], facts: Mapping[str, str]) -> None:
        """Register positions of the last good snapshot that nobody registered; the terminal is not asked (R49).

        What somebody registered meanwhile stays as it is. ``facts`` are stored in the same transaction. Raises
        ``StorageBusy``, ``StorageFailed``.
        """
        async with self._turn:
            book = self._record.book
            if book.account is None:
                return
            positions = {position.ticket: position for position in book.positions.values()}
            sight = _Sight(positions, {}, (book.account.login, book.account.server))
            entries = _Round(sight, self._clock.now())
            for wanted in registrations:
                if wanted.ticket not in positions:
                    continue
                known = book.find(wanted.ticket) or book.find(positions[wanted.ticket].identifier)
                if known is not None and not known.may_be_registered_again:
                    continue
                answer = self._one(wanted, entries)
                if answer is None:
                    continue
                adopted = answer.trade
                detail = f"{adopted.side} {adopted.symbol} is registered for {adopted.owner.value}: {wanted.source}"
                entries.events.append(alert(adopted, entries.now, "unmanaged_adopted", detail))
            await self._record.write(trades=list(entries.trades.values()), events=entries.events, facts=facts)
        if entries.trades:
            self._admitted()

    def _repeat(self, registration: Registration) -> Registered | DtmsError | None:
        """The answer for a trade we know, None for a new one or one whose owner has to change first."""
        trade = self._record.book.find(registration.ticket)
        if trade is None or trade.may_be_registered_again or self._moves_owner(trade, registration):
            return None
        try:
            check(registration, trade.symbol, trade.side)
        except RegistrationConflict as conflict:
            return None if trade.state is TradeState.PENDING else conflict  # the terminal decides between two claims
        return self._answer(trade, created=False)

    def _moves_owner(self, trade: Trade, registration: Registration) -> bool:
        """Whether a later registration says whose the trade is.

        One that names a Universal Manager strategy moves an untouched trade to it (R22); the first one of a trade that
        nobody had registered moves it to whoever it names, unless it was released (R28).
        """
        if trade.state.final:
            return False
        if trade.source == UNMANAGED and trade.managed:
            return True
        return self._owner_wanted(registration) is Owner.UNIVERSAL_MANAGER and trade.owner is Owner.DTMS

    def _owner_wanted(self, registration: Registration) -> Owner:
        return ownership.owner_of(registration.managed_by, registration.strategy_type, self._dtms_strategies)

    async def _take_turn(self, fresh: Sequence[Registration]) -> list[Registered | DtmsError | None]:
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
        sight = await self._look([r for waiting in everybody for r in waiting.registrations])
        entries = _Round(sight, self._clock.now())
        rounds = [[self._answered(r, entries) for r in waiting.registrations] for waiting in everybody]
        try:
            await self._store(entries)
        except DtmsError as failed:
            for waiting in everybody:
                waiting.answers.set_exception(failed)
            return
        for waiting, answers in zip(everybody, rounds, strict=True):
            waiting.answers.set_result(answers)

    async def _move(self, moving: Sequence[Registration]) -> list[Registered | DtmsError | None]:
        """A round of its own for trades that change their owner: it alone waits for the cycle, which decides on them.

        The lock comes before the turn, so that nobody's turn lasts as long as a cycle.
        """
        sight = await self._look(moving)
        async with self._record.lock, self._turn:
            entries = _Round(sight, self._clock.now(), moves_owners=True)
            answers = [self._answered(registration, entries) for registration in moving]
            await self._store(entries)
        return answers

    async def _store(self, entries: _Round) -> None:
        await self._record.write(trades=list(entries.trades.values()), events=entries.events)
        if entries.trades:
            self._admitted()

    async def _look(self, registrations: Sequence[Registration]) -> _Sight:
        """What the terminal shows of these tickets; nothing while it cannot be asked."""
        account = self._record.book.account
        if account is None or not self._connected():
            return _Sight()
        read = await self._terminal.positions()
        if not isinstance(read, Done):
            return _Sight()
        positions = {position.identifier: position for position in read.value}
        positions.update({position.ticket: position for position in read.value})
        deals: dict[int, Sequence[Deal]] = {}
        for ticket in [r.ticket for r in registrations if r.ticket not in positions][:HISTORY_READS]:
            history = await self._terminal.deals_of(ticket)
            if isinstance(history, Done):
                deals[ticket] = history.value
        return _Sight(positions, deals, (account.login, account.server))

    def _answered(self, registration: Registration, entries: _Round) -> Registered | DtmsError | None:
        try:
            return self._one(registration, entries)
        except DtmsError as refused:
            return refused

    def _one(self, registration: Registration, entries: _Round) -> Registered | None:
        """The answer, or None for a change of owner that this round may not make."""
        position = entries.sight.positions.get(registration.ticket)
        known = self._known(registration, position, entries)
        if known is not None and not known.may_be_registered_again:
            _check_known(registration, known, position, entries.sight)
            if self._moves_owner(known, registration):
                if not entries.moves_owners and known.trade_id not in entries.trades:
                    return None
                known, events = _handed_over(known, registration, self._owner_wanted(registration), entries.now)
                entries.add(known, events)
            return self._answer(known, created=False)
        if position is not None:
            check(registration, position.symbol, position.side)
            self._not_our_own(registration, position)
        owner = self._owner_wanted(registration)
        never_seen = known is not None and known.state is TradeState.REJECTED
        trade_id = known.trade_id if known is not None and never_seen else self._record.next_trade_id()
        account = entries.sight.account
        pending = new_trade(registration, trade_id, owner, account, entries.now)
        deals = entries.sight.deals.get(registration.ticket)
        admitted = admit(pending, position, deals, account or (0, ""), entries.now)
        entries.add(admitted.trade, admitted.events)
        return self._answer(admitted.trade, created=True)

    def _not_our_own(self, registration: Registration, position: Position) -> None:
        """Raise ``RegistrationConflict`` for a hedge; a bridge may have zeroed its magic (R29)."""
        hedges = {trade.hedge.identifier for trade in self._record.book.watched.values() if trade.hedge is not None}
        if magic.ours(position.magic) or position.identifier in hedges:
            detail = f"ticket {registration.ticket} is a position that DTMS opened itself; it is not registered twice"
            raise RegistrationConflict(detail, claimed=dict(registration.claims()), terminal={"magic": position.magic})

    def _known(self, registration: Registration, position: Position | None, entries: _Round) -> Trade | None:
        numbers = [registration.ticket]
        if position is not None:
            numbers += [position.identifier, position.ticket]
        for number in numbers:
            if number in entries.by_number:
                return entries.trades[entries.by_number[number]]
        return next((found for n in numbers if (found := self._record.book.find(n)) is not None), None)

    def _answer(self, trade: Trade, *, created: bool) -> Registered:
        protected = ownership.protected(trade, self._mode, halted=self._record.standing.halted)
        outcome = _outcome(trade, created=created, protected=protected)
        return Registered(outcome, protected, created, not created, trade)


def _check_known(registration: Registration, known: Trade, position: Position | None, sight: _Sight) -> None:
    """Raise for a contradiction. What is PENDING is itself a claim: the terminal decides, as soon as it can be asked.

    Raises ``RegistrationConflict``, and ``NotAccepting`` while two claims contradict each other and nobody can say.
    """
    if known.state is TradeState.PENDING and position is not None:
        check(registration, position.symbol, position.side)
        return
    try:
        check(registration, known.symbol, known.side)
    except RegistrationConflict as conflict:
        if known.state is TradeState.PENDING and sight.account is None:
            detail = (
                f"ticket {known.ticket} waits as {known.side} {known.symbol} and is now registered otherwise; the "
                f"terminal cannot be asked which is true, send it again"
            )
            raise NotAccepting(detail) from conflict
        raise


def _handed_over(trade: Trade, registration: Registration, owner: Owner, now: float) -> tuple[Trade, list[Event]]:
    strategy = registration.strategy_type or trade.strategy_type
    source = registration.source or "caller"
    if trade.source == UNMANAGED:
        trade = replace(trade, source=source)
    if owner is trade.owner:
        return replace(trade, strategy_type=strategy), []
    if trade.stop_set_by is not None or any(o.attempts for o in trade.obligations) or trade.closed_by_us:
        detail = (
            f"DTMS has acted on ticket {trade.ticket} already; hand it over with "
            f"PUT /dtms/trades/{trade.ticket}/owner instead of a second registration"
        )
        raise RegistrationConflict(detail, claimed={"owner": owner.value}, terminal={"owner": trade.owner.value})
    body = {"from": trade.owner.value, "to": owner.value, "by": source}
    event = Event(time=now, kind="owner_changed", trade_id=trade.trade_id, ticket=trade.ticket, body=body)
    given = replace(trade, owner=owner, strategy_type=strategy)
    return begun_anew(given, now) if owner is Owner.DTMS else given, [event]


def _outcome(trade: Trade, *, created: bool, protected: bool) -> str:
    if trade.state is TradeState.CLOSED:
        return "already_closed"
    if trade.verified_at is None:
        return "pending_verification"
    if not protected:
        return "observed"
    return "protected" if created else "already_protected"
