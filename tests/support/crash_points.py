"""Where a process can be killed: named points around functions of the service and of its client, in one table.

Nothing in the sources knows of them: ``Crash.install`` wraps the functions from outside, before they are used.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from dtms_service.domain import magic
from dtms_service.domain.record import Batch
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import Intent, IntentState
from dtms_service.terminal.simulated.rows import DealRow

Args = Sequence[Any]
Only = Callable[[Args, Any], bool]
"""Does this pass count? It sees the arguments (with ``self``), and the result where it is asked after the call."""

BEFORE, AFTER = "before", "after"


class Scene(StrEnum):
    """Who is killed, and what has to go on for the point to be reached."""

    ENGINE = "engine"
    """Engine, ledger and simulated broker in one process, in any step of their story."""
    ENGINE_STARTS = "engine starts"
    """The same while it starts on a state that is there already."""
    ENGINE_BEGINS = "engine begins"
    """The same while it starts on an empty folder."""
    ENGINE_SETTLES = "engine settles"
    """The same while it starts after a life that was killed with an order on its way (``Point.killed_at``)."""
    STARTS = "service starts"
    STOPS = "service stops"
    REGISTERS = "service registers"
    STEPS = "service steps"
    INGESTS = "service ingests"
    REFUSES = "service refuses a file"
    LOSES_CHILD = "service loses its terminal process"
    CALLER = "caller registers"
    FLUSHER = "caller's background thread"


@dataclass(frozen=True, slots=True)
class Point:
    """``target``: ``module:name`` or ``module:Class.name``, as it is looked up when it is called."""

    name: str
    target: str
    when: str
    only: Only = lambda *_: True
    scene: Scene = Scene.ENGINE
    killed_at: str | None = None


def _batches(args: Args) -> Sequence[Batch]:
    return args[1] if isinstance(args[1], Sequence) else (args[1],)


def _with_event(kind: str) -> Only:
    return lambda args, _: any(event.kind == kind for batch in _batches(args) for event in batch.events)


def _with_intent(fits: Callable[[Intent], bool]) -> Only:
    return lambda args, _: any(fits(intent) for batch in _batches(args) for intent in batch.intents)


def _with_fact(name: str) -> Only:
    return lambda args, _: any(name in batch.facts for batch in _batches(args))


def _moves(args: Args, _: Any) -> bool:
    return any(
        not batch.intents and any(event.kind == "transition" for event in batch.events) for batch in _batches(args)
    )


def _closes(args: Args, _: Any) -> bool:
    return any(trade.state is TradeState.CLOSED for batch in _batches(args) for trade in batch.trades)


def _order(letter: str) -> Only:
    """An order of one kind, by the letter of its comment (``domain.plan``)."""
    return lambda args, _: args[1].comment.startswith(f"DT{letter}")


def _of_ours(args: Args, _: Any) -> bool:
    return any(isinstance(row, DealRow) and magic.ours(row.magic) for row in args[1].rows)


def _something(_: Args, result: Any) -> bool:
    return bool(result)


def _sends_order(args: Args, _: Any) -> bool:
    return bool(args[2].calls[0].name == "order_send")


_replied = _with_intent(lambda intent: (intent.resolution or "").startswith(("reply", "refused")))
_adopted = _with_intent(lambda intent: intent.state is IntentState.UNKNOWN)
_settled = _with_intent(lambda intent: not intent.state.open and not (intent.resolution or "").startswith("re"))
_sending = _with_intent(lambda intent: intent.state is IntentState.SENDING)

_COMMIT = "dtms_service.ledger.writer:Writer.commit"
_SEND = "dtms_service.terminal.gateway:Gateway.send"
_BROKER = "dtms_service.terminal.simulated.store:Store.commit"
_STARTS, _BEGINS, _SETTLES = Scene.ENGINE_STARTS, Scene.ENGINE_BEGINS, Scene.ENGINE_SETTLES
_HALF_SENT, _UNHEARD = "order: partial close, before it is sent", "order: partial close, after its answer"

POINTS: tuple[Point, ...] = (
    # One transaction of the ledger, by what is in it.
    Point("commit of a registration, before", _COMMIT, BEFORE, _with_event("registered")),
    Point("commit of a registration, after", _COMMIT, AFTER, _with_event("registered")),
    Point("commit of an intent, before", _COMMIT, BEFORE, _sending),
    Point("commit of an intent, after", _COMMIT, AFTER, _sending),
    Point("commit of a reply, before", _COMMIT, BEFORE, _replied),
    Point("commit of a reply, after", _COMMIT, AFTER, _replied),
    Point("commit of a transition, before", _COMMIT, BEFORE, _moves),
    Point("commit of a transition, after", _COMMIT, AFTER, _moves),
    Point("commit of a closing, before", _COMMIT, BEFORE, _closes),
    Point("commit of a closing, after", _COMMIT, AFTER, _closes),
    Point("commit of an operator's order, before", _COMMIT, BEFORE, _with_fact("standing")),
    Point("commit of an operator's order, after", _COMMIT, AFTER, _with_fact("standing")),
    Point("commit, some rows written", "dtms_service.ledger.writer:Writer._execute", AFTER, lambda args, _: args[2]),
    Point("commit, before the marker", "dtms_service.ledger.writer:Writer._mark", BEFORE),
    Point("commit, after the marker", "dtms_service.ledger.writer:Writer._mark", AFTER),
    # One order.
    Point("order: stop, before it is sent", _SEND, BEFORE, _order("T")),
    Point("order: stop, after its answer", _SEND, AFTER, _order("T")),
    Point("order: breakeven, before it is sent", _SEND, BEFORE, _order("B")),
    Point("order: breakeven, after its answer", _SEND, AFTER, _order("B")),
    Point("order: partial close, before it is sent", _SEND, BEFORE, _order("P")),
    Point("order: partial close, after its answer", _SEND, AFTER, _order("P")),
    Point("order: hedge, before it is sent", _SEND, BEFORE, _order("H")),
    Point("order: hedge, after its answer", _SEND, AFTER, _order("H")),
    Point("order: close of a hedge, before it is sent", _SEND, BEFORE, _order("C")),
    Point("order: close of a hedge, after its answer", _SEND, AFTER, _order("C")),
    Point("order: close of all, before it is sent", _SEND, BEFORE, _order("A")),
    Point("order: close of all, after its answer", _SEND, AFTER, _order("A")),
    Point("broker: our deal, before it is on its file", _BROKER, BEFORE, _of_ours),
    Point("broker: our deal, after it is on its file", _BROKER, AFTER, _of_ours),
    # A cycle.
    Point("cycle, begin", "dtms_service.engine.cycle:Cycle.run", BEFORE),
    Point("cycle, read", "dtms_service.engine.cycle:Cycle._read", AFTER),
    Point("cycle, markets taken in", "dtms_service.engine.markets:Markets.take", AFTER),
    Point("cycle, a position is gone", "dtms_service.domain.reconcile:absent", AFTER),
    Point("cycle, a trade reconciled", "dtms_service.engine.cycle:Cycle._reconciled", AFTER),
    Point("cycle, a hedge reconciled", "dtms_service.engine.cycle:Cycle._with_hedge", AFTER),
    Point("cycle, a decision made", "dtms_service.engine.cycle:decide", AFTER),
    Point("cycle, all trades looked at", "dtms_service.engine.cycle:Cycle._look_at_all", AFTER),
    Point("cycle, end", "dtms_service.engine.cycle:Cycle.run", AFTER),
    Point("cycle, counted", "dtms_service.engine.dtms:Dtms._note", AFTER),
    Point("simulator, before a step", "dtms_service.terminal.simulator:SimulatorControl.advance", BEFORE),
    Point("simulator, after a step", "dtms_service.terminal.simulator:SimulatorControl.advance", AFTER),
    # A registration and an operator's order inside the engine.
    Point("registrar, begin", "dtms_service.engine.registrar:Registrar.register", BEFORE),
    Point("registrar, terminal read", "dtms_service.engine.registrar:Registrar._look", AFTER),
    Point("registrar, all answers ready", "dtms_service.engine.registrar:Registrar._serve", AFTER),
    Point("registrar, end", "dtms_service.engine.registrar:Registrar.register", AFTER),
    Point("operator, begin", "dtms_service.engine.operating:Operating.order", BEFORE),
    Point("operator, end", "dtms_service.engine.operating:Operating.order", AFTER),
    Point("hand-over, begin", "dtms_service.engine.operating:Operating.hand_over", BEFORE),
    Point("hand-over, end", "dtms_service.engine.operating:Operating.hand_over", AFTER),
    # Starts of the engine.
    Point("first start, tables made", "dtms_service.ledger.database:_migrate", AFTER, scene=_BEGINS),
    Point("first start, before the marker", "dtms_service.ledger.database:create", BEFORE, scene=_BEGINS),
    Point("first start, after the marker", "dtms_service.ledger.database:create", AFTER, scene=_BEGINS),
    Point("first start, account not stored", _COMMIT, BEFORE, _with_fact("account"), _BEGINS),
    Point("first start, account stored", _COMMIT, AFTER, _with_fact("account"), _BEGINS),
    Point("start, ledger loaded", "dtms_service.engine.record:Record.load", AFTER, scene=_STARTS),
    Point("start, before it connects", "dtms_service.terminal.gateway:Gateway.connect", BEFORE, scene=_STARTS),
    Point("start, connected", "dtms_service.terminal.gateway:Gateway.connect", AFTER, scene=_STARTS),
    Point("start, account pinned", "dtms_service.engine.dtms:Dtms._pin", AFTER, scene=_STARTS),
    Point("start, magics skipped", "dtms_service.engine.record:Record.skip_magics", AFTER, scene=_STARTS),
    Point("start, before the first cycle", "dtms_service.engine.dtms:Dtms._one_cycle", BEFORE, scene=_STARTS),
    Point("start, after the first cycle", "dtms_service.engine.dtms:Dtms._one_cycle", AFTER, scene=_STARTS),
    Point("adopt, begin", "dtms_service.engine.settling:Settler.adopt", BEFORE, scene=_SETTLES, killed_at=_HALF_SENT),
    Point("adopt, end", "dtms_service.engine.settling:Settler.adopt", AFTER, scene=_SETTLES, killed_at=_UNHEARD),
    Point("commit of what is adopted, before", _COMMIT, BEFORE, _adopted, _SETTLES, _UNHEARD),
    Point("commit of what is adopted, after", _COMMIT, AFTER, _adopted, _SETTLES, _HALF_SENT),
    Point("settle, begin", "dtms_service.engine.settling:Settler.settle", BEFORE, scene=_SETTLES, killed_at=_UNHEARD),
    Point("settle, looked", "dtms_service.engine.settling:Settler._one", AFTER, scene=_SETTLES, killed_at=_HALF_SENT),
    Point("settle, end", "dtms_service.engine.settling:Settler.settle", AFTER, scene=_SETTLES, killed_at=_UNHEARD),
    Point("commit of what is settled, before", _COMMIT, BEFORE, _settled, _SETTLES, _UNHEARD),
    Point("commit of what is settled, after", _COMMIT, AFTER, _settled, _SETTLES, _UNHEARD),
    # The whole process: its start ...
    Point("process, lock taken", "dtms_service.app.serve:state_lock", AFTER, scene=Scene.STARTS),
    Point("process, sockets open", "dtms_service.app.serve:listening", AFTER, scene=Scene.STARTS),
    Point("process, serving", "dtms_service.app.server:Server.startup", AFTER, scene=Scene.STARTS),
    Point("process, ledger locked", "dtms_service.app.build:ledger_lock", AFTER, scene=Scene.STARTS),
    Point("process, ledger open", "dtms_service.ledger.store:SqlLedger.open", AFTER, scene=Scene.STARTS),
    Point(
        "process, terminal process begun", "dtms_service.terminal.process:ProcessLink._fork", AFTER, scene=Scene.STARTS
    ),
    Point(
        "process, terminal process open", "dtms_service.terminal.process:ProcessLink._spawn", AFTER, scene=Scene.STARTS
    ),
    Point("process, engine started", "dtms_service.engine.dtms:Dtms.start", AFTER, scene=Scene.STARTS),
    # ... its requests, its writer's thread, its pipe ...
    Point("request, read", "dtms_service.api.routes:read", AFTER, scene=Scene.REGISTERS),
    Point("request, answer ready", "dtms_service.api.routes:answer", AFTER, scene=Scene.REGISTERS),
    Point("writer, taken over", "dtms_service.ledger.writer:ThreadedWriter._work", BEFORE, scene=Scene.REGISTERS),
    Point("writer, told", "dtms_service.ledger.writer:ThreadedWriter._work", AFTER, scene=Scene.REGISTERS),
    Point(
        "pipe, before an order", "dtms_service.terminal.process:ProcessLink._answer", BEFORE, _sends_order, Scene.STEPS
    ),
    Point(
        "pipe, after an order", "dtms_service.terminal.process:ProcessLink._answer", AFTER, _sends_order, Scene.STEPS
    ),
    # ... what callers left on disk ...
    Point("spool, before it is read", "dtms_service.app.ingest:_read", BEFORE, scene=Scene.INGESTS),
    Point("spool, read", "dtms_service.app.ingest:_read", AFTER, _something, Scene.INGESTS),
    Point("spool, registered", "dtms_service.app.ingest:_settled", BEFORE, scene=Scene.INGESTS),
    Point("spool, before a file is deleted", "dtms_client.spool:Entry.remove", BEFORE, scene=Scene.INGESTS),
    Point("spool, a file deleted", "dtms_client.spool:Entry.remove", AFTER, scene=Scene.INGESTS),
    Point("spool, before a file is set aside", "dtms_client.spool:Entry.reject", BEFORE, scene=Scene.REFUSES),
    Point("spool, reason written", "dtms_client.spool:_replace", BEFORE, scene=Scene.REFUSES),
    # ... its terminal process ...
    Point(
        "terminal process, found lost",
        "dtms_service.terminal.process:ProcessLink._replace",
        BEFORE,
        scene=Scene.LOSES_CHILD,
    ),
    Point(
        "terminal process, before another",
        "dtms_service.terminal.process:ProcessLink._fork",
        BEFORE,
        scene=Scene.LOSES_CHILD,
    ),
    Point(
        "terminal process, another begun",
        "dtms_service.terminal.process:ProcessLink._fork",
        AFTER,
        scene=Scene.LOSES_CHILD,
    ),
    Point(
        "terminal process, replaced",
        "dtms_service.terminal.process:ProcessLink._replace",
        AFTER,
        scene=Scene.LOSES_CHILD,
    ),
    # ... and its stop.
    Point("stop, asked for", "dtms_service.engine.dtms:Dtms.request_stop", AFTER, scene=Scene.STOPS),
    Point("stop, drained", "dtms_service.engine.dtms:Dtms.stop", BEFORE, scene=Scene.STOPS),
    Point("stop, terminal closed", "dtms_service.terminal.gateway:Gateway.close", AFTER, scene=Scene.STOPS),
    Point("stop, before the ledger closes", "dtms_service.app.build:LateLedger.close", BEFORE, scene=Scene.STOPS),
    Point("stop, ledger closed", "dtms_service.app.build:LateLedger.close", AFTER, scene=Scene.STOPS),
    # The program that registers.
    Point("caller, begin", "dtms_client.spool:Spool.write", BEFORE, scene=Scene.CALLER),
    Point("caller, file begun", "dtms_client.spool:Spool._open_new", AFTER, scene=Scene.CALLER),
    Point("caller, before the fsync of the file", "dtms_client.spool:os.fsync", BEFORE, scene=Scene.CALLER),
    Point("caller, after the fsync of the file", "dtms_client.spool:os.fsync", AFTER, scene=Scene.CALLER),
    Point("caller, renamed", "dtms_client.spool:_replace", AFTER, scene=Scene.CALLER),
    Point("caller, stored", "dtms_client.spool:Spool.write", AFTER, scene=Scene.CALLER),
    Point("caller, before the request", "dtms_client.sync:send", BEFORE, scene=Scene.CALLER),
    Point("caller, answered", "dtms_client.sync:send", AFTER, scene=Scene.CALLER),
    Point("caller, before it deletes", "dtms_client.spool:Entry.remove", BEFORE, scene=Scene.CALLER),
    Point("caller, deleted", "dtms_client.spool:Entry.remove", AFTER, scene=Scene.CALLER),
    Point("flusher, before the request", "dtms_client.flusher:send", BEFORE, scene=Scene.FLUSHER),
    Point("flusher, answered", "dtms_client.flusher:send", AFTER, scene=Scene.FLUSHER),
    Point("flusher, its caller was told that it is safe", "crash_caller:acknowledge", AFTER, scene=Scene.FLUSHER),
)


def named(name: str) -> Point:
    """The point of that name. Raises KeyError."""
    return {point.name: point for point in POINTS}[name]


@dataclass
class Crash:
    """Kills this process with SIGKILL when ``at`` is passed for the ``nth`` time; counts all passes.

    ``order``: a file that says later where, ``NAME`` and a count in two lines.
    """

    at: str | None = None
    nth: int = 1
    order: Path | None = None
    passes: Counter[str] = field(default_factory=Counter)

    def install(self, points: Sequence[Point] = POINTS) -> None:
        """Wrap every function that has a point."""
        by_target: dict[str, list[Point]] = {}
        for point in points:
            by_target.setdefault(point.target, []).append(point)
        for target, here in by_target.items():
            self._wrap(target, here)

    def arm(self, at: str, nth: int = 1) -> None:
        """From now on."""
        self.at, self.nth = at, nth

    def passed(self, point: Point) -> None:
        """Count, and die if it is time."""
        self.passes[point.name] += 1
        if self.at is None and self.order is not None and self.order.exists():
            name, nth = self.order.read_text().splitlines()
            self.arm(name, int(nth))
        if point.name == self.at:
            self.nth -= 1
            if self.nth == 0:
                os.kill(os.getpid(), 9)  # SIGKILL, by number for readers on Windows

    def _wrap(self, target: str, points: Sequence[Point]) -> None:
        module, _, path = target.partition(":")
        owner: Any = importlib.import_module(module)
        *outer, name = path.split(".")
        for step in outer:
            owner = getattr(owner, step)
        found = inspect.getattr_static(owner, name)
        real = found.__func__ if isinstance(found, classmethod) else found
        wrapped = self._around(real, points)
        setattr(owner, name, classmethod(wrapped) if isinstance(found, classmethod) else wrapped)

    def _around(self, real: Callable[..., Any], points: Sequence[Point]) -> Callable[..., Any]:
        def look(when: str, args: Args, result: Any = None) -> None:
            for point in points:
                if point.when == when and point.only(args, result):
                    self.passed(point)

        @functools.wraps(real)
        def now(*args: Any, **keywords: Any) -> Any:
            look(BEFORE, args)
            result = real(*args, **keywords)
            look(AFTER, args, result)
            return result

        @functools.wraps(real)
        async def later(*args: Any, **keywords: Any) -> Any:
            look(BEFORE, args)
            result = await real(*args, **keywords)
            look(AFTER, args, result)
            return result

        return later if inspect.iscoroutinefunction(real) else now
