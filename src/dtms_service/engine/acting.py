"""Carrying out what a trade is owed: every order is on disk before it leaves, and its reply is on disk after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dtms_service.domain import effects, reconcile
from dtms_service.domain.orders import ClosePosition, Fill
from dtms_service.domain.outcome import Done, Outcome
from dtms_service.domain.parameters import Parameters
from dtms_service.domain.plan import Send, plan
from dtms_service.domain.policy import Scene
from dtms_service.domain.shelve import shelve
from dtms_service.domain.trade import Event, Mode, Obligation, ObligationStatus, Trade
from dtms_service.engine.ports import Terminal
from dtms_service.engine.record import Record

ALERT_AT_ATTEMPT = 2


@dataclass(frozen=True, slots=True)
class Acted:
    """The trade after acting, and events that are not committed yet; everything before the last order is."""

    trade: Trade
    events: tuple[Event, ...]
    orders: int = 0


class Actor:
    """Sends orders for one trade at a time, one order at a time."""

    def __init__(self, terminal: Terminal, record: Record, mode: Mode, parameters: Parameters) -> None:
        self._terminal = terminal
        self._record = record
        self._mode = mode
        self._parameters = parameters

    async def act(self, trade: Trade, events: Sequence[Event], scene: Scene) -> Acted:
        """Work through the due obligations of ``trade``; ``events`` are those of its decision, not committed yet.

        Stops at the first order whose outcome is unknown: nothing else may be planned for the trade until that is
        settled.
        """
        pending, orders, index = tuple(events), 0, 0
        while index < len(trade.obligations) and trade.frozen is None:
            obligation = trade.obligations[index]
            index += 1
            if obligation.status is not ObligationStatus.DUE or obligation.next_try_at > scene.now:
                continue
            answer = plan(trade, obligation, scene, 0, self._parameters)
            if not isinstance(answer, Send):
                shelved = shelve(trade, obligation, answer, scene.now, self._mode, self._parameters)
                trade, pending = shelved.trade, pending + shelved.events
                continue
            trade, scene = await self._send(trade, obligation, answer, pending, scene)
            pending, orders = (), orders + 1
        return Acted(trade, pending, orders)

    async def _send(
        self, trade: Trade, obligation: Obligation, answer: Send, events: Sequence[Event], scene: Scene
    ) -> tuple[Trade, Scene]:
        order = replace(answer.order, magic=self._record.next_magic())
        trade, _, intent = effects.sent(trade, obligation, order, answer.target, scene.now)
        await self._record.write(trades=[trade], events=events, intents=[intent])
        outcome = await self._terminal.send(order)
        intent = effects.replied(intent, outcome, scene.now)
        volume = _closed_volume(outcome)
        trade = effects.settled(trade, intent, volume, scene.now, self._parameters)
        told = [effects.action_event(trade, intent, outcome, scene.now)]
        if not isinstance(outcome, Done) and obligation.attempts + 1 == ALERT_AT_ATTEMPT:
            told.append(reconcile.alert(trade, scene.now, "obligation_failing", effects.describe(intent, trade)))
        await self._record.write(trades=[trade], events=told, intents=[intent])
        shown = replace(scene.position, volume=trade.volume, stop_loss=trade.stop_loss)
        return trade, replace(
            scene, position=shown if not isinstance(order, ClosePosition) or volume else scene.position
        )


def _closed_volume(outcome: Outcome[Fill]) -> float | None:
    return outcome.value.volume if isinstance(outcome, Done) and outcome.value.volume > 0 else None
