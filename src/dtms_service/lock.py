"""Is this process the only authority? A lock of the operating system, held for life and dropped with the process.

The file names its holder, so that the loser can say who won. Windows locks are mandatory, so the locked byte lies far
beyond that text. The Windows branch follows the documentation; it has run on a stand-in only.
"""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from dtms_service import private

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

NAME = "dtms.lock"
_FAR = 1 << 30
"""Offset of the byte that is locked on Windows: readers of the pid never touch it."""

_TRIES, _AGAIN_S = 11, 0.1
"""Windows drops the lock of a killed process when it finds the time; a start right after a kill waits 1 s for that."""

_NAMING_S = 0.05
"""A winner writes its pid right after it won; a loser gives it that long before it reads the name."""


class Held(Exception):
    """Another process holds the lock. ``pid`` is None when its file does not say."""

    def __init__(self, path: Path, pid: int | None) -> None:
        self.path = path
        self.pid = pid
        super().__init__(f"{path} is held by {'process ' + str(pid) if pid else 'another process'}")


class Lock:
    """A held lock; released by ``release``, by leaving the ``with`` block, or by the death of the process."""

    def __init__(self, path: Path) -> None:
        """Take the lock at once. Raises `Held`, and OSError when the folder or file cannot be made."""
        private.folder(path.parent)
        # os.open makes descriptors that children do not inherit: a surviving child must not keep the lock
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | private.NOFOLLOW, 0o600)
        if not _taken(descriptor):
            os.close(descriptor)
            time.sleep(_NAMING_S)
            raise Held(path, holder(path))
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Let go. The file stays: removing it would let two processes lock two files of the same name."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            try:
                _let_go(descriptor)
            finally:
                os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def holder(path: Path) -> int | None:
    """The pid written into a lock file; it is the holder's only while the lock is held."""
    try:
        text = path.read_text(encoding="ascii")
    except (OSError, ValueError):
        return None
    return int(text) if re.fullmatch(r"\d+\n?", text) else None


def is_held(path: Path) -> bool:
    """Whether a process holds this lock now. Takes it for an instant where it is free, and writes nothing.

    A start in that very instant would be told that the lock is held: nobody but a person who looks should ask.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | private.NOFOLLOW)
    except OSError:
        return False
    try:
        taken = _taken(descriptor)
        if taken:
            _let_go(descriptor)
        return not taken
    finally:
        os.close(descriptor)


def account_lock(folder: Path, login: int, server: str) -> Lock:
    """The machine-wide lock of one trading account (R33), so that two state folders never drive the same account.

    ``folder`` is shared by all state folders of the machine's user. Raises like `Lock`.
    """
    safe = re.sub(r"[^A-Za-z0-9.-]", "_", server)
    return Lock(folder / f"account-{login}@{safe}.lock")


if sys.platform == "win32":

    def _taken(descriptor: int) -> bool:
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        for left in range(_TRIES - 1, -1, -1):
            try:
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            except OSError:
                time.sleep(_AGAIN_S if left else 0)
            else:
                os.lseek(descriptor, 0, os.SEEK_SET)
                return True
        return False

    def _let_go(descriptor: int) -> None:
        # Closing the file would do, some time later.
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:

    def _taken(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def _let_go(descriptor: int) -> None:
        """Nothing: closing the file lets go at once."""
