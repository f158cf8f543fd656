"""Where alerts go: lines in the log, and a webhook whose posts are signed."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from dtms_service.notify.posting import Door

log = logging.getLogger(__name__)

_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "critical": logging.CRITICAL}
_LOGGED = ("id", "code", "severity", "ticket", "about", "detail", "count", "over_at")
Message = Mapping[str, Any]
"""One alert as ``GET /dtms/alerts`` shows it."""


class Channel(Protocol):
    """Something that takes alerts."""

    @property
    def name(self) -> str:
        """By which the ledger remembers what it has taken."""

    async def take(self, messages: Sequence[Message]) -> None:
        """Take all of them; raises ``NotTaken`` when it is not known to have taken every one."""


class LogLines:
    """One line per alert, at its severity; the end of one that is in the log already is at level INFO."""

    name = "log"

    async def take(self, messages: Sequence[Message]) -> None:
        """Write them."""
        for message in messages:
            if message["over_at"] is None or self.name not in message["delivered"]:
                log.log(_LEVELS[message["severity"]], "alert", extra={key: message[key] for key in (*_LOGGED, "do")})
            else:
                log.info("alert_over", extra={key: message[key] for key in _LOGGED})


class Webhook:
    """Posts ``{v, sent_at, service, alerts: [...]}`` to one address, signed with a secret that both sides know.

    ``wall`` is the machine's clock, because the receiver compares the time with its own. ``about`` tells
    which service it is: facts that every message carries.
    """

    name = "webhook"

    def __init__(self, door: Door, secret: str, wall: Callable[[], float], about: Callable[[], Message]) -> None:
        self._door = door
        self._secret = secret
        self._wall = wall
        self._about = about

    async def take(self, messages: Sequence[Message]) -> None:
        """Post them in one request. Raises ``NotTaken``."""
        timestamp = str(int(self._wall()))
        body = json.dumps(
            {"v": 1, "sent_at": int(timestamp), **self._about(), "alerts": list(messages)}, allow_nan=False
        ).encode()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "dtms",
            "X-DTMS-Delivery": delivery_of(messages),
            "X-DTMS-Timestamp": timestamp,
            "X-DTMS-Signature": signature(self._secret, timestamp, body),
        }
        await self._door.post(body, headers)


def delivery_of(messages: Sequence[Message]) -> str:
    """One name for these notices together: the same when the same ones are sent again."""
    names = " ".join(message["notice"]["id"] for message in messages)
    return names if len(messages) == 1 else hashlib.sha256(names.encode()).hexdigest()[:32]


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """``v1=`` and the HMAC-SHA256, in hexadecimal digits, of the timestamp, a full stop and the body."""
    return "v1=" + hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
