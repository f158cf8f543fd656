"""Carrying out what a trade is owed: every order is on disk before it leaves, and its reply is on disk after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dtms_service.domain import effects, levels, reconcile
from dtms_service.domain.broker_events import transition_event
from dtms_service.domain.control import Control, goes_on
from dtms_service.domain.orders import ClosePosition, Fill, ModifyStops, Order
from dtms_service.domain.outcome import Done, Outcome, Refused
from dtms_service.domain.parameters import Parameters
from dtms_service.domain.plan import Send, plan
from dtms_service.domain.policy import Scene
from dtms_service.domain.shelve import shelve
from dtms_service.domain.trade import Event, Intent, Mode, Obligation, ObligationStatus, Trade
from dtms_service.domain.values import Position
from dtms_service.engine.ports import Clock, Terminal
from dtms_service.engine.record import Record
from dtms_service.market.snapshot import Needs

ALERT_AT_ATTEMPT = 2
READ_AGAIN_S = 1.0
"""Age of a snapshot from which the position is read again before an order, so that nobody's newer level is undone."""


@dataclass(frozen=True, slots=True)
class Acted:
    """The trade after acting, and events that are not committed yet; everything before the last order is.

    ``orders`` counts those that were done; what was refused or has no answer is told by its event.
    """

    trade: Trade
    events: tuple[Event, ...]
    orders: int = 0


POSITION_CLOSED = "position_closed"
"""Code of the refusal with which a broker says that the position is not there any more (10036)."""


@dataclass(frozen=True, slots=True)
class _Reply:
    """``failing``: people have to hear of it; ``now``: the time of its cycle, ``at``: when the reply came."""

    intent: Intent
    outcome: Outcome[Fill]
    failing: bool
    now: float
    at: float


