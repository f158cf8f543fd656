"""The invariants C-1 to C-25 of ``engine.md``, each a check over what really happened, in one table.

Nothing here asks the rules under test: an order is compared with the broker's own positions right before and after it,
the record with the broker's books, and the next life with what the last one had stored.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from storm_setting import SWITCHED_OFF, TWO_SIDES, Facts

from dtms_service.domain import reconcile, signals
from dtms_service.domain.parameters import Parameters
from dtms_service.domain.record import Batch
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import (
    Event,
    Frozen,
    Intent,
    IntentState,
    Mode,
    Obligation,
    ObligationKind,
    ObligationStatus,
    Owner,
    Trade,
)
from dtms_service.domain.values import Side
from dtms_service.domain.view import MarketView
from dtms_service.engine.book import Book

Row = Mapping[str, Any]
"""A position or deal with MetaTrader's own field names."""
DEAL, SLTP = 1, 6
EXPERT = 3
"""DEAL_REASON_EXPERT."""
NOISE = 1e-9
TOO_MANY, POSITION_CLOSED = 10024, 10036
STALE_S, VERIFY_S, ORPHAN_S = 60.0, 600.0, 60.0
PER_MINUTE = 6
SECOND_FAILURE_CYCLES = 2
LOCAL = frozenset({"illegal_price", "illegal_volume"})
CLOSING = frozenset({ObligationKind.CLOSE_HEDGE, ObligationKind.CLOSE_ALL})


class Broken(BaseException):
    """An invariant does not hold. No exception, or the engine would take it for one of its own and go on."""


def sign(row: Row) -> int:
    """+1 for a BUY position."""
    return 1 - 2 * int(row["type"])


@dataclass(frozen=True, slots=True)
class Going:
    """An order as it left, and what it did at once."""

    request: Row
    before: Mapping[int, Row]
    after: Mapping[int, Row]
    retcode: int | None
    intent: Intent
    trade: Trade
    now: float

    @property
    def opens(self) -> bool:
        """A deal that names no position."""
        return self.request["action"] == DEAL and not self.request.get("position")

    @property
    def target(self) -> Row | None:
        """The position it names."""
        return self.before.get(self.request.get("position", 0))

    def main(self, positions: Mapping[int, Row]) -> Row | None:
        """The trade's position among these."""
        return main_of(self.trade, positions)

    def own(self, positions: Mapping[int, Row]) -> list[Row]:
        """Those that DTMS opened for the trade."""
        return own_of(self.trade, positions)

    def net(self, positions: Mapping[int, Row]) -> float:
        """Net volume in the trade's direction, as far as it is the trade's."""
        main = self.main(positions)
        volume = 0.0 if main is None else sign(main) * main["volume"]
        return float(self.trade.sign * (volume + sum(sign(p) * p["volume"] for p in self.own(positions))))


def main_of(trade: Trade, positions: Mapping[int, Row]) -> Row | None:
    """The position of ``trade``; its ticket is its identifier as long as the broker has not changed it."""
    same = positions.get(trade.identifier or 0)
    if same is not None and same["identifier"] == trade.identifier:
        return same
    return next((p for p in positions.values() if p["identifier"] == trade.identifier), None)


def own_of(trade: Trade, positions: Mapping[int, Row]) -> list[Row]:
    """Positions at the broker that DTMS opened for ``trade``."""
    if not trade.hedge_magics and trade.hedge is None:
        return []
    linked = trade.hedge.identifier if trade.hedge is not None else None
    return [p for p in positions.values() if p["magic"] in trade.hedge_magics or p["identifier"] == linked]


