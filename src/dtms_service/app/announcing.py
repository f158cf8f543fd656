"""What callers announced before they sent an order: read from their spool, so that a death in between is noticed."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

from dtms_client.spool import ANNOUNCED, Damaged, entries
from dtms_service import private
from dtms_service.api import spooled
from dtms_service.domain.errors import Invalid
from dtms_service.domain.unmanaged import Announcement
from dtms_service.settings.tree import is_loopback

log = logging.getLogger(__name__)


KEPT_S = 7 * 86_400.0
"""Age at which an announcement of which nothing came is set aside: an order that went out unseen has shown by then."""

_NOTHING = {"code": "nothing_came_of_it", "detail": "no position with this magic and symbol appeared in seven days"}


@dataclass(frozen=True, slots=True)
class Moment:
    """One instant on both clocks: the machine's, by which clients date their files, and the engine's.

    ``speed``: engine seconds per real second, None on a stepped clock. ``started_at``: when the engine began, on its
    clock.
    """

    wall: float
    engine: float
    speed: float | None
    started_at: float

    def engine_time(self, wall: float) -> float:
        """When that was, by the engine's clock. A stepped one may have leapt since: of it only its begin is sure."""
        if self.speed is None:
            return self.started_at
        return self.engine - (self.wall - wall) * self.speed


@dataclass(slots=True)
class Folder:
    """The announcements of one folder, and what was seen of them: ``after`` by name, as in `Announcement`."""

    path: Path
    _looked_at: float | None = None
    _after: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))

    def read(self, port: int, used: Collection[str], now: Moment) -> list[Announcement]:
        """The announcements that are meant for this service, oldest first. ``now`` was read before the call.

        Those named in ``used`` have become registered positions, and are removed. Raises ``OSError``.
        """
        found, after = [], {}
        for entry in entries(self.path, ANNOUNCED):
            name = entry.path.name
            if name in used:
                entry.remove()
                log.info("announcement_settled", extra={"file": str(entry.path)})
                continue
            try:
                item = entry.load(private.trusted())
                if item.url is not None and not is_here(item.url, port):
                    continue
                if now.wall - item.created_wall > KEPT_S:
                    entry.reject(_NOTHING)
                    log.warning("announcement_set_aside", extra={"file": str(entry.path)})
                    continue
                after[name] = self._said_after(name, item.created_wall, now)
                found.append(spooled.announcement(name, item.body, after[name]))
            except FileNotFoundError:  # its own client withdrew it meanwhile
                continue
            except (Damaged, Invalid) as error:
                entry.reject({"code": "damaged", "detail": str(error)})
                log.warning("announcement_damaged", extra={"file": str(entry.path), "why": str(error)})
            except OSError as error:  # not now; it stays
                log.warning("announcement_unread", extra={"file": str(entry.path), "why": str(error)})
        self._looked_at, self._after = now.engine, after
        return found

    def _said_after(self, name: str, created_wall: float, now: Moment) -> float:
        """What was not there at the last look was said after it; what a start finds is dated by the machine's clock."""
        if name in self._after:
            return self._after[name]
        return now.engine_time(created_wall) if self._looked_at is None else self._looked_at


def is_here(url: str, port: int) -> bool:
    """True when the address is this service's. Raises ``Damaged`` for what is no address."""
    try:
        parts = urlsplit(url)
        return is_loopback(parts.hostname or "") and parts.port == port
    except ValueError as error:
        message = f"is meant for {url!r}, which is no address: {error}"
        raise Damaged(message) from error
