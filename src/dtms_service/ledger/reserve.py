"""Space set aside beside the database, so that a full disk does not end the record at once."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from dtms_service import private

log = logging.getLogger(__name__)

_BLOCK = bytes(1 << 20)


class Reserve:
    """A file of ``size`` bytes of nothing. It is removed when the disk is full, and made again at the next start."""

    def __init__(self, database: Path, size: int) -> None:
        self._path = database.with_name(database.name + ".reserve")
        self._size = size

    def keep(self) -> None:
        """Set the space aside where there is more than twice as much."""
        try:
            private.closed(self._path)
            if self._path.exists() or shutil.disk_usage(self._path.parent).free < 2 * self._size:
                return
            with open(self._path, "wb", opener=private.opener) as file:
                file.writelines(_BLOCK for _ in range(self._size // len(_BLOCK)))
        except OSError:
            log.warning("reserve_not_kept", exc_info=True)
            self.release()

    def release(self) -> bool:
        """Give the space back; True when there was some."""
        try:
            self._path.unlink()
        except OSError:
            return False
        log.warning("reserve_released", extra={"file": str(self._path), "bytes": self._size})
        return True
