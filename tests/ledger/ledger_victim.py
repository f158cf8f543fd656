"""Started by test_ledger_kill: children that write through a real ledger are killed; prints what was promised.

Forking from a process without threads costs milliseconds, a new interpreter most of a second.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from ledger_values import a_trade, an_event

from dtms_service.domain.record import Batch
from dtms_service.ledger.store import SqlLedger

CALLERS = 8


async def write(url: str, pipe: int, first: int) -> None:
    ledger = await SqlLedger.open(url, draw=lambda _: 1)

    async def call(number: int) -> None:
        while True:
            await ledger.commit(Batch((an_event(number),), (a_trade(number),)))
            os.write(pipe, f"{number}\n".encode())
            number += CALLERS

    await asyncio.gather(*(call(first + caller) for caller in range(CALLERS)))


def kill_one(url: str, first: int, after: int) -> list[int]:
    """The numbers that were acknowledged by a child that is killed after ``after`` of them."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        asyncio.run(write(url, writer, first))
    os.close(writer)
    with os.fdopen(reader) as lines:
        acknowledged = [int(lines.readline()) for _ in range(after)]
        os.kill(child, signal.SIGKILL)
        acknowledged += [int(line) for line in lines]
    os.waitpid(child, 0)
    return acknowledged


if __name__ == "__main__":
    for kill in range(20):
        for number in kill_one(sys.argv[1], 1 + 10_000 * kill, 1 + 3 * kill):
            print(number)
