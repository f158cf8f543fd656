"""The backend in a child process of its own, watched, bounded in time, killed and replaced. Satisfies ``link.Link``.

One task owns the pipe. Requests wait in two queues, urgent ones first; one is in flight, and its deadline starts when
it is written. A child that misses a deadline, answers garbage or dies is replaced at once: the request that was
written is Unknown, those that wait are Refused, because a new backend knows nothing of them.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

from dtms_service.domain.errors import DtmsError, Invalid
from dtms_service.domain.outcome import Done, Outcome, Unknown
from dtms_service.terminal.frames import LENGTH, BadFrame, pack, total_of, unpack
from dtms_service.terminal.link import Call, Reply, missed, not_sent, read_reply
from dtms_service.terminal.orphans import Leash

START_S = 30.0
"""Time a child has to open its backend; the simulated one may wait 10 s of it for the lock of the child before it."""
QUEUE_S = 30.0
"""A request that waited longer than this is not sent any more: what it was meant for has passed."""
RESTART_PAUSE_S = 0.5
LEAVE_S = 2.0
"""Time a child has to leave by itself when its input ends."""
DYING_S = 0.5
"""Time a child whose output has ended has to be gone; its exit code is worth the wait."""
DIE_S = 5.0
"""Time a killed child has to be gone; one that is stuck in the kernel is left behind, without a pipe."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _Request:
    calls: Sequence[Call]
    deadline: float
    queued_at: float
    answer: asyncio.Future[Outcome[Reply]]

    def end(self, outcome: Outcome[Reply]) -> None:
        if not self.answer.done():
            self.answer.set_result(outcome)


