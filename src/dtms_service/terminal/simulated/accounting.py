"""The money of the open positions: prices to close at, floating profit, equity and margin at any instant."""

from __future__ import annotations

from dataclasses import replace

from dtms_service.terminal.simulated.market import Market
from dtms_service.terminal.simulated.money import Money, cents
from dtms_service.terminal.simulated.rows import PositionRow
from dtms_service.terminal.simulated.rules import BUY, LOTS, Deal
from dtms_service.terminal.simulated.state import State
from dtms_service.terminal.simulated.terms import Terms


class Accounting:
    """Reads the account's state; changes nothing. Times are UTC seconds, money is rounded to cents."""

    def __init__(self, market: Market, state: State, terms: Terms) -> None:
        self.market = market
        self.state = state
        self.terms = terms
        self.money = Money(market, terms.currency, terms.leverage)

    def price_of(self, position: PositionRow, time: float) -> float:
        """The price at which the position would be closed now."""
        quote = self.market.of(position.symbol).quote(time)
        if quote is None:
            return position.price_open
        return quote.bid if position.type == BUY else quote.ask

    def profit_of(self, position: PositionRow, time: float) -> float:
        """Floating profit, without swap and commission."""
        facts = self.market.of(position.symbol).facts
        return self.money.profit(facts, position, self.price_of(position, time), time)

    def floating(self, time: float) -> float:
        """Floating profit and swap of all positions."""
        held = self.state.positions.values()
        return cents(sum((self.profit_of(each, time) + each.swap for each in held), 0.0))

    def equity(self, time: float) -> float:
        """Balance, floating profit and swap."""
        return cents(self.state.balance + self.floating(time))

    def margin(self, time: float, extra: Deal | None = None) -> float:
        """Margin in use; with ``extra``, as it would be after that deal."""
        held: dict[str, list[PositionRow]] = {}
        for each in self.state.positions.values():
            held.setdefault(each.symbol, []).append(each)
        if extra is not None:
            symbol = extra.series.facts.name
            side = PositionRow(0, 0, symbol, extra.type, extra.volume, extra.price, 0, 0, 0, 0, "", 0, 0)
            others = held.setdefault(symbol, [])
            if extra.position is not None and extra.position.type != extra.type:
                side = replace(side, volume=round(extra.volume - extra.position.volume, LOTS))
                others.remove(extra.position)
            others.append(side)
        total = sum((self.money.total_margin(self.market.of(s).facts, rows, time) for s, rows in held.items()), 0.0)
        return cents(total)
