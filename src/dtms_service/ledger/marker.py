"""The marker: one small file outside the database that says which ledger was used here, and how far it had come.

A database cannot tell that it is missing, was exchanged, or lost its newest commits with a damaged log. The marker can:
it is created on disk with the ledger, and names its last commit from then on. It is rewritten after each commit without
a sync, so it is never ahead of the database: after a killed process it is exact, after a power cut it may be behind.
What it says is believed only when its digest fits.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dtms_service import private
from dtms_service.domain.errors import StorageFailed

RESTORED = ""
"""The lineage of a restored ledger until its first start gives it one."""
_LENGTH = 80
"""Always, so that writing it again changes one block in place and needs no space on the disk."""
_FIELDS = re.compile(rb'\{"lineage": "([0-9a-f]*)", "commits": (\d+), ')


@dataclass(frozen=True, slots=True)
class Mark:
    """A ledger and the number of its last commit known to be on disk."""

    lineage: str
    commits: int

    def line(self) -> bytes:
        """The content of the file."""
        fields = f'"lineage": "{self.lineage}", "commits": {self.commits}'
        digest = hashlib.sha256(fields.encode()).hexdigest()[:8]
        return f'{{{fields}, "sum": "{digest}"}}'.ljust(_LENGTH - 1).encode() + b"\n"


def marker_of(database: Path) -> Path:
    """Where the marker of a database is when nobody says otherwise."""
    return database.with_name(database.name + ".used")


def read(path: Path) -> Mark | None:
    """What the marker says; None where there is none. Raises `StorageFailed` when it cannot be read or is damaged."""
    try:
        with path.open("rb") as file:
            line = file.read(_LENGTH + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        message = f"{path}, which says whether a ledger was used here, cannot be read ({error}). Nothing was changed"
        raise StorageFailed(message) from error
    found = _FIELDS.match(line)
    mark = Mark(found[1].decode(), int(found[2])) if found is not None else None
    if mark is None or mark.line() != line:
        message = f"{path}, which says whether a ledger was used here, is damaged; the ledger may be sound"
        remedy = (
            "nothing while the service runs, it writes the file anew; else dtms db verify PATH of the ledger, and when "
            f"it is sound and its numbers are right, remove {path} and start"
        )
        raise StorageFailed(message, remedy=remedy)
    return mark


def create(path: Path, mark: Mark) -> None:
    """Write the marker; on disk at return. Raises OSError."""
    with durable(path) as part:
        part.write_bytes(mark.line())


class Marker:
    """An existing marker, held open to be rewritten after each commit."""

    def __init__(self, path: Path) -> None:
        private.closed(path)
        self._file = path.open("r+b", buffering=0)

    def write(self, mark: Mark) -> None:
        """Rewrite it, without waiting for the disk. Raises OSError."""
        self._file.seek(0)
        self._file.write(mark.line())

    def close(self) -> None:
        """Wait for the disk, and close. Raises OSError."""
        with self._file as file:
            os.fsync(file.fileno())


@contextlib.contextmanager
def durable(target: Path) -> Iterator[Path]:
    """A path to write to; at the end it is on disk and takes the name ``target``, or there is nothing of it."""
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)
    try:
        private.file(part)
        yield part
        with part.open("r+b") as file:
            os.fsync(file.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on disk; Windows cannot be asked to."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
