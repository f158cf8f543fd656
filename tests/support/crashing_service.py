"""The real service, killed at a named point: ``python crashing_service.py --at NAME [--nth N] -- serve …``.

Without a point it is a nursery: it imports everything once and then forks a process per line of its input, because a
fresh interpreter takes 1 s (3 s on a busy machine) for what a fork has at once. One JSON object per line and answer:

    {"run": "service" | "engine" | "story" | "caller" | "registering", …}
                                                    {"pid": 123}; the rest are the arguments of what runs,
                                                    and ``without`` a protection
    {"look": 123}                                   {"code": null | exit code | -signal}
    {"warm": folder}                                {"warm": folder}: the engine has run there, forks have it loaded

All that it has started dies with it.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / room) for room in ("support", "engine")]

import aiosqlite  # noqa: E402, F401 -- this and the next three are loaded by name when the service needs them
import crash_caller  # noqa: E402
import crash_story  # noqa: E402
import fault_caller  # noqa: E402
import uvloop  # noqa: E402, F401
from crash_points import POINTS, Crash, Scene  # noqa: E402
from crash_protections import switch_off  # noqa: E402

from dtms_service import cli  # noqa: E402
from dtms_service.commands import serving  # noqa: E402, F401 -- loaded by name, too
from dtms_service.engine.dtms import Dtms  # noqa: E402
from dtms_service.ledger.migrations import versions  # noqa: E402, F401

CALLERS = {Scene.CALLER, Scene.FLUSHER}


def service(
    crash: Crash, arguments: list[str], *, moments: str | None = None, environment: Mapping[str, str] | None = None
) -> None:
    """``dtms serve`` in this process."""
    os.environ.update(environment or {})
    if moments is not None:
        _note_moments(Path(moments))
    crash.install([point for point in POINTS if point.scene not in CALLERS])
    sys.argv = ["dtms", *arguments]
    cli.main()


def engine(crash: Crash, **life: Any) -> None:
    """One life of the engine's story."""
    logging.disable()
    crash.install([point for point in POINTS if point.scene not in CALLERS])
    asyncio.run(crash_story.live(crash, **life))


def story(crash: Crash, **life: Any) -> None:
    """The engine's whole story, and what it passes."""
    logging.disable()
    crash.install([point for point in POINTS if point.scene not in CALLERS])
    asyncio.run(crash_story.told(crash, **life))


def caller(crash: Crash, **life: Any) -> None:
    """A program that registers."""
    logging.disable()
    crash.install([point for point in POINTS if point.scene in CALLERS])
    crash_caller.live(**life)


def registering(_: Crash, **life: Any) -> None:
    """A program that registers many, through a bad network."""
    logging.disable()
    fault_caller.live(**life)


KINDS: Mapping[str, Callable[..., None]] = {
    "service": service,
    "engine": engine,
    "story": story,
    "caller": caller,
    "registering": registering,
}


def _note_moments(path: Path) -> None:
    """Append the seconds from the connection to the terminal until the engine is ready, one line per start."""
    connected, start = Dtms._connected, Dtms.start
    at: list[float] = []

    async def noted(self: Dtms) -> Any:
        account = await connected(self)
        at.append(time.monotonic())
        return account

    async def timed(self: Dtms) -> None:
        await start(self)
        with path.open("a") as file:
            file.write(f"{time.monotonic() - at[-1]:.3f}\n")

    Dtms._connected, Dtms.start = noted, timed  # type: ignore[method-assign]


def nursery() -> None:
    """Fork what the lines of the input name, until it ends."""
    ended: dict[int, int | None] = {}
    for line in sys.stdin:
        told = json.loads(line)
        if "run" in told:
            pid = os.fork()
            if pid == 0:
                _child(told)
            ended[pid] = None
            print(json.dumps({"pid": pid}), flush=True)
            continue
        if "warm" in told:
            logging.disable()
            asyncio.run(crash_story.warm(Path(told["warm"])))
            logging.disable(logging.NOTSET)
            gc.freeze()  # what a fork shares it need not copy to count references in it
            print(json.dumps(told), flush=True)
            continue
        pid = told["look"]
        if ended[pid] is None:
            gone, status = os.waitpid(pid, os.WNOHANG)
            ended[pid] = os.waitstatus_to_exitcode(status) if gone else None
        print(json.dumps({"code": ended[pid]}), flush=True)
    for pid, code in ended.items():
        if code is None and os.waitpid(pid, os.WNOHANG)[0] == 0:
            os.kill(pid, signal.SIGKILL)


def _child(told: Mapping[str, Any]) -> None:
    """What a line asked for; never returns."""
    code = 1
    try:
        about = dict(told)
        os.chdir(about.pop("folder"))
        log = os.open(about.pop("log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for number, source in enumerate((nothing, log, log)):
            os.dup2(source, number)
        order = about.pop("order", None)
        if without := about.pop("without", None):
            switch_off(without)
        crash = Crash(about.pop("at", None), about.pop("nth", 1), Path(order) if order else None)
        KINDS[about.pop("run")](crash, **about)
        code = 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:  # noqa: BLE001 -- a fork must never go on with its parent's program
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--at", choices=[point.name for point in POINTS], metavar="NAME")
    parser.add_argument("--nth", type=int, default=1)
    parser.add_argument("arguments", nargs="*", help="of dtms: serve …")
    told = parser.parse_args()
    if told.at is None and not told.arguments:
        nursery()
    else:
        service(Crash(told.at, told.nth), told.arguments)


if __name__ == "__main__":
    main()