@dataclass
class Judge:
    """Everything that was seen of one storm, and the verdict."""

    account: str
    mode: Mode
    parameters: Parameters
    only: str | None = None
    """The one invariant to judge by; all of them when None."""
    facts: dict[str, Facts] = field(default_factory=dict)
    modes: dict[str, str] = field(default_factory=dict)
    """By symbol, what the broker allows at present."""
    checked: Counter[str] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    now: float = 0.0
    positions: Mapping[int, Row] = field(default_factory=dict)
    deals: list[Row] = field(default_factory=list)
    sighted: bool = True
    """The last look at the terminal showed all that must be believed."""
    true: bool = False
    """What the last look showed is what the broker holds still."""
    quotes: dict[str, float] = field(default_factory=dict)
    """Time of the newest quote of each symbol that the engine has read."""
    faults: dict[str, float] = field(default_factory=dict)
    """Until when a lasting fault stands."""
    stored: dict[int, Trade] = field(default_factory=dict)
    """Every trade as it was committed last."""
    intents: dict[int, Intent] = field(default_factory=dict)
    begun: dict[int, Intent] = field(default_factory=dict)
    """Every intent as it was when it was committed first, before its order left."""
    events: dict[int | None, list[Event]] = field(default_factory=lambda: defaultdict(list))
    sent: list[Going] = field(default_factory=list)
    asked: list[Row] = field(default_factory=list)
    """Every order as it left the service, also those that nobody heard of again."""
    nameless: dict[int, int] = field(default_factory=dict)
    """The magic of the order behind each deal that carries none."""
    cycles: int = 0
    complained_at: float | None = None
    orphaned: dict[int, tuple[float, float]] = field(default_factory=dict)
    """Since when a hedge has been open without its position, and for how many connected seconds, by trade."""
    moved: Counter[int] = field(default_factory=Counter)
    """Lots that hands closed of each position."""
    views: dict[tuple[str, float, float], MarketView] = field(default_factory=dict)
    grown: set[int] = field(default_factory=set)
    """Identifiers of positions that others have added to."""
    _looked_at: float | None = None
    _failing: dict[tuple[object, ...], int] = field(default_factory=dict)

    def named(self, deal: Row) -> Row:
        """The deal with the magic of its order. In a storm nobody else trades as a program without a magic."""
        if deal["magic"] or deal["reason"] != EXPERT:
            return deal
        if deal["ticket"] not in self.nameless:
            self.nameless[deal["ticket"]] = self._asked_for(deal)
        return {**deal, "magic": self.nameless[deal["ticket"]]}

    def asks(self, request: Row, positions: Mapping[int, Row]) -> None:
        """An order leaves the service."""
        if request["action"] == DEAL:
            about = positions.get(request.get("position", 0))
            self.asked.append({**request, "identifier": about["identifier"] if about is not None else None})

    def _asked_for(self, deal: Row) -> int:
        """The magic of the newest order that this can be a deal of; of two with one comment, or without, the later."""
        closes = deal["position_id"] if deal["entry"] else None
        like = [
            r
            for r in self.asked
            if (r["symbol"], r["type"], r["identifier"]) == (deal["symbol"], deal["type"], closes)
            and deal["volume"] <= r["volume"] + NOISE
        ]
        return int(max(enumerate(like), key=lambda each: (each[1]["comment"] == deal["comment"], each[0]))[1]["magic"])

    # What the storm tells.

    def order(self, request: Row, before: Mapping[int, Row], after: Mapping[int, Row], retcode: int | None) -> None:
        """An order left the service; ``retcode`` of the broker, None when nobody heard it."""
        self.positions = after
        magic = request["magic"]
        intent = self.intents.get(magic)
        self._judge("C-19", committed_first(intent, request))
        if intent is None:  # for the reader of types: the line above has raised
            return
        going = Going(request, before, after, retcode, intent, self.stored[intent.trade_id], self.now)
        self.seen["orders"] += 1
        self.seen[f"order {intent.kind.value}"] += 1
        for name, check in AT_ORDER.items():
            self._judge(name, check(self, going))
        self.sent.append(going)
        if retcode == POSITION_CLOSED:
            self.true = False  # the broker was faster
        if retcode == TOO_MANY:
            self.complained_at = self.now

    def look_begins(self, shown: Mapping[int, tuple[Any, ...]] | None, truth: Mapping[int, Row]) -> None:
        """The engine has read the terminal: what it was shown of the positions, None when it was shown nothing."""
        self.sighted = shown is not None
        self.positions = truth
        if shown is None:
            self._looked_at, self.true = None, False
            return
        self.cycles += 1
        passed = self.now - self._looked_at if self._looked_at is not None else 0.0
        self._looked_at = self.now
        self.true = shown == {t: (p["volume"], p["sl"], p["tp"]) for t, p in truth.items()}
        self._judge("C-24", told_in_time(self, passed))
        self._judge("C-24", failures_told(self))

    def rest(self, book: Book, failed: Sequence[str]) -> None:
        """Nothing is due at this instant any more. ``failed``: what the service says of errors of its own."""
        self._judge("C-25", nothing_failed(failed))
        if not self.true:  # the market or a hand has moved since the last look
            return
        for name, check in AT_REST.items():
            self._judge(name, check(self, book))

    def committed(self, batch: Batch) -> None:
        """A transaction is on disk."""
        for name, check in AT_COMMIT.items():
            self._judge(name, check(self, batch))
        for trade in batch.trades:
            self.stored[trade.trade_id] = trade
        for intent in batch.intents:
            self.begun.setdefault(intent.magic, intent)
            self.intents[intent.magic] = intent
            self._count_failure(intent)
        for event in batch.events:
            self.events[event.trade_id].append(event)
            if event.kind == "transition":
                self.seen["transitions"] += 1
                self.seen[f"{event.body['from']} to {event.body['to']}"] += 1
            elif event.kind == "alert":
                self.seen[f"alert {event.body['code']}"] += 1

    def _count_failure(self, intent: Intent) -> None:
        failed = intent.state in {IntentState.REJECTED, IntentState.NOT_EXECUTED} and not of_pace(intent)
        if failed:
            self._failing.setdefault((*work_of(intent), intent.magic), self.cycles)

    def restarted(self, stored: Mapping[int, Trade], before: Mapping[int, Row], book: Book) -> None:
        """A new life has completed its first cycle: what was stored, and what the broker held, when it began."""
        self._judge("C-20", nothing_forgotten(self, stored, before, book))

    def replayed(self, sent: int, changed: int) -> None:
        """A cycle was repeated at the same instant; the orders and deals of the second one."""
        self._judge("C-11", nothing_again(sent, changed))

    def ended(self, book: Book, *, is_open: bool) -> None:
        """The storm is over and the weather was calm for long enough; ``is_open``: markets still move."""
        self._judge("C-12", no_order_did_more(self))
        if is_open:
            self._judge("C-7", calm_settles_everything(self, book))

    def _judge(self, name: str, violations: Iterator[str]) -> None:
        if self.only not in {None, name}:
            return
        for words in violations:
            if words:
                message = f"{name} {words}"
                raise Broken(message)
            self.checked[name] += 1

    # What several checks ask.

    def alerts(self, trade_id: int, *codes: str, since: float = 0.0) -> list[Event]:
        """Alerts of the trade with one of ``codes``."""
        return [e for e in self.events[trade_id] if e.kind == "alert" and e.body["code"] in codes and e.time >= since]

    def main(self, trade: Trade) -> Row | None:
        """The trade's position at the broker."""
        return main_of(trade, self.positions)

    def open_intents(self, trade: Trade) -> list[Intent]:
        """Orders of the trade without an outcome."""
        return [i for i in self.intents.values() if i.trade_id == trade.trade_id and i.state.open]

    def quiet(self, trade: Trade) -> bool:
        """Nothing of the trade is under way or out of sight."""
        return trade.frozen is None and not self.open_intents(trade)

    def standing(self, kinds: frozenset[str]) -> bool:
        """One of these faults stands."""
        return any(self.faults.get(kind, -1.0) >= self.now for kind in kinds)


