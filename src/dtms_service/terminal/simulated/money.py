"""Profit and margin in the account's currency, by MetaTrader's formulas (documentation of ``SYMBOL_CALC_MODE``).

* profit: (close - open) * contract size * lots, in the symbol's profit currency, for forex and contracts for
  difference alike;
* margin, forex: lots * contract size / leverage, in the base currency; leveraged contract: also times the price;
  plain contract: lots * contract size * price. A fixed margin of the symbol replaces contract size and price. All
  times the symbol's margin rate.

A currency is converted at the bid of a symbol of this market that quotes the pair directly or inverted, else through
US dollars, else at the catalogue's reference rate.
"""

from __future__ import annotations

import math

from dtms_service.terminal.simulated.catalogue import REFERENCE_USD, Contract
from dtms_service.terminal.simulated.constants import Constants
from dtms_service.terminal.simulated.market import Market
from dtms_service.terminal.simulated.rows import PositionRow

_LEVERAGED = frozenset({Constants.SYMBOL_CALC_MODE_FOREX, Constants.SYMBOL_CALC_MODE_CFDLEVERAGE})


def cents(amount: float) -> float:
    """``amount`` rounded to cents, halves away from zero, as statements do.

    The noise of float arithmetic, far below 1e-7 cents, must not turn half a cent into less.
    """
    return math.copysign(math.floor(abs(amount) * 100 + 0.5 + 1e-7) / 100, amount) + 0.0  # no negative zero


class Money:
    """Conversions and formulas for one account."""

    def __init__(self, market: Market, currency: str, leverage: int) -> None:
        self._currency = currency
        self._leverage = leverage
        self._pairs = {(each.facts.base, each.facts.profit): each for each in market.series.values()}

    def rate(self, currency: str, time: float) -> float:
        """Units of the account's currency for one unit of ``currency``."""
        if currency == self._currency:
            return 1.0
        direct = self._quoted(currency, self._currency, time)
        return direct or self._dollars(currency, time) / self._dollars(self._currency, time)

    def _dollars(self, currency: str, time: float) -> float:
        if currency == "USD":
            return 1.0
        return self._quoted(currency, "USD", time) or REFERENCE_USD.get(currency, 1.0)

    def _quoted(self, base: str, profit: str, time: float) -> float | None:
        for pair, inverted in (((base, profit), False), ((profit, base), True)):
            series = self._pairs.get(pair)
            quote = None if series is None else series.quote(time)
            if quote is not None:
                return 1.0 / quote.bid if inverted else quote.bid
        return None

    def profit(self, facts: Contract, position: PositionRow, price: float, time: float) -> float:
        """Profit of ``position`` if it were closed at ``price``, rounded to money."""
        return self.difference(facts, position.sign, position.volume, price - position.price_open, time)

    def difference(self, facts: Contract, sign: int, volume: float, difference: float, time: float) -> float:
        """Profit of ``volume`` lots over a price difference, rounded to money."""
        return cents(difference * sign * facts.contract_size * volume * self.rate(facts.profit, time))

    def margin(self, facts: Contract, volume: float, price: float, time: float) -> float:
        """Margin of ``volume`` lots opened at ``price``; not rounded."""
        return self._margin(facts, volume, facts.margin_initial or facts.contract_size, price, time)

    def _margin(self, facts: Contract, volume: float, size: float, price: float, time: float) -> float:
        """``size``: units of a lot, or its fixed margin where the symbol has one."""
        amount = volume * size * facts.margin_rate
        if facts.calc_mode in _LEVERAGED:
            amount /= self._leverage
        if facts.calc_mode == Constants.SYMBOL_CALC_MODE_FOREX:
            return amount * self.rate(facts.base, time)
        if not facts.margin_initial:
            amount *= price
        return amount * self.rate(facts.profit, time)

    def total_margin(self, facts: Contract, positions: list[PositionRow], time: float) -> float:
        """Margin of one symbol's positions, covered lots by the symbol's rule for them; not rounded.

        Open lots are those that the larger side has more, at that side's mean price. Covered lots take
        ``hedged_size`` in place of the contract size, at the mean price of all; or the larger side alone counts.
        """
        sides = tuple([each for each in positions if each.type == side] for side in (0, 1))
        if facts.margin_hedged_use_leg or not all(sides):
            return max(sum((self.margin(facts, p.volume, p.price_open, time) for p in s), 0.0) for s in sides)
        small, large = sorted(sides, key=_lots)
        covered = _lots(small)
        uncovered = self.margin(facts, _lots(large) - covered, _mean_price(large), time)
        return uncovered + self._margin(facts, covered, facts.hedged_size, _mean_price(positions), time)


def _lots(positions: list[PositionRow]) -> float:
    return sum(each.volume for each in positions)


def _mean_price(positions: list[PositionRow]) -> float:
    return sum(each.volume * each.price_open for each in positions) / _lots(positions)
