"""Who else may look in? Files are for their owner alone (0600), folders too (0700), and a link is not followed.

Tickets, claims and levels are nobody else's. Windows has other rights, inherited from the user's own folder: there
nothing is changed.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from pathlib import Path

OTHERS = stat.S_IRWXG | stat.S_IRWXO
"""Rights of everybody but the owner."""

NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
"""Flag for ``os.open``: a symbolic link in the place of the file is an error; 0 where there is no such flag."""


def folder(path: Path) -> None:
    """Make a folder for this user alone. One that is there stays as it is. Raises OSError."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


def file(path: Path) -> None:
    """Make an empty file for this user alone, or take the rights of others from one that is there. Raises OSError.

    A file that is there is not opened: closing it would drop the locks that SQLite holds on it.
    """
    if sys.platform == "win32":
        return
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        closed(path)


def closed(path: Path) -> None:
    """Take the rights of others from a file, if there is one. A link and another user's file stay as they are."""
    if sys.platform == "win32":
        return
    with contextlib.suppress(FileNotFoundError, PermissionError):
        mode = path.lstat().st_mode
        if mode & OTHERS and not stat.S_ISLNK(mode):
            path.chmod(stat.S_IMODE(mode) & ~OTHERS)


def trusted() -> frozenset[int] | None:
    """Numbers of the users whose files are taken: this process's own and root; None on Windows, which has no such."""
    if sys.platform == "win32":
        return None
    return frozenset({os.geteuid(), 0})


def exposed(path: Path) -> str | None:
    """Why others could put something into this folder; None when they cannot, or there is no such folder."""
    users = trusted()
    if users is None:
        return None
    try:
        found = path.stat()
    except OSError:
        return None
    if found.st_uid not in users:
        return f"{path} belongs to another user (number {found.st_uid})"
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"{path} may be written by others (mode {stat.S_IMODE(found.st_mode):04o})"
    return None


def opener(path: str, flags: int) -> int:
    """For ``open``: a new file is this user's alone, an older one becomes so, a link is refused. Raises OSError."""
    descriptor = os.open(path, flags | NOFOLLOW, 0o600)
    closed(Path(path))
    return descriptor
