"""Everything behind the simulated terminal's functions: market, account file, broker, faults and clock."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from dtms_service.terminal.simulated.arguments import parse_request
from dtms_service.terminal.simulated.broker import Broker, Filled
from dtms_service.terminal.simulated.constants import Constants
from dtms_service.terminal.simulated.faults import Faults
from dtms_service.terminal.simulated.market import SYNTHETIC, Market, open_market
from dtms_service.terminal.simulated.playing import Playing
from dtms_service.terminal.simulated.reading import read_whole
from dtms_service.terminal.simulated.rows import DealRow, OrderRow, PositionRow
from dtms_service.terminal.simulated.rules import Deal, Judged, No
from dtms_service.terminal.simulated.series import Quote
from dtms_service.terminal.simulated.state import State
from dtms_service.terminal.simulated.store import FORMAT, Store
from dtms_service.terminal.simulated.terms import Terms, read_contracts, read_habits, read_terms
from dtms_service.terminal.simulated.timeline import Timeline, read_clock

FILE = "account.db"
_REMEMBERED_S = 60.0
"""How far back the positions of earlier instants are known; no lag is longer."""


class Seen(NamedTuple):
    """What the broker's records showed from ``time`` on."""

    time: float
    positions: tuple[PositionRow, ...]
    waiting: tuple[OrderRow, ...]


class Desk:
    """The simulated broker with its market and its file; ``now`` is market time in UTC seconds."""

    def __init__(self, market: Market, state: State, broker: Broker, timeline: Timeline, login: int) -> None:
        self.market = market
        self.state = state
        self.broker = broker
        self.timeline = timeline
        self.login = login
        self.faults = Faults(state)
        self.selected_at: dict[str, float] = {}
        """When a symbol was put into Market Watch by this process."""
        self._playing = Playing(broker)
        self._version = state.version
        self._shown = deque([Seen(-math.inf, tuple(state.positions.values()), tuple(state.waiting.values()))])
        selected = str(state.meta["selected"])
        self.selected = set(selected.split("\n")) if selected else set()

    @property
    def now(self) -> float:
        """Market time up to which everything has happened."""
        return self.timeline.played

    def play(self) -> None:
        """Bring the market to the current instant; does nothing when the clock is stepped."""
        self._play(self.timeline.now())
        self.save()

    def advance(self, until: float) -> float:
        """Step to ``until`` (UTC seconds): all that happens on the way and the new time are one transaction."""
        if until > self.now:
            self._play(until)
            self.save(moved=True)
        return self.now

    def _play(self, until: float) -> None:
        """Every tick and every late order in their order of time."""
        if until <= self.now:
            return
        due = sorted(
            (late for late in self.state.late.values() if late.due <= until), key=lambda late: (late.due, late.id)
        )
        for late in due:
            self._playing.play(self.now, late.due)
            self.timeline.played = max(self.now, late.due)
            self.state.drop_late(late.id)
            judged = self.broker.check(parse_request(json.loads(late.request)), self.now)
            if not isinstance(judged, No):
                self.execute(judged)
        self._playing.play(self.now, until)
        self.timeline.played = until

    def execute(self, judged: Judged, reason: int = Constants.DEAL_REASON_EXPERT) -> Filled | None:
        """Carry out what the broker has accepted. The symbol of a position is always in Market Watch."""
        if isinstance(judged, Deal):
            self.select(judged.series.facts.name)
        return self.broker.execute(judged, self.now, reason)

    def stop_first(self, ticket: int) -> None:
        """Close a position by its stop loss just now, as a tick between a look and an order would."""
        position = self.state.positions.get(ticket)
        if position is not None:
            price = position.sl or self.broker.books.price_of(position, self.now)
            self.broker.stop(position, Constants.DEAL_REASON_SL, price, self.now)
            self.save()

    def seen(self, lag: float) -> Seen:
        """The records as they were ``lag`` market seconds ago."""
        self._remember()
        if lag <= 0:
            return Seen(self.now, tuple(self.state.positions.values()), tuple(self.state.waiting.values()))
        return next((seen for seen in reversed(self._shown) if seen.time <= self.now - lag), self._shown[0])

    def _remember(self) -> None:
        if self._version != self.state.version:
            self._version = self.state.version
            self._shown.append(Seen(self.now, tuple(self.state.positions.values()), tuple(self.state.waiting.values())))
        while len(self._shown) > 1 and self._shown[1].time < self.now - _REMEMBERED_S:
            self._shown.popleft()

    def select(self, symbol: str, *, enable: bool = True) -> None:
        """Put a symbol into Market Watch or take it out."""
        if enable != (symbol in self.selected):
            (self.selected.add if enable else self.selected.discard)(symbol)
            self.selected_at[symbol] = self.now
            self.state.set_meta("selected", "\n".join(sorted(self.selected)))

    def save(self, *, moved: bool = False) -> None:
        """Write what has changed and the instant it belongs to; ``moved`` writes the instant in any case."""
        self._remember()
        if moved or self.state.changed:
            self.state.set_meta("now", self.now)
            real = self.timeline.real_of_played()
            if real != self.state.meta["real"]:
                self.state.set_meta("real", real)
            self.state.save()

    def quote(self, symbol: str, time: float | None = None) -> Quote | None:
        """The quote the terminal shows: at ``time``, else now, unless a standing fault has frozen the feed."""
        moment = self.now if time is None else time
        if self.now < self.selected_at.get(symbol, -math.inf) + self.broker.habits.first_tick_s:
            return None
        if self.state.faults:
            for kind in ("stale_ticks", "disconnected", "market_closed"):
                fault = self.faults.standing(kind, self.now, symbol)
                if fault is not None:
                    moment = min(moment, fault.armed_at)
        return self.market.of(symbol).quote(moment)