OK = ""
"""What a check yields when it had something to look at and found it right."""
Violations = Iterator[str]


def work_of(intent: Intent) -> tuple[object, ...]:
    """What an intent is an attempt at: one effect of one obligation."""
    return (intent.trade_id, intent.kind, intent.episode, intent.reason, intent.before.get("identifier"))


def of_pace(intent: Intent) -> bool:
    """Refused for the account's pace alone."""
    return intent.retcode == TOO_MANY or (intent.resolution or "").endswith(("send_paused", "order_in_flight"))


# At every order.


def never_looser(judge: Judge, going: Going) -> Violations:
    """C-1."""
    if going.request["action"] != SLTP or going.target is None:
        return
    new, old = going.request["sl"], going.target["sl"]
    nearer = new > 0 and (not old or going.trade.sign * (new - old) > 0)
    yield OK if nearer else f"the stop goes from {old} to {new}"


def target_untouched(judge: Judge, going: Going) -> Violations:
    """C-2."""
    if going.request["action"] != SLTP or going.target is None:
        return
    new, old = going.request["tp"], going.target["tp"]
    yield OK if new == old else f"the take profit goes from {old} to {new}"


def no_more_risk(judge: Judge, going: Going) -> Violations:
    """C-3."""
    main = going.main(going.before)
    volume = main["volume"] if main is not None else 0.0
    before, after = abs(going.net(going.before)), abs(going.net(going.after))
    yield OK if after <= max(volume, before) + NOISE else f"net {after} lots where {volume} were open, net {before}"


def sign_kept(judge: Judge, going: Going) -> Violations:
    """C-4."""
    if going.net(going.before) < -NOISE or going.request["action"] == SLTP:
        return  # somebody else turned it; levels trade nothing, though the broker may close at the old ones meanwhile
    after = going.net(going.after)
    yield OK if after >= -NOISE else f"the net side turned: {after} lots"


def hedge_bounded(judge: Judge, going: Going) -> Violations:
    """C-5 of the order that opens one."""
    if not going.opens:
        return
    main = going.main(going.before)
    if main is None:
        yield "a hedge without its position"
        return
    if 1 - 2 * going.request["type"] == sign(main) or going.request["symbol"] != main["symbol"]:
        yield "a hedge on the side of its trade"
    half = Decimal(str(main["volume"])) / 2
    yield OK if Decimal(str(going.request["volume"])) <= half else f"a hedge of more than {half} lots"


def one_hedge(judge: Judge, going: Going) -> Violations:
    """C-6 of the order that opens one."""
    if going.opens:
        shown = going.own(going.before) if judge.true else []
        yield "a second hedge" if going.trade.hedge is not None or shown else OK


def closed_is_silent(judge: Judge, going: Going) -> Violations:
    """C-8."""
    if going.target is not None and going.target in going.own(going.before):
        return
    trade = going.trade
    ours = judge.mode is Mode.PROTECT and trade.owner is Owner.DTMS and trade.managed and not trade.state.final
    yield OK if ours else f"an order on a trade in {trade.state} of {trade.owner}, managed {trade.managed}"


