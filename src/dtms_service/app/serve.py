"""From settings to a running service and back: start in order, wait for the first reason to end, stop in order.

Start: lock, sockets, serving (live 200, ready 503), then ledger, terminal, reconciliation, monitor. Stop: ready 503,
the present cycle ends, requests drain, terminal and ledger close, the lock is released (DESIGN 2.8, 5).
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from dtms_service import logs, private
from dtms_service.app.announcing import Folder
from dtms_service.app.build import Parts, build, speed_of, web
from dtms_service.app.ingest import Intake, ingest
from dtms_service.app.keeping import remedy_of
from dtms_service.app.lag import LoopLag
from dtms_service.app.leaving import DONE, FAILED, MISCONFIGURED, STORAGE_FAILED, Exit
from dtms_service.app.locks import state_lock
from dtms_service.app.loops import new_event_loop
from dtms_service.app.notifying import Pace, side_tasks
from dtms_service.app.server import Server, on_signals
from dtms_service.app.sockets import listening
from dtms_service.app.supervising import kept_up
from dtms_service.app.watchdog import Watchdog, leave_at_once
from dtms_service.clock import chance, new_id
from dtms_service.domain.errors import Invalid, StorageBusy, StorageFailed
from dtms_service.engine.readiness import Phase
from dtms_service.settings.tree import Settings

log = logging.getLogger(__name__)

STOP_S = 25.0
"""Longest wait for the present cycle: an order may take 20 s (R19), and its reply is worth waiting for."""
LOOK_S = 1.0
"""Between two looks at the ledger's files."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How to put a service together, and what to do once it is ready."""

    build: Callable[[Settings], Parts] = build
    when_ready: Callable[[], object] | None = None
    """Runs in a thread of its own."""


def run(settings: Settings, plan: Plan | None = None) -> int:
    """Serve until told to stop; returns the exit code. Raises `Exit` with any code but 0."""
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(serve(settings, plan or Plan()))


async def serve(settings: Settings, plan: Plan) -> int:
    """The service's whole life on the running loop."""
    ending = asyncio.Event()
    on_signals(ending.set)
    with state_lock(settings):
        logs.start(settings.logs.level, settings.state_dir / "logs", settings.secrets)
        _warn_of_others(settings)
        sockets = listening(settings.api.host, settings.api.port)
        parts = plan.build(settings)
        lag = LoopLag()
        lag.begin(asyncio.get_running_loop())
        server = Server(web(parts, settings, new_id(), lag))
        serving = asyncio.create_task(server.serve(sockets), name="http")
        try:
            await asyncio.wait(
                [serving, asyncio.create_task(server.serving.wait())], return_when=asyncio.FIRST_COMPLETED
            )
            facts = {"address": f"http://{settings.api.host}:{settings.api.port}", "mode": settings.mode.value}
            log.info("serving", extra={**facts, "terminal": settings.terminal.kind, "state": str(settings.state_dir)})
            with Watchdog(end=leave_at_once):
                await _live(parts, settings, plan, ending, serving)
        finally:
            await _stop(parts, server, serving)
    log.info("stopped")
    return DONE


def _warn_of_others(settings: Settings) -> None:
    """Whoever may write to these folders may exchange the record, or register trades without a token."""
    for place in (settings.state_dir, *settings.spool.folders):
        if why := private.exposed(place):
            log.warning("folder_open_to_others", extra={"why": why, "try": f"chmod 700 {place}, as its owner"})


async def _live(
    parts: Parts, settings: Settings, plan: Plan, ending: asyncio.Event, serving: asyncio.Task[None]
) -> None:
    """Start and watch until a signal, a failure, or the end of the HTTP server."""
    speed = speed_of(settings)
    intakes = [Intake(parts.engine, Folder(path), settings.api.port, speed) for path in settings.spool.folders]
    tasks = [
        asyncio.create_task(_watch(parts, plan), name="engine"),
        asyncio.create_task(kept_up("spool", lambda: ingest(parts.engine, intakes)), name="spool"),
        asyncio.create_task(_watch_ledger(parts.look_at_ledger), name="ledger"),
        asyncio.create_task(ending.wait(), name="signal"),
        *(
            asyncio.create_task(kept_up(name, life), name=name)
            for name, life in side_tasks(parts, settings, Pace(chance().random)).items()
        ),
    ]
    try:
        done, _ = await asyncio.wait([*tasks, serving], return_when=asyncio.FIRST_COMPLETED)
        reasons = sorted(task.get_name() for task in done)
        log.info("stopping", extra={"because": reasons})
        connecting = parts.engine.report().phase in {Phase.STARTING, Phase.CONNECTING}
        parts.engine.request_stop()
        await asyncio.wait(tasks[:1], timeout=0 if connecting else STOP_S)
        for task in done:
            task.result()
        if not ending.is_set():
            raise Exit(
                FAILED, f"{' and '.join(reasons)} ended by itself. Try: the log in {settings.state_dir / 'logs'}"
            )
    except (StorageFailed, StorageBusy) as error:
        remedy = remedy_of(error, "dtms db verify, then start again, or dtms db restore FILE")
        sentence = f"storage failed: {error.detail}. Try: {remedy}"
        raise Exit(STORAGE_FAILED, sentence) from error
    except Invalid as error:
        if not connecting:
            raise Exit(
                FAILED, f"an error of ours: {error.detail}. Try: the log in {settings.state_dir / 'logs'}"
            ) from error
        # The terminal cannot be opened as it was described: no such bars, no such program.
        raise Exit(MISCONFIGURED, f"{error.detail}. Try: dtms config show") from error
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _watch(parts: Parts, plan: Plan) -> None:
    await parts.engine.start()
    report = parts.engine.report()
    log.info("started", extra={"phase": report.phase.value, "trades": len(parts.engine.book.trades)})
    if plan.when_ready is not None:
        threading.Thread(target=plan.when_ready, name="when_ready", daemon=True).start()
    await parts.engine.run()


async def _watch_ledger(look: Callable[[], None]) -> None:
    """End the service when storage failed during a request, or a file was deleted while nothing was written."""
    while True:
        await asyncio.sleep(LOOK_S)
        look()


async def _stop(parts: Parts, server: Server, serving: asyncio.Task[None]) -> None:
    parts.engine.request_stop()
    parts.engine.feed.close()  # streams end by themselves: the server waits for every open answer
    server.should_exit = True
    await asyncio.wait([serving])
    await parts.engine.stop()
    await parts.close_ledger()