class _Child(asyncio.SubprocessProtocol):
    """One child process and its pipe: a frame out, a frame in.

    Its end is told by the process alone: a buffer that nobody reads, or a grandchild that inherited the pipe, would
    keep ``asyncio.subprocess`` waiting for ever.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        self._wake = wake
        self.ended: asyncio.Future[int | None] = loop.create_future()
        self.trouble: Exception | None = None
        """Why this child cannot be used any more."""
        self._disconnected: asyncio.Future[None] = loop.create_future()
        self._transport: asyncio.SubprocessTransport | None = None
        self._answer: asyncio.Future[bytes] | None = None
        self._ending: asyncio.Task[int | None] | None = None
        self._arrived = bytearray()
        self._number = 0

    @property
    def pid(self) -> int:
        return self._open.get_pid()

    @property
    def _open(self) -> asyncio.SubprocessTransport:
        if self._transport is None:
            message = "the terminal process has no pipe yet"
            raise DtmsError(message)
        return self._transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.SubprocessTransport, transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if self.trouble is not None:
            return
        self._arrived += data
        try:
            self._look()
        except BadFrame as error:
            self._fail(error)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if fd == 1:
            self._fail(exc or EOFError("its output ended"))

    def process_exited(self) -> None:
        self.ended.set_result(self._open.get_returncode())
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disconnected.set_result(None)

    def _look(self) -> None:
        if self._answer is None or self._answer.done():
            message = "it wrote without being asked"
            raise BadFrame(message)
        if len(self._arrived) < LENGTH.size:
            return
        end = LENGTH.size + total_of(bytes(self._arrived[: LENGTH.size]))
        if len(self._arrived) > end:
            message = f"{len(self._arrived) - end} bytes after its answer"
            raise BadFrame(message)
        if len(self._arrived) == end:
            self._answer.set_result(bytes(self._arrived[LENGTH.size :]))
            self._arrived.clear()

    def _fail(self, why: Exception) -> None:
        self.trouble = self.trouble or why
        self._arrived.clear()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(self.trouble)
        self._wake()

    async def exchange(self, head: Mapping[str, Any]) -> tuple[int, bytes]:
        """Write one request, read one frame; its number and the frame's body.

        Raises ``BadFrame``, ``OSError``, ``EOFError``.
        """
        if self.trouble is not None:
            raise self.trouble
        self._number += 1
        frame = pack({"id": self._number, **head})
        self._answer = asyncio.get_running_loop().create_future()
        cast(asyncio.WriteTransport, self._open.get_pipe_transport(0)).write(frame)
        return self._number, await self._answer

    async def end(self, patience: float) -> int | None:
        """Close its input, give it ``patience`` seconds to leave, then kill it; its exit code, None if it stays.

        A caller that is cancelled leaves the ending to the next one that asks.
        """
        if self._ending is None:
            self._ending = asyncio.create_task(self._end(patience), name="terminal-process-end")
        return await asyncio.shield(self._ending)

    async def _end(self, patience: float) -> int | None:
        cast(asyncio.WriteTransport, self._open.get_pipe_transport(0)).close()
        # Killing what is dead already would reap it behind the back of the loop's own watcher, so look first.
        await asyncio.wait({self.ended}, timeout=patience)
        if not self.ended.done():
            with suppress(ProcessLookupError):
                self._open.kill()
            await asyncio.wait({self.ended}, timeout=DIE_S)
        self._open.close()
        await asyncio.wait({self._disconnected}, timeout=DIE_S)
        return self.ended.result() if self.ended.done() else None


class ProcessLink:
    """See the module. ``backend`` is the dotted name of the module that the child opens with ``options``."""

    def __init__(self, backend: str, options: Mapping[str, Any]) -> None:
        self._opening = {"backend": backend, "options": dict(options)}
        self._leash = Leash()
        self._urgent: deque[_Request] = deque()
        self._normal: deque[_Request] = deque()
        self._wake = asyncio.Event()
        self._child: _Child | None = None
        self._leaving: _Child | None = None
        self._owner: asyncio.Task[None] | None = None
        self._generation = 0
        self.imports: tuple[str, ...] = ()
        """Heavy modules the newest child has loaded."""

    @property
    def generation(self) -> int:
        """See ``Link``."""
        return self._generation

    @property
    def pid(self) -> int | None:
        """Process id of the child, while there is one."""
        return self._child.pid if self._child is not None else None

    async def start(self) -> None:
        """See ``Link``. Call it on the main thread: Linux ties the child to the thread that starts it."""
        self._child = await self._spawn()
        self._owner = asyncio.create_task(self._serve(), name="terminal-link")
        self._owner.add_done_callback(self._ended)

    async def ask(self, calls: Sequence[Call], deadline: float, *, urgent: bool = False) -> Outcome[Reply]:
        """See ``Link``."""
        if self._owner is None or self._owner.done():
            return not_sent("the link to the terminal is closed")
        loop = asyncio.get_running_loop()
        request = _Request(calls, deadline, loop.time(), loop.create_future())
        (self._urgent if urgent else self._normal).append(request)
        self._wake.set()
        return await request.answer

    async def close(self) -> None:
        """See ``Link``."""
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.cancel()
            await asyncio.wait({owner})
        self._refuse_waiting("the link to the terminal was closed")
        for child in (self._leaving, self._child):
            if child is not None:
                await child.end(LEAVE_S)
        self._child = None

    async def _spawn(self) -> _Child:
        """A child that has opened its backend. Raises ``DtmsError``, ``Invalid``."""
        child = await self._fork()
        try:
            self._leash.hold(child.pid)
            async with asyncio.timeout(START_S):
                _, body = await child.exchange(self._opening)
            hello, _ = unpack(body)
            imports = () if "refused" in hello else tuple(hello["imports"])
        except (OSError, EOFError, BadFrame, KeyError) as error:
            code = await child.end(LEAVE_S)
            message = f"the terminal process did not start (exit code {code}, {error or type(error).__name__})"
            raise DtmsError(message) from error
        except asyncio.CancelledError:
            await child.end(0)
            raise
        if "refused" in hello:
            await child.end(LEAVE_S)
            raise Invalid(hello["refused"])
        self.imports = imports
        self._generation += 1
        return child

    async def _fork(self) -> _Child:
        command = (sys.executable, "-m", "dtms_service.terminal.worker", str(os.getpid()))
        try:
            _, child = await asyncio.get_running_loop().subprocess_exec(
                lambda: _Child(self._wake.set), *command, stderr=None
            )
        except OSError as error:
            message = f"no terminal process can be started ({error})"
            raise DtmsError(message) from error
        return child

    async def _serve(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._child is not None and (request := self._next()) is not None:
                try:
                    await self._answer(self._child, request)
                finally:  # whoever waits learns it, whatever goes wrong here
                    request.end(Unknown("link_down", "the link to the terminal failed while the terminal worked"))
            if self._child is None or self._child.ended.done():
                await self._replace("it ended by itself")
            elif self._child.trouble is not None:
                await self._replace(f"it cannot be used: {self._child.trouble}")

    def _ended(self, owner: asyncio.Task[None]) -> None:
        if not owner.cancelled():
            log.critical("terminal_link_failed", exc_info=owner.exception())
            self._refuse_waiting("the link to the terminal has failed; the service's log has the cause")

    def _next(self) -> _Request | None:
        now = asyncio.get_running_loop().time()
        for queue in (self._urgent, self._normal):
            while queue:
                request = queue.popleft()
                if request.answer.done():
                    continue
                if now - request.queued_at <= QUEUE_S:
                    return request
                request.end(not_sent(f"it waited more than {QUEUE_S:g} s for the terminal"))
        return None

    async def _answer(self, child: _Child, request: _Request) -> None:
        if child.ended.done():
            request.end(not_sent("the terminal process had ended"))
            return
        try:
            async with asyncio.timeout(request.deadline):
                number, body = await child.exchange({"calls": request.calls})
            reply = read_reply(body, number)
        except TimeoutError:
            why, outcome = "it missed a deadline", missed(request.calls, request.deadline)
        except (OSError, EOFError, BadFrame) as error:
            why = f"its answer cannot be used: {error or type(error).__name__}"
            outcome = Unknown("link_down", f"the terminal process was lost while it worked ({why})")
        except asyncio.CancelledError:
            request.end(Unknown("link_down", "the link was closed while the terminal worked"))
            raise
        except (TypeError, ValueError):
            # This task is the only way to the terminal: a mistake of ours may cost a request, never the task.
            log.exception("terminal_request_failed", extra={"calls": [asked.name for asked in request.calls]})
            why, outcome = (
                "a request failed inside the service",
                Unknown("link_down", "the request failed inside the service; its log has the cause"),
            )
        else:
            if reply.took <= request.deadline:
                request.end(Done(reply))
                return
            why, outcome = "it missed a deadline", missed(request.calls, request.deadline)
        request.end(outcome)
        await self._replace(why)

    async def _replace(self, why: str) -> None:
        child, self._child = self._child, None
        self._leaving = child
        self._refuse_waiting(f"the terminal process is being replaced: {why}")
        if child is not None:
            died = child.ended.done() or isinstance(child.trouble, EOFError)
            code = await child.end(DYING_S if died else 0)
            log.warning(
                "terminal_process_lost" if died else "terminal_process_killed",
                extra={"pid": child.pid, "exit_code": code, "why": why},
            )
        while self._child is None:
            try:
                self._child = await self._spawn()
            except DtmsError as error:
                log.error("terminal_process_not_started", extra={"detail": error.detail})  # noqa: TRY400 -- a sentence
                self._refuse_waiting(error.detail)
                await asyncio.sleep(RESTART_PAUSE_S)
        log.warning("terminal_process_started", extra={"pid": self.pid, "generation": self._generation})

    def _refuse_waiting(self, why: str) -> None:
        for queue in (self._urgent, self._normal):
            while queue:
                queue.popleft().end(not_sent(why))
