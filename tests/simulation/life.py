"""One life of the service: what it does to the world goes through here, until the life is over.

A process that is killed stops between two of its effects: a commit, a request to the terminal, an answer to a caller.
What it would do between them nobody can see. So a death is an effect that does not return, before or after it is done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Died(Exception):
    """The service died while somebody waited for it."""


class Life:
    """``fuse``: effects until its death, 0 for none; ``after``: the last of them is done."""

    def __init__(self) -> None:
        self.fuse, self.after = 0, False
        self._over = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def over(self) -> bool:
        """Is it dead?"""
        return self._over.is_set()

    async def passes(self, effect: Callable[[], Awaitable[T]]) -> T:
        """The effect; never returns once the life is over."""
        if self.over:
            await _never()
        self.fuse -= self.fuse > 0
        dies = self.fuse == 0 and self._armed
        self._armed = self.fuse > 0
        if dies and not self.after:
            self._over.set()
            await _never()
        result = await effect()
        if dies:
            self._over.set()
            await _never()
        return result

    _armed = False

    def dies_after(self, effects: int, *, done: bool) -> None:
        """Let it die at the effect of that number from now on, before or after it is ``done``; 0 for never."""
        self.fuse, self.after, self._armed = effects, done, effects > 0

    def begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task that ends with this life."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        return task

    async def while_alive(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of ``work``. Raises ``Died``, and what ``work`` raises."""
        task = self.begin(work)
        over = asyncio.ensure_future(self._over.wait())
        await asyncio.wait({task, over}, return_when=asyncio.FIRST_COMPLETED)
        over.cancel()
        if not task.done():
            raise Died
        self._tasks.discard(task)
        return task.result()

    def check(self) -> None:
        """Raise what one of its tasks has raised."""
        for task in [task for task in self._tasks if task.done()]:
            self._tasks.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def end(self) -> None:
        """Nothing of it goes on."""
        self._over.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _never() -> None:
    await asyncio.get_running_loop().create_future()