def part_bounded(judge: Judge, going: Going) -> Violations:
    """C-9 at every order that closes a part of the position itself."""
    main = going.main(going.before)
    parts = {ObligationKind.PARTIAL_CLOSE, ObligationKind.HEDGE}
    if going.opens or main is None or going.target != main or going.intent.kind not in parts:
        return
    whole, step = Decimal(str(going.trade.initial_volume)), Decimal(str(judge.facts[main["symbol"]].volume_step))
    done = {kind: closed_by(judge, going, kind) for kind in parts}
    done[going.intent.kind] += Decimal(str(going.request["volume"]))
    if done[ObligationKind.PARTIAL_CLOSE] > whole / 2:
        yield f"partial closes of {done[ObligationKind.PARTIAL_CLOSE]} of {whole} lots"
    by_others = main["volume"] > going.trade.initial_volume  # what they added is theirs
    least = (whole / 4) // step * step
    if sum(done.values()) > whole - least and not by_others:
        yield f"{sum(done.values())} of {whole} lots, short of closing everything"
    left = main["volume"] - going.request["volume"]
    yield OK if left >= judge.facts[main["symbol"]].volume_min - NOISE else f"{left} lots would be left"


def closed_by(judge: Judge, going: Going, kind: ObligationKind) -> Decimal:
    """Lots of the position itself that earlier orders of this kind closed, by the broker's deals."""
    trade = going.trade
    magics = {m for m, i in judge.intents.items() if i.trade_id == trade.trade_id and i.kind is kind}
    magics.discard(going.intent.magic)
    mine = (d for d in judge.deals if d["position_id"] == trade.identifier and d["entry"] and d["magic"] in magics)
    return sum((Decimal(str(d["volume"])) for d in mine), Decimal(0))


def nothing_added(judge: Judge, going: Going) -> Violations:
    """C-10: re-adding does not exist (R5), so its budget is nothing."""
    before, after = going.main(going.before), going.main(going.after)
    was, now = before["volume"] if before else 0.0, after["volume"] if after else 0.0
    if now > was + NOISE:
        yield f"the position grew from {was} to {now} lots"
    if going.request["action"] == DEAL and going.target is not None:
        closing = 1 - 2 * going.request["type"] == -sign(going.target)
        yield OK if closing and going.request["volume"] <= going.target["volume"] + NOISE else "a close that adds"


def at_most_once(judge: Judge, going: Going) -> Violations:
    """C-12: the same work is not done again, and never while it may still be done by an earlier order."""
    earlier = [
        i for i in judge.intents.values() if work_of(i) == work_of(going.intent) and i.magic < going.intent.magic
    ]
    open_yet = [i for i in earlier if i.state.open]
    if open_yet:
        yield f"leg {going.intent.leg} while {open_yet[0].magic} has no outcome"
    whole = going.intent.kind in {ObligationKind.HEDGE, ObligationKind.PARTIAL_CLOSE}
    done = [i for i in earlier if i.state is IntentState.CONFIRMED and whole and not in_pieces(i)]
    yield f"{going.intent.kind} was done by {done[0].magic}" if done else OK


def in_pieces(intent: Intent) -> bool:
    """A close above the largest volume goes out in several orders."""
    left = float(intent.before["volume"]) - float(intent.plan["volume"])
    return intent.plan["order"] == "ClosePosition" and left > float(intent.plan["target"]) + NOISE


def volume_legal(judge: Judge, going: Going) -> Violations:
    """C-13."""
    if going.request["action"] != DEAL:
        return
    facts, volume = judge.facts[going.request["symbol"]], Decimal(str(going.request["volume"]))
    if volume % Decimal(str(facts.volume_step)) or volume > Decimal(str(facts.volume_max)):
        yield f"{volume} lots, by {facts.volume_step} up to {facts.volume_max}"
    whole = going.target is not None and volume == Decimal(str(going.target["volume"]))
    yield OK if whole or volume >= Decimal(str(facts.volume_min)) else f"{volume} lots, least {facts.volume_min}"


def price_legal(judge: Judge, going: Going) -> Violations:
    """C-14."""
    facts, stop = judge.facts[going.request["symbol"]], going.request.get("sl", 0.0)
    about = going.target or going.main(going.before)
    if about is None:
        return
    if stop:
        if Decimal(str(stop)) % Decimal(str(facts.point)).normalize():
            yield f"a stop at {stop!r}, ticks of {facts.point}"
        side = going.trade.sign if not going.opens else -going.trade.sign
        room = side * (about["price_current"] - stop)
        if judge.quotes.get(going.request["symbol"], 0.0) >= going.now - 1.0:
            yield OK if room >= facts.stops_level * facts.point - facts.point / 2 else f"a stop {room} from the price"
    frozen = facts.freeze_level * facts.point
    if frozen and going.target is not None and judge.quotes.get(going.request["symbol"], 0.0) >= going.now - 1.0:
        near = [
            level for level in (about["sl"], about["tp"]) if level and abs(about["price_current"] - level) <= frozen
        ]
        yield f"sent inside the freeze level of {near[0]}" if near else OK


