"""The real service on a disk that obeys a file: ``full`` takes no commit, ``eio`` fails after the commit arrived."""

from __future__ import annotations

import os
import sqlite3
from functools import partial
from pathlib import Path

from dtms_service import cli

ORDER = Path(os.environ["DISK_ORDER"])


class Disk(sqlite3.Connection):
    def commit(self) -> None:
        order = ORDER.read_text() if ORDER.exists() else ""
        if order == "full":
            self.rollback()  # as SQLite does
            raise _error(sqlite3.SQLITE_FULL, "database or disk is full")
        super().commit()
        if order == "eio":
            raise _error(sqlite3.SQLITE_IOERR_FSYNC, "disk I/O error")


def _error(code: int, text: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return error


if __name__ == "__main__":
    sqlite3.dbapi2.connect = partial(sqlite3.dbapi2.connect, factory=Disk)
    cli.main()
