"""What callers announced before they sent an order: read from their spool, so that a death in between is noticed."""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path
from urllib.parse import urlsplit

from dtms_client.spool import ANNOUNCED, Damaged, entries
from dtms_service.api import spooled
from dtms_service.domain.errors import Invalid
from dtms_service.domain.unmanaged import Announcement
from dtms_service.settings.tree import is_loopback

log = logging.getLogger(__name__)


KEPT_S = 7 * 86_400.0
"""Age at which an announcement of which nothing came is set aside: an order that went out unseen has shown by then."""

_NOTHING = {"code": "nothing_came_of_it", "detail": "no position with this magic and symbol appeared in seven days"}


def read(folder: Path, port: int, used: Collection[str], now: float) -> list[Announcement]:
    """The announcements in one folder that are meant for this service, oldest first.

    Those named in ``used`` have become registered positions, and are removed. ``now`` is the machine's clock. Raises
    ``OSError``.
    """
    found = []
    for entry in entries(folder, ANNOUNCED):
        name = entry.path.name
        if name in used:
            entry.remove()
            log.info("announcement_settled", extra={"file": str(entry.path)})
            continue
        try:
            item = entry.load()
            if item.url is not None and not is_here(item.url, port):
                continue
            if now - item.created_wall > KEPT_S:
                entry.reject(
                    {"code": "nothing_came_of_it", "detail": "no position with this magic and symbol appeared"}
                )
                log.warning("announcement_set_aside", extra={"file": str(entry.path)})
                continue
            found.append(spooled.announcement(name, item.body))
        except FileNotFoundError:  # its own client withdrew it meanwhile
            continue
        except (Damaged, Invalid) as error:
            entry.reject({"code": "damaged", "detail": str(error)})
            log.warning("announcement_damaged", extra={"file": str(entry.path), "why": str(error)})
    return found


def is_here(url: str, port: int) -> bool:
    """True when the address is this service's."""
    parts = urlsplit(url)
    return is_loopback(parts.hostname or "") and parts.port == port