def filling_allowed(judge: Judge, going: Going) -> Violations:
    """C-15."""
    symbol, request = going.request["symbol"], going.request
    if judge.standing(SWITCHED_OFF):
        yield "an order while programs may not trade"
    if request["action"] == DEAL:
        allowed = judge.facts[symbol].fillings
        yield OK if request["type_filling"] in allowed else f"filling {request['type_filling']}, allowed {set(allowed)}"
    mode = judge.modes.get(symbol, "full")
    one_side = {"long_only": 0, "short_only": 1}.get(mode)
    forbidden = mode == "disabled" or (
        going.opens and (mode == "close_only" or (one_side is not None and request["type"] != one_side))
    )
    yield f"an order on a symbol that is {mode}" if forbidden else OK


def no_second_side(judge: Judge, going: Going) -> Violations:
    """C-16."""
    if going.opens:
        asked = judge.account in TWO_SIDES or judge.account == "prohibited"
        yield OK if asked else f"opens a second side on an account that is {judge.account}"
    elif going.request["action"] == DEAL and judge.account == "fifo" and going.target is not None:
        mine = going.target
        older = [
            p
            for p in going.before.values()
            if (p["symbol"], p["type"]) == (mine["symbol"], mine["type"])
            and (p["time_msc"], p["identifier"]) < (mine["time_msc"], mine["identifier"])
        ]
        # A read that left the older one out lets nobody know of it; then the broker refuses.
        yield f"closes {mine['ticket']} before the older {older[0]['ticket']}" if older and judge.true else OK


def on_fresh_quotes(judge: Judge, going: Going) -> Violations:
    """C-18 of orders: only a hedge without its position, a second one or one that is too large is closed blindly."""
    about = next((o for o in going.trade.obligations if o.status is ObligationStatus.SENT), None)
    of_a_hedge = about is not None and about.kind is ObligationKind.CLOSE_HEDGE
    if about is not None and of_a_hedge and (about.position is not None or going.trade.state.final):
        return
    age = going.now - judge.quotes.get(going.request["symbol"], 0.0)
    yield OK if age <= STALE_S + NOISE else f"an order on a quote {age:.0f} s old"


def committed_first(intent: Intent | None, request: Row) -> Violations:
    """C-19."""
    if intent is None or intent.state is not IntentState.SENDING:
        yield f"an order whose intent is not on disk as SENDING: {dict(request)}"
    elif request["action"] == DEAL and abs(float(intent.plan["volume"]) - request["volume"]) > NOISE:
        yield f"an order of {request['volume']} lots whose intent says {intent.plan['volume']}"
    else:
        yield OK if intent.reason else "an intent without a reason"


def only_what_is_ours(judge: Judge, going: Going) -> Violations:
    """C-22."""
    named = going.target
    if not going.opens:
        main = going.main(going.before)
        known = named is not None and (named == main or named in going.own(going.before))
        if not known and going.request.get("position", 0) in going.before:
            yield f"an order for position {going.request.get('position')}, which is not the trade's"
    if going.request["action"] not in {DEAL, SLTP}:
        yield f"action {going.request['action']}"
    theirs = {
        ticket
        for ticket in going.before.keys() | going.after.keys()
        if shape(going.before.get(ticket)) != shape(going.after.get(ticket))
        and (named is None or ticket != named["ticket"])
        and (ticket not in going.after or going.after[ticket]["magic"] != going.request["magic"])
    }
    # What else changed in the same instant is the broker's doing, unless the order named it.
    moved = {t for t in theirs if t in going.after and going.after[t]["magic"] != 0 and not going.opens}
    yield f"it changed other positions: {sorted(moved)}" if moved and going.retcode == 10009 else OK


def shape(row: Row | None) -> tuple[Any, ...] | None:
    """What an order may change of a position."""
    return None if row is None else (row["volume"], row["sl"], row["tp"])


def one_at_a_time(judge: Judge, going: Going) -> Violations:
    """C-23. Closes, and what the server's pace refused, are exempt from the rate (R9)."""
    others = [i for i in judge.open_intents(going.trade) if i.magic != going.intent.magic]
    if going.trade.state.final:  # what was asked of a closed position cannot happen any more
        others = [i for i in others if i.before.get("identifier") != going.trade.identifier]
    if others:
        yield f"{len(others) + 1} orders of trade {going.trade.ticket} are under way"
    if judge.complained_at is not None and going.now - judge.complained_at < 1.0:
        yield f"an order {going.now - judge.complained_at:.1f} s after the server said too many"
    last = {
        g.intent.magic
        for g in judge.sent
        if g.trade.trade_id == going.trade.trade_id
        and g.now > going.now - 60.0
        and (g.opens or g.request["action"] == SLTP)
        and g.retcode != TOO_MANY
    }
    if going.opens or going.request["action"] == SLTP:
        yield OK if len(last) < PER_MINUTE else f"{len(last) + 1} requests within a minute for {going.trade.ticket}"


