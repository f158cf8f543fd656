"""The broker: what it accepts and what an accepted request does to the account.

A market order fills at the ask (BUY) or bid (SELL) of the instant, plus slippage where the broker has some. Commission
is charged per lot and deal; a close by the opposite position is free of it. What happens by itself as the market moves
is in ``playing``.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from dtms_service.terminal.simulated.accounting import Accounting
from dtms_service.terminal.simulated.arguments import parse_request
from dtms_service.terminal.simulated.constants import Constants
from dtms_service.terminal.simulated.market import Market
from dtms_service.terminal.simulated.money import cents
from dtms_service.terminal.simulated.pending import PendingRules, side_of
from dtms_service.terminal.simulated.rows import DealRow, OrderRow, PositionRow
from dtms_service.terminal.simulated.rules import BUY, LOTS, SELL, CloseBy, Deal, Judged, Levels, No, Rules, Waiting
from dtms_service.terminal.simulated.series import TICK_SECONDS
from dtms_service.terminal.simulated.state import State
from dtms_service.terminal.simulated.structs import Struct
from dtms_service.terminal.simulated.terms import Habits, Terms

_RETRY_S = 60.0
"""How long a market order that waits goes on waiting when the market is closed at its moment."""


@dataclass(frozen=True, slots=True)
class Filled:
    """Tickets and price of an execution; of a pending order only its ticket."""

    order: int
    deal: int
    volume: float
    price: float


class Broker:
    """Rules and effects on one account. Every method takes the market time; none saves: the caller does, once."""

    def __init__(self, market: Market, state: State, terms: Terms, habits: Habits, seed: int) -> None:
        self.market = market
        self.state = state
        self.terms = terms
        self.habits = habits
        self.books = Accounting(market, state, terms)
        self.seed = seed
        self._rules = Rules(market, state, terms, habits)
        pending = PendingRules(market, state, self._rules, terms.clock)
        self._judges: dict[int, Callable[[Struct, float], Judged | No]] = {
            Constants.TRADE_ACTION_DEAL: self._rules.judge_deal,
            Constants.TRADE_ACTION_SLTP: self._rules.judge_levels,
            Constants.TRADE_ACTION_CLOSE_BY: self._rules.judge_close_by,
            Constants.TRADE_ACTION_PENDING: pending.judge_place,
            Constants.TRADE_ACTION_MODIFY: pending.judge_change,
            Constants.TRADE_ACTION_REMOVE: pending.judge_remove,
        }

    def check(self, request: Struct, time: float) -> Judged | No:
        """Judge a request as terminal and server would together, without doing anything."""
        judge = self._judges.get(request.action)
        if judge is None:
            return No(Constants.TRADE_RETCODE_INVALID, f"there is no action {request.action}", local=True)
        judged = judge(request, time)
        return self._afford(judged, time) if isinstance(judged, Deal) else judged

    def _afford(self, deal: Deal, time: float) -> Deal | No:
        held = deal.position
        if held is not None and held.type != deal.type and (self.terms.hedging or deal.volume <= held.volume):
            return deal
        after, equity = self.books.margin(time, extra=deal), self.books.equity(time)
        if after > equity:
            detail = f"margin {after:.2f} {self.terms.currency} needed, equity is {equity:.2f}"
            return No(Constants.TRADE_RETCODE_NO_MONEY, detail)
        return deal

    # --- effects ---

    def execute(self, judged: Judged, time: float, reason: int = Constants.DEAL_REASON_EXPERT) -> Filled | None:
        """Carry out what was accepted; None where nothing was executed."""
        match judged:
            case Deal():
                return self.fill(judged, time, reason)
            case Levels(position=position, sl=sl, tp=tp):
                self.state.put(replace(position, sl=sl, tp=tp, time_update_msc=round(time * 1000)))
                return None
            case CloseBy():
                return self._close_by(judged, time, reason)
            case Waiting():
                return self._wait(judged, time, reason)

    def place(self, deal: Deal, due: float, time: float) -> Filled:
        """Accept a market order without filling it: it waits among the orders until ``due`` (10008 PLACED)."""
        target = deal.position.identifier if deal.position is not None and deal.position.type != deal.type else 0
        order = self._order(deal, self.state.ticket(), target, time, Constants.DEAL_REASON_EXPERT)
        volume = round(deal.volume + deal.rest, LOTS)
        waiting = replace(
            order,
            volume=volume,
            rest=volume,
            price=0.0,
            done_msc=0,
            state=Constants.ORDER_STATE_PLACED,
            due=max(due, time + 0.001),
        )
        self.state.put(waiting)
        return Filled(order.ticket, 0, 0.0, 0.0)

    def fill(
        self,
        deal: Deal,
        time: float,
        reason: int = Constants.DEAL_REASON_EXPERT,
        order: OrderRow | None = None,
    ) -> Filled:
        """Execute a market order: an order (a new one, or ``order`` that waited) and a deal."""
        if reason in {Constants.DEAL_REASON_EXPERT, Constants.DEAL_REASON_CLIENT}:
            deal = replace(deal, price=self._slipped(deal))
        ticket = self.state.ticket() if order is None else order.ticket
        number = self.state.ticket()
        held = deal.position
        moment = round(time * 1000)
        facts = deal.series.facts
        entry, profit, swap = Constants.DEAL_ENTRY_IN, 0.0, 0.0
        if held is None:
            identifier = ticket
            self.state.put(PositionRow(
                ticket, ticket, facts.name, deal.type, deal.volume, deal.price, deal.sl, deal.tp, deal.magic, reason,
                deal.comment, moment, moment,
            ))  # fmt: skip
        elif held.type == deal.type:
            identifier = held.identifier
            self._add(held, deal, moment)
        else:
            identifier = held.identifier
            closed = min(held.volume, deal.volume)
            profit = self.books.money.profit(facts, replace(held, volume=closed), deal.price, time)
            swap = _share(held, closed)
            entry = self._reduce(held, deal, ticket, moment)
        self._fill_order(deal, ticket, identifier, time, reason, order)
        commission = -cents(self.terms.commission * deal.volume)
        self.state.put(DealRow(
            number, ticket, identifier, facts.name, deal.type, entry, deal.volume, deal.price, profit, deal.magic,
            reason, deal.comment, moment, commission, swap,
        ))  # fmt: skip
        return Filled(ticket, number, deal.volume, deal.price)

    def _fill_order(
        self, deal: Deal, ticket: int, identifier: int, time: float, reason: int, order: OrderRow | None
    ) -> None:
        """The order of a deal. What is not filled is cancelled, or with RETURN waits for the next tick."""
        row = self._order(deal, ticket, identifier, time, reason)
        waits = deal.rest > 0 and deal.filling == Constants.ORDER_FILLING_RETURN
        state = Constants.ORDER_STATE_PARTIAL if waits else Constants.ORDER_STATE_FILLED
        if order is not None:
            row = replace(order, position_id=identifier, reason=order.reason)
        due = time + TICK_SECONDS if waits else 0.0
        self.state.put(replace(row, rest=deal.rest, state=state, done_msc=round(time * 1000), due=due))

    def _order(self, deal: Deal, ticket: int, identifier: int, time: float, reason: int) -> OrderRow:
        moment = round(time * 1000)
        return OrderRow(
            ticket, identifier, deal.series.facts.name, deal.type, round(deal.volume + deal.rest, LOTS), deal.price,
            deal.sl, deal.tp, deal.filling, deal.magic, reason, deal.comment, moment, moment,
            Constants.ORDER_STATE_FILLED,
        )  # fmt: skip

    def _add(self, held: PositionRow, deal: Deal, moment: int) -> None:
        """Netting: a deal of the same direction makes the position larger, at the weighted mean price.

        Its levels replace those of the position, and no level deletes one (MetaTrader's help on netting).
        """
        volume = round(held.volume + deal.volume, LOTS)
        mean = (held.price_open * held.volume + deal.price * deal.volume) / volume
        self.state.put(replace(held, volume=volume, price_open=mean, sl=deal.sl, tp=deal.tp, time_update_msc=moment))

    def _reduce(self, held: PositionRow, deal: Deal, order: int, moment: int) -> int:
        """Close in part or whole; on netting a larger deal turns the position around. Returns the deal's entry."""
        rest = round(held.volume - deal.volume, LOTS)
        if rest > 0:
            self._shrink(held, deal.volume, moment)
            return Constants.DEAL_ENTRY_OUT
        self.state.drop_position(held.ticket)
        if rest == 0:
            return Constants.DEAL_ENTRY_OUT
        turned = replace(
            held,
            ticket=order,
            type=deal.type,
            volume=-rest,
            price_open=deal.price,
            sl=deal.sl,
            tp=deal.tp,
            magic=deal.magic,
            comment=deal.comment,
            time_msc=moment,
            time_update_msc=moment,
            swap=0.0,
        )
        self.state.put(turned)
        return Constants.DEAL_ENTRY_INOUT

    def _shrink(self, held: PositionRow, closed: float, moment: int) -> None:
        """Take ``closed`` lots out; with nothing left the position is gone."""
        rest = round(held.volume - closed, LOTS)
        if rest <= 0:
            self.state.drop_position(held.ticket)
            return
        swap = cents(held.swap - _share(held, closed))
        self.state.put(replace(held, volume=rest, swap=swap, time_update_msc=moment))

    def _close_by(self, judged: CloseBy, time: float, reason: int) -> Filled:
        """Two deals OUT_BY at the open price of the other position; the whole result is the first one's (C53)."""
        position, other = judged.position, judged.other
        facts = self.market.of(position.symbol).facts
        volume, price, moment = min(position.volume, other.volume), other.price_open, round(time * 1000)
        ticket = self.state.ticket()
        profit = self.books.money.profit(facts, replace(position, volume=volume), price, time)
        deals = []
        for row, result in ((position, profit), (other, 0.0)):
            deals.append(DealRow(
                self.state.ticket(), ticket, row.identifier, row.symbol, 1 - row.type, Constants.DEAL_ENTRY_OUT_BY,
                volume, price, result, judged.magic, reason, judged.comment, moment, 0.0, _share(row, volume),
            ))  # fmt: skip
            self._shrink(row, volume, moment)
        self.state.put(OrderRow(
            ticket, position.identifier, position.symbol, Constants.ORDER_TYPE_CLOSE_BY, volume, price, 0.0, 0.0,
            Constants.ORDER_FILLING_FOK, judged.magic, reason, judged.comment, moment, moment,
            Constants.ORDER_STATE_FILLED, position_by=other.identifier,
        ))  # fmt: skip
        for deal in deals:
            self.state.put(deal)
        return Filled(ticket, deals[0].ticket, volume, price)

    def _wait(self, judged: Waiting, time: float, reason: int) -> Filled:
        order = judged.order
        if not order.ticket:
            order = replace(order, ticket=self.state.ticket(), reason=reason)
        if judged.remove:
            order = replace(order, state=Constants.ORDER_STATE_CANCELED, done_msc=round(time * 1000))
        self.state.put(order)
        return Filled(order.ticket, 0, 0.0, 0.0)

    # --- orders that waited ---

    def trigger(self, order: OrderRow, price: float, time: float) -> None:
        """A pending order has reached its price: filled whole, or rejected when there is not enough money."""
        series = self.market.of(order.symbol)
        held = None
        if not self.terms.hedging:
            held = next((each for each in self.state.positions.values() if each.symbol == order.symbol), None)
        deal = Deal(
            series,
            side_of(order.type),
            order.rest,
            price,
            order.sl,
            order.tp,
            held,
            order.filling,
            order.magic,
            order.comment,
        )
        if isinstance(self._afford(deal, time), No):
            self.end_order(order, Constants.ORDER_STATE_REJECTED, time)
        else:
            self.fill(deal, time, order.reason, order)

    def fill_waiting(self, order: OrderRow, time: float) -> None:
        """The moment of a market order that waits: filled at the price of now, or given up.

        A closed market lets it wait on. Its target may be gone: it was closed meanwhile.
        """
        target = next((p for p in self.state.positions.values() if p.identifier == order.position_id), None)
        closes = order.position_id not in {0, order.ticket}
        if closes and target is None:
            self.end_order(order, Constants.ORDER_STATE_CANCELED, time)
            return
        request = parse_request({
            "action": Constants.TRADE_ACTION_DEAL, "symbol": order.symbol, "volume": order.rest, "type": order.type,
            "position": target.ticket if closes and target is not None else 0, "type_filling": order.filling,
            "sl": order.sl, "tp": order.tp, "magic": order.magic, "comment": order.comment,
        })  # fmt: skip
        judged = self._rules.judge_deal(request, time)
        if isinstance(judged, No) and judged.retcode == Constants.TRADE_RETCODE_MARKET_CLOSED:
            self.state.put(replace(order, due=time + _RETRY_S))
        elif isinstance(judged, Deal) and not isinstance(self._afford(judged, time), No):
            if target is not None and not closes:  # the rest of an order: levels changed meanwhile stay
                judged = replace(judged, position=target, sl=target.sl, tp=target.tp)
            self.fill(judged, time, order.reason, order)
        else:
            self.end_order(order, Constants.ORDER_STATE_REJECTED, time)

    def end_order(self, order: OrderRow, state: int, time: float) -> None:
        """An order leaves the waiting ones without a deal."""
        self.state.put(replace(order, state=state, done_msc=round(time * 1000), due=0.0))

    def close_at(self, position: PositionRow, reason: int, price: float, time: float, comment: str) -> None:
        """The server closes a position by itself."""
        side = SELL if position.type == BUY else BUY
        series = self.market.of(position.symbol)
        fok = Constants.ORDER_FILLING_FOK
        deal = Deal(series, side, position.volume, price, 0.0, 0.0, position, fok, position.magic, comment)
        self.fill(deal, time, reason)

    def stop(self, position: PositionRow, reason: int, price: float, time: float) -> None:
        """A level was reached: reason SL or TP, with the comment that servers write."""
        level, name = (position.sl, "sl") if reason == Constants.DEAL_REASON_SL else (position.tp, "tp")
        digits = self.market.of(position.symbol).facts.digits
        self.close_at(position, reason, price, time, f"[{name} {level:.{digits}f}]")

    def _slipped(self, deal: Deal) -> float:
        """The price with the broker's slippage, against the trader: exponential, a function of seed and next ticket."""
        mean = self.habits.slippage_points
        if not mean or deal.series.facts.execution != Constants.SYMBOL_TRADE_EXECUTION_MARKET:
            return deal.price
        digest = hashlib.blake2b(f"{self.seed}|slip|{self.state.meta['ticket']}".encode(), digest_size=8).digest()
        unit = (int.from_bytes(digest, "little") + 0.5) / 2.0**64
        points = int(-math.log(unit) * mean)
        facts = deal.series.facts
        return round(deal.price + (1 if deal.type == BUY else -1) * points * facts.point, facts.digits)


def _share(held: PositionRow, closed: float) -> float:
    """Swap that goes with the closed lots."""
    return held.swap if closed >= held.volume else cents(held.swap * closed / held.volume)
