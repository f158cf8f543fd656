"""What good reads show of an order without an answer: what is its own, and what may be although it has no name. Pure.

An order is known by its magic, then by the ticket that its reply named. Bridges zero magics (``engine.md`` D1.5): what
carries none may still be the order's, by its comment or by the stop loss that travelled with it (R4).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from dtms_service.domain import levels
from dtms_service.domain.effects import opens
from dtms_service.domain.trade import STOP_KINDS, Intent, ObligationKind
from dtms_service.domain.values import Deal, DealEntry, DealReason, Position, Side, SymbolSpec, WorkingOrder

CLOCKS_APART_S = 5.0
"""How much earlier than its order a deal may be dated (``engine.md`` D1)."""
_PARTS = frozenset({ObligationKind.PARTIAL_CLOSE, ObligationKind.HEDGE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """What good reads since the order was sent have shown, and for how long a connected terminal was watched.

    ``position`` is the one that the order is about; where it opens a hedge, the one that carries its magic.
    """

    position: Position | None
    orders: Sequence[WorkingOrder]
    deals: Sequence[Deal]
    """All deals of the position's identifier; where the order opens a hedge, all of the account since it was sent."""
    connected_s: float
    good_reads: int
    claimed: frozenset[int] = frozenset()
    """Identifiers of positions that belong to a trade, as its position or as its hedge."""
    open: Mapping[int, Position] = field(default_factory=dict)
    """All positions of the account by identifier, where the order opens a hedge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nameless:
    """A position without a magic that an order may have opened."""

    identifier: int
    volume: float
    at: float
    ours: bool
    """The order's by its ticket, by its comment, or by its stop loss to the tick."""
    deal: int | None = None
    bare: bool = False
    """It is open and has no stop loss."""
    stopped_out: bool = False
    """It is gone, and a stop loss has closed it."""


def own_deals(intent: Intent, sighting: Sighting) -> list[Deal]:
    """Deals of the order. One that closes a hedge at its stop carries the magic of the order that opened it."""
    own = [deal for deal in sighting.deals if _is_own(deal.magic, deal.order, intent)]
    return [deal for deal in own if deal.entry is DealEntry.IN] if opens(intent) else own


def is_working(intent: Intent, sighting: Sighting) -> bool:
    """True while the order waits at the broker."""
    return any(_is_own(order.magic, order.ticket, intent) for order in sighting.orders)


def _is_own(magic: int, order: int, intent: Intent) -> bool:
    return magic == intent.magic or (intent.order is not None and order == intent.order)


def nameless_deals(intent: Intent, sighting: Sighting, spec: SymbolSpec) -> list[Deal]:
    """Deals of a program without a magic that may be the order's; none where the reply named the order."""
    if intent.kind in STOP_KINDS or intent.order is not None:
        return []
    side = Side(intent.plan["side"])
    entry = DealEntry.IN if opens(intent) else DealEntry.OUT
    return [
        deal
        for deal in sighting.deals
        if (deal.entry, deal.magic, deal.reason) == (entry, 0, DealReason.EXPERT)
        and deal.symbol == intent.plan["symbol"]
        and deal.side is (side if opens(intent) else side.opposite)
        and deal.volume <= wanted(intent) + spec.volume_step / 2
        and deal.time >= intent.sending_at - CLOCKS_APART_S
    ]


def nameless_positions(intent: Intent, sighting: Sighting, spec: SymbolSpec) -> list[Nameless]:
    """Positions of the order's symbol and side, not larger, opened since, claimed by nobody: open ones and gone ones.

    One with the comment of another trade's hedge is that one's.
    """
    found = [*_open(intent, sighting, spec), *_gone(intent, sighting, spec)]
    return [
        one
        for one in found
        if one.identifier not in sighting.claimed and one.volume <= wanted(intent) + spec.volume_step / 2
    ]


def _open(intent: Intent, sighting: Sighting, spec: SymbolSpec) -> list[Nameless]:
    stop = float(intent.plan["stop_loss"])
    return [
        Nameless(
            identifier=p.identifier,
            volume=p.volume,
            at=p.time,
            ours=_named(p.identifier, p.comment, intent)
            or (intent.order is None and levels.same_price(p.stop_loss, stop, spec.tick_size)),
            bare=p.stop_loss is None,
        )
        for p in sighting.open.values()
        if (p.magic, p.symbol, p.side) == (0, intent.plan["symbol"], Side(intent.plan["side"]))
        and p.time >= intent.sending_at - CLOCKS_APART_S
        and not _anothers(p.comment, intent)
    ]


def _gone(intent: Intent, sighting: Sighting, spec: SymbolSpec) -> list[Nameless]:
    opened: dict[int, list[Deal]] = {}
    for deal in nameless_deals(intent, sighting, spec):
        if deal.position_id not in sighting.open and not _anothers(deal.comment, intent):
            opened.setdefault(deal.position_id, []).append(deal)
    stopped = {deal.position_id for deal in sighting.deals if deal.reason is DealReason.STOP_LOSS}
    return [
        Nameless(
            identifier=number,
            volume=lots(deals),
            at=deals[0].time,
            ours=_named(number, deals[-1].comment, intent),
            deal=deals[-1].ticket,
            stopped_out=number in stopped,
        )
        for number, deals in opened.items()
    ]


def _named(identifier: int, comment: str, intent: Intent) -> bool:
    """By the order's ticket, which is the identifier of what it opens; where no reply named it, by its comment."""
    return identifier == intent.order if intent.order is not None else comment == intent.plan["comment"]


def _anothers(comment: str, intent: Intent) -> bool:
    """The comment of a hedge that is not this order's; they begin alike (``plan``)."""
    ours = str(intent.plan["comment"])
    return comment != ours and comment.startswith(ours[:3])


def closed_perhaps(intent: Intent, sighting: Sighting, spec: SymbolSpec) -> float:
    """Lots of a part that nameless deals took from the position since the order: not more than are missing there.

    Taken for others', they would let a later part close more than half (C-9). A close of everything has no such limit.
    """
    if intent.kind not in _PARTS or opens(intent) or sighting.position is None:
        return 0.0
    since = intent.sending_at - CLOCKS_APART_S
    added = lots(d for d in sighting.deals if d.entry is DealEntry.IN and d.time >= since)
    missing = float(intent.before["volume"]) + added - sighting.position.volume
    alike = lots(nameless_deals(intent, sighting, spec))
    return max(0.0, float(f"{min(alike, missing, wanted(intent)):.8f}"))


def lots(deals: Iterable[Deal]) -> float:
    """The volume of the deals together."""
    return float(f"{sum(deal.volume for deal in deals):.8f}")


def wanted(intent: Intent) -> float:
    """Lots that the order was to open or close; 0.0 for a change of levels."""
    return float(intent.plan.get("volume", 0.0))