AT_ORDER: Mapping[str, Callable[[Judge, Going], Violations]] = {
    "C-1": never_looser,
    "C-2": target_untouched,
    "C-8": closed_is_silent,
    "C-22": only_what_is_ours,
    "C-16": no_second_side,
    "C-5": hedge_bounded,
    "C-6": one_hedge,
    "C-10": nothing_added,
    "C-9": part_bounded,
    "C-12": at_most_once,
    "C-13": volume_legal,
    "C-14": price_legal,
    "C-15": filling_allowed,
    "C-18": on_fresh_quotes,
    "C-23": one_at_a_time,
    "C-4": sign_kept,
    "C-3": no_more_risk,
}


# At rest: the engine has seen what the broker holds, and has done what it does about it.


def within_its_position(judge: Judge, book: Book) -> Violations:
    """C-5: what is too large, or on the wrong side, is being closed."""
    for trade in book.trades.values():
        main, own = judge.main(trade), own_of(trade, judge.positions)
        if main is None or not own or not judge.quiet(trade):
            continue
        too_much = sum(p["volume"] for p in own) > main["volume"] + NOISE or any(sign(p) == sign(main) for p in own)
        right = not too_much or all(owed(judge, trade, p) for p in own[:1]) or len(own) > 1
        yield OK if right else f"hedges {[p['volume'] for p in own]} on {main['volume']} lots, and none is being closed"


def owed(judge: Judge, trade: Trade, position: Row) -> bool:
    """Closing ``position`` is owed."""
    linked = trade.hedge.identifier if trade.hedge is not None else None
    return any(
        o.kind in CLOSING and o.status.live and (o.position or linked) == position["identifier"]
        for o in trade.obligations
    )


def second_is_closed(judge: Judge, book: Book) -> Violations:
    """C-6: of two hedges one is being closed; so is a position of ours that is no hedge."""
    for trade in book.trades.values():
        own = own_of(trade, judge.positions)
        if not own or not judge.quiet(trade):
            continue
        linked = trade.hedge.identifier if trade.hedge is not None else None
        left = [p["ticket"] for p in own if p["identifier"] != linked and not owed(judge, trade, p)]
        yield f"nobody closes {left} beside the hedge {linked} of {trade.ticket}" if left else OK


def orphan_is_closed(judge: Judge, book: Book) -> Violations:
    """C-7: in the cycle that sees the position closed, closing its hedge is owed."""
    for trade in book.trades.values():
        own = own_of(trade, judge.positions)
        if not own or judge.main(trade) is not None or not judge.quiet(trade) or trade.frozen is Frozen.VERIFY:
            continue
        if trade.closed_reason == "UNVERIFIED" and judge.alerts(trade.trade_id, "hedge_left_open"):
            continue
        left = [p["ticket"] for p in own if not owed(judge, trade, p)]
        yield f"nobody closes {left}, whose position {trade.ticket} is gone" if left else OK


def same_bars_same_view(judge: Judge, book: Book) -> Violations:
    """C-21: what closed bars say never changes, and says the opposite to the other side."""
    for symbol, view in book.views.items():
        known = judge.views.setdefault((symbol, view.m15_time, view.m5_time), view)
        if (known.structure, known.m5_close) != (view.structure, view.m5_close):
            yield f"{symbol} was read as {known.structure} and is {view.structure} with the same closed bars"
        buy, sell = (signals.score(view, side, judge.parameters).value for side in (Side.BUY, Side.SELL))
        yield (
            OK if buy is None or abs(buy + (sell or 0.0)) < NOISE else f"{symbol} scores {buy} for BUY, {sell} for SELL"
        )


def record_is_truth(judge: Judge, book: Book) -> Violations:
    """C-17: an open trade shows what the broker holds."""
    for trade in book.trades.values():
        main = judge.main(trade)
        if trade.verified_at is None or trade.frozen is not None or (main is None and not trade.volume):
            continue
        if reconcile.lags(trade, judge.now):
            continue  # reads may be older than our order, so that looser levels and larger volumes are not believed yet
        if trade.state.final or main is None:
            yield f"{trade.ticket} is {trade.state}, and {'open' if main else 'gone'} at the broker"
        else:
            record = (trade.volume, trade.stop_loss or 0.0, trade.take_profit or 0.0)
            yield OK if record == shape(main) else f"{trade.ticket} is recorded as {record}, but is {shape(main)}"


AT_REST: Mapping[str, Callable[[Judge, Book], Violations]] = {
    "C-6": second_is_closed,
    "C-7": orphan_is_closed,
    "C-5": within_its_position,
    "C-17": record_is_truth,
    "C-21": same_bars_same_view,
}


# At every transaction.


