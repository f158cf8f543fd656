"""What people and managers order: pause, halt, flatten, news, hand-over, release. Stored before it counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

from dtms_service.domain import control, effects, ownership
from dtms_service.domain.control import FLATTEN, News, Standing, Verb
from dtms_service.domain.errors import RegistrationConflict
from dtms_service.domain.hedging import begun_anew, closing_of_hedge
from dtms_service.domain.parameters import Parameters
from dtms_service.domain.policy import owe
from dtms_service.domain.reconcile import alert
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import Event, Mode, ObligationKind, ObligationStatus, Owner, Trade
from dtms_service.domain.unmanaged import UNMANAGED
from dtms_service.engine.ports import Clock
from dtms_service.engine.record import Record, fact_of

SILENT_S = 600.0
"""Seconds in danger after which an owner who neither asked nor moved the stop is called silent (R26)."""
_DANGER = frozenset({TradeState.WARNING_L2, TradeState.HEDGED, TradeState.RECOVERING})


@dataclass(frozen=True, slots=True)
class Ordered:
    """What an order led to: the standing after it; for ``flatten`` the tickets, and why some were left alone."""

    standing: Standing
    tickets: tuple[int, ...] = ()
    refused: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class HandedOver:
    """A trade after a change of its owner; ``unwinding`` while a hedge of ours is being closed first."""

    trade: Trade
    unwinding: bool


class Operating:
    """Carries out orders. ``act`` asks for a cycle at once.

    The standing changes also while a cycle runs: what it has not sent yet then obeys it. Trades change between two
    cycles only.
    """

    def __init__(
        self,
        *,
        record: Record,
        clock: Clock,
        mode: Mode,
        parameters: Parameters,
        act: Callable[[], None],
        watching: Callable[[], bool],
    ) -> None:
        """``watching`` says whether the terminal is in sight: what nobody sees, nobody defends."""
        self._record = record
        self._clock = clock
        self._mode = mode
        self._parameters = parameters
        self._act = act
        self._watching = watching
        self._began = clock.now()
        self._asked: dict[int, float] = {}
        self._told: set[tuple[int, int]] = set()

    def begin(self, now: float) -> None:
        """The engine takes up its work: whoever asked before is not remembered, and silent only from now on."""
        self._began = now

    async def order(self, verb: Verb, *, reason: str, by: str, force: bool = False) -> Ordered:
        """Do it. Raises ``NotInThisMode`` for what may not be ordered now, and what the ledger raises.

        Only ``flatten`` waits for the cycle that runs, because it gives trades something to do.
        """
        async with self._record.lock if verb is Verb.FLATTEN else nullcontext(), self._record.ordering:
            now, before = self._clock.now(), self._record.standing
            reached = control.after(before.control, verb, self._mode)
            standing = replace(before, control=reached, reason=reason, by=by, since=now)
            standing = before if reached is before.control else standing
            trades: list[Trade] = []
            refused: list[tuple[int, str]] = []
            if verb is Verb.FLATTEN:
                trades, refused = self._flattened(now, force=force)
            events = [_event(now, None, "control", verb=verb.value, control=reached.value, reason=reason, by=by)]
            events += [_event(now, trade, "flatten_ordered", reason=reason, by=by) for trade in trades]
            if reached is not before.control:
                detail = f"{before.control.value} to {reached.value}, ordered by {by or 'somebody'}: {reason or '-'}"
                events.append(_event(now, None, "alert", code=f"control_{reached.value}", detail=detail))
            await self._record.write(trades=trades, events=events, facts=fact_of(standing))
        self._act()
        return Ordered(standing, tuple(t.ticket for t in trades), tuple(refused))

    def _flattened(self, now: float, *, force: bool) -> tuple[list[Trade], list[tuple[int, str]]]:
        closing, refused = [], []
        for trade in self._record.book.trades.values():
            if trade.state.final or not ownership.may_act(trade, self._mode):
                continue
            why = control.not_flattened(trade, force=force)
            if why is not None:
                refused.append((trade.ticket, why))
            else:
                closing.append(self._closed(trade, now))
        return closing, refused

    def _closed(self, trade: Trade, now: float) -> Trade:
        """The trade with everything to be closed because of ``flatten``: what is owed for less may have to wait."""
        owed = [o for o in trade.obligations if o.kind is ObligationKind.CLOSE_ALL and o.status.live]
        if not owed:
            wanted = owe(trade, ObligationKind.CLOSE_ALL, FLATTEN, now, self._mode, self._parameters)
            return replace(trade, obligations=(*trade.obligations, wanted))
        at_once = replace(owed[0], reason=FLATTEN, next_try_at=min(owed[0].next_try_at, now))
        return effects.with_obligation(trade, owed[0], at_once)

    async def announce(self, news: Sequence[News], *, by: str) -> Standing:
        """Replace the announced news by these."""
        async with self._record.ordering:
            now = self._clock.now()
            standing = replace(self._record.standing, news=tuple(sorted(news, key=lambda each: each.begins)))
            event = _event(now, None, "news_announced", count=len(news), by=by)
            await self._record.write(events=[event], facts=fact_of(standing))
        return standing

    async def hand_over(self, trade_id: int, owner: Owner, *, reason: str, by: str) -> HandedOver:
        """Give a trade to ``owner``. Raises ``RegistrationConflict`` while it is closed or an order is on its way."""
        return await self._given(trade_id, owner, managed=True, kind="owner_changed", reason=reason, by=by)

    async def release(self, trade_id: int, *, reason: str, by: str) -> HandedOver:
        """Let go of a trade for good (R28). Raises as ``hand_over``."""
        return await self._given(trade_id, Owner.MANUAL, managed=False, kind="released", reason=reason, by=by)

    async def _given(
        self, trade_id: int, owner: Owner, *, managed: bool, kind: str, reason: str, by: str
    ) -> HandedOver:
        async with self._record.lock:
            now, trade = self._clock.now(), self._record.book.trades[trade_id]
            if (trade.owner, trade.managed) == (owner, managed):
                return HandedOver(trade, _unwinding(trade))
            if trade.state.final:
                raise RegistrationConflict(f"trade {trade.ticket} is {trade.state.value}; it has no owner any more")
            if any(intent.trade_id == trade_id for intent in self._record.book.intents.values()):
                message = f"an order of trade {trade.ticket} has no answer yet; ask again when it is settled"
                raise RegistrationConflict(message)
            given = self._to(trade, owner, now, managed=managed)
            if given.source == UNMANAGED:  # somebody has answered for it: no registration moves it any more
                given = replace(given, source=by or kind)
            event = _event(
                now, given, kind, **{"from": trade.owner.value, "to": owner.value, "by": by, "reason": reason}
            )
            await self._record.write(trades=[given], events=[event])
        self._act()
        return HandedOver(given, _unwinding(given))

    def _to(self, trade: Trade, owner: Owner, now: float, *, managed: bool) -> Trade:
        """What was owed ends. DTMS begins anew with what it gets; what it gives away has no hedge of ours."""
        ended = tuple(
            replace(o, status=ObligationStatus.SUPERSEDED) if o.status is ObligationStatus.DUE else o
            for o in trade.obligations
        )
        given = replace(trade, owner=owner, managed=managed, obligations=ended)
        if owner is Owner.DTMS:
            return begun_anew(given, now) if trade.verified_at is not None else given
        if given.hedge is None:
            return given
        wanted = closing_of_hedge(given, now, self._mode, self._parameters)
        return replace(given, obligations=(*given.obligations, wanted))

    def may_modify(self, trade: Trade, manager: Owner) -> tuple[bool, str, bool]:
        """(allowed, why, defensive) for ``manager`` now (R25). That the owner asked is remembered (R26)."""
        acts = ownership.may_act(trade, self._mode) and self._watching()
        in_danger = control.defensive(trade, acts=acts, control=self._record.standing.control)
        allowed, why = ownership.may_modify(trade, manager, defensive=in_danger)
        if manager is trade.owner:
            self._asked[trade.trade_id] = self._clock.now()
        return allowed, why, in_danger

    async def look_for_silence(self) -> None:
        """R26: an alert for each observed trade in danger whose owner does nothing, once per state."""
        now = self._clock.now()
        silent = [t for t in self._record.book.watched.values() if self._silent(t, now)]
        if silent:
            detail = "it is in danger, and its owner has neither asked nor moved its stop for ten minutes"
            await self._record.write(events=[alert(trade, now, "owner_silent", detail) for trade in silent])
            self._told |= {(trade.trade_id, trade.episode) for trade in silent}

    def _silent(self, trade: Trade, now: float) -> bool:
        if trade.state not in _DANGER or trade.owner in {Owner.DTMS, Owner.MANUAL}:
            return False
        heard = max(self._began, trade.state_since, trade.stop_moved_at or 0.0, self._asked.get(trade.trade_id, 0.0))
        return now - heard >= SILENT_S and (trade.trade_id, trade.episode) not in self._told


def _unwinding(trade: Trade) -> bool:
    return trade.hedge is not None and trade.owner is not Owner.DTMS


def _event(now: float, trade: Trade | None, kind: str, **body: Any) -> Event:
    number, ticket = (trade.trade_id, trade.ticket) if trade is not None else (None, None)
    return Event(time=now, kind=kind, trade_id=number, ticket=ticket, body=body)
