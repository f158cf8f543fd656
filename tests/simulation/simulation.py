"""Engine, ledger, HTTP application, spool and clients in one process and in virtual time, drawn from one seed.

The engine's storm goes on (``tests/engine/storm.py``: hands, faults of the terminal, operators), judged at every order,
look, transaction and restart. Callers register meanwhile over a bad network, and the service dies at any effect.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import logging
import os
import random
import re
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import storm
import storm_setting as weather
import virtual_loop
from callers import Caller, Promises, SimulatedClient
from life import Died, Life
from network import Network
from numpy.typing import NDArray
from protections import PROTECTIONS
from storm import Storm, StormLink
from storm_judge import Broken, Judge

from dtms_client.clock import Clock
from dtms_client.spool import entries
from dtms_service.api.app import make_app
from dtms_service.api.doors import Access
from dtms_service.app.announcing import Folder
from dtms_service.app.ingest import Intake, ingest
from dtms_service.domain.control import Control
from dtms_service.domain.errors import DtmsError, Invalid, StorageBusy, StorageFailed
from dtms_service.domain.outcome import Outcome
from dtms_service.domain.record import Batch
from dtms_service.domain.trade import IntentState
from dtms_service.terminal.link import Call, Reply

PORT = 8001
CALLERS = 5
POSITIONS = 20
DOWN_S = (0.0, 0.5, 20.0, 600.0)
"""How long nothing listens after a death."""
ONE_POSITION = frozenset({"netting", "exchange"})
"""Accounts on which callers open nothing: their orders would end in one position per symbol, whose side is nobody's."""
WALL = 1_736_000_000.0
HAPPENINGS: Mapping[str, int] = {
    "nothing": 29,
    "hand": 20,
    "fault": 15,
    "clear": 10,
    "death": 10,
    "operate": 4,
    "restart": 3,
    "busy_ledger": 3,
    "somebody_dies": 3,
    "clock_jumps": 2,
    "full_disk": 1,
}
"""What may happen between two steps of the market, and how often in a hundred."""
JUMPS_S = (-86_400.0, -3_600.0, -61.0, -5.0, 5.0, 61.0, 3_600.0, 86_400.0)
_NOT_DRAWN = re.compile(r"(login': |login=|latency_ms': )[0-9.]+")
_ACCOUNT = re.compile(r"\d+(?=@DTMS-Simulated)")
MEMORY = Path("/dev/shm")  # noqa: S108 -- where there is one, a disk need not be waited for; nothing dies with the machine
_SET = re.compile(r"frozenset\(\{([^}]*)\}\)")


def _digest(array: NDArray[Any]) -> str:
    return f"{array.dtype}{array.shape}{hashlib.sha256(array.tobytes()).hexdigest()}"


class SimulatedLink(StormLink):
    """The terminal as one life of the service reaches it; hands go past that life."""

    life: Life | None = None
    tell: Callable[..., None] | None = None

    async def ask(self, calls: Sequence[Call], deadline: float, *, urgent: bool = False) -> Outcome[Reply]:
        """See ``Link``."""
        names = [call.name for call in calls]
        if self.life is None or (names[0].startswith("simulator_") and names[0] != "simulator_advance"):
            return await super().ask(calls, deadline, urgent=urgent)
        ask = super().ask

        async def asked() -> Outcome[Reply]:
            answer = await ask(calls, deadline, urgent=urgent)
            if self.tell is not None:
                self.tell("asked", names, [call.kwargs for call in calls] if "order_send" in names else "", answer)
            return answer

        return await self.life.passes(asked)