def unknown_changes_nothing(judge: Judge, batch: Batch) -> Violations:
    """C-17: without a look at the terminal no trade changes; closed is what deals closed, or what stayed away."""
    for trade in batch.trades:
        before = judge.stored.get(trade.trade_id)
        if before is None:
            continue
        about_market = (before.state, before.volume, before.stop_loss) != (trade.state, trade.volume, trade.stop_loss)
        if not judge.sighted and about_market and trade.rule != "handed_over":
            yield f"{trade.ticket} went from {before.state} to {trade.state} unseen"
        if trade.state is not TradeState.CLOSED or before.state is TradeState.CLOSED:
            continue
        mine = [d for d in judge.deals if d["position_id"] == trade.identifier]
        bought = sum(d["volume"] for d in mine if d["entry"] == 0)
        out = sum(d["volume"] for d in mine if d["entry"] != 0)
        proven = bought > 0 and out >= bought - NOISE
        if trade.closed_reason == "UNVERIFIED":
            missed = judge.alerts(trade.trade_id, "position_missing")
            waited = (trade.closed_at or 0.0) - missed[-1].time if missed else 0.0
            yield OK if waited >= VERIFY_S else f"{trade.ticket} closed without proof after {waited:.0f} s"
        else:
            yield (
                OK if proven or trade.closed_reason == "REVERSED" else f"{trade.ticket} is CLOSED, its deals leave some"
            )


def scored_on_fresh_data(judge: Judge, batch: Batch) -> Violations:
    """C-18 of evaluations: none on a quote or on bars that are old."""
    for trade in batch.trades:
        before = judge.stored.get(trade.trade_id)
        if before is None or trade.score_at == before.score_at or trade.score_at is None:
            continue
        age = trade.score_at - judge.quotes.get(trade.symbol, 0.0)
        yield OK if age <= STALE_S + NOISE else f"{trade.ticket} was scored on a quote {age:.0f} s old"


def undone_is_undone(judge: Judge, batch: Batch) -> Violations:
    """C-12: of what is recorded as not done the broker has no deal."""
    for intent in batch.intents:
        if intent.state not in {IntentState.NOT_EXECUTED, IntentState.REJECTED}:
            continue
        # Without a comment it is a twin with our magic, which is a hand of the storm.
        done = [d for d in judge.deals if d["magic"] == intent.magic and (d["entry"] or d["comment"])]
        yield f"order {intent.magic} is {intent.state}, and the broker did it" if done else OK


def failure_has_a_row(judge: Judge, batch: Batch) -> Violations:
    """C-25: an order that came to nothing has an action with its reason; a refused obligation has an alert."""
    for intent in batch.intents:
        if intent.state.open and intent.state is not IntentState.UNKNOWN:
            continue
        told = [e for e in batch.events if e.kind == "action" and e.body["details"]["magic"] == intent.magic]
        told += [e for e in batch.events if e.kind == "intent_unknown" and e.body["magic"] == intent.magic]
        if not told:
            yield f"intent {intent.magic} became {intent.state} without a word"
            continue
        silent = told[0].kind == "action" and not (told[0].body["reason"] and told[0].body["details"]["resolution"])
        yield f"intent {intent.magic} became {intent.state} without a reason" if silent else OK
        if intent.resolution is not None and intent.resolution.removeprefix("refused: ") in LOCAL:
            yield f"our own gateway had to stop an order: {intent.resolution} {dict(intent.plan)}"
    for trade in batch.trades:
        before = judge.stored.get(trade.trade_id)
        refused = [o for o in trade.obligations if o.status is ObligationStatus.REFUSED]
        known = [o for o in before.obligations if o.status is ObligationStatus.REFUSED] if before else []
        if len(refused) <= len(known):
            continue
        alerts = [e for e in batch.events if e.kind == "alert" and e.trade_id == trade.trade_id]
        reason = all(o.waiting for o in refused)
        yield (
            OK if reason and any(e.body["code"] == "obligation_refused" for e in alerts) else "a refusal without alert"
        )


def nothing_failed(failed: Sequence[str]) -> Violations:
    """C-25: no error of our own is swallowed; this storm has none to swallow."""
    yield f"errors of our own: {failed}" if failed else OK


AT_COMMIT: Mapping[str, Callable[[Judge, Batch], Violations]] = {
    "C-12": undone_is_undone,
    "C-17": unknown_changes_nothing,
    "C-18": scored_on_fresh_data,
    "C-25": failure_has_a_row,
}


# Time, restarts, repetition.


def told_in_time(judge: Judge, passed: float) -> Violations:
    """C-24: a hedge without its position is closed, or somebody is told, within a minute of connection."""
    for trade in judge.stored.values():
        alone = trade.verified_at is not None and own_of(trade, judge.positions) and judge.main(trade) is None
        if not alone:
            judge.orphaned.pop(trade.trade_id, None)
            continue
        since, waited = judge.orphaned.get(trade.trade_id, (judge.now - passed, 0.0))
        waited += passed
        judge.orphaned[trade.trade_id] = since, waited
        codes = ("orphan_hedge", "position_missing", "hedge_left_open", "position_reversed", "hedge_missing")
        told = judge.alerts(trade.trade_id, *codes, since=since - STALE_S)
        yield OK if told or waited <= ORPHAN_S else f"the hedge of {trade.ticket} is alone for {waited:.0f} s, untold"


