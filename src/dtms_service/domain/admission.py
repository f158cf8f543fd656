"""Taking a registration in: what the caller claims, held against what the terminal shows. Pure.

Only side and symbol can conflict (R22): levels, volume and prices are the terminal's to say, and owner is a matter of
hand-over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dtms_service.domain import reconcile
from dtms_service.domain.errors import RegistrationConflict
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import Event, Owner, Trade
from dtms_service.domain.values import Deal, DealEntry, Position, Side


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """A caller's wish to have a position protected; everything but the ticket is a claim."""

    ticket: int
    symbol: str | None = None
    side: Side | None = None
    entry_price: float | None = None
    volume: float | None = None
    stop_loss: float | None = None
    take_profit: float | None = None
    strategy_type: str | None = None
    managed_by: Owner | None = None
    source: str | None = None

    def claims(self) -> Mapping[str, Any]:
        """What the caller said and the terminal may show otherwise; absent values left out."""
        said = {
            "symbol": self.symbol,
            "side": None if self.side is None else self.side.value,
            "entry_price": self.entry_price,
            "volume": self.volume,
            "stop_loss": self.stop_loss,
            "take_profit": self.take_profit,
        }
        return {name: value for name, value in said.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Admitted:
    """The trade to store for a registration, with its events; empty events: nothing to store."""

    trade: Trade
    events: tuple[Event, ...]


def check(registration: Registration, symbol: str, side: Side | None) -> None:
    """Raise `RegistrationConflict` when the claim contradicts the known symbol or side (R22)."""
    claimed = registration.claims()
    known = {"symbol": symbol, "side": None if side is None else side.value}
    wrong_symbol = registration.symbol is not None and symbol and not reconcile.same_symbol(registration.symbol, symbol)
    wrong_side = registration.side is not None and side is not None and registration.side is not side
    if wrong_symbol or wrong_side:
        what = "symbol" if wrong_symbol else "side"
        detail = (
            f"ticket {registration.ticket} is {known['side']} {known['symbol']} at the terminal, but the registration "
            f"says {what} {claimed[what]}; correct the registration, the terminal is the truth"
        )
        raise RegistrationConflict(detail, claimed=claimed, terminal=known)


def new_trade(
    registration: Registration, trade_id: int, owner: Owner, account: tuple[int, str] | None, now: float
) -> Trade:
    """A PENDING trade made of the caller's claims alone."""
    login, server = account or (0, "")
    return Trade(
        trade_id=trade_id,
        login=login,
        server=server,
        ticket=registration.ticket,
        identifier=None,
        symbol=registration.symbol or "",
        side=registration.side,
        volume=registration.volume or 0.0,
        initial_volume=registration.volume or 0.0,
        entry_price=registration.entry_price,
        stop_loss=registration.stop_loss,
        take_profit=registration.take_profit,
        initial_stop_loss=registration.stop_loss,
        state=TradeState.PENDING,
        state_since=now,
        owner=owner,
        source=registration.source,
        strategy_type=registration.strategy_type,
        claims=registration.claims(),
        registered_at=now,
    )


def admit(
    pending: Trade, position: Position | None, deals: Sequence[Deal] | None, account: tuple[int, str], now: float
) -> Admitted:
    """A new registration held against the terminal: verified, closed already, or still pending.

    ``deals`` are those of the ticket as identifier, None when they were not or could not be read.
    """
    registered = Event(
        time=now,
        kind="registered",
        trade_id=pending.trade_id,
        ticket=pending.ticket,
        body={"owner": pending.owner.value, "source": pending.source, "claims": dict(pending.claims)},
    )
    if position is not None:
        seen = reconcile.verified(pending, position, account, now)
        return Admitted(replace(seen.trade, previous_state=None), (registered, *seen.events))
    if deals is not None and reconcile.all_closed(deals):
        done = reconcile.closed(_from_deals(pending, deals, account), deals, now)
        return Admitted(done.trade, (registered, *done.events))
    return Admitted(pending, (registered,))


def _from_deals(pending: Trade, deals: Sequence[Deal], account: tuple[int, str]) -> Trade:
    first = next(d for d in deals if d.entry is DealEntry.IN)
    return replace(
        pending,
        login=account[0],
        server=account[1],
        identifier=first.position_id,
        symbol=first.symbol,
        side=first.side,
        initial_volume=first.volume,
        entry_price=first.price,
    )
