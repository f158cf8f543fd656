"""Random trading against a bookkeeper who knows only prices, lots and the rules of a hedging account."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from simulated_kit import deals, flat, later, market_order, opened, positions, write_bars

PRICES = [1.1, 1.1012, 1.0985, 1.1031, 1.0954, 1.1002, 1.0871, 1.1103]
SPREAD = 0.0001
LOT = 100_000


@dataclass
class Held:
    side: str
    cents: int
    """Volume in hundredths of a lot."""
    entry: float
    stop: float = 0.0


class Account(RuleBasedStateMachine):
    """One flat minute per price, so that a stop is met at the opening of the minute that jumps over it."""

    @initialize()
    def start(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name)
        self.bars = write_bars(self.path / "bars", [bar for n in range(60) for bar in flat(PRICES[n % 8], 1)])
        self.terminal = opened(self.path, self.bars)
        self.minute = 0
        self.held: dict[int, Held] = {}
        self.booked = 0

    def price(self, side: str, *, opening: bool) -> float:
        bid = PRICES[self.minute % 8]
        return bid + SPREAD if (side == "BUY") == opening else bid

    def book(self, held: Held, cents: int, price: float) -> None:
        sign = 1 if held.side == "BUY" else -1
        self.booked += round(sign * (price - held.entry) * LOT * cents)

    @rule(side=st.sampled_from(["BUY", "SELL"]), cents=st.integers(1, 50))
    def open(self, side: str, cents: int) -> None:
        result = market_order(self.terminal, side, cents / 100)
        assert result.retcode == 10009
        self.held[result.order] = Held(side, cents, self.price(side, opening=True))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(sorted(self.held)))
        held = self.held[ticket]
        cents = data.draw(st.integers(1, held.cents))
        side = "SELL" if held.side == "BUY" else "BUY"
        assert market_order(self.terminal, side, cents / 100, position=ticket).retcode == 10009
        self.book(held, cents, self.price(held.side, opening=False))
        held.cents -= cents
        if not held.cents:
            del self.held[ticket]

    @precondition(lambda self: self.held)
    @rule(data=st.data(), points=st.integers(10, 300))
    def protect(self, data: st.DataObject, points: int) -> None:
        ticket = data.draw(st.sampled_from(sorted(self.held)))
        held = self.held[ticket]
        sign = 1 if held.side == "BUY" else -1
        stop = round(self.price(held.side, opening=False) - sign * points / 1e5, 5)
        result = self.terminal.order_send(action=6, position=ticket, sl=stop, tp=0.0)
        assert result.retcode == (10025 if stop == held.stop else 10009)
        held.stop = stop

    @precondition(lambda self: self.minute < 58)
    @rule()
    def next_minute(self) -> None:
        later(self.terminal, 60)
        self.minute += 1
        for ticket, held in list(self.held.items()):
            price = self.price(held.side, opening=False)
            if held.stop and (price <= held.stop if held.side == "BUY" else price >= held.stop):
                self.book(held, held.cents, price)
                del self.held[ticket]

    @rule()
    def restart(self) -> None:
        self.terminal.close()
        self.terminal = opened(self.path, self.bars)

    @invariant()
    def positions_and_balance_agree(self) -> None:
        found = {
            row["ticket"]: (round(row["volume"] * 100), row["type"], row["sl"]) for row in positions(self.terminal)
        }
        assert found == {t: (h.cents, int(h.side == "SELL"), h.stop) for t, h in self.held.items()}
        cents = sum(round(deal["profit"] * 100) for deal in deals(self.terminal)[1:])
        assert abs(cents - self.booked) <= len(deals(self.terminal))
        assert round(self.terminal.account_info().balance * 100) == 10_000_000 + cents

    def teardown(self) -> None:
        self.terminal.close()
        self.folder.cleanup()


TestAccount = Account.TestCase
TestAccount.settings = settings(max_examples=12, stateful_step_count=25, deadline=None)