def open_desk(options: Mapping[str, Any], wall: Callable[[], float] | None) -> Desk:
    """Open or create the account of ``options`` (see ``backend.open_backend``); ``ValueError`` with one sentence."""
    folder = Path(str(options["state_dir"])) / "terminal"
    terms = read_terms(options.get("account") or {})
    habits = read_habits(options.get("broker") or {})
    factor = read_clock(options.get("clock", "live"))
    seed = read_whole(options, "seed", 1, -(2**63), 2**63 - 1) or 0
    market = open_market(
        str(options.get("market") or SYNTHETIC), seed, terms.clock.base, read_contracts(options.get("symbols") or ())
    )
    start = _read_start(options.get("start"), market)
    login = login_of(folder)
    store = Store(folder / FILE)
    try:
        facts = {"format": FORMAT, "login": login, "market": market.name, **terms.facts}
        _pin(store, facts)
        state = State(store)
        if "now" not in state.meta:
            _create(state, facts, terms, start)
        real = state.meta["real"] if factor is not None else None
        timeline = Timeline(factor, wall, float(state.meta["now"]), real)
    except ValueError:
        store.close()
        raise
    return Desk(market, state, Broker(market, state, terms, habits, seed), timeline, login)


def login_of(folder: Path) -> int:
    """The simulated login: eight digits that depend on the folder's full path only (R33)."""
    path = os.path.normcase(str(folder.resolve()))
    digest = hashlib.blake2b(path.encode(), digest_size=8).digest()
    return 10_000_000 + int.from_bytes(digest, "little") % 90_000_000


def _pin(store: Store, facts: Mapping[str, Any]) -> None:
    """An account goes on only as what it was opened as; anything else is refused, never replaced."""
    held = store.meta()
    for key, value in facts.items():
        if held and held.get(key) != value:
            message = (
                f"{store.path}: this simulated account has {key} {held.get(key)!r}, the settings ask for {value!r};"
                " go back to the old setting or choose another state folder"
            )
            raise ValueError(message)


def _create(state: State, facts: Mapping[str, Any], terms: Terms, start: float) -> None:
    """A new account: one transaction with its terms and the deal that pays the balance in."""
    for key, value in {**facts, "ticket": 1_000_000, "selected": "", "now": start, "real": None}.items():
        state.set_meta(key, value)
    moment = round(start * 1000)
    balance = Constants.DEAL_TYPE_BALANCE
    state.put(DealRow(state.ticket(), 0, 0, "", balance, 0, 0.0, 0.0, terms.balance, 0, 0, "initial deposit", moment))
    state.save()


def _read_start(value: Any, market: Market) -> float:
    if value is None:
        return market.start
    try:
        start = datetime.fromisoformat(value)
    except (TypeError, ValueError) as error:
        message = f"simulator.start is {value!r}; it must be a time such as 2025-01-06T08:00:00Z"
        raise ValueError(message) from error
    seconds = (start if start.tzinfo else start.replace(tzinfo=UTC)).timestamp()
    first, last = market.ends
    if not first <= seconds <= last:
        message = f"simulator.start is {value!r}, outside the bars, which begin at {datetime.fromtimestamp(first, UTC)}"
        raise ValueError(message)
    return float(math.floor(seconds))