class Actor:
    """Sends orders for one trade at a time, one order at a time."""

    def __init__(self, terminal: Terminal, record: Record, clock: Clock, mode: Mode, parameters: Parameters) -> None:
        self._terminal = terminal
        self._record = record
        self._clock = clock
        self._mode = mode
        self._parameters = parameters
        self._reply: _Reply | None = None

    async def store_reply(self) -> None:
        """Store the last order's reply where a busy ledger did not take it: an outcome that is known is never lost.

        Its effect is that on the trade of now: while it could not be stored, an operator may have ordered something.
        """
        if self._reply is None:
            return
        intent, outcome, now = self._reply.intent, self._reply.outcome, self._reply.now
        before = self._record.book.trades[intent.trade_id]
        trade = effects.settled(before, intent, _done_volume(outcome), now, self._parameters)
        if trade.confirmed_at != before.confirmed_at:  # an order may take 20 s, and reads lag behind its end
            trade = replace(trade, confirmed_at=self._reply.at)
        told = [effects.action_event(trade, intent, outcome, now), *transition_event(before, trade, now)]
        if self._reply.failing:
            told.append(reconcile.alert(trade, now, "obligation_failing", effects.describe(intent, trade)))
        await self._record.write(trades=[trade], events=told, intents=[intent])
        self._reply = None

    async def act(self, trade: Trade, events: Sequence[Event], scene: Scene) -> Acted:
        """Work through the due obligations of ``trade``; ``events`` are those of its decision, not committed yet.

        Stops at the first order whose outcome is unknown: nothing else may be planned for the trade until that is
        settled.
        """
        pending, orders, index = tuple(events), 0, 0
        while index < len(trade.obligations) and scene.may_trade and scene.position.volume > 0 and self._settled(trade):
            obligation = trade.obligations[index]
            index += 1
            if obligation.status is not ObligationStatus.DUE or obligation.next_try_at > scene.now:
                continue
            if self._held_back(trade, obligation, scene):
                continue
            answer = plan(trade, obligation, scene, 0, self._parameters)
            if isinstance(answer, Send) and (wait := self._terminal.wait_of(answer.order)) > 0:
                # Not journalled, not an attempt: the obligation's own time brings the next cycle.
                held = replace(obligation, waiting="send_paused", next_try_at=self._clock.now() + wait)
                trade = effects.with_obligation(trade, obligation, held)
                continue
            if isinstance(answer, Send) and self._clock.now() - scene.now >= READ_AGAIN_S:
                renewed = await self._renewed(scene)
                if renewed is None:
                    break  # decided on what is not so any more: the next cycle looks anew
                scene = renewed
                if self._held_back(trade, obligation, scene):
                    continue  # ordered during that read
                answer = plan(trade, obligation, scene, 0, self._parameters)
            if not isinstance(answer, Send):
                shelved = shelve(trade, obligation, answer, scene.now, self._mode, self._parameters)
                trade, pending = shelved.trade, pending + shelved.events
                continue
            trade, scene, done = await self._send(trade, obligation, answer, pending, scene)
            pending, orders = (), orders + done
            if done and _goes_on(trade.obligations[index - 1], scene):
                index -= 1  # the next piece, or the position after its hedge
        return Acted(trade, pending, orders)

    def _held_back(self, trade: Trade, obligation: Obligation, scene: Scene) -> bool:
        """Paused or halted, by now if not when the trade was decided on: an order to stop waits for no cycle."""
        held = scene.held_back or self._record.standing.control is not Control.RUNNING
        return held and not goes_on(trade, obligation)

    def _settled(self, trade: Trade) -> bool:
        """No order of this trade waits for its outcome (C-23), not even one whose handling broke off."""
        mine = [i for i in self._record.book.intents.values() if i.trade_id == trade.trade_id]
        if trade.state.final:
            # What was asked of a position that is closed cannot happen any more; only its hedge is left.
            mine = [i for i in mine if effects.opens(i) or i.before.get("identifier") != trade.identifier]
        return trade.frozen is None and not mine

    async def _renewed(self, scene: Scene) -> Scene | None:
        """The scene of now; None when it cannot be read, or when others changed the position since the snapshot."""
        read = await self._terminal.snapshot(Needs((scene.position.symbol,), ()))
        if not isinstance(read, Done) or not read.value.connected or not read.value.account.trade_allowed:
            return None
        if not self._record.owns(read.value.account):
            return None
        tick = read.value.ticks.get(scene.position.symbol)
        position = next((p for p in read.value.positions if p.identifier == scene.position.identifier), None)
        if tick is None or position is None or _shape(position) != _shape(scene.position):
            return None
        own = {p.identifier: p for p in read.value.positions if p.identifier in scene.own}
        if {i: _shape(p) for i, p in own.items()} != {i: _shape(p) for i, p in scene.own.items()}:
            return None
        return replace(scene, now=read.value.time, position=position, tick=tick, own=own)

    async def _send(
        self, trade: Trade, obligation: Obligation, answer: Send, events: Sequence[Event], scene: Scene
    ) -> tuple[Trade, Scene, bool]:
        """The trade and the scene after one order, and whether the broker said that it was done."""
        order = replace(answer.order, magic=self._record.next_magic())
        trade, _, intent = effects.sent(trade, obligation, order, answer.target, scene.now)
        await self._record.write(trades=[trade], events=events, intents=[intent])
        outcome = await self._terminal.send(order)
        intent = effects.replied(intent, outcome, scene.now)
        failed = not isinstance(outcome, Done) and not effects.of_pace(intent)
        failing = failed and obligation.attempts + 1 - obligation.uncounted == ALERT_AT_ATTEMPT
        self._reply = _Reply(intent, outcome, failing, scene.now, self._clock.now())
        await self.store_reply()
        trade = self._record.book.trades[trade.trade_id]
        if isinstance(outcome, Refused) and outcome.code == POSITION_CLOSED and order.ticket == scene.position.ticket:
            # A hedge for it would stand alone: nothing more is sent in this cycle, the next one sees what is left.
            return trade, replace(scene, position=replace(scene.position, volume=0.0)), False
        return trade, _after(scene, trade, order, _done_volume(outcome)), isinstance(outcome, Done)


def _goes_on(obligation: Obligation, scene: Scene) -> bool:
    return obligation.status is ObligationStatus.DUE and obligation.next_try_at <= scene.now


def _after(scene: Scene, trade: Trade, order: Order, volume: float | None) -> Scene:
    """What the next order of this cycle is planned on: the scene with the effect of the last one."""
    position = scene.position
    if isinstance(order, ModifyStops):
        return replace(scene, position=replace(position, stop_loss=trade.stop_loss))
    if not isinstance(order, ClosePosition) or not volume:
        return scene
    own = {
        identifier: replace(p, volume=levels.volume_minus(p.volume, volume)) if p.ticket == order.ticket else p
        for identifier, p in scene.own.items()
    }
    left = levels.volume_minus(position.volume, volume) if position.ticket == order.ticket else position.volume
    return replace(
        scene,
        position=replace(position, volume=left),
        own={identifier: p for identifier, p in own.items() if p.volume > 0},
    )


def _done_volume(outcome: Outcome[Fill]) -> float | None:
    return outcome.value.volume if isinstance(outcome, Done) and outcome.value.volume > 0 else None


def _shape(position: Position) -> tuple[object, ...]:
    return (position.ticket, position.side, position.volume, position.stop_loss, position.take_profit)