def failures_told(judge: Judge) -> Violations:
    """C-24: the second failure of one obligation is told within two cycles."""
    by_work: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for (*work, _), cycle in judge._failing.items():
        by_work[tuple(work)].append(cycle)
    for about, cycles in by_work.items():
        if len(cycles) < 2:
            continue
        trade_id = about[0]
        assert isinstance(trade_id, int)
        told = judge.alerts(trade_id, "obligation_failing")
        late = judge.cycles - sorted(cycles)[1] > SECOND_FAILURE_CYCLES
        yield f"{len(cycles)} failures of {about}, and nobody was told" if late and not told else OK


def nothing_forgotten(judge: Judge, stored: Mapping[int, Trade], before: Mapping[int, Row], book: Book) -> Violations:
    """C-20: what was stored is there, what was owed is owed or done, and the broker protects no less."""
    for trade_id, old in stored.items():
        new = book.trades.get(trade_id)
        if new is None:
            if not old.state.final:
                yield f"trade {old.ticket} is forgotten"
            continue
        kept = (old.initial_volume, old.partials, old.hedges) <= (new.initial_volume, new.partials, new.hedges)
        if not kept or not set(old.hedge_magics) <= set(new.hedge_magics):
            yield f"{old.ticket} lost its counts"
        if new.state.final or new.episode != old.episode or old.state is TradeState.PENDING:
            continue  # what was not seen yet may be seen at the start
        if (new.state, new.flat_left_s, new.recovery_left_s) != (old.state, old.flat_left_s, old.recovery_left_s):
            yield f"{old.ticket} is {new.state}, was {old.state}, in the same episode"
        lost = [o for o in old.obligations if o.status.live and not any(same(o, n) for n in new.obligations)]
        if lost:
            yield f"{old.ticket} does not owe {lost[0].kind} any more"
        stuck = [o for o in new.obligations if o.status is ObligationStatus.SENT]
        intents = [i for i in book.intents.values() if i.trade_id == trade_id]
        yield f"{old.ticket} waits for {stuck[0].kind} that nobody looks for" if stuck and not intents else OK
    now = {p["identifier"]: p for p in judge.positions.values()}
    for position in before.values():
        trade = next((t for t in book.trades.values() if t.identifier == position["identifier"]), None)
        there = now.get(position["identifier"])
        if trade is None or there is None:
            continue
        looser = position["sl"] and (not there["sl"] or sign(position) * (there["sl"] - position["sl"]) < 0)
        yield f"the start loosened {trade.ticket}" if looser or there["volume"] > position["volume"] else OK


def same(a: Obligation, b: Obligation) -> bool:
    """One obligation at two times."""
    return (a.kind, a.episode, a.created_at, a.reason, a.position) == (
        b.kind,
        b.episode,
        b.created_at,
        b.reason,
        b.position,
    )


def nothing_again(sent: int, changed: int) -> Violations:
    """C-11."""
    yield f"a repeated cycle sent {sent} orders and changed {changed} trades" if sent or changed else OK


# When all is over.


def no_order_did_more(judge: Judge) -> Violations:
    """C-12 by the broker's deals: no order did more than it planned, none of ours is without its intent."""
    done: dict[int, float] = defaultdict(float)
    for deal in judge.deals:
        if deal["magic"] // 10**11 != 4454:
            continue
        if deal["magic"] not in judge.intents:
            yield f"deal {deal['ticket']} carries the magic {deal['magic']} of no order"
            continue
        opened = judge.intents[deal["magic"]].plan["order"] == "OpenHedge"
        by_hand = deal["entry"] == 0 and not deal["comment"]  # a twin with our magic, which is a hand of the storm
        if (deal["entry"] == 0 or not opened) and not by_hand:
            done[deal["magic"]] += deal["volume"]
    for magic, volume in done.items():
        planned = float(judge.intents[magic].plan["volume"])
        yield OK if volume <= planned + NOISE else f"order {magic} did {volume} of {planned} lots"
    of_kind: dict[tuple[object, ...], float] = defaultdict(float)
    for magic, volume in done.items():
        intent = judge.intents[magic]
        if intent.kind is ObligationKind.PARTIAL_CLOSE:
            of_kind[intent.trade_id, intent.kind, intent.episode] += volume
    for (trade_id, kind, _), volume in of_kind.items():
        assert isinstance(trade_id, int)
        whole = judge.stored[trade_id].initial_volume
        yield OK if volume <= whole / 2 + NOISE else f"{kind} did {volume} of {whole} lots"


def calm_settles_everything(judge: Judge, book: Book) -> Violations:
    """C-7: no hedge of ours outlives its position, no order of ours is without an outcome."""
    for trade in book.trades.values():
        own, main = own_of(trade, judge.positions), judge.main(trade)
        if trade.closed_reason == "UNVERIFIED" or trade.frozen is Frozen.VERIFY:
            continue
        if own and main is None:
            yield f"the hedge of {trade.ticket} is still open, its position is not: {trade.obligations}"
        elif len(own) > 1:
            yield f"{len(own)} hedges of {trade.ticket} are open"
        else:
            yield OK