@dataclass
class Simulation(Storm):
    """One run."""

    seed: int = 0
    promises: Promises = field(default_factory=Promises)
    life: Life = field(default_factory=Life)
    without: str | None = None
    """A protection that this run has to do without."""
    busy: int = 0
    """Transactions that the ledger will refuse because it is locked."""
    broken_disk: bool = False
    """Every transaction of this life fails from now on."""
    failed: bool = False
    """One did, so that the service ends."""
    wrong: float = 0.0
    """Seconds by which the machine's wall clock has been corrected; engine time is the market's (R35)."""
    trace: Any = field(default_factory=hashlib.sha256)
    known: list[Mapping[str, Any]] = field(default_factory=list)
    network: Network = field(init=False)
    _people: list[asyncio.Task[None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.network = Network(random.Random(self.seed + 10**6), self.tell)

    # What happened, in one number.

    def tell(self, *what: object) -> None:
        """Add to the trace: without the folder's name, the account's number, which comes of it, and real latencies."""
        with np.printoptions(override_repr=_digest):  # every number of an array, which its own repr would shorten
            told = repr(what)
        drawn = _NOT_DRAWN.sub(r"\1", told.replace(str(self.folder), ""))
        if "@DTMS-Simulated" in drawn:  # looked for first: a search for digits is a tenth of a run
            drawn = _ACCOUNT.sub("", drawn)
        text = _SET.sub(lambda found: str(sorted(found[1].split(", "))), drawn)
        self.trace.update(text.encode())

    # Lives.

    async def begin_life(self) -> None:
        """Open the service and let it start; what dies while it starts is opened again."""
        for _ in range(storm.LIVES):
            stored, before = dict(self.judge.stored), dict(self.judge.positions)
            self.judge.complained_at = None
            self.life = Life()
            self.world = await storm.open_storm(self.folder, self.setting, self.judge.modes, SimulatedLink)
            link = self.world.link
            assert isinstance(link, SimulatedLink)
            link.judge, link.world, link.life, link.tell = self.judge, self.world, self.life, self.tell
            self._watch_ledger()
            if self.without is not None:
                PROTECTIONS[self.without].service(self.world)
            app = make_app(
                self.world.dtms,
                simulator=None,
                version="0",
                instance_id="one",
                access=Access(new_id=map("made-{}".format, itertools.count(1)).__next__),
            )
            self.network.up(httpx.ASGITransport(app=app, client=("127.0.0.1", 5000)), self.life)
            steady = asyncio.get_running_loop().time
            intake = Intake(self.world.dtms, Folder(self.folder / "outbox"), PORT, 1.0, self.wall, steady)
            self.life.begin(ingest(self.world.dtms, [intake]))
            try:
                await self.life.while_alive(self.world.dtms.start())
            except (Died, StorageFailed):
                self.judge.seen["deaths while starting"] += 1
                await self.end_life()
                continue
            self.judge.positions = self.link.positions()
            self.judge.restarted(stored, before, self.world.dtms.book)
            self._nothing_is_lost()
            return
        message = f"the service did not start in {storm.LIVES} lives"
        raise AssertionError(message)

    async def end_life(self) -> None:
        """Nothing of the service goes on; the terminal behaves again, or the next one might never start."""
        self.network.down()
        was_over = self.life.over
        await self.life.end()
        self.judge.faults.clear()
        self.busy, self.broken_disk, self.failed = 0, False, False
        await self.world.simulator.clear_faults()
        self.judge.positions = self.link.positions()
        if was_over:
            await self.world.link.close()
        else:
            self.link.life = None  # type: ignore[attr-defined]
            await self.world.dtms.stop()
        await self.world.ledger.close()

    async def again(self) -> None:
        """The next life, after a while."""
        await asyncio.sleep(0 if self.network.calm else self.chance.choice(DOWN_S))
        await super().again()

    def _watch_ledger(self) -> None:
        commit = self.world.ledger.commit

        async def watched(batch: Batch) -> int:
            for intent in batch.intents:
                if intent.state is IntentState.SENDING:
                    await self._trouble(intent)
                    break
            if self.busy:
                self.busy -= 1
                self.judge.seen["ledger busy"] += 1
                raise StorageBusy("locked")
            if self.broken_disk:
                self.failed = True
                raise StorageFailed("the disk is full")

            async def stored() -> int:
                sequence = await commit(batch)
                self.judge.now = self.world.dtms.now()
                self.judge.committed(batch)
                self.tell("committed", sequence, batch)
                return sequence

            return await self.life.passes(stored)

        self.world.ledger.commit = watched  # type: ignore[method-assign]  # deaths and trouble come between

    async def step(self, doing: Callable[[], Awaitable[object]]) -> None:
        """Do something; when the service dies of it, the next one begins."""

        async def done() -> object:
            return await doing()

        try:
            await self.life.while_alive(done())
        except Died:
            self.judge.seen["deaths"] += 1
            await self.again()
        except StorageFailed:
            assert self.failed, "a ledger failed that was not told to"
        except (Invalid, DtmsError) as refused:
            self.judge.seen[f"refused {type(refused).__name__}"] += 1
        self._look_after()
        if self.failed:  # as ``app.serve``: it ends with exit code 75
            self.judge.seen["storage failures"] += 1
            await self.again()

    # Weather.

    async def blow(self) -> None:
        """One step: perhaps something happens; then the market and everybody's clocks go on."""
        self.judge.true = False
        (what,) = self.chance.choices([*HAPPENINGS], [*HAPPENINGS.values()])
        if self.world.dtms.standing.control is not Control.RUNNING and self.chance.random() < 0.1:
            what = "operate"
        if what == "restart":  # not as a step: that ends with the life it belongs to
            await self.restart()
        elif what != "nothing":
            await self.step(getattr(self, what))
        await self.step(lambda: self._goes_on(self.chance.choice(weather.STEPS_S)))

    async def restart(self) -> None:
        """Somebody stops the service and starts it again."""
        self.judge.seen["restarts"] += 1
        await self.again()

    async def death(self) -> None:
        """The service will die soon."""
        self.life.dies_after(self.chance.randint(1, 60), done=self.chance.random() < 0.5)

    async def busy_ledger(self) -> None:
        """Another program holds the file."""
        self.busy = self.chance.randint(1, 4)

    async def clock_jumps(self) -> None:
        """Somebody corrects the machine's clock, by which callers name their files and the service tells their age."""
        self.promises.seen["clock jumps"] += 1
        self.wrong += self.chance.choice(JUMPS_S)

    def wall(self) -> float:
        """What the machine's clock shows."""
        return WALL + asyncio.get_running_loop().time() + self.wrong

    async def full_disk(self) -> None:
        """A commit fails, and nobody knows what is on the disk."""
        self.broken_disk = True

    async def somebody_dies(self) -> None:
        """A caller is killed and started again."""
        self.promises.seen["callers killed"] += 1
        self._people.pop(self.chance.randrange(len(self._people))).cancel()
        self._begin_caller()

    async def _goes_on(self, seconds: float) -> None:
        await asyncio.gather(self.world.advance(seconds), asyncio.sleep(seconds))

    # People.

    def populate(self) -> None:
        """Start the programs that trade; they know what is open already."""
        for row in self.link.positions().values():
            side = {} if self.judge.account in ONE_POSITION else {"side": ("BUY", "SELL")[row["type"]]}
            self.known.append({"ticket": row["ticket"], "symbol": row["symbol"], "volume": row["volume"], **side})
        for _ in range(CALLERS):
            self._begin_caller()

    def _begin_caller(self) -> None:
        loop = asyncio.get_running_loop()
        chance = random.Random(self.chance.random())
        clock = Clock(
            wall_ns=lambda: int(self.wall() * 1e9),
            monotonic=loop.time,
            uniform=chance.uniform,
            asleep=asyncio.sleep,
        )
        client = SimulatedClient(clock, self.network)
        if self.without is not None:
            PROTECTIONS[self.without].client(client)
        caller = Caller(client, chance, lambda: self._opens(chance), self.known, self.promises)
        self._people.append(loop.create_task(caller.live()))

    async def _opens(self, chance: random.Random) -> Mapping[str, Any] | None:
        """A caller opens a position at the broker; while the simulated terminal is closed it has to wait."""
        if self.life.over or len(self.link.positions()) >= POSITIONS:
            return None
        if self.judge.account in ONE_POSITION:
            return None
        self.judge.true = False
        symbol, side = chance.choice(weather.SYMBOLS), chance.choice(("BUY", "SELL"))
        unit, sign = weather.UNIT[symbol], 1 if side == "BUY" else -1
        price = float((await self.world.simulator.market(symbol, "M1", 1))["bars"][-1]["close"])
        body: dict[str, Any] = {
            "symbol": symbol,
            "side": side,
            "volume": self.judge.facts[symbol].volume_min * chance.choice((1, 2, 4)),
            "stop_loss": price - sign * chance.choice((12.0, 25.0, 60.0)) * unit,
            "magic": 7,
        }
        opened = await self.world.simulator.open_position(body)
        self.judge.true = False
        self.tell("opened", opened["ticket"], body)
        return {**body, "ticket": int(opened["ticket"])}

    def _look_after(self) -> None:
        """Raise what went wrong beside the step. Raises ``AssertionError``, ``Broken``."""
        try:
            self.life.check()
        except StorageFailed:
            assert self.failed, "a ledger failed that was not told to"
        for task in self._people:
            if task.done() and not task.cancelled():
                task.result()
        if self.promises.broken:
            raise AssertionError("I-6: " + "; ".join(self.promises.broken))

    # Promises.

    def _nothing_is_lost(self) -> None:
        """I-1: who was told that a registration is safe finds it in the ledger or on disk."""
        book = self.world.dtms.book
        waiting = {int(entry.load().body["ticket"]) for entry in entries(self.folder / "outbox")}
        lost = [t for t in self.promises.safe if t not in waiting and book.find(t) is None and not self._stored(t)]
        if lost:
            raise AssertionError(f"I-1: neither in the ledger nor in the spool: {sorted(lost)}")

    def _stored(self, ticket: int) -> bool:
        return any(ticket in {trade.ticket, trade.identifier} for trade in self.judge.stored.values())

    async def calm(self) -> None:
        """Callers end, the network is good, everything comes to rest and is compared."""
        for person in self._people:
            person.cancel()
        await asyncio.gather(*self._people, return_exceptions=True)
        self._people.clear()
        self.network.calm, self.broken_disk, self.busy = True, False, 0
        self.life.dies_after(0, done=False)
        await self.step(self.clear)
        await self.step(lambda: self._goes_on(60.0))
        await super().calm()
        left = entries(self.folder / "outbox")
        if left:
            raise AssertionError(f"I-1: still in the spool: {[entry.path.name for entry in left]}")
        self._nothing_is_lost()
        self._once_each()

    def _once_each(self) -> None:
        trades = list(self.judge.stored.values())
        twice = [n for n, count in Counter(t.identifier for t in trades if t.identifier).items() if count > 1]
        if twice:
            raise AssertionError(f"I-2: registered twice: {twice}")
        wrong = [t.ticket for t in trades if t.side and self.promises.sides.get(t.ticket, t.side) != t.side]
        if wrong:
            raise AssertionError(f"I-6: a registration with the wrong side was taken in: {wrong}")


@dataclass(frozen=True, slots=True)
class Found:
    """What one run came to."""

    seed: int
    hours: float
    deaths: int
    orders: int
    intents: int
    registrations: int
    requests: int
    trace: str
    seen: Mapping[str, int]


def simulate(seed: int, *, hours: float = 6.0, without: str | None = None) -> Found:
    """One run in virtual time. Raises ``AssertionError`` that begins with the invariant that was broken."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder, _settled(Path(folder)):
        return virtual_loop.run(_simulate(Path(folder), seed, hours, without))


async def _simulate(folder: Path, seed: int, hours: float, without: str | None) -> Found:
    setting = weather.drawn(seed)
    rules = weather.RULES[setting.rules]
    judge = Judge(setting.account, setting.mode, rules)
    judge.facts = {symbol: weather.facts(symbol, setting.contracts[symbol]) for symbol in weather.SYMBOLS}
    run = Simulation(folder, setting, judge, setting.chance, None, seed=seed, without=without)  # type: ignore[arg-type]
    try:
        await run.begin_life()
        await storm.open_positions(run)
        run.populate()
        begun = run.world.dtms.now()
        while run.world.dtms.now() - begun < hours * 3600:
            await run.blow()
        await run.calm()
    except Broken as violation:
        raise AssertionError(str(violation)) from violation
    finally:
        run.life.dies_after(0, done=False)
        await run.end_life()
    seen = judge.seen + run.promises.seen + run.network.seen
    return Found(
        seed=seed,
        hours=hours,
        deaths=sum(count for name, count in seen.items() if name.startswith("deaths")),
        orders=seen["orders"],
        intents=len(judge.intents),
        registrations=sum(count for name, count in seen.items() if name.startswith("registration ")),
        requests=seen["requests"],
        trace=run.trace.hexdigest(),
        seen=dict(sorted(seen.items())),
    )


@contextmanager
def _settled(folder: Path) -> Iterator[None]:
    """The client's settings, and silence."""
    before = {name: value for name, value in os.environ.items() if name.startswith("DTMS_")}
    disabled = logging.root.manager.disable
    for name in before:
        del os.environ[name]
    os.environ["DTMS_SPOOL_DIR"] = str(folder / "outbox")
    logging.disable()
    try:
        yield
    finally:
        logging.disable(disabled)
        del os.environ["DTMS_SPOOL_DIR"]
        os.environ.update(before)
