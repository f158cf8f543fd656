"""One death and what comes after it, over the engine's story: killed at a named point, started again, judged."""

from __future__ import annotations

import asyncio
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import crash_judge
import crash_story
from crash_caller import acknowledged
from crash_judge import Disk, Judge
from crash_points import Point, Scene, named
from nursery import KILLED, Nursery

LONGEST_S = 60.0


@dataclass
class Story:
    """The story as it goes without a death, and a place to kill it in.

    The folder is always the same one, because the number of the simulated account is made from its path.
    """

    nursery: Nursery
    base: Path
    passes: list[dict[str, int]] = field(default_factory=list)
    """Per step, how often each point was passed."""
    outcomes: list[dict[str, Any]] = field(default_factory=list)
    """What it had come to at the beginning of each step."""

    @classmethod
    def told(cls, nursery: Nursery, base: Path) -> Story:
        """Let it happen once."""
        self = cls(nursery, base)
        self._kept.mkdir(parents=True)
        process = nursery.fork("story", self._state, kept=str(self._kept))
        assert process.wait(LONGEST_S) == 0, (self._state / "service.log").read_text()
        self.passes = json.loads((self._kept / "passes.json").read_text())
        steps = range(crash_story.STEPS + 1)
        self.outcomes = [_plain(crash_judge.read(self._kept / f"{step}").outcome()) for step in steps]
        return self

    def survives(self, point: Point, chance: Random | None = None, *, without: str | None = None) -> Judge:
        """Die at ``point`` and go on: at its first occasion, or at one that ``chance`` picks; ``without`` a protection.

        Raises ``AssertionError`` when it is never reached, or when anything is lost, doubled or otherwise than without
        the death. An order that was committed and never sent comes later, so that only its effects are judged then.
        """
        first = named(point.killed_at) if point.killed_at is not None else point
        step, nth = self._occasion(first, chance)
        self._restore(step, empty=point.scene is Scene.ENGINE_BEGINS)
        judge = Judge()
        judge.always(self._disk())
        if first.scene is Scene.ENGINE:
            self._die(first.name, nth, step, started=True, without=without)
        if point.scene is not Scene.ENGINE:
            unsent = self._seen(judge).unsent
            self._die(point.name, 1, step, started=False)
        disk = self._seen(judge)
        unsent = disk.unsent if point.scene is Scene.ENGINE else unsent
        last = min(step + bool(unsent), crash_story.STEPS - 1)
        asyncio.run(self._goes_on(step, last))
        judge.acknowledged = acknowledged(self._said)
        after = self._disk()
        judge.at_rest(after)
        told, wanted, where = _plain(after.outcome()), self.outcomes[last + 1], f"killed in step {step} at pass {nth}"
        assert len(told["trades"]) == len(wanted["trades"]), where
        assert unsent or told == wanted, where  # an order that did not leave is planned anew, and moves the tickets
        return judge

    def _occasion(self, point: Point, chance: Random | None) -> tuple[int, int]:
        """The step to die in, and which pass of it."""
        if point.scene is not Scene.ENGINE:
            begins = point.scene is Scene.ENGINE_BEGINS
            return 0 if begins else 3 if chance is None else chance.randrange(1, crash_story.STEPS), 1
        steps = [(step, passes[point.name]) for step, passes in enumerate(self.passes) if point.name in passes]
        assert steps, f"{point.name} was never reached in the whole story"
        step, often = steps[0] if chance is None else chance.choice(steps)
        return step, (often + 1) // 2 if chance is None else chance.randint(1, often)

    def _die(self, at: str, nth: int, step: int, *, started: bool, without: str | None = None) -> None:
        """One life; ``started``: the point counts only once the service has started."""
        about: dict[str, Any] = {"armed": [at, nth]} if started else {"at": at, "nth": nth}
        about |= {"said": str(self._said), "first": step, "last": step, "without": without}
        process = self.nursery.fork("engine", self._state, **about)
        code = process.wait(LONGEST_S)
        log = (self._state / "service.log").read_text()
        assert code == KILLED, f"{at} was never reached (step {step}, pass {nth}; exit code {code})\n{log}"

    def _seen(self, judge: Judge) -> Disk:
        judge.acknowledged = acknowledged(self._said)
        disk = self._disk()
        judge.always(disk)
        return disk

    async def _goes_on(self, first: int, last: int) -> None:
        world = await crash_story.opened(self._state)
        for step in range(first, last + 1):
            await crash_story.play(world, step, self._said)
        await world.close()

    def _restore(self, step: int, *, empty: bool) -> None:
        shutil.rmtree(self._state)
        self._said.unlink(missing_ok=True)
        if not empty:
            shutil.copytree(self._kept / f"{step}", self._state)

    def _disk(self) -> Disk:
        return crash_judge.read(self._state)

    @property
    def _state(self) -> Path:
        return self.base / "state"

    @property
    def _kept(self) -> Path:
        return self.base / "kept"

    @property
    def _said(self) -> Path:
        return self.base / "said"


def _plain(outcome: dict[str, Any]) -> dict[str, Any]:
    return dict(json.loads(json.dumps(outcome)))
