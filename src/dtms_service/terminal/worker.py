"""The terminal's child process: reads requests from its input, runs them on the backend, writes answers to its output.

Started as ``python -m dtms_service.terminal.worker PARENT_PID``. It exists because the MetaTrader5 extension keeps
the GIL for the whole of every call and has no timeout: only a process can be stopped. What to open comes in the first
frame, because a command line, with a password on it, is visible to everybody.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import BinaryIO

from dtms_service.terminal.dispatch import answer, open_backend
from dtms_service.terminal.frames import LENGTH, pack, total_of, unpack
from dtms_service.terminal.orphans import die_with

HEAVY = ("asyncio", "fastapi", "httpx", "numpy", "pydantic", "sqlalchemy", "starlette", "structlog", "talib", "uvicorn")
"""Imports that the first answer reports, so that a test can say which of them do not belong here."""


def main() -> int:
    """Serve until the input ends."""
    die_with(int(sys.argv[1]))
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches the whole group; the service decides when this one ends
    # A stray print or read in the backend must not meet the frames.
    reading, writing = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    os.dup2(2, 1)
    with reading, writing:
        serve(reading, writing)
    return 0


def serve(reading: BinaryIO, writing: BinaryIO) -> None:
    """Open what the first frame names, say how that went, then answer frame by frame until ``reading`` ends."""
    first = _read(reading)
    if first is None:
        return
    head, _ = unpack(first)
    try:
        # A live simulator plays its market by the wall clock; clock.py is another room, and heavier than this one.
        backend = open_backend(head["backend"], head["options"], time.time, time.sleep)  # noqa: TID251 -- see above
    except ValueError as error:
        _write(writing, pack({"id": head["id"], "refused": str(error)}))
        return
    _write(writing, pack({"id": head["id"], "imports": [name for name in HEAVY if name in sys.modules]}))
    while (body := _read(reading)) is not None:
        request, _ = unpack(body)
        _write(writing, pack(*answer(backend, request)))
    backend.shutdown()


def _read(reading: BinaryIO) -> bytes | None:
    prefix = reading.read(LENGTH.size)
    if len(prefix) < LENGTH.size:
        return None
    total = total_of(prefix)
    body = reading.read(total)
    return body if len(body) == total else None


def _write(writing: BinaryIO, frame: bytes) -> None:
    writing.write(frame)
    writing.flush()


if __name__ == "__main__":
    sys.exit(main())
